//! Bodies as clients write them, and answers to the byte.

use expect_test::{Expect, expect};
use serde::Serialize;
use serde_json::{from_value, json};

use super::*;
use crate::openai::{
    ChunkUsage, FinishReason, FunctionCall, FunctionChunk, FunctionName, NamedTool, PromptTokensDetails,
    ResponseFormatKind, ToolCallChunk, ToolChoiceMode, ToolKind, Usage,
};

fn check(value: &impl Serialize, expected: &Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(value).expect("it has only string keys"));
}

const USAGE: Usage = Usage {
    prompt_tokens: 12,
    completion_tokens: 3,
    total_tokens: 15,
    prompt_tokens_details: PromptTokensDetails { cached_tokens: 8 },
    cost: None,
};

#[test]
fn content_is_text_or_parts_and_nothing_else() {
    let content = |value| from_value::<Content>(value);
    assert_eq!(content(json!("hi")).expect("text"), Content::Text("hi".to_owned()));
    let parts =
        content(json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).expect("text parts");
    assert_eq!(
        parts,
        Content::Parts(vec![
            ContentPart::Text { text: "a".to_owned() },
            ContentPart::Text { text: "b".to_owned() }
        ])
    );
    let image = json!([{"type": "image_url", "image_url": {"url": "data:", "detail": "auto"}}]);
    let image_url = ImageUrl { url: "data:".to_owned(), detail: Some(ImageDetail::Auto) };
    assert_eq!(content(image).expect("an image"), Content::Parts(vec![ContentPart::ImageUrl { image_url }]));
    let error = content(json!([{"type": "input_audio", "input_audio": {}}])).expect_err("a sound");
    assert_eq!(error.to_string(), "must be a string or a list of parts");
}

