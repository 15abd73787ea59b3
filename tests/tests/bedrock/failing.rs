//! Every fault, over both ways, before and after the first content: its class, its code, and how far it came.

use std::time::Duration;

use spillway_backends::{BedrockConfig, BedrockDelivery, BedrockTimeouts};
use spillway_router::ErrorClass;
use spillway_tests::FakeBedrock;

use crate::rig::{DELIVERIES, Outcome, SHORT, ask, backend, target};

/// Every error that Bedrock tells, by its kind, with the class and the code that it gets.
const TOLD: [(&str, &str); 16] = [
    ("throttle", "Throttled ThrottlingException"),
    ("throttle-day", "QuotaExceeded ThrottlingException"),
    ("not-ready", "ModelNotReady ModelNotReadyException"),
    ("unavailable", "Unavailable ServiceUnavailableException"),
    ("internal", "Internal InternalServerException"),
    ("model-timeout", "ModelTimeout ModelTimeoutException"),
    ("model-error", "ModelError ModelErrorException"),
    ("model-stream-error", "ModelError ModelStreamErrorException"),
    ("quota", "QuotaExceeded ServiceQuotaExceededException"),
    ("validation", "InvalidRequest ValidationException"),
    ("context", "ContextTooLong ValidationException"),
    ("conflict", "InvalidRequest ConflictException"),
    ("access-denied", "AccessDenied AccessDeniedException"),
    ("not-found", "NotFound ResourceNotFoundException"),
    ("expired", "Credentials ExpiredTokenException"),
    ("clock-skew", "Credentials InvalidSignatureException"),
];

async fn outcome(fake: &FakeBedrock, model: &str, delivery: BedrockDelivery) -> Outcome {
    let config = BedrockConfig { delivery, ..target(fake, model) };
    Outcome::of(&backend(config).await, ask("hello there")).await
}

#[tokio::test]
async fn every_error_by_its_status_has_its_class_and_is_asked_once() {
    let fake = FakeBedrock::start().await;
    for (kind, expected) in TOLD {
        for delivery in DELIVERIES {
            let num_before = fake.requests().len();
            let outcome = outcome(&fake, &format!("fake.{kind}-http"), delivery).await;
            assert_eq!(outcome.failure(), format!("{expected} NothingSent"), "{kind}");
            let error = outcome.upstream();
            assert!(error.status.is_some() && error.request_id.is_some(), "{error:?}");
            assert_eq!(fake.requests().len(), num_before + 1, "{kind} was repeated");
        }
    }
}

#[tokio::test]
async fn every_error_in_a_stream_has_its_class_before_and_after_content() {
    let fake = FakeBedrock::start().await;
    for (kind, expected) in TOLD {
        for (moment, progress) in [("before", "NothingSent"), ("after", "ContentSent")] {
            let model = format!("fake.{kind}-frame-{moment}");
            let outcome = outcome(&fake, &model, BedrockDelivery::Stream).await;
            assert_eq!(outcome.failure(), format!("{expected} {progress}"), "{model}");
            assert!(outcome.upstream().request_id.is_some());
        }
    }
}

#[tokio::test]
async fn when_to_come_back_is_told_in_milliseconds_or_seconds() {
    let fake = FakeBedrock::start().await;
    for (model, expected) in [
        ("fake.throttle-http", None),
        ("fake.throttle-http-wait", Some(Duration::from_millis(1500))),
        ("fake.unavailable-http-wait-seconds", Some(Duration::from_secs(2))),
    ] {
        let outcome = outcome(&fake, model, BedrockDelivery::Stream).await;
        assert_eq!(outcome.upstream().retry_after, expected, "{model}");
    }
}

#[tokio::test]
async fn broken_answers_are_told_from_each_other_and_never_end_well() {
    let fake = FakeBedrock::start().await;
    for (model, expected) in [
        ("fake.no-events", "EmptyAnswer stream_empty NothingSent"),
        ("fake.no-content", "EmptyAnswer answer_empty NothingSent"),
        ("fake.bad-crc-before", "Malformed frame_corrupt NothingSent"),
        ("fake.bad-crc-after", "Malformed frame_corrupt ContentSent"),
        ("fake.truncated-before", "Malformed frame_truncated NothingSent"),
        ("fake.truncated-after", "Malformed frame_truncated ContentSent"),
        ("fake.cut", "MissingEnd stream_truncated ContentSent"),
        ("fake.no-metadata", "MissingEnd metadata_missing ContentSent"),
        ("fake.metadata-first", "Malformed metadata_before_stop ContentSent"),
        ("fake.reset-headers", "ConnectionLost connection_lost NothingSent"),
        ("fake.reset-before", "ConnectionLost connection_lost NothingSent"),
        ("fake.bad-gateway", "Unavailable http_502 NothingSent"),
        ("fake.stop-malformed_tool_use", "MalformedOutput malformed_tool_use ContentSent"),
        ("fake.stop-malformed_model_output", "MalformedOutput malformed_model_output ContentSent"),
        ("fake.stop-tool_use", "MalformedOutput tool_use_without_call ContentSent"),
        ("fake.stop-bored", "Malformed unknown_stop_reason ContentSent"),
    ] {
        assert_eq!(outcome(&fake, model, BedrockDelivery::Stream).await.failure(), expected, "{model}");
    }
    // What the kernel had not handed on when the connection broke is lost, so content may or may not have come.
    let reset = outcome(&fake, "fake.reset-after", BedrockDelivery::Stream).await;
    assert_eq!(reset.upstream().class, ErrorClass::ConnectionLost);
    let page = outcome(&fake, "fake.html", BedrockDelivery::Stream).await;
    assert_eq!(page.upstream().class, ErrorClass::Malformed);
}

