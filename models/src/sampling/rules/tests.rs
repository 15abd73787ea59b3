//! Each rule alone, all together against a plain computation, and that nothing is left behind.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use spillway_types::{Penalties, TokenBias};

use super::*;

const VOCAB: usize = 12;

fn tokens(ids: &[u32]) -> Vec<TokenId> {
    ids.iter().map(|&id| TokenId(id)).collect()
}

fn logits() -> Vec<f32> {
    (0..VOCAB).map(|i| (i as f32 - 5.0) * 0.5).collect()
}

fn apply(rules: &LogitRules, outputs: &[u32]) -> Vec<f32> {
    let mut adjuster = Adjuster::new(VOCAB);
    adjuster.apply(&logits(), rules, &tokens(outputs), 10).expect("a token is left").to_vec()
}

/// Which tokens cannot come.
fn excluded(rules: &LogitRules, outputs: &[u32]) -> Vec<usize> {
    let logits = apply(rules, outputs);
    (0..VOCAB).filter(|&id| logits[id] == f32::NEG_INFINITY).collect()
}

#[test]
fn only_allowed_tokens_keep_their_logits() {
    let rules = LogitRules { allowed: Some(tokens(&[3, 7])), ..LogitRules::default() };
    let applied = apply(&rules, &[]);
    assert_eq!(excluded(&rules, &[]).len(), VOCAB - 2);
    assert_eq!([applied[3], applied[7]].map(f32::to_bits), [logits()[3], logits()[7]].map(f32::to_bits));
}

#[test]
fn a_bad_word_is_never_completed() {
    let rules = LogitRules { bad_words: vec![tokens(&[1, 2, 3]), tokens(&[5])], ..LogitRules::default() };
    for (outputs, expected) in
        [(&[][..], &[5][..]), (&[1, 2], &[3, 5]), (&[4, 1, 2], &[3, 5]), (&[1, 2, 4], &[5]), (&[2], &[5])]
    {
        assert_eq!(excluded(&rules, outputs), expected, "after {outputs:?}");
    }
}

#[test]
fn end_tokens_are_excluded_until_the_least_number_of_tokens_has_come() {
    let rules = |first_end_position| LogitRules {
        end_tokens: tokens(&[0, 11]).into(),
        first_end_position,
        ..LogitRules::default()
    };
    assert_eq!(excluded(&rules(11), &[]), [0, 11]);
    assert!(excluded(&rules(10), &[]).is_empty(), "the token at position 10 may be the end");
}

#[test]
fn rules_that_exclude_all_tokens_are_an_error() {
    let rules =
        LogitRules { allowed: Some(tokens(&[5])), bad_words: vec![tokens(&[5])], ..LogitRules::default() };
    let mut adjuster = Adjuster::new(VOCAB);
    let error = adjuster.apply(&logits(), &rules, &[], 10);
    assert_eq!(error, Err(RowError::NoTokenLeft { position: 10 }));
}

/// The rules as their definitions say, with sets and maps.
fn reference(logits: &[f32], rules: &LogitRules, outputs: &[TokenId], position: u32) -> Vec<f32> {
    let bias: HashMap<TokenId, f32> = rules.bias.iter().map(|bias| (bias.token, bias.bias)).collect();
    let prompt: HashSet<&TokenId> = rules.prompt_tokens.iter().collect();
    let one = |(logit, id): (&f32, u32)| {
        let token = TokenId(id);
        let is_allowed = rules.allowed.as_ref().is_none_or(|allowed| allowed.contains(&token));
        let ends_word = |word: &Vec<TokenId>| {
            let text: Vec<TokenId> = outputs.iter().copied().chain([token]).collect();
            text.ends_with(word)
        };
        let ends_early = position < rules.first_end_position && rules.end_tokens.contains(&token);
        if !is_allowed || rules.bad_words.iter().any(ends_word) || ends_early {
            return f32::NEG_INFINITY;
        }
        let biased = logit + bias.get(&token).copied().unwrap_or(0.0);
        let count = outputs.iter().filter(|output| **output == token).count() as u32;
        if count > 0 || prompt.contains(&token) { rules.penalties.apply(biased, count) } else { biased }
    };
    logits.iter().zip(0..).map(one).collect()
}

fn some_tokens(most: usize) -> impl Strategy<Value = Vec<TokenId>> {
    prop::collection::vec((0..VOCAB as u32).prop_map(TokenId), 0..most)
}

prop_compose! {
    fn any_rules()(
        allowed in prop::option::of(some_tokens(VOCAB)),
        bad_words in prop::collection::vec(some_tokens(3).prop_filter("words have tokens", |w| !w.is_empty()), 0..3),
        end_tokens in some_tokens(3),
        first_end_position in 8..13_u32,
        bias in prop::collection::btree_map(0..VOCAB as u32, -100.0..100.0_f32, 0..4),
        values in (0.5..2.0_f32, -2.0..2.0_f32, -2.0..2.0_f32),
        prompt_tokens in some_tokens(6),
    ) -> LogitRules {
        let penalties = Penalties::new(values.0, values.1, values.2).expect("in range");
        let bias = bias.into_iter().map(|(id, bias)| TokenBias { token: TokenId(id), bias }).collect();
        let end_tokens = end_tokens.into();
        LogitRules { allowed, bad_words, end_tokens, first_end_position, bias, penalties, prompt_tokens }
    }
}

proptest! {
    /// One adjuster for all cases: it must bring nothing from one into the next.
    #[test]
    fn all_rules_together_are_what_their_definitions_say(
        cases in prop::collection::vec((any_rules(), some_tokens(20)), 1..4),
    ) {
        let mut adjuster = Adjuster::new(VOCAB);
        for (rules, outputs) in &cases {
            let expected = reference(&logits(), rules, outputs, 10);
            match adjuster.apply(&logits(), rules, outputs, 10) {
                Ok(applied) => {
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    prop_assert_eq!(bits(applied), bits(&expected));
                }
                Err(error) => {
                    prop_assert_eq!(error, RowError::NoTokenLeft { position: 10 });
                    prop_assert!(expected.iter().all(|logit| *logit == f32::NEG_INFINITY));
                }
            }
        }
    }
}
