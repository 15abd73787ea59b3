//! The caller's side of one request: tokens become text, stop strings are met, usage is counted.
//!
//! # Invariants
//!
//! - Text that was given out is final: whole characters, and never a part of a stop string.
//! - Each choice gets exactly one `Finished`; after the last one comes `Done`, and then nothing.
//! - A stream that is dropped before its end aborts its request.
//!
//! In a request's path: fed by the engine thread, read by `server::http`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use spillway_text::{
    Detokenizer, Position, SpecialText, StopMatcher, StopStatus, StopStrings, StopText, TextError, Tokenizer,
};
use spillway_types::{
    AnswerToken, FinishReason, GenerateEvent, PromptText, RequestId, SamplingParams, ScoredToken, SeqId,
    StopMatch, TextDelta, TokenId, Usage,
};
use tokio::sync::mpsc;

use crate::error::EngineError;
use crate::message::{Control, Update};
use crate::spelling::told;
use crate::text::from_text;

/// The events of one request. Dropping it before its end aborts the request.
pub struct EventStream {
    request_id: RequestId,
    updates: mpsc::UnboundedReceiver<Update>,
    control: flume::Sender<Control>,
    tokenizer: Arc<Tokenizer>,
    /// Reads the prompt along with its scores, to tell where each token stands in its text.
    prompt: Detokenizer,
    prompt_offset: u32,
    choices: Vec<Choice>,
    ready: VecDeque<Result<GenerateEvent, EngineError>>,
    usage: Usage,
    num_open: usize,
    state: State,
}

/// What the stream needs to know of its request.
pub(crate) struct StreamParts {
    pub(crate) request_id: RequestId,
    pub(crate) updates: mpsc::UnboundedReceiver<Update>,
    pub(crate) control: flume::Sender<Control>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) prompt_tokens: u32,
    /// Present if it is to be told.
    pub(crate) prompt_text: Option<PromptText>,
    /// One for each choice, in order.
    pub(crate) seq_ids: Vec<SeqId>,
    /// Tokens with which the model ends an answer.
    pub(crate) model_end_tokens: Arc<[TokenId]>,
    pub(crate) params: SamplingParams,
}

/// How the ends of all choices read.
struct EndRules {
    stops: StopStrings,
    /// Tokens before which no stop string is looked for.
    min_tokens: u32,
    include_stop: bool,
    ignore_eos: bool,
    stop_tokens: Vec<TokenId>,
    model_end_tokens: Arc<[TokenId]>,
}

impl EndRules {
    /// What of the client's a sequence stopped at that ended with `token`: nothing, if that is the model's own end.
    fn matched(&self, token: TokenId) -> Option<StopMatch> {
        let is_model_end = !self.ignore_eos && self.model_end_tokens.contains(&token);
        (!is_model_end && self.stop_tokens.contains(&token)).then_some(StopMatch::Token(token))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The engine knows that the request is over; what is ready is still to be read.
    Ended,
}

struct Choice {
    seq_id: SeqId,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    rules: Arc<EndRules>,
    /// Tokens that have come.
    num_tokens: u32,
    /// Characters of the text so far, shown or held back.
    text_len: u32,
    finished: bool,
}

impl EventStream {
    pub(crate) fn new(parts: StreamParts) -> Self {
        let params = parts.params;
        let rules = Arc::new(EndRules {
            stops: StopStrings::new(params.stop),
            min_tokens: params.min_tokens,
            include_stop: params.include_stop,
            ignore_eos: params.ignore_eos,
            stop_tokens: params.stop_tokens,
            model_end_tokens: parts.model_end_tokens,
        });
        let special = if params.show_special_tokens { SpecialText::Show } else { SpecialText::Skip };
        let stop_text = if rules.include_stop { StopText::Include } else { StopText::LeaveOut };
        let detokenizer = Detokenizer::new(&parts.tokenizer, Position::AfterPrompt, special);
        let mut prompt = Detokenizer::new(&parts.tokenizer, Position::Start, SpecialText::Skip);
        let mut ready = VecDeque::from([Ok(GenerateEvent::Started {
            prompt_tokens: Some(parts.prompt_tokens),
            provider_request_id: None,
        })]);
        let mut prompt_offset = 0;
        if let Some(text) = parts.prompt_text {
            prompt_offset = advance(&mut prompt, &parts.tokenizer, text.first).unwrap_or(0);
            ready.push_back(Ok(GenerateEvent::Prompt { choice: 0, prompt: text }));
        }
        let choices: Vec<Choice> = parts
            .seq_ids
            .iter()
            .map(|&seq_id| Choice {
                seq_id,
                detokenizer: detokenizer.clone(),
                stop: StopMatcher::new(rules.stops.clone(), stop_text),
                rules: Arc::clone(&rules),
                num_tokens: 0,
                text_len: 0,
                finished: false,
            })
            .collect();
        Self {
            request_id: parts.request_id,
            updates: parts.updates,
            control: parts.control,
            tokenizer: parts.tokenizer,
            num_open: choices.len(),
            choices,
            prompt,
            prompt_offset,
            ready,
            usage: Usage { prompt_tokens: parts.prompt_tokens, ..Usage::default() },
            state: State::Running,
        }
    }

    fn accept(&mut self, update: Update) {
        match update {
            Update::Admitted { cached_tokens } => self.usage.cached_tokens = cached_tokens,
            Update::PromptScored { tokens } => self.accept_prompt(tokens),
            Update::Tokens { choice, tokens, finish } => self.accept_tokens(choice, tokens, finish),
            Update::Failed { error } => {
                self.ready.push_back(Err(error));
                self.state = State::Ended;
            }
        }
    }

