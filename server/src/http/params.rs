//! From wire fields to typed parameters: ranges, limits and defaults.
//!
//! - `sampling`: how tokens are chosen, and what is told of them.
//! - `prompts`: what to go on from; `messages`, `images` and `tools` are parts of a conversation.
//! - `format`: what the answer must look like.

use std::num::NonZeroU32;

use spillway_api::openai::{
    ChatRequest, ChunkUsage, CompletionRequest, GenerationRequest, RequestPriority, Stop, Usage,
};
use spillway_types::{
    CacheSalt, OutputFormat, Priority, ReasoningEffort, SamplingParams, TokenId, TopLogprobs, Truncation,
};

use crate::http::answer::Output;
use crate::http::logprobs::TokenNames;
use crate::http::request_error::RequestError;
use crate::http::state::SamplingDefaults;

mod format;
mod images;
mod messages;
mod prompts;
mod sampling;
mod tools;

pub(crate) use messages::{check_num_messages, conversation};
pub(crate) use prompts::{chat_prompt, completion_prompts};

/// Most choices for one prompt; OpenAI's limit.
const MAX_CHOICES_PER_PROMPT: u32 = 128;
/// Most stop strings. OpenAI takes 4; local models are often given more.
const MAX_STOP: usize = 16;
/// Longest stop string: as much text as this is held back in a stream.
const MAX_STOP_BYTES: usize = 1024;
/// Most stop tokens.
const MAX_STOP_TOKENS: usize = 128;
/// Longest cache salt.
const MAX_CACHE_SALT_BYTES: usize = 256;
/// Longest name of a client's own client.
const MAX_USER_BYTES: usize = 256;
/// What `/v1/completions` generates when `max_tokens` is absent; OpenAI's default.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// The fields that the endpoints write in their own ways, in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnFields {
    pub(crate) max_tokens: Option<u32>,
    pub(crate) logprobs: Option<TopLogprobs>,
    pub(crate) echo: bool,
    /// Whether the prompt's text is told, for which alone no token need be generated.
    pub(crate) tells_prompt: bool,
    pub(crate) best_of: Option<u32>,
    pub(crate) format: OutputFormat,
    pub(crate) reasoning_effort: Option<ReasoningEffort>,
}

/// How the answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// In one body.
    Whole,
    /// As server-sent events.
    Stream { usage: StreamUsage },
}

/// Whether a stream ends with its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamUsage {
    Include,
    LeaveOut,
}

impl StreamUsage {
    /// The field of a chunk that is not the last.
    pub(crate) fn pending(self) -> ChunkUsage {
        match self {
            Self::Include => ChunkUsage::Pending,
            Self::LeaveOut => ChunkUsage::NotAsked,
        }
    }

    /// The field of the last chunk, if there is such a chunk.
    pub(crate) fn total(self, usage: Usage) -> Option<ChunkUsage> {
        match self {
            Self::Include => Some(ChunkUsage::Total(usage)),
            Self::LeaveOut => None,
        }
    }
}

/// What both endpoints ask for, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerationParams {
    /// What the engine is asked; its seed is that of the prompt.
    pub(crate) sampling: SamplingParams,
    /// The client's seed; each prompt gets its own random one if absent.
    pub(crate) seed: Option<u64>,
    /// Choices that are answered of those that are generated.
    pub(crate) n: NonZeroU32,
    pub(crate) truncation: Option<Truncation>,
    pub(crate) priority: Priority,
    pub(crate) cache_salt: Option<CacheSalt>,
    /// Who the client's own client is.
    pub(crate) user: Option<String>,
    pub(crate) format: OutputFormat,
    pub(crate) reasoning_effort: Option<ReasoningEffort>,
    pub(crate) delivery: Delivery,
    pub(crate) output: Output,
    /// Whether the answer begins with what it goes on from.
    pub(crate) echo: bool,
    /// What the field `prompt_logprobs` is to tell, if it was asked for; scores are also taken for an echo.
    pub(crate) prompt_logprobs: Option<TopLogprobs>,
    pub(crate) token_names: TokenNames,
}

impl OwnFields {
    /// Takes a chat's fields together.
    pub(crate) fn of_chat(request: &ChatRequest) -> Result<Self, RequestError> {
        let max_tokens = match (request.max_completion_tokens, request.max_tokens) {
            (Some(new), Some(old)) if new != old => {
                let message =
                    format!("`max_completion_tokens` is {new} and `max_tokens` is {old}: send one of them");
                return Err(RequestError::invalid("max_tokens", message));
            }
            (new, old) => new.or(old),
        };
        let logprobs = match (request.logprobs, request.top_logprobs) {
            (Some(true), count) => Some(sampling::top_logprobs("top_logprobs", count.unwrap_or(0).into())?),
            (_, None) => None,
            (_, Some(count)) => {
                let message = format!(
                    "`top_logprobs` is {count}, but `logprobs` is not true: set it or leave both out"
                );
                return Err(RequestError::invalid("top_logprobs", message));
            }
        };
        let echo = request.echo == Some(true);
        Ok(Self {
            max_tokens,
            logprobs,
            echo,
            format: format::output_format(request.response_format.as_ref())?,
            reasoning_effort: request.reasoning_effort.map(format::reasoning_effort),
            ..Self::default()
        })
    }

