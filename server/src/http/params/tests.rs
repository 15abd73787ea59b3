//! Ranges, limits and defaults.

use super::*;

const DEFAULTS: SamplingDefaults =
    SamplingDefaults { temperature: 0.6, top_p: 0.9, top_k: NonZeroU32::new(50), min_p: 0.0 };

fn refused(fields: GenerationFields) -> String {
    fields.check(&DEFAULTS).expect_err("out of range").to_string()
}

#[test]
fn absent_fields_take_the_models_defaults() {
    let params = GenerationFields::default().check(&DEFAULTS).expect("nothing is asked for");
    assert_eq!(Ok(params.sampling), Sampling::new(0.6, NonZeroU32::new(50), 0.9, 0.0));
    assert_eq!((params.n.get(), params.max_tokens, params.seed), (1, None, None));
    assert_eq!((params.priority, params.delivery), (Priority::Normal, Delivery::Whole));
}

#[test]
fn given_fields_replace_the_models_defaults() {
    let fields = GenerationFields {
        temperature: Some(1.5),
        top_p: Some(1.0),
        top_k: Some(-1),
        min_p: Some(0.1),
        seed: Some(-1),
        priority: Some(RequestPriority::High),
        ..GenerationFields::default()
    };
    let params = fields.check(&DEFAULTS).expect("all in range");
    assert_eq!(Ok(params.sampling), Sampling::new(1.5, None, 1.0, 0.1));
    assert_eq!((params.seed, params.priority), (Some(u64::MAX), Priority::High));
}

#[test]
fn out_of_range_values_say_value_and_limit() {
    let fields = GenerationFields::default;
    let long = "x".repeat(1025);
    for (fields, expected) in [
        (GenerationFields { n: Some(0), ..fields() }, "`n` is 0, must be from 1 to 128"),
        (GenerationFields { n: Some(129), ..fields() }, "`n` is 129, must be from 1 to 128"),
        (GenerationFields { max_tokens: Some(0), ..fields() }, "`max_tokens` is 0, must be at least 1"),
        (
            GenerationFields { temperature: Some(2.5), ..fields() },
            "`temperature` is 2.5, must be from 0 to 2",
        ),
        (GenerationFields { top_k: Some(-2), ..fields() }, "`top_k` is -2, must be from -1 to 4294967295"),
        (
            GenerationFields { stop: Some(Stop::Many(vec!["a".to_owned(); 17])), ..fields() },
            "`stop` has 17 strings, limit 16",
        ),
        (
            GenerationFields { stop: Some(Stop::One(String::new())), ..fields() },
            "`stop` has a string of 0 bytes, must be from 1 to 1024",
        ),
        (
            GenerationFields { stop: Some(Stop::One(long)), ..fields() },
            "`stop` has a string of 1025 bytes, must be from 1 to 1024",
        ),
        (
            GenerationFields { cache_salt: Some(String::new()), ..fields() },
            "`cache_salt` has 0 bytes, must be from 1 to 256",
        ),
        (
            GenerationFields { stream_options: Some(StreamOptions::default()), ..fields() },
            "`stream_options` is only for streams: set `stream` to true or leave it out",
        ),
    ] {
        assert_eq!(refused(fields), expected);
    }
}

#[test]
fn a_stream_holds_its_usage_only_if_asked() {
    let fields = |include_usage| GenerationFields {
        stream: Some(true),
        stream_options: Some(StreamOptions { include_usage }),
        ..GenerationFields::default()
    };
    for (asked, usage) in [
        (Some(true), StreamUsage::Include),
        (Some(false), StreamUsage::LeaveOut),
        (None, StreamUsage::LeaveOut),
    ] {
        let params = fields(asked).check(&DEFAULTS).expect("in range");
        assert_eq!(params.delivery, Delivery::Stream { usage });
    }
}

#[test]
fn text_parts_are_joined_by_line_feeds() {
    let part = |text: &str| ContentPart::Text { text: text.to_owned() };
    let message =
        Message { role: MessageRole::User, content: Content::Parts(vec![part("a"), part("b")]), name: None };
    assert_eq!(chat_prompt(vec![message]), Ok(Prompt::Chat(vec![ChatMessage::new(Role::User, "a\nb")])));
    assert!(chat_prompt(Vec::new()).is_err());
}

#[test]
fn prompts_come_one_or_several_and_within_limits() {
    let prompts = |input, n| completion_prompts(input, NonZeroU32::new(n).expect("not zero"));
    assert_eq!(prompts(PromptInput::Tokens(vec![1, 2]), 1).map(|all| all.len()), Ok(1));
    assert_eq!(prompts(PromptInput::Texts(vec![String::new(); 3]), 1).map(|all| all.len()), Ok(3));
    assert!(prompts(PromptInput::Tokens(Vec::new()), 1).is_err());
    assert!(prompts(PromptInput::Texts(vec![String::new(); 129]), 1).is_err());
    let error = prompts(PromptInput::TokenLists(vec![vec![1]; 9]), 128).expect_err("too many choices");
    assert_eq!(error.to_string(), "9 prompts with `n` of 128 make 1152 choices, limit 1024");
}
