//! Who asks: signatures, API keys, and what becomes of wrong ones.

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use spillway_backends::{BearerToken, BedrockConfig, BedrockCredentials, BedrockTimeouts};
use spillway_tests::FakeBedrock;

use crate::rig::{DELIVERIES, Outcome, SHORT, ask, backend, keys, target};

#[tokio::test]
async fn requests_are_signed_and_wrong_signatures_are_told() {
    let fake = FakeBedrock::start().await;
    let (id, secret) = (FakeBedrock::ACCESS_KEY_ID, FakeBedrock::SECRET_ACCESS_KEY);
    for (credentials, expected) in [
        (keys(id, "another secret", None), "Credentials InvalidSignatureException NothingSent"),
        (keys("AKIASOMEBODY", secret, None), "Credentials UnrecognizedClientException NothingSent"),
        (
            keys(id, secret, Some(FakeBedrock::EXPIRED_SESSION_TOKEN)),
            "Credentials ExpiredTokenException NothingSent",
        ),
        (
            BedrockCredentials::Bearer(BearerToken::new("of somebody")),
            "Credentials UnrecognizedClientException NothingSent",
        ),
    ] {
        for delivery in DELIVERIES {
            let config =
                BedrockConfig { credentials: credentials.clone(), delivery, ..target(&fake, "fake.plain") };
            assert_eq!(Outcome::of(&backend(config).await, ask("hello")).await.failure(), expected);
        }
    }
    let session =
        BedrockConfig { credentials: keys(id, secret, Some("a session")), ..target(&fake, "fake.plain") };
    Outcome::of(&backend(session).await, ask("hello")).await.usage();
}

#[tokio::test]
async fn an_api_key_is_shown_instead_of_a_signature() {
    let fake = FakeBedrock::start().await;
    let credentials = BedrockCredentials::Bearer(BearerToken::new(FakeBedrock::BEARER_TOKEN));
    let config = BedrockConfig { credentials, ..target(&fake, "eu.fake.plain") };
    Outcome::of(&backend(config).await, ask("hello")).await.usage();
    assert!(fake.has_seen(FakeBedrock::BEARER_TOKEN));
}

#[tokio::test]
async fn names_with_colons_and_slashes_are_signed_as_they_are_sent() {
    let fake = FakeBedrock::start().await;
    let arn = "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.fake.plain";
    Outcome::of(&backend(target(&fake, arn)).await, ask("hello")).await.usage();
    assert_eq!(fake.calls()[0].model, arn);
}

/// Somebody without credentials.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("there are none")))
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let fake = FakeBedrock::start().await;
    let credentials = BedrockCredentials::Provider(SharedCredentialsProvider::new(Nobody));
    let config = BedrockConfig { credentials, ..target(&fake, "fake.plain") };
    let outcome = Outcome::of(&backend(config).await, ask("hello")).await;
    assert_eq!(outcome.failure(), "Credentials no_credentials NothingSent");
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_trusted_gets_nothing() {
    let fake = FakeBedrock::start().await;
    let untrusted = FakeBedrock::start_untrusted().await;
    let plain = fake.url().replace("http://", "https://");
    for url in [untrusted.url(), &plain, "http://bedrock.invalid", "http://127.0.0.1:1"] {
        let config = BedrockConfig { endpoint_url: Some(url.into()), ..target(&fake, "fake.plain") };
        let outcome = Outcome::of(&backend(config).await, ask("hello")).await;
        assert_eq!(outcome.failure(), "Connect connect_failed NothingSent", "{url}");
    }
    assert!(!fake.has_seen("hello"));
}

#[tokio::test]
async fn a_connection_is_waited_for_only_so_long() {
    let fake = FakeBedrock::start().await;
    // A socket that listens and never takes anyone, with a full queue: connections to it hang.
    let full = tokio::net::TcpSocket::new_v4().expect("a socket");
    full.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = full.listen(1).expect("it listens");
    let address = listener.local_addr().expect("it is bound");
    let mut waiting = Vec::new();
    while let Ok(Ok(socket)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        waiting.push(socket);
    }
    let plain = target(&fake, "fake.plain");
    let config = BedrockConfig {
        endpoint_url: Some(format!("http://{address}").into()),
        timeouts: BedrockTimeouts { connect: SHORT, ..plain.timeouts },
        ..plain
    };
    let outcome = Outcome::of(&backend(config).await, ask("hello")).await;
    assert_eq!(outcome.failure(), "Connect connect_timeout NothingSent");
}
