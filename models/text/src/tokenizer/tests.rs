//! Small tokenizers made by hand, for what the goldens of real models do not show.

use spillway_types::TokenId;

use super::*;

/// A `SentencePiece`-style vocabulary: control tokens, 256 byte tokens, then `pieces` with falling scores.
pub(crate) fn sentence_piece(pieces: &[&str]) -> Tokenizer {
    let mut tokens: Vec<(String, TokenType)> =
        [("<unk>", TokenType::Unknown), ("<s>", TokenType::Control), ("</s>", TokenType::Control)]
            .map(|(text, kind)| (text.to_owned(), kind))
            .into();
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), TokenType::Byte)));
    tokens.extend(pieces.iter().map(|&piece| (piece.to_owned(), TokenType::Normal)));
    let (tokens, token_types): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
    let scores = (0..tokens.len()).map(|token_idx| -(token_idx as f32)).collect();
    let vocabulary = GgufVocabulary {
        model: "llama".to_owned(),
        tokens,
        token_types,
        scores,
        unk: Some(TokenId(0)),
        bos: Some(TokenId(1)),
        eos: Some(TokenId(2)),
        ..GgufVocabulary::default()
    };
    Tokenizer::from_gguf(&vocabulary).expect("the vocabulary is sound")
}

/// A byte-level vocabulary of single bytes, with `added` tokens behind them.
pub(crate) fn byte_level(added: &[(&str, TokenType)]) -> Tokenizer {
    Tokenizer::from_gguf(&byte_level_vocabulary(added)).expect("the vocabulary is sound")
}

fn byte_level_vocabulary(added: &[(&str, TokenType)]) -> GgufVocabulary {
    let mut alphabet: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
    let mut token_types = vec![TokenType::Normal; tokens.len()];
    tokens.extend(added.iter().map(|(text, _)| (*text).to_owned()));
    token_types.extend(added.iter().map(|(_, kind)| *kind));
    GgufVocabulary {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        tokens,
        token_types,
        ..GgufVocabulary::default()
    }
}

fn texts(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).expect("ids are in the vocabulary")).collect()
}

#[test]
fn sentence_piece_merges_by_score_and_spells_the_rest_in_bytes() {
    let tokenizer = sentence_piece(&["▁", "a", "b", "c", "ab", "bc", "▁ab"]);
    let ids = tokenizer.encode_text("abc ab é", Ends::Add).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &ids), ["<s>", "▁ab", "c", "▁ab", "▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(tokenizer.decode(&ids, SpecialText::Skip).ok().as_deref(), Some("abc ab é"));
    assert_eq!(tokenizer.decode(&ids[1..4], SpecialText::Skip).ok().as_deref(), Some("abc ab"));
}

#[test]
fn special_tokens_are_recognised_in_markup_only() {
    let tokenizer = byte_level(&[("<|end|>", TokenType::Control), ("<think>", TokenType::UserDefined)]);
    let text = "a<|end|><think>";
    let markup = tokenizer.encode_markup(text, Ends::Add).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &markup), ["a", "<|end|>", "<think>"]);
    let content = tokenizer.encode_text(text, Ends::Add).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &content), ["a", "<", "|", "e", "n", "d", "|", ">", "<think>"]);
    assert_eq!(tokenizer.decode(&content, SpecialText::Skip).ok().as_deref(), Some(text));
    assert_eq!(tokenizer.decode(&markup, SpecialText::Skip).ok().as_deref(), Some("a<think>"));
}

#[test]
fn a_special_token_that_reads_like_a_word_is_not_found_in_text() {
    let mut vocabulary = byte_level_vocabulary(&[("end", TokenType::Control)]);
    (vocabulary.pre, vocabulary.add_bos) = (Some("llama-bpe".to_owned()), Some(false));
    let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("the vocabulary is sound");
    let content = tokenizer.encode_text("the end", Ends::Omit).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &content).concat(), "theĠend");
    let content = tokenizer.encode_text("end", Ends::Omit).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &content), ["e", "n", "d"]);
    let markup = tokenizer.encode_markup("end", Ends::Omit).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &markup), ["end"]);
}

#[test]
fn tokens_with_a_part_are_special_in_a_file_without_types() {
    let mut vocabulary = byte_level_vocabulary(&[("</s>", TokenType::Control)]);
    vocabulary.token_types.clear();
    vocabulary.eos = Some(TokenId(256));
    let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("the vocabulary is sound");
    assert_eq!(tokenizer.special_texts().collect::<Vec<_>>(), ["</s>"]);
}

