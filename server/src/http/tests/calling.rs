//! Tools, formats, pictures and thinking: what reaches the backend, and what is made of its answer.

use serde_json::{Value, json};
use spillway_types::{
    FinishReason, GenerateEvent, JsonSchema, JsonText, OutputFormat, Prompt, ReasoningDelta, ReasoningEffort,
    ToolCallDelta, ToolChoice,
};

use super::fake::{Item, Service, Setup, done, finished, sending, started, text};

const CHAT: &str = "/v1/chat/completions";

fn asking(fields: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "1+2?"}]});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn with_tools() -> Value {
    asking(&json!({"tools": [{"type": "function", "function": {"name": "add"}}]}))
}

fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
fn call(call: u32, id: Option<&str>, arguments: &str) -> Item {
    let opening = id.map(|id| (id.to_owned(), "add".to_owned()));
    Ok(GenerateEvent::ToolCall(ToolCallDelta { choice: 0, call, opening, arguments: arguments.to_owned() }))
}

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
fn thought(text: &str, signature: Option<&str>) -> Item {
    let signature = signature.map(str::to_owned);
    Ok(GenerateEvent::Reasoning(ReasoningDelta {
        choice: 0,
        text: text.to_owned(),
        signature,
        redacted: None,
    }))
}

/// Two calls whose pieces come in turn, after a signed thought.
fn calling() -> Vec<Item> {
    vec![
        started(),
        thought("add ", None),
        thought("them", Some("sig")),
        call(0, Some("c1"), ""),
        call(1, Some("c2"), "{}"),
        call(0, None, "{\"a\""),
        call(0, None, ": 1}"),
        finished(0, FinishReason::ToolCalls),
        done(9),
    ]
}

#[tokio::test]
async fn a_whole_answer_holds_the_calls_and_what_was_thought() {
    let answer = sending(calling).build().post(CHAT, &with_tools()).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let called = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "add", "arguments": arguments}});
    assert_eq!(
        choice["message"],
        json!({
            "role": "assistant", "content": null, "refusal": null, "reasoning_content": "add them",
            "thinking_blocks": [{"type": "thinking", "thinking": "add them", "signature": "sig"}],
            "tool_calls": [called("c1", "{\"a\": 1}"), called("c2", "{}")],
        })
    );
}

#[tokio::test]
async fn text_beside_calls_stays() {
    let events = || {
        vec![
            started(),
            text(0, "Let me add."),
            call(0, Some("c1"), "{}"),
            finished(0, FinishReason::ToolCalls),
            done(2),
        ]
    };
    let answer = sending(events).build().post(CHAT, &with_tools()).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Let me add.");
}

#[tokio::test]
async fn a_stream_tells_calls_in_pieces_and_blocks_whole() {
    let answer = sending(calling).build().post(CHAT, &streamed(with_tools())).await;
    let deltas: Vec<String> = answer.events()[1..]
        .iter()
        .filter(|data| *data != "[DONE]")
        .map(|data| {
            let chunk: Value = serde_json::from_str(data).expect("JSON");
            format!("{} {}", chunk["choices"][0]["delta"], chunk["choices"][0]["finish_reason"])
        })
        .collect();
    assert_eq!(
        deltas,
        [
            r#"{"reasoning_content":"add "} null"#,
            r#"{"reasoning_content":"them","thinking_blocks":[{"type":"thinking","thinking":"add them","signature":"sig"}]} null"#,
            r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"add","arguments":""}}]} null"#,
            r#"{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"add","arguments":"{}"}}]} null"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]} null"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":": 1}"}}]} null"#,
            r#"{} "tool_calls""#,
        ]
    );
}

#[tokio::test]
async fn a_filter_that_ends_an_answer_is_named() {
    let events = || vec![started(), text(0, "a"), finished(0, FinishReason::ContentFilter), done(1)];
    let answer = sending(events).build().post(CHAT, &asking(&json!({}))).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
}

#[tokio::test]
async fn calls_that_nobody_could_answer_are_errors() {
    let unknown = || vec![started(), call(0, None, "{}"), finished(0, FinishReason::ToolCalls), done(1)];
    let twice = || vec![started(), call(0, Some("a"), ""), call(0, Some("b"), "")];
    let once = || vec![started(), call(0, Some("a"), ""), finished(0, FinishReason::ToolCalls), done(1)];
    for (service, path, body, fault) in [
        (sending(unknown).build(), CHAT, with_tools(), "began a call twice or not at all"),
        (sending(twice).build(), CHAT, with_tools(), "began a call twice or not at all"),
        (sending(once).build(), CHAT, asking(&json!({})), "called a tool, and none was offered"),
        (
            sending(once).build(),
            "/v1/completions",
            json!({"prompt": "a"}),
            "called a tool, and none was offered",
        ),
    ] {
        let answer = service.post(path, &body).await;
        let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert_eq!((answer.status.as_u16(), message), (500, format!("the backend {fault}")));
    }
}

async fn seen(fields: &Value) -> spillway_types::GenerateRequest {
    let service: Service = Setup::default().build();
    let answer = service.post(CHAT, &asking(fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    service.seen().remove(0)
}

#[tokio::test]
async fn tools_and_their_choice_reach_the_backend() {
    let schema = json!({"type": "object", "properties": {"b": {"type": "number"}, "a": {}}});
    let tool = json!({"name": "add", "description": "Adds.", "strict": true, "parameters": schema});
    let fields = json!({
        "tools": [{"type": "function", "function": tool}], "parallel_tool_calls": false,
        "tool_choice": {"type": "function", "function": {"name": "add"}},
    });
    let Prompt::Chat(prompt) = seen(&fields).await.prompt else { panic!("a chat is a chat") };
    let used = prompt.tools.expect("there is one");
    assert_eq!((used.choice, used.parallel), (ToolChoice::Named("add".to_owned()), false));
    let tool = &used.tools[0];
    assert_eq!((tool.description.as_deref(), tool.strict), (Some("Adds."), true));
    // In the client's order, since models read it.
    assert_eq!(tool.parameters.as_ref().map(JsonText::as_str), Some(schema.to_string().as_str()));
}

#[tokio::test]
async fn formats_and_effort_reach_the_backend() {
    let fields = json!({
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {"type": "number"}}},
        "reasoning_effort": "low",
    });
    let request = seen(&fields).await;
    let schema = JsonSchema {
        name: "sum".to_owned(),
        description: None,
        schema: JsonText::from_valid(r#"{"type":"number"}"#),
        strict: false,
    };
    assert_eq!(request.format, OutputFormat::JsonSchema(schema));
    assert_eq!(request.reasoning_effort, Some(ReasoningEffort::Low));
    let request = seen(&json!({"response_format": {"type": "json_object"}})).await;
    assert_eq!((request.format, request.reasoning_effort), (OutputFormat::JsonObject, None));
}

#[tokio::test]
async fn what_was_answered_can_be_sent_back() {
    let service = sending(calling).build();
    let answer = service.post(CHAT, &with_tools()).await.json();
    let mut next = with_tools();
    let messages = next["messages"].as_array_mut().expect("a list");
    messages.push(answer["choices"][0]["message"].clone());
    for id in ["c1", "c2"] {
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "3"}));
    }
    let answer = service.post(CHAT, &next).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let Prompt::Chat(prompt) = service.seen().remove(1).prompt else { panic!("a chat is a chat") };
    assert_eq!((prompt.messages[1].reasoning.len(), prompt.messages.len()), (1, 4));
}
