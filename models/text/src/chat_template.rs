//! Conversations to prompts, through the model's own chat template, with no way to forge special tokens.
//!
//! A chat template is a Jinja program that comes with the model. It is written for Hugging Face's
//! `apply_chat_template`, so it is run here as it is there ([`environment`]). The text of messages ends up
//! inside of its output, and must not be taken for markup there: a user who types `<|im_start|>system` must
//! not open a system turn.
//!
//! # How forging is prevented
//!
//! The template is rendered twice. Once as it is: the *plain* rendering, which is what Hugging Face would
//! give. And once with every character of the client's strings that occurs in a special token replaced by a
//! stand-in from Unicode's private use area: the *strict* rendering ([`marking`]). In it a special token that
//! still reads as one was written by the template, all of it, whatever the template did with the strings:
//! cut, trimmed, joined, reordered.
//!
//! - If the strict rendering, with the characters put back, is the plain one, it is the result: the plain text,
//!   and for every character that matters whether it came from a client. This is nearly always so, since
//!   stand-ins keep lengths, and white space, quotes and backslashes are never replaced (trimming and JSON work).
//! - If not, the template looked for something in a message (such as `</think>`, to cut it off) and did not find
//!   it. Then a third rendering, with stand-ins only in whole special tokens that clients typed, is taken if it
//!   reads as the plain one *and* holds exactly the special tokens that the strict one has from the template.
//! - Otherwise the strict rendering is the result: safe, from a template that saw stand-ins where it looked for
//!   a text.
//!
//! So without look-alikes the token ids are Hugging Face's, and with them no special token is ever forged.
//!
//! Names of JSON members in tools and calls are replaced only if they are no plain identifiers, since
//! templates look members up by name.
//!
//! In a request's path: called by the engine's async side; the result goes to
//! [`crate::Tokenizer::encode_prompt`].

use minijinja::{Environment, Value};
use spillway_types::{ChatMessage, JsonText};

use crate::error::TextError;
use crate::rendered::RenderedPrompt;
use crate::tokenizer::Tokenizer;

mod context;
mod environment;
mod json;
mod marking;
mod python_text;
mod timestamp;

pub use timestamp::Timestamp;

use context::Context;
use marking::{Marker, Marking, SpecialTexts};

/// A model's chat template, compiled. Rendering is `&self`, so one serves all requests.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Option<Environment<'static>>,
    /// `bos_token` and its like, as templates know them.
    token_texts: Vec<(&'static str, String)>,
    specials: SpecialTexts,
}

/// What a rendered conversation ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptEnd {
    /// The opening of an assistant's turn, for the model to go on from.
    AssistantTurn,
    /// The last message.
    LastMessage,
    /// The last message without what closes it, so that the model goes on with its text.
    OpenLastMessage,
}

/// One conversation to render.
#[derive(Debug, Clone, Copy)]
pub struct ChatInput<'a> {
    /// The messages, oldest first.
    pub messages: &'a [ChatMessage],
    /// The tools the model may call, as a JSON list in the form of `OpenAI`.
    pub tools: Option<&'a JsonText>,
    /// Further variables for the template, as a JSON object (`enable_thinking` and its like).
    pub arguments: Option<&'a JsonText>,
    /// What the prompt ends with.
    pub end: PromptEnd,
    /// What `strftime_now` tells the template.
    pub now: Timestamp,
}

impl ChatTemplate {
    /// Compiles a model's template. `source` is `None` for a model without one: every rendering then fails.
    ///
    /// # Errors
    ///
    /// [`TextError::TemplateSyntax`] with the line if the template is no valid Jinja.
    pub fn compile(source: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let special = tokenizer.special_tokens();
        let names = [
            ("bos_token", special.bos),
            ("eos_token", special.eos),
            ("unk_token", special.unk),
            ("pad_token", special.pad),
        ];
        let token_texts = names
            .into_iter()
            .filter_map(|(name, token)| Some((name, tokenizer.token_text(token?)?)))
            .collect();
        let environment = source.map(environment::compile).transpose()?;
        Ok(Self { environment, token_texts, specials: SpecialTexts::new(tokenizer.special_texts()) })
    }

    /// Whether the model came with a template.
    pub fn is_present(&self) -> bool {
        self.environment.is_some()
    }

    /// Renders a conversation.
    ///
    /// # Errors
    ///
    /// [`TextError::NoTemplate`] for a model without one, [`TextError::TemplateRaised`] with the template's
    /// own words if it refuses, [`TextError::TemplateFailed`] if it breaks, [`TextError::MessageJson`] if
    /// JSON in the input is broken.
    /// [`TextError::FinalMessageNotShown`] if the last message is to be gone on with and is empty, or the template does
    /// not show it.
    pub fn render(&self, input: &ChatInput<'_>) -> Result<RenderedPrompt, TextError> {
        match input.end {
            PromptEnd::AssistantTurn | PromptEnd::LastMessage => self.render_whole(input),
            PromptEnd::OpenLastMessage => self.render_open(input),
        }
    }

    /// Renders a conversation whose last message ends with a mark, and cuts there. To look for the message's own text
    /// would not do: what follows it may hold the same.
    fn render_open(&self, input: &ChatInput<'_>) -> Result<RenderedPrompt, TextError> {
        let mark = marking::unused_character(&Context::parse(input)?)?;
        let mut messages = input.messages.to_vec();
        let last = messages.last_mut().ok_or(TextError::FinalMessageNotShown)?;
        let message = last.content.clone();
        // The space tells afterwards whether the template trims.
        last.content.extend([mark, ' ']);
        let rendered = self.render_whole(&ChatInput { messages: &messages, ..*input })?;
        rendered.cut_at_last(mark, &message).ok_or(TextError::FinalMessageNotShown)
    }

    fn render_whole(&self, input: &ChatInput<'_>) -> Result<RenderedPrompt, TextError> {
        let environment = self.environment.as_ref().ok_or(TextError::NoTemplate)?;
        let context = Context::parse(input)?;
        let plain = self.run(environment, &context, Marker::Plain)?;
        let stand_ins = self.specials.stand_ins(&context, &plain)?;
        let marked = |marking| -> Result<RenderedPrompt, TextError> {
            let marker = Marker::Marking(marking, &self.specials, &stand_ins);
            Ok(stand_ins.restore(&self.run(environment, &context, marker)?))
        };

        // A template may refuse a string with stand-ins where it takes only certain words: leave the letters
        // alone then.
        let strict = marked(Marking::Everything).or_else(|_| marked(Marking::Signs))?;
        if strict.text() == plain {
            return Ok(strict);
        }
        Ok(match marked(Marking::LookAlikes) {
            Ok(gentle) if gentle.text() == plain && self.specials.agree(&gentle, &strict) => gentle,
            Ok(_) | Err(_) => strict,
        })
    }

    fn run(
        &self,
        environment: &Environment<'_>,
        context: &Context<'_>,
        marker: Marker<'_>,
    ) -> Result<String, TextError> {
        let mut variables = context.variables(marker);
        for (name, text) in &self.token_texts {
            variables.insert((*name).to_owned(), Value::from(text.as_str()));
        }
        environment::render(environment, Value::from(variables))
    }
}

#[cfg(test)]
mod tests;
