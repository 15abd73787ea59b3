//! Choices against plain sorting, and random numbers against published ones.

use std::num::NonZeroU32;

use spillway_types::Seed;

use super::*;

mod device_golden;

const GOLDEN: &str = include_str!("../../../tests/golden/philox.json");

fn row(sampling: Sampling, position: u32) -> RowSampling {
    RowSampling { sampling, seed: Seed(7), choice: 0, position, logprobs: None, rules: None, outputs: 0..0 }
}

fn random(temperature: f32, top_k: Option<u32>, top_p: f32, min_p: f32) -> Sampling {
    let top_k = top_k.map(|k| NonZeroU32::new(k).expect("k is positive"));
    Sampling::new(temperature, top_k, top_p, min_p).expect("the values are in range")
}

fn draw_ids(logits: &[f32], sampling: Sampling, draws: u32) -> Vec<u32> {
    let mut sampler = Sampler::new(logits.len());
    let mut counts = vec![0; logits.len()];
    for position in 0..draws {
        let sampled = sampler.sample(logits, &row(sampling, position), &[]).expect("logits are finite");
        counts[sampled.token.0 as usize] += 1;
    }
    counts
}

#[test]
fn philox_gives_the_published_words() {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).expect("the golden is JSON");
    let cases = golden["cases"].as_array().expect("a list of cases");
    assert!(cases.len() > 3);
    for case in cases {
        let word = |key: &str, i: usize| case[key][i].as_u64().expect("a word") as u32;
        let counter = std::array::from_fn(|i| word("counter", i));
        let output: [u32; 4] = std::array::from_fn(|i| word("output", i));
        assert_eq!(philox4x32_10(counter, std::array::from_fn(|i| word("key", i))), output);
    }
}

#[test]
fn greedy_takes_the_lowest_id_of_equals() {
    let mut logits = vec![0.0; 300];
    (logits[70], logits[71], logits[290]) = (2.0, 2.0, 2.0);
    let sampled = Sampler::new(300).sample(&logits, &row(Sampling::Greedy, 0), &[]).expect("finite");
    assert_eq!(sampled.token, TokenId(70));
    let exact = 2.0 - (3.0 * 2.0_f64.exp() + 297.0).ln();
    assert!((f64::from(sampled.logprob) - exact).abs() < 1e-6);
    let below_zero = [f32::NEG_INFINITY, -3.0, -2.5];
    let sampled = Sampler::new(3).sample(&below_zero, &row(Sampling::Greedy, 0), &[]).expect("finite");
    assert_eq!(sampled.token, TokenId(2));
}

#[test]
fn logits_that_are_no_distribution_fail_the_row() {
    let mut sampler = Sampler::new(40);
    for (at, value) in [(0, f32::NAN), (39, f32::NAN), (17, f32::INFINITY)] {
        let mut logits = vec![1.0; 40];
        logits[at] = value;
        let error = sampler.sample(&logits, &row(Sampling::Greedy, 0), &[]).expect_err("not finite");
        assert_eq!(error, RowError::LogitsNotFinite { token_id: at as u32 });
    }
    let error =
        sampler.sample(&[f32::NEG_INFINITY; 40], &row(Sampling::Greedy, 0), &[]).expect_err("no mass");
    assert_eq!(error, RowError::LogitsNotFinite { token_id: 0 });
}

#[test]
fn draws_follow_the_distribution_at_the_temperature() {
    let logits = [0.0, 1.0, -1.0, 0.5];
    for temperature in [0.5_f32, 1.0, 2.0] {
        let counts = draw_ids(&logits, random(temperature, None, 1.0, 0.0), 40_000);
        let weights = logits.map(|logit: f32| f64::from(logit / temperature).exp());
        let total: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(*count) / 40_000.0;
            assert!((share - weight / total).abs() < 0.01, "share {share}, expected {}", weight / total);
        }
    }
}

/// Goal: the cuts keep what their definitions say. Method: a plain sort is the reference, on logits with many equals.
#[test]
fn cuts_keep_what_a_full_sort_would_keep() {
    let logits: Vec<f32> =
        (0..500_u32).map(|i| (philox4x32_10([i, 0, 0, 0], [1, 2])[0] % 64) as f32 * 0.125).collect();
    for (top_k, top_p, min_p) in [
        (Some(1), 1.0, 0.0),
        (Some(37), 1.0, 0.0),
        (Some(5000), 1.0, 0.0),
        (None, 0.3, 0.0),
        (None, 0.001, 0.0),
        (None, 0.999_999, 0.0),
        (None, 1.0, 0.2),
        (None, 1.0, 1.0),
        (Some(100), 0.5, 0.05),
    ] {
        for temperature in [0.3, 1.0, 1.7] {
            let Sampling::Random(random) = random(temperature, top_k, top_p, min_p) else {
                panic!("the temperature is above zero");
            };
            let expected = reference_cut(&logits, &random);
            let counts = draw_ids(&logits, Sampling::Random(random), 400);
            let outside = counts.iter().enumerate().find(|(id, count)| **count > 0 && !expected.contains(id));
            assert_eq!(outside, None, "{random:?}");
            let mut candidates = Candidates::with_capacity(logits.len());
            assert_eq!(cut_like_draw(&mut candidates, &logits, &random), expected.len(), "{random:?}");
        }
    }
}

fn cut_like_draw(candidates: &mut Candidates, logits: &[f32], random: &RandomSampling) -> usize {
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    candidates.fill(logits, maximum, random.temperature());
    cut(&mut *candidates, random);
    candidates.len()
}

/// The ids that remain, by sorting everything.
fn reference_cut(logits: &[f32], random: &RandomSampling) -> Vec<usize> {
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: &usize| (f64::from(logits[*id] - maximum) / f64::from(random.temperature())).exp();
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    ids.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    if let Some(min_p) = random.min_p() {
        ids.retain(|id| weight(id) >= f64::from(min_p) - 1e-7);
    }
    ids.truncate(random.top_k().map_or(ids.len(), |k| k.get() as usize));
    if let Some(top_p) = random.top_p() {
        let total: f64 = ids.iter().map(weight).sum();
        let mut sum = 0.0;
        let enough = ids.iter().position(|id| {
            sum += weight(id);
            sum >= f64::from(top_p) * total
        });
        ids.truncate(enough.map_or(ids.len(), |last| last + 1));
    }
    ids
}

#[test]
fn a_draw_depends_on_seed_choice_and_position_only() {
    let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32 * 0.1).collect();
    let sampling = random(1.0, None, 1.0, 0.0);
    let draw = |seed, choice, position| {
        let mut sampler = Sampler::new(100);
        // An earlier draw must leave no trace.
        sampler.sample(&logits, &row(sampling, 999), &[]).expect("finite");
        let row = RowSampling { seed: Seed(seed), choice, ..row(sampling, position) };
        sampler.sample(&logits, &row, &[]).expect("finite").token.0
    };
    assert_eq!(draw(1, 0, 5), draw(1, 0, 5));
    let series = |seed, choice| (0..20).map(|position| draw(seed, choice, position)).collect::<Vec<_>>();
    assert_ne!(series(1, 0), series(1, 1));
    assert_ne!(series(1, 0), series(2, 0));
    assert_ne!(series(1, 0), series(1 + (1 << 32), 0));
}
