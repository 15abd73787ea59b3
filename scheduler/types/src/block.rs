//! A block of the paged KV cache, as scheduler and executors name it.

use std::fmt;
use std::num::NonZeroU32;

/// One block of a KV cache: an index below the pool's capacity.
///
/// Only the scheduler's block pool makes them up; executors turn them into addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tokens that one KV block holds: a power of two from 1 to 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSize(NonZeroU32);

/// A block size that is not a power of two from 1 to 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidBlockSize(pub u32);

impl fmt::Display for InvalidBlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block size is {}, must be a power of two from 1 to {}", self.0, BlockSize::MAX)
    }
}

impl std::error::Error for InvalidBlockSize {}

impl BlockSize {
    /// The largest block size.
    pub const MAX: u32 = 256;

    /// Tokens in one block.
    pub fn tokens(self) -> u32 {
        self.0.get()
    }

    /// Blocks that hold `num_tokens` tokens, rounded up.
    pub fn blocks_for(self, num_tokens: u32) -> u32 {
        num_tokens.div_ceil(self.0.get())
    }
}

impl TryFrom<u32> for BlockSize {
    type Error = InvalidBlockSize;

    fn try_from(tokens: u32) -> Result<Self, Self::Error> {
        match NonZeroU32::new(tokens) {
            Some(size) if tokens.is_power_of_two() && tokens <= Self::MAX => Ok(Self(size)),
            _ => Err(InvalidBlockSize(tokens)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_powers_of_two_up_to_the_limit_only() {
        for size in [1, 2, 16, 256] {
            assert_eq!(BlockSize::try_from(size).map(BlockSize::tokens), Ok(size));
        }
        for size in [0, 3, 24, 512] {
            assert_eq!(BlockSize::try_from(size), Err(InvalidBlockSize(size)));
        }
    }

    #[test]
    fn counts_a_started_block_as_a_whole_one() {
        let size = BlockSize::try_from(16).expect("16 is a block size");
        assert_eq!([0, 1, 16, 17].map(|tokens| size.blocks_for(tokens)), [0, 1, 1, 2]);
    }
}
