//! Tiny models with something changed: a copy of a golden one in a folder of its own.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::places::tiny_model;

/// A changed copy. Dropping it removes it.
#[derive(Debug)]
pub struct ModelVariant {
    folder: TempDir,
}

impl ModelVariant {
    /// The tiny tied model with so long a context that no test sees the end of an answer.
    pub fn endless() -> Self {
        let variant = Self::copy("tied");
        variant.edit("config.json", |config| config["max_position_embeddings"] = Value::from(100_000));
        variant
    }

    /// The tiny tied model without a chat template.
    pub fn without_template() -> Self {
        let variant = Self::copy("tied");
        variant.edit("tokenizer_config.json", |config| {
            let removed = config.as_object_mut().and_then(|fields| fields.remove("chat_template"));
            assert!(removed.is_some(), "the model has a template to begin with");
        });
        variant
    }

    /// An exact copy of a tiny model, to be changed.
    ///
    /// # Panics
    ///
    /// If the disk refuses.
    pub fn copy(path: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for entry in std::fs::read_dir(tiny_model(path)).expect("the golden model is there") {
            let entry = entry.expect("a readable folder");
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("room on the disk");
        }
        Self { folder }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Changes one of its JSON files.
    ///
    /// # Panics
    ///
    /// If the file is no JSON.
    pub fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).expect("the file is there");
        let mut value = serde_json::from_str(&text).expect("the file is JSON");
        change(&mut value);
        std::fs::write(&path, value.to_string()).expect("the file can be written");
    }
}
