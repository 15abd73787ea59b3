//! `POST /v1/completions`.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use spillway_api::openai::{
    ChunkUsage, Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest,
    FinishReason, Usage,
};

use crate::http::answer::{WholeAnswer, collect};
use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::generation::{AnswerHead, RequestName, served_model, start};
use crate::http::params::{Delivery, GenerationFields, StreamUsage, completion_prompts};
use crate::http::sse::{self, ChunkFormat, json_line};
use crate::http::state::AppState;

/// Goes on from one prompt or several.
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(name): Extension<RequestName>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut body: CompletionRequest = extract::body(request, state.parts().max_body).await?;
    let model = served_model(&state, body.model.as_deref())?;
    let params = GenerationFields::of_completion(&mut body).check(&model.defaults)?;
    let prompts = completion_prompts(body.prompt, params.n)?;
    let head = AnswerHead::new(&state, "cmpl", &name, &model.id);
    let generation = start(&state, &model.id, prompts, &params).await?;
    let mut response = match params.delivery {
        Delivery::Stream { usage } => {
            let format = CompletionChunks { head, usage };
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

fn whole(head: AnswerHead, answer: WholeAnswer) -> Completion {
    let choices = answer.choices.into_iter().zip(0_u32..).map(|((text, finish_reason), index)| {
        CompletionChoice { index, text, logprobs: None, finish_reason }
    });
    Completion {
        id: head.id,
        object: Completion::OBJECT,
        created: head.created,
        model: head.model,
        choices: choices.collect(),
        usage: answer.usage,
    }
}

/// Writes the chunks of one answer.
struct CompletionChunks {
    head: AnswerHead,
    usage: StreamUsage,
}

impl CompletionChunks {
    fn choice(&self, index: u32, text: &str, finish_reason: Option<FinishReason>) -> String {
        let usage = match self.usage {
            StreamUsage::Include => ChunkUsage::Pending,
            StreamUsage::LeaveOut => ChunkUsage::NotAsked,
        };
        self.chunk(vec![CompletionChunkChoice { index, text, logprobs: None, finish_reason }], usage)
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
}

impl ChunkFormat for CompletionChunks {
    fn opening(&self, _: u32) -> Option<String> {
        None
    }

    fn text(&self, choice: u32, text: &str) -> String {
        self.choice(choice, text, None)
    }

    fn finished(&self, choice: u32, reason: FinishReason) -> String {
        self.choice(choice, "", Some(reason))
    }

    fn usage(&self, usage: Usage) -> Option<String> {
        match self.usage {
            StreamUsage::Include => Some(self.chunk(Vec::new(), ChunkUsage::Total(usage))),
            StreamUsage::LeaveOut => None,
        }
    }
}
