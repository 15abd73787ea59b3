//! Requests that many tests send.

use serde_json::{Value, json};
use spillway_tests::{ModelVariant, Server, tiny_model};

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const COMPLETIONS: &str = "/v1/completions";
/// Some forty tokens of the tiny model: two whole blocks and more.
pub(super) const LONG_PROMPT: &str = "The village paints the signal because the forest carries the number. The forest \
                                      finds the stone after the village follows the letter. The letter finds the \
                                      kitchen after the stone carries the village.";

/// A server of the tiny model, with room for 512 tokens a sequence.
pub(super) async fn tiny_server(flags: &[&str]) -> Server {
    Server::start(&tiny_model("tied"), flags).await
}

/// A server whose answers to [`endless`] requests no test sees the end of. The model lasts as long as the server.
pub(super) async fn endless_server(flags: &[&str]) -> (Server, ModelVariant) {
    endless_server_with_cache("64MiB", flags).await
}

/// The same, with so much memory for its cache: 8 KiB a block.
pub(super) async fn endless_server_with_cache(size: &str, flags: &[&str]) -> (Server, ModelVariant) {
    let model = ModelVariant::endless();
    let flags = [&["--kv-cache-memory", size], flags].concat();
    (Server::start(model.path(), &flags).await, model)
}

/// A completion of exactly `max_tokens` greedy tokens.
pub(super) fn greedy(prompt: &str, max_tokens: u32) -> Value {
    json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true})
}

/// A completion of exactly `max_tokens` random tokens.
pub(super) fn seeded(prompt: &str, max_tokens: u32, seed: u32) -> Value {
    json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 1, "ignore_eos": true, "seed": seed})
}

/// A completion that goes on for minutes.
pub(super) fn endless() -> Value {
    greedy("The river", 90_000)
}

/// The same, as a stream.
pub(super) fn endless_stream() -> Value {
    with(endless(), json!({"stream": true}))
}

/// A request with more fields, or other values of them.
pub(super) fn with(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("{fields} is no object") };
    request.as_object_mut().expect("a request is an object").extend(fields);
    request
}
