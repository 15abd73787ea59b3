//! One connection: reads requests, checks who asks, and does what the model's name says.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use spillway_types::Usage;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{self, Answer, Block};
use super::behaviour::{Behaviour, Named};
use super::http::{self, Request, Response};
use super::log::{CallEnd, LoggedCall, LoggedRequest};
use super::refusal::Refusal;
use super::script::{Script, Step};
use super::signature;
use super::state::State;

/// Takes connections until it is dropped.
pub(super) async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // A connection that breaks is what half of the tests are for.
            let _result = serve(socket, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What to do with a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

async fn serve(mut socket: TcpStream, state: &State) -> io::Result<()> {
    socket.set_nodelay(true)?;
    while let Some(request) = Request::read(&mut socket).await? {
        let number = state.log.asked(LoggedRequest {
            path: request.path.clone(),
            bytes: request.bytes.clone(),
            body: request.body.clone(),
        });
        let exchange = Exchange { socket: &mut socket, state, request_id: format!("fake-{number:04}") };
        if exchange.answer(&request).await? == Next::Close {
            break;
        }
    }
    Ok(())
}

/// One request and its answer.
struct Exchange<'a> {
    socket: &'a mut TcpStream,
    state: &'a State,
    request_id: String,
}

/// What is asked of whom.
#[derive(Debug)]
struct Operation {
    model: String,
    is_stream: bool,
}

impl Operation {
    /// Reads a path like `/model/eu.fake.plain/converse-stream`.
    fn parse(path: &str) -> Option<Self> {
        let (model, operation) = path.strip_prefix("/model/")?.rsplit_once('/')?;
        let is_stream = match operation {
            "converse" => false,
            "converse-stream" => true,
            _ => return None,
        };
        Some(Self { model: decoded(model), is_stream })
    }
}

/// A path's part without its escapes.
fn decoded(part: &str) -> String {
    let mut parts = part.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        plain.extend(u8::from_str_radix(digits, 16).ok().map(char::from));
        plain += rest;
    }
    plain
}

