//! Requests as Bedrock gets them.

use std::num::NonZeroU32;
use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::Value;
use spillway_types::{
    ChatMessage, GenerateRequest, Image, ImageFormat, JsonSchema, JsonText, OutputFormat, PlacedImage,
    ReasoningEffort, ReasoningPart, Role, Tool, ToolChoice, ToolUse,
};

use super::canned::{body_of, chat, prompt_of, target, user};
use crate::bedrock::{BedrockConfig, ReasoningStyle, ServiceTier};

const CLAUDE: &str = "eu.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "eu.amazon.nova-lite-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const MISTRAL: &str = "mistral.mistral-large-2407-v1:0";

#[tokio::test]
async fn turns_alternate_whatever_the_client_sends() {
    let messages = vec![
        ChatMessage::new(Role::System, "Be kind."),
        ChatMessage::new(Role::Assistant, "Hello!"),
        user("One."),
        user("  "),
        user("Two."),
        ChatMessage::new(Role::Developer, "Be brief."),
        ChatMessage::new(Role::Assistant, ""),
        ChatMessage::new(Role::Assistant, "Yes"),
        ChatMessage::new(Role::Assistant, "?"),
        user("Three."),
    ];
    check(
        target(CLAUDE),
        chat(messages),
        expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"(The conversation begins with your words.)"}
        1 assistant: {"text":"Hello!"}
        2 user: {"text":"One."}
        2 user: {"text":"Two."}
        3 assistant: {"text":"Yes"}
        3 assistant: {"text":"?"}
        4 user: {"text":"Three."}
        system: {"text":"Be kind."}
        system: {"text":"Be brief."}
    "#]],
    )
    .await;
}

#[tokio::test]
async fn calls_and_their_results_are_blocks_and_results_of_one_turn_stand_together() {
    check(target(CLAUDE), with_tools(ToolChoice::Auto), expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"Weather?"}
        1 assistant: {"text":"I look."}
        1 assistant: {"toolUse":{"input":{"city":"Bern"},"name":"get_weather","toolUseId":"call_1"}}
        1 assistant: {"toolUse":{"input":{},"name":"now","toolUseId":"call_2"}}
        2 user: {"toolResult":{"content":[{"text":"Sunny"}],"status":"success","toolUseId":"call_1"}}
        2 user: {"toolResult":{"content":[{"text":"(no output)"}],"status":"success","toolUseId":"call_2"}}
        2 user: {"text":"And tomorrow?"}
        tool: {"description":"Tells the weather","inputSchema":{"json":{"properties":{"city":{"type":"string"}},"type":"object"}},"name":"get_weather"}
        tool: {"inputSchema":{"json":{"properties":{},"type":"object"}},"name":"now"}
        toolChoice: {"auto":{}}
    "#]]).await;
}

#[tokio::test]
async fn results_stand_alone_for_families_that_want_it() {
    check(target(LLAMA), with_tools(ToolChoice::Auto), expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"Weather?"}
        1 assistant: {"text":"I look."}
        1 assistant: {"toolUse":{"input":{"city":"Bern"},"name":"get_weather","toolUseId":"call_1"}}
        1 assistant: {"toolUse":{"input":{},"name":"now","toolUseId":"call_2"}}
        2 user: {"toolResult":{"content":[{"text":"Sunny"}],"status":"success","toolUseId":"call_1"}}
        2 user: {"toolResult":{"content":[{"text":"(no output)"}],"status":"success","toolUseId":"call_2"}}
        3 assistant: {"text":"(I have the results.)"}
        4 user: {"text":"And tomorrow?"}
        tool: {"description":"Tells the weather","inputSchema":{"json":{"properties":{"city":{"type":"string"}},"type":"object"}},"name":"get_weather"}
        tool: {"inputSchema":{"json":{"properties":{},"type":"object"}},"name":"now"}
    "#]]).await;
}

