//! Goal: tokens that a GPU chooses are those that the host would choose from its logits, and steps need not wait for them.
//! Method: the same steps on two runners over one tiny random model on the emulated GPU, one of which leaves the choice to the
//! host.

use std::sync::Arc;

use spillway_kernels::cuda::CudaConfig;
use spillway_types::{Penalties, TokenBias, TopLogprobs};

use super::gpu::{PLAIN, gpu, wide_spec};
use super::*;
use crate::batch::{LogitRules, RowError, RowScoring, RowTokens, SampledTokens};
use crate::runner::{LaunchedStep, ModelRunner};

const BLOCK_TOKENS: u32 = 16;
const BLOCKS_PER_ROW: u32 = (MAX_LEN as u32).div_ceil(BLOCK_TOKENS);
const NUM_ROWS: u32 = 4;

/// Who chooses tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Chooser {
    Device,
    /// The device, but rules have no room there.
    DeviceWithoutLists,
    Host,
}

fn runner(device: &Device, chooser: Chooser) -> ModelRunner {
    let mut decoder = decoder_on(device.clone(), wide_spec(), WeightType::BF16, DtypePolicy::Auto);
    let vocab_size = decoder.spec.vocab_size;
    let limits = decoder.batch.limits();
    match chooser {
        Chooser::Device => {}
        Chooser::DeviceWithoutLists => {
            let batch = StepBatch::new(limits).expect("it is small");
            decoder.batch = batch.with_sampling(vocab_size, 0).expect("it is small");
        }
        Chooser::Host => decoder.buffers.sampler = None,
    }
    let layout = decoder.spec.kv_layout(DType::BF16);
    let block_size = BlockSize::try_from(BLOCK_TOKENS).expect("a power of two");
    let kv = KvCache::new(device, &layout, block_size, NUM_ROWS * BLOCKS_PER_ROW).expect("it is small");
    let runner_limits = decoder.limits;
    ModelRunner::new(Box::new(decoder), kv, runner_limits)
}

fn random(temperature: f32) -> Sampling {
    Sampling::new(temperature, None, 0.95, 0.0).expect("within limits")
}

/// Rows that ask for everything that can be asked for. The prompt of row 2 is scored.
fn sampling_of(row: u32, position: u32, outputs: std::ops::Range<u32>) -> RowSampling {
    let top = |count| TopLogprobs::try_from(count).ok();
    let rules = LogitRules {
        bad_words: vec![vec![TokenId(7)], vec![TokenId(3), TokenId(4)]],
        end_tokens: Arc::from([TokenId(0), TokenId(1)]),
        first_end_position: 40,
        bias: vec![TokenBias { token: TokenId(9), bias: 2.5 }],
        penalties: Penalties::new(1.3, 0.5, 0.25).expect("within limits"),
        prompt_tokens: vec![TokenId(5), TokenId(6)],
        ..LogitRules::default()
    };
    let allowed = LogitRules { allowed: Some((20..60).map(TokenId).collect()), ..LogitRules::default() };
    let (sampling, logprobs, rules) = match row {
        0 => (Sampling::Greedy, None, None),
        1 => (random(1.5), top(3), Some(rules)),
        2 => (random(0.7), top(0), None),
        _ => (random(2.0), None, Some(allowed)),
    };
    RowSampling {
        sampling,
        seed: Seed(u64::from(row) * 77 + 5),
        choice: row,
        position,
        logprobs,
        rules: rules.map(Arc::new),
        outputs,
    }
}

/// The step that computes the prompts, of 5 tokens and 2 more for each row.
fn prompts() -> ForwardBatch {
    let mut batch = ForwardBatch::default();
    for row in 0..NUM_ROWS {
        let len = 5 + 2 * row;
        let first = batch.tokens.len() as u32;
        let tokens = sequence(row, len);
        batch.tokens.extend(tokens.iter().map(|&token| InputToken::Known(TokenId(token))));
        batch.positions.extend(0..len);
        let score = (row == 2).then(|| {
            batch.targets.extend(tokens[1..].iter().map(|&token| TokenId(token)));
            RowScoring { targets: 0..len - 1, top: TopLogprobs::try_from(2).expect("within limits") }
        });
        push_row(&mut batch, row, first..first + len, len, score, 0..0);
    }
    batch
}

