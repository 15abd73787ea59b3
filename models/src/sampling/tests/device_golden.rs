//! What the kernels of a GPU must choose too: cases with their outcome, kept where the kernels' tests read them.
//!
//! Logits and rules are made by formulas that stand here and in `kernels/cuda/emu/test_sampling_golden.cpp`.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;

use spillway_types::{Penalties, Seed, TokenBias};

use super::*;
use crate::batch::LogitRules;

const KEPT: &str = include_str!("../../../../kernels/cuda/emu/golden_sampling.hpp");

/// Which rules a case has, as bits.
const ALLOWED: u32 = 1;
const BAD_WORDS: u32 = 2;
const END_TOKENS: u32 = 4;
const BIAS: u32 = 8;
const PENALTIES: u32 = 16;

/// Goal: the CPU and the kernels choose alike. Method: both are held against one file, which only this test writes.
#[test]
fn choices_are_those_that_the_kernels_are_held_against() {
    let made = golden();
    assert!(made == KEPT, "kernels/cuda/emu/golden_sampling.hpp should read:\n{made}");
}

fn golden() -> String {
    let mut text = String::from(
        "// Choices of the CPU path, written by models/src/sampling/tests/device_golden.rs; not edited by hand.\n//\n\
         // vocab, kind of logits, rules, is greedy, bits of 1 / temperature, top_k, bits of top_p and of min_p, seed, choice,\n\
         // position; then status, token, bits of the log-probability, rank.\n#pragma once\n#include \"../port.cuh\"\n\n\
         struct GoldenCase {\n    u32 vocab, kind, rules, is_greedy, inverse_temperature, top_k, top_p, min_p;\n    u64 seed;\n    \
         u32 choice, position, status, token, logprob, rank;\n};\n\nconstexpr GoldenCase GOLDEN[] = {\n",
    );
    let mut case_idx = 0;
    for (vocab, kinds, ways) in [(1, 0..1, 0..9), (17, 0..5, 0..9), (300, 0..5, 0..9), (4099, 0..5, 0..9)]
        .into_iter()
        .chain([(49_152, 2..3, 2..5)])
    {
        for kind in kinds {
            let logits: Vec<f32> = (0..vocab).map(|token| logit(token, vocab, kind)).collect();
            for way in ways.clone() {
                case_idx += 1;
                // Every other case without rules; of one token none can be forbidden.
                let rules = if case_idx % 2 == 0 || vocab == 1 { 0 } else { case_idx / 2 * 11 % 32 };
                line(&mut text, &logits, [kind, rules, case_idx], way);
            }
        }
    }
    text + "};\n"
}

/// Chooses, and writes the case down.
fn line(text: &mut String, logits: &[f32], [kind, rules, case_idx]: [u32; 3], way: usize) {
    let vocab = logits.len() as u32;
    let (temperature, top_k, top_p, min_p) = [
        (0.0, 0, 1.0, 0.0),
        (1.0, 0, 1.0, 0.0),
        (0.6, 20, 0.95, 0.0),
        (1.5, 0, 0.9, 0.0),
        (1.0, 5, 1.0, 0.0),
        (2.0, 0, 1.0, 0.05),
        (0.05, 0, 0.5, 0.0),
        (1.3, 1000, 0.99, 0.001),
        (2.0, 3000, 1.0, 0.0),
    ][way];
    let sampling = Sampling::new(temperature, NonZeroU32::new(top_k), top_p, min_p).expect("in range");
    let seed = Seed(u64::from(case_idx) * 0x1_0000_0007);
    let (choice, position) = (case_idx % 3, case_idx * 5);
    let row = RowSampling {
        sampling,
        seed,
        choice,
        position,
        logprobs: Some(TopLogprobs::NONE),
        rules: Some(Arc::new(logit_rules(vocab, rules, position))),
        outputs: 0..0,
    };
    let chosen = Sampler::new(logits.len()).sample(logits, &row, &outputs(vocab));
    let (status, token, logprob, rank) = match chosen {
        Ok(scored) => {
            let rank = scored.ranking.expect("it was asked for").rank;
            (0, scored.token.0, scored.logprob.to_bits(), rank)
        }
        Err(RowError::NoTokenLeft { .. }) => (2, 0, 0, 0),
        Err(error) => panic!("logits are finite, yet: {error}"),
    };
    let is_greedy = u32::from(sampling == Sampling::Greedy);
    let inverse = if is_greedy == 1 { 1.0 } else { 1.0 / temperature };
    let bits = [inverse, top_p, min_p].map(f32::to_bits);
    writeln!(
        text,
        "    {{{vocab}, {kind}, {rules}, {is_greedy}, {}, {top_k}, {}, {}, {}u, {choice}, {position}, {status}, {token}, {logprob}u, {rank}}},",
        bits[0], bits[1], bits[2], seed.0
    )
    .expect("text grows");
}

/// Logits of one kind: spread evenly, with many equals, with few that stand out, all equal, with some impossible.
fn logit(token: u32, vocab: u32, kind: u32) -> f32 {
    let word = philox4x32_10([token, vocab, kind, 7], [1, 2])[0];
    let even = (word >> 8) as f32 / 1_048_576.0 - 8.0;
    match kind {
        1 => (word % 64) as f32 * 0.125,
        2 if word.is_multiple_of(97) => even + 6.0,
        3 => 0.5,
        4 if word.is_multiple_of(3) && token > 0 => f32::NEG_INFINITY,
        _ => even,
    }
}

fn outputs(vocab: u32) -> Vec<TokenId> {
    (0..12).map(|i| TokenId((i * i * 7 + 3) % vocab)).collect()
}

fn logit_rules(vocab: u32, rules: u32, position: u32) -> LogitRules {
    let mut made = LogitRules::default();
    let token = |id: u32| TokenId(id % vocab);
    let last = outputs(vocab).last().map_or(0, |token| token.0);
    if rules & ALLOWED > 0 {
        made.allowed =
            Some((0..vocab).filter(|id| (id * 5 + 1) % 3 != 0 || id + 1 == vocab).map(TokenId).collect());
    }
    if rules & BAD_WORDS > 0 {
        made.bad_words =
            vec![vec![token(last), token(11)], vec![token(last + 1), token(13)], vec![token(17)]];
    }
    if rules & END_TOKENS > 0 {
        made.end_tokens = [token(2), token(5)].into();
        made.first_end_position = position + 1;
    }
    if rules & BIAS > 0 {
        for i in 0..6_u16 {
            let bias = TokenBias {
                token: token(u32::from(i) * u32::from(i) * 31 + 4),
                bias: f32::from(i) * 1.25 - 3.0,
            };
            if made.bias.iter().all(|other| other.token != bias.token) {
                made.bias.push(bias);
            }
        }
    }
    if rules & PENALTIES > 0 {
        made.penalties = Penalties::new(1.3, 0.4, -0.2).expect("in range");
        for i in 0..10 {
            let token = token(i * 17 + 6);
            if !made.prompt_tokens.contains(&token) {
                made.prompt_tokens.push(token);
            }
        }
    }
    made
}
