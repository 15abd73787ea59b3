//! Pieces against the whole, on random tokens of both families of tokenizers.

use proptest::prelude::*;
use spillway_types::TokenId;

use super::*;
use crate::tokenizer::TokenType;
use crate::tokenizer::tests::{byte_level, sentence_piece};

fn pieces(tokenizer: &Tokenizer, position: Position, ids: &[TokenId]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(tokenizer, position, SpecialText::Skip);
    let mut pieces = Vec::new();
    for &id in ids {
        let mut piece = String::new();
        detokenizer.push(tokenizer, id, &mut piece).expect("ids are in the vocabulary");
        assert!(detokenizer.held.len() < 4, "held {:?}", detokenizer.held);
        pieces.push(piece);
    }
    let mut piece = String::new();
    detokenizer.finish(&mut piece);
    pieces.push(piece);
    pieces
}

/// The ids of single bytes in a byte-level vocabulary.
fn spell(tokenizer: &Tokenizer, bytes: &[u8]) -> Vec<TokenId> {
    let id = |byte: u8| {
        let ids = (0..tokenizer.vocab_size()).map(TokenId);
        ids.into_iter()
            .find(|&id| tokenizer.token_bytes(id).ok() == Some(&[byte]))
            .expect("every byte is a token")
    };
    bytes.iter().map(|&byte| id(byte)).collect()
}

#[test]
fn a_character_comes_whole_and_when_it_is_complete() {
    let tokenizer = byte_level(&[]);
    let ids = spell(&tokenizer, "a😀é".as_bytes());
    assert_eq!(pieces(&tokenizer, Position::Start, &ids), ["a", "", "", "", "😀", "", "é", ""]);
}

#[test]
fn a_byte_that_cannot_become_a_character_is_replaced_as_soon_as_that_is_certain() {
    let tokenizer = byte_level(&[]);
    let check = |bytes: &[u8], expected: &[&str]| {
        assert_eq!(pieces(&tokenizer, Position::Start, &spell(&tokenizer, bytes)), expected);
    };
    check(b"\xFFa", &["\u{FFFD}", "a", ""]);
    check(b"\xE2\x82a", &["", "", "\u{FFFD}a", ""]);
    check(b"\xE2\x82", &["", "", "\u{FFFD}"]);
    check(b"\xF0\x9F\xF0\x9F\x98\x80", &["", "", "\u{FFFD}", "", "", "😀", ""]);
}

#[test]
fn a_space_at_the_start_is_dropped_once_and_kept_after_a_prompt() {
    let tokenizer = sentence_piece(&["▁a", "▁", "▁▁"]);
    let id = |text| tokenizer.token_id(text).expect("the token is there");
    let ids = [TokenId(1), id("▁a"), id("▁a")];
    assert_eq!(pieces(&tokenizer, Position::Start, &ids).concat(), "a a");
    assert_eq!(pieces(&tokenizer, Position::AfterPrompt, &ids).concat(), " a a");
    assert_eq!(pieces(&tokenizer, Position::Start, &[id("▁▁"), id("▁a")]).concat(), "  a");
}

#[test]
fn special_tokens_are_skipped_or_shown_and_split_no_character() {
    let tokenizer = byte_level(&[("<|end|>", TokenType::Control)]);
    let mut ids = spell(&tokenizer, "é".as_bytes());
    ids.insert(1, TokenId(256));
    assert_eq!(pieces(&tokenizer, Position::Start, &ids).concat(), "é");
    assert_eq!(tokenizer.decode(&ids, SpecialText::Show).ok().as_deref(), Some("\u{FFFD}<|end|>\u{FFFD}"));
}

proptest! {
    #[test]
    fn pieces_of_random_bytes_join_to_the_lossy_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let tokenizer = byte_level(&[]);
        let ids = spell(&tokenizer, &bytes);
        prop_assert_eq!(pieces(&tokenizer, Position::Start, &ids).concat(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_of_random_text_join_to_it(text in any::<String>()) {
        let tokenizer = byte_level(&[("<|end|>", TokenType::Control)]);
        let ids = spell(&tokenizer, text.as_bytes());
        let pieces = pieces(&tokenizer, Position::Start, &ids);
        let replaced = pieces.iter().any(|piece| piece.contains(char::REPLACEMENT_CHARACTER));
        prop_assert_eq!(replaced, text.contains(char::REPLACEMENT_CHARACTER));
        prop_assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn pieces_of_sentence_piece_tokens_join_to_the_decoded_text(ids in prop::collection::vec(0u32..266, 0..30)) {
        let tokenizer = sentence_piece(&["▁", "▁a", "b", "é", "▁▁", "語", "c"]);
        let ids: Vec<TokenId> = ids.into_iter().map(TokenId).collect();
        let spoken = ids.iter().filter(|id| !tokenizer.is_special(**id));
        let bytes: Vec<u8> = spoken.flat_map(|&id| tokenizer.token_bytes(id).unwrap_or_default()).copied().collect();
        let whole = String::from_utf8_lossy(&bytes).into_owned();
        let whole = whole.strip_prefix(' ').unwrap_or(&whole);
        prop_assert_eq!(pieces(&tokenizer, Position::Start, &ids).concat(), whole);
        prop_assert_eq!(tokenizer.decode(&ids, SpecialText::Skip).expect("ids are in the vocabulary"), whole);
    }
}
