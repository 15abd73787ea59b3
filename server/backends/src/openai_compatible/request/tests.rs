//! Bodies as servers read them.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::{Value, json};
use spillway_types::{
    CacheSalt, ChatMessage, GivenSampling, Image, ImageFormat, JsonSchema, ModelId, Penalties, PlacedImage,
    Priority, ReasoningPart, RequestId, Role, Sampling, SamplingParams, Seed, Tool, ToolUse, TopLogprobs,
    Truncation,
};

use super::*;

fn request(prompt: Prompt) -> GenerateRequest {
    // What the local model's config says, and the client did not.
    let sampling = Sampling::new(0.7, None, 0.9, 0.0).expect("in range");
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new("the client's word"),
        prompt,
        truncation: None,
        params: SamplingParams::new(sampling, Seed(77)),
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::High,
        cache_salt: None,
    }
}

fn chat(messages: Vec<ChatMessage>) -> GenerateRequest {
    request(Prompt::Chat(ChatPrompt::new(messages)))
}

fn hello() -> ChatMessage {
    ChatMessage::new(Role::User, "hello")
}

fn written(request: &GenerateRequest, dialect: Dialect) -> Result<Value, BackendError> {
    let capabilities = Capabilities::inside(ModelId::new("theirs"), dialect.features());
    let (id, delivery) = (BackendId::new("remote"), Delivery::Streamed);
    let recipient = Recipient { id: &id, capabilities: &capabilities, dialect, delivery };
    body(request, recipient).map(|body| serde_json::from_slice(&body).expect("it is JSON"))
}

fn refused(request: &GenerateRequest, dialect: Dialect) -> Option<&'static str> {
    match written(request, dialect) {
        Err(BackendError::InvalidRequest { param, .. }) => param,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_request_holds_nothing_that_was_not_asked_for() {
    let body = written(&chat(vec![hello()]), Dialect::OpenAi).expect("it is known");
    let wanted = json!({
        "model": "theirs",
        "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "hello"}],
    });
    assert_eq!(body, wanted);
}

#[test]
fn a_whole_conversation_is_written_as_openai_has_it() {
    let image = |byte| Image { format: ImageFormat::Webp, bytes: Arc::from([byte]) };
    let calls = r#"[{"id":"x","type":"function","function":{"name":"f","arguments":{"b":1,"a":"é"}}}]"#;
    let thought = |text: &str| ReasoningPart::Text { text: text.to_owned(), signature: Some("s".to_owned()) };
    let messages = vec![
        ChatMessage::new(Role::Developer, "be short"),
        ChatMessage {
            name: Some("Ann".to_owned()),
            images: vec![
                PlacedImage { offset: 0, image: image(1) },
                PlacedImage { offset: 3, image: image(2) },
            ],
            ..ChatMessage::new(Role::User, "éa two")
        },
        ChatMessage {
            tool_calls: Some(JsonText::from_valid(calls)),
            reasoning: vec![thought("so "), ReasoningPart::Redacted("AA==".to_owned()), thought("it is")],
            ..ChatMessage::new(Role::Assistant, "")
        },
        ChatMessage { tool_call_id: Some("x".to_owned()), ..ChatMessage::new(Role::Tool, "7") },
    ];
    let picture = |data: &str| json!({"type": "image_url", "image_url": {"url": format!("data:image/webp;base64,{data}")}});
    let call = json!([{"id": "x", "type": "function",
        "function": {"name": "f", "arguments": "{\"b\":1,\"a\":\"é\"}"}}]);
    let wanted = |role: &str, thought: Option<&str>| {
        let mut called = json!({"role": "assistant", "content": null, "tool_calls": call});
        if let Some(thought) = thought {
            called["reasoning_content"] = thought.into();
        }
        json!([
            {"role": role, "content": "be short"},
            {"role": "user", "name": "Ann", "content": [picture("AQ=="), {"type": "text", "text": "éa"},
                picture("Ag=="), {"type": "text", "text": " two"}]},
            called,
            {"role": "tool", "content": "7", "tool_call_id": "x"},
        ])
    };
    let of = |dialect| written(&chat(messages.clone()), dialect).expect("it is known")["messages"].clone();
    assert_eq!(of(Dialect::OpenAi), wanted("developer", None));
    assert_eq!(of(Dialect::Vllm), wanted("system", Some("so it is")));
}

#[test]
fn tools_and_formats_are_written_with_their_schemas_unchanged() {
    let schema = r#"{"type":"object","properties":{"z":{},"a":{}}}"#;
    let parameters = Some(JsonText::from_valid(schema));
    let tool = |name: &str, parameters, strict| Tool {
        name: name.to_owned(),
        description: None,
        parameters,
        strict,
    };
    let tools = vec![tool("f", parameters, true), tool("g", None, false)];
    let with = |choice, parallel| {
        let tools = Some(ToolUse { tools: tools.clone(), choice, parallel });
        let mut asked = request(Prompt::Chat(ChatPrompt { tools, ..ChatPrompt::new(vec![hello()]) }));
        let schema = JsonText::from_valid(schema);
        asked.format = OutputFormat::JsonSchema(JsonSchema {
            name: "answer".to_owned(),
            description: None,
            schema,
            strict: true,
        });
        asked
    };
    let named = with(ToolChoice::Named("f".to_owned()), false);
    let body = written(&named, Dialect::Vllm).expect("it is known");
    assert_eq!(
        body["tools"],
        json!([
            {"type": "function", "function": {"name": "f", "parameters": serde_json::from_str::<Value>(schema).expect("JSON"), "strict": true}},
            {"type": "function", "function": {"name": "g"}},
        ])
    );
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "f"}}));
    assert_eq!(body["parallel_tool_calls"], json!(false));
    assert_eq!(body["response_format"]["type"], "json_schema");
    let wanted: Vec<&str> = vec!["z", "a"];
    let properties = &body["response_format"]["json_schema"]["schema"]["properties"];
    assert_eq!(properties.as_object().expect("an object").keys().collect::<Vec<_>>(), wanted);
    for (choice, word) in
        [(ToolChoice::Auto, "auto"), (ToolChoice::Required, "required"), (ToolChoice::None, "none")]
    {
        let body = written(&with(choice, true), Dialect::Vllm).expect("it is known");
        assert_eq!((&body["tool_choice"], body.get("parallel_tool_calls")), (&json!(word), None));
    }
    let body = written(&with(ToolChoice::Auto, true), Dialect::LlamaCpp).expect("it is known");
    assert_eq!(body["parallel_tool_calls"], true, "its default is false");
}