impl Exchange<'_> {
    async fn answer(mut self, request: &Request) -> io::Result<Next> {
        let not_found = Refusal::named("not-found").expect("it is a kind");
        let Some(operation) = Operation::parse(&request.path) else {
            return self.refuse(&Operation { model: String::new(), is_stream: false }, &not_found).await;
        };
        if let Err(refusal) = signature::check(request) {
            return self.refuse(&operation, &refusal).await;
        }
        let Some(named) = Named::parse(&operation.model) else {
            return self.refuse(&operation, &not_found).await;
        };
        let num_before = self.state.count(&operation.model);
        let is_over = named.num_times.is_some_and(|num_times| num_before >= num_times);
        let behaviour = if is_over { Behaviour::Plain } else { named.behaviour };
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            let refusal = Refusal::named("validation").expect("it is a kind");
            return self.refuse(&operation, &refusal).await;
        };
        let answer = Answer::to(&body, &behaviour, &self.request_id);
        match &behaviour {
            Behaviour::Refuse(refusal) => self.refuse(&operation, refusal).await,
            Behaviour::Page(status) => self.page(&operation, *status).await,
            Behaviour::Reset(None) => {
                self.end(&operation, Usage::default(), CallEnd::Broken);
                self.socket.set_zero_linger()?;
                Ok(Next::Close)
            }
            Behaviour::Silent(None) => {
                if self.holds().await == Next::Close {
                    self.end(&operation, answer.prompt, CallEnd::Cancelled);
                    return Ok(Next::Close);
                }
                self.send(&operation, &answer, &Behaviour::Plain).await
            }
            _ => self.send(&operation, &answer, &behaviour).await,
        }
    }

    async fn send(self, operation: &Operation, answer: &Answer, behaviour: &Behaviour) -> io::Result<Next> {
        if operation.is_stream {
            self.stream(operation, answer, &Script::new(answer, behaviour)).await
        } else {
            self.whole(operation, answer, behaviour).await
        }
    }

    /// Holds still until released; `Close` if the client leaves first.
    async fn holds(&mut self) -> Next {
        tokio::select! {
            () = self.state.hold.wait() => Next::Keep,
            () = http::client_left(self.socket) => Next::Close,
        }
    }

    fn end(&self, operation: &Operation, usage: Usage, end: CallEnd) {
        self.state.log.end(LoggedCall {
            request_id: self.request_id.clone(),
            model: operation.model.clone(),
            is_stream: operation.is_stream,
            usage,
            end,
        });
    }

    async fn refuse(self, operation: &Operation, refusal: &Refusal) -> io::Result<Next> {
        self.end(operation, Usage::default(), CallEnd::Refused);
        refusal.response().write(self.socket, &self.request_id).await?;
        Ok(Next::Keep)
    }

    async fn page(self, operation: &Operation, status: u16) -> io::Result<Next> {
        self.end(operation, Usage::default(), CallEnd::Broken);
        let headers = vec![("content-type", "text/html".to_owned())];
        let body = b"<html><body>a proxy's page</body></html>".to_vec();
        Response { status, headers, body }.write(self.socket, &self.request_id).await?;
        Ok(Next::Keep)
    }

    /// Sends events one by one. What was generated is charged for, whoever hangs up.
    async fn stream(mut self, operation: &Operation, answer: &Answer, script: &Script) -> io::Result<Next> {
        let mut usage = answer.prompt;
        let content_type = "application/vnd.amazon.eventstream";
        let mut outcome = http::begin_chunks(self.socket, &self.request_id, content_type).await;
        for step in &script.steps {
            if outcome.is_err() {
                break;
            }
            match step {
                Step::Send(frame) => {
                    outcome = http::write_chunk(self.socket, &frame.bytes).await;
                    usage.completion_tokens += frame.num_tokens;
                }
                Step::Hold => {
                    if self.holds().await == Next::Close {
                        outcome = Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                Step::Pause(pause) => {
                    tokio::select! {
                        () = tokio::time::sleep(*pause) => {}
                        () = http::client_left(self.socket) => outcome = Err(io::ErrorKind::BrokenPipe.into()),
                    }
                }
                Step::Reset => {
                    self.end(operation, usage, CallEnd::Broken);
                    self.socket.set_zero_linger()?;
                    return Ok(Next::Close);
                }
            }
        }
        if outcome.is_err() {
            self.end(operation, usage, CallEnd::Cancelled);
            return Ok(Next::Close);
        }
        self.end(operation, usage, script.end);
        http::end_chunks(self.socket).await?;
        Ok(Next::Keep)
    }

    /// Sends the answer in one body; what has a meaning in streams only is refused or broken as near as can be.
    async fn whole(
        mut self,
        operation: &Operation,
        answer: &Answer,
        behaviour: &Behaviour,
    ) -> io::Result<Next> {
        let usage = answer.usage();
        let mut body = json!({
            "output": {"message": {"role": "assistant", "content": content(&answer.blocks)}},
            "stopReason": answer.stop_reason,
            "usage": answer::usage_json(&usage),
            "metrics": {"latencyMs": 1},
        });
        let mut end = CallEnd::Complete;
        let holds = matches!(behaviour, Behaviour::Silent(_) | Behaviour::SilentEnd);
        if holds && self.holds().await == Next::Close {
            self.end(operation, usage, CallEnd::Cancelled);
            return Ok(Next::Close);
        }
        match behaviour {
            Behaviour::Exception(refusal, _) => return self.refuse(operation, refusal).await,
            Behaviour::Reset(_) | Behaviour::Truncated(_) | Behaviour::Cut => {
                self.end(operation, usage, CallEnd::Broken);
                let half = &body.to_string().into_bytes()[..40];
                http::begin_chunks(self.socket, &self.request_id, "application/json").await?;
                http::write_chunk(self.socket, half).await?;
                return Ok(Next::Close);
            }
            Behaviour::NoEvents => {
                body["output"] = Value::Null;
                end = CallEnd::Broken;
            }
            Behaviour::NoMetadata | Behaviour::MetadataFirst => {
                body["usage"] = Value::Null;
                end = CallEnd::Broken;
            }
            Behaviour::BadChecksum(_) => {
                body = json!("no object");
                end = CallEnd::Broken;
            }
            _ => {}
        }
        self.end(operation, usage, end);
        let headers = vec![("content-type", "application/json".to_owned())];
        let response = Response { status: 200, headers, body: body.to_string().into_bytes() };
        response.write(self.socket, &self.request_id).await?;
        Ok(Next::Keep)
    }
}

/// Blocks as they stand in one body.
fn content(blocks: &[Block]) -> Value {
    let block = |block: &Block| match block {
        Block::Text(words) => json!({"text": words.join(" ")}),
        Block::Thought(words) => {
            json!({"reasoningContent": {"reasoningText": {"text": words.join(" "), "signature": "c2lnbmVk"}}})
        }
        Block::Call { id, name, input } => {
            json!({"toolUse": {"toolUseId": id, "name": name, "input": input}})
        }
    };
    blocks.iter().map(block).collect()
}