    fn accept_prompt(&mut self, tokens: Vec<ScoredToken>) {
        let mut prompt_tokens = Vec::with_capacity(tokens.len());
        for scored in tokens {
            let token = scored.token;
            prompt_tokens.push(told(&self.tokenizer, scored, self.prompt_offset));
            // Every token of a prompt was checked to be one.
            self.prompt_offset += advance(&mut self.prompt, &self.tokenizer, token).unwrap_or(0);
        }
        self.ready.push_back(Ok(GenerateEvent::PromptScored { choice: 0, tokens: prompt_tokens }));
    }

    fn accept_tokens(&mut self, index: u32, tokens: Vec<ScoredToken>, finish: Option<FinishReason>) {
        let choice = &mut self.choices[index as usize];
        if choice.finished {
            return;
        }
        let read = match choice.read(&self.tokenizer, tokens, finish) {
            Ok(read) => read,
            Err(error) => {
                // A token without text: the model's vocabulary is larger than its tokenizer's.
                self.tell(Control::Abort(self.request_id));
                self.ready.push_back(Err(from_text(error)));
                self.state = State::Ended;
                return;
            }
        };
        let Read { text, tokens, finish: end } = read;
        self.usage.completion_tokens += tokens.len() as u32;
        if !tokens.is_empty() || !text.is_empty() {
            self.ready.push_back(Ok(GenerateEvent::Delta(TextDelta { choice: index, text, tokens })));
        }
        let Some((reason, stop)) = end else { return };
        choice.finished = true;
        if finish.is_none() {
            // The engine does not know yet that a stop string was met.
            let seq_id = choice.seq_id;
            self.tell(Control::Finish(seq_id));
        }
        self.ready.push_back(Ok(GenerateEvent::Finished { choice: index, reason, stop }));
        self.num_open -= 1;
        if self.num_open == 0 {
            self.ready.push_back(Ok(GenerateEvent::Done(self.usage)));
            self.state = State::Ended;
        }
    }

    /// Tells the engine something. One that has ended holds nothing any more, and needs no word.
    fn tell(&self, control: Control) {
        let _ = self.control.send(control);
    }
}

/// Has a detokenizer take one token, and tells how many characters came of it.
fn advance(detokenizer: &mut Detokenizer, tokenizer: &Tokenizer, token: TokenId) -> Result<u32, TextError> {
    let mut piece = String::new();
    detokenizer.push(tokenizer, token, &mut piece)?;
    Ok(piece.chars().count() as u32)
}

/// What one update gave. Tokens that came after a stop string are not among these.
struct Read {
    text: String,
    tokens: Vec<AnswerToken>,
    finish: Option<(FinishReason, Option<StopMatch>)>,
}

impl Choice {
    fn read(
        &mut self,
        tokenizer: &Tokenizer,
        scored: Vec<ScoredToken>,
        finish: Option<FinishReason>,
    ) -> Result<Read, TextError> {
        let num_scored = scored.len();
        let (mut text, mut piece) = (String::new(), String::new());
        let mut tokens = Vec::with_capacity(num_scored);
        for (scored, left) in scored.into_iter().zip((0..num_scored).rev()) {
            let token = scored.token;
            tokens.push(told(tokenizer, scored, self.text_len));
            self.num_tokens += 1;
            // A sequence that ends by itself ends with an end token, which is text only if that was asked for.
            if left == 0 && finish == Some(FinishReason::Stop) && !self.rules.include_stop {
                break;
            }
            piece.clear();
            self.detokenizer.push(tokenizer, token, &mut piece)?;
            self.text_len += piece.chars().count() as u32;
            if let Some(stop) = self.stopped_by(&piece, &mut text) {
                return Ok(Read { text, tokens, finish: Some((FinishReason::Stop, Some(stop))) });
            }
        }
        let Some(reason) = finish else { return Ok(Read { text, tokens, finish: None }) };
        piece.clear();
        self.detokenizer.finish(&mut piece);
        if let Some(stop) = self.stopped_by(&piece, &mut text) {
            return Ok(Read { text, tokens, finish: Some((FinishReason::Stop, Some(stop))) });
        }
        self.stop.finish(&mut text);
        let last = tokens.last().filter(|_| reason == FinishReason::Stop);
        let stop = last.and_then(|last| self.rules.matched(last.token?));
        Ok(Read { text, tokens, finish: Some((reason, stop)) })
    }

    /// Shows what may be shown of a piece, and tells the stop string that it completes, if it does.
    fn stopped_by(&mut self, piece: &str, shown: &mut String) -> Option<StopMatch> {
        let status = if self.num_tokens <= self.rules.min_tokens && self.rules.min_tokens > 0 {
            self.stop.pass_over(piece, shown)
        } else {
            self.stop.push(piece, shown)
        };
        match status {
            StopStatus::Open => None,
            StopStatus::Stopped { stop_idx } => {
                let text = self.rules.stops.get(stop_idx).unwrap_or_default();
                Some(StopMatch::Text(text.to_owned()))
            }
        }
    }
}

impl Stream for EventStream {
    type Item = Result<GenerateEvent, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            if self.state == State::Ended {
                return Poll::Ready(None);
            }
            if let Some(update) = ready!(self.updates.poll_recv(ctx)) {
                self.accept(update);
            } else {
                self.ready.push_back(Err(EngineError::Stopped));
                self.state = State::Ended;
            }
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if self.state == State::Running {
            self.tell(Control::Abort(self.request_id));
        }
    }
}

#[cfg(test)]
mod tests;
