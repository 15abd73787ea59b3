//! A model's text without its weights.

use std::path::Path;

use spillway::model_text::{self, MissingTokenizer};
use spillway_models::{ModelSource, TextAssets};
use spillway_text::{ChatTemplate, Tokenizer};

/// A model's tokenizer and chat template, for tests that compute nothing.
pub struct TestText {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Renders conversations; may be absent inside.
    pub template: ChatTemplate,
}

impl TestText {
    /// Reads a folder or a GGUF file.
    ///
    /// # Panics
    ///
    /// If it has no text that can be used.
    pub fn load(path: &Path) -> Self {
        let source = ModelSource::from_path(path).expect("a model");
        let assets = TextAssets::read(&source).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = model_text::build(assets, MissingTokenizer::Refuse).expect("the model's text files");
        Self { tokenizer: text.tokenizer, template: text.template }
    }
}
