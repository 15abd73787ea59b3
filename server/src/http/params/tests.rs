//! Ranges, limits and defaults.

use spillway_api::openai::{PromptInput, StreamOptions};
use spillway_types::{GivenSampling, Sampling, Seed};

use super::*;

const DEFAULTS: SamplingDefaults =
    SamplingDefaults { temperature: 0.6, top_p: 0.9, top_k: NonZeroU32::new(50), min_p: 0.0 };

fn check(fields: GenerationRequest) -> Result<GenerationParams, RequestError> {
    GenerationParams::check(fields, &OwnFields::default(), &DEFAULTS)
}

fn refused(fields: GenerationRequest) -> String {
    check(fields).expect_err("out of range").to_string()
}

#[test]
fn absent_fields_take_the_models_defaults() {
    let params = check(GenerationRequest::default()).expect("nothing is asked for");
    assert_eq!(Ok(params.sampling.sampling), Sampling::new(0.6, NonZeroU32::new(50), 0.9, 0.0));
    assert_eq!((params.n.get(), params.sampling.max_tokens, params.seed), (1, None, None));
    assert_eq!((params.priority, params.delivery), (Priority::Normal, Delivery::Whole));
    assert_eq!(params.sampling.given, GivenSampling::default(), "defaults are not the client's word");
}

#[test]
fn given_fields_replace_the_models_defaults() {
    let fields = GenerationRequest {
        temperature: Some(1.5),
        top_p: Some(1.0),
        top_k: Some(-1),
        min_p: Some(0.1),
        seed: Some(-1),
        priority: Some(RequestPriority::Name("high".to_owned())),
        ..GenerationRequest::default()
    };
    let params = check(fields).expect("all in range");
    assert_eq!(Ok(params.sampling.sampling), Sampling::new(1.5, None, 1.0, 0.1));
    assert_eq!((params.seed, params.priority), (Some(u64::MAX), Priority::High));
    let given = params.sampling.given;
    assert_eq!((given.temperature, given.top_p, given.min_p), (Some(1.5), Some(1.0), Some(0.1)));
    assert_eq!((given.top_k, given.seed), (None, Some(Seed(u64::MAX))));
}

#[test]
fn the_lower_number_of_a_priority_goes_first() {
    for (number, expected) in [
        (-7, Priority::High),
        (-1, Priority::High),
        (0, Priority::Normal),
        (1, Priority::Low),
        (7, Priority::Low),
    ] {
        let priority = Some(RequestPriority::Number(number));
        let params = check(GenerationRequest { priority, ..GenerationRequest::default() });
        assert_eq!(params.expect("any number will do").priority, expected, "{number}");
    }
}

#[test]
fn out_of_range_values_say_value_and_limit() {
    let fields = GenerationRequest::default;
    let long = "x".repeat(1025);
    for (fields, expected) in [
        (GenerationRequest { n: Some(0), ..fields() }, "`n` is 0, must be from 1 to 128"),
        (GenerationRequest { n: Some(129), ..fields() }, "`n` is 129, must be from 1 to 128"),
        (
            GenerationRequest { temperature: Some(2.5), ..fields() },
            "`temperature` is 2.5, must be from 0 to 2",
        ),
        (GenerationRequest { top_k: Some(-2), ..fields() }, "`top_k` is -2, must be from -1 to 4294967295"),
        (
            GenerationRequest { stop: Some(Stop::Many(vec!["a".to_owned(); 17])), ..fields() },
            "`stop` has 17 strings, limit 16",
        ),
        (
            GenerationRequest { stop: Some(Stop::One(String::new())), ..fields() },
            "`stop` has a string of 0 bytes, must be from 1 to 1024",
        ),
        (
            GenerationRequest { stop: Some(Stop::One(long)), ..fields() },
            "`stop` has a string of 1025 bytes, must be from 1 to 1024",
        ),
        (
            GenerationRequest { cache_salt: Some(String::new()), ..fields() },
            "`cache_salt` has 0 bytes, must be from 1 to 256",
        ),
        (
            GenerationRequest { stream_options: Some(StreamOptions::default()), ..fields() },
            "`stream_options` is only for streams: set `stream` to true or leave it out",
        ),
    ] {
        assert_eq!(refused(fields), expected);
    }
}

#[test]
fn a_stream_holds_its_usage_only_if_asked() {
    let fields = |include_usage| GenerationRequest {
        stream: Some(true),
        stream_options: Some(StreamOptions { include_usage }),
        ..GenerationRequest::default()
    };
    for (asked, usage) in [
        (Some(true), StreamUsage::Include),
        (Some(false), StreamUsage::LeaveOut),
        (None, StreamUsage::LeaveOut),
    ] {
        let params = check(fields(asked)).expect("in range");
        assert_eq!(params.delivery, Delivery::Stream { usage });
    }
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
