//! From wire fields to typed parameters: ranges, limits and defaults.

use std::num::NonZeroU32;

use spillway_api::openai::{
    ChatRequest, CompletionRequest, Content, ContentPart, Message, MessageRole, PromptInput, RequestPriority,
    Stop, StreamOptions,
};
use spillway_types::{CacheSalt, ChatMessage, Priority, Prompt, Role, Sampling, TokenId};

use crate::http::request_error::RequestError;
use crate::http::state::SamplingDefaults;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 2048;
/// Most prompts of one request.
const MAX_PROMPTS: usize = 128;
/// Most choices for one prompt; OpenAI's limit.
const MAX_CHOICES_PER_PROMPT: u32 = 128;
/// Most choices of all prompts of a request together.
const MAX_CHOICES: usize = 1024;
/// Most stop strings. OpenAI takes 4; local models are often given more.
const MAX_STOP: usize = 16;
/// Longest stop string: as much text as this is held back in a stream.
const MAX_STOP_BYTES: usize = 1024;
/// Longest cache salt.
const MAX_CACHE_SALT_BYTES: usize = 256;
/// What `/v1/completions` generates when `max_tokens` is absent; OpenAI's default.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// The fields that both generating endpoints have.
#[derive(Debug, Clone, Default)]
pub(crate) struct GenerationFields {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<i64>,
    pub(crate) min_p: Option<f32>,
    pub(crate) seed: Option<i64>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Option<Stop>,
    pub(crate) ignore_eos: Option<bool>,
    pub(crate) n: Option<u32>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) cache_salt: Option<String>,
    pub(crate) priority: Option<RequestPriority>,
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

/// What both endpoints ask for, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerationParams {
    pub(crate) sampling: Sampling,
    /// The client's seed; each prompt gets its own random one if absent.
    pub(crate) seed: Option<u64>,
    pub(crate) n: NonZeroU32,
    pub(crate) max_tokens: Option<NonZeroU32>,
    pub(crate) stop: Vec<String>,
    pub(crate) ignore_eos: bool,
    pub(crate) priority: Priority,
    pub(crate) cache_salt: Option<CacheSalt>,
    pub(crate) delivery: Delivery,
}

impl GenerationFields {
    /// Takes the fields out of a chat request.
    pub(crate) fn of_chat(request: &mut ChatRequest) -> Result<Self, RequestError> {
        let max_tokens = match (request.max_completion_tokens, request.max_tokens) {
            (Some(new), Some(old)) if new != old => {
                let message =
                    format!("`max_completion_tokens` is {new} and `max_tokens` is {old}: send one of them");
                return Err(RequestError::invalid("max_tokens", message));
            }
            (new, old) => new.or(old),
        };
        Ok(Self {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            min_p: request.min_p,
            seed: request.seed,
            max_tokens,
            stop: request.stop.take(),
            ignore_eos: request.ignore_eos,
            n: request.n,
            stream: request.stream,
            stream_options: request.stream_options,
            cache_salt: request.cache_salt.take(),
            priority: request.priority,
        })
    }

    /// Takes the fields out of a completion request.
    pub(crate) fn of_completion(request: &mut CompletionRequest) -> Self {
        Self {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            min_p: request.min_p,
            seed: request.seed,
            max_tokens: request.max_tokens.or(Some(DEFAULT_COMPLETION_TOKENS)),
            stop: request.stop.take(),
            ignore_eos: request.ignore_eos,
            n: request.n,
            stream: request.stream,
            stream_options: request.stream_options,
            cache_salt: request.cache_salt.take(),
            priority: request.priority,
        }
    }

    /// Checks every range and fills in the model's defaults.
    pub(crate) fn check(self, defaults: &SamplingDefaults) -> Result<GenerationParams, RequestError> {
        let delivery = self.delivery()?;
        Ok(GenerationParams {
            sampling: self.sampling(defaults)?,
            seed: self.seed.map(i64::cast_unsigned),
            n: choices(self.n)?,
            max_tokens: self.max_tokens.map(max_tokens).transpose()?,
            stop: stop_strings(self.stop)?,
            ignore_eos: self.ignore_eos.unwrap_or(false),
            priority: priority(self.priority),
            cache_salt: self.cache_salt.map(cache_salt).transpose()?,
            delivery,
        })
    }

    fn sampling(&self, defaults: &SamplingDefaults) -> Result<Sampling, RequestError> {
        let top_k = match self.top_k {
            None => defaults.top_k,
            Some(0 | -1) => None,
            Some(top_k) => Some(rank(top_k)?),
        };
        let temperature = self.temperature.unwrap_or(defaults.temperature);
        let top_p = self.top_p.unwrap_or(defaults.top_p);
        let min_p = self.min_p.unwrap_or(defaults.min_p);
        Sampling::new(temperature, top_k, top_p, min_p)
            .map_err(|error| RequestError::invalid(error.param, error.to_string()))
    }

