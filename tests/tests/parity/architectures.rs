//! A tiny model of every architecture, end to end, with all that the architecture does beyond Llama.
//!
//! Each of its features moves the logits by far more than is tolerated here: the script that writes the golden files
//! checks it.

use spillway_tests::{Knobs, LoadKnobs, TestModel, TinyModel, architecture_model, architecture_models};

use crate::compare::check_cases;

/// The longest sequence of the golden files and room for no more.
const MAX_MODEL_LEN: u32 = 256;

fn load_knobs(model: &TinyModel) -> LoadKnobs {
    LoadKnobs { max_model_len: model.max_model_len, ..LoadKnobs::default() }
}

#[test]
fn every_architecture_gives_the_logits_and_tokens_of_hugging_face() {
    let models = architecture_models();
    assert!(models.len() >= 24, "{} models, must be all of them", models.len());
    for tiny in &models {
        let model = TestModel::load(&architecture_model(&tiny.path), &load_knobs(tiny));
        let max_model_len = tiny.max_model_len.unwrap_or(MAX_MODEL_LEN);
        check_cases(&model, &Knobs { max_model_len, ..Knobs::default() }, &tiny.prompts);
    }
}
