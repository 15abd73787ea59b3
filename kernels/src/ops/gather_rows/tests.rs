//! The gather against its reference.

use super::*;
use crate::batch::{BatchLimits, BatchRow, StepBatch};
use crate::ops::testing::{devices, tensor, values};

#[test]
fn collects_the_last_tokens_of_rows_that_need_logits() {
    let limits = BatchLimits { max_tokens: 8, max_rows: 3, max_blocks: 3, block_size: 4 };
    let mut batch = StepBatch::new(limits).expect("limits are fine");
    let row = BatchRow { tokens: &[0, 0], start: 0, blocks: &[0], num_logits: 1 };
    for num_logits in [1, 0, 2] {
        batch.push_row(BatchRow { num_logits, ..row }).expect("fits");
    }
    for device in devices() {
        let x: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let x = tensor(&device, [6, 2], &x);
        let mut out = tensor(&device, [3, 2], &[f32::NAN; 6]);
        gather_rows(&device, &batch, 0..3, x.view(), out.view_mut()).expect("arguments fit");
        assert_eq!(values(&out), [2.0, 3.0, 8.0, 9.0, 10.0, 11.0]);
        let slice = out.rows_mut(1).expect("has rows");
        gather_rows(&device, &batch, 1..2, x.view(), slice).expect("arguments fit");
        assert_eq!(values(&out)[..2], [8.0, 9.0]);
        let short = x.rows(5).expect("has rows");
        assert!(gather_rows(&device, &batch, 0..3, short, out.view_mut()).is_err());
        assert!(gather_rows(&device, &batch, 1..4, x.view(), out.view_mut()).is_err());
    }
}
