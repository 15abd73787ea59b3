//! The rows. Defaults are those of OpenAI's reference, and of vLLM's for the fields that it adds.

use super::Object::{Chat, Completions, Detokenize, Message, StreamOptions, Tokenize};
use super::{Field, Object, Support};

const GENERATE: &[Object] = &[Chat, Completions];
const WITH_TEXT: &[Object] = &[Chat, Completions, Tokenize];
const RENDERED: &[Object] = &[Chat, Tokenize];

const fn honoured(name: &'static str, objects: &'static [Object], note: &'static str) -> Field {
    Field { name, objects, support: Support::Honoured, not_asked: &[], note }
}

const fn refused(
    name: &'static str,
    objects: &'static [Object],
    not_asked: &'static [&'static str],
) -> Field {
    Field { name, objects, support: Support::Refused, not_asked, note: "" }
}

/// Every known field.
pub const FIELDS: &[Field] = &[
    // Honoured: what to go on from, and who answers.
    honoured(
        "model",
        &[Chat, Completions, Tokenize, Detokenize],
        "served name; may be left out if one model is served",
    ),
    honoured("messages", RENDERED, "at least one, at most 2048"),
    honoured(
        "prompt",
        &[Completions],
        "string, list of strings, list of token ids, list of lists of token ids; at most 128 prompts",
    ),
    honoured("prompt", &[Tokenize], "string; either this or `messages`"),
    honoured("tokens", &[Detokenize], "list of token ids"),
    // Honoured: how tokens are chosen.
    honoured(
        "temperature",
        GENERATE,
        "0 to 2; default of the model's generation config, else 1; 0 is greedy",
    ),
    honoured("top_p", GENERATE, "above 0, at most 1; default of the model's generation config, else 1"),
    honoured("top_k", GENERATE, "0 or -1 is off; default of the model's generation config, else off"),
    honoured("min_p", GENERATE, "0 to 1; default of the model's generation config, else 0"),
    honoured("seed", GENERATE, "integer; random if absent"),
    // Honoured: when to stop, and how many answers.
    honoured("max_tokens", &[Chat], "at least 1; the rest of the context if absent"),
    honoured("max_tokens", &[Completions], "at least 1; 16 if absent"),
    honoured(
        "max_completion_tokens",
        &[Chat],
        "as `max_tokens`, which it replaces; not both with different values",
    ),
    honoured(
        "stop",
        GENERATE,
        "string or list of at most 16 strings of 1 to 1024 bytes; never part of the answer",
    ),
    Field {
        not_asked: &["false"],
        ..honoured("ignore_eos", GENERATE, "go on when the model says that it is done")
    },
    honoured("n", GENERATE, "1 to 128; at most 1024 choices of all prompts together"),
    // Honoured: how the answer comes.
    honoured("stream", GENERATE, "server-sent events"),
    honoured("stream_options", GENERATE, "with `stream` only"),
    honoured("include_usage", &[StreamOptions], "a last chunk holds the usage"),
    // Honoured: place in the queue and in the prefix cache.
    honoured("cache_salt", GENERATE, "1 to 256 bytes; only requests of the same salt share cached prefixes"),
    Field {
        not_asked: &["0"],
        ..honoured("priority", GENERATE, "`low`, `normal` or `high`; `normal` if absent")
    },
    // Honoured: parts of a message.
    honoured("role", &[Message], "`system`, `developer`, `user` or `assistant`"),
    honoured("content", &[Message], "string or list of parts of type `text`, which are joined by line feeds"),
    honoured("name", &[Message], "shown to the model if its chat template shows names"),
    // OpenAI's, not offered.
    refused("audio", &[Chat, Message], &[]),
    refused("frequency_penalty", GENERATE, &["0"]),
    refused("presence_penalty", GENERATE, &["0"]),
    refused("logit_bias", GENERATE, &["{}"]),
    refused("logprobs", &[Chat], &["false"]),
    refused("logprobs", &[Completions], &[]),
    refused("top_logprobs", &[Chat], &["0"]),
    refused("best_of", &[Completions], &["1"]),
    refused("echo", GENERATE, &["false"]),
    refused("suffix", &[Completions], &["\"\""]),
    refused("user", GENERATE, &[]),
    refused("safety_identifier", &[Chat], &[]),
    refused("metadata", &[Chat], &["{}"]),
    refused("modalities", &[Chat], &[r#"["text"]"#]),
    refused("prediction", &[Chat], &[]),
    refused("prompt_cache_key", &[Chat], &[]),
    refused("prompt_cache_retention", &[Chat], &[]),
    refused("reasoning_effort", &[Chat], &[]),
    refused("response_format", GENERATE, &[r#"{"type":"text"}"#]),
    refused("service_tier", &[Chat], &["\"auto\"", "\"default\""]),
    refused("store", &[Chat], &["false"]),
    refused("tools", RENDERED, &["[]"]),
    refused("tool_choice", &[Chat], &["\"none\"", "\"auto\""]),
    refused("parallel_tool_calls", &[Chat], &["true"]),
    refused("functions", &[Chat], &["[]"]),
    refused("function_call", &[Chat], &["\"none\"", "\"auto\""]),
    refused("verbosity", &[Chat], &["\"medium\""]),
    refused("web_search_options", &[Chat], &[]),
    refused("include_obfuscation", &[StreamOptions], &["false"]),
    // OpenAI's, in messages: clients send back what an assistant's message held.
    refused("tool_calls", &[Message], &["[]"]),
    refused("tool_call_id", &[Message], &[]),
    refused("function_call", &[Message], &[]),
    refused("refusal", &[Message], &[]),
    refused("annotations", &[Message], &["[]"]),
    // vLLM's, not offered.
    refused("continuous_usage_stats", &[StreamOptions], &["false"]),
    refused("repetition_penalty", GENERATE, &["1"]),
    refused("length_penalty", GENERATE, &["1"]),
    refused("use_beam_search", GENERATE, &["false"]),
    refused("min_tokens", GENERATE, &["0"]),
    refused("bad_words", GENERATE, &["[]"]),
    refused("allowed_token_ids", GENERATE, &[]),
    refused("stop_token_ids", GENERATE, &["[]"]),
    refused("include_stop_str_in_output", GENERATE, &["false"]),
    refused("skip_special_tokens", GENERATE, &["true"]),
    refused("spaces_between_special_tokens", GENERATE, &["true"]),
    refused("truncate_prompt_tokens", GENERATE, &[]),
    refused("prompt_logprobs", GENERATE, &[]),
    refused("add_special_tokens", &[Chat], &["false"]),
    refused("add_special_tokens", &[Completions], &["true"]),
    refused("add_special_tokens", &[Tokenize], &["true"]),
    refused("add_generation_prompt", RENDERED, &["true"]),
    refused("continue_final_message", RENDERED, &["false"]),
    refused("chat_template", RENDERED, &[]),
    refused("chat_template_kwargs", RENDERED, &["{}"]),
    refused("documents", &[Chat], &["[]"]),
    refused("structured_outputs", GENERATE, &[]),
    refused("return_tokens_as_token_ids", GENERATE, &["false"]),
    refused("return_token_ids", GENERATE, &["false"]),
    refused("return_token_strs", &[Tokenize], &["false"]),
    refused("request_id", WITH_TEXT, &[]),
    refused("reasoning_content", &[Message], &["\"\""]),
];
