//! A tiny model of every architecture, end to end, with all that the architecture does beyond Llama.
//!
//! Each of its features moves the logits by far more than is tolerated here: the script that writes the golden files
//! checks it.

use spillway_tests::{Knobs, LoadKnobs, TestModel, TinyModel, architecture_model, architecture_models};

use crate::compare::check_cases;

/// Paths of models that cannot be loaded yet. Whoever makes one work takes it off the list.
const UNSUPPORTED: &[&str] = &[
    "mistral",
    "qwen2-tied",
    "gguf/qwen2-tied-f16.gguf",
    "qwen2-untied",
    "qwen2-window",
    "qwen3",
    "gguf/qwen3-f16.gguf",
    "gemma2",
    "gguf/gemma2-f16.gguf",
    "gemma3",
    "gemma3-pattern",
    "gguf/gemma3-pattern-f16.gguf",
    "phi3",
    "gguf/phi3-f16.gguf",
    "phi3-window",
    "phi4",
    "gguf/phi4-f16.gguf",
    "qwen3moe",
    "qwen3moe-step",
    "gguf/qwen3moe-all-f16.gguf",
    "mixtral",
    "gguf/mixtral-f16.gguf",
];

/// The longest sequence of the golden files and room for no more.
const MAX_MODEL_LEN: u32 = 256;

fn load_knobs(model: &TinyModel) -> LoadKnobs {
    LoadKnobs { max_model_len: model.max_model_len, ..LoadKnobs::default() }
}

#[test]
fn every_architecture_gives_the_logits_and_tokens_of_hugging_face() {
    let models = architecture_models();
    assert!(models.len() >= 24, "{} models, must be all of them", models.len());
    for tiny in models.iter().filter(|tiny| !UNSUPPORTED.contains(&tiny.path.as_str())) {
        let model = TestModel::load(&architecture_model(&tiny.path), &load_knobs(tiny));
        let max_model_len = tiny.max_model_len.unwrap_or(MAX_MODEL_LEN);
        check_cases(&model, &Knobs { max_model_len, ..Knobs::default() }, &tiny.prompts);
    }
}

#[test]
fn what_is_called_unsupported_is_refused() {
    let models = architecture_models();
    for path in UNSUPPORTED {
        let tiny = models.iter().find(|tiny| tiny.path == *path).expect("it is in the golden file");
        let loaded = TestModel::try_load(&architecture_model(&tiny.path), &load_knobs(tiny));
        assert!(loaded.is_err(), "{path} can be loaded: take it off the list");
    }
}
