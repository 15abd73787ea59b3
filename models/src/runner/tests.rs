//! The runner around a model that counts: tokens still to come, failing rows, failing steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use spillway_kernels::{CpuOptions, DType, Device};
use spillway_types::{BlockId, BlockSize, Sampling, ScoredToken, Seed, SeqId, TopLogprobs};

use super::*;
use crate::batch::{BatchRow, LogitRules, RowError, RowOutput, RowSampling, RowScoring};
use crate::kv_cache::KvLayout;
use crate::model::{Logits, PendingTokens};
use crate::spec::{Activation, Attention, DecoderSpec, LayerSpec, Norms, Rope, RopeScaling};

/// Answers that the token after `t` is `t + 1`; after token 5 its logits are NaN, token 6 breaks the step, and
/// at token 7 it panics.
struct Counting {
    spec: DecoderSpec,
    logits: Vec<f32>,
}

impl Model for Counting {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(
        &mut self,
        batch: &ForwardBatch,
        _kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        self.logits.clear();
        for row in &batch.rows {
            let end = row.tokens.end as usize;
            for token in &batch.tokens[end - row.num_logits() as usize..end] {
                let InputToken::Known(token) = token else {
                    panic!("the runner fills in sampled tokens");
                };
                if token.0 == 6 {
                    return Err(ModelError::OverLimit { name: "token", value: 6, limit: 5 });
                }
                assert_ne!(token.0, 7, "a planted panic");
                let value = if token.0 == 5 { f32::NAN } else { 1.0 };
                self.logits.extend((0..8).map(|id| if id == token.0 + 1 { value } else { 0.0 }));
            }
        }
        // Slices of three rows, wherever the batch's rows end.
        for slice in self.logits.chunks(3 * 8) {
            sink(Logits::new(slice, 8));
        }
        Ok(())
    }
}

