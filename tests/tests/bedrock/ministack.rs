//! The same backend against an emulator of others: what both understand of Bedrock must agree.

use spillway_backends::BedrockConfig;
use spillway_tests::{FakeBedrock, MiniStack};
use spillway_types::{ChatMessage, FinishReason, GenerateEvent, Prompt, Role};

use crate::rig::{DELIVERIES, Outcome, ask, backend, target};

const MODEL: &str = "eu.anthropic.claude-haiku-4-5-20251001-v1:0";

#[tokio::test]
async fn an_emulator_of_others_is_understood_by_both_ways() {
    let Some(ministack) = MiniStack::start(None).await else { return };
    let fake = FakeBedrock::start().await;
    for delivery in DELIVERIES {
        let config =
            BedrockConfig { endpoint_url: Some(ministack.url().into()), delivery, ..target(&fake, MODEL) };
        let mut request = ask("what do you say");
        if let Prompt::Chat(chat) = &mut request.prompt {
            chat.messages.insert(0, ChatMessage::new(Role::System, "Be kind."));
        }
        let outcome = Outcome::of(&backend(config).await, request).await;
        assert!(outcome.text().starts_with("[ministack mock anthropic"), "{}", outcome.text());
        let usage = outcome.usage();
        assert!(usage.prompt_tokens > 0 && usage.completion_tokens > 0, "{usage:?}");
        let finished = &outcome.events[outcome.events.len() - 2];
        assert!(matches!(finished, GenerateEvent::Finished { reason: FinishReason::Stop, .. }));
    }
}

#[tokio::test]
async fn an_emulator_of_others_refuses_in_words_that_are_understood() {
    let Some(ministack) = MiniStack::start(None).await else { return };
    let fake = FakeBedrock::start().await;
    let elsewhere = "arn:aws:bedrock:us-west-1:1:inference-profile/us.anthropic.claude-sonnet-4-6";
    for delivery in DELIVERIES {
        let config = BedrockConfig {
            endpoint_url: Some(ministack.url().into()),
            delivery,
            ..target(&fake, elsewhere)
        };
        let outcome = Outcome::of(&backend(config).await, ask("what do you say")).await;
        assert_eq!(outcome.failure(), "InvalidRequest ValidationException NothingSent");
        assert!(outcome.upstream().request_id.is_some());
    }
}