#[tokio::test]
async fn broken_answers_in_one_body_are_told_before_anything_is_sent() {
    let fake = FakeBedrock::start().await;
    for (model, expected) in [
        ("fake.no-events", "EmptyAnswer no_output"),
        ("fake.no-content", "EmptyAnswer answer_empty"),
        ("fake.bad-crc-before", "Malformed answer_not_readable"),
        ("fake.truncated-after", "ConnectionLost connection_lost"),
        ("fake.no-metadata", "MissingEnd metadata_missing"),
        ("fake.reset-headers", "ConnectionLost connection_lost"),
        ("fake.html", "Malformed answer_not_readable"),
        ("fake.bad-gateway", "Unavailable http_502"),
        ("fake.stop-malformed_tool_use", "MalformedOutput malformed_tool_use"),
    ] {
        let outcome = outcome(&fake, model, BedrockDelivery::Whole).await;
        assert_eq!(outcome.failure(), format!("{expected} NothingSent"), "{model}");
    }
}

#[tokio::test]
async fn silence_ends_a_call_by_the_timeout_that_it_breaks() {
    let fake = FakeBedrock::start().await;
    let ample = target(&fake, "fake.plain").timeouts;
    let first_token = BedrockTimeouts { first_token: SHORT, ..ample };
    let idle = BedrockTimeouts { idle: SHORT, ..ample };
    // Time enough for the first words, however busy the machine is.
    let total = BedrockTimeouts { total: Duration::from_secs(2), ..ample };
    for (model, delivery, timeouts, expected) in [
        (
            "fake.silent-headers",
            BedrockDelivery::Stream,
            first_token,
            "FirstTokenTimeout first_token_timeout NothingSent",
        ),
        (
            "fake.silent-before",
            BedrockDelivery::Stream,
            first_token,
            "FirstTokenTimeout first_token_timeout NothingSent",
        ),
        (
            "fake.silent-headers",
            BedrockDelivery::Whole,
            first_token,
            "FirstTokenTimeout first_token_timeout NothingSent",
        ),
        ("fake.silent-after", BedrockDelivery::Stream, idle, "IdleTimeout idle_timeout ContentSent"),
        ("fake.silent-end", BedrockDelivery::Stream, idle, "MissingEnd metadata_missing ContentSent"),
        ("fake.silent-headers", BedrockDelivery::Stream, total, "TotalTimeout total_timeout NothingSent"),
        ("fake.silent-after", BedrockDelivery::Stream, total, "TotalTimeout total_timeout ContentSent"),
        ("fake.drip-5", BedrockDelivery::Stream, total, "TotalTimeout total_timeout ContentSent"),
        ("fake.silent-headers", BedrockDelivery::Whole, total, "TotalTimeout total_timeout NothingSent"),
    ] {
        let config = BedrockConfig { delivery, timeouts, ..target(&fake, model) };
        let outcome = Outcome::of(&backend(config).await, ask("hello there")).await;
        assert_eq!(outcome.failure(), expected, "{model} {delivery:?}");
    }
}

/// Goal: a model that thinks in silence for longer than the SDK's own patience is waited for.
/// Method: it is silent until it is released, and the SDK's stalled-stream protection would see no byte meanwhile.
#[tokio::test]
async fn a_slow_model_is_waited_for_as_long_as_the_config_says() {
    let fake = FakeBedrock::start().await;
    for model in ["fake.silent-headers", "fake.silent-before", "fake.silent-after", "fake.silent-end"] {
        let backend = backend(target(&fake, model)).await;
        let outcome = Outcome::of(&backend, ask("hello there"));
        let release = async {
            fake.calls_held(1).await;
            fake.release();
        };
        let (outcome, ()) = tokio::join!(outcome, release);
        assert_eq!(outcome.text(), "The cloud answers with eight words of text", "{model}");
    }
}

#[tokio::test]
async fn a_model_that_fails_at_first_serves_when_it_is_asked_again() {
    let fake = FakeBedrock::start().await;
    let backend = backend(target(&fake, "eu.fake.flaky-2-throttle-http")).await;
    for _ in 0..2 {
        let outcome = Outcome::of(&backend, ask("hello there")).await;
        assert_eq!(outcome.failure(), "Throttled ThrottlingException NothingSent");
    }
    Outcome::of(&backend, ask("hello there")).await.usage();
}

#[tokio::test]
async fn no_error_tells_a_prompt_a_key_or_an_account() {
    let fake = FakeBedrock::start().await;
    for (kind, _) in TOLD {
        let config = target(&fake, &format!("fake.{kind}-http"));
        let outcome = Outcome::of(&backend(config).await, ask("my secret plan")).await;
        let told = format!("{} {:?}", outcome.upstream(), outcome.error);
        for secret in [
            "secret plan",
            "the prompt'",
            "alice",
            FakeBedrock::ACCESS_KEY_ID,
            FakeBedrock::SECRET_ACCESS_KEY,
        ] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
