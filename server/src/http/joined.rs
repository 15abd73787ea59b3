//! Several prompts of one request as one stream: choices are numbered through, usage is summed.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{SelectAll, Stream, StreamExt};
use spillway_router::{BackendError, TokenStream};
use spillway_types::{GenerateEvent, Usage};

type Numbered = Pin<Box<dyn Stream<Item = Result<GenerateEvent, BackendError>> + Send>>;

/// The events of all prompts, as they come. Its `Done` follows the last of theirs. Dropping it, also after an
/// error of one of them, aborts all.
pub(crate) struct Joined {
    streams: SelectAll<Numbered>,
    num_open: usize,
    usage: Usage,
}

/// Joins the streams of a request's prompts, each with `n` choices: choice `c` of prompt `p` becomes `p * n + c`.
pub(crate) fn join(mut streams: Vec<TokenStream>, n: u32) -> TokenStream {
    // Of one nothing has to be renumbered or summed up, and joining costs something for each event.
    if streams.len() == 1
        && let Some(only) = streams.pop()
    {
        return only;
    }
    let num_open = streams.len();
    let numbered = streams.into_iter().zip(0_u32..).map(|(stream, prompt_idx)| -> Numbered {
        Box::pin(stream.map(move |event| event.map(|event| renumber(event, prompt_idx * n))))
    });
    Box::pin(Joined { streams: numbered.collect(), num_open, usage: Usage::default() })
}

fn renumber(event: GenerateEvent, first_choice: u32) -> GenerateEvent {
    match event {
        GenerateEvent::Delta(mut delta) => {
            delta.choice += first_choice;
            GenerateEvent::Delta(delta)
        }
        GenerateEvent::Prompt { choice, prompt } => {
            GenerateEvent::Prompt { choice: first_choice + choice, prompt }
        }
        GenerateEvent::PromptScored { choice, tokens } => {
            GenerateEvent::PromptScored { choice: first_choice + choice, tokens }
        }
        GenerateEvent::Reasoning(mut delta) => {
            delta.choice += first_choice;
            GenerateEvent::Reasoning(delta)
        }
        GenerateEvent::ToolCall(mut delta) => {
            delta.choice += first_choice;
            GenerateEvent::ToolCall(delta)
        }
        GenerateEvent::Finished { choice, reason, stop } => {
            GenerateEvent::Finished { choice: first_choice + choice, reason, stop }
        }
        other @ (GenerateEvent::Started { .. } | GenerateEvent::Done(_)) => other,
    }
}

impl Stream for Joined {
    type Item = Result<GenerateEvent, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let event = match self.streams.poll_next_unpin(ctx) {
                Poll::Ready(Some(Ok(GenerateEvent::Done(usage)))) => usage,
                other => return other,
            };
            self.usage.prompt_tokens += event.prompt_tokens;
            self.usage.cached_tokens += event.cached_tokens;
            self.usage.cache_write_tokens += event.cache_write_tokens;
            self.usage.completion_tokens += event.completion_tokens;
            self.num_open -= 1;
            if self.num_open == 0 {
                return Poll::Ready(Some(Ok(GenerateEvent::Done(self.usage))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::stream;
    use spillway_types::{FinishReason, TextDelta};

    use super::*;

    fn answer(text: &str, prompt_tokens: u32) -> TokenStream {
        let delta = TextDelta { choice: 1, text: text.to_owned(), tokens: Vec::new() };
        let usage = Usage { prompt_tokens, cached_tokens: 1, cache_write_tokens: 3, completion_tokens: 2 };
        Box::pin(stream::iter([
            Ok(GenerateEvent::Delta(delta)),
            Ok(GenerateEvent::Finished { choice: 1, reason: FinishReason::Stop, stop: None }),
            Ok(GenerateEvent::Done(usage)),
        ]))
    }

    #[test]
    fn choices_are_numbered_through_and_usage_is_summed() {
        let events: Vec<_> = block_on(join(vec![answer("a", 3), answer("b", 4)], 2).collect());
        let mut choices = Vec::new();
        for event in &events {
            if let Ok(GenerateEvent::Delta(delta)) = event {
                choices.push((delta.choice, delta.text.as_str()));
            }
        }
        choices.sort_unstable();
        assert_eq!(choices, [(1, "a"), (3, "b")]);
        let total = Usage { prompt_tokens: 7, cached_tokens: 2, cache_write_tokens: 6, completion_tokens: 4 };
        assert!(matches!(events.last(), Some(Ok(GenerateEvent::Done(usage))) if *usage == total));
        assert_eq!(events.iter().filter(|event| matches!(event, Ok(GenerateEvent::Done(_)))).count(), 1);
    }
}
