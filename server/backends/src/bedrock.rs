//! Amazon Bedrock as a backend: Converse and `ConverseStream`, by AWS's own SDK.
//!
//! A [`BedrockBackend`] is one target: a region, a model or inference profile there, credentials, prices. It makes no
//! choice and no retry, for the router wants to see every attempt: each error becomes one [`UpstreamError`] with the
//! class that says what may be done.
//!
//! Answers come by `ConverseStream`, whether the client streams or not: the router reads a stream in any case, a first
//! token can then be waited for, and a client that hangs up stops the model. `Converse` serves models that have no
//! streams; its answer is read by the same rules, as a stream that came at once.
//!
//! - `config`, `model`, `traits`: what the operator says, and what follows from the model's name.
//! - `request` and its parts: from the house's request to Bedrock's. What Bedrock cannot honour is refused by name.
//! - `answer`, `stream`, `whole`: from Bedrock's events to the house's, checked to come in order and to a good end.
//! - `errors`: from the SDK's errors to classes. `quota`: the tokens a minute that Bedrock reserves, counted here.
//!
//! In a request's path: between the router and a region of AWS.
//!
//! [`UpstreamError`]: spillway_router::UpstreamError

mod answer;
mod backend;
mod client;
mod config;
mod document;
mod errors;
mod fault;
mod format;
mod images;
mod inference;
mod messages;
mod model;
mod names;
mod quota;
mod request;
mod stop;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod traits;
mod turns;
mod usage;
mod whole;

pub use backend::BedrockBackend;
pub use config::{
    BearerToken, BedrockConfig, BedrockConfigError, BedrockCredentials, BedrockOverrides, BedrockTimeouts,
    Delivery, ServiceTier,
};
pub use model::BedrockModel;
pub use traits::{JsonStyle, ReasoningStyle, ToolChoiceSupport};
