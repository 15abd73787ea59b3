//! The bits of a packed matrix to rows of blocks, or of bf16 where blocks cannot hold them.
//!
//! A number is `scale * (code - zero)`. Where all zero points are 8 that is `Q4_0`, bit for bit if scales are f16, and so
//! may be others: they are rounded to f16, by at most 2^-11 of them from 2^-14 on and by at most 2^-25 below, and one that
//! would become zero is refused. Else it is `Q4_1` with the minimum `-scale * zero`, rounded to f16 as well: for scales of
//! normal f16 by at most 2^-11 of it, which is 0.0074 of a scale (0.0068 was the largest error measured over random scales
//! and zero points). Tools that compute such files in f16 round each number by as much.

use half::{bf16, f16};
use spillway_kernels::WeightType;

use super::{CODES_PER_WORD, Int4Matrix, Method, Piece};
use crate::error::ModelError;
use crate::weights::{WeightStore, to_f32};

/// Which neighbour stands in the lowest four bits of a word, the next ones, and so on.
const AWQ_ORDER: [usize; CODES_PER_WORD] = [0, 2, 4, 6, 1, 3, 5, 7];
const GPTQ_ORDER: [usize; CODES_PER_WORD] = [0, 1, 2, 3, 4, 5, 6, 7];
/// The zero point of symmetric matrices.
const MIDDLE: u8 = 8;
/// Rows that are unpacked together: AWQ's words of one column for so many rows fill a cache line.
const CHUNK_ROWS: usize = 128;
/// The smallest scale above zero.
const SMALLEST: f16 = f16::from_bits(1);
/// Numbers of a block.
const BLOCK: usize = 32;

/// A matrix with its side tables read.
struct Tables<'a> {
    matrix: &'a Int4Matrix,
    n: usize,
    k: usize,
    /// `[k, n / 8]` or `[k / 8, n]`
    codes: &'a [[u8; 4]],
    /// `[groups, n]`
    scales: Vec<f16>,
    /// `[groups, n]`
    zeros: Vec<u8>,
    /// `[k]`
    groups: Vec<u32>,
}

impl WeightStore {
    /// Unpacks a matrix `[n, k]` whose codes are `codes`.
    pub(in crate::weights) fn unpack_int4(
        &self,
        name: &str,
        matrix: &Int4Matrix,
        [n, k]: [usize; 2],
        codes: &[u8],
    ) -> Result<(WeightType, Vec<u8>), ModelError> {
        let piece = |piece: &Piece| &self.files[piece.file_idx][piece.bytes.clone()];
        let scales = self.scales(name, matrix, piece(&matrix.scales))?;
        let zeros = zeros(matrix, piece(&matrix.zeros));
        let groups = match &matrix.column_groups {
            None => (0..k).map(|column| (column / matrix.group) as u32).collect(),
            Some(groups) => {
                piece(groups).as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
            }
        };
        let is_symmetric = zeros.iter().all(|zero| *zero == MIDDLE);
        let tables = Tables { matrix, n, k, codes: codes.as_chunks().0, scales, zeros, groups };
        let weight_type = match matrix.unpacked_type(k) {
            WeightType::Q4_1 if is_symmetric => WeightType::Q4_0,
            weight_type => weight_type,
        };
        Ok((weight_type, tables.unpack(weight_type)))
    }

    /// The scales, which must be numbers that f16 can hold, times 15 as well, and that it does not make zero.
    fn scales(&self, name: &str, matrix: &Int4Matrix, bytes: &[u8]) -> Result<Vec<f16>, ModelError> {
        let scales = to_f32(matrix.scale_type, bytes);
        let largest = f16::MAX.to_f32() / 16.0;
        let refused = |problem| {
            let path = self.files[matrix.scales.file_idx].path().to_owned();
            Err(ModelError::Malformed { path, problem })
        };
        if let Some(scale) = scales.iter().find(|scale| scale.is_nan() || scale.abs() > largest) {
            return refused(format!("a scale of `{name}` is {scale}, limit {largest}"));
        }
        let is_lost = |scale: &&f32| **scale != 0.0 && f16::from_f32(**scale).to_f32() == 0.0;
        if let Some(scale) = scales.iter().find(is_lost) {
            return refused(format!(
                "a scale of `{name}` is {scale:e}, which is zero in f16: the smallest held is {:e}; take the float checkpoint and \
                 --quantization",
                SMALLEST.to_f32()
            ));
        }
        Ok(scales.into_iter().map(f16::from_f32).collect())
    }
}

/// The zero points, `[groups, n]`.
fn zeros(matrix: &Int4Matrix, bytes: &[u8]) -> Vec<u8> {
    let order = matrix.method.order();
    let mut zeros = vec![0; bytes.len() / 4 * CODES_PER_WORD];
    for (word, zeros) in bytes.as_chunks().0.iter().zip(zeros.as_chunks_mut::<CODES_PER_WORD>().0) {
        let word = u32::from_le_bytes(*word);
        for (place, &neighbour) in order.iter().enumerate() {
            zeros[neighbour] = (code_at(word, place) + matrix.zero_offset) & 15;
        }
    }
    zeros
}

