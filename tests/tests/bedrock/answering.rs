//! Models that do what they should.

use std::num::NonZeroU32;

use spillway_backends::{BedrockConfig, BedrockDelivery};
use spillway_router::Backend;
use spillway_tests::{CallEnd, FakeBedrock};
use spillway_types::{
    FinishReason, GenerateEvent, JsonSchema, JsonText, OutputFormat, Prompt, Tool, ToolChoice, ToolUse,
};

use crate::rig::{DELIVERIES, Outcome, ask, backend, target};

#[tokio::test]
async fn text_and_usage_come_as_the_model_gave_them_by_both_ways() {
    let fake = FakeBedrock::start().await;
    for delivery in DELIVERIES {
        let config = BedrockConfig { delivery, ..target(&fake, "eu.fake.plain") };
        let outcome = Outcome::of(&backend(config).await, ask("how are you")).await;
        assert_eq!(outcome.text(), "The cloud answers with eight words of text");
        let usage = outcome.usage();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 8));
        let call = fake.calls().pop().expect("it was called");
        assert_eq!(
            (call.usage, call.end, call.is_stream),
            (usage, CallEnd::Complete, delivery == BedrockDelivery::Stream)
        );
    }
}

#[tokio::test]
async fn tokens_of_the_cache_are_counted_once() {
    let fake = FakeBedrock::start().await;
    let outcome = Outcome::of(&backend(target(&fake, "fake.cached")).await, ask("one two three four")).await;
    let usage = outcome.usage();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens), (14, 2, 10));
    assert_eq!(fake.calls()[0].usage, usage);
}

#[tokio::test]
async fn an_answer_ends_at_what_the_client_allows() {
    let fake = FakeBedrock::start().await;
    for delivery in DELIVERIES {
        let config = BedrockConfig { delivery, ..target(&fake, "fake.words-100") };
        let mut request = ask("go on");
        request.params.max_tokens = NonZeroU32::new(5);
        let outcome = Outcome::of(&backend(config).await, request).await;
        assert_eq!(outcome.text(), "word0 word1 word2 word3 word4");
        assert_eq!(outcome.usage().completion_tokens, 5);
        let finished = &outcome.events[outcome.events.len() - 2];
        assert!(matches!(finished, GenerateEvent::Finished { reason: FinishReason::Length, .. }));
    }
}

#[tokio::test]
async fn a_forced_call_comes_back_under_the_clients_name() {
    let fake = FakeBedrock::start().await;
    for delivery in DELIVERIES {
        let mut config = BedrockConfig { delivery, ..target(&fake, "fake.plain") };
        config.overrides.tool_choice = Some(spillway_backends::ToolChoiceSupport::Named);
        let mut request = ask("what is the weather");
        if let Prompt::Chat(chat) = &mut request.prompt {
            chat.tools = Some(weather());
        }
        let outcome = Outcome::of(&backend(config).await, request).await;
        let calls = outcome.events.iter().filter_map(|event| match event {
            GenerateEvent::ToolCall(delta) => Some(delta),
            _ => None,
        });
        let (mut names, mut arguments) = (Vec::new(), String::new());
        for delta in calls {
            names.extend(delta.opening.iter().map(|(_, name)| name.clone()));
            arguments += &delta.arguments;
        }
        assert_eq!((names, arguments.as_str()), (vec!["get.weather".to_owned()], r#"{"city":"word"}"#));
        outcome.usage();
    }
}

#[tokio::test]
async fn json_comes_as_text_whichever_way_it_is_forced() {
    let fake = FakeBedrock::start().await;
    for json in [spillway_backends::JsonStyle::Native, spillway_backends::JsonStyle::Tool] {
        for delivery in DELIVERIES {
            let mut config = BedrockConfig { delivery, ..target(&fake, "fake.plain") };
            config.overrides.json = Some(json);
            config.overrides.tool_choice = Some(spillway_backends::ToolChoiceSupport::Any);
            let mut request = ask("answer in JSON");
            request.format = OutputFormat::JsonSchema(JsonSchema {
                name: "city".to_owned(),
                description: None,
                schema: JsonText::from_valid(r#"{"type":"object","properties":{"name":{"type":"string"}}}"#),
                strict: true,
            });
            let outcome = Outcome::of(&backend(config).await, request).await;
            assert_eq!(outcome.text(), r#"{"name":"word"}"#, "{json:?} {delivery:?}");
            let finished = &outcome.events[outcome.events.len() - 2];
            assert!(matches!(finished, GenerateEvent::Finished { reason: FinishReason::Stop, .. }));
        }
    }
}

#[tokio::test]
async fn thinking_comes_before_the_answer_with_its_signature() {
    let fake = FakeBedrock::start().await;
    for delivery in DELIVERIES {
        let config = BedrockConfig { delivery, ..target(&fake, "fake.thinker") };
        let outcome = Outcome::of(&backend(config).await, ask("think")).await;
        let (mut thought, mut signature) = (String::new(), None);
        for event in &outcome.events {
            if let GenerateEvent::Reasoning(delta) = event {
                thought += &delta.text;
                signature = delta.signature.clone().or(signature);
            }
        }
        assert_eq!((thought.as_str(), signature.as_deref()), ("I think about it", Some("c2lnbmVk")));
        assert_eq!(outcome.text(), "I have thought about it");
    }
}

#[tokio::test]
async fn calls_under_way_are_counted_until_their_streams_are_gone() {
    let fake = FakeBedrock::start().await;
    let backend = backend(target(&fake, "fake.plain")).await;
    let num_running = || backend.snapshot().load.num_running;
    let first = backend.generate(ask("one")).await.expect("it is served");
    let second = backend.generate(ask("two")).await.expect("it is served");
    assert_eq!(num_running(), 2);
    drop(first);
    assert_eq!(num_running(), 1);
    Outcome::read(second).await.usage();
    assert_eq!(num_running(), 0);
}

fn weather() -> ToolUse {
    let tool = Tool {
        name: "get.weather".to_owned(),
        description: Some("Tells the weather".to_owned()),
        parameters: Some(JsonText::from_valid(
            r#"{"type":"object","properties":{"city":{"type":"string"}}}"#,
        )),
        strict: false,
    };
    ToolUse { tools: vec![tool], choice: ToolChoice::Named("get.weather".to_owned()), parallel: true }
}
