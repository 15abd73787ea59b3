//! Why the engine did not serve a request.

use std::time::Duration;

use spillway_types::RequestId;

/// Why the engine did not serve a request, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The prompt leaves no room to generate; the client must shorten it.
    #[error(
        "prompt has {prompt_tokens} tokens, the context holds {max_model_len} with at least one to generate"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens of prompt and output together.
        max_model_len: u32,
    },

    /// Prompt and output do not fit together; the client must ask for less.
    #[error(
        "prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}, the context holds {max_model_len}"
    )]
    OutputTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens asked for.
        max_tokens: u32,
        /// Tokens of prompt and output together.
        max_model_len: u32,
    },

    /// The prompt needs more KV cache than there is.
    #[error("request needs {needed_blocks} KV cache blocks, the cache has {num_blocks}")]
    CacheTooSmall {
        /// Blocks that the request needs at once.
        needed_blocks: u32,
        /// Blocks of the whole cache.
        num_blocks: u32,
    },

    /// The prompt has no tokens; there is nothing to go on from.
    #[error("prompt has no tokens, at least one is needed")]
    PromptEmpty,

    /// A token id is not in the vocabulary.
    #[error("token id {token} is not in the vocabulary of {vocab_size} tokens")]
    UnknownToken {
        /// The id.
        token: u32,
        /// One past the largest id.
        vocab_size: u32,
    },

    /// A conversation was sent to a model without a chat template.
    #[error("model has no chat template, send a text prompt to /v1/completions instead")]
    NoChatTemplate,

    /// The chat template refused the conversation.
    #[error("chat template refused the messages: {message}")]
    Template {
        /// The template's own words.
        message: String,
    },

    /// The tokenizer failed.
    #[error("tokenizer failed: {message}")]
    Tokenizer {
        /// The tokenizer's own words.
        message: String,
    },

    /// The waiting queue is full; try again later.
    #[error("queue is full: {waiting} requests are waiting, limit {max_waiting}")]
    QueueFull {
        /// Requests that wait.
        waiting: u32,
        /// The limit.
        max_waiting: u32,
        /// When room is likely.
        retry_after: Duration,
    },

    /// The prompts in line take too long already; try again later.
    #[error(
        "queue is too long: {queued_tokens} prompt tokens take {:.1} s at the measured rate, limit {:.1} s",
        wait.as_secs_f64(), max_wait.as_secs_f64()
    )]
    QueueTooLong {
        /// Prompt tokens in line.
        queued_tokens: u64,
        /// How long they take.
        wait: Duration,
        /// The limit.
        max_wait: Duration,
    },

    /// Two requests bear one id: a bug of whoever numbers them.
    #[error("request {request_id} is already being served, ids must be unique")]
    DuplicateRequest {
        /// The id.
        request_id: RequestId,
    },

    /// The engine is draining and takes no more requests.
    #[error("engine is shutting down")]
    ShuttingDown,

    /// The step that computed this request failed.
    #[error("request {request_id} failed in a step: {message}")]
    StepFailed {
        /// The request.
        request_id: RequestId,
        /// What the executor said.
        message: String,
    },

    /// The request's own rules left nothing to go on with; the client must loosen them.
    #[error("{message}")]
    NoTokenLeft {
        /// Which rules, and where.
        message: String,
    },

    /// A parameter does not go with this model or this prompt; the client must change it.
    #[error("{message}")]
    InvalidParameter {
        /// The parameter's name as clients write it.
        param: &'static str,
        /// What is wrong, with value, limit and how to mend it.
        message: String,
    },

    /// The engine thread has ended.
    #[error("engine has stopped")]
    Stopped,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The scheduler's limits do not go together.
    #[error(transparent)]
    Config(#[from] spillway_scheduler::ConfigError),

    /// The operating system refused a thread.
    #[error("the engine's thread could not be started")]
    Thread(#[from] std::io::Error),
}
