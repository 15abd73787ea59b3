//! Where the tests find models and golden files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file that `spillway pull demo` fetches.
const DEMO_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

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

/// The demo model in the cache folder: `$SPILLWAY_CACHE`, else `$XDG_CACHE_HOME/spillway`, else `~/.cache/spillway`.
///
/// # Panics
///
/// If it is not there: a test that was passed over would look like one that passed.
pub fn demo_model() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let folder = variable("SPILLWAY_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("spillway")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache").join("spillway")))
        .expect("one of SPILLWAY_CACHE, XDG_CACHE_HOME and HOME is set");
    let path = folder.join(DEMO_FILE);
    assert!(path.is_file(), "the demo model is not in {}: run `spillway pull demo`", folder.display());
    path
}
