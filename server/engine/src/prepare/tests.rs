//! What becomes of a request's fields on their way to the engine, with the tokenizer of a tiny model.

use std::num::NonZeroU32;

use spillway_text::{ChatTemplate, Timestamp, TokenizerConfig};
use spillway_types::{ModelId, Penalties, Sampling, Seed};

use super::*;

const TOKENIZER: &[u8] = include_bytes!("../../../../tests/golden/tiny/tied/tokenizer.json");
const MODEL_END: TokenId = TokenId(2);

fn text() -> TextPipeline {
    let tokenizer = Tokenizer::from_hf_json(TOKENIZER, &TokenizerConfig::default()).expect("a tokenizer");
    let template = ChatTemplate::compile(None, &tokenizer).expect("there is none");
    TextPipeline::new(tokenizer, template, Arc::new(|| Timestamp::from_unix_seconds(0)))
}

/// A model with room for 64 tokens.
fn card() -> ModelCard {
    let end_tokens = Arc::from([MODEL_END]);
    ModelCard {
        id: ModelId::new("tied"),
        max_model_len: 64,
        vocab_size: 512,
        block_tokens: 16,
        max_num_seqs: 8,
        end_tokens,
    }
}

fn greedy() -> SamplingParams {
    SamplingParams::new(Sampling::Greedy, Seed(0))
}

fn tokens(ids: impl IntoIterator<Item = u32>) -> Vec<TokenId> {
    ids.into_iter().map(TokenId).collect()
}

fn prepared(prompt: &Prompt, truncation: Option<Truncation>, params: &SamplingParams) -> Prepared {
    prepare(&text(), &card(), prompt, truncation, params).expect("it can be served")
}

fn rules(params: &SamplingParams) -> Option<Arc<LogitRules>> {
    prepared(&Prompt::Tokens(tokens([9, 7, 9, 8])), None, params).rules
}

fn last(count: u32) -> Truncation {
    Truncation::Last(NonZeroU32::new(count).expect("it is not 0"))
}

#[test]
fn a_prompt_that_is_cut_keeps_its_last_tokens() {
    let prompt = Prompt::Tokens(tokens(100..200));
    let of_60 = SamplingParams { max_tokens: NonZeroU32::new(60), ..greedy() };
    for (truncation, params, kept) in [
        (last(3), greedy(), 197..200),
        (Truncation::ToFit, greedy(), 137..200),
        (Truncation::ToFit, of_60, 196..200),
    ] {
        assert_eq!(prepared(&prompt, Some(truncation), &params).prompt, tokens(kept), "{truncation:?}");
    }
    let short = Prompt::Tokens(tokens(100..103));
    assert_eq!(prepared(&short, Some(last(3)), &greedy()).prompt, tokens(100..103));
}

#[test]
fn of_a_prompt_that_is_cut_only_the_rest_is_told() {
    let params = SamplingParams { tell_prompt: true, ..greedy() };
    let prompt = Prompt::Text("one two and three".to_owned());
    let whole = prepared(&prompt, None, &params);
    assert_eq!(whole.prompt_text.expect("it was asked for").text, "one two and three");
    let cut = prepared(&prompt, Some(last(2)), &params);
    let told = cut.prompt_text.expect("it was asked for");
    assert_eq!(told.text, text().text(&whole.prompt[whole.prompt.len() - 2..]).expect("they are known"));
    assert_eq!((Some(&told.first), told.text.len() < 10), (cut.prompt.first(), true));
}

#[test]
fn no_end_may_come_before_the_least_number_of_tokens() {
    let params = SamplingParams { min_tokens: 3, stop_tokens: tokens([5]), ..greedy() };
    let held = rules(&params).expect("ends are held off");
    // A prompt of 4 tokens, then 3 at the positions 4, 5 and 6.
    assert_eq!((held.first_end_position, &held.end_tokens[..]), (7, &tokens([2, 5])[..]));
    assert!(rules(&SamplingParams { min_tokens: 0, ..params }).is_none());
}

#[test]
fn a_least_number_of_tokens_must_fit_into_the_context() {
    let prompt = Prompt::Tokens(tokens(100..110));
    let of = |min_tokens| {
        prepare(&text(), &card(), &prompt, None, &SamplingParams { min_tokens, ..greedy() }).err()
    };
    assert_eq!(of(54), None);
    let error = of(55).expect("it does not").to_string();
    assert!(error.contains("`min_tokens` is 55, limit 54"), "{error}");
}

#[test]
fn only_a_penalty_for_repetition_looks_at_the_prompt() {
    let seen = |repetition, presence| {
        let penalties = Penalties::new(repetition, presence, 0.5).expect("in range");
        rules(&SamplingParams { penalties, ..greedy() }).expect("there are penalties").prompt_tokens.clone()
    };
    assert_eq!(seen(1.3, 0.0), tokens([7, 8, 9]));
    assert_eq!(seen(1.0, 1.0), tokens([]));
}

/// Goal: vLLM's spellings of a bad word. Method: `one` after a space has two tokens for one and is no spelling of its own.
#[test]
fn a_bad_word_is_spelled_at_the_start_and_after_a_space() {
    let mut params = greedy();
    params.constraints.bad_words = ["two", " and", "one"].map(str::to_owned).to_vec();
    let spelled = &rules(&params).expect("there are bad words").bad_words;
    let expected: [&[u32]; 5] = [&[87, 90, 82], &[261, 90, 82], &[356], &[460], &[353]];
    assert_eq!(*spelled, expected.map(|ids| tokens(ids.iter().copied())));
}

#[test]
fn a_sequence_ends_at_the_models_tokens_and_the_clients() {
    for (ignore_eos, stop_tokens, expected) in [
        (false, vec![], vec![2]),
        (false, vec![5, 7], vec![2, 5, 7]),
        (true, vec![5, 7], vec![5, 7]),
        (true, vec![], vec![]),
    ] {
        let params = SamplingParams { ignore_eos, stop_tokens: tokens(stop_tokens), ..greedy() };
        let prepared = prepared(&Prompt::Tokens(tokens([9])), None, &params);
        assert_eq!(prepared.end_tokens[..], tokens(expected), "{params:?}");
    }
}