fn code_at(word: u32, place: usize) -> u8 {
    (word >> (4 * place) & 15) as u8
}

impl Method {
    fn order(self) -> [usize; CODES_PER_WORD] {
        match self {
            Self::Awq => AWQ_ORDER,
            Self::Gptq => GPTQ_ORDER,
        }
    }
}

impl Tables<'_> {
    /// All rows, on all processors.
    fn unpack(&self, weight_type: WeightType) -> Vec<u8> {
        let row_bytes = self.k / weight_type.block_len() * weight_type.block_bytes();
        let mut rows = vec![0; self.n * row_bytes];
        let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let chunks_per_thread = self.n.div_ceil(CHUNK_ROWS).div_ceil(num_threads).max(1);
        let part_rows = chunks_per_thread * CHUNK_ROWS;
        std::thread::scope(|scope| {
            for (part_idx, part) in rows.chunks_mut((part_rows * row_bytes).max(1)).enumerate() {
                scope.spawn(move || {
                    for (chunk_idx, chunk) in part.chunks_mut((CHUNK_ROWS * row_bytes).max(1)).enumerate() {
                        let first_row = part_idx * part_rows + chunk_idx * CHUNK_ROWS;
                        match weight_type {
                            WeightType::BF16 => self.put_floats(first_row, chunk, row_bytes),
                            _ => self.put_blocks(weight_type, first_row, chunk, row_bytes),
                        }
                    }
                });
            }
        });
        rows
    }

    /// Calls `put` with every code of some rows: the row among them, the column, the code.
    fn for_each_code(&self, first_row: usize, num_rows: usize, mut put: impl FnMut(usize, usize, u8)) {
        let order = self.matrix.method.order();
        match self.matrix.method {
            Method::Awq => {
                // Whole words: n is a multiple of 8, and so are the rows before.
                let row_words = self.n / CODES_PER_WORD;
                for column in 0..self.k {
                    let start = column * row_words + first_row / CODES_PER_WORD;
                    let words = &self.codes[start..start + num_rows / CODES_PER_WORD];
                    for (word_idx, word) in words.iter().enumerate() {
                        let word = u32::from_le_bytes(*word);
                        for (place, &neighbour) in order.iter().enumerate() {
                            put(word_idx * CODES_PER_WORD + neighbour, column, code_at(word, place));
                        }
                    }
                }
            }
            Method::Gptq => {
                for word_row in 0..self.k / CODES_PER_WORD {
                    let start = word_row * self.n + first_row;
                    for (row, word) in self.codes[start..start + num_rows].iter().enumerate() {
                        let word = u32::from_le_bytes(*word);
                        for (place, &neighbour) in order.iter().enumerate() {
                            put(row, word_row * CODES_PER_WORD + neighbour, code_at(word, place));
                        }
                    }
                }
            }
        }
    }

    /// Rows of `Q4_0` or `Q4_1`; `rows` is zeroed.
    fn put_blocks(&self, weight_type: WeightType, first_row: usize, rows: &mut [u8], row_bytes: usize) {
        let (block_bytes, num_rows) = (weight_type.block_bytes(), rows.len() / row_bytes);
        let head = block_bytes - BLOCK / 2;
        for (row, blocks) in rows.chunks_exact_mut(row_bytes).enumerate() {
            for (block_idx, block) in blocks.chunks_exact_mut(block_bytes).enumerate() {
                let at = self.groups[block_idx * BLOCK] as usize * self.n + first_row + row;
                let scale = self.scales[at];
                block[..2].copy_from_slice(&scale.to_le_bytes());
                if weight_type == WeightType::Q4_1 {
                    let minimum = f16::from_f32(-scale.to_f32() * f32::from(self.zeros[at]));
                    block[2..4].copy_from_slice(&minimum.to_le_bytes());
                }
            }
        }
        self.for_each_code(first_row, num_rows, |row, column, code| {
            let place = column % BLOCK;
            let byte = row * row_bytes + column / BLOCK * block_bytes + head + place % (BLOCK / 2);
            rows[byte] |= code << (4 * (place / (BLOCK / 2)));
        });
    }

    /// Rows of bf16.
    fn put_floats(&self, first_row: usize, rows: &mut [u8], row_bytes: usize) {
        let num_rows = rows.len() / row_bytes;
        self.for_each_code(first_row, num_rows, |row, column, code| {
            let at = self.groups[column] as usize * self.n + first_row + row;
            let value = self.scales[at].to_f32() * (f32::from(code) - f32::from(self.zeros[at]));
            let byte = row * row_bytes + 2 * column;
            rows[byte..byte + 2].copy_from_slice(&bf16::from_f32(value).to_le_bytes());
        });
    }
}
