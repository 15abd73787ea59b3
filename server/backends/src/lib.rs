//! Implementations of [`spillway_router::Backend`].
//!
//! Each turns its own errors into [`spillway_router::BackendError`]s, by what the caller can do about them.
//!
//! In a request's path: between the router and whatever computes the answer.

mod bedrock;
mod fault;
mod local;
mod openai_compatible;

pub use bedrock::{
    BearerToken, BedrockBackend, BedrockConfig, BedrockConfigError, BedrockCredentials, BedrockModel,
    BedrockOverrides, BedrockTimeouts, Delivery as BedrockDelivery, JsonStyle, ReasoningStyle, ServiceTier,
    ToolChoiceSupport,
};
pub use local::LocalBackend;
pub use openai_compatible::{
    ApiKey, CompatibleBackend, CompatibleConfig, CompatibleConfigError, Delivery, Dialect, ExtraHeaders,
    HealthSettings, ReplicaUrl, Timeouts,
};
