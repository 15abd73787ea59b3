//! `POST /v1/chat/completions`: reads a request, and writes a whole answer; `chunks` writes a stream.

mod chunks;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use spillway_api::openai::{
    AssistantMessage, ChatChoice, ChatCompletion, ChatLogprobs, ChatRequest, MessageRole,
};
use spillway_types::{AnswerToken, ChatMessage, Prompt, Role};

use crate::http::answer::{ChoiceAnswer, WholeAnswer, collect};
use crate::http::client::Client;
use crate::http::error::ApiError;
use crate::http::extract::{self, Body};
use crate::http::generation::{AnswerHead, Work, served_model, start, write_cost};
use crate::http::params::{Delivery, GenerationParams, OwnFields, chat_prompt};
use crate::http::request_error::RequestError;
use crate::http::route_request::routed;
use crate::http::sse;
use crate::http::state::{AppState, Routing};

use chunks::ChatChunks;

/// Answers a conversation.
pub(crate) async fn create(
    State(state): State<AppState>,
    client: Client,
    request: Request,
) -> Result<Response, ApiError> {
    let routing = state.routing();
    let name = client.name.clone();
    let check = {
        let routing = Arc::clone(&routing);
        move |body| work(&routing, &client, body)
    };
    let Work { model, prompts, params, echo } =
        extract::checked(request, &state.parts().limits, check).await?;
    let generation = start(&state, &routing.router, &model, prompts, &params).await?;
    let head = AnswerHead::new(&state, "chatcmpl", &name, &model);
    let mut response = match params.delivery {
        Delivery::Stream { usage } => {
            let format = ChatChunks::new(head, usage, params, echo);
            sse::response(generation.source, format, state.parts().keep_alive)
        }
        Delivery::Whole => {
            let answer = collect(generation.source).await?;
            let cost = answer.bill.cost;
            let mut response = Json(whole(head, answer, &params, &echo)).into_response();
            write_cost(&mut response, cost);
            response
        }
    };
    generation.route.write_to(&mut response);
    Ok(response)
}

/// Checks a request, and what the router is to know of it.
pub(super) fn work(
    routing: &Routing,
    client: &Client,
    body: Body<ChatRequest>,
) -> Result<Work, RequestError> {
    let Body { own, generation } = body;
    let model = served_model(routing, own.model.as_deref())?;
    let fields = OwnFields::of_chat(&own)?;
    let params = GenerationParams::check(generation, &fields, &model.defaults)?;
    let prompt = chat_prompt(own)?;
    let echo = if fields.echo { echoed(&prompt.messages) } else { String::new() };
    let prompts = routed(client, routing, &model.id, vec![Prompt::Chat(prompt)], &params);
    Ok(Work { model: model.id.clone(), prompts, params, echo })
}

/// What an answer that echoes begins with: the last message, if it is the assistant's, as in vLLM.
fn echoed(messages: &[ChatMessage]) -> String {
    let last = messages.last().filter(|message| message.role == Role::Assistant);
    last.map(|message| message.content.clone()).unwrap_or_default()
}

fn logprobs(params: &GenerationParams, tokens: &[AnswerToken]) -> Option<ChatLogprobs> {
    params.sampling.logprobs.map(|_| params.token_names.of_chat(tokens))
}

fn whole(head: AnswerHead, answer: WholeAnswer, params: &GenerationParams, echo: &str) -> ChatCompletion {
    let prompt_tokens = answer.prompts.first().map(|prompt| &prompt.tokens[..]).unwrap_or_default();
    let prompt_logprobs =
        params.prompt_logprobs.map(|max_top| params.token_names.of_prompt(prompt_tokens, max_top));
    let choices = answer.choices.into_iter().zip(0_u32..).map(|(choice, index)| ChatChoice {
        index,
        logprobs: logprobs(params, &choice.tokens),
        finish_reason: choice.end.reason,
        stop_reason: choice.end.stop.clone(),
        message: message(choice, echo),
    });
    ChatCompletion {
        id: head.id,
        object: ChatCompletion::OBJECT,
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: answer.bill.usage,
        prompt_logprobs,
    }
}

fn message(choice: ChoiceAnswer, echo: &str) -> AssistantMessage {
    let content = format!("{echo}{}", choice.text);
    let only_calls = content.is_empty() && !choice.tool_calls.is_empty();
    AssistantMessage {
        role: MessageRole::Assistant,
        content: (!only_calls).then_some(content),
        refusal: None,
        reasoning_content: (!choice.thoughts.is_empty()).then_some(choice.thoughts),
        thinking_blocks: choice.thinking_blocks,
        tool_calls: choice.tool_calls,
    }
}
