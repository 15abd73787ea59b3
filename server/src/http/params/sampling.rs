//! How tokens are chosen, and what is told of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use spillway_api::openai::GenerationRequest;
use spillway_types::{
    GivenSampling, InvalidSampling, Penalties, Sampling, SamplingParams, Seed, TokenBias, TokenConstraints,
    TokenId, TopLogprobs,
};

use super::{Delivery, texts_within};
use crate::http::request_error::RequestError;
use crate::http::state::SamplingDefaults;

/// Most tokens with a bias.
const MAX_BIASES: usize = 1024;
/// Most bad words, and the longest.
const MAX_BAD_WORDS: usize = 128;
const MAX_BAD_WORD_BYTES: usize = 256;

/// How tokens are chosen; everything else stands as if nothing were asked for.
pub(super) fn sampling_params(
    request: &GenerationRequest,
    defaults: &SamplingDefaults,
) -> Result<SamplingParams, RequestError> {
    let invalid = |error: InvalidSampling| RequestError::invalid(error.param, error.to_string());
    let given_top_k = match request.top_k {
        None | Some(0 | -1) => None,
        Some(top_k) => Some(rank(top_k)?),
    };
    let top_k = if request.top_k.is_none() { defaults.top_k } else { given_top_k };
    let sampling = Sampling::new(
        request.temperature.unwrap_or(defaults.temperature),
        top_k,
        request.top_p.unwrap_or(defaults.top_p),
        request.min_p.unwrap_or(defaults.min_p),
    )
    .map_err(invalid)?;
    let penalties = Penalties::new(
        request.repetition_penalty.unwrap_or(1.0),
        request.presence_penalty.unwrap_or(0.0),
        request.frequency_penalty.unwrap_or(0.0),
    )
    .map_err(invalid)?;
    let seed = Seed(request.seed.unwrap_or_default().cast_unsigned());
    let bad_words = request.bad_words.clone().unwrap_or_default();
    Ok(SamplingParams {
        penalties,
        constraints: TokenConstraints {
            allowed: request.allowed_token_ids.as_deref().map(allowed_tokens).transpose()?,
            bias: request.logit_bias.as_ref().map(biases).transpose()?.unwrap_or_default(),
            bad_words: texts_within("bad_words", bad_words, MAX_BAD_WORDS, MAX_BAD_WORD_BYTES)?,
        },
        given: GivenSampling {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: given_top_k,
            min_p: request.min_p,
            seed: request.seed.map(|seed| Seed(seed.cast_unsigned())),
        },
        ..SamplingParams::new(sampling, seed)
    })
}

fn rank(top_k: i64) -> Result<NonZeroU32, RequestError> {
    u32::try_from(top_k).ok().and_then(NonZeroU32::new).ok_or_else(|| {
        RequestError::invalid("top_k", format!("`top_k` is {top_k}, must be from -1 to {}", u32::MAX))
    })
}

fn allowed_tokens(ids: &[u32]) -> Result<Vec<TokenId>, RequestError> {
    if ids.is_empty() {
        let message = "`allowed_token_ids` has 0 ids, must have at least 1: leave it out to allow all";
        return Err(RequestError::invalid("allowed_token_ids", message));
    }
    Ok(ids.iter().map(|&id| TokenId(id)).collect())
}

fn biases(biases: &BTreeMap<String, f32>) -> Result<Vec<TokenBias>, RequestError> {
    let invalid = |message| Err(RequestError::invalid("logit_bias", message));
    if biases.len() > MAX_BIASES {
        return invalid(format!("`logit_bias` has {} tokens, limit {MAX_BIASES}", biases.len()));
    }
    let mut checked: Vec<TokenBias> = Vec::with_capacity(biases.len());
    for (id, &bias) in biases {
        let Ok(token) = id.parse() else {
            return invalid(format!("`logit_bias` has the key {id:?}, must be a token id"));
        };
        if !(TokenBias::MIN..=TokenBias::MAX).contains(&bias) {
            return invalid(format!("`logit_bias` of token {id} is {bias}, must be from -100 to 100"));
        }
        // `7` and `07` are one token.
        if checked.iter().any(|other| other.token.0 == token) {
            return invalid(format!("`logit_bias` has token {token} twice: send it once"));
        }
        checked.push(TokenBias { token: TokenId(token), bias });
    }
    Ok(checked)
}

/// A count of alternatives that is within the limit.
pub(super) fn top_logprobs(param: &'static str, count: i64) -> Result<TopLogprobs, RequestError> {
    u32::try_from(count).ok().and_then(|count| TopLogprobs::try_from(count).ok()).ok_or_else(|| {
        let message = format!("`{param}` is {count}, must be from 0 to {}", TopLogprobs::MAX);
        RequestError::invalid(param, message)
    })
}

pub(super) fn prompt_logprobs(
    count: Option<i64>,
    delivery: Delivery,
) -> Result<Option<TopLogprobs>, RequestError> {
    let top = count.map(|count| top_logprobs("prompt_logprobs", count)).transpose()?;
    if top.is_some() && delivery != Delivery::Whole {
        let message = "`prompt_logprobs` is not for streams: leave it out, or do not stream";
        return Err(RequestError::invalid("prompt_logprobs", message));
    }
    Ok(top)
}
