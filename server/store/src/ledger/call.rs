//! The nouns of the ledger: a call before it is made, how it ended, and its row.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use spillway_types::{ModelId, Usage, Usd};

use crate::time::UnixMs;

/// A call's number in the ledger. Never given twice, not even by another process to the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(super) i64);

impl CallId {
    pub(crate) fn from_row(id: i64) -> Self {
        Self(id)
    }

    /// The number, as it is in the file.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a call before it is made. Names are shared: the config's strings are not copied for each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The request's name in logs.
    pub request: Arc<str>,
    /// Which attempt at the request this is, from 1.
    pub attempt: u32,
    /// Name of the client's key, if keys have names.
    pub key: Option<Arc<str>>,
    /// Name of the route.
    pub route: Arc<str>,
    /// Name of the backend.
    pub backend: Arc<str>,
    /// The model as the backend knows it.
    pub model: ModelId,
    /// The word of the request's privacy.
    pub privacy: &'static str,
    /// The part of a split, if there is one.
    pub variant: Option<Arc<str>>,
    /// The word for why it is made: to serve, as a hedge, as a shadow.
    pub purpose: &'static str,
    /// When it was about to be made.
    pub started_at: UnixMs,
    /// Tokens of the prompt, as far as known beforehand.
    pub estimated_prompt_tokens: u32,
    /// Most tokens that may be generated, if there is a limit.
    pub max_tokens: Option<u32>,
}

/// A call that will cost something, and the most that it can cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The call.
    pub call: Call,
    /// What it is charged until it is settled.
    pub amount: Usd,
}

/// How a call ended, in the words of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is complete.
    Answered,
    /// It was given up, by the client or for another backend.
    Cancelled,
    /// It broke off with an error of this code, when it may have been billed already.
    Broken(Cow<'static, str>),
    /// It failed with an error of this code, before anything that is billed.
    Failed(Cow<'static, str>),
}

impl Outcome {
    /// The word in the file.
    pub(crate) fn to_word(&self) -> Cow<'_, str> {
        match self {
            Self::Answered => "answered".into(),
            Self::Cancelled => "cancelled".into(),
            Self::Broken(code) => format!("broken:{code}").into(),
            Self::Failed(code) => format!("failed:{code}").into(),
        }
    }

    /// Reads the word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "answered" => Some(Self::Answered),
            "cancelled" => Some(Self::Cancelled),
            _ => {
                let (kind, code) = word.split_once(':')?;
                let code = Cow::Owned(code.to_owned());
                match kind {
                    "broken" => Some(Self::Broken(code)),
                    "failed" => Some(Self::Failed(code)),
                    _ => None,
                }
            }
        }
    }
}

/// What a call turned out to be: it is paid for, if only in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens, as the backend counted them.
    pub usage: Usage,
    /// What it cost.
    pub cost: Usd,
    /// What the strong model would have cost for these tokens. Counted as saved only where they are an answer: see
    /// [`Savings`](super::Savings).
    pub strong_cost: Option<Usd>,
    /// The provider's name for the call.
    pub provider_request_id: Option<String>,
    /// When it ended.
    pub settled_at: UnixMs,
    /// From start to first content, if there was any.
    pub ttft_ms: Option<u64>,
    /// From start to end.
    pub duration_ms: u64,
}

/// The end of a call that nobody has to pay for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// How it ended.
    pub outcome: Outcome,
    /// The provider's name for the call, if it got that far.
    pub provider_request_id: Option<String>,
    /// When it ended.
    pub settled_at: UnixMs,
    /// From start to end.
    pub duration_ms: u64,
}

/// A call that needed no reservation, told when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedCall {
    /// The call.
    pub call: Call,
    /// How it ended.
    pub settlement: Settlement,
}

/// Where a call is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// Under way, and charged at its reservation.
    Open,
    /// Over, and charged at its cost.
    Settled,
    /// Over, and charged nothing.
    Refunded,
    /// Nobody could tell how it ended: it stays charged at its reservation.
    Unsettled,
}

impl CallState {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::Refunded => "refunded",
            Self::Unsettled => "unsettled",
        }
    }

    /// Reads the word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Open, Self::Settled, Self::Refunded, Self::Unsettled]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// A row of the ledger, as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    /// Its number.
    pub id: CallId,
    /// The request's name in logs.
    pub request: String,
    /// Which attempt at the request it is, from 1.
    pub attempt: u32,
    /// Name of the client's key.
    pub key: Option<String>,
    /// Name of the route.
    pub route: String,
    /// Name of the backend.
    pub backend: String,
    /// The model as the backend knows it.
    pub model: String,
    /// The word of the request's privacy.
    pub privacy: String,
    /// The part of a split.
    pub variant: Option<String>,
    /// The word for why it was made.
    pub purpose: String,
    /// When it was about to be made.
    pub started_at: UnixMs,
    /// What was reserved for it.
    pub reserved: Usd,
    /// Tokens of the prompt, as far as known beforehand.
    pub estimated_prompt_tokens: u32,
    /// Most tokens that might be generated.
    pub max_tokens: Option<u32>,
    /// Where it is in its life.
    pub state: CallState,
    /// How it ended, if anybody can tell.
    pub outcome: Option<Outcome>,
    /// Tokens, once it is settled.
    pub usage: Option<Usage>,
    /// What it costs, as far as known: its reservation until it is settled.
    pub charged: Usd,
    /// What the strong model would have cost.
    pub strong_cost: Option<Usd>,
    /// The provider's name for the call.
    pub provider_request_id: Option<String>,
    /// When it ended.
    pub settled_at: Option<UnixMs>,
    /// From start to first content.
    pub ttft_ms: Option<u64>,
    /// From start to end.
    pub duration_ms: Option<u64>,
}