#[tokio::test]
async fn without_tools_to_call_the_calls_of_the_past_are_text() {
    check(
        target(CLAUDE),
        with_tools(ToolChoice::None),
        expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"Weather?"}
        1 assistant: {"text":"I look."}
        1 assistant: {"text":"[I called get weather with {\"city\":\"Bern\"}]"}
        1 assistant: {"text":"[I called now with {}]"}
        2 user: {"text":"[Result of get weather:]"}
        2 user: {"text":"Sunny"}
        2 user: {"text":"[Result of now:]"}
        2 user: {"text":"(no output)"}
        2 user: {"text":"And tomorrow?"}
    "#]],
    )
    .await;
}

#[tokio::test]
async fn each_choice_of_tools_has_its_form_and_a_model_without_names_is_offered_the_one() {
    let choice = async |model: &str, choice: ToolChoice| {
        let body = body_of(target(model), with_tools(choice)).await;
        let config = &body["toolConfig"];
        let tools = config["tools"].as_array().map_or(0, Vec::len);
        format!("{tools} tools, {}", config["toolChoice"])
    };
    let named = || ToolChoice::Named("get weather".to_owned());
    assert_eq!(choice(CLAUDE, ToolChoice::Auto).await, r#"2 tools, {"auto":{}}"#);
    assert_eq!(choice(CLAUDE, ToolChoice::Required).await, r#"2 tools, {"any":{}}"#);
    assert_eq!(choice(CLAUDE, named()).await, r#"2 tools, {"tool":{"name":"get_weather"}}"#);
    assert_eq!(choice(MISTRAL, named()).await, r#"1 tools, {"any":{}}"#);
    assert_eq!(choice(LLAMA, ToolChoice::Auto).await, "2 tools, null");
}

#[tokio::test]
async fn pictures_keep_their_place_and_their_true_format() {
    let image = |format| Image { format, bytes: Arc::from([1_u8, 2, 3]) };
    let message = ChatMessage {
        images: vec![
            PlacedImage { offset: 0, image: image(ImageFormat::Webp) },
            PlacedImage { offset: 5, image: image(ImageFormat::Jpeg) },
        ],
        ..user("First second")
    };
    check(
        target(NOVA),
        chat(vec![message]),
        expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"image":{"format":"webp","source":{"bytes":"AQID"}}}
        0 user: {"text":"First"}
        0 user: {"image":{"format":"jpeg","source":{"bytes":"AQID"}}}
        0 user: {"text":" second"}
    "#]],
    )
    .await;
}

#[tokio::test]
async fn signed_thinking_goes_back_and_the_rest_of_it_does_not() {
    let reasoning = vec![
        ReasoningPart::Text { text: "Hm.".to_owned(), signature: Some("c2ln".to_owned()) },
        ReasoningPart::Text { text: "Of another.".to_owned(), signature: None },
        ReasoningPart::Redacted("aGlkZGVu".to_owned()),
    ];
    let messages = || {
        let answer =
            ChatMessage { reasoning: reasoning.clone(), ..ChatMessage::new(Role::Assistant, "Yes.") };
        vec![user("Really?"), answer, user("Why?")]
    };
    check(
        target(CLAUDE),
        chat(messages()),
        expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"Really?"}
        1 assistant: {"reasoningContent":{"reasoningText":{"signature":"c2ln","text":"Hm."}}}
        1 assistant: {"reasoningContent":{"redactedContent":"aGlkZGVu"}}
        1 assistant: {"text":"Yes."}
        2 user: {"text":"Why?"}
    "#]],
    )
    .await;
    let body = body_of(target(NOVA), chat(messages())).await;
    assert_eq!(body["messages"][1]["content"].to_string(), r#"[{"text":"Yes."}]"#);
}

#[tokio::test]
async fn json_is_asked_for_by_the_models_field_or_by_a_tool() {
    let mut request = chat(vec![user("Where?")]);
    request.format = OutputFormat::JsonSchema(JsonSchema {
        name: "a city".to_owned(),
        description: Some("Where it is".to_owned()),
        schema: JsonText::from_valid(r#"{"type":"object","properties":{"name":{"type":"string"}}}"#),
        strict: true,
    });
    check(target(CLAUDE), request.clone(), expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"Where?"}
        outputConfig: {"textFormat":{"structure":{"jsonSchema":{"description":"Where it is","name":"a_city","schema":"{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"}}}"}},"type":"json_schema"}}
    "#]]).await;
    check(target(NOVA), request.clone(), expect![[r#"
        inferenceConfig: {"maxTokens":1024}
        0 user: {"text":"Where?"}
        tool: {"description":"Where it is","inputSchema":{"json":{"properties":{"name":{"type":"string"}},"type":"object"}},"name":"a_city"}
        toolChoice: {"tool":{"name":"a_city"}}
    "#]]).await;
    // Beside tools of the client's, the answer is one call among others.
    prompt_of(&mut request).tools = Some(tools(ToolChoice::Auto));
    let body = body_of(target(NOVA), request).await;
    let names: Vec<&Value> =
        (0..3).map(|tool| &body["toolConfig"]["tools"][tool]["toolSpec"]["name"]).collect();
    assert_eq!(names, ["get_weather", "now", "a_city"]);
    assert_eq!(body["toolConfig"]["toolChoice"].to_string(), r#"{"any":{}}"#);
    let mut request = chat(vec![user("Where?")]);
    request.format = OutputFormat::JsonObject;
    let body = body_of(target(CLAUDE), request).await;
    assert_eq!(body["toolConfig"]["toolChoice"].to_string(), r#"{"tool":{"name":"answer"}}"#);
}

#[tokio::test]
async fn sampling_is_in_its_fields_and_a_high_temperature_is_lowered() {
    let mut request = chat(vec![user("Hi")]);
    request.params.given.temperature = Some(1.5);
    request.params.given.top_p = Some(0.5);
    request.params.given.top_k = NonZeroU32::new(40);
    request.params.stop = vec!["END".to_owned(), "STOP".to_owned()];
    request.params.max_tokens = NonZeroU32::new(77);
    let config = BedrockConfig { service_tier: Some(ServiceTier::Flex), ..target(CLAUDE) };
    check(
        config,
        request.clone(),
        expect![[r#"
        additionalModelRequestFields: {"top_k":40}
        inferenceConfig: {"maxTokens":77,"stopSequences":["END","STOP"],"temperature":1.0,"topP":0.5}
        0 user: {"text":"Hi"}
        serviceTier: {"type":"flex"}
    "#]],
    )
    .await;
    let body = body_of(target(NOVA), request).await;
    assert_eq!(body["additionalModelRequestFields"].to_string(), r#"{"inferenceConfig":{"topK":40}}"#);
}

#[tokio::test]
async fn max_tokens_is_always_sent_and_fits() {
    let max_tokens = async |asked: u32, context: Option<u32>, most: Option<u32>, text: &str| {
        let config = BedrockConfig {
            context_tokens: context.and_then(NonZeroU32::new),
            max_output_tokens: most.and_then(NonZeroU32::new),
            ..target(CLAUDE)
        };
        let mut request = chat(vec![user(text)]);
        request.params.max_tokens = NonZeroU32::new(asked);
        body_of(config, request).await["inferenceConfig"]["maxTokens"].clone()
    };
    assert_eq!(max_tokens(0, None, None, "Hi").await, 1024);
    assert_eq!(max_tokens(50_000, None, None, "Hi").await, 50_000);
    assert_eq!(max_tokens(50_000, None, Some(8192), "Hi").await, 8192);
    // 9,000 bytes are taken for 3,000 tokens, and 8 more for the message.
    assert_eq!(max_tokens(50_000, Some(10_000), None, &"abcdefgh ".repeat(1000)).await, 6992);
    // An estimate never leaves less than this.
    assert_eq!(max_tokens(50_000, Some(3_100), None, &"abcdefgh ".repeat(1000)).await, 1024);
}

#[tokio::test]
async fn thinking_is_asked_for_in_the_models_own_way() {
    let fields = async |style: ReasoningStyle, effort: ReasoningEffort, max_tokens: u32| {
        let mut config = target("fake.thinker");
        config.overrides.reasoning = Some(style);
        let mut request = chat(vec![user("Hi")]);
        request.reasoning_effort = Some(effort);
        request.params.max_tokens = NonZeroU32::new(max_tokens);
        let body = body_of(config, request).await;
        format!(
            "{} {} {}",
            body["additionalModelRequestFields"], body["outputConfig"], body["inferenceConfig"]
        )
    };
    let sent = [
        fields(ReasoningStyle::Effort, ReasoningEffort::Minimal, 0).await,
        fields(ReasoningStyle::Adaptive, ReasoningEffort::High, 0).await,
        fields(ReasoningStyle::Adaptive, ReasoningEffort::None, 0).await,
        fields(ReasoningStyle::Budget, ReasoningEffort::Medium, 0).await,
        fields(ReasoningStyle::Budget, ReasoningEffort::Medium, 3000).await,
        fields(ReasoningStyle::Nova, ReasoningEffort::Low, 0).await,
        fields(ReasoningStyle::Nova, ReasoningEffort::None, 0).await,
        fields(ReasoningStyle::Field, ReasoningEffort::High, 0).await,
    ];
    expect![[r#"
        null {"effort":"low"} {"maxTokens":1024}
        {"thinking":{"type":"adaptive"}} {"effort":"high"} {"maxTokens":1024}
        null null {"maxTokens":1024}
        {"thinking":{"budget_tokens":8192,"type":"enabled"}} null {"maxTokens":9216}
        {"thinking":{"budget_tokens":1500,"type":"enabled"}} null {"maxTokens":3000}
        {"reasoningConfig":{"maxReasoningEffort":"low","type":"enabled"}} null {"maxTokens":1024}
        {"reasoningConfig":{"type":"disabled"}} null {"maxTokens":1024}
        {"reasoning_effort":"high"} null {"maxTokens":1024}"#]]
    .assert_eq(&sent.join("\n"));
}

fn tools(choice: ToolChoice) -> ToolUse {
    let weather = Tool {
        name: "get weather".to_owned(),
        description: Some("Tells the weather".to_owned()),
        parameters: Some(JsonText::from_valid(
            r#"{"type":"object","properties":{"city":{"type":"string"}}}"#,
        )),
        strict: false,
    };
    let now = Tool { name: "now".to_owned(), description: None, parameters: None, strict: false };
    ToolUse { tools: vec![weather, now], choice, parallel: true }
}

/// A conversation with two calls, their results and a question.
fn with_tools(choice: ToolChoice) -> GenerateRequest {
    let calls = r#"[
        {"id": "call/1", "type": "function", "function": {"name": "get weather", "arguments": "{\"city\": \"Bern\"}"}},
        {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": {}}}
    ]"#;
    let result = |id: &str, text: &str| ChatMessage {
        tool_call_id: Some(id.to_owned()),
        ..ChatMessage::new(Role::Tool, text)
    };
    let asked = ChatMessage {
        tool_calls: Some(JsonText::from_valid(calls)),
        ..ChatMessage::new(Role::Assistant, "I look.")
    };
    let messages =
        vec![user("Weather?"), asked, result("call/1", "Sunny"), result("call_2", ""), user("And tomorrow?")];
    let mut request = chat(messages);
    prompt_of(&mut request).tools = Some(tools(choice));
    request
}

async fn check(config: BedrockConfig, request: GenerateRequest, expected: Expect) {
    expected.assert_eq(&layout(&body_of(config, request).await));
}

/// A request's body, each block and each tool on a line of its own, blocks with the index of their turn.
fn layout(body: &Value) -> String {
    let mut lines = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for (key, value) in body.as_object().expect("a request is an object") {
        match key.as_str() {
            "messages" => {
                for (turn_idx, message) in list(value).iter().enumerate() {
                    let role = message["role"].as_str().unwrap_or_default();
                    let blocks = list(&message["content"]);
                    lines.extend(blocks.iter().map(|block| format!("{turn_idx} {role}: {block}")));
                }
            }
            "system" => lines.extend(list(value).iter().map(|block| format!("system: {block}"))),
            "toolConfig" => {
                lines.extend(list(&value["tools"]).iter().map(|tool| format!("tool: {}", tool["toolSpec"])));
                lines.extend(value.get("toolChoice").map(|choice| format!("toolChoice: {choice}")));
            }
            _ => lines.push(format!("{key}: {value}")),
        }
    }
    lines.join("\n") + "\n"
}