fn runner() -> ModelRunner {
    let spec = DecoderSpec {
        architecture: "counting",
        hidden_size: 1,
        num_heads: 1,
        num_kv_heads: 1,
        head_dim: 16,
        vocab_size: 8,
        max_positions: 64,
        embedding_scale: None,
        norm_eps: 1e-5,
        norms: Norms::Pre,
        attention: Attention::plain(16),
        activation: Activation::Silu,
        ropes: vec![Rope { theta: 1e4, rotary_dim: 16, scaling: RopeScaling::None }],
        layers: vec![LayerSpec::plain(1)],
        logit_soft_cap: None,
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
    let sample = RowSampling {
        sampling: Sampling::Greedy,
        seed: Seed(0),
        choice: 0,
        position: 1,
        logprobs: None,
        rules: None,
        outputs: 0..0,
    };
    ForwardBatch {
        tokens: tokens.to_vec(),
        positions: vec![0; tokens.len()],
        rows: (0..tokens.len() as u32)
            .map(|i| BatchRow {
                seq_id: SeqId(u64::from(i)),
                tokens: i..i + 1,
                kv_len: 1,
                blocks: i..i + 1,
                score: None,
                sample: Some(sample.clone()),
            })
            .collect(),
        block_ids: (0..tokens.len() as u32).map(BlockId).collect(),
        targets: Vec::new(),
        outputs: Vec::new(),
    }
}

fn known(id: u32) -> InputToken {
    InputToken::Known(TokenId(id))
}

fn ids(sampled: &SampledTokens) -> Vec<Result<u32, RowError>> {
    sampled
        .rows
        .iter()
        .map(|row| row.as_ref().map(|output| output.sampled[0].token.0).map_err(|error| *error))
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
fn rows_planned_on_a_step_that_panicked_find_no_token() {
    let mut runner = runner();
    runner.run(&batch(&[known(1)])).expect("the step is fine");
    let panics = batch(&[known(2), known(7), known(3)]);
    assert!(catch_unwind(AssertUnwindSafe(|| runner.run(&panics))).is_err());
    let rows = [InputToken::Sampled { row: 2 }, InputToken::Sampled { row: 0 }, known(0)];
    let next = runner.run(&batch(&rows)).expect("the step is fine");
    let missing = Err(RowError::PreviousTokenMissing { position: 1 });
    assert_eq!(ids(&next), [missing, missing, Ok(1)]);
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
    assert_eq!(sampled.rows[0], Ok(RowOutput::default()));
    assert_eq!(sampled.rows[1].as_ref().map(|output| output.sampled[0].token), Ok(TokenId(3)));
    let error = runner.run(&batch(&[known(8)])).expect_err("the vocabulary ends at 7").to_string();
    assert_eq!(error, "batch names 8 token, limit 7");
}

/// One row of several tokens, which scores all that follow its first one and samples.
fn scoring(tokens: &[u32], targets: &[u32]) -> ForwardBatch {
    let inputs: Vec<InputToken> = tokens.iter().map(|&id| known(id)).collect();
    let num_tokens = tokens.len() as u32;
    let mut scoring = batch(&inputs);
    scoring.positions = (0..num_tokens).collect();
    scoring.rows.truncate(1);
    scoring.block_ids.truncate(1);
    scoring.targets = targets.iter().map(|&id| TokenId(id)).collect();
    let score = RowScoring { targets: 0..targets.len() as u32, top: TopLogprobs::NONE };
    scoring.rows[0] = BatchRow {
        tokens: 0..num_tokens,
        kv_len: num_tokens,
        blocks: 0..1,
        score: Some(score),
        ..scoring.rows[0].clone()
    };
    scoring
}

/// Goal: targets are scored in order, by the logits before them. Method: the model expects `t + 1`, so a target has
/// rank 1 only if it is that.
#[test]
fn a_prompt_is_scored_and_sampled_in_slices_of_any_length() {
    let mut runner = runner();
    let mut step = scoring(&[1, 2, 4, 0, 1], &[2, 4, 0, 1]);
    let other = batch(&[known(3)]);
    step.tokens.extend(&other.tokens);
    step.positions.push(0);
    let offset = BatchRow { tokens: 5..6, ..other.rows[0].clone() };
    step.rows.push(offset);
    let sampled = runner.run(&step).expect("the step is fine");
    let output = sampled.rows[0].as_ref().expect("all is finite");
    let scored: Vec<_> = output
        .scored
        .iter()
        .map(|scored| (scored.token.0, scored.ranking.as_ref().expect("it was asked for").rank))
        .collect();
    assert_eq!(scored, [(2, 1), (4, 8), (0, 8), (1, 1)]);
    assert_eq!(ids(&sampled), [Ok(2), Ok(4)]);
}

#[test]
fn a_row_fails_alone_when_a_scored_token_has_no_distribution() {
    let mut runner = runner();
    let step = scoring(&[5, 1], &[1]);
    let sampled = runner.run(&step).expect("only a row failed");
    assert_eq!(sampled.rows[0], Err(RowError::LogitsNotFinite { token_id: 6 }));
}

#[test]
fn a_row_cannot_score_more_than_it_computes() {
    let error = runner().run(&scoring(&[1, 2], &[2, 3])).expect_err("two tokens, one of which samples");
    assert_eq!(error.to_string(), "row 0 has targets 0..2 of 2, and 1 tokens to score them with");
}

/// Goal: rules see a token that was not known when the step was planned. Method: the second step may not repeat what
/// the first one sampled, which is all that speaks for its second choice.
#[test]
fn rules_see_the_token_that_the_previous_step_sampled() {
    let mut runner = runner();
    runner.run(&batch(&[known(1)])).expect("the step is fine");
    let mut second = batch(&[InputToken::Sampled { row: 0 }]);
    // The model expects 3 after 2, and 2 then 3 is a bad word.
    let rules = LogitRules { bad_words: vec![vec![TokenId(2), TokenId(3)]], ..LogitRules::default() };
    second.outputs = vec![InputToken::Sampled { row: 0 }];
    let sample = second.rows[0].sample.as_mut().expect("it samples");
    (sample.rules, sample.outputs) = (Some(Arc::new(rules)), 0..1);
    let sampled = runner.run(&second).expect("the step is fine");
    assert_eq!(ids(&sampled), [Ok(0)], "of equal ones the lowest");
    second.rows[0].sample.as_mut().expect("it samples").outputs = 0..2;
    let error = runner.run(&second).expect_err("there is one output").to_string();
    assert_eq!(error, "row 0 has outputs 0..2 of 1");
}

/// As [`Counting`], but like a device: it keeps what rows sample, and a step fails only when it is waited for. Sampling 6
/// breaks the step, and sampling 7 makes it panic.
struct Deferring {
    spec: DecoderSpec,
    sampled: Vec<u32>,
}

#[derive(Debug)]
struct DeferredTokens(Vec<u32>);

impl Model for Deferring {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(
        &mut self,
        _batch: &ForwardBatch,
        _kv: &mut KvCache,
        _sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        panic!("the host is not asked");
    }

    fn launch(
        &mut self,
        batch: &ForwardBatch,
        _kv: &mut KvCache,
    ) -> Result<Option<Box<dyn PendingTokens>>, ModelError> {
        let previous = std::mem::take(&mut self.sampled);
        let next = |token: &InputToken| match *token {
            InputToken::Known(token) => token.0 + 1,
            InputToken::Sampled { row } => previous[row as usize] + 1,
        };
        self.sampled = batch.tokens.iter().map(next).collect();
        Ok(Some(Box::new(DeferredTokens(self.sampled.clone()))))
    }
}

impl PendingTokens for DeferredTokens {
    fn wait(self: Box<Self>, _batch: &ForwardBatch) -> Result<SampledTokens, ModelError> {
        assert!(!self.0.contains(&7), "a planted panic");
        if self.0.contains(&6) {
            return Err(ModelError::OverLimit { name: "token", value: 6, limit: 5 });
        }
        let token = |id: &u32| ScoredToken { token: TokenId(*id), logprob: 0.0, ranking: None };
        let row = |id| Ok(RowOutput { scored: Vec::new(), sampled: vec![token(id)] });
        Ok(SampledTokens { rows: self.0.iter().map(row).collect() })
    }
}

fn deferring_runner() -> ModelRunner {
    let ModelRunner { model, kv, limits, .. } = runner();
    ModelRunner::new(Box::new(Deferring { spec: model.spec().clone(), sampled: Vec::new() }), kv, limits)
}

fn sampled_by(row: u32) -> InputToken {
    InputToken::Sampled { row }
}

#[test]
fn steps_on_a_device_are_begun_before_the_last_is_finished() {
    let mut runner = deferring_runner();
    let first = runner.launch(batch(&[known(1), known(3)])).expect("it begins");
    let second = runner.launch(batch(&[sampled_by(1), sampled_by(0)])).expect("it begins");
    assert_eq!(ids(&first.finish().expect("a step")), [Ok(2), Ok(4)]);
    assert_eq!(ids(&second.finish().expect("a step")), [Ok(5), Ok(3)]);
}

#[test]
fn what_continues_a_step_that_failed_on_its_device_finds_no_token() {
    let mut runner = deferring_runner();
    let first = runner.launch(batch(&[known(5)])).expect("it begins");
    let second = runner.launch(batch(&[known(1), sampled_by(0)])).expect("it begins");
    let error = first.finish().expect_err("it breaks").to_string();
    assert!(error.contains("token"), "{error}");
    // Sampling 7 on top of a 6 that nobody got: the second step panics, and takes nobody's token for granted either.
    assert!(catch_unwind(AssertUnwindSafe(|| second.finish())).is_err());
    let third = runner.launch(batch(&[sampled_by(0), known(2)])).expect("it begins");
    let missing = Err(RowError::PreviousTokenMissing { position: 1 });
    assert_eq!(ids(&third.finish().expect("a step")), [missing, Ok(3)]);
}