    /// Takes a completion's fields together.
    pub(crate) fn of_completion(request: &CompletionRequest) -> Result<Self, RequestError> {
        let logprobs = request.logprobs.map(|count| sampling::top_logprobs("logprobs", count.into()));
        let echo = request.echo == Some(true);
        Ok(Self {
            max_tokens: request.max_tokens.or(Some(DEFAULT_COMPLETION_TOKENS)),
            logprobs: logprobs.transpose()?,
            echo,
            tells_prompt: echo,
            best_of: request.best_of,
            ..Self::default()
        })
    }
}

impl GenerationParams {
    /// Checks every range and fills in the model's defaults.
    pub(crate) fn check(
        request: GenerationRequest,
        own: &OwnFields,
        defaults: &SamplingDefaults,
    ) -> Result<Self, RequestError> {
        let delivery = delivery(&request)?;
        let n = choices("n", request.n.unwrap_or(1))?;
        let best_of = best_of(own.best_of, n, delivery)?;
        let (max_tokens, output) = max_tokens(own)?;
        check_user(request.user.as_deref())?;
        let prompt_logprobs = sampling::prompt_logprobs(request.prompt_logprobs, delivery)?;
        let mut params = sampling::sampling_params(&request, defaults)?;
        params.n = best_of;
        params.max_tokens = max_tokens;
        params.min_tokens = min_tokens(request.min_tokens, max_tokens)?;
        params.stop = stop_strings(request.stop)?;
        params.stop_tokens = stop_tokens(request.stop_token_ids)?;
        params.include_stop = request.include_stop_str_in_output == Some(true);
        params.ignore_eos = request.ignore_eos == Some(true);
        params.show_special_tokens = request.skip_special_tokens == Some(false);
        params.logprobs = own.logprobs;
        // An echo tells the prompt's tokens as the answer's are told. The larger count serves both; answers tell what
        // each asked for.
        let echoed = own.logprobs.filter(|_| own.tells_prompt);
        params.prompt_logprobs = prompt_logprobs.max(echoed);
        params.tell_prompt = own.tells_prompt;
        let by_id = request.return_tokens_as_token_ids == Some(true);
        Ok(Self {
            sampling: params,
            seed: request.seed.map(i64::cast_unsigned),
            n,
            truncation: truncation(request.truncate_prompt_tokens)?,
            priority: priority(request.priority)?,
            cache_salt: request.cache_salt.map(cache_salt).transpose()?,
            user: request.user,
            format: own.format.clone(),
            reasoning_effort: own.reasoning_effort,
            delivery,
            output,
            echo: own.echo,
            prompt_logprobs,
            token_names: if by_id { TokenNames::Ids } else { TokenNames::Text },
        })
    }
}

fn delivery(request: &GenerationRequest) -> Result<Delivery, RequestError> {
    if request.stream == Some(true) {
        let asked = request.stream_options.and_then(|options| options.include_usage) == Some(true);
        let usage = if asked { StreamUsage::Include } else { StreamUsage::LeaveOut };
        return Ok(Delivery::Stream { usage });
    }
    if request.stream_options.is_some() {
        let message = "`stream_options` is only for streams: set `stream` to true or leave it out";
        return Err(RequestError::invalid("stream_options", message));
    }
    Ok(Delivery::Whole)
}

fn choices(param: &'static str, count: u32) -> Result<NonZeroU32, RequestError> {
    NonZeroU32::new(count).filter(|n| n.get() <= MAX_CHOICES_PER_PROMPT).ok_or_else(|| {
        let message = format!("`{param}` is {count}, must be from 1 to {MAX_CHOICES_PER_PROMPT}");
        RequestError::invalid(param, message)
    })
}

/// Choices to generate for each prompt.
fn best_of(best_of: Option<u32>, n: NonZeroU32, delivery: Delivery) -> Result<NonZeroU32, RequestError> {
    let Some(best_of) = best_of else { return Ok(n) };
    let best_of = choices("best_of", best_of)?;
    if best_of < n {
        let message = format!("`best_of` is {best_of} and `n` is {n}: it must be at least `n`");
        return Err(RequestError::invalid("best_of", message));
    }
    if best_of > n && delivery != Delivery::Whole {
        let message =
            format!("`best_of` is {best_of}, limit {n} (`n`) in a stream: lower it, or do not stream");
        return Err(RequestError::invalid("best_of", message));
    }
    Ok(best_of)
}

