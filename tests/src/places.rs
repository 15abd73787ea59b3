//! Where the tests find models and golden files.

use std::ffi::OsString;
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

/// The cache folder: `$SPILLWAY_CACHE`, else `$XDG_CACHE_HOME/spillway`, else `~/.cache/spillway`.
pub(crate) fn cache_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    variable("SPILLWAY_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("spillway")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache").join("spillway")))
        .expect("one of SPILLWAY_CACHE, XDG_CACHE_HOME and HOME is set")
}

/// The demo model.
///
/// # Panics
///
/// If it is not in the cache folder.
pub fn demo_model() -> PathBuf {
    RealModel::Demo.path()
}
