//! A conversation as the chat template wrote it, with the parts that came from its messages marked.

use std::ops::Range;

/// A rendered conversation.
///
/// # Invariants
///
/// The content ranges are sorted, not empty, apart from each other, and on character borders of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedPrompt {
    text: String,
    content: Vec<Range<usize>>,
}

/// A part of a rendered conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Written by the template: special tokens are meant.
    Markup(&'a str),
    /// Written by a client: special tokens are only typed.
    Content(&'a str),
}

impl RenderedPrompt {
    pub(crate) fn builder() -> RenderedPromptBuilder {
        RenderedPromptBuilder { prompt: Self { text: String::new(), content: Vec::new() } }
    }

    /// The whole text. Do not tokenise it as it is: use [`crate::Tokenizer::encode_prompt`].
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Byte ranges of characters that came from a message and could be part of a special token.
    ///
    /// Characters that occur in no special token may lie outside of the ranges although a client wrote them.
    pub fn content(&self) -> &[Range<usize>] {
        &self.content
    }

    /// The text in parts, in order.
    pub fn segments(&self) -> Vec<Segment<'_>> {
        let mut segments = Vec::with_capacity(2 * self.content.len() + 1);
        let mut done = 0;
        for range in &self.content {
            if done < range.start {
                segments.push(Segment::Markup(&self.text[done..range.start]));
            }
            segments.push(Segment::Content(&self.text[range.clone()]));
            done = range.end;
        }
        if done < self.text.len() {
            segments.push(Segment::Markup(&self.text[done..]));
        }
        segments
    }

    /// The prompt up to where `mark` stands last, in which `message` must be shown. If the space after the mark is gone,
    /// the template trims messages, and white space before the mark goes as well. `None` if either is not shown.
    pub(crate) fn cut_at_last(mut self, mark: char, message: &str) -> Option<Self> {
        let position = self.text.rfind(mark)?;
        let is_trimmed = !self.text[position + mark.len_utf8()..].starts_with(' ');
        let before = &self.text[..position];
        let end = if is_trimmed { before.trim_end().len() } else { position };
        let message = message.trim();
        if message.is_empty() || !before.contains(message) {
            return None;
        }
        self.text.truncate(end);
        self.content.retain(|range| range.start < end);
        if let Some(last) = self.content.last_mut() {
            last.end = last.end.min(end);
        }
        Some(self)
    }

    /// The parts that are markup, in order.
    pub(crate) fn markup(&self) -> impl Iterator<Item = &str> {
        self.segments().into_iter().filter_map(|segment| match segment {
            Segment::Markup(text) => Some(text),
            Segment::Content(_) => None,
        })
    }
}

/// Writes a [`RenderedPrompt`] character by character.
pub(crate) struct RenderedPromptBuilder {
    prompt: RenderedPrompt,
}

impl RenderedPromptBuilder {
    pub(crate) fn markup(&mut self, character: char) {
        self.prompt.text.push(character);
    }

    pub(crate) fn content(&mut self, character: char) {
        let start = self.prompt.text.len();
        self.prompt.text.push(character);
        let end = self.prompt.text.len();
        match self.prompt.content.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.prompt.content.push(start..end),
        }
    }

    pub(crate) fn finish(self) -> RenderedPrompt {
        self.prompt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(parts: &[Segment<'_>]) -> RenderedPrompt {
        let mut builder = RenderedPrompt::builder();
        for part in parts {
            match part {
                Segment::Markup(text) => text.chars().for_each(|character| builder.markup(character)),
                Segment::Content(text) => text.chars().for_each(|character| builder.content(character)),
            }
        }
        builder.finish()
    }

    #[test]
    fn a_prompt_is_cut_at_the_last_mark() {
        let prompt = |after| {
            rendered(&[
                Segment::Markup("<u>"),
                Segment::Content("so <u>"),
                Segment::Markup("</u><a>"),
                Segment::Content("so <u>\n"),
                Segment::Markup(after),
            ])
        };
        let cut = prompt("# </a>so <u>").cut_at_last('#', "so <u>\n").expect("it is shown");
        assert_eq!(cut.text(), "<u>so <u></u><a>so <u>\n");
        assert_eq!(cut.content(), [3..9, 16..23], "what came from a client still does");
        let trimmed = prompt("#</a>").cut_at_last('#', " so <u>  ").expect("it is shown");
        assert_eq!(trimmed.text(), "<u>so <u></u><a>so <u>");
        assert_eq!(trimmed.segments().last(), Some(&Segment::Content("so <u>")));
        assert_eq!(prompt("# </a>").cut_at_last('#', "  "), None);
        assert_eq!(prompt("# </a>").cut_at_last('#', "other"), None);
        assert_eq!(prompt("</a>").cut_at_last('#', "so"), None);
    }
}