/// An echo may ask for no token at all: one is generated and not shown, since there is no step without one.
fn max_tokens(own: &OwnFields) -> Result<(Option<NonZeroU32>, Output), RequestError> {
    match own.max_tokens {
        None => Ok((None, Output::Shown)),
        Some(0) if own.tells_prompt => Ok((Some(NonZeroU32::MIN), Output::Hidden)),
        Some(max_tokens) => match NonZeroU32::new(max_tokens) {
            Some(max_tokens) => Ok((Some(max_tokens), Output::Shown)),
            None => Err(RequestError::invalid("max_tokens", "`max_tokens` is 0, must be at least 1")),
        },
    }
}

fn min_tokens(min_tokens: Option<u32>, max_tokens: Option<NonZeroU32>) -> Result<u32, RequestError> {
    let min_tokens = min_tokens.unwrap_or(0);
    match max_tokens {
        Some(max_tokens) if min_tokens > max_tokens.get() => {
            let message = format!(
                "`min_tokens` is {min_tokens}, limit {max_tokens} (`max_tokens`): lower it or raise that"
            );
            Err(RequestError::invalid("min_tokens", message))
        }
        Some(_) | None => Ok(min_tokens),
    }
}

fn stop_strings(stop: Option<Stop>) -> Result<Vec<String>, RequestError> {
    let stop = match stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => texts,
    };
    texts_within("stop", stop, MAX_STOP, MAX_STOP_BYTES)
}

/// A list of texts, none empty, neither too many nor too long.
fn texts_within(
    param: &'static str,
    texts: Vec<String>,
    max_texts: usize,
    max_bytes: usize,
) -> Result<Vec<String>, RequestError> {
    if texts.len() > max_texts {
        let message = format!("`{param}` has {} strings, limit {max_texts}", texts.len());
        return Err(RequestError::invalid(param, message));
    }
    match texts.iter().find(|text| text.is_empty() || text.len() > max_bytes) {
        Some(text) => {
            let message =
                format!("`{param}` has a string of {} bytes, must be from 1 to {max_bytes}", text.len());
            Err(RequestError::invalid(param, message))
        }
        None => Ok(texts),
    }
}

fn stop_tokens(ids: Option<Vec<u32>>) -> Result<Vec<TokenId>, RequestError> {
    let ids = ids.unwrap_or_default();
    if ids.len() > MAX_STOP_TOKENS {
        let message = format!("`stop_token_ids` has {} ids, limit {MAX_STOP_TOKENS}", ids.len());
        return Err(RequestError::invalid("stop_token_ids", message));
    }
    Ok(ids.into_iter().map(TokenId).collect())
}

fn truncation(count: Option<i64>) -> Result<Option<Truncation>, RequestError> {
    let Some(count) = count else { return Ok(None) };
    if count == -1 {
        return Ok(Some(Truncation::ToFit));
    }
    let kept = u32::try_from(count).ok().and_then(NonZeroU32::new).map(Truncation::Last);
    kept.map(Some).ok_or_else(|| {
        let message = format!(
            "`truncate_prompt_tokens` is {count}, must be from 1 to {}, or -1 for as many as fit",
            u32::MAX
        );
        RequestError::invalid("truncate_prompt_tokens", message)
    })
}

/// vLLM's numbers, of which the lower goes first, fall into the classes by their sign.
fn priority(priority: Option<RequestPriority>) -> Result<Priority, RequestError> {
    match priority {
        None => Ok(Priority::Normal),
        Some(RequestPriority::Number(number)) => Ok(match number {
            ..0 => Priority::High,
            0 => Priority::Normal,
            1.. => Priority::Low,
        }),
        Some(RequestPriority::Name(name)) => match name.as_str() {
            "low" => Ok(Priority::Low),
            "normal" => Ok(Priority::Normal),
            "high" => Ok(Priority::High),
            _ => {
                let message =
                    format!("`priority` is {name:?}, must be an integer, \"low\", \"normal\" or \"high\"");
                Err(RequestError::invalid("priority", message))
            }
        },
    }
}

fn cache_salt(salt: String) -> Result<CacheSalt, RequestError> {
    if salt.is_empty() || salt.len() > MAX_CACHE_SALT_BYTES {
        let message =
            format!("`cache_salt` has {} bytes, must be from 1 to {MAX_CACHE_SALT_BYTES}", salt.len());
        return Err(RequestError::invalid("cache_salt", message));
    }
    Ok(CacheSalt::new(salt))
}

fn check_user(user: Option<&str>) -> Result<(), RequestError> {
    match user {
        Some(user) if user.len() > MAX_USER_BYTES => {
            let message = format!("`user` has {} bytes, limit {MAX_USER_BYTES}: shorten it", user.len());
            Err(RequestError::invalid("user", message))
        }
        Some(user) => {
            tracing::debug!(user, "request");
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
