//! The choice of tokens: every way to choose, rules, cuts, scores, and a row that fails beside them.

use std::num::NonZeroU32;

use super::super::error::CudaError;
use super::super::ops::sampling::{
    self, Choice, Draw, Exclusion, OutputToken, REPORT_WORDS, RowOutcome, RowPenalties, SamplingInput,
    SamplingOutput, SamplingReport, SamplingRows,
};
use super::{Check, Run, widen};

/// What penalties and biases of a row with rules are; it may choose even tokens only, and not the second.
const PENALTIES: RowPenalties = RowPenalties { repetition: 1.25, presence: 0.5, frequency: 0.25 };
const OUTPUTS: [u32; 4] = [0, 4, 4, 3];
const BIAS: (u32, f32) = (6, 1.5);
const EXCLUDED: u32 = 2;

/// Rows of a batch: greedy, three draws of which the last has rules, a score, and one that is NaN.
const NUM_ROWS: usize = 6;
const SCORED: usize = 4;
const BROKEN: usize = 5;

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for vocab in [17, 1000, 49_152, 128_256] {
        for rows_at_once in [NUM_ROWS, 4] {
            sample(run, vocab, rows_at_once)?;
        }
    }
    Ok(())
}

/// The draws of rows 1 to 3.
fn draws() -> [Draw; 3] {
    let plain = Draw {
        temperature: 1.0,
        top_k: None,
        top_p: None,
        min_p: None,
        seed: 0x0123_4567_89ab_cdef,
        choice: 1,
        position: 77,
    };
    let cut = Draw { top_k: NonZeroU32::new(2000), top_p: Some(0.9), min_p: Some(0.001), ..plain };
    [plain, Draw { temperature: 0.7, position: 78, ..cut }, Draw { temperature: 1.5, choice: 2, ..cut }]
}

fn make_rows(vocab: usize) -> Result<SamplingRows, CudaError> {
    let mut rows = SamplingRows::new(vocab, NUM_ROWS)?;
    rows.push(Choice::Greedy, Some(0), Some(20))?;
    for (draw, slot) in draws().into_iter().zip(1..) {
        let mut row = rows.push(Choice::Random(draw), Some(slot), Some(3))?;
        if slot == 3 {
            row.allow((0..vocab as u32).step_by(2))?;
            row.exclude([Exclusion { token: EXCLUDED, after: Some(OUTPUTS[3]) }])?;
            row.bias([BIAS])?.penalise(PENALTIES, [8, 10])?;
            row.outputs(OUTPUTS.map(OutputToken::Known))?;
        }
    }
    rows.push(Choice::Score { target: vocab as u32 / 2 }, None, Some(0))?;
    rows.push(Choice::Greedy, Some(BROKEN as u32), None)?;
    Ok(rows)
}

fn sample<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    vocab: usize,
    rows_at_once: usize,
) -> Result<(), CudaError> {
    let rows = make_rows(vocab)?;
    let mut logits: Vec<f32> = (0..NUM_ROWS * vocab).map(|_| run.random.signed() * 8.0).collect();
    logits[BROKEN * vocab + 5] = f32::NAN;
    let device = run.device;
    let device_logits = device.upload_new("a test's input", &logits)?;
    let orders = device.upload_new("a test's input", rows.orders())?;
    let lists = device.upload_new("a test's input", rows.lists())?;
    let previous = device.upload_new("a test's input", &[0_u32; NUM_ROWS])?;
    let mut tokens = run.poisoned::<u32>(NUM_ROWS)?;
    let mut report = run.poisoned::<u32>(NUM_ROWS * REPORT_WORDS)?;
    let mut scratch = run.poisoned::<u8>(rows_at_once * sampling::scratch_bytes_per_row(vocab))?;
    let input = SamplingInput {
        logits: device_logits.as_slice(),
        orders: orders.as_slice(),
        lists: lists.as_slice(),
        previous: previous.as_slice(),
    };
    let mut out = SamplingOutput {
        tokens: tokens.as_mut_slice(),
        report: report.as_mut_slice(),
        scratch: scratch.as_mut_slice(),
    };
    sampling::sample(device, input, &mut out)?;
    let words = device.download_vec(report.as_slice())?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let shape = format!("rows {NUM_ROWS} vocab {vocab}, {rows_at_once} at once");
    let mut judged = Judged::default();
    if let Some(report) = SamplingReport::new(&bytes, NUM_ROWS) {
        for (row, logits) in logits.chunks_exact(vocab).enumerate() {
            judged.judge(row, logits, &report);
        }
    }
    let slots = device.download_vec(tokens.as_slice())?;
    for (row, slot) in slots.iter().enumerate().filter(|(row, _)| *row != SCORED) {
        let token = judged.tokens.get(row).copied().unwrap_or(u32::MAX);
        judged.is_right.push(f64::from(u8::from(*slot == token)));
    }
    let all_right = vec![1.0; judged.is_right.len()];
    run.compare("sample token", shape.clone(), &judged.is_right, &all_right, 0.0);
    run.compare("sample logprob", shape, &judged.logprobs, &judged.expected, 1e-6);
    Ok(())
}

/// What a report says, held against sums in f64.
#[derive(Default)]
struct Judged {
    is_right: Vec<f64>,
    tokens: Vec<u32>,
    logprobs: Vec<f64>,
    expected: Vec<f64>,
}

