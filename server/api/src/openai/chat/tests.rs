//! Bodies as clients write them, and answers to the byte.

use expect_test::{Expect, expect};
use serde_json::{from_value, json};

use super::*;
use crate::openai::PromptTokensDetails;

fn check(value: &impl Serialize, expected: &Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(value).expect("it has only string keys"));
}

const USAGE: Usage = Usage {
    prompt_tokens: 12,
    completion_tokens: 3,
    total_tokens: 15,
    prompt_tokens_details: PromptTokensDetails { cached_tokens: 8 },
};

#[test]
fn content_is_text_or_text_parts_and_nothing_else() {
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
    let error = content(json!([{"type": "image_url", "image_url": {"url": "data:"}}])).expect_err("an image");
    assert_eq!(error.to_string(), "must be a string or a list of text parts");
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
                content: "Hello.".to_owned(),
                refusal: None,
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
    let first = ChatDelta { role: Some(MessageRole::Assistant), content: Some("".into()) };
    let chunks = [
        chunk(ChunkUsage::NotAsked, choice(first, None)),
        chunk(ChunkUsage::Pending, choice(ChatDelta { role: None, content: Some("Hi".into()) }, None)),
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
