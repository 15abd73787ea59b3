//! How tokens are chosen, on the wire: what the client said, and not what a model of this process would take by default.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::Serialize;
use spillway_types::{GenerateRequest, Prompt, SamplingParams, Seed, Truncation};

use crate::openai_compatible::Dialect;

/// Every field that is not at its default; the others are not sent.
#[derive(Default, Serialize)]
pub(super) struct SamplingFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    /// llama.cpp's word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    logit_bias: BTreeMap<String, f32>,
    #[serde(skip_serializing_if = "slice_is_empty")]
    bad_words: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tokens: Option<u32>,
    #[serde(skip_serializing_if = "slice_is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_token_ids: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_stop_str_in_output: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_special_tokens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate_prompt_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Logprobs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<usize>,
}

fn slice_is_empty(texts: &[String]) -> bool {
    texts.is_empty()
}

/// A switch in conversations, a count in completions.
#[derive(Serialize)]
#[serde(untagged)]
enum Logprobs {
    Switch(bool),
    Count(usize),
}

impl<'a> SamplingFields<'a> {
    pub(super) fn new(request: &'a GenerateRequest, dialect: Dialect) -> Self {
        let params = &request.params;
        let (logprobs, top_logprobs) = logprobs(params, &request.prompt);
        let repetition = other_than(params.penalties.repetition(), 1.0);
        let (repetition_penalty, repeat_penalty) = match dialect {
            Dialect::LlamaCpp => (None, repetition),
            Dialect::Vllm | Dialect::OpenAi => (repetition, None),
        };
        let ids = |tokens: &[spillway_types::TokenId]| tokens.iter().map(|token| token.0).collect();
        Self {
            temperature: params.given.temperature,
            top_p: params.given.top_p,
            top_k: params.given.top_k.map(NonZeroU32::get),
            min_p: params.given.min_p,
            seed: params.given.seed.map(|given| seed(given, dialect)),
            n: (params.n.get() > 1).then(|| params.n.get()),
            presence_penalty: other_than(params.penalties.presence(), 0.0),
            frequency_penalty: other_than(params.penalties.frequency(), 0.0),
            repetition_penalty,
            repeat_penalty,
            logit_bias: biases(params),
            bad_words: &params.constraints.bad_words,
            allowed_token_ids: params.constraints.allowed.as_deref().map(ids),
            min_tokens: (params.min_tokens > 0).then_some(params.min_tokens),
            stop: &params.stop,
            stop_token_ids: ids(&params.stop_tokens),
            include_stop_str_in_output: params.include_stop.then_some(true),
            ignore_eos: params.ignore_eos.then_some(true),
            skip_special_tokens: params.show_special_tokens.then_some(false),
            truncate_prompt_tokens: request.truncation.map(truncation),
            logprobs,
            top_logprobs,
        }
    }
}

fn other_than(value: f32, off: f32) -> Option<f32> {
    ((value - off).abs() > 0.0).then_some(value)
}

fn biases(params: &SamplingParams) -> BTreeMap<String, f32> {
    params.constraints.bias.iter().map(|bias| (bias.token.to_string(), bias.bias)).collect()
}

fn truncation(truncation: Truncation) -> i64 {
    match truncation {
        Truncation::Last(count) => i64::from(count.get()),
        Truncation::ToFit => -1,
    }
}

/// llama.cpp keeps 32 bits of a seed, of which the highest value means none.
fn seed(seed: Seed, dialect: Dialect) -> i64 {
    match dialect {
        Dialect::LlamaCpp => i64::from((seed.0 ^ (seed.0 >> 32)) as u32 >> 1),
        Dialect::Vllm | Dialect::OpenAi => seed.0.cast_signed(),
    }
}

fn logprobs(params: &SamplingParams, prompt: &Prompt) -> (Option<Logprobs>, Option<usize>) {
    match (params.logprobs, prompt) {
        (None, _) => (None, None),
        (Some(top), Prompt::Chat(_)) => (Some(Logprobs::Switch(true)), Some(top.count())),
        (Some(top), Prompt::Text(_) | Prompt::Tokens(_)) => (Some(Logprobs::Count(top.count())), None),
    }
}
