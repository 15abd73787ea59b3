//! The SDK's client of one target: who asks, where, by which connection.

use aws_config::{AppName, BehaviorVersion, Region};
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{Builder, SharedHttpClient, StalledStreamProtectionConfig, Token};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::config::{BedrockConfig, BedrockCredentials};

/// Signing by access keys.
const SIGV4: AuthSchemeId = AuthSchemeId::new("sigv4");
/// Showing an API key.
const BEARER: AuthSchemeId = AuthSchemeId::new("httpBearerAuth");

/// Connections with TLS by ring and the machine's own roots.
pub(super) fn https() -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    aws_smithy_http_client::Builder::new().tls_provider(provider).build_https()
}

/// A client over these connections. It looks for credentials only when it is first used.
pub(super) async fn client(config: &BedrockConfig, connections: SharedHttpClient) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region.to_string()))
        .http_client(connections);
    match &config.credentials {
        BedrockCredentials::Chain { profile: None } | BedrockCredentials::Bearer(_) => {}
        BedrockCredentials::Chain { profile: Some(profile) } => loader = loader.profile_name(&**profile),
        BedrockCredentials::Provider(provider) => loader = loader.credentials_provider(provider.clone()),
    }
    let shared = loader.load().await;
    let mut builder = Builder::from(&shared);
    match &config.credentials {
        // The SDK has looked for a token of Bedrock's in the environment, and then prefers it.
        BedrockCredentials::Chain { profile: None } => {}
        BedrockCredentials::Chain { profile: Some(_) } | BedrockCredentials::Provider(_) => {
            builder = builder.auth_scheme_preference([SIGV4]);
        }
        BedrockCredentials::Bearer(token) => {
            let token = Token::new(token.reveal(), None);
            builder = builder.bearer_token(token).auth_scheme_preference([BEARER]);
        }
    }
    // The environment could name another address: only the config may.
    builder.set_endpoint_url(config.endpoint_url.as_deref().map(ToOwned::to_owned));
    let timeouts = TimeoutConfig::builder().connect_timeout(config.timeouts.connect).build();
    builder = builder
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // Models may think for minutes without a byte: silence is judged by our own timeouts.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .app_name(AppName::new("spillway").expect("it has letters only"));
    Client::from_conf(builder.build())
}