    fn delivery(&self) -> Result<Delivery, RequestError> {
        if self.stream == Some(true) {
            let asked = self.stream_options.and_then(|options| options.include_usage) == Some(true);
            let usage = if asked { StreamUsage::Include } else { StreamUsage::LeaveOut };
            return Ok(Delivery::Stream { usage });
        }
        if self.stream_options.is_some() {
            let message = "`stream_options` is only for streams: set `stream` to true or leave it out";
            return Err(RequestError::invalid("stream_options", message));
        }
        Ok(Delivery::Whole)
    }
}

fn rank(top_k: i64) -> Result<NonZeroU32, RequestError> {
    u32::try_from(top_k).ok().and_then(NonZeroU32::new).ok_or_else(|| {
        RequestError::invalid("top_k", format!("`top_k` is {top_k}, must be from -1 to {}", u32::MAX))
    })
}

fn choices(n: Option<u32>) -> Result<NonZeroU32, RequestError> {
    let n = n.unwrap_or(1);
    NonZeroU32::new(n).filter(|n| n.get() <= MAX_CHOICES_PER_PROMPT).ok_or_else(|| {
        RequestError::invalid("n", format!("`n` is {n}, must be from 1 to {MAX_CHOICES_PER_PROMPT}"))
    })
}

fn max_tokens(max_tokens: u32) -> Result<NonZeroU32, RequestError> {
    NonZeroU32::new(max_tokens)
        .ok_or_else(|| RequestError::invalid("max_tokens", "`max_tokens` is 0, must be at least 1"))
}

fn stop_strings(stop: Option<Stop>) -> Result<Vec<String>, RequestError> {
    let stop = match stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => texts,
    };
    if stop.len() > MAX_STOP {
        let message = format!("`stop` has {} strings, limit {MAX_STOP}", stop.len());
        return Err(RequestError::invalid("stop", message));
    }
    match stop.iter().find(|text| text.is_empty() || text.len() > MAX_STOP_BYTES) {
        Some(text) => {
            let message =
                format!("`stop` has a string of {} bytes, must be from 1 to {MAX_STOP_BYTES}", text.len());
            Err(RequestError::invalid("stop", message))
        }
        None => Ok(stop),
    }
}

fn priority(priority: Option<RequestPriority>) -> Priority {
    match priority {
        None | Some(RequestPriority::Normal) => Priority::Normal,
        Some(RequestPriority::Low) => Priority::Low,
        Some(RequestPriority::High) => Priority::High,
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

/// The prompt of a conversation.
pub(crate) fn chat_prompt(messages: Vec<Message>) -> Result<Prompt, RequestError> {
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        let message = format!("`messages` has {} messages, must be from 1 to {MAX_MESSAGES}", messages.len());
        return Err(RequestError::invalid("messages", message));
    }
    Ok(Prompt::Chat(messages.into_iter().map(chat_message).collect()))
}

fn chat_message(message: Message) -> ChatMessage {
    let role = match message.role {
        MessageRole::System => Role::System,
        MessageRole::Developer => Role::Developer,
        MessageRole::User => Role::User,
        MessageRole::Assistant => Role::Assistant,
    };
    let content = match message.content {
        Content::Text(text) => text,
        Content::Parts(parts) => {
            let texts: Vec<String> = parts.into_iter().map(|ContentPart::Text { text }| text).collect();
            texts.join("\n")
        }
    };
    ChatMessage { name: message.name, ..ChatMessage::new(role, content) }
}

/// The prompts of a completion: at least one, and not too many choices in all.
pub(crate) fn completion_prompts(input: PromptInput, n: NonZeroU32) -> Result<Vec<Prompt>, RequestError> {
    let tokens = |ids: Vec<u32>| Prompt::Tokens(ids.into_iter().map(TokenId).collect());
    let prompts: Vec<Prompt> = match input {
        PromptInput::Text(text) => vec![Prompt::Text(text)],
        PromptInput::Tokens(ids) if ids.is_empty() => Vec::new(),
        PromptInput::Tokens(ids) => vec![tokens(ids)],
        PromptInput::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        PromptInput::TokenLists(lists) => lists.into_iter().map(tokens).collect(),
    };
    if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
        let message = format!("`prompt` holds {} prompts, must be from 1 to {MAX_PROMPTS}", prompts.len());
        return Err(RequestError::invalid("prompt", message));
    }
    let num_choices = prompts.len() * n.get() as usize;
    if num_choices > MAX_CHOICES {
        let message = format!(
            "{} prompts with `n` of {n} make {num_choices} choices, limit {MAX_CHOICES}",
            prompts.len()
        );
        return Err(RequestError::invalid("n", message));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests;
