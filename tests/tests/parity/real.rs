//! Real models against the reference.

use spillway_models::DtypePolicy;
use spillway_tests::{Ask, Knobs, LoadKnobs, RealModel, TestEngine, TestModel, parity_cases};

use crate::compare::check_cases;

/// Room for the longest golden prompt and what follows it.
fn knobs() -> Knobs {
    Knobs { max_model_len: 3072, ..Knobs::default() }
}

fn load(model: RealModel, dtype: DtypePolicy) -> TestModel {
    TestModel::load(&model.path(), &LoadKnobs { dtype, ..LoadKnobs::default() })
}

fn check_in_f32(model: RealModel) {
    let cases = parity_cases(model);
    assert_eq!(cases.len(), 12);
    check_cases(&load(model, DtypePolicy::F32), &knobs(), &cases);
}

/// Quantised products are not held to 1e-3. But they must tell the same story: nearly always the reference's token.
fn check_as_stored(real: RealModel) {
    let model = load(real, DtypePolicy::Auto);
    let engine = TestEngine::start(&model, &knobs());
    let (mut num_equal, mut num_tokens) = (0, 0);
    for case in parity_cases(real).iter().filter(|case| case.prompt_ids.len() < 128) {
        // Each token after the reference's own ones, so that one difference does not make all later ones differ.
        let asks: Vec<Ask> = (0..case.tokens.len())
            .step_by(8)
            .map(|step| Ask::greedy(&[&case.prompt_ids[..], &case.tokens[..step]].concat(), 1))
            .collect();
        let expected = case.tokens.iter().step_by(8);
        num_tokens += asks.len();
        num_equal += engine
            .run(&asks)
            .iter()
            .zip(expected)
            .filter(|(answer, id)| answer.only().tokens[0] == **id)
            .count();
    }
    engine.stop();
    println!("{num_equal} of {num_tokens} tokens are the reference's");
    assert!(num_equal * 10 >= num_tokens * 9, "{num_equal} of {num_tokens} tokens are the reference's");
}

#[test]
fn the_demo_model_gives_the_logits_and_tokens_of_hugging_face() {
    check_in_f32(RealModel::Demo);
}

#[test]
fn quantised_products_of_the_demo_model_choose_the_tokens_of_hugging_face_most_of_the_time() {
    check_as_stored(RealModel::Demo);
}

#[test]
fn gemma_3_gives_the_logits_and_tokens_of_hugging_face() {
    check_in_f32(RealModel::Gemma3);
}

#[test]
fn quantised_products_of_gemma_3_choose_the_tokens_of_hugging_face_most_of_the_time() {
    check_as_stored(RealModel::Gemma3);
}

#[test]
fn qwen_2_5_gives_the_logits_and_tokens_of_hugging_face() {
    check_in_f32(RealModel::Qwen25);
}

#[test]
fn quantised_products_of_qwen_2_5_choose_the_tokens_of_hugging_face_most_of_the_time() {
    check_as_stored(RealModel::Qwen25);
}
