//! Spoils valid files at random: bits, bytes, lengths, ends, and pieces of other files.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Most changes to one input.
const MAX_CHANGES: usize = 6;
/// One change in this many may be anywhere; the others are in the front, where headers are.
const ANYWHERE: u32 = 8;
/// Bytes that a piece of another file may have.
const MAX_PIECE: usize = 512;

/// Makes inputs out of valid files; the same seed makes the same ones.
#[derive(Debug)]
pub struct Mutator {
    files: Vec<Vec<u8>>,
    random: StdRng,
}

impl Mutator {
    /// Begins with these files.
    ///
    /// # Panics
    ///
    /// If there is no file, or an empty one.
    pub fn new(files: Vec<Vec<u8>>, seed: u64) -> Self {
        assert!(!files.is_empty() && files.iter().all(|file| !file.is_empty()), "every file has bytes");
        Self { files, random: StdRng::seed_from_u64(seed) }
    }

    /// One of the files, changed in a few places.
    pub fn next_input(&mut self) -> Vec<u8> {
        let file_idx = self.random.random_range(0..self.files.len());
        let mut input = self.files[file_idx].clone();
        for _ in 0..self.random.random_range(1..=MAX_CHANGES) {
            if input.is_empty() {
                break;
            }
            self.change(&mut input);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input.len());
        match self.random.random_range(0..9) {
            0 => input[at] ^= 1 << self.random.random_range(0..8),
            1 => input[at] = self.random.random(),
            2 => input.truncate(at),
            3 => {
                let end = input.len().min(at + self.random.random_range(1..64));
                input.drain(at..end);
            }
            4 => self.insert(input, at),
            5 => self.splice(input, at),
            6 => {
                let value = self.extreme(input.len()) as u32;
                overwrite(input, at, &value.to_le_bytes());
            }
            7 => {
                let digits = self.extreme(input.len()).to_string();
                overwrite(input, at, digits.as_bytes());
            }
            _ => {
                let value = self.extreme(input.len());
                overwrite(input, at, &value.to_le_bytes());
            }
        }
    }

    /// A place, in most cases near the front.
    fn place(&mut self, len: usize) -> usize {
        if self.random.random_ratio(1, ANYWHERE) {
            return self.random.random_range(0..len);
        }
        // Every power of two of places is as likely as the next.
        let most = len.ilog2();
        let reach = 1_usize << self.random.random_range(0..=most);
        self.random.random_range(0..reach.min(len))
    }

    /// A number that counts and lengths go wrong with.
    fn extreme(&mut self, len: usize) -> u64 {
        let len = len as u64;
        let choices = [
            0,
            1,
            2,
            0x7f,
            0xff,
            0xffff,
            len - 1,
            len,
            len + 1,
            u64::from(i32::MAX.cast_unsigned()),
            u64::from(u32::MAX),
            u64::from(u32::MAX) + 1,
            1 << 40,
            i64::MAX.cast_unsigned(),
            u64::MAX / 4 + 1,
            u64::MAX,
        ];
        choices[self.random.random_range(0..choices.len())]
    }

    fn insert(&mut self, input: &mut Vec<u8>, at: usize) {
        let count = self.random.random_range(1..64);
        let bytes: Vec<u8> = (0..count).map(|_| self.random.random()).collect();
        input.splice(at..at, bytes);
    }

    /// Puts a piece of any of the files over what is there.
    fn splice(&mut self, input: &mut [u8], at: usize) {
        let file_idx = self.random.random_range(0..self.files.len());
        let from = self.place(self.files[file_idx].len());
        let count = self.random.random_range(1..=MAX_PIECE);
        let file = &self.files[file_idx];
        let piece = &file[from..file.len().min(from + count)];
        overwrite(input, at, piece);
    }
}

/// Writes `bytes` over those from `at` on, as far as there are any.
fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (target, byte) in input[at..].iter_mut().zip(bytes) {
        *target = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_nearly_all_are_spoiled() {
        let file: Vec<u8> = (0..=255).collect();
        let inputs = |seed| {
            let mut mutator = Mutator::new(vec![file.clone(), vec![7; 90]], seed);
            (0..500).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert!(inputs(1) != inputs(2));
        let untouched = inputs(1).into_iter().filter(|input| *input == file).count();
        assert!(untouched < 25, "{untouched} of 500 are as they were");
    }
}
