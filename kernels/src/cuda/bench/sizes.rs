//! The shapes that are timed: those of a real model on a GPU, and tiny ones that an emulated device gets through.

use super::super::ops::rows::HeadShape;

/// Which shapes are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchSize {
    /// Those of Llama-3.1-8B, with sets of buffers larger than a GPU's caches.
    Llama8b,
    /// As small as kernels take them: tries the bench itself, and says nothing of a device.
    Tiny,
}

/// What a [`BenchSize`] stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) vocab: usize,
    pub(super) heads: HeadShape,
    /// Rotating sets of buffers hold at least so much together: several times an H100's L2.
    pub(super) rotation_bytes: usize,
    /// How often a recorded sequence is replayed; the median is reported.
    pub(super) repeats: usize,
    /// Rows of products in decode steps.
    pub(super) decode_rows: &'static [usize],
    /// Rows of products in a prompt's step.
    pub(super) prompt_rows: usize,
    /// Tokens of the row kernels' steps.
    pub(super) tokens: &'static [usize],
    /// Sequences and their tokens, of decode attention.
    pub(super) contexts: &'static [(usize, usize)],
    /// Tokens of one prompt, of prefill attention.
    pub(super) prompts: &'static [usize],
    /// Rows of logits.
    pub(super) logit_rows: &'static [usize],
    /// What the read bandwidth is measured with.
    pub(super) yardstick_bytes: usize,
    /// Rows, columns and depth of the product that the rate of products is measured with.
    pub(super) yardstick_side: usize,
}

const LLAMA_8B: Sizes = Sizes {
    hidden: 4096,
    ffn: 14_336,
    vocab: 128_256,
    heads: HeadShape { heads: 32, kv_heads: 8, head_dim: 128, block_size: 16 },
    rotation_bytes: 400 << 20,
    repeats: 15,
    decode_rows: &[1, 8, 16, 32, 64, 128],
    prompt_rows: 2048,
    tokens: &[1, 32, 128, 2048],
    contexts: &[(1, 1024), (1, 8192), (8, 1024), (32, 1024), (128, 1024)],
    prompts: &[512, 2048, 8192],
    logit_rows: &[1, 32, 128],
    yardstick_bytes: 2 << 30,
    yardstick_side: 8192,
};

const TINY: Sizes = Sizes {
    hidden: 64,
    ffn: 64,
    vocab: 128,
    heads: HeadShape { heads: 2, kv_heads: 1, head_dim: 64, block_size: 16 },
    rotation_bytes: 0,
    repeats: 1,
    decode_rows: &[1, 16],
    prompt_rows: 72,
    tokens: &[2],
    contexts: &[(1, 64)],
    prompts: &[32],
    logit_rows: &[1],
    yardstick_bytes: 1 << 16,
    yardstick_side: 64,
};

impl Sizes {
    pub(super) fn of(size: BenchSize) -> Self {
        match size {
            BenchSize::Llama8b => LLAMA_8B,
            BenchSize::Tiny => TINY,
        }
    }

    /// So many sets of so many bytes that together they do not fit the caches.
    pub(super) fn num_sets(&self, bytes: usize) -> usize {
        (self.rotation_bytes / bytes.max(1)).clamp(2, 24)
    }
}
