//! What the tests of ops share: devices, reproducible numbers, comparisons.

use crate::batch::{BatchLimits, BatchRow, StepBatch};
use crate::cpu::CpuDevice;
use crate::device::{Device, Workspace, WorkspaceLimits};
use crate::tensor::{DType, Tensor};

/// A device for each instruction set of this processor, with one, two and three threads.
pub(crate) fn devices() -> Vec<Device> {
    (1..=3).flat_map(CpuDevice::all_for_tests).map(Device::Cpu).collect()
}

/// A workspace that fits every test.
pub(crate) fn workspace(device: &Device) -> Workspace {
    let limits = WorkspaceLimits { max_tokens: 128, max_rows: 32, max_columns: 2048, head_dim: 256 };
    Workspace::new(device, limits).expect("memory is there")
}

/// Reproducible numbers: the same seed gives the same numbers (`SplitMix64`).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between -1 and 1.
    pub(crate) fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }
}

/// An f32 tensor with these values.
pub(crate) fn tensor(device: &Device, shape: [usize; 2], values: &[f32]) -> Tensor {
    Tensor::from_f32(device, DType::F32, shape, values).expect("shape fits")
}

/// The values of a tensor.
pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.view().as_f32("tensor").expect("tests use f32").to_vec()
}

/// Fails at the first number that is further off than `tolerance`.
pub(crate) fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths differ");
    for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= tolerance, "{what}[{index}]: {actual}, expected {expected}, off by {error}");
    }
}

/// Fails unless both have the same bits.
pub(crate) fn assert_same_bits(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths differ");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(actual.to_bits(), expected.to_bits(), "{what}[{index}]: {actual} and {expected}");
    }
}

/// Tokens of one sequence: `start..start + tokens.len()`, all needing logits.
pub(crate) struct TestRow {
    pub(crate) tokens: Vec<u32>,
    pub(crate) start: u32,
    pub(crate) blocks: Vec<u32>,
}

/// A batch of these rows.
pub(crate) fn batch(block_size: usize, rows: &[TestRow]) -> StepBatch {
    let limits = BatchLimits { max_tokens: 256, max_rows: 32, max_blocks: 1024, block_size };
    let mut batch = StepBatch::new(limits).expect("limits are fine");
    for row in rows {
        let num_logits = row.tokens.len() as u32;
        let row = BatchRow { tokens: &row.tokens, start: row.start, blocks: &row.blocks, num_logits };
        batch.push_row(row).expect("the row fits");
    }
    batch
}

/// A batch of single rows of these tokens, for ops that look at tokens only.
pub(crate) fn batch_of_tokens(tokens: &[u32]) -> StepBatch {
    let rows: Vec<TestRow> = if tokens.is_empty() {
        Vec::new()
    } else {
        let blocks = (0..tokens.len().div_ceil(16) as u32).collect();
        vec![TestRow { tokens: tokens.to_vec(), start: 0, blocks }]
    };
    batch(16, &rows)
}
