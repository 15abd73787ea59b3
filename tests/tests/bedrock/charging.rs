//! What calls cost: cancelled ones too, and the quota that is counted before they are sent.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use spillway_backends::{BedrockBackend, BedrockConfig};
use spillway_router::{Backend, ErrorClass};
use spillway_tests::{CallEnd, FakeBedrock, ManualClock};
use spillway_types::GenerateEvent;

use crate::rig::{Outcome, ask, backend, target};

#[tokio::test]
async fn a_dropped_stream_stops_the_model_at_once_and_is_charged_for() {
    let fake = FakeBedrock::start().await;
    let backend = backend(target(&fake, "fake.silent-after")).await;
    let mut stream = backend.generate(ask("one two three")).await.expect("it is served");
    while let Some(Ok(event)) = stream.next().await {
        if matches!(&event, GenerateEvent::Delta(delta) if delta.text == " cloud") {
            break;
        }
    }
    fake.calls_held(1).await;
    drop(stream);
    fake.calls_ended(1).await;
    let call = fake.calls().remove(0);
    assert_eq!(
        (call.usage.prompt_tokens, call.usage.completion_tokens, call.end),
        (3, 2, CallEnd::Cancelled)
    );
}

#[tokio::test]
async fn a_request_that_is_given_up_before_its_answer_is_cancelled_too() {
    let fake = FakeBedrock::start().await;
    let backend = backend(target(&fake, "fake.silent-headers")).await;
    tokio::select! {
        _answer = backend.generate(ask("one two three")) => panic!("it holds still"),
        () = fake.calls_held(1) => {}
    }
    fake.calls_ended(1).await;
    assert_eq!(fake.calls()[0].end, CallEnd::Cancelled);
    assert_eq!(backend.snapshot().load.num_running, 0);
}

/// Goal: a call whose reservation does not fit is not sent, and what a finished call did not use is there again.
/// Method: 3,000 tokens a minute; each call reserves its prompt and 1,024 tokens, and uses 11.
#[tokio::test]
async fn quota_is_reserved_before_and_corrected_after_each_call() {
    let fake = FakeBedrock::start().await;
    let clock = Arc::new(ManualClock::default());
    let config =
        |model: &str| BedrockConfig { tokens_per_minute: NonZeroU64::new(3000), ..target(&fake, model) };
    let clocked = async |model: &str| {
        let connected =
            BedrockBackend::connect_with(config(model), Arc::<ManualClock>::clone(&clock) as _).await;
        connected.expect("the target can be")
    };
    let settled = clocked("fake.plain").await;
    for _ in 0..10 {
        Outcome::of(&settled, ask("how are you")).await.usage();
    }
    // Calls that Bedrock refused have used nothing.
    let refused = clocked("fake.throttle-http").await;
    for _ in 0..10 {
        assert_eq!(Outcome::of(&refused, ask("how are you")).await.upstream().code, "ThrottlingException");
    }
    // Calls that were given up may have used anything: they stay counted until the minute is over.
    let given_up = clocked("fake.silent-after").await;
    for _ in 0..2 {
        drop(given_up.generate(ask("how are you")).await.expect("it is served"));
    }
    let num_before = fake.requests().len();
    clock.advance(Duration::from_secs(20));
    let outcome = Outcome::of(&given_up, ask("how are you")).await;
    let error = outcome.upstream();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::NoRoomCounted, "quota_reserved_here"));
    assert_eq!(error.retry_after, Some(Duration::from_secs(40)));
    assert_eq!(fake.requests().len(), num_before);
    clock.advance(Duration::from_secs(40));
    assert!(given_up.generate(ask("how are you")).await.is_ok());
}

#[tokio::test]
async fn every_byte_of_every_request_is_kept_and_no_other_arrives() {
    let fake = FakeBedrock::start().await;
    let backend = backend(target(&fake, "fake.internal-http")).await;
    Outcome::of(&backend, ask("marker-of-this-prompt")).await;
    assert!(fake.has_seen("marker-of-this-prompt"));
    assert!(!fake.has_seen("marker-of-another"));
    assert_eq!(fake.requests().len(), 1);
}
