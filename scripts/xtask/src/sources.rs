//! The files of the repository, as git knows them, read once for all checks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// One text file of the repository.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl Source {
    /// Whether the path ends in `.extension`.
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }
}

/// The root folder of the checkout that the task is run in. Asked at run time: checkouts may share a target folder, and with
/// it this program.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let told = git(Path::new("."), &["rev-parse", "--show-toplevel"])?;
    Ok(PathBuf::from(told.trim_end()))
}

/// Every text file that is tracked, or new and not ignored.
pub(crate) fn read_all() -> anyhow::Result<Vec<Source>> {
    let root = root()?;
    let paths = git(&root, &["ls-files", "--cached", "--others", "--exclude-standard", "-z"])?;
    let mut sources = Vec::new();
    for path in paths.split('\0').filter(|path| !path.is_empty()) {
        // Deleted files are still listed, binary ones are no text: neither has lines to check.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(sources)
}

/// What git prints in a folder.
fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let ran = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("git could not be started")?;
    if !ran.status.success() {
        bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&ran.stderr));
    }
    String::from_utf8(ran.stdout).context("a path is not UTF-8")
}
