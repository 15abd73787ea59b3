//! What Bedrock cannot honour is refused by name, and nothing is sent.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use spillway_router::{Backend, BackendError, ErrorClass};
use spillway_types::{
    ChatEnd, ChatMessage, GenerateRequest, Image, ImageFormat, JsonText, Penalties, PlacedImage, Prompt,
    ReasoningEffort, Role, Seed, Tool, ToolChoice, ToolUse, TopLogprobs, Truncation,
};

use super::canned::{Canned, backend, chat, prompt_of, target, user};
use crate::bedrock::BedrockConfig;

const CLAUDE: &str = "eu.anthropic.claude-haiku-4-5-20251001-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";

/// Asks for something.
type Change = dyn Fn(&mut GenerateRequest);

#[tokio::test]
async fn fields_without_a_place_in_converse_are_refused_by_name() {
    let changes: [(&str, &str, &Change); 18] = [
        (CLAUDE, "n", &|request| request.params.n = NonZeroU32::new(2).expect("2")),
        (CLAUDE, "logprobs", &|request| request.params.logprobs = Some(TopLogprobs::NONE)),
        (CLAUDE, "frequency_penalty", &|request| {
            request.params.penalties = Penalties::new(1.0, 0.5, 0.0).expect("they are in range");
        }),
        (CLAUDE, "bad_words", &|request| request.params.constraints.bad_words = vec!["no".to_owned()]),
        (CLAUDE, "seed", &|request| request.params.given.seed = Some(Seed(1))),
        (CLAUDE, "min_p", &|request| request.params.given.min_p = Some(0.1)),
        (CLAUDE, "min_tokens", &|request| request.params.min_tokens = 1),
        (CLAUDE, "include_stop_str_in_output", &|request| request.params.include_stop = true),
        (CLAUDE, "ignore_eos", &|request| request.params.ignore_eos = true),
        (CLAUDE, "truncate_prompt_tokens", &|request| request.truncation = Some(Truncation::ToFit)),
        (CLAUDE, "prompt", &|request| request.prompt = Prompt::Text("Once".to_owned())),
        (CLAUDE, "continue_final_message", &|request| prompt_of(request).end = ChatEnd::OpenLastMessage),
        (CLAUDE, "chat_template_kwargs", &|request| {
            prompt_of(request).arguments = Some(JsonText::from_valid("{}"));
        }),
        (LLAMA, "top_k", &|request| request.params.given.top_k = NonZeroU32::new(5)),
        (LLAMA, "tool_choice", &|request| {
            prompt_of(request).tools = Some(tools(ToolChoice::Required, false));
        }),
        (LLAMA, "tools", &|request| prompt_of(request).tools = Some(tools(ToolChoice::Auto, true))),
        (LLAMA, "reasoning_effort", &|request| request.reasoning_effort = Some(ReasoningEffort::Low)),
        (CLAUDE, "temperature", &|request| {
            request.reasoning_effort = Some(ReasoningEffort::Low);
            request.params.given.temperature = Some(0.0);
        }),
    ];
    for (model, param, change) in changes {
        let mut request = chat(vec![user("Hi")]);
        change(&mut request);
        assert_eq!(refused(target(model), request).await, param);
    }
}

#[tokio::test]
async fn conversations_that_bedrock_would_misread_are_refused() {
    let pictures = |num_images: usize| ChatMessage {
        images: (0..num_images)
            .map(|_| PlacedImage {
                offset: 0,
                image: Image { format: ImageFormat::Png, bytes: vec![0].into() },
            })
            .collect(),
        ..user("Look")
    };
    let wrong_arguments = ChatMessage {
        tool_calls: Some(JsonText::from_valid(
            r#"[{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]"#,
        )),
        ..ChatMessage::new(Role::Assistant, "")
    };
    for messages in [
        vec![ChatMessage::new(Role::System, "Only a system text")],
        vec![user(" \n")],
        vec![user("Hi"), ChatMessage::new(Role::Assistant, "Hello")],
        vec![pictures(21)],
        vec![pictures(11), pictures(10)],
        vec![user("Hi"), wrong_arguments, user("Go on")],
        vec![user("Hi"), ChatMessage::new(Role::Tool, "42"), user("Go on")],
    ] {
        assert_eq!(refused(target(CLAUDE), chat(messages)).await, "messages");
    }
}

#[tokio::test]
async fn a_call_that_would_be_throttled_is_not_even_sent() {
    let config = BedrockConfig { tokens_per_minute: NonZeroU64::new(3000), ..target(CLAUDE) };
    let connection = Canned::new(Vec::new());
    let backend = backend(config, &connection).await;
    for _ in 0..2 {
        assert!(backend.generate(chat(vec![user("Hi")])).await.is_ok());
    }
    match backend.generate(chat(vec![user("Hi")])).await.err() {
        Some(BackendError::Upstream(error)) => {
            assert_eq!(
                (error.class, error.code.as_str()),
                (ErrorClass::NoRoomCounted, "quota_reserved_here")
            );
            assert!(error.retry_after.is_some_and(|wait| wait > Duration::from_secs(30)));
        }
        other => panic!("it is throttled here, not {other:?}"),
    }
    assert_eq!(connection.sent().len(), 2);
}

fn tools(choice: ToolChoice, strict: bool) -> ToolUse {
    let tool = Tool { name: "now".to_owned(), description: None, parameters: None, strict };
    ToolUse { tools: vec![tool], choice, parallel: true }
}

/// The field for which a request is refused, after nothing was sent.
async fn refused(config: BedrockConfig, request: GenerateRequest) -> &'static str {
    let connection = Canned::new(Vec::new());
    let backend = backend(config, &connection).await;
    let error = backend.generate(request).await.err();
    assert!(connection.sent().is_empty(), "it was sent");
    match error {
        Some(BackendError::InvalidRequest { param: Some(param), .. }) => param,
        other => panic!("it is refused by name, not {other:?}"),
    }
}
