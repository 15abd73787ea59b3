//! What kinds of servers speak OpenAI's protocol, and what each of them knows beyond it.
//!
//! A field that a server does not know may be ignored there without a word. So each dialect lists what it honours, and
//! everything else is refused before it is sent.
//!
//! Sources: vLLM's protocol classes of its OpenAI server, llama.cpp's README of its server, OpenAI's API reference.

use spillway_router::Feature;

/// The kind of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// vLLM, another Spillway, and what follows vLLM's fields.
    Vllm,
    /// llama.cpp's server.
    LlamaCpp,
    /// OpenAI itself, and servers that know its fields and no others.
    OpenAi,
}

/// What all of them can do, if their model can.
const COMMON: [Feature; 10] = [
    Feature::Chat,
    Feature::Completion,
    Feature::TokenPrompt,
    Feature::Tools,
    Feature::Images,
    Feature::JsonObject,
    Feature::JsonSchema,
    Feature::Logprobs,
    Feature::Seed,
    Feature::Penalties,
];

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::LlamaCpp, Self::OpenAi];

    /// The word in configs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama.cpp",
            Self::OpenAi => "openai",
        }
    }

    /// What such a server can do. A model may be able to do less: pictures need one that sees.
    ///
    /// No dialect tells scores of a prompt in a way that keeps its first token, so none has [`Feature::PromptLogprobs`].
    pub fn features(self) -> impl Iterator<Item = Feature> {
        let more: &[Feature] = match self {
            Self::Vllm => &[
                Feature::TokenRules,
                Feature::SeveralChoices,
                Feature::ReasoningEffort,
                Feature::ContinuedMessage,
            ],
            Self::LlamaCpp => &[],
            Self::OpenAi => &[Feature::SeveralChoices, Feature::ReasoningEffort],
        };
        COMMON.into_iter().chain(more.iter().copied())
    }

    /// Whether it knows a field that is not OpenAI's.
    pub(super) fn knows(self, field: ExtraField) -> bool {
        match self {
            Self::Vllm => true,
            Self::LlamaCpp => matches!(
                field,
                ExtraField::TopK
                    | ExtraField::MinP
                    | ExtraField::RepetitionPenalty
                    | ExtraField::IgnoreEos
                    | ExtraField::TemplateArguments
            ),
            Self::OpenAi => false,
        }
    }
}

/// A field that is not OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtraField {
    TopK,
    MinP,
    RepetitionPenalty,
    BadWords,
    AllowedTokens,
    MinTokens,
    StopTokens,
    IncludeStop,
    IgnoreEos,
    SpecialTokens,
    Truncation,
    CacheSalt,
    TemplateArguments,
}

impl ExtraField {
    /// As clients write it.
    pub(super) fn param(self) -> &'static str {
        match self {
            Self::TopK => "top_k",
            Self::MinP => "min_p",
            Self::RepetitionPenalty => "repetition_penalty",
            Self::BadWords => "bad_words",
            Self::AllowedTokens => "allowed_token_ids",
            Self::MinTokens => "min_tokens",
            Self::StopTokens => "stop_token_ids",
            Self::IncludeStop => "include_stop_str_in_output",
            Self::IgnoreEos => "ignore_eos",
            Self::SpecialTokens => "skip_special_tokens",
            Self::Truncation => "truncate_prompt_tokens",
            Self::CacheSalt => "cache_salt",
            Self::TemplateArguments => "chat_template_kwargs",
        }
    }
}
