//! Where the tests find models and golden files.

use std::path::{Path, PathBuf};

use crate::real_model::RealModel;

/// The folder of golden files.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A tiny model by its path under `golden/tiny`.
pub fn tiny_model(path: &str) -> PathBuf {
    golden_folder().join("tiny").join(path)
}

/// A tiny model by its path under `golden/architectures`.
pub fn architecture_model(path: &str) -> PathBuf {
    golden_folder().join("architectures").join(path)
}

/// The demo model.
///
/// # Panics
///
/// If it is not in the cache folder.
pub fn demo_model() -> PathBuf {
    RealModel::Demo.path()
}
