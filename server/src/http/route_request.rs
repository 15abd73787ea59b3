//! What the router is told of a request: whose it is, whether it may leave, what it needs, what it may cost.

use std::sync::Arc;

use spillway_router::{ContentRules, Label, LabelSource, Privacy, RouteRequest};
use spillway_types::{ModelId, OutputFormat, Prompt, Role, Usd};

use crate::http::client::Client;
use crate::http::needs::needs;
use crate::http::params::{Delivery, GenerationParams};
use crate::http::state::Routing;
use crate::http::texts::texts;

/// The name of a rule that stands for all: what cannot be read may hold anything.
const UNREADABLE: &str = "prompts of token ids";

/// A prompt, and what the router is told of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RoutedPrompt {
    pub(crate) route: RouteRequest,
    pub(crate) prompt: Prompt,
}

/// Tells the router of each prompt. All of a request bear the label of the strictest, and share what it may cost.
pub(crate) fn routed(
    client: &Client,
    routing: &Routing,
    model: &ModelId,
    prompts: Vec<Prompt>,
    params: &GenerationParams,
) -> Vec<RoutedPrompt> {
    let route_default = routing.router.route(model).map_or(Privacy::Private, |route| route.default_privacy);
    let by_rule = by_rule(&routing.content_rules, &prompts, &params.format);
    let label = label(client, route_default, by_rule);
    let wishes = &client.wishes;
    let num_prompts = prompts.len().max(1) as u64;
    let max_cost = wishes.max_cost.map(|all| Usd::from_nanos(all.nanos() / num_prompts));
    let session = wishes.session.clone().or_else(|| params.user.as_deref().map(Arc::from));
    let route = |prompt: &Prompt| RouteRequest {
        name: Arc::clone(&client.name.0),
        model: model.clone(),
        key: client.key.name.clone(),
        label: label.clone(),
        needs: needs(params, prompt),
        text: last_words(prompt).into(),
        max_cost,
        slo_ttft: wishes.slo_ttft,
        session: session.clone(),
        tags: wishes.tags.clone(),
        is_stream: params.delivery != Delivery::Whole,
    };
    prompts.into_iter().map(|prompt| RoutedPrompt { route: route(&prompt), prompt }).collect()
}

/// The strictest of what key, header and rules say, in this order; the route speaks for those who are silent.
fn label(client: &Client, route_default: Privacy, by_rule: Option<Label>) -> Label {
    let name = || client.key.name.clone().unwrap_or_else(|| Arc::from("without a name"));
    let by_key = client.key.privacy.map(|privacy| Label { privacy, source: LabelSource::Key(name()) });
    let by_header = client.wishes.privacy.map(|privacy| Label { privacy, source: LabelSource::Header });
    Label::strictest(route_default, by_key.into_iter().chain(by_header).chain(by_rule))
}

/// What the content rules say of all prompts together.
fn by_rule(rules: &ContentRules, prompts: &[Prompt], format: &OutputFormat) -> Option<Label> {
    if rules.is_empty() {
        return None;
    }
    if prompts.iter().any(|prompt| matches!(prompt, Prompt::Tokens(_))) {
        return Some(Label { privacy: Privacy::Private, source: LabelSource::Rule(Arc::from(UNREADABLE)) });
    }
    let texts: Vec<_> = prompts.iter().flat_map(|prompt| texts(prompt, format)).collect();
    rules.label(texts.iter().map(AsRef::as_ref))
}

/// What is said last, by which prompts are scored: a user's last message, or a text.
fn last_words(prompt: &Prompt) -> &str {
    match prompt {
        Prompt::Text(text) => text,
        Prompt::Tokens(_) => "",
        Prompt::Chat(chat) => {
            let last = chat.messages.iter().rev().find(|message| message.role == Role::User);
            last.map_or("", |message| &message.content)
        }
    }
}

#[cfg(test)]
mod tests;