/// The step after one of `rows` at `positions`: each row goes on with the token that it has sampled.
fn next(generated: &[Vec<TokenId>], step: u32) -> ForwardBatch {
    let mut batch = ForwardBatch::default();
    for row in 0..NUM_ROWS {
        let position = 5 + 2 * row + step - 1;
        batch.tokens.push(InputToken::Sampled { row });
        batch.positions.push(position);
        let first = batch.outputs.len() as u32;
        if row == 1 {
            let known = generated[1].iter().take(step as usize - 1);
            batch.outputs.extend(known.map(|&token| InputToken::Known(token)));
            batch.outputs.push(InputToken::Sampled { row });
        }
        let outputs = first..batch.outputs.len() as u32;
        push_row(&mut batch, row, row..row + 1, position + 1, None, outputs);
    }
    batch
}

fn push_row(
    batch: &mut ForwardBatch,
    row: u32,
    tokens: std::ops::Range<u32>,
    kv_len: u32,
    score: Option<RowScoring>,
    outputs: std::ops::Range<u32>,
) {
    let first_block = batch.block_ids.len() as u32;
    batch.block_ids.extend((0..BLOCKS_PER_ROW).map(|i| BlockId(row * BLOCKS_PER_ROW + i)));
    batch.rows.push(ForwardRow {
        seq_id: SeqId(u64::from(row)),
        tokens,
        kv_len,
        blocks: first_block..first_block + BLOCKS_PER_ROW,
        score,
        sample: Some(sampling_of(row, kv_len, outputs)),
    });
}

/// Runs the prompts and some steps more, with up to `in_flight` steps begun before the first is finished.
fn generate(runner: &mut ModelRunner, in_flight: usize) -> Vec<SampledTokens> {
    const NUM_STEPS: u32 = 6;
    let mut generated = vec![Vec::new(); NUM_ROWS as usize];
    let mut launched: Vec<LaunchedStep> = Vec::new();
    let mut finished: Vec<SampledTokens> = Vec::new();
    for step in 0..=NUM_STEPS {
        while launched.len() >= in_flight || (step == NUM_STEPS && !launched.is_empty()) {
            let sampled = launched.remove(0).finish().expect("the step is fine");
            for (tokens, row) in generated.iter_mut().zip(&sampled.rows) {
                let row = row.as_ref().expect("the row is fine");
                tokens.extend(row.sampled.iter().map(|sampled| sampled.token));
            }
            finished.push(sampled);
        }
        if step < NUM_STEPS {
            let batch = if step == 0 { prompts() } else { next(&generated, step) };
            launched.push(runner.launch(batch).expect("the step begins"));
        }
    }
    finished
}

/// Compares tokens and rankings, and log-probabilities nearly: sums are added in another order.
fn assert_same(expected: &[SampledTokens], actual: &[SampledTokens], context: &str) {
    assert_eq!(expected.len(), actual.len(), "{context}");
    for (step, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        for (row, (expected, actual)) in expected.rows.iter().zip(&actual.rows).enumerate() {
            let all = |row: &RowTokens| {
                let row = row.as_ref().expect("the row is fine");
                row.scored.iter().chain(&row.sampled).cloned().collect::<Vec<_>>()
            };
            let (expected, actual) = (all(expected), all(actual));
            assert_eq!(expected.len(), actual.len(), "{context}: step {step}, row {row}");
            for (expected, actual) in expected.iter().zip(&actual) {
                let context = format!("{context}: step {step}, row {row}: {expected:?} {actual:?}");
                assert_eq!(expected.token, actual.token, "{context}");
                assert!((expected.logprob - actual.logprob).abs() < 1e-4, "{context}");
                let ranks = |ranking: &Option<spillway_types::Ranking>| {
                    ranking.as_ref().map(|ranking| {
                        let tops: Vec<TokenId> = ranking.top.iter().map(|top| top.token).collect();
                        (ranking.rank, tops)
                    })
                };
                assert_eq!(ranks(&expected.ranking), ranks(&actual.ranking), "{context}");
            }
        }
    }
}

