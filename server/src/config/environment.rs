//! The variables of the environment that are read, all of them here.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// `SPILLWAY_CACHE`: folder of downloaded models.
    pub(super) spillway_cache: Option<OsString>,
    /// `XDG_CACHE_HOME`: folder of all programs' caches.
    pub(super) xdg_cache_home: Option<OsString>,
    /// `HOME`.
    pub(super) home: Option<OsString>,
}

impl Environment {
    /// Reads the process's environment.
    pub(super) fn read() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            spillway_cache: variable("SPILLWAY_CACHE"),
            xdg_cache_home: variable("XDG_CACHE_HOME"),
            home: variable("HOME"),
        }
    }

    /// Folder of downloaded models: `$SPILLWAY_CACHE`, else `$XDG_CACHE_HOME/spillway`, else `~/.cache/spillway`.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        if let Some(own) = &self.spillway_cache {
            return Some(PathBuf::from(own));
        }
        if let Some(shared) = &self.xdg_cache_home {
            return Some(PathBuf::from(shared).join("spillway"));
        }
        self.home.as_ref().map(|home| PathBuf::from(home).join(".cache").join("spillway"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_is_the_most_specific_one_that_is_set() {
        let mut environment = Environment::default();
        assert_eq!(environment.cache_folder(), None);
        environment.home = Some("/home/ann".into());
        assert_eq!(environment.cache_folder(), Some(PathBuf::from("/home/ann/.cache/spillway")));
        environment.xdg_cache_home = Some("/cache".into());
        assert_eq!(environment.cache_folder(), Some(PathBuf::from("/cache/spillway")));
        environment.spillway_cache = Some("/models".into());
        assert_eq!(environment.cache_folder(), Some(PathBuf::from("/models")));
    }
}
