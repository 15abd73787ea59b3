//! What the operator says of a Bedrock target, and what of it cannot be.

use std::collections::BTreeSet;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use spillway_router::{BackendId, Boundary, Feature};
use spillway_types::TokenPrices;

use super::model::BedrockModel;
use super::traits::{JsonStyle, ReasoningStyle, ToolChoiceSupport};

/// One target: a model in a region, and how it is asked.
#[derive(Debug, Clone)]
pub struct BedrockConfig {
    /// The backend's name.
    pub id: BackendId,
    /// The region that is asked, as `eu-central-1`.
    pub region: Arc<str>,
    /// The model or inference profile.
    pub model: BedrockModel,
    /// Who asks.
    pub credentials: BedrockCredentials,
    /// Another address than the region's own. Only from here: neither a request nor the environment can change it.
    pub endpoint_url: Option<Arc<str>>,
    /// What its tokens cost.
    pub prices: TokenPrices,
    /// On which side of the boundary it counts.
    pub boundary: Boundary,
    /// Most tokens of prompt and answer together.
    pub context_tokens: Option<NonZeroU32>,
    /// Most tokens of an answer.
    pub max_output_tokens: Option<NonZeroU32>,
    /// Tokens that are asked for where the client does not say: Bedrock reserves quota for all that it is asked for.
    pub default_max_tokens: NonZeroU32,
    /// Tokens a minute that the account has for this model, if they are to be counted here.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Tokens of quota that a generated token costs in the end: 5 for some models, 1 for most.
    pub output_burndown: NonZeroU32,
    /// What differs from what the model's name says.
    pub overrides: BedrockOverrides,
    /// The class of service; the account's default if absent.
    pub service_tier: Option<ServiceTier>,
    /// How answers come.
    pub delivery: Delivery,
    /// How long it may take.
    pub timeouts: BedrockTimeouts,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum BedrockCredentials {
    /// Whoever AWS's own tools would ask as: `AWS_BEARER_TOKEN_BEDROCK`, environment, profile, single sign-on, process,
    /// web identity, container, instance.
    Chain {
        /// A profile of AWS's shared files. With one, `AWS_BEARER_TOKEN_BEDROCK` is not looked at.
        profile: Option<Arc<str>>,
    },
    /// Keys from this provider.
    Provider(SharedCredentialsProvider),
    /// This API key of Bedrock's.
    Bearer(BearerToken),
}

/// An API key of Bedrock's, which shows itself nowhere.
#[derive(Clone)]
pub struct BearerToken(Arc<str>);

impl BearerToken {
    /// Wraps a key.
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// The key, to be sent.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// What differs from what the model's name says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BedrockOverrides {
    /// It can do this as well.
    pub features: BTreeSet<Feature>,
    /// It cannot do this.
    pub features_off: BTreeSet<Feature>,
    /// How it is made to answer in JSON.
    pub json: Option<JsonStyle>,
    /// Which choices of tools it knows.
    pub tool_choice: Option<ToolChoiceSupport>,
    /// How it is told to think.
    pub reasoning: Option<ReasoningStyle>,
}

/// Bedrock's classes of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    /// Before the others, for more money.
    Priority,
    /// The usual one.
    Default,
    /// After the others, for less money.
    Flex,
    /// Capacity that was bought.
    Reserved,
}

impl ServiceTier {
    /// Bedrock's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Reserved => "reserved",
        }
    }
}

/// How answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// As events, by `ConverseStream`.
    #[default]
    Stream,
    /// In one body, by `Converse`, for models without streams. There is no first token before the last one.
    Whole,
}

/// How long a call may take, each counted from its start but for `idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BedrockTimeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until the first content; until the whole answer where it comes in one body.
    pub first_token: Duration,
    /// Between two events after that.
    pub idle: Duration,
    /// Until the end.
    pub total: Duration,
}

impl Default for BedrockTimeouts {
    /// Room for models that think for minutes before they say a word.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_token: Duration::from_mins(2),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(15),
        }
    }
}

/// A target that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BedrockConfigError {
    /// The region is no region's name.
    #[error("region `{region}` of backend `{backend}` is no region of AWS: write it as `eu-central-1`")]
    Region {
        /// Of which backend.
        backend: BackendId,
        /// What was written.
        region: Arc<str>,
    },
    /// The model is no id and no ARN.
    #[error(
        "model `{model}` is neither an id of Bedrock's nor an ARN: it has 1 to {max_bytes} bytes without spaces"
    )]
    Model {
        /// What was written.
        model: String,
        /// The limit.
        max_bytes: usize,
    },
    /// The address is none of HTTP.
    #[error(
        "endpoint_url `{url}` of backend `{backend}` must begin with http:// or https:// and name a host"
    )]
    EndpointUrl {
        /// Of which backend.
        backend: BackendId,
        /// What was written.
        url: Arc<str>,
    },
    /// More is asked for than the model gives.
    #[error(
        "default_max_tokens of backend `{backend}` is {default_max_tokens}, limit {max_output_tokens} (max_output_tokens): lower it"
    )]
    DefaultMaxTokens {
        /// Of which backend.
        backend: BackendId,
        /// What was written.
        default_max_tokens: NonZeroU32,
        /// The limit.
        max_output_tokens: NonZeroU32,
    },
    /// A time that ends every call at once.
    #[error("{name} of backend `{backend}` is zero: give it time")]
    ZeroTimeout {
        /// Of which backend.
        backend: BackendId,
        /// Which one.
        name: &'static str,
    },
    /// Bedrock has no such thing, whatever the model.
    #[error("backend `{backend}` cannot have {}: take it off its features", feature.as_str())]
    Feature {
        /// Of which backend.
        backend: BackendId,
        /// What it cannot have.
        feature: Feature,
    },
}

