//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use spillway_api::openai::{
    ChunkUsage, Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionLogprobs,
    CompletionRequest,
};
use spillway_types::AnswerToken;

use crate::http::answer::{AnswerEvent, ChoiceAnswer, PromptAnswer, WholeAnswer, collect};
use crate::http::client::Client;
use crate::http::error::ApiError;
use crate::http::extract::{self, Body};
use crate::http::generation::{AnswerHead, Work, served_model, start, write_cost};
use crate::http::params::{Delivery, GenerationParams, OwnFields, StreamUsage, completion_prompts};
use crate::http::request_error::RequestError;
use crate::http::route_request::routed;
use crate::http::sse::{self, ChunkFormat, json_line};
use crate::http::state::{AppState, Routing};

/// Goes on from one prompt or several.
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
    let Work { model, prompts, params, .. } = extract::checked(request, &state.parts().limits, check).await?;
    let generation = start(&state, &routing.router, &model, prompts, &params).await?;
    let head = AnswerHead::new(&state, "cmpl", &name, &model);
    let expected = generation.source.expected;
    let mut response = match params.delivery {
        Delivery::Stream { usage } => {
            let prompt_lens = vec![0; expected.num_prompts as usize];
            let n = expected.num_choices_each;
            let format = CompletionChunks { head, usage, params, n, prompt_lens };
            sse::response(generation.source, format, state.parts().keep_alive)
        }
        Delivery::Whole => {
            let mut answer = collect(generation.source).await?;
            answer.keep_best(expected.num_choices_each, params.n.get());
            let cost = answer.bill.cost;
            let mut response = Json(whole(head, answer, &params)).into_response();
            write_cost(&mut response, cost);
            response
        }
    };
    generation.route.write_to(&mut response);
    Ok(response)
}

/// Checks a request, and what the router is to know of each of its prompts.
pub(super) fn work(
    routing: &Routing,
    client: &Client,
    body: Body<CompletionRequest>,
) -> Result<Work, RequestError> {
    let Body { own, generation } = body;
    let model = served_model(routing, own.model.as_deref())?;
    let fields = OwnFields::of_completion(&own)?;
    let params = GenerationParams::check(generation, &fields, &model.defaults)?;
    let prompts = completion_prompts(own.prompt, params.sampling.n)?;
    let prompts = routed(client, routing, &model.id, prompts, &params);
    Ok(Work { model: model.id.clone(), prompts, params, echo: String::new() })
}

fn whole(head: AnswerHead, answer: WholeAnswer, params: &GenerationParams) -> Completion {
    let n = params.n.get();
    let choices =
        answer.choices.into_iter().zip(0_u32..).map(|(choice, index)| {
            whole_choice(index, choice, &answer.prompts[(index / n) as usize], params)
        });
    Completion {
        id: head.id,
        object: Completion::OBJECT,
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: answer.bill.usage,
    }
}

fn whole_choice(
    index: u32,
    choice: ChoiceAnswer,
    prompt: &PromptAnswer,
    params: &GenerationParams,
) -> CompletionChoice {
    let echoed = prompt.text.as_ref().filter(|_| params.echo);
    let logprobs = params.sampling.logprobs.map(|max_top| {
        let mut logprobs = CompletionLogprobs::default();
        let mut offset = 0;
        if let Some(text) = echoed {
            params.token_names.add_first(&mut logprobs, text);
            params.token_names.add_to_completion(&mut logprobs, &prompt.tokens, 0, max_top);
            offset = num_characters(&text.text);
        }
        params.token_names.add_to_completion(&mut logprobs, &choice.tokens, offset, max_top);
        logprobs
    });
    CompletionChoice {
        index,
        text: format!("{}{}", echoed.map_or("", |prompt| &prompt.text), choice.text),
        logprobs,
        finish_reason: choice.end.reason,
        stop_reason: choice.end.stop,
        prompt_logprobs: params
            .prompt_logprobs
            .map(|max_top| params.token_names.of_prompt(&prompt.tokens, max_top)),
    }
}

fn num_characters(text: &str) -> u32 {
    text.chars().count() as u32
}

/// Writes the chunks of one answer.
struct CompletionChunks {
    head: AnswerHead,
    usage: StreamUsage,
    params: GenerationParams,
    /// Choices of each prompt.
    n: u32,
    /// Characters of each prompt's text, as far as it was echoed.
    prompt_lens: Vec<u32>,
}

impl CompletionChunks {
    fn text(&self, index: u32, text: &str, logprobs: Option<CompletionLogprobs>) -> String {
        let choice = CompletionChunkChoice { index, text, logprobs, finish_reason: None, stop_reason: None };
        self.chunk(vec![choice], self.usage.pending())
    }

    fn chunk(&self, choices: Vec<CompletionChunkChoice<'_>>, usage: ChunkUsage) -> String {
        json_line(&CompletionChunk {
            id: &self.head.id,
            object: Completion::OBJECT,
            created: self.head.created,
            model: &self.head.model,
            choices,
            usage,
        })
    }

    fn logprobs(&self, tokens: &[AnswerToken], offset: u32) -> Option<CompletionLogprobs> {
        self.params.sampling.logprobs.filter(|_| !tokens.is_empty()).map(|max_top| {
            let mut logprobs = CompletionLogprobs::default();
            self.params.token_names.add_to_completion(&mut logprobs, tokens, offset, max_top);
            logprobs
        })
    }

    /// The same chunk for every choice of the prompt whose first is `first`.
    fn echo(&self, first: u32, text: &str, logprobs: Option<&CompletionLogprobs>) -> Vec<String> {
        (first..first + self.n).map(|choice| self.text(choice, text, logprobs.cloned())).collect()
    }
}

impl ChunkFormat for CompletionChunks {
    fn opening(&self, _: u32) -> Vec<String> {
        Vec::new()
    }

    fn event(&mut self, event: AnswerEvent) -> Vec<String> {
        match event {
            AnswerEvent::Prompt { choice, prompt } => {
                let first = self.params.sampling.logprobs.map(|_| {
                    let mut logprobs = CompletionLogprobs::default();
                    self.params.token_names.add_first(&mut logprobs, &prompt);
                    logprobs
                });
                if let Some(len) = self.prompt_lens.get_mut((choice / self.n) as usize) {
                    *len = num_characters(&prompt.text);
                }
                self.echo(choice, &prompt.text, first.as_ref())
            }
            AnswerEvent::PromptScored { choice, tokens } => {
                self.echo(choice, "", self.logprobs(&tokens, 0).as_ref())
            }
            AnswerEvent::Text { choice, text, tokens } => {
                let offset = self.prompt_lens.get((choice / self.n) as usize).copied().unwrap_or(0);
                let logprobs = self.logprobs(&tokens, offset);
                if text.is_empty() && logprobs.is_none() {
                    return Vec::new();
                }
                vec![self.text(choice, &text, logprobs)]
            }
            // A plain text is continued by text alone.
            AnswerEvent::Reasoning(_) | AnswerEvent::ToolCall(_) => Vec::new(),
            AnswerEvent::Finished { choice, end } => {
                let choice = CompletionChunkChoice {
                    index: choice,
                    text: "",
                    logprobs: None,
                    finish_reason: Some(end.reason),
                    stop_reason: end.stop,
                };
                vec![self.chunk(vec![choice], self.usage.pending())]
            }
            AnswerEvent::Done(bill) => {
                self.usage.total(bill.usage).map(|total| self.chunk(Vec::new(), total)).into_iter().collect()
            }
        }
    }
}
