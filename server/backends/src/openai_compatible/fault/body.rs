//! The words of an error: of a body, or of an event in a stream.

use serde_json::Value;
use spillway_types::Prompt;

/// Longest code that is passed on.
const MAX_CODE_BYTES: usize = 64;
/// Longest message that is passed on.
const MAX_MESSAGE_BYTES: usize = 500;
/// As many bytes in common with a prompt make a message one that repeats it.
const REPEATED_BYTES: usize = 12;
/// Texts below this are in every message.
const MIN_REPEATED_BYTES: usize = 4;

/// What a server says of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::openai_compatible) struct ErrorWords {
    /// Of these the first that is there and looks like a code: `code`, `type`.
    pub(super) code: Option<String>,
    /// A status, where `code` is a number, as with vLLM and llama.cpp.
    pub(super) status: Option<u16>,
    /// For people. It may repeat the prompt.
    pub(super) message: String,
    /// Every word that may tell what kind of error it is, in lower case.
    pub(super) all: String,
}

impl ErrorWords {
    /// Reads `{"error": {..}}`, `{"error": ".."}`, `{"object": "error", ..}`, `{"detail": ..}`, or the error itself.
    pub(in crate::openai_compatible) fn read(text: &[u8]) -> Self {
        serde_json::from_slice(text).map(|value: Value| Self::of(&value)).unwrap_or_default()
    }

    /// Of JSON that has been read.
    pub(in crate::openai_compatible) fn of(value: &Value) -> Self {
        let error = value.get("error").unwrap_or(value);
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let message = text("message").or(text("detail")).or(error.as_str()).unwrap_or_default();
        let codes = [text("code"), text("type")];
        let number = error.get("code").and_then(Value::as_u64);
        Self {
            code: codes.into_iter().flatten().find(|code| is_code(code)).map(str::to_owned),
            status: number.and_then(|number| u16::try_from(number).ok()).filter(|s| (400..600).contains(s)),
            message: message.to_owned(),
            all: [text("code").unwrap_or_default(), text("type").unwrap_or_default(), message]
                .join(" ")
                .to_lowercase(),
        }
    }

    /// The message, if it repeats nothing of the prompt; cut if it is long.
    pub(in crate::openai_compatible) fn quotable(&self, prompt: &Prompt) -> Option<&str> {
        if self.message.is_empty() || repeats(&self.message, prompt) {
            return None;
        }
        Some(&self.message[..self.message.floor_char_boundary(MAX_MESSAGE_BYTES)])
    }
}

fn is_code(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= MAX_CODE_BYTES && text.bytes().all(is_plain)
}

/// Whether as much of a message stands in a prompt that it may have been taken from there.
fn repeats(message: &str, prompt: &Prompt) -> bool {
    match prompt {
        Prompt::Tokens(_) => false,
        Prompt::Text(text) => shares(message, text),
        Prompt::Chat(chat) => chat.messages.iter().any(|said| shares(message, &said.content)),
    }
}

/// Every piece of `text` that is as long as what counts as repeated is looked for; of shorter texts the whole.
fn shares(message: &str, text: &str) -> bool {
    let (message, text) = (message.as_bytes(), text.trim().as_bytes());
    let len = REPEATED_BYTES.min(text.len());
    if len < MIN_REPEATED_BYTES {
        return false;
    }
    let pieces: std::collections::HashSet<&[u8]> = message.windows(len).collect();
    text.windows(len).any(|piece| pieces.contains(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_all_servers_are_read() {
        for (body, code, status, message) in [
            (
                r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limit"}}"#,
                Some("rate_limit"),
                None,
                "slow down",
            ),
            (
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                Some("unavailable_error"),
                Some(503),
                "Loading model",
            ),
            (
                r#"{"object":"error","message":"no","type":"BadRequestError","code":400}"#,
                Some("BadRequestError"),
                Some(400),
                "no",
            ),
            (r#"{"error":"it broke"}"#, None, None, "it broke"),
            (r#"{"detail":"Not Found"}"#, None, None, "Not Found"),
            ("<html>", None, None, ""),
        ] {
            let words = ErrorWords::read(body.as_bytes());
            assert_eq!(
                (words.code.as_deref(), words.status, &*words.message),
                (code, status, message),
                "{body}"
            );
        }
    }

    #[test]
    fn a_message_that_repeats_the_prompt_is_not_passed_on() {
        let words =
            ErrorWords { message: "invalid input 'my secret diary' in field".into(), ..Default::default() };
        assert_eq!(words.quotable(&Prompt::Text("Dear me, my secret diary says".into())), None);
        assert_eq!(words.quotable(&Prompt::Text("diary".into())), None, "the whole of a short prompt");
        assert!(words.quotable(&Prompt::Text("something else altogether".into())).is_some());
    }
}
