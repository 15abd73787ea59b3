//! What a request needs of whoever serves it: what not every backend can do, by the fields that ask for it, and how long
//! the prompt is.

use std::num::NonZeroU32;

use spillway_router::{Feature, Needs};
use spillway_types::{
    ChatEnd, ChatMessage, ChatPrompt, JsonText, OutputFormat, Prompt, ReasoningPart, TextSize, Truncation,
};

use crate::http::logprobs::TokenNames;
use crate::http::params::GenerationParams;

/// Tokens that a chat template puts around a message, about.
const MESSAGE_TOKENS: u32 = 4;
/// Tokens of a picture, about: what the dearest providers count for one that they need not make smaller.
const IMAGE_TOKENS: u32 = 1600;

/// A field that asks for something which not every backend can do.
pub(crate) type AskedField = (Feature, &'static str);

/// What a request asks for, each thing by the field that a client would leave out to do without it.
pub(crate) fn asked_fields(params: &GenerationParams, prompt: &Prompt) -> Vec<AskedField> {
    let mut asked = of_prompt(prompt);
    let sampling = &params.sampling;
    let given = &sampling.given;
    let penalties = &sampling.penalties;
    let differ = |one: f32, other: f32| (one - other).abs() > 0.0;
    let constraints = &sampling.constraints;
    let asks = [
        (params.format == OutputFormat::JsonObject, Feature::JsonObject, "response_format"),
        (matches!(params.format, OutputFormat::JsonSchema(_)), Feature::JsonSchema, "response_format"),
        (params.reasoning_effort.is_some(), Feature::ReasoningEffort, "reasoning_effort"),
        (sampling.logprobs.is_some(), Feature::Logprobs, "logprobs"),
        (params.prompt_logprobs.is_some(), Feature::PromptLogprobs, "prompt_logprobs"),
        (sampling.tell_prompt, Feature::PromptLogprobs, "echo"),
        (given.seed.is_some(), Feature::Seed, "seed"),
        (differ(penalties.frequency(), 0.0), Feature::Penalties, "frequency_penalty"),
        (differ(penalties.presence(), 0.0), Feature::Penalties, "presence_penalty"),
        (differ(penalties.repetition(), 1.0), Feature::TokenRules, "repetition_penalty"),
        (given.top_k.is_some(), Feature::TokenRules, "top_k"),
        (given.min_p.is_some_and(|min_p| min_p > 0.0), Feature::TokenRules, "min_p"),
        (!constraints.bias.is_empty(), Feature::TokenRules, "logit_bias"),
        (!constraints.bad_words.is_empty(), Feature::TokenRules, "bad_words"),
        (constraints.allowed.is_some(), Feature::TokenRules, "allowed_token_ids"),
        (sampling.min_tokens > 0, Feature::TokenRules, "min_tokens"),
        (!sampling.stop_tokens.is_empty(), Feature::TokenRules, "stop_token_ids"),
        (sampling.include_stop, Feature::TokenRules, "include_stop_str_in_output"),
        (sampling.ignore_eos, Feature::TokenRules, "ignore_eos"),
        (sampling.show_special_tokens, Feature::TokenRules, "skip_special_tokens"),
        (params.truncation.is_some(), Feature::TokenRules, "truncate_prompt_tokens"),
        (params.token_names == TokenNames::Ids, Feature::TokenRules, "return_tokens_as_token_ids"),
        // It changes no token, but none of the others' servers know whose cached prefixes are whose.
        (params.cache_salt.is_some(), Feature::TokenRules, "cache_salt"),
        (params.n > NonZeroU32::MIN, Feature::SeveralChoices, "n"),
        (sampling.n > NonZeroU32::MIN, Feature::SeveralChoices, "best_of"),
    ];
    asked.extend(
        asks.into_iter().filter(|(is_asked, ..)| *is_asked).map(|(_, feature, field)| (feature, field)),
    );
    asked
}

fn of_prompt(prompt: &Prompt) -> Vec<AskedField> {
    match prompt {
        Prompt::Text(_) => vec![(Feature::Completion, "prompt")],
        Prompt::Tokens(_) => vec![(Feature::Completion, "prompt"), (Feature::TokenPrompt, "prompt")],
        Prompt::Chat(chat) => {
            let has_images = chat.messages.iter().any(|message| !message.images.is_empty());
            let asks = [
                (true, Feature::Chat, "messages"),
                (chat.tools.is_some(), Feature::Tools, "tools"),
                (has_images, Feature::Images, "messages"),
                (chat.end == ChatEnd::OpenLastMessage, Feature::ContinuedMessage, "continue_final_message"),
                (chat.end == ChatEnd::LastMessage, Feature::ContinuedMessage, "add_generation_prompt"),
                (chat.arguments.is_some(), Feature::TokenRules, "chat_template_kwargs"),
            ];
            let asked = asks.into_iter().filter(|(is_asked, ..)| *is_asked);
            asked.map(|(_, feature, field)| (feature, field)).collect()
        }
    }
}

/// What whoever serves one prompt of the request needs.
pub(crate) fn needs(params: &GenerationParams, prompt: &Prompt) -> Needs {
    let all_choices = |max_tokens: NonZeroU32| max_tokens.get().saturating_mul(params.sampling.n.get());
    Needs {
        features: asked_fields(params, prompt).into_iter().map(|(feature, _)| feature).collect(),
        prompt_tokens: prompt_tokens(prompt, &params.format, params.truncation),
        max_tokens: params.sampling.max_tokens.map(all_choices),
    }
}

/// Tokens of a prompt: exact if it is given as tokens, else about as many as its text makes. It is not tokenised to route
/// it, which would take longer than routing.
fn prompt_tokens(prompt: &Prompt, format: &OutputFormat, truncation: Option<Truncation>) -> u32 {
    let tokens = match prompt {
        Prompt::Text(text) => TextSize::of(text).tokens(),
        Prompt::Tokens(tokens) => u32::try_from(tokens.len()).unwrap_or(u32::MAX),
        Prompt::Chat(chat) => chat_tokens(chat),
    };
    let schema = match format {
        OutputFormat::JsonSchema(schema) => TextSize::of(schema.schema.as_str()).tokens(),
        OutputFormat::Text | OutputFormat::JsonObject => 0,
    };
    let tokens = tokens.saturating_add(schema);
    match truncation {
        Some(Truncation::Last(most)) => tokens.min(most.get()),
        Some(Truncation::ToFit) | None => tokens,
    }
}

fn chat_tokens(chat: &ChatPrompt) -> u32 {
    let tools = chat.tools.iter().flat_map(|used| &used.tools);
    let tools: TextSize = tools
        .flat_map(|tool| {
            let parameters = tool.parameters.as_ref().map(JsonText::as_str);
            [Some(tool.name.as_str()), tool.description.as_deref(), parameters]
        })
        .flatten()
        .map(TextSize::of)
        .sum();
    chat.messages.iter().map(message_tokens).fold(tools.tokens(), u32::saturating_add)
}

fn message_tokens(message: &ChatMessage) -> u32 {
    let thoughts = message.reasoning.iter().map(|part| match part {
        ReasoningPart::Text { text, .. } => text,
        ReasoningPart::Redacted(data) => data,
    });
    let calls = message.tool_calls.as_ref().map_or("", JsonText::as_str);
    let texts = [message.content.as_str(), message.name.as_deref().unwrap_or_default(), calls];
    let text: TextSize = texts.into_iter().chain(thoughts.map(String::as_str)).map(TextSize::of).sum();
    let images = u32::try_from(message.images.len()).unwrap_or(u32::MAX).saturating_mul(IMAGE_TOKENS);
    MESSAGE_TOKENS.saturating_add(text.tokens()).saturating_add(images)
}

#[cfg(test)]
mod tests;
