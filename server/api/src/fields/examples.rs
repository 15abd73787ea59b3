//! Requests that use each honoured field of the generating endpoints, rightly and wrongly.
//!
//! Tests send all of them, and the soak mixes the right ones.

use super::Object::{self, Chat, Completions};

/// How a field is used. Fragments are JSON objects whose members are added to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The field.
    pub name: &'static str,
    /// The endpoints where this holds.
    pub objects: &'static [Object],
    /// Fragments that are served.
    pub right: &'static [&'static str],
    /// Fragments that are refused, each with what the message says of value or limit.
    pub wrong: &'static [(&'static str, &'static str)],
}

const GENERATE: &[Object] = &[Chat, Completions];

const fn of(
    name: &'static str,
    objects: &'static [Object],
    right: &'static [&'static str],
    wrong: &'static [(&'static str, &'static str)],
) -> Example {
    Example { name, objects, right, wrong }
}

/// One entry for each honoured field of a generating endpoint, but for those that say what to go on from.
pub const EXAMPLES: &[Example] = &[
    of(
        "temperature",
        GENERATE,
        &[r#"{"temperature": 0}"#, r#"{"temperature": 1.3}"#],
        &[(r#"{"temperature": 2.5}"#, "2.5, must be from 0 to 2")],
    ),
    of("top_p", GENERATE, &[r#"{"top_p": 0.8}"#], &[(r#"{"top_p": 0}"#, "0, must be above 0")]),
    of(
        "top_k",
        GENERATE,
        &[r#"{"top_k": 20}"#, r#"{"top_k": -1}"#],
        &[(r#"{"top_k": -2}"#, "-2, must be from -1")],
    ),
    of("min_p", GENERATE, &[r#"{"min_p": 0.05}"#], &[(r#"{"min_p": 1.5}"#, "1.5, must be from 0 to 1")]),
    of("seed", GENERATE, &[r#"{"seed": 7}"#], &[(r#"{"seed": 1.5}"#, "1.5")]),
    of(
        "frequency_penalty",
        GENERATE,
        &[r#"{"frequency_penalty": 0.5}"#, r#"{"frequency_penalty": -0.5}"#],
        &[(r#"{"frequency_penalty": 2.5}"#, "2.5, must be from -2 to 2")],
    ),
    of(
        "presence_penalty",
        GENERATE,
        &[r#"{"presence_penalty": 1.5}"#],
        &[(r#"{"presence_penalty": -3}"#, "-3, must be from -2 to 2")],
    ),
    of(
        "repetition_penalty",
        GENERATE,
        &[r#"{"repetition_penalty": 1.2}"#],
        &[(r#"{"repetition_penalty": 0}"#, "0, must be from 0.01 to 100")],
    ),
    of(
        "logit_bias",
        GENERATE,
        &[r#"{"logit_bias": {"5": -100, "9": 2.5}}"#],
        &[
            (r#"{"logit_bias": {"5": 101}}"#, "101, must be from -100 to 100"),
            (r#"{"logit_bias": {"the": 1}}"#, "\"the\", must be a token id"),
        ],
    ),
    of(
        "bad_words",
        GENERATE,
        &[r#"{"bad_words": ["river", "the village"]}"#],
        &[(r#"{"bad_words": [""]}"#, "0 bytes, must be from 1 to 256")],
    ),
    of(
        "allowed_token_ids",
        GENERATE,
        &[r#"{"allowed_token_ids": [5, 9, 30, 31, 32]}"#],
        &[(r#"{"allowed_token_ids": []}"#, "0 ids, must have at least 1")],
    ),
    of(
        "min_tokens",
        GENERATE,
        &[r#"{"min_tokens": 3, "max_tokens": 12}"#],
        &[(r#"{"min_tokens": 9, "max_tokens": 8}"#, "9, limit 8")],
    ),
    of(
        "max_tokens",
        GENERATE,
        &[r#"{"max_tokens": 9}"#],
        &[(r#"{"max_tokens": 0}"#, "0, must be at least 1")],
    ),
    of(
        "max_completion_tokens",
        &[Chat],
        &[r#"{"max_completion_tokens": 9}"#],
        &[(r#"{"max_completion_tokens": "all"}"#, "\"all\"")],
    ),
    of(
        "stop",
        GENERATE,
        &[r#"{"stop": "river"}"#, r#"{"stop": [".", "\n\n"]}"#],
        &[(r#"{"stop": ""}"#, "0 bytes, must be from 1 to 1024")],
    ),
    of(
        "stop_token_ids",
        GENERATE,
        &[r#"{"stop_token_ids": [30, 31]}"#],
        &[(r#"{"stop_token_ids": [-1]}"#, "-1")],
    ),
    of(
        "include_stop_str_in_output",
        GENERATE,
        &[r#"{"include_stop_str_in_output": true, "stop": " a"}"#],
        &[(r#"{"include_stop_str_in_output": "yes"}"#, "\"yes\"")],
    ),
    of("ignore_eos", GENERATE, &[r#"{"ignore_eos": true}"#], &[(r#"{"ignore_eos": 1}"#, "`1`")]),
    of(
        "skip_special_tokens",
        GENERATE,
        &[r#"{"skip_special_tokens": false}"#],
        &[(r#"{"skip_special_tokens": "no"}"#, "\"no\"")],
    ),
    of(
        "spaces_between_special_tokens",
        GENERATE,
        &[r#"{"spaces_between_special_tokens": false}"#],
        &[(r#"{"spaces_between_special_tokens": 2}"#, "`2`")],
    ),
    of(
        "logprobs",
        &[Chat],
        &[r#"{"logprobs": true}"#, r#"{"logprobs": true, "top_logprobs": 5}"#],
        &[(r#"{"logprobs": 3}"#, "`3`")],
    ),
    of(
        "logprobs",
        &[Completions],
        &[r#"{"logprobs": 0}"#, r#"{"logprobs": 5}"#],
        &[(r#"{"logprobs": 21}"#, "21, must be from 0 to 20")],
    ),
    of(
        "top_logprobs",
        &[Chat],
        &[r#"{"logprobs": true, "top_logprobs": 2}"#],
        &[
            (r#"{"logprobs": true, "top_logprobs": 21}"#, "21, must be from 0 to 20"),
            (r#"{"top_logprobs": 2}"#, "2, but `logprobs` is not true"),
        ],
    ),
    of(
        "prompt_logprobs",
        GENERATE,
        &[r#"{"prompt_logprobs": 1, "stream": false, "stream_options": null}"#],
        &[
            (r#"{"prompt_logprobs": 21}"#, "21, must be from 0 to 20"),
            (r#"{"prompt_logprobs": 1, "stream": true}"#, "not for streams"),
        ],
    ),
    of(
        "return_tokens_as_token_ids",
        GENERATE,
        &[r#"{"return_tokens_as_token_ids": true}"#],
        &[(r#"{"return_tokens_as_token_ids": "ids"}"#, "\"ids\"")],
    ),
    of("echo", GENERATE, &[r#"{"echo": true}"#], &[(r#"{"echo": "twice"}"#, "\"twice\"")]),
    of("n", GENERATE, &[r#"{"n": 2}"#], &[(r#"{"n": 0}"#, "0, must be from 1 to 128")]),
    of(
        "best_of",
        &[Completions],
        &[r#"{"best_of": 3, "n": 2, "stream": false, "stream_options": null}"#],
        &[
            (r#"{"best_of": 1, "n": 2}"#, "1 and `n` is 2"),
            (r#"{"best_of": 2, "stream": true}"#, "2, limit 1"),
        ],
    ),
    of("stream", GENERATE, &[r#"{"stream": true}"#], &[(r#"{"stream": "yes"}"#, "\"yes\"")]),
    of(
        "stream_options",
        GENERATE,
        &[r#"{"stream": true, "stream_options": {"include_usage": true}}"#],
        &[(r#"{"stream_options": {}}"#, "only for streams")],
    ),
    of(
        "cache_salt",
        GENERATE,
        &[r#"{"cache_salt": "ann"}"#],
        &[(r#"{"cache_salt": ""}"#, "0 bytes, must be from 1 to 256")],
    ),
    of(
        "priority",
        GENERATE,
        &[r#"{"priority": -1}"#, r#"{"priority": "low"}"#],
        &[(r#"{"priority": "urgent"}"#, "\"urgent\", must be an integer")],
    ),
    of("user", GENERATE, &[r#"{"user": "ann"}"#], &[(r#"{"user": 7}"#, "`7`")]),
    of(
        "truncate_prompt_tokens",
        GENERATE,
        &[r#"{"truncate_prompt_tokens": 3}"#, r#"{"truncate_prompt_tokens": -1}"#],
        &[(r#"{"truncate_prompt_tokens": 0}"#, "0, must be from 1")],
    ),
    of(
        "add_generation_prompt",
        &[Chat],
        &[r#"{"add_generation_prompt": false}"#],
        &[(r#"{"add_generation_prompt": "no"}"#, "\"no\"")],
    ),
    of(
        "continue_final_message",
        &[Chat],
        &[r#"{"continue_final_message": true, "add_generation_prompt": false}"#],
        &[(r#"{"continue_final_message": true, "add_generation_prompt": true}"#, "exclude each other")],
    ),
    of(
        "chat_template_kwargs",
        &[Chat],
        &[r#"{"chat_template_kwargs": {"enable_thinking": false}}"#],
        &[
            (r#"{"chat_template_kwargs": {"messages": []}}"#, "`messages`, which is reserved"),
            (r#"{"chat_template_kwargs": 3}"#, "`3`"),
        ],
    ),
];

/// One entry for each field of a generating endpoint that only some backends honour.
pub const OFFERED_EXAMPLES: &[Example] = &[
    of(
        "tools",
        &[Chat],
        &[
            r#"{"tools": [{"type": "function", "function": {"name": "add"}}]}"#,
            r#"{"tools": [{"type": "function", "function": {"name": "add", "description": "Adds.", "strict": true,
                "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]}"#,
        ],
        &[
            (r#"{"tools": [{"type": "function", "function": {"name": "a b"}}]}"#, "\"a b\", must be 1 to 64"),
            (
                r#"{"tools": [{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "a"}}]}"#,
                "\"a\" twice",
            ),
            (
                r#"{"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]}"#,
                "\"string\", must be \"object\"",
            ),
            (r#"{"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]}"#, "a map"),
            (r#"{"tools": [{"type": "retrieval"}]}"#, "`retrieval`"),
        ],
    ),
    of(
        "tool_choice",
        &[Chat],
        &[
            r#"{"tools": [{"type": "function", "function": {"name": "add"}}], "tool_choice": "required"}"#,
            r#"{"tools": [{"type": "function", "function": {"name": "add"}}], "tool_choice": "none"}"#,
            r#"{"tools": [{"type": "function", "function": {"name": "add"}}],
                "tool_choice": {"type": "function", "function": {"name": "add"}}}"#,
        ],
        &[
            (r#"{"tool_choice": "required"}"#, "without `tools`"),
            (r#"{"tool_choice": "any"}"#, "must be \"none\""),
            (
                r#"{"tools": [{"type": "function", "function": {"name": "add"}}],
                    "tool_choice": {"type": "function", "function": {"name": "sub"}}}"#,
                "\"sub\", which is none of `tools`",
            ),
        ],
    ),
    of(
        "parallel_tool_calls",
        &[Chat],
        &[r#"{"tools": [{"type": "function", "function": {"name": "add"}}], "parallel_tool_calls": false}"#],
        &[(r#"{"parallel_tool_calls": false}"#, "without `tools`")],
    ),
    of(
        "response_format",
        &[Chat],
        &[
            r#"{"response_format": {"type": "json_object"}}"#,
            r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "sum", "strict": true,
                "schema": {"type": "object", "properties": {"sum": {"type": "number"}}}}}}"#,
        ],
        &[
            (r#"{"response_format": {"type": "xml"}}"#, "`xml`"),
            (r#"{"response_format": {"type": "json_schema"}}"#, "`response_format.json_schema` is missing"),
            (
                r#"{"response_format": {"type": "json_object", "json_schema": {"name": "a", "schema": {}}}}"#,
                "\"json_object\"",
            ),
            (
                r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "", "schema": {}}}}"#,
                "\"\", must be 1 to 64",
            ),
        ],
    ),
    of(
        "reasoning_effort",
        &[Chat],
        &[r#"{"reasoning_effort": "high"}"#, r#"{"reasoning_effort": "none"}"#],
        &[(r#"{"reasoning_effort": "utmost"}"#, "`utmost`")],
    ),
];

/// The examples of an endpoint that every backend honours.
pub fn examples(object: Object) -> impl Iterator<Item = &'static Example> {
    EXAMPLES.iter().filter(move |example| example.objects.contains(&object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{FIELDS, Support};

    /// What to go on from, and who answers; every request has these.
    const OTHERS: [&str; 3] = ["model", "messages", "prompt"];

    #[test]
    fn every_honoured_field_has_an_example_on_each_endpoint() {
        for (object, support, entries) in [
            (Chat, Support::Honoured, EXAMPLES),
            (Completions, Support::Honoured, EXAMPLES),
            (Chat, Support::WhereOffered, OFFERED_EXAMPLES),
            (Completions, Support::WhereOffered, OFFERED_EXAMPLES),
        ] {
            let honoured = FIELDS.iter().filter(|field| {
                field.support == support && field.objects.contains(&object) && !OTHERS.contains(&field.name)
            });
            let expected: Vec<_> = honoured.map(|field| field.name).collect();
            let mut examples = entries.iter().filter(|example| example.objects.contains(&object));
            for name in &expected {
                let example = examples.clone().find(|example| example.name == *name);
                let example = example.unwrap_or_else(|| panic!("`{name}` of {} has none", object.title()));
                assert!(!example.right.is_empty() && !example.wrong.is_empty(), "`{name}`");
            }
            let other = examples.find(|example| !expected.contains(&example.name));
            assert_eq!(other, None, "it is not honoured");
        }
    }
}
