//! Why a sequence ended.

/// Why a sequence ended. Every sequence ends with exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model said so, or a stop string was met.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The model calls functions and waits for their results.
    ToolCalls,
    /// The provider's filter ended it.
    ContentFilter,
    /// The client went away or the server is closing.
    Aborted,
    /// The step that computed it failed.
    Failed,
}

impl FinishReason {
    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Aborted => "abort",
            Self::Failed => "error",
        }
    }
}
