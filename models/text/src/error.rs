//! Why text could not be turned into tokens, or tokens into text.

use spillway_types::TokenId;

/// An error of a library, kept as the source of one of ours.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong in this crate.
///
/// The variants up to [`TextError::TemplateSyntax`] arise while a model is loaded, the others while a request
/// is served.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// `tokenizer.json` does not describe a tokenizer.
    #[error(
        "tokenizer.json cannot be read; fetch the file again or convert the model with a newer version of transformers"
    )]
    TokenizerJson {
        /// What the parser said.
        #[source]
        source: BoxError,
    },

    /// A JSON file beside the weights does not have the form it should have.
    #[error("{file} cannot be read; fetch the file again")]
    ConfigJson {
        /// Name of the file.
        file: &'static str,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },

    /// The GGUF file names a tokenizer model that is not known here.
    #[error(
        "tokenizer model `{model}` is not known, must be `gpt2` or `llama`; serve the model from its safetensors folder instead"
    )]
    UnknownTokenizerModel {
        /// The name in the file.
        model: String,
    },

    /// The GGUF file names a pre-tokenizer that is not known here. Guessing one would give wrong tokens
    /// without a sign.
    #[error(
        "pre-tokenizer `{pre}` is not known, must be one of {known}; serve the model from its safetensors folder instead"
    )]
    UnknownPreTokenizer {
        /// The name in the file.
        pre: String,
        /// The names that are known.
        known: String,
    },

    /// The GGUF file gives a token a type that the format does not have.
    #[error("token type is {number}, must be from 1 to 6; convert the model again")]
    UnknownTokenType {
        /// The number in the file.
        number: i32,
    },

    /// A list in the GGUF file does not have one entry for each token.
    #[error("vocabulary list `{list}` has {len} entries, must have one for each of the {num_tokens} tokens")]
    VocabularyLength {
        /// Name of the list.
        list: &'static str,
        /// Entries it has.
        len: usize,
        /// Tokens of the vocabulary.
        num_tokens: usize,
    },

    /// A merge rule in the GGUF file does not make one token out of two.
    #[error(
        "merge rule {merge_idx} is `{merge}`, must be two tokens with one space between that make a third"
    )]
    MergeRule {
        /// Place in the list.
        merge_idx: usize,
        /// The rule as written.
        merge: String,
    },

    /// A special token is declared that the vocabulary does not have.
    #[error("{role} token is `{token}`, which the vocabulary does not have")]
    MissingSpecialToken {
        /// What the token is for.
        role: &'static str,
        /// Its text or id as declared.
        token: String,
    },

    /// The parts of the vocabulary do not fit together.
    #[error("vocabulary cannot be used")]
    Vocabulary {
        /// What the tokenizer library said.
        #[source]
        source: BoxError,
    },

    /// Tokens of this tokenizer cannot be turned into text piece by piece.
    #[error(
        "decoder `{decoder}` is not supported, must be ByteLevel, Metaspace, or a Sequence of Replace, ByteFallback, Fuse and Strip"
    )]
    UnsupportedDecoder {
        /// The decoder as declared.
        decoder: String,
    },

    /// The post-processor does more than to put tokens before and after the text.
    #[error("post-processor changes the tokens of the text itself, must only put tokens before and after it")]
    UnsupportedPostProcessor,

    /// The chat template is no valid Jinja.
    #[error("chat template cannot be compiled: {source}")]
    TemplateSyntax {
        /// Where and why.
        #[source]
        source: minijinja::Error,
    },

    /// The model came without a chat template, so it cannot take a conversation.
    #[error(
        "model has no chat template; send a plain prompt to /v1/completions, or serve a model that was tuned for chat"
    )]
    NoTemplate,

    /// The chat template refused the conversation. The message is the template author's.
    #[error("chat template refused the conversation: {message}")]
    TemplateRaised {
        /// What the template said.
        message: String,
    },

    /// The chat template failed on this conversation.
    #[error("chat template failed on this conversation: {source}")]
    TemplateFailed {
        /// Where and why.
        #[source]
        source: minijinja::Error,
    },

    /// The last message cannot be gone on with.
    #[error("the last message is empty or not shown by the chat template, so it cannot be continued")]
    FinalMessageNotShown,

    /// JSON inside a conversation (tools, calls of tools, template arguments) is not what it must be.
    #[error("`{field}` is not valid JSON")]
    MessageJson {
        /// Name of the field.
        field: &'static str,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },

    /// The conversation uses so many private-use characters that none are left to mark it with.
    #[error(
        "conversation uses {num_used} different characters of the supplementary private use areas, which leaves too few to mark it with; leave them out"
    )]
    TooManyPrivateCharacters {
        /// How many it uses.
        num_used: usize,
    },

    /// The tokenizer library failed on a text.
    #[error("text of {len_bytes} bytes cannot be tokenised")]
    Encode {
        /// Length of the text.
        len_bytes: usize,
        /// What the library said.
        #[source]
        source: BoxError,
    },

    /// A token id has no entry in the vocabulary.
    #[error("token id is {token}, vocabulary has {vocab_size} entries")]
    UnknownToken {
        /// The id.
        token: TokenId,
        /// Entries of the vocabulary.
        vocab_size: u32,
    },
}