#[test]
fn a_gpu_chooses_the_tokens_that_the_host_would_choose() {
    for records_steps in [false, true] {
        let config = CudaConfig { records_steps, ..PLAIN };
        let Some(device) = gpu(config) else { return };
        let expected = generate(&mut runner(&device, Chooser::Host), 1);
        for chooser in [Chooser::Device, Chooser::DeviceWithoutLists] {
            let mut runner = runner(&device, chooser);
            for in_flight in [1, 2] {
                let actual = generate(&mut runner, in_flight);
                let context = format!("recorded {records_steps}, {chooser:?}, {in_flight} in flight");
                assert_same(&expected, &actual, &context);
            }
        }
    }
}

/// All shapes of decodes that these tests' steps can have are recorded at start, so none is recorded later.
#[test]
fn steps_that_were_rehearsed_give_what_launched_ones_do() {
    let Some(device) = gpu(CudaConfig { records_steps: true, ..PLAIN }) else { return };
    let expected = generate(&mut runner(&device, Chooser::Host), 1);
    let mut rehearsed = runner(&device, Chooser::Device);
    let free_bytes = device.free_bytes();
    // Buckets of 1, 2 and 4 rows, of up to 256 keys: sequences are no longer.
    assert_eq!(rehearsed.prepare().expect("shapes can be recorded"), 3);
    assert_eq!(rehearsed.prepare().expect("shapes can be recorded"), 3);
    for in_flight in [1, 2] {
        assert_same(&expected, &generate(&mut rehearsed, in_flight), "rehearsed");
    }
    assert_eq!(rehearsed.prepare().expect("shapes can be recorded"), 3);
    assert_eq!(device.free_bytes(), free_bytes);
    let mut without = runner(&gpu(PLAIN).expect("it was there before"), Chooser::Device);
    assert_eq!(without.prepare().expect("there is nothing to record"), 0);
}

#[test]
fn a_row_that_the_device_cannot_choose_for_fails_alone_and_so_does_what_continues_it() {
    let Some(device) = gpu(PLAIN) else { return };
    let mut runner = runner(&device, Chooser::Device);
    let mut first = prompts();
    let nothing = LogitRules { allowed: Some(Vec::new()), ..LogitRules::default() };
    first.rows[3].sample.as_mut().expect("it samples").rules = Some(Arc::new(nothing));
    let first = runner.launch(first).expect("the step begins");
    let second = runner.launch(next(&vec![Vec::new(); 4], 1)).expect("the step begins");
    let (first, second) = (first.finish().expect("a step"), second.finish().expect("a step"));
    assert_eq!(first.rows[3], Err(RowError::NoTokenLeft { position: 11 }));
    assert_eq!(second.rows[3], Err(RowError::PreviousTokenMissing { position: 12 }));
    assert!(first.rows[..3].iter().chain(&second.rows[..3]).all(Result::is_ok));
}

#[test]
fn a_step_that_could_not_begin_leaves_nothing_to_continue() {
    let Some(device) = gpu(PLAIN) else { return };
    let mut runner = runner(&device, Chooser::Device);
    let mut broken = prompts();
    broken.tokens[0] = InputToken::Known(TokenId(100_000));
    let first = runner.launch(prompts()).expect("the step begins");
    assert!(runner.launch(broken).is_err());
    let third = runner.launch(next(&vec![Vec::new(); 4], 1)).expect("the step begins");
    assert!(first.finish().is_ok());
    for row in third.finish().expect("a step").rows {
        assert!(matches!(row, Err(RowError::PreviousTokenMissing { .. })), "{row:?}");
    }
}
