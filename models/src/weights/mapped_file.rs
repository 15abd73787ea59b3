//! A file of weights, mapped into memory.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use crate::error::ModelError;

/// The bytes of one file, read by the system as they are touched.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a whole file.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(ModelError::NotAModel { path: path.to_owned(), problem: "not a regular file" });
        }
        // SAFETY: the map is private to this process and only ever read as bytes, for which every bit pattern is
        // valid. What the type system cannot rule out is another process changing or cutting the file meanwhile; like
        // every server that maps its weights, this one asks its operator not to, and packs them once at load, after
        // which the map is dropped.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        // Only a hint: a system that does not take it still reads the right bytes.
        if let Err(error) = map.advise(Advice::WillNeed) {
            tracing::debug!(path = %path.display(), %error, "the system takes no advice on reading ahead");
        }
        Ok(Self { path: path.to_owned(), map })
    }

    /// Where the bytes come from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
