//! `POST /v1/chat/completions`.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use spillway_api::openai::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatLogprobs,
    ChatRequest, ChunkUsage, MessageRole,
};
use spillway_types::{AnswerToken, ChatMessage, Role};

use crate::http::answer::{AnswerEvent, WholeAnswer, collect};
use crate::http::error::ApiError;
use crate::http::extract::{self, Body};
use crate::http::generation::{AnswerHead, RequestName, served_model, start};
use crate::http::params::{Delivery, GenerationParams, OwnFields, StreamUsage, chat_prompt};
use crate::http::sse::{self, ChunkFormat, json_line};
use crate::http::state::AppState;

/// Answers a conversation.
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(name): Extension<RequestName>,
    request: Request,
) -> Result<Response, ApiError> {
    let Body { own, generation }: Body<ChatRequest> = extract::body(request, &state.parts().limits).await?;
    let routing = state.routing();
    let model = served_model(&routing, own.model.as_deref())?;
    let fields = OwnFields::of_chat(&own)?;
    let params = GenerationParams::check(generation, &fields, &model.defaults)?;
    let prompt = chat_prompt(own)?;
    let echo = if fields.echo { echoed(&prompt.messages) } else { String::new() };
    let head = AnswerHead::new(&state, "chatcmpl", &name, &model.id);
    let prompts = vec![spillway_types::Prompt::Chat(prompt)];
    let generation = start(&state, &routing.router, &name, &model.id, prompts, &params).await?;
    let mut response = match params.delivery {
        Delivery::Stream { usage } => {
            let format = ChatChunks { head, usage, params, echo };
            sse::response(generation.stream, generation.expected, format, state.parts().keep_alive)
        }
        Delivery::Whole => {
            let answer = collect(generation.stream, generation.expected).await?;
            Json(whole(head, answer, &params, &echo)).into_response()
        }
    };
    generation.route.write_to(&mut response);
    Ok(response)
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
        message: AssistantMessage {
            role: MessageRole::Assistant,
            content: format!("{echo}{}", choice.text),
            refusal: None,
        },
        logprobs: logprobs(params, &choice.tokens),
        finish_reason: choice.end.reason,
        stop_reason: choice.end.stop,
    });
    ChatCompletion {
        id: head.id,
        object: ChatCompletion::OBJECT,
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: answer.usage,
        prompt_logprobs,
    }
}

/// Writes the chunks of one answer.
struct ChatChunks {
    head: AnswerHead,
    usage: StreamUsage,
    params: GenerationParams,
    echo: String,
}

impl ChatChunks {
    fn choice(&self, choice: ChatChunkChoice<'_>) -> String {
        self.chunk(vec![choice], self.usage.pending())
    }

    fn delta(&self, index: u32, delta: ChatDelta<'_>, tokens: &[AnswerToken]) -> String {
        let logprobs = if tokens.is_empty() { None } else { logprobs(&self.params, tokens) };
        self.choice(ChatChunkChoice { index, delta, logprobs, finish_reason: None, stop_reason: None })
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice<'_>>, usage: ChunkUsage) -> String {
        json_line(&ChatChunk {
            id: &self.head.id,
            object: ChatChunk::OBJECT,
            created: self.head.created,
            model: &self.head.model,
            choices,
            usage,
        })
    }
}

impl ChunkFormat for ChatChunks {
    fn opening(&self, choice: u32) -> Vec<String> {
        let delta = ChatDelta { role: Some(MessageRole::Assistant), content: Some("".into()) };
        let mut chunks = vec![self.delta(choice, delta, &[])];
        if !self.echo.is_empty() {
            let delta = ChatDelta { role: None, content: Some(self.echo.as_str().into()) };
            chunks.push(self.delta(choice, delta, &[]));
        }
        chunks
    }

    fn event(&mut self, event: AnswerEvent) -> Vec<String> {
        match event {
            // Only whole answers hold what is known of a prompt.
            AnswerEvent::Prompt { .. }
            | AnswerEvent::PromptScored { .. }
            | AnswerEvent::Reasoning(_)
            | AnswerEvent::ToolCall(_) => Vec::new(),
            AnswerEvent::Text { text, tokens, .. }
                if text.is_empty() && (self.params.sampling.logprobs.is_none() || tokens.is_empty()) =>
            {
                Vec::new()
            }
            AnswerEvent::Text { choice, text, tokens } => {
                vec![self.delta(choice, ChatDelta { role: None, content: Some(text.into()) }, &tokens)]
            }
            AnswerEvent::Finished { choice, end } => vec![self.choice(ChatChunkChoice {
                index: choice,
                delta: ChatDelta::default(),
                logprobs: None,
                finish_reason: Some(end.reason),
                stop_reason: end.stop,
            })],
            AnswerEvent::Done(usage) => {
                self.usage.total(usage).map(|total| self.chunk(Vec::new(), total)).into_iter().collect()
            }
        }
    }
}
