//! The rows. Defaults are those of OpenAI's reference, and of vLLM's for the fields that it adds.

use super::Object::{Chat, Completions, Detokenize, Message, StreamOptions, Tokenize};
use super::{Field, Object, Support};

const GENERATE: &[Object] = &[Chat, Completions];
const WITH_TEXT: &[Object] = &[Chat, Completions, Tokenize];
const RENDERED: &[Object] = &[Chat, Tokenize];

const fn honoured(name: &'static str, objects: &'static [Object], note: &'static str) -> Field {
    Field { name, objects, support: Support::Honoured, not_asked: &[], note }
}

const fn where_offered(name: &'static str, objects: &'static [Object], note: &'static str) -> Field {
    Field { support: Support::WhereOffered, ..honoured(name, objects, note) }
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
    // Honoured: what is done to logits before a token is chosen.
    honoured(
        "frequency_penalty",
        GENERATE,
        "-2 to 2; taken off once for each time that a token was generated",
    ),
    honoured("presence_penalty", GENERATE, "-2 to 2; taken off once from tokens that were generated"),
    honoured(
        "repetition_penalty",
        GENERATE,
        "0.01 to 100; divides positive logits, multiplies negative ones, of tokens in prompt and answer",
    ),
    Field {
        not_asked: &["{}"],
        ..honoured("logit_bias", GENERATE, "object of token ids to numbers from -100 to 100; at most 1024")
    },
    Field {
        not_asked: &["[]"],
        ..honoured("bad_words", GENERATE, "at most 128 strings of 1 to 256 bytes; never generated")
    },
    honoured("allowed_token_ids", GENERATE, "list of the only token ids that may be generated"),
    // Honoured: when to stop, and how many answers.
    honoured(
        "min_tokens",
        GENERATE,
        "at most `max_tokens`; until then no end token, stop token or stop string ends the answer",
    ),
    honoured("max_tokens", &[Chat], "at least 1; the rest of the context if absent"),
    honoured(
        "max_tokens",
        &[Completions],
        "at least 1; 16 if absent; 0 with `echo` to score the prompt only",
    ),
    honoured(
        "max_completion_tokens",
        &[Chat],
        "as `max_tokens`, which it replaces; not both with different values",
    ),
    honoured(
        "stop",
        GENERATE,
        "string or list of at most 16 strings of 1 to 1024 bytes; not part of the answer",
    ),
    Field {
        not_asked: &["false"],
        ..honoured("ignore_eos", GENERATE, "go on when the model says that it is done")
    },
    honoured(
        "stop_token_ids",
        GENERATE,
        "at most 128 token ids that end the answer; `stop_reason` tells which",
    ),
    Field {
        not_asked: &["false"],
        ..honoured("include_stop_str_in_output", GENERATE, "the stop string or token is part of the answer")
    },
    honoured("n", GENERATE, "1 to 128; at most 1024 choices of all prompts together"),
    honoured(
        "best_of",
        &[Completions],
        "`n` to 128; generates as many and answers the `n` of the highest log-probability per token; not in a stream",
    ),
    // Honoured: what is told of tokens, under the model's own logits.
    Field { not_asked: &["false"], ..honoured("logprobs", &[Chat], "each token with its log-probability") },
    honoured(
        "logprobs",
        &[Completions],
        "0 to 20; each token with its log-probability and so many alternatives",
    ),
    Field {
        not_asked: &["0"],
        ..honoured("top_logprobs", &[Chat], "0 to 20; with `logprobs` only; alternatives for each token")
    },
    honoured(
        "prompt_logprobs",
        GENERATE,
        "0 to 20; the prompt's tokens with so many alternatives; not in a stream; computes the prompt whole",
    ),
    Field {
        not_asked: &["false"],
        ..honoured("return_tokens_as_token_ids", GENERATE, "log-probabilities name tokens as `token_id:7`")
    },
    Field {
        not_asked: &["false"],
        ..honoured("echo", &[Chat], "the answer begins with the last message, if that is the assistant's")
    },
    Field {
        not_asked: &["false"],
        ..honoured(
            "echo",
            &[Completions],
            "the answer begins with the prompt; with `logprobs` its tokens are scored, and it is computed whole",
        )
    },
    // Honoured: how the answer comes.
    Field {
        not_asked: &["true"],
        ..honoured("skip_special_tokens", GENERATE, "`false` shows special tokens in the text")
    },
    Field {
        not_asked: &["true"],
        ..honoured(
            "spaces_between_special_tokens",
            GENERATE,
            "either value; the tokenizers here put no spaces between special tokens",
        )
    },
    honoured("stream", GENERATE, "server-sent events"),
    honoured("stream_options", GENERATE, "with `stream` only"),
    honoured("include_usage", &[StreamOptions], "a last chunk holds the usage"),
    // Honoured: place in the queue and in the prefix cache.
    honoured("cache_salt", GENERATE, "1 to 256 bytes; only requests of the same salt share cached prefixes"),
    Field {
        not_asked: &["0"],
        ..honoured(
            "priority",
            GENERATE,
            "integer, the lower the sooner: below 0 is the class `high`, 0 `normal`, above 0 `low`; or the class",
        )
    },
    honoured(
        "user",
        GENERATE,
        "string of at most 256 bytes; the session, if the header `x-spillway-session` names none; in the log at level debug",
    ),
    // Honoured: how the prompt is made.
    honoured(
        "truncate_prompt_tokens",
        GENERATE,
        "keeps so many of the prompt's last tokens; -1 keeps as many as leave room for `max_tokens`",
    ),
    honoured(
        "add_generation_prompt",
        &[Chat],
        "true if absent; `false` ends the prompt with the last message",
    ),
    Field {
        not_asked: &["false"],
        ..honoured(
            "continue_final_message",
            &[Chat],
            "the model goes on with the last message; not together with `add_generation_prompt`",
        )
    },
    Field {
        not_asked: &["{}"],
        ..honoured("chat_template_kwargs", &[Chat], "object of further variables for the chat template")
    },
    refused("add_generation_prompt", &[Tokenize], &["true"]),
    refused("continue_final_message", &[Tokenize], &["false"]),
    refused("chat_template_kwargs", &[Tokenize], &["{}"]),
    // Honoured by backends that can: calls, formats, thinking.
    Field {
        not_asked: &["[]"],
        ..where_offered(
            "tools",
            &[Chat],
            "at most 128 of type `function`, with names of 1 to 64 of `a-z A-Z 0-9 _ -`, each its own",
        )
    },
    Field {
        not_asked: &["\"auto\""],
        ..where_offered(
            "tool_choice",
            &[Chat],
            "`none`, `auto`, `required`, or one of `tools` by its name; all but `none` with `tools` only",
        )
    },
    Field {
        not_asked: &["true"],
        ..where_offered(
            "parallel_tool_calls",
            &[Chat],
            "`false` allows one call an answer; with `tools` only",
        )
    },
    Field {
        not_asked: &[r#"{"type":"text"}"#],
        ..where_offered(
            "response_format",
            &[Chat],
            "of type `json_object`, or `json_schema` with a `name` of 1 to 64 of `a-z A-Z 0-9 _ -` and a `schema`",
        )
    },
    where_offered("reasoning_effort", &[Chat], "`none`, `minimal`, `low`, `medium` or `high`"),
    // Honoured: parts of a message.
    honoured("role", &[Message], "`system`, `developer`, `user`, `assistant` or `tool`"),
    honoured(
        "content",
        &[Message],
        "string or list of parts: of type `text`, which are joined by line feeds; where the backend can, a user's also of \
         type `image_url`, at most 100 in all: data URLs in base64 of PNG, JPEG, GIF or WebP, at most 8 MiB each, with \
         `detail` of `auto`",
    ),
    honoured("name", &[Message], "shown to the model if its chat template shows names"),
    Field {
        not_asked: &["[]"],
        ..honoured(
            "tool_calls",
            &[Message],
            "of an assistant: calls of type `function`, shown by the chat template",
        )
    },
    honoured("tool_call_id", &[Message], "of a tool, which must have it: the call above that it answers"),
    Field {
        not_asked: &["\"\""],
        ..honoured(
            "reasoning_content",
            &[Message],
            "of an assistant: what it thought, for chat templates and providers that take it",
        )
    },
    Field {
        not_asked: &["[]"],
        ..honoured(
            "thinking_blocks",
            &[Message],
            "of an assistant: the same as it was answered, with the provider's signatures; `reasoning_content` may stand \
             beside it with the same words",
        )
    },
    // OpenAI's, not offered.
    refused("audio", &[Chat, Message], &[]),
    refused("suffix", &[Completions], &["\"\""]),
    refused("safety_identifier", &[Chat], &[]),
    refused("metadata", &[Chat], &["{}"]),
    refused("modalities", &[Chat], &[r#"["text"]"#]),
    refused("prediction", &[Chat], &[]),
    refused("prompt_cache_key", &[Chat], &[]),
    refused("prompt_cache_retention", &[Chat], &[]),
    refused("response_format", &[Completions], &[r#"{"type":"text"}"#]),
    refused("service_tier", &[Chat], &["\"auto\"", "\"default\""]),
    refused("store", &[Chat], &["false"]),
    refused("tools", &[Tokenize], &["[]"]),
    refused("functions", &[Chat], &["[]"]),
    refused("function_call", &[Chat], &["\"none\"", "\"auto\""]),
    refused("verbosity", &[Chat], &["\"medium\""]),
    refused("web_search_options", &[Chat], &[]),
    refused("include_obfuscation", &[StreamOptions], &["false"]),
    // OpenAI's, in messages: clients send back what an assistant's message held.
    refused("function_call", &[Message], &[]),
    refused("refusal", &[Message], &[]),
    refused("annotations", &[Message], &["[]"]),
    // vLLM's, not offered.
    refused("continuous_usage_stats", &[StreamOptions], &["false"]),
    refused("length_penalty", GENERATE, &["1"]),
    refused("use_beam_search", GENERATE, &["false"]),
    refused("add_special_tokens", &[Chat], &["false"]),
    refused("add_special_tokens", &[Completions], &["true"]),
    refused("add_special_tokens", &[Tokenize], &["true"]),
    refused("chat_template", RENDERED, &[]),
    refused("documents", &[Chat], &["[]"]),
    refused("structured_outputs", GENERATE, &[]),
    refused("return_token_ids", GENERATE, &["false"]),
    refused("return_token_strs", &[Tokenize], &["false"]),
    refused("request_id", WITH_TEXT, &[]),
];