#[test]
fn a_choice_of_tools_is_a_word_or_a_function() {
    let choice = |value| from_value::<ToolChoice>(value);
    for (word, mode) in [
        ("none", ToolChoiceMode::None),
        ("auto", ToolChoiceMode::Auto),
        ("required", ToolChoiceMode::Required),
    ] {
        assert_eq!(choice(json!(word)).expect("a word"), ToolChoice::Mode(mode));
    }
    let function = FunctionName { name: "add".to_owned() };
    let named = choice(json!({"type": "function", "function": {"name": "add"}})).expect("a function");
    assert_eq!(named, ToolChoice::Named(NamedTool { kind: ToolKind::Function, function }));
    for wrong in
        [json!("any"), json!({"type": "function"}), json!({"type": "tool", "function": {"name": "a"}})]
    {
        assert!(choice(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn tools_formats_and_thinking_are_read_as_clients_write_them() {
    let request: ChatRequest = from_value(json!({
        "messages": [{
            "role": "assistant", "content": "3", "reasoning_content": "so",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "so", "signature": "s"},
                {"type": "redacted_thinking", "data": "eA=="},
            ],
        }],
        "tools": [{"type": "function", "function": {
            "name": "add", "description": "Adds.", "strict": true, "parameters": {"type": "object"},
        }}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {}, "strict": false}},
        "reasoning_effort": "minimal",
    }))
    .expect("all of it is known");
    let tool = &request.tools.expect("there is one")[0].function;
    assert_eq!((tool.name.as_str(), tool.strict), ("add", Some(true)));
    assert_eq!(tool.parameters.as_ref().map(|schema| schema["type"].clone()), Some(json!("object")));
    let format = request.response_format.expect("there is one");
    assert_eq!(
        (format.kind, format.json_schema.map(|schema| schema.name)),
        (ResponseFormatKind::JsonSchema, Some("sum".to_owned()))
    );
    assert_eq!(request.reasoning_effort, Some(ReasoningEffort::Minimal));
    let blocks = request.messages[0].thinking_blocks.as_deref().expect("there are two");
    assert_eq!(blocks[1], ThinkingBlock::RedactedThinking { data: "eA==".to_owned() });
}

#[test]
fn writes_an_answer_as_openai_does() {
    let answer = ChatCompletion {
        id: "chatcmpl-1".to_owned(),
        object: ChatCompletion::OBJECT,
        created: 1_700_000_000,
        model: "tiny".to_owned(),
        choices: vec![ChatChoice {
            index: 0,
            message: AssistantMessage {
                role: MessageRole::Assistant,
                content: Some("Hello.".to_owned()),
                refusal: None,
                reasoning_content: None,
                thinking_blocks: Vec::new(),
                tool_calls: Vec::new(),
            },
            logprobs: None,
            finish_reason: FinishReason::Stop,
            stop_reason: None,
        }],
        usage: USAGE,
        prompt_logprobs: None,
    };
    check(
        &answer,
        &expect![[r#"
            {
              "id": "chatcmpl-1",
              "object": "chat.completion",
              "created": 1700000000,
              "model": "tiny",
              "choices": [
                {
                  "index": 0,
                  "message": {
                    "role": "assistant",
                    "content": "Hello.",
                    "refusal": null
                  },
                  "logprobs": null,
                  "finish_reason": "stop",
                  "stop_reason": null
                }
              ],
              "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 3,
                "total_tokens": 15,
                "prompt_tokens_details": {
                  "cached_tokens": 8
                }
              }
            }"#]],
    );
}

fn chunk(usage: ChunkUsage, choices: Vec<ChatChunkChoice<'_>>) -> ChatChunk<'_> {
    ChatChunk { id: "chatcmpl-1", object: ChatChunk::OBJECT, created: 1, model: "tiny", choices, usage }
}

#[test]
fn writes_chunks_as_openai_does() {
    let choice = |delta, finish_reason| {
        vec![ChatChunkChoice { index: 1, delta, logprobs: None, finish_reason, stop_reason: None }]
    };
    let first =
        ChatDelta { role: Some(MessageRole::Assistant), content: Some("".into()), ..ChatDelta::default() };
    let hi = ChatDelta { content: Some("Hi".into()), ..ChatDelta::default() };
    let chunks = [
        chunk(ChunkUsage::NotAsked, choice(first, None)),
        chunk(ChunkUsage::Pending, choice(hi, None)),
        chunk(ChunkUsage::Pending, choice(ChatDelta::default(), Some(FinishReason::Length))),
        chunk(ChunkUsage::Total(USAGE), Vec::new()),
    ];
    let lines =
        chunks.map(|chunk| serde_json::to_string(&chunk).expect("it has only string keys")).join("\n");
    expect![[r#"
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":1,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":1,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8}}}"#]]
    .assert_eq(&lines);
}

#[test]
fn writes_calls_and_thinking_as_openai_and_litellm_do() {
    let message = AssistantMessage {
        role: MessageRole::Assistant,
        content: None,
        refusal: None,
        reasoning_content: Some("so".to_owned()),
        thinking_blocks: vec![
            ThinkingBlock::Thinking { thinking: "so".to_owned(), signature: Some("s".to_owned()) },
            ThinkingBlock::RedactedThinking { data: "eA==".to_owned() },
        ],
        tool_calls: vec![ToolCall {
            id: "call_1".to_owned(),
            kind: ToolKind::Function,
            function: FunctionCall { name: "add".to_owned(), arguments: "{}".to_owned() },
        }],
    };
    let call = |id: Option<&'static str>, arguments: &'static str| {
        let function = FunctionChunk { name: id.map(|_| "add".into()), arguments: arguments.into() };
        let kind = id.map(|_| ToolKind::Function);
        let calls = vec![ToolCallChunk { index: 0, id: id.map(Into::into), kind, function }];
        ChatDelta { tool_calls: calls, ..ChatDelta::default() }
    };
    let thought = ChatDelta { reasoning_content: Some("so".into()), ..ChatDelta::default() };
    let mut lines = vec![serde_json::to_string(&message).expect("it has only string keys")];
    for delta in [thought, call(Some("call_1"), ""), call(None, "{\"a\"")] {
        lines.push(serde_json::to_string(&delta).expect("it has only string keys"));
    }
    expect![[r#"
        {"role":"assistant","content":null,"refusal":null,"reasoning_content":"so","thinking_blocks":[{"type":"thinking","thinking":"so","signature":"s"},{"type":"redacted_thinking","data":"eA=="}],"tool_calls":[{"id":"call_1","type":"function","function":{"name":"add","arguments":"{}"}}]}
        {"reasoning_content":"so"}
        {"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"add","arguments":""}}]}
        {"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}"#]]
    .assert_eq(&lines.join("\n"));
}
