//! From the config of a remote backend to the backend, in the types of its room.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Context;
use spillway_backends::{
    ApiKey, BedrockBackend, BedrockConfig, BedrockCredentials, BedrockDelivery, BedrockModel,
    BedrockOverrides, BedrockTimeouts, CompatibleBackend, CompatibleConfig, Delivery, Dialect, ExtraHeaders,
    HealthSettings, JsonStyle, ReasoningStyle, ReplicaUrl, ServiceTier, Timeouts, ToolChoiceSupport,
};
use spillway_router::Capabilities;
use spillway_store::Tier;

use crate::config::{self, BackendConfig, BedrockSettings, OpenAiSettings, RemoteTerms};

/// A model of Amazon Bedrock.
pub(super) async fn bedrock(
    config: &BackendConfig,
    settings: &BedrockSettings,
) -> anyhow::Result<BedrockBackend> {
    let RemoteTerms {
        context_tokens, max_output_tokens, prices, tokens_per_minute, features, timeouts, ..
    } = &settings.terms;
    let target = BedrockConfig {
        id: config.id.clone(),
        region: Arc::clone(&settings.region),
        model: BedrockModel::parse(settings.model.as_str())?,
        credentials: BedrockCredentials::Chain { profile: settings.aws_profile.as_deref().map(Arc::from) },
        endpoint_url: settings.endpoint_url.as_deref().map(Arc::from),
        prices: *prices,
        boundary: config.boundary,
        context_tokens: *context_tokens,
        max_output_tokens: *max_output_tokens,
        default_max_tokens: settings.default_max_tokens,
        tokens_per_minute: *tokens_per_minute,
        output_burndown: settings.output_burndown,
        overrides: BedrockOverrides {
            features: features.also.clone(),
            features_off: features.off.clone(),
            json: settings.json_schema.map(|by| match by {
                config::JsonSchemaBy::Native => JsonStyle::Native,
                config::JsonSchemaBy::Tool => JsonStyle::Tool,
            }),
            tool_choice: settings.tool_choice.map(|up_to| match up_to {
                config::ToolChoiceUpTo::Auto => ToolChoiceSupport::Auto,
                config::ToolChoiceUpTo::Any => ToolChoiceSupport::Any,
                config::ToolChoiceUpTo::Named => ToolChoiceSupport::Named,
            }),
            reasoning: settings.reasoning.map(reasoning),
        },
        service_tier: settings.service_tier.map(service_tier),
        delivery: if settings.streaming { BedrockDelivery::Stream } else { BedrockDelivery::Whole },
        timeouts: BedrockTimeouts {
            connect: timeouts.connect,
            first_token: timeouts.first_token,
            idle: timeouts.idle,
            total: timeouts.total,
        },
    };
    Ok(BedrockBackend::connect(target).await?)
}

fn reasoning(by: config::ReasoningBy) -> ReasoningStyle {
    match by {
        config::ReasoningBy::Effort => ReasoningStyle::Effort,
        config::ReasoningBy::Adaptive => ReasoningStyle::Adaptive,
        config::ReasoningBy::Budget => ReasoningStyle::Budget,
        config::ReasoningBy::Nova => ReasoningStyle::Nova,
        config::ReasoningBy::Field => ReasoningStyle::Field,
    }
}

fn service_tier(tier: Tier) -> ServiceTier {
    match tier {
        Tier::Priority => ServiceTier::Priority,
        Tier::Default => ServiceTier::Default,
        Tier::Flex => ServiceTier::Flex,
        Tier::Reserved => ServiceTier::Reserved,
    }
}

/// A server that speaks OpenAI's protocol.
pub(super) fn compatible(
    config: &BackendConfig,
    settings: &OpenAiSettings,
) -> anyhow::Result<CompatibleBackend> {
    let dialect = match settings.dialect {
        config::Dialect::OpenAi => Dialect::OpenAi,
        config::Dialect::Vllm => Dialect::Vllm,
        config::Dialect::LlamaCpp => Dialect::LlamaCpp,
    };
    let RemoteTerms {
        context_tokens, max_output_tokens, prices, tokens_per_minute, features, timeouts, ..
    } = &settings.terms;
    let capabilities = Capabilities {
        boundary: config.boundary,
        context_tokens: context_tokens.map(NonZeroU32::get),
        max_output_tokens: max_output_tokens.map(NonZeroU32::get),
        prices: *prices,
        tokens_per_minute: tokens_per_minute.map(u64::from),
        ..Capabilities::inside(settings.model.clone(), features.applied_to(dialect.features()))
    };
    let headers = settings.headers.iter().map(|(name, value)| (name.as_str(), value.reveal()));
    let target = CompatibleConfig {
        id: config.id.clone(),
        replicas: settings.urls.iter().map(|url| ReplicaUrl::parse(url)).collect::<Result<_, _>>()?,
        capabilities,
        dialect,
        delivery: if settings.streaming { Delivery::Streamed } else { Delivery::Whole },
        api_key: settings.api_key.as_ref().map(|key| ApiKey::new(key.reveal())).transpose()?,
        headers: ExtraHeaders::new(headers)?,
        certificates: settings.certificates.clone(),
        timeouts: Timeouts {
            connect: timeouts.connect,
            first_token: timeouts.first_token,
            idle: timeouts.idle,
            total: timeouts.total,
        },
        health: Some(HealthSettings { interval: settings.health_interval, ..HealthSettings::default() }),
    };
    CompatibleBackend::start(target).context("its client could not be made")
}
