//! `POST /v1/chat/completions`.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use spillway_api::openai::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatRequest,
    ChunkUsage, FinishReason, MessageRole, Usage,
};

use crate::http::answer::{WholeAnswer, collect};
use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::generation::{AnswerHead, RequestName, served_model, start};
use crate::http::params::{Delivery, GenerationFields, StreamUsage, chat_prompt};
use crate::http::sse::{self, ChunkFormat, json_line};
use crate::http::state::AppState;

/// Answers a conversation.
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(name): Extension<RequestName>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut body: ChatRequest = extract::body(request, state.parts().max_body).await?;
    let model = served_model(&state, body.model.as_deref())?;
    let params = GenerationFields::of_chat(&mut body)?.check(&model.defaults)?;
    let prompt = chat_prompt(body.messages)?;
    let head = AnswerHead::new(&state, "chatcmpl", &name, &model.id);
    let generation = start(&state, &model.id, vec![prompt], &params).await?;
    let mut response = match params.delivery {
        Delivery::Stream { usage } => {
            let format = ChatChunks { head, usage };
            sse::response(generation.stream, generation.num_choices, format, state.parts().keep_alive)
        }
        Delivery::Whole => {
            let answer = collect(generation.stream, generation.num_choices).await?;
            Json(whole(head, answer)).into_response()
        }
    };
    generation.route.write_to(&mut response);
    Ok(response)
}

fn whole(head: AnswerHead, answer: WholeAnswer) -> ChatCompletion {
    let choices =
        answer.choices.into_iter().zip(0_u32..).map(|((content, finish_reason), index)| ChatChoice {
            index,
            message: AssistantMessage { role: MessageRole::Assistant, content, refusal: None },
            logprobs: None,
            finish_reason,
        });
    ChatCompletion {
        id: head.id,
        object: ChatCompletion::OBJECT,
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: answer.usage,
    }
}

/// Writes the chunks of one answer.
struct ChatChunks {
    head: AnswerHead,
    usage: StreamUsage,
}

impl ChatChunks {
    fn choice(&self, index: u32, delta: ChatDelta<'_>, finish_reason: Option<FinishReason>) -> String {
        let usage = match self.usage {
            StreamUsage::Include => ChunkUsage::Pending,
            StreamUsage::LeaveOut => ChunkUsage::NotAsked,
        };
        self.chunk(vec![ChatChunkChoice { index, delta, logprobs: None, finish_reason }], usage)
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
    fn opening(&self, choice: u32) -> Option<String> {
        let delta = ChatDelta { role: Some(MessageRole::Assistant), content: Some("".into()) };
        Some(self.choice(choice, delta, None))
    }

    fn text(&self, choice: u32, text: &str) -> String {
        self.choice(choice, ChatDelta { role: None, content: Some(text.into()) }, None)
    }

    fn finished(&self, choice: u32, reason: FinishReason) -> String {
        self.choice(choice, ChatDelta::default(), Some(reason))
    }

    fn usage(&self, usage: Usage) -> Option<String> {
        match self.usage {
            StreamUsage::Include => Some(self.chunk(Vec::new(), ChunkUsage::Total(usage))),
            StreamUsage::LeaveOut => None,
        }
    }
}