impl Judged {
    fn judge(&mut self, row: usize, logits: &[f32], report: &SamplingReport<'_>) {
        let outcome = report.outcome(row);
        if row == BROKEN {
            self.is_right.push(f64::from(u8::from(outcome == RowOutcome::NotFinite { token: 5 })));
            self.tokens.push(0);
            return;
        }
        let RowOutcome::Chosen { token, logprob, rank } = outcome else {
            self.is_right.push(0.0);
            self.tokens.push(u32::MAX);
            return;
        };
        self.tokens.push(token);
        let values = widen(logits);
        let chosen = token as usize;
        let is_right = match row {
            0 => Some(chosen) == by_falling(&values).first().copied(),
            SCORED => chosen == logits.len() / 2,
            _ => {
                is_drawn(&if row == 3 { adjusted(logits) } else { values.clone() }, &draws()[row - 1], chosen)
            }
        };
        let expected_rank =
            values.iter().filter(|value| values.get(chosen).is_some_and(|own| *value >= own)).count();
        self.is_right
            .extend([is_right, rank as usize == expected_rank].map(|right| f64::from(u8::from(right))));
        let normaliser = values.iter().map(|value| value.exp()).sum::<f64>().ln();
        self.logprobs.push(f64::from(logprob));
        self.expected.push(values.get(chosen).map_or(f64::NAN, |value| value - normaliser));
        let count = [20, 3, 3, 3, 0][row];
        let told: Vec<(u32, f32)> = report.tops(row, count).collect();
        let tops: Vec<usize> = by_falling(&values).into_iter().take(count).collect();
        let same = told.iter().map(|(token, _)| *token as usize).eq(tops.iter().copied());
        self.is_right.push(f64::from(u8::from(same)));
        self.logprobs.extend(told.iter().map(|(_, logprob)| f64::from(*logprob)));
        self.expected.extend(tops.iter().take(told.len()).map(|&top| values[top] - normaliser));
    }
}

/// Tokens, the likeliest first, of equals the lowest.
fn by_falling(values: &[f64]) -> Vec<usize> {
    let mut tokens: Vec<usize> = (0..values.len()).collect();
    tokens.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    tokens
}

/// The logits of the row with rules.
fn adjusted(logits: &[f32]) -> Vec<f64> {
    let one = |(token, &logit): (u32, &f32)| {
        if token % 2 == 1 || token == EXCLUDED {
            return f64::NEG_INFINITY;
        }
        let biased = if token == BIAS.0 { logit + BIAS.1 } else { logit };
        let times = OUTPUTS.iter().filter(|output| **output == token).count() as f32;
        if times == 0.0 && token != 8 && token != 10 {
            return f64::from(biased);
        }
        let RowPenalties { repetition, presence, frequency } = PENALTIES;
        let scaled = if biased > 0.0 { biased / repetition } else { biased * repetition };
        f64::from(scaled - frequency * times - if times > 0.0 { presence } else { 0.0 })
    };
    (0..).zip(logits).map(one).collect()
}

/// Whether the draw's random number leads to `token`, up to rounding.
fn is_drawn(values: &[f64], draw: &Draw, token: usize) -> bool {
    let order = by_falling(values);
    let maximum = values[order[0]];
    let weight = |token: usize| ((values[token] - maximum) / f64::from(draw.temperature)).exp();
    let least = f64::from(draw.min_p.unwrap_or(0.0));
    let mut kept: Vec<usize> = order.into_iter().filter(|&token| weight(token) >= least).collect();
    kept.truncate(draw.top_k.map_or(kept.len(), |top_k| top_k.get() as usize));
    let total: f64 = kept.iter().map(|&token| weight(token)).sum();
    let wanted = total * draw.top_p.map_or(2.0, f64::from);
    let mut sum = 0.0;
    kept.retain(|&token| {
        let is_wanted = sum < wanted;
        sum += if is_wanted { weight(token) } else { 0.0 };
        is_wanted
    });
    let before: f64 = kept.iter().filter(|&&other| other < token).map(|&other| weight(other)).sum();
    let at = uniform(draw) * sum;
    let slack = 1e-6 * sum;
    kept.contains(&token) && before - slack <= at && at <= before + weight(token) + slack
}

/// The number in [0, 1) of a draw, by Philox4x32-10.
fn uniform(draw: &Draw) -> f64 {
    let key = philox([draw.choice, 0, 0, 1], [draw.seed as u32, (draw.seed >> 32) as u32]);
    let words = philox([draw.position, 0, 0, 0], [key[0], key[1]]);
    let bits = (u64::from(words[0]) << 21) ^ (u64::from(words[1]) >> 11);
    bits as f64 / (1_u64 << 53) as f64
}

fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut words = counter;
    for round in 0..10_u32 {
        let first = u64::from(words[0]) * 0xd251_1f53;
        let second = u64::from(words[2]) * 0xcd9e_8d57;
        let keys = [
            key[0].wrapping_add(0x9e37_79b9_u32.wrapping_mul(round)),
            key[1].wrapping_add(0xbb67_ae85_u32.wrapping_mul(round)),
        ];
        let high = |product: u64| (product >> 32) as u32;
        words = [
            high(second) ^ words[1] ^ keys[0],
            second as u32,
            high(first) ^ words[3] ^ keys[1],
            first as u32,
        ];
    }
    words
}
