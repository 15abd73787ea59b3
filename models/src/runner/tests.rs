//! The runner around a model that counts: tokens still to come, failing rows, failing steps.

use spillway_kernels::{CpuOptions, DType, Device};
use spillway_types::{BlockId, BlockSize, Sampling, Seed, SeqId};

use super::*;
use crate::batch::{BatchRow, RowSampling};
use crate::kv_cache::KvLayout;
use crate::model::Logits;
use crate::spec::{Activation, DecoderSpec, Rope, RopeScaling};

/// Answers that the token after `t` is `t + 1`; after token 5 its logits are NaN, and token 6 breaks the step.
struct Counting {
    spec: DecoderSpec,
    logits: Vec<f32>,
}

impl Model for Counting {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(&mut self, batch: &ForwardBatch, _kv: &mut KvCache) -> Result<Logits<'_>, ModelError> {
        self.logits.clear();
        for row in batch.rows.iter().filter(|row| row.sample.is_some()) {
            let InputToken::Known(token) = batch.tokens[row.tokens.end as usize - 1] else {
                panic!("the runner fills in sampled tokens");
            };
            if token.0 == 6 {
                return Err(ModelError::OverLimit { name: "token", value: 6, limit: 5 });
            }
            let value = if token.0 == 5 { f32::NAN } else { 1.0 };
            self.logits.extend((0..8).map(|id| if id == token.0 + 1 { value } else { 0.0 }));
        }
        Ok(Logits::new(&self.logits, 8))
    }
}

fn runner() -> ModelRunner {
    let spec = DecoderSpec {
        architecture: "counting",
        num_layers: 1,
        hidden_size: 1,
        num_heads: 1,
        num_kv_heads: 1,
        head_dim: 16,
        ffn_size: 1,
        vocab_size: 8,
        max_positions: 64,
        norm_eps: 1e-5,
        activation: Activation::Silu,
        rope: Rope { theta: 1e4, scaling: RopeScaling::None },
        tied_head: true,
    };
    let device = Device::cpu(&CpuOptions::default()).expect("the processor is there");
    let layout = KvLayout { num_layers: 0, num_kv_heads: 1, head_dim: 16, dtype: DType::F32 };
    let block_size = BlockSize::try_from(16).expect("16 is a block size");
    let kv = KvCache::new(&device, &layout, block_size, 4).expect("it takes no memory");
    let limits = RunnerLimits { max_num_batched_tokens: 16, max_num_seqs: 4, max_model_len: 64 };
    ModelRunner::new(Box::new(Counting { spec, logits: Vec::new() }), kv, limits)
}

/// One row for each token, all at position 0 but sampling.
fn batch(tokens: &[InputToken]) -> ForwardBatch {
    let sample = RowSampling { sampling: Sampling::Greedy, seed: Seed(0), choice: 0, position: 1 };
    ForwardBatch {
        tokens: tokens.to_vec(),
        positions: vec![0; tokens.len()],
        rows: (0..tokens.len() as u32)
            .map(|i| BatchRow {
                seq_id: SeqId(u64::from(i)),
                tokens: i..i + 1,
                kv_len: 1,
                blocks: i..i + 1,
                sample: Some(sample),
            })
            .collect(),
        block_ids: (0..tokens.len() as u32).map(BlockId).collect(),
    }
}

fn known(id: u32) -> InputToken {
    InputToken::Known(TokenId(id))
}

fn ids(sampled: &SampledTokens) -> Vec<Result<u32, RowError>> {
    sampled
        .rows
        .iter()
        .map(|row| row.as_ref().map(|tokens| tokens[0].token.0).map_err(|error| *error))
        .collect()
}

#[test]
fn fills_in_the_tokens_that_the_previous_step_sampled() {
    let mut runner = runner();
    let first = runner.run(&batch(&[known(1), known(3)])).expect("the step is fine");
    assert_eq!(ids(&first), [Ok(2), Ok(4)]);
    let sampled = |row| InputToken::Sampled { row };
    let second = runner.run(&batch(&[sampled(1), sampled(0), known(0)])).expect("the step is fine");
    assert_eq!(ids(&second), [Ok(5), Ok(3), Ok(1)]);
}

#[test]
fn a_row_without_a_distribution_fails_alone_and_so_does_what_continues_it() {
    let mut runner = runner();
    let first = runner.run(&batch(&[known(5), known(1)])).expect("only a row failed");
    assert_eq!(ids(&first), [Err(RowError::LogitsNotFinite { token_id: 6 }), Ok(2)]);
    let both = [InputToken::Sampled { row: 0 }, InputToken::Sampled { row: 1 }];
    let second = runner.run(&batch(&both)).expect("only a row failed");
    assert_eq!(ids(&second), [Err(RowError::PreviousTokenMissing { position: 1 }), Ok(3)]);
}

#[test]
fn rows_planned_on_a_failed_step_find_no_token() {
    let mut runner = runner();
    assert!(runner.run(&batch(&[known(1), known(6)])).is_err());
    let second = runner.run(&batch(&[InputToken::Sampled { row: 0 }, known(1)])).expect("the step is fine");
    assert_eq!(ids(&second), [Err(RowError::PreviousTokenMissing { position: 1 }), Ok(2)]);
}

#[test]
fn a_row_that_does_not_sample_has_no_token() {
    let mut runner = runner();
    let mut quiet = batch(&[known(1), known(2)]);
    quiet.rows[0].sample = None;
    let sampled = runner.run(&quiet).expect("the step is fine");
    assert_eq!(sampled.rows[0], Ok(Vec::new()));
    assert_eq!(sampled.rows[1].as_ref().map(|tokens| tokens[0].token), Ok(TokenId(3)));
    let error = runner.run(&batch(&[known(8)])).expect_err("the vocabulary ends at 7").to_string();
    assert_eq!(error, "batch names 8 token, limit 7");
}
