//! Text read piece by piece is the text of all tokens decoded at once, and never more than that.

use std::num::NonZeroU32;

use spillway_tests::{Ask, Choice, Knobs, LoadKnobs, TestEngine, TestModel, tiny_model};
use spillway_text::{Detokenizer, Position, SpecialText};
use spillway_types::{FinishReason, Prompt, Sampling, TokenId};

/// Random tokens of a random model: broken characters, special tokens and all.
fn babble(engine: &TestEngine, stop: &[&str], seed: u64) -> Choice {
    let sampling = Sampling::new(1.5, NonZeroU32::new(500), 1.0, 0.0).expect("it is in range");
    let ask = Ask {
        stop: stop.iter().map(ToString::to_string).collect(),
        ..Ask::of(Prompt::Text("The stone".to_owned()), 64).random(sampling, seed)
    };
    engine.run(&[ask])[0].only().clone()
}

fn at_once(model: &TestModel, tokens: &[u32]) -> String {
    let tokenizer = model.tokenizer();
    let mut detokenizer = Detokenizer::new(tokenizer, Position::AfterPrompt, SpecialText::Skip);
    let mut text = String::new();
    for &token in tokens {
        detokenizer.push(tokenizer, TokenId(token), &mut text).expect("a known token");
    }
    detokenizer.finish(&mut text);
    text
}

fn check_each(check: impl Fn(&TestModel, &TestEngine)) {
    for path in ["tied", "llama3", "llama2", "gguf/llama2-q8_0.gguf", "gguf/tied-q4_0.gguf"] {
        let model = TestModel::load(&tiny_model(path), &LoadKnobs::default());
        let engine = TestEngine::start(&model, &Knobs { depth: 2, ..Knobs::default() });
        check(&model, &engine);
        engine.stop();
    }
}

#[test]
fn streamed_pieces_are_the_text_of_all_tokens() {
    check_each(|model, engine| {
        for seed in 0..8 {
            let choice = babble(engine, &[], seed);
            assert_eq!(choice.reason, FinishReason::Length, "seed {seed}");
            assert_eq!(choice.text(), at_once(model, &choice.tokens), "seed {seed}");
            assert!(choice.pieces.len() > 32, "it came in pieces");
            if model.spec().vocab_size == 512 && model.tokenizer().special_tokens().bos.is_none() {
                let tokens: Vec<TokenId> = choice.tokens.iter().map(|&id| TokenId(id)).collect();
                let decoded = model.tokenizer().decode(&tokens, SpecialText::Skip).expect("known tokens");
                assert_eq!(choice.text(), decoded, "seed {seed}");
            }
        }
    });
}

#[test]
fn a_stop_string_ends_the_text_before_it_wherever_tokens_end() {
    check_each(|model, engine| {
        for seed in 0..8 {
            let whole = babble(engine, &[], seed).text();
            // Three characters from the middle: they may begin and end inside of tokens.
            let characters: Vec<(usize, char)> = whole.char_indices().collect();
            let (from, to) = (characters[characters.len() / 2].0, characters[characters.len() / 2 + 3].0);
            let stop = &whole[from..to];
            let stopped = babble(engine, &["\u{1}never\u{1}", stop], seed);
            let end = whole.find(stop).expect("it was taken from there");
            assert_eq!(stopped.text(), whole[..end], "seed {seed}, stop {stop:?}");
            assert_eq!(stopped.reason, FinishReason::Stop, "seed {seed}");
            // Up to the token that completed the stop string, and no further.
            let text = at_once(model, &stopped.tokens);
            assert!(text.contains(stop) || text.ends_with('\u{fffd}'), "seed {seed}: {text:?}");
            let before = &stopped.tokens[..stopped.tokens.len() - 1];
            assert!(!at_once(model, before).trim_end_matches('\u{fffd}').contains(stop), "seed {seed}");
        }
    });
}

#[test]
fn an_end_token_ends_an_answer_and_is_no_text() {
    let model = TestModel::load(&tiny_model("llama3"), &LoadKnobs::default());
    let engine = TestEngine::start(&model, &Knobs::default());
    let sampling = Sampling::new(2.0, None, 1.0, 0.0).expect("it is in range");
    let mut num_ended = 0;
    for seed in 0..40 {
        let ask = Ask::of(Prompt::Text("The stone".to_owned()), 200).random(sampling, seed);
        let going_on = engine.run(std::slice::from_ref(&ask))[0].only().clone();
        let ending = engine.run(&[Ask { ignore_eos: false, ..ask }])[0].only().clone();
        let end_tokens = &engine.handle().card().end_tokens;
        let is_end = |token: &u32| end_tokens.contains(&TokenId(*token));
        let end = going_on.tokens.iter().position(is_end);
        let num_tokens = end.map_or(200, |end| end + 1);
        assert_eq!(ending.tokens, going_on.tokens[..num_tokens], "seed {seed}");
        let reason = if end.is_some() { FinishReason::Stop } else { FinishReason::Length };
        assert_eq!(ending.reason, reason, "seed {seed}");
        let text_tokens = &ending.tokens[..end.unwrap_or(200)];
        assert_eq!(ending.text(), at_once(&model, text_tokens), "seed {seed}");
        num_ended += usize::from(end.is_some());
    }
    assert!(num_ended > 3, "{num_ended} of 40 answers ended");
    engine.stop();
}
