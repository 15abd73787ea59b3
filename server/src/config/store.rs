//! The checked `[store]`: where calls and their costs are kept.

use std::path::PathBuf;

use super::Environment;
use super::document::KeyPath;
use super::key_error::KeyError;
use super::raw::RawStore;

/// The word of `path` that is no path.
const MEMORY: &str = "memory";
/// The file's name in the folder of this program's state.
const FILE_NAME: &str = "spillway.db";

/// Where calls and their costs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// Nowhere beyond this process's life.
    Memory,
    /// In a file of this process alone.
    File(PathBuf),
}

/// What costs money is kept in a file unless the operator says otherwise; where nothing does, nothing need be kept.
pub(super) fn validate(
    raw: RawStore,
    is_paid: bool,
    environment: &Environment,
) -> Result<StorePlace, KeyError> {
    let at = KeyPath::section("store").key("path");
    match raw.path {
        Some(path) if path.as_os_str().is_empty() => {
            Err(at.out_of_range("empty", "the path of a file, or memory"))
        }
        Some(path) if path.as_os_str() == MEMORY => Ok(StorePlace::Memory),
        Some(path) => Ok(StorePlace::File(path)),
        None if !is_paid => Ok(StorePlace::Memory),
        None => {
            let mend =
                "name a file, or set SPILLWAY_STATE, XDG_STATE_HOME or HOME: what was paid for is kept there";
            let folder = environment.state_folder().ok_or_else(|| at.missing(mend))?;
            Ok(StorePlace::File(folder.join(FILE_NAME)))
        }
    }
}
