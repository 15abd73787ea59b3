//! The model of the simulation: what it makes of tokens, on plain lists.
//!
//! A position's *state* stands for its keys and values: it depends on the token there and on the states of all
//! positions before it. A token is made of the state of the last position.

use std::sync::Arc;

use spillway_engine::TextPipeline;
use spillway_tests::{Ask, Served};
use spillway_text::{ChatTemplate, GgufVocabulary, Timestamp, TokenType, Tokenizer};
use spillway_types::{FinishReason, Prompt, Sampling, TokenId};

/// The texts of the tokens: few letters, so that stop strings are met by chance and across tokens. The last ends a text.
const TOKENS: [&str; 12] = ["a", "b", "c", "d", "ab", "ba", "cab", "dd", "abc", "dab", "bcd", "<end>"];
/// The end token.
pub(crate) const END: u32 = 11;

/// The state of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State(pub(crate) u64);

/// What chooses among the tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chooser {
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) choice: u32,
}

/// What a request gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    pub(crate) tokens: Vec<u32>,
    pub(crate) logprobs: Vec<f32>,
    pub(crate) text: String,
    pub(crate) reason: FinishReason,
}

/// The vocabulary as an engine serves it.
pub(crate) fn served() -> Served {
    let normal = TokenType::from_gguf(1).expect("a normal token");
    let control = TokenType::from_gguf(3).expect("a control token");
    let mut token_types = vec![normal; TOKENS.len()];
    token_types[END as usize] = control;
    let tokenizer = Tokenizer::from_gguf(&GgufVocabulary {
        model: "gpt2".to_owned(),
        tokens: TOKENS.map(str::to_owned).to_vec(),
        token_types,
        eos: Some(TokenId(END)),
        ..GgufVocabulary::default()
    });
    let tokenizer = tokenizer.expect("a vocabulary");
    let template = ChatTemplate::compile(None, &tokenizer).expect("no template");
    let today = Arc::new(|| Timestamp::from_unix_seconds(0));
    Served {
        text: TextPipeline::new(tokenizer, template, today),
        vocab_size: TOKENS.len() as u32,
        end_tokens: Arc::new([TokenId(END)]),
    }
}

/// The number of tokens.
pub(crate) fn vocab_size() -> u32 {
    TOKENS.len() as u32
}

/// The state of the position after `before` that holds `token`.
pub(crate) fn state(before: impl Iterator<Item = State>, token: TokenId) -> State {
    let all = before.fold(0x9e37_79b9_7f4a_7c15, |all, state| mix(all ^ state.0));
    State(mix(all ^ u64::from(token.0) << 32))
}

/// The token after a position in this state, and its pretended log-probability.
pub(crate) fn choose(last: State, chooser: Chooser, position: u32) -> (TokenId, f32) {
    let random = match chooser.sampling {
        Sampling::Greedy => last.0,
        Sampling::Random(_) => {
            mix(last.0 ^ mix(chooser.seed ^ u64::from(chooser.choice) << 40 ^ u64::from(position)))
        }
    };
    // An end token is rarer than the others.
    let id = random % (3 * TOKENS.len() as u64 - 2) / 3;
    (TokenId(id as u32), -((random >> 40) as f32))
}

/// What one choice of a request gives alone, if its sequence may have `max_len` tokens.
pub(crate) fn expected(ask: &Ask, choice: u32, max_len: usize) -> Expected {
    let Prompt::Tokens(prompt) = &ask.prompt else { panic!("the simulation asks with tokens") };
    let chooser = Chooser { sampling: ask.sampling, seed: ask.seed, choice };
    let mut states: Vec<State> = Vec::new();
    for &token in prompt {
        states.push(state(states.iter().copied(), token));
    }
    let mut expected = Expected {
        tokens: Vec::new(),
        logprobs: Vec::new(),
        text: String::new(),
        reason: FinishReason::Length,
    };
    while expected.tokens.len() < ask.max_tokens as usize && states.len() < max_len {
        let last = *states.last().expect("prompts have tokens");
        let (token, logprob) = choose(last, chooser, states.len() as u32);
        states.push(state(states.iter().copied(), token));
        expected.tokens.push(token.0);
        expected.logprobs.push(logprob);
        if token.0 == END {
            if ask.ignore_eos {
                continue;
            }
            expected.reason = FinishReason::Stop;
            break;
        }
        for character in TOKENS[token.0 as usize].chars() {
            expected.text.push(character);
            if let Some(start) = stop_start(&expected.text, &ask.stop) {
                expected.text.truncate(start);
                expected.reason = FinishReason::Stop;
                return expected;
            }
        }
    }
    expected
}

/// Where the longest stop string begins that the text ends with.
fn stop_start(text: &str, stop: &[String]) -> Option<usize> {
    let ending = stop.iter().filter(|stop| text.ends_with(stop.as_str()));
    ending.map(|stop| text.len() - stop.len()).min()
}

/// Scatters bits. Source: the finalizer of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
