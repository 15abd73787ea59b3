//! Bodies as clients write them, and answers to the byte.

use expect_test::expect;
use serde_json::{from_value, json};

use super::*;
use crate::openai::{ErrorBody, ErrorDetail, PromptTokensDetails};

#[test]
fn a_prompt_is_text_or_tokens_one_or_several() {
    let prompt = |value| from_value::<PromptInput>(value);
    assert_eq!(prompt(json!("a")).expect("text"), PromptInput::Text("a".to_owned()));
    assert_eq!(
        prompt(json!(["a", "b"])).expect("texts"),
        PromptInput::Texts(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(prompt(json!([1, 2])).expect("tokens"), PromptInput::Tokens(vec![1, 2]));
    assert_eq!(
        prompt(json!([[1], [2, 3]])).expect("lists"),
        PromptInput::TokenLists(vec![vec![1], vec![2, 3]])
    );
    for wrong in [json!(1), json!([1, "a"]), json!([-1]), json!({"text": "a"}), json!([[1], "a"])] {
        let error = prompt(wrong).expect_err("mixed or no prompt");
        assert!(error.to_string().starts_with("must be a string, a list of strings"), "{error}");
    }
}

#[test]
fn writes_an_answer_and_its_chunks_as_openai_does() {
    let usage = Usage {
        prompt_tokens: 4,
        completion_tokens: 2,
        total_tokens: 6,
        prompt_tokens_details: PromptTokensDetails { cached_tokens: 0 },
        cost: None,
    };
    let answer = Completion {
        id: "cmpl-1".to_owned(),
        object: Completion::OBJECT,
        created: 1,
        model: "tiny".to_owned(),
        choices: vec![CompletionChoice {
            index: 0,
            text: " world".to_owned(),
            logprobs: None,
            finish_reason: FinishReason::Length,
            stop_reason: None,
            prompt_logprobs: None,
        }],
        usage,
    };
    expect![[r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,"text":" world","logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":0}}}"#]]
    .assert_eq(&serde_json::to_string(&answer).expect("it has only string keys"));
    let chunk = CompletionChunk {
        id: "cmpl-1",
        object: Completion::OBJECT,
        created: 1,
        model: "tiny",
        choices: vec![CompletionChunkChoice {
            index: 0,
            text: " wor",
            logprobs: None,
            finish_reason: None,
            stop_reason: None,
        }],
        usage: ChunkUsage::NotAsked,
    };
    expect![[r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,"text":" wor","logprobs":null,"finish_reason":null}]}"#]]
    .assert_eq(&serde_json::to_string(&chunk).expect("it has only string keys"));
}

#[test]
fn writes_errors_as_openai_does() {
    let body = ErrorBody {
        error: ErrorDetail {
            message: "`n` is 0, must be from 1 to 128".to_owned(),
            kind: "invalid_request_error".to_owned(),
            param: Some("n".to_owned()),
            code: None,
        },
    };
    expect![[r#"{"error":{"message":"`n` is 0, must be from 1 to 128","type":"invalid_request_error","param":"n","code":null}}"#]]
    .assert_eq(&serde_json::to_string(&body).expect("it has only string keys"));
}