/// What a model on Bedrock may be said to do. The rest has no field in Converse.
const POSSIBLE: [Feature; 6] = [
    Feature::Chat,
    Feature::Tools,
    Feature::Images,
    Feature::JsonObject,
    Feature::JsonSchema,
    Feature::ReasoningEffort,
];

impl BedrockConfig {
    /// A target with nothing but what it must have, outside, free of charge and with the defaults for the rest.
    pub fn new(id: BackendId, region: impl Into<Arc<str>>, model: BedrockModel) -> Self {
        Self {
            id,
            region: region.into(),
            model,
            credentials: BedrockCredentials::Chain { profile: None },
            endpoint_url: None,
            prices: TokenPrices::default(),
            boundary: Boundary::Outside,
            context_tokens: None,
            max_output_tokens: None,
            default_max_tokens: NonZeroU32::new(1024).expect("it is not zero"),
            tokens_per_minute: None,
            output_burndown: NonZeroU32::MIN,
            overrides: BedrockOverrides::default(),
            service_tier: None,
            delivery: Delivery::default(),
            timeouts: BedrockTimeouts::default(),
        }
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    ///
    /// A [`BedrockConfigError`] names the value, its limit and how to mend it.
    pub fn check(&self) -> Result<(), BedrockConfigError> {
        let backend = || self.id.clone();
        let is_region_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !self.region.contains('-') || !self.region.bytes().all(is_region_byte) {
            return Err(BedrockConfigError::Region { backend: backend(), region: Arc::clone(&self.region) });
        }
        if let Some(url) = &self.endpoint_url {
            let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
                return Err(BedrockConfigError::EndpointUrl { backend: backend(), url: Arc::clone(url) });
            }
        }
        if let Some(max_output_tokens) = self.max_output_tokens.filter(|max| *max < self.default_max_tokens) {
            let default_max_tokens = self.default_max_tokens;
            return Err(BedrockConfigError::DefaultMaxTokens {
                backend: backend(),
                default_max_tokens,
                max_output_tokens,
            });
        }
        let timeouts = &self.timeouts;
        for (name, time) in [
            ("connect_timeout", timeouts.connect),
            ("first_token_timeout", timeouts.first_token),
            ("idle_timeout", timeouts.idle),
            ("total_timeout", timeouts.total),
        ] {
            if time.is_zero() {
                return Err(BedrockConfigError::ZeroTimeout { backend: backend(), name });
            }
        }
        match self.overrides.features.iter().find(|feature| !POSSIBLE.contains(feature)) {
            Some(&feature) => Err(BedrockConfigError::Feature { backend: backend(), feature }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks a config.
    type Breakage = fn(&mut BedrockConfig);

    fn config() -> BedrockConfig {
        let model = BedrockModel::parse("eu.anthropic.claude-haiku-4-5-20251001-v1:0").expect("a model");
        BedrockConfig::new(BackendId::new("haiku"), "eu-central-1", model)
    }

    #[test]
    fn each_impossible_value_is_named_with_its_limit() {
        assert_eq!(config().check(), Ok(()));
        let broken: [(Breakage, &str); 5] = [
            (
                |config| config.region = "Frankfurt".into(),
                "region `Frankfurt` of backend `haiku` is no region of AWS: write it as `eu-central-1`",
            ),
            (
                |config| config.endpoint_url = Some("ftp://aws".into()),
                "endpoint_url `ftp://aws` of backend `haiku` must begin with http:// or https:// and name a host",
            ),
            (
                |config| config.max_output_tokens = NonZeroU32::new(512),
                "default_max_tokens of backend `haiku` is 1024, limit 512 (max_output_tokens): lower it",
            ),
            (
                |config| config.timeouts.idle = Duration::ZERO,
                "idle_timeout of backend `haiku` is zero: give it time",
            ),
            (
                |config| {
                    config.overrides.features.insert(Feature::Seed);
                },
                "backend `haiku` cannot have seeds: take it off its features",
            ),
        ];
        for (break_it, message) in broken {
            let mut config = config();
            break_it(&mut config);
            assert_eq!(config.check().expect_err("it cannot be").to_string(), message);
        }
    }

    #[test]
    fn a_bearer_token_shows_itself_nowhere() {
        let credentials = BedrockCredentials::Bearer(BearerToken::new("hidden-key"));
        assert_eq!(format!("{credentials:?}"), "Bearer(BearerToken(..))");
    }
}
