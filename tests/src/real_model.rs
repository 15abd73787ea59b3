//! The real models that the tests use, and where their files and golden files are.

use std::path::PathBuf;

use crate::places::{cache_folder, golden_folder};

/// A model that comes out of Python packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealModel {
    /// `SmolLM2-135M-Instruct`: the demo model.
    Demo,
    /// Gemma 3 270M, a base model: it has no chat template.
    Gemma3,
    /// `Qwen2.5-Coder-0.5B-Instruct`.
    Qwen25,
}

impl RealModel {
    /// Its file in the cache folder.
    ///
    /// # Panics
    ///
    /// If it is not there: a test that was passed over would look like one that passed.
    pub fn path(self) -> PathBuf {
        let (file, command) = match self {
            Self::Demo => ("SmolLM2-135M-Instruct.Q4_1.gguf", "spillway pull demo"),
            Self::Gemma3 => ("gemma-3-270m-q4_k_m.gguf", "scripts/fetch-test-models.sh"),
            Self::Qwen25 => ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "scripts/fetch-test-models.sh"),
        };
        let folder = cache_folder();
        let path = folder.join(file);
        assert!(path.is_file(), "{file} is not in {}: run `{command}`", folder.display());
        path
    }

    /// The folder of its golden files.
    pub(crate) fn golden_folder(self) -> PathBuf {
        match self {
            Self::Demo => golden_folder(),
            Self::Gemma3 => golden_folder().join("gemma3"),
            Self::Qwen25 => golden_folder().join("qwen2.5"),
        }
    }
}
