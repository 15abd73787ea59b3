//! A tokenizer for models without one, whose weights are random: every byte is a token, every token has a text.
//!
//! Only to measure speed with. The first 256 ids are the bytes; a higher id decodes to a word that names it.

use spillway_text::{GgufVocabulary, TextError, Tokenizer};

/// Renders a conversation as lines.
pub(super) const TEMPLATE: &str =
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:";

/// The tokenizer with this many tokens, at least one for each byte.
pub(super) fn tokenizer(vocab_size: u32) -> Result<Tokenizer, TextError> {
    let bytes = (0..=u8::MAX).map(|byte| byte_letter(byte).to_string());
    let others = (256..vocab_size).map(|id| format!("{SPACE}w{id}"));
    let tokens = bytes.chain(others).collect();
    Tokenizer::from_gguf(&GgufVocabulary { model: "gpt2".to_owned(), tokens, ..GgufVocabulary::default() })
}

/// How byte-level vocabularies write a space.
const SPACE: char = '\u{120}';

/// The letter that stands for a byte in byte-level vocabularies: itself if it can be seen, else one from U+0100 on, in the
/// order of the bytes.
fn byte_letter(byte: u8) -> char {
    let is_visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_visible(byte) {
        return char::from(byte);
    }
    let num_before = (0..byte).filter(|&other| !is_visible(other)).count() as u32;
    char::from_u32(0x100 + num_before).expect("68 letters from U+0100 on exist")
}

#[cfg(test)]
mod tests {
    use spillway_text::{Ends, SpecialText};
    use spillway_types::TokenId;

    use super::*;

    #[test]
    fn bytes_are_tokens_and_every_token_has_a_text() {
        let tokenizer = tokenizer(1000).expect("a tokenizer");
        let text = "Hi, wörld!\n";
        let tokens = tokenizer.encode_text(text, Ends::Add).expect("any text has bytes");
        let bytes: Vec<TokenId> = text.bytes().map(|byte| TokenId(byte.into())).collect();
        assert_eq!(tokens, bytes);
        assert_eq!(tokenizer.decode(&tokens, SpecialText::Show).expect("known tokens"), text);
        assert_eq!(tokenizer.decode(&[TokenId(999)], SpecialText::Show).expect("a known token"), " w999");
        assert_eq!(tokenizer.vocab_size(), 1000);
    }
}
