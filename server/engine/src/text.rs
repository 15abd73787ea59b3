//! Prompts to tokens: chat templates and tokenising, on the caller's side.

use std::sync::Arc;

use spillway_text::{ChatInput, ChatTemplate, Ends, PromptEnd, SpecialText, TextError, Timestamp, Tokenizer};
use spillway_types::{ChatEnd, Prompt, TokenId};

use crate::error::EngineError;

/// Tells a chat template what day it is.
pub type Today = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything that turns a model's text into tokens and back. Cheap to clone.
#[derive(Clone)]
pub struct TextPipeline {
    tokenizer: Arc<Tokenizer>,
    template: Arc<ChatTemplate>,
    today: Today,
}

impl TextPipeline {
    /// Joins a tokenizer with the model's chat template. `today` is asked once for each conversation.
    pub fn new(tokenizer: Tokenizer, template: ChatTemplate, today: Today) -> Self {
        Self { tokenizer: Arc::new(tokenizer), template: Arc::new(template), today }
    }

    /// Whether conversations can be rendered.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_present()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The prompt's tokens. Text of clients never becomes a special token.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if there is no template, the template refuses, or an id is not in the vocabulary.
    pub fn tokens(&self, prompt: &Prompt) -> Result<Vec<TokenId>, EngineError> {
        match prompt {
            Prompt::Text(text) => self.tokenizer.encode_text(text, Ends::Add).map_err(from_text),
            Prompt::Tokens(tokens) => {
                self.check_known(tokens)?;
                Ok(tokens.clone())
            }
            Prompt::Chat(chat) => {
                let input = ChatInput {
                    messages: &chat.messages,
                    tools: None,
                    arguments: chat.arguments.as_ref(),
                    end: match chat.end {
                        ChatEnd::AssistantTurn => PromptEnd::AssistantTurn,
                        ChatEnd::LastMessage => PromptEnd::LastMessage,
                        ChatEnd::OpenLastMessage => PromptEnd::OpenLastMessage,
                    },
                    now: (self.today)(),
                };
                let rendered = self.template.render(&input).map_err(from_text)?;
                self.tokenizer.encode_prompt(&rendered).map_err(from_text)
            }
        }
    }

    /// The text of a prompt: as it was sent, if that was text and all of it counts, else that of its tokens.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if an id is not in the vocabulary.
    pub(crate) fn prompt_text(
        &self,
        as_sent: Option<&Prompt>,
        tokens: &[TokenId],
    ) -> Result<String, EngineError> {
        match as_sent {
            Some(Prompt::Text(text)) => Ok(text.clone()),
            Some(Prompt::Tokens(_) | Prompt::Chat(_)) | None => {
                self.tokenizer.decode(tokens, SpecialText::Skip).map_err(from_text)
            }
        }
    }

    /// The text of tokens, special tokens included.
    ///
    /// # Errors
    ///
    /// [`EngineError::UnknownToken`] if an id is not in the vocabulary.
    pub fn text(&self, tokens: &[TokenId]) -> Result<String, EngineError> {
        self.check_known(tokens)?;
        self.tokenizer.decode(tokens, SpecialText::Show).map_err(from_text)
    }

    fn check_known(&self, tokens: &[TokenId]) -> Result<(), EngineError> {
        let vocab_size = self.tokenizer.vocab_size();
        match tokens.iter().find(|token| token.0 >= vocab_size) {
            Some(token) => Err(EngineError::UnknownToken { token: token.0, vocab_size }),
            None => Ok(()),
        }
    }
}

/// What the text room says, by what the client can do about it.
pub(crate) fn from_text(error: TextError) -> EngineError {
    match error {
        TextError::NoTemplate => EngineError::NoChatTemplate,
        TextError::TemplateRaised { message } => EngineError::Template { message },
        TextError::FinalMessageNotShown => EngineError::Template { message: error.to_string() },
        TextError::TemplateFailed { source } => EngineError::Template { message: source.to_string() },
        other => EngineError::Tokenizer { message: other.to_string() },
    }
}
