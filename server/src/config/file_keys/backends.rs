//! What the keys of `[[backends]]` mean.

use super::{Key, Section, key, valued};
use crate::config::{TimeSpan, Timeouts};

/// Those of every type.
pub(super) fn common(timeouts: &Timeouts) -> Section {
    let span = |span| TimeSpan::from(span);
    let keys: Vec<Key> = vec![
        key("name", "needed", "Its name in routes, headers, logs and metrics"),
        key(
            "type",
            "needed",
            "`local`, the engine of this process, which has no keys but these three; `bedrock`; `openai`, a server that speaks OpenAI's protocol: another Spillway, vLLM, llama.cpp",
        ),
        key(
            "boundary",
            "`inside` for local, `outside` for bedrock, else needed",
            "Whether it computes among your own machines. Private requests never reach what is `outside`",
        ),
        key(
            "model",
            "needed",
            "The model's name there; for bedrock a base id, the id of an inference profile, or an ARN",
        ),
        key("context_tokens", "not checked", "Most tokens of prompt and answer together"),
        key("max_output_tokens", "not checked", "Most tokens of an answer"),
        key(
            "price",
            "that of the price table; free if inside",
            "Dollars a million tokens; see below. Outside, and with no price: the server does not start",
        ),
        key(
            "tokens_per_minute",
            "not counted",
            "Tokens a minute that the provider lets through; what would exceed them goes elsewhere",
        ),
        key(
            "features",
            "",
            "What it can do beyond what its type and model are known for: `chat`, `completion`, `token_prompt`, `tools`, `images`, `json_object`, `json_schema`, `logprobs`, `prompt_logprobs`, `seed`, `penalties`, `token_rules`, `several_choices`, `reasoning_effort`, `continued_message`",
        ),
        key("features_off", "", "What it cannot do, or is not to be asked for"),
        valued("streaming", &true, "Whether it is asked for streams"),
        valued("connect_timeout", &span(timeouts.connect), "Time to connect"),
        valued(
            "first_token_timeout",
            &span(timeouts.first_token),
            "Time from the request to its first token",
        ),
        valued("idle_timeout", &span(timeouts.idle), "Time between two pieces of an answer"),
        valued(
            "total_timeout",
            &span(timeouts.total),
            "Time from the request to its last token; at least `first_token_timeout`",
        ),
    ];
    Section {
        title: "`[[backends]]`",
        purpose: "who can serve. `[model]` needs none: it is the backend `local`.",
        keys,
    }
}

/// Those of its price.
pub(super) fn price() -> Section {
    Section {
        title: "`price` of a backend",
        purpose: "dollars for a million tokens, as 0.25 or \"0.25\".",
        keys: vec![
            key("input", "needed", "Of the prompt"),
            key("output", "needed", "Generated"),
            key("cache_read", "as `input`", "Of the prompt, read from the provider's cache"),
            key("cache_write", "as `input`", "Of the prompt, written to the provider's cache"),
        ],
    }
}

/// Those of Bedrock alone.
pub(super) fn bedrock() -> Section {
    Section {
        title: "`[[backends]]` of type `bedrock`",
        purpose: "beside those above. Credentials are found as all of AWS's tools find them, and by `AWS_BEARER_TOKEN_BEDROCK`.",
        keys: vec![
            key("region", "needed", "The region that is asked"),
            key("aws_profile", "the usual chain", "Profile of the shared AWS files that has the credentials"),
            key("endpoint_url", "AWS", "Another address; no request can change it"),
            valued(
                "default_max_tokens",
                &4096,
                "Most tokens of an answer when the client does not say: as many of the quota are reserved",
            ),
            key(
                "service_tier",
                "AWS's default",
                "`default`, `priority`, `flex` or `reserved`; the price is that of the tier",
            ),
            key(
                "json_schema",
                "by the model",
                "`native`, Bedrock's own, or `tool`, a tool that the model must call",
            ),
            key("tool_choice", "by the model", "How firmly tools can be demanded: `auto`, `any`, `named`"),
            key(
                "reasoning",
                "by the model",
                "How it is told how long to think: `effort`, `adaptive`, `budget`, `nova`, `field`",
            ),
            valued(
                "output_burndown",
                &1,
                "Tokens of the quota that a generated token takes; 5 for some models",
            ),
        ],
    }
}

/// Those of OpenAI's protocol alone.
pub(super) fn openai() -> Section {
    Section {
        title: "`[[backends]]` of type `openai`",
        purpose: "beside those above.",
        keys: vec![
            key("urls", "needed", "Its address, or those of several replicas of the same model"),
            valued(
                "dialect",
                &"openai",
                "What it knows beyond OpenAI's fields: `openai` nothing, `vllm` as another Spillway does, `llama.cpp`",
            ),
            key("api_key", "", "The key that it is shown. Better one of the next two"),
            key("api_key_env", "", "Variable of the environment that holds the key"),
            key("api_key_file", "", "File that holds the key, and nothing else but lines that begin with #"),
            key("headers", "", "Headers that it gets, too, as `{ x-team = \"blue\" }`; they are never shown"),
            key("ca_file", "", "PEM file of certificates that are trusted beside the usual ones"),
            valued(
                "health_interval",
                &"2s",
                "Time between two looks at a replica's `/health` and `/metrics`",
            ),
        ],
    }
}
