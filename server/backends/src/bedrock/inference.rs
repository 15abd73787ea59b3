//! How many tokens are asked for and how they are chosen; and everything of a request that Bedrock has no field for.

use std::num::NonZeroU32;

use aws_sdk_bedrockruntime::types::InferenceConfiguration;
use serde_json::{Map, Value, json};
use spillway_router::BackendId;
use spillway_types::{GenerateRequest, GivenSampling, SamplingParams};

use super::config::BedrockConfig;
use super::fault::Refusal;
use super::format::{SamplingRule, Thinking};
use super::traits::{TopKField, Traits};

/// The highest temperature that Converse takes.
const MAX_TEMPERATURE: f32 = 1.0;
/// The lowest `top_p` beside which Claude thinks.
const MIN_THINKING_TOP_P: f32 = 0.95;
/// Most stop strings that Converse takes.
const MAX_STOP: usize = 2500;
/// Least room that is assumed for an answer: the prompt's tokens are estimated, and Bedrock itself knows better.
const MIN_ROOM_TOKENS: u32 = 1024;

/// Refuses what Converse has no field for. The router sends no such request if it knows of it.
pub(super) fn refuse_unknown(request: &GenerateRequest) -> Result<(), Refusal> {
    let params = &request.params;
    let constraints = &params.constraints;
    let unknown = [
        ("n", params.n > NonZeroU32::MIN),
        ("logprobs", params.logprobs.is_some()),
        ("prompt_logprobs", params.prompt_logprobs.is_some()),
        ("echo", params.tell_prompt),
        ("frequency_penalty", !params.penalties.are_off()),
        ("logit_bias", !constraints.bias.is_empty()),
        ("allowed_token_ids", constraints.allowed.is_some()),
        ("bad_words", !constraints.bad_words.is_empty()),
        ("seed", params.given.seed.is_some()),
        ("min_p", params.given.min_p.is_some_and(|min_p| min_p > 0.0)),
        ("min_tokens", params.min_tokens > 0),
        ("stop_token_ids", !params.stop_tokens.is_empty()),
        ("include_stop_str_in_output", params.include_stop),
        ("ignore_eos", params.ignore_eos),
        ("skip_special_tokens", params.show_special_tokens),
        ("truncate_prompt_tokens", request.truncation.is_some()),
    ];
    match unknown.into_iter().find(|(_, is_asked_for)| *is_asked_for) {
        Some((param, _)) => {
            let message = format!("models on Bedrock do not know `{param}`: leave it out");
            Err(Refusal::new(param, message))
        }
        None => Ok(()),
    }
}

/// Tokens to ask for, always said: Bedrock reserves the model's most for a request that does not.
pub(super) fn max_tokens(
    params: &SamplingParams,
    config: &BedrockConfig,
    thinking: &Thinking,
    prompt_tokens: u32,
) -> u32 {
    let wanted = match params.max_tokens {
        Some(max_tokens) => max_tokens.get(),
        None => config.default_max_tokens.get().saturating_add(thinking.budget.unwrap_or(0)),
    };
    let most = config.max_output_tokens.map_or(u32::MAX, NonZeroU32::get);
    let room = config.context_tokens.map_or(u32::MAX, |context_tokens| {
        context_tokens.get().saturating_sub(prompt_tokens).max(MIN_ROOM_TOKENS)
    });
    // Converse counts in `i32`.
    wanted.min(most).min(room).min(i32::MAX as u32)
}

/// How tokens are chosen and where they stop. What the client did not say is left to the model's own defaults there: those
/// of the model served here are another's.
pub(super) fn inference(
    backend: &BackendId,
    params: &SamplingParams,
    rule: SamplingRule,
    max_tokens: u32,
) -> Result<InferenceConfiguration, Refusal> {
    if params.stop.len() > MAX_STOP {
        let message = format!("`stop` has {} strings, limit {MAX_STOP}", params.stop.len());
        return Err(Refusal::new("stop", message));
    }
    let stop = (!params.stop.is_empty()).then(|| params.stop.clone());
    let given = &params.given;
    let temperature = match rule {
        SamplingRule::Free => given.temperature.map(|temperature| clamped(backend, temperature)),
        SamplingRule::Fixed => {
            check_thinking(given)?;
            None
        }
    };
    // The whole of it is no cut, and newer models refuse it beside a temperature.
    let top_p = given.top_p.filter(|top_p| *top_p < 1.0);
    Ok(InferenceConfiguration::builder()
        .max_tokens(max_tokens as i32)
        .set_stop_sequences(stop)
        .set_temperature(temperature)
        .set_top_p(top_p)
        .build())
}

/// A temperature that Converse takes. OpenAI's goes to 2, and above 1 there is no more to be had here.
fn clamped(backend: &BackendId, temperature: f32) -> f32 {
    if temperature > MAX_TEMPERATURE {
        tracing::warn!(%backend, temperature, limit = MAX_TEMPERATURE, "temperature lowered to the provider's limit");
        return MAX_TEMPERATURE;
    }
    temperature
}

fn check_thinking(given: &GivenSampling) -> Result<(), Refusal> {
    if let Some(temperature) =
        given.temperature.filter(|temperature| (temperature - 1.0).abs() > f32::EPSILON)
    {
        let message = format!("`temperature` is {temperature}, must be 1 where this model thinks first");
        return Err(Refusal::new("temperature", message));
    }
    if let Some(top_p) = given.top_p.filter(|top_p| *top_p < MIN_THINKING_TOP_P) {
        let message = format!("`top_p` is {top_p}, must be from 0.95 to 1 where this model thinks first");
        return Err(Refusal::new("top_p", message));
    }
    Ok(())
}

/// Adds `top_k` to the model's own fields.
pub(super) fn add_top_k(
    fields: &mut Map<String, Value>,
    given: &GivenSampling,
    traits: &Traits,
    rule: SamplingRule,
) -> Result<(), Refusal> {
    let Some(top_k) = given.top_k else { return Ok(()) };
    let Some(field) = traits.top_k.filter(|_| rule == SamplingRule::Free) else {
        return Err(Refusal::new("top_k", "this model does not know `top_k`: leave it out"));
    };
    let (key, value) = match field {
        TopKField::TopK => ("top_k", json!(top_k)),
        TopKField::InferenceConfig => ("inferenceConfig", json!({"topK": top_k})),
    };
    fields.insert(key.to_owned(), value);
    Ok(())
}