#[test]
fn a_refused_look_alike_hides_no_token_inside_of_it() {
    let tokenizer = byte_level(&[("<|a|>b", TokenType::Control), ("<|a|>", TokenType::UserDefined)]);
    let ids = tokenizer.encode_text("<|a|>b", Ends::Omit).expect("text is tokenised");
    assert_eq!(texts(&tokenizer, &ids), ["<|a|>", "b"]);
}

#[test]
fn added_tokens_swallow_white_space_as_they_declare() {
    let json = r#"{
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}, "padding": null,
        "added_tokens": [
            {"id": 3, "content": "[M]", "single_word": false, "lstrip": true, "rstrip": true, "normalized": false, "special": true},
            {"id": 4, "content": "ab", "single_word": true, "lstrip": false, "rstrip": false, "normalized": true, "special": false}
        ],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, " ": 2}, "merges": []}
    }"#;
    let tokenizer =
        Tokenizer::from_hf_json(json.as_bytes(), &TokenizerConfig::default()).expect("a valid tokenizer");
    let ids = tokenizer.encode_markup("a  [M] \n b ab aab", Ends::Add).expect("text is tokenised");
    assert_eq!(ids, [0, 3, 1, 2, 4, 2, 0, 0, 1].map(TokenId));
}

#[test]
fn ends_are_put_around_a_text_as_the_file_says() {
    let mut vocabulary = byte_level_vocabulary(&[("<s>", TokenType::Control), ("</s>", TokenType::Control)]);
    (vocabulary.bos, vocabulary.eos) = (Some(TokenId(256)), Some(TokenId(257)));
    (vocabulary.add_bos, vocabulary.add_eos) = (Some(true), Some(true));
    let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("the vocabulary is sound");
    let ids = |ends| texts(&tokenizer, &tokenizer.encode_text("a", ends).expect("text is tokenised"));
    assert_eq!(ids(Ends::Add), ["<s>", "a", "</s>"]);
    assert_eq!(ids(Ends::Omit), ["a"]);
}

#[test]
fn what_a_gguf_file_has_wrong_is_named() {
    let check = |change: &dyn Fn(&mut GgufVocabulary), expected: &str| {
        let mut vocabulary = byte_level_vocabulary(&[]);
        change(&mut vocabulary);
        let error = Tokenizer::from_gguf(&vocabulary).expect_err("the vocabulary is broken");
        assert!(error.to_string().starts_with(expected), "{error}");
    };
    check(&|v| v.model = "bert".to_owned(), "tokenizer model `bert` is not known");
    check(
        &|v| v.pre = Some("bloom".to_owned()),
        "pre-tokenizer `bloom` is not known, must be one of gpt-2, ",
    );
    check(
        &|v| v.token_types.truncate(255),
        "vocabulary list `token_type` has 255 entries, must have one for each of the 256",
    );
    check(&|v| v.model = "llama".to_owned(), "vocabulary list `scores` has 0 entries");
    check(&|v| v.eos = Some(TokenId(256)), "eos token is `256`, which the vocabulary does not have");
    check(&|v| v.add_bos = Some(true), "bos token is `not declared`");
    check(&|v| v.merges = vec!["ab".to_owned()], "merge rule 0 is `ab`");
    check(&|v| v.merges = vec!["a b".to_owned()], "merge rule 0 is `a b`");
}

#[test]
fn a_token_type_that_the_format_lacks_is_named() {
    assert_eq!(TokenType::from_gguf(3).ok(), Some(TokenType::Control));
    let error = TokenType::from_gguf(7).expect_err("there is no such type");
    assert_eq!(error.to_string(), "token type is 7, must be from 1 to 6; convert the model again");
}

#[test]
fn an_id_beyond_the_vocabulary_is_named() {
    let tokenizer = byte_level(&[]);
    let error = tokenizer.decode(&[TokenId(300)], SpecialText::Show).expect_err("there is no such token");
    assert_eq!(error.to_string(), "token id is 300, vocabulary has 256 entries");
}

#[test]
fn a_prompt_of_nothing_but_openings_is_tokenised_in_linear_time() {
    let added: Vec<String> = (0..300).map(|n| format!("<|reserved_{n}|>")).collect();
    let added: Vec<_> = added.iter().map(|text| (text.as_str(), TokenType::Control)).collect();
    let tokenizer = byte_level(&added);
    let text = "<|reserved_".repeat(2000);
    let ids = tokenizer.encode_markup(&text, Ends::Add).expect("text is tokenised");
    assert_eq!(ids.len(), text.len());
}