#[test]
fn everything_that_vllm_knows_is_sent_when_it_is_set() {
    let mut asked = request(Prompt::Tokens(vec![TokenId(1), TokenId(2)]));
    asked.params = SamplingParams {
        n: NonZeroU32::new(2).expect("not zero"),
        max_tokens: NonZeroU32::new(9),
        min_tokens: 3,
        stop: vec!["END".to_owned()],
        stop_tokens: vec![TokenId(7)],
        include_stop: true,
        ignore_eos: true,
        show_special_tokens: true,
        penalties: Penalties::new(1.5, 0.5, -0.5).expect("in range"),
        logprobs: Some(TopLogprobs::NONE),
        given: GivenSampling {
            temperature: Some(1.5),
            top_p: Some(0.5),
            top_k: NonZeroU32::new(5),
            min_p: Some(0.25),
            seed: Some(Seed(u64::MAX)),
        },
        ..asked.params
    };
    asked.params.constraints.allowed = Some(vec![TokenId(4)]);
    asked.params.constraints.bad_words = vec!["no".to_owned()];
    asked.params.constraints.bias = vec![spillway_types::TokenBias { token: TokenId(8), bias: -2.0 }];
    asked.truncation = Some(Truncation::ToFit);
    asked.cache_salt = Some(CacheSalt::new("salt"));
    let body = written(&asked, Dialect::Vllm).expect("it is known");
    let wanted = json!({
        "model": "theirs", "stream": true, "stream_options": {"include_usage": true},
        "prompt": [1, 2], "temperature": 1.5, "top_p": 0.5, "top_k": 5, "min_p": 0.25, "seed": -1, "n": 2,
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.5,
        "logit_bias": {"8": -2.0}, "bad_words": ["no"], "allowed_token_ids": [4], "min_tokens": 3,
        "stop": ["END"], "stop_token_ids": [7], "include_stop_str_in_output": true, "ignore_eos": true,
        "skip_special_tokens": false, "truncate_prompt_tokens": -1, "logprobs": 0, "max_tokens": 9,
        "cache_salt": "salt",
    });
    assert_eq!(body, wanted);
}

#[test]
fn dialects_differ_in_words() {
    let mut asked = chat(vec![hello()]);
    asked.params.max_tokens = NonZeroU32::new(9);
    asked.params.logprobs = Some(TopLogprobs::try_from(2).expect("in range"));
    let body = written(&asked, Dialect::OpenAi).expect("it is known");
    assert_eq!((&body["max_completion_tokens"], body.get("max_tokens")), (&json!(9), None));
    assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(2)));
    asked.params.penalties = Penalties::new(1.5, 0.0, 0.0).expect("in range");
    asked.params.given.seed = Some(Seed(u64::MAX));
    let body = written(&asked, Dialect::LlamaCpp).expect("it is known");
    assert_eq!((&body["max_tokens"], &body["repeat_penalty"]), (&json!(9), &json!(1.5)));
    let seed = body["seed"].as_u64().expect("a number");
    assert!(seed < u64::from(u32::MAX), "the highest value means none there");
}

#[test]
fn what_a_server_would_leave_out_is_refused_by_name() {
    let plain = || chat(vec![hello()]);
    let with = |change: &dyn Fn(&mut GenerateRequest)| {
        let mut asked = plain();
        change(&mut asked);
        asked
    };
    let several = with(&|asked| asked.params.n = NonZeroU32::new(2).expect("not zero"));
    assert_eq!(refused(&several, Dialect::LlamaCpp), Some("n"));
    let scored = with(&|asked| asked.params.prompt_logprobs = Some(TopLogprobs::NONE));
    for dialect in Dialect::ALL {
        assert_eq!(refused(&scored, dialect), Some("prompt_logprobs"));
    }
    let thinking = with(&|asked| asked.reasoning_effort = Some(ReasoningEffort::Low));
    assert_eq!(refused(&thinking, Dialect::LlamaCpp), Some("reasoning_effort"));
    let cut = with(&|asked| asked.params.given.top_k = NonZeroU32::new(3));
    assert_eq!(refused(&cut, Dialect::OpenAi), Some("top_k"));
    assert!(written(&cut, Dialect::LlamaCpp).is_ok());
    let salted = with(&|asked| asked.cache_salt = Some(CacheSalt::new("salt")));
    assert_eq!(refused(&salted, Dialect::LlamaCpp), Some("cache_salt"));
    let end = ChatEnd::OpenLastMessage;
    let open = request(Prompt::Chat(ChatPrompt { end, ..ChatPrompt::new(vec![hello()]) }));
    assert_eq!(refused(&open, Dialect::OpenAi), Some("continue_final_message"));
    let body = written(&open, Dialect::Vllm).expect("it is known");
    assert_eq!(
        (&body["continue_final_message"], &body["add_generation_prompt"]),
        (&json!(true), &json!(false))
    );
}
