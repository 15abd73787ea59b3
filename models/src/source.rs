//! Where a model is on disk, and reading the small files beside it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::ModelError;

/// A model on disk, in one of the two forms that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A Hugging Face folder: `config.json`, safetensors, tokenizer files.
    Folder(PathBuf),
    /// A GGUF file, which holds everything.
    Gguf(PathBuf),
}

impl ModelSource {
    /// Looks at what a path is.
    ///
    /// # Errors
    ///
    /// [`ModelError::Read`] if it does not exist, [`ModelError::NotAModel`] if it is neither form.
    pub fn from_path(path: &Path) -> Result<Self, ModelError> {
        let metadata =
            std::fs::metadata(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let not_a_model = |problem| Err(ModelError::NotAModel { path: path.to_owned(), problem });
        if metadata.is_dir() {
            if path.join("config.json").is_file() {
                return Ok(Self::Folder(path.to_owned()));
            }
            return not_a_model("the folder has no config.json; name a folder with one, or a .gguf file");
        }
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("gguf") => Ok(Self::Gguf(path.to_owned())),
            _ => not_a_model(
                "the file's name does not end in .gguf; name such a file, or a folder with config.json",
            ),
        }
    }

    /// The path it was made of.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
        }
    }
}

/// Reads a file of at most `max_bytes`.
pub(crate) fn read_limited(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        let problem = format!("it is longer than {max_bytes} bytes, the limit for such a file");
        return Err(ModelError::Malformed { path: path.to_owned(), problem });
    }
    Ok(bytes)
}

/// As [`read_limited`], but a file that does not exist is `None`.
pub(crate) fn read_optional(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, ModelError> {
    if path.exists() { read_limited(path, max_bytes).map(Some) } else { Ok(None) }
}
