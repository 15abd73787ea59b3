//! What a server would not honour is refused before it is asked, by the field's name.

use spillway_router::{BackendError, Feature};
use spillway_types::{ChatEnd, ChatPrompt, GenerateRequest, OutputFormat, Prompt};

use super::Recipient;
use crate::openai_compatible::dialect::ExtraField;

/// Refuses a request of which the recipient would leave something out.
pub(super) fn check(request: &GenerateRequest, recipient: Recipient<'_>) -> Result<(), BackendError> {
    let features = features(request);
    if let Some(feature) =
        features.into_iter().find(|needed| !recipient.capabilities.features.contains(needed))
    {
        return Err(refused(
            feature.param(),
            format!(
                "backend `{}` has no {}: leave `{}` out",
                recipient.id,
                feature.as_str(),
                feature.param()
            ),
        ));
    }
    match extra_fields(request).into_iter().find(|field| !recipient.dialect.knows(*field)) {
        Some(field) => Err(refused(
            field.param(),
            format!(
                "backend `{}` does not know `{}` (its dialect is `{}`): leave it out",
                recipient.id,
                field.param(),
                recipient.dialect.as_str()
            ),
        )),
        None => Ok(()),
    }
}

fn refused(param: &'static str, message: String) -> BackendError {
    BackendError::InvalidRequest { param: Some(param), message }
}

/// What a request needs that not every server has.
fn features(request: &GenerateRequest) -> Vec<Feature> {
    let params = &request.params;
    let mut needed = Vec::new();
    match &request.prompt {
        Prompt::Chat(chat) => add_chat(&mut needed, chat),
        Prompt::Text(_) => needed.push(Feature::Completion),
        Prompt::Tokens(_) => needed.push(Feature::TokenPrompt),
    }
    match request.format {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => needed.push(Feature::JsonObject),
        OutputFormat::JsonSchema(_) => needed.push(Feature::JsonSchema),
    }
    let penalises = params.penalties.presence().abs() > 0.0 || params.penalties.frequency().abs() > 0.0;
    let rest = [
        (params.logprobs.is_some(), Feature::Logprobs),
        (params.prompt_logprobs.is_some() || params.tell_prompt, Feature::PromptLogprobs),
        (params.given.seed.is_some(), Feature::Seed),
        (params.n.get() > 1, Feature::SeveralChoices),
        (request.reasoning_effort.is_some(), Feature::ReasoningEffort),
        (penalises, Feature::Penalties),
    ];
    needed.extend(rest.into_iter().filter_map(|(is_needed, feature)| is_needed.then_some(feature)));
    needed
}

fn add_chat(needed: &mut Vec<Feature>, chat: &ChatPrompt) {
    needed.push(Feature::Chat);
    if chat.tools.is_some() || chat.messages.iter().any(|message| message.tool_calls.is_some()) {
        needed.push(Feature::Tools);
    }
    if chat.messages.iter().any(|message| !message.images.is_empty()) {
        needed.push(Feature::Images);
    }
    if chat.end != ChatEnd::AssistantTurn {
        needed.push(Feature::ContinuedMessage);
    }
}

/// The fields of a request that are not OpenAI's.
fn extra_fields(request: &GenerateRequest) -> Vec<ExtraField> {
    use ExtraField as F;
    let params = &request.params;
    let arguments = match &request.prompt {
        Prompt::Chat(chat) => chat.arguments.is_some(),
        Prompt::Text(_) | Prompt::Tokens(_) => false,
    };
    let set = [
        (params.given.top_k.is_some(), F::TopK),
        (params.given.min_p.is_some(), F::MinP),
        (params.penalties.look_at_prompt(), F::RepetitionPenalty),
        (!params.constraints.bad_words.is_empty(), F::BadWords),
        (params.constraints.allowed.is_some(), F::AllowedTokens),
        (params.min_tokens > 0, F::MinTokens),
        (!params.stop_tokens.is_empty(), F::StopTokens),
        (params.include_stop, F::IncludeStop),
        (params.ignore_eos, F::IgnoreEos),
        (params.show_special_tokens, F::SpecialTokens),
        (request.truncation.is_some(), F::Truncation),
        (request.cache_salt.is_some(), F::CacheSalt),
        (arguments, F::TemplateArguments),
    ];
    set.into_iter().filter_map(|(is_set, field)| is_set.then_some(field)).collect()
}
