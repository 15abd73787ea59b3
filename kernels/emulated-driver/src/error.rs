//! Why the stand-in could not be built or loaded.

use std::path::{Path, PathBuf};

/// Why a test has no stand-in for the driver.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },

    /// The compiler refuses a source, or cannot be started.
    #[error("`{command}` failed: {output}")]
    Compiler {
        /// What was run.
        command: String,
        /// What it wrote.
        output: String,
    },

    /// The library was built but cannot be loaded.
    #[error("cannot load {}: {reason}", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
}

/// Names the file in a system's error.
pub(crate) trait AtPath<T> {
    /// Turns a system's error into ours.
    fn at_path(self, path: &Path) -> Result<T, EmulatorError>;
}

impl<T> AtPath<T> for Result<T, std::io::Error> {
    fn at_path(self, path: &Path) -> Result<T, EmulatorError> {
        self.map_err(|source| EmulatorError::File { path: path.to_path_buf(), source })
    }
}
