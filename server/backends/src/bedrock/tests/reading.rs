//! Answers as they come, well and badly, and what becomes of them.

use expect_test::{Expect, expect};
use serde_json::json;
use spillway_router::BackendError;
use spillway_types::{
    GenerateEvent, GenerateRequest, JsonSchema, JsonText, OutputFormat, Tool, ToolChoice, ToolUse,
};

use super::canned::{answer_to, chat, exception, frames, prompt_of, target, user};
use crate::bedrock::{BedrockConfig, Delivery};

const CLAUDE: &str = "eu.anthropic.claude-haiku-4-5-20251001-v1:0";

#[tokio::test]
async fn text_comes_as_it_is_written_and_ends_with_its_usage() {
    let answer = "
        start
        text 0 Good
        text 0  day
        end 0
        stop end_turn
        usage 12 3
    ";
    check(
        answer,
        expect![[r"
        started
        text `Good`
        text ` day`
        finished Stop None
        done 12 prompt (0 cached, 0 written), 3 completion
    "]],
    )
    .await;
}

#[tokio::test]
async fn thinking_is_told_with_its_signature() {
    let answer = "
        start
        thought 0 Hm.
        signature 0 c2ln
        end 0
        hidden 1 aGlkZGVu
        end 1
        text 2 Yes.
        end 2
        stop max_tokens
        usage 5 9
    ";
    check(
        answer,
        expect![[r#"
        started
        thought `Hm.` None None
        thought `` Some("c2ln") None
        thought `` None Some("aGlkZGVu")
        text `Yes.`
        finished Length None
        done 5 prompt (0 cached, 0 written), 9 completion
    "#]],
    )
    .await;
}

#[tokio::test]
async fn calls_come_under_the_clients_names_and_empty_arguments_become_an_object() {
    let mut request = chat(vec![user("Weather?")]);
    prompt_of(&mut request).tools = Some(tools(&["get weather", "now"], true));
    let answer = "
        start
        text 0 Let me look.
        end 0
        call 1 get_weather
        input 1 {\"city\":
        input 1 \"Bern\"}
        end 1
        call 2 now
        end 2
        stop tool_use
        usage 20 15
    ";
    check_with(
        target(CLAUDE),
        request,
        answer,
        expect![[r#"
        started
        text `Let me look.`
        call 0 Some(("id-1", "get weather")) ``
        call 0 None `{"city":`
        call 0 None `"Bern"}`
        call 1 Some(("id-2", "now")) ``
        call 1 None `{}`
        finished ToolCalls None
        done 20 prompt (0 cached, 0 written), 15 completion
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_client_that_wants_one_call_gets_one() {
    let mut request = chat(vec![user("Both!")]);
    prompt_of(&mut request).tools = Some(tools(&["a", "b"], false));
    let answer = "
        start
        call 0 a
        input 0 {}
        end 0
        call 1 b
        input 1 {}
        end 1
        stop tool_use
        usage 20 15
    ";
    check_with(
        target(CLAUDE),
        request,
        answer,
        expect![[r#"
        started
        call 0 Some(("id-0", "a")) ``
        call 0 None `{}`
        finished ToolCalls None
        done 20 prompt (0 cached, 0 written), 15 completion
    "#]],
    )
    .await;
}

#[tokio::test]
async fn json_by_a_forced_tool_is_text_and_what_is_said_beside_it_is_not() {
    let mut request = chat(vec![user("JSON!")]);
    request.format = OutputFormat::JsonSchema(JsonSchema {
        name: "city".to_owned(),
        description: None,
        schema: JsonText::from_valid(r#"{"type": "object"}"#),
        strict: true,
    });
    let nova = || target("eu.amazon.nova-lite-v1:0");
    let answer = "
        start
        text 0 Here it is:
        end 0
        call 1 city
        input 1 {\"name\":
        input 1 \"Bern\"}
        end 1
        stop tool_use
        usage 20 15
    ";
    check_with(
        nova(),
        request.clone(),
        answer,
        expect![[r#"
        started
        text `{"name":`
        text `"Bern"}`
        finished Stop None
        done 20 prompt (0 cached, 0 written), 15 completion
    "#]],
    )
    .await;
    let silent = "
        start
        text 0 I will not.
        end 0
        stop end_turn
        usage 20 15
    ";
    check_with(
        nova(),
        request,
        silent,
        expect![[r"
        started
        error MalformedOutput answer_tool_not_called NothingSent
    "]],
    )
    .await;
}

#[tokio::test]
async fn the_only_stop_string_is_told_when_it_was_met() {
    let mut request = chat(vec![user("Count.")]);
    request.params.stop = vec!["3".to_owned()];
    let answer = "
        start
        text 0 1 2
        stop stop_sequence
        usage 4 2
    ";
    check_with(
        target(CLAUDE),
        request,
        answer,
        expect![[r#"
        started
        text `1 2`
        finished Stop Some(Text("3"))
        done 4 prompt (0 cached, 0 written), 2 completion
    "#]],
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_the_rules_never_ends_well() {
    for (answer, expected) in [
        ("", "EmptyAnswer stream_empty NothingSent"),
        ("start", "MissingEnd stream_truncated NothingSent"),
        ("start\ntext 0 a", "MissingEnd stream_truncated ContentSent"),
        ("start\ntext 0 a\nstop end_turn", "MissingEnd metadata_missing ContentSent"),
        ("start\ntext 0 a\nusage 1 1\nstop end_turn", "Malformed metadata_before_stop ContentSent"),
        ("start\nstop end_turn\nusage 1 0", "EmptyAnswer answer_empty NothingSent"),
        ("text 0 a", "Malformed stream_out_of_order NothingSent"),
        ("start\nstart", "Malformed stream_out_of_order NothingSent"),
        ("start\ntext 0 a\nend 0\ntext 0 b", "Malformed stream_out_of_order ContentSent"),
        ("start\ninput 0 {}", "Malformed stream_out_of_order NothingSent"),
        ("start\ncall 0 x\ntext 0 a", "Malformed stream_out_of_order ContentSent"),
        ("start\ncall 0 x\ninput 0 {\nstop tool_use", "Malformed stream_out_of_order ContentSent"),
        ("start\nstop end_turn\ntext 0 a", "Malformed stream_out_of_order NothingSent"),
        (
            "start\ntext 0 a\nstop malformed_tool_use\nusage 1 1",
            "MalformedOutput malformed_tool_use ContentSent",
        ),
        ("start\ntext 0 a\nstop bored\nusage 1 1", "Malformed unknown_stop_reason ContentSent"),
    ] {
        let told = told(target(CLAUDE), chat(vec![user("Hi")]), frames(answer)).await;
        assert_eq!(told.last().map(String::as_str), Some(format!("error {expected}").as_str()), "{answer}");
    }
}

#[tokio::test]
async fn exceptions_in_a_stream_are_told_from_each_other_before_and_after_content() {
    for (name, expected) in [
        ("throttlingException", "Throttled ThrottlingException"),
        ("serviceUnavailableException", "Unavailable ServiceUnavailableException"),
        ("internalServerException", "Internal InternalServerException"),
        ("modelStreamErrorException", "ModelError ModelStreamErrorException"),
        ("validationException", "InvalidRequest ValidationException"),
        ("modelTimeoutException", "ModelTimeout ModelTimeoutException"),
    ] {
        for (before, progress) in [("start", "NothingSent"), ("start\ntext 0 a", "ContentSent")] {
            let mut bytes = frames(before);
            bytes.extend(exception(name, &json!({"message": "no"})));
            let told = told(target(CLAUDE), chat(vec![user("Hi")]), bytes).await;
            assert_eq!(
                told.last().map(String::as_str),
                Some(format!("error {expected} {progress}").as_str())
            );
        }
    }
}

#[tokio::test]
async fn frames_that_are_cut_or_changed_on_their_way_are_noticed() {
    let whole = frames("start\ntext 0 some words\nstop end_turn\nusage 1 1");
    let first_two = frames("start\ntext 0 some words").len();
    let mut changed = whole.clone();
    changed[first_two - 6] ^= 1;
    let mut shortened = whole.clone();
    shortened.truncate(first_two - 3);
    for (bytes, expected) in [(changed, "frame_corrupt"), (shortened, "frame_truncated")] {
        let told = told(target(CLAUDE), chat(vec![user("Hi")]), bytes).await;
        assert_eq!(told, ["started".to_owned(), format!("error Malformed {expected} NothingSent")]);
    }
}

#[tokio::test]
async fn an_answer_in_one_body_reads_like_a_stream() {
    let config = BedrockConfig { delivery: Delivery::Whole, ..target(CLAUDE) };
    let body = json!({
        "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
            {"text": "Yes."},
            {"toolUse": {"toolUseId": "t1", "name": "now", "input": {"b": 1, "a": [2.5]}}},
        ]}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 17, "cacheReadInputTokens": 10},
        "metrics": {"latencyMs": 1},
    });
    let told_lines = told(config.clone(), chat(vec![user("Hi")]), body.to_string().into_bytes()).await;
    expect![[r#"
        started
        thought `Hm.` None None
        thought `` Some("c2ln") None
        text `Yes.`
        call 0 Some(("t1", "now")) ``
        call 0 None `{"a":[2.5],"b":1}`
        finished ToolCalls None
        done 13 prompt (10 cached, 0 written), 4 completion
    "#]]
    .assert_eq(&lines(&told_lines));
    let without =
        json!({"stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}});
    for (body, expected) in [
        (without.to_string(), "error EmptyAnswer no_output NothingSent"),
        ("<html>".to_owned(), "error Malformed answer_not_readable NothingSent"),
    ] {
        assert_eq!(told(config.clone(), chat(vec![user("Hi")]), body.into_bytes()).await, [expected]);
    }
}

fn tools(names: &[&str], parallel: bool) -> ToolUse {
    let tool =
        |name: &&str| Tool { name: (*name).to_owned(), description: None, parameters: None, strict: false };
    ToolUse { tools: names.iter().map(tool).collect(), choice: ToolChoice::Auto, parallel }
}

async fn check(answer: &str, expected: Expect) {
    check_with(target(CLAUDE), chat(vec![user("Hi")]), answer, expected).await;
}

async fn check_with(config: BedrockConfig, request: GenerateRequest, answer: &str, expected: Expect) {
    expected.assert_eq(&lines(&told(config, request, frames(answer)).await));
}

fn lines(told: &[String]) -> String {
    told.join("\n") + "\n"
}

/// Everything that is told of an answer, a line each.
async fn told(config: BedrockConfig, request: GenerateRequest, body: Vec<u8>) -> Vec<String> {
    let (events, error) = answer_to(config, request, body).await;
    let mut told: Vec<String> = events.iter().map(line).collect();
    told.extend(error.map(|error| match error {
        BackendError::Upstream(error) => {
            format!("error {:?} {} {:?}", error.class, error.code, error.progress)
        }
        other => format!("error {other}"),
    }));
    told
}

fn line(event: &GenerateEvent) -> String {
    match event {
        GenerateEvent::Started { .. } => "started".to_owned(),
        GenerateEvent::Delta(delta) => format!("text `{}`", delta.text),
        GenerateEvent::Reasoning(delta) => {
            format!("thought `{}` {:?} {:?}", delta.text, delta.signature, delta.redacted)
        }
        GenerateEvent::ToolCall(delta) => {
            format!("call {} {:?} `{}`", delta.call, delta.opening, delta.arguments)
        }
        GenerateEvent::Finished { reason, stop, .. } => format!("finished {reason:?} {stop:?}"),
        GenerateEvent::Done(usage) => format!(
            "done {} prompt ({} cached, {} written), {} completion",
            usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.completion_tokens
        ),
        GenerateEvent::Prompt { .. } | GenerateEvent::PromptScored { .. } => "of the prompt".to_owned(),
    }
}
