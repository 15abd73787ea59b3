//! The variables of the environment that are read, all of them here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::hub::{HubAccess, HubConfig, HubToken};
use super::raw::Secret;

/// The hub that is asked if no other is named.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// `SPILLWAY_CACHE`: folder of downloaded models.
    pub(super) spillway_cache: Option<OsString>,
    /// `XDG_CACHE_HOME`: folder of all programs' caches.
    pub(super) xdg_cache_home: Option<OsString>,
    /// `SPILLWAY_STATE`: folder of what must outlive the process.
    pub(super) spillway_state: Option<OsString>,
    /// `XDG_STATE_HOME`: folder of all programs' state.
    pub(super) xdg_state_home: Option<OsString>,
    /// `HOME`.
    pub(super) home: Option<OsString>,
    /// The variables of Hugging Face's tools.
    pub(super) hub: HubVariables,
    /// `SPILLWAY_API_KEY`: a key that clients must show. Set and empty, it is refused rather than taken for absent.
    pub(super) api_key: Option<Secret>,
    /// Variables whose names stand in the config file.
    pub(super) named: NamedVariables,
}

/// Variables whose names stand in the config file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum NamedVariables {
    /// There are none.
    #[default]
    None,
    /// Those of the process.
    Process,
    /// These, for tests.
    #[cfg(test)]
    These(std::collections::BTreeMap<String, String>),
}

/// The variables of Hugging Face's tools, with the meanings that they have there.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct HubVariables {
    /// `HF_ENDPOINT`: address of the hub.
    pub(super) endpoint: Option<OsString>,
    /// `HF_HOME`: folder of the hub's tools.
    pub(super) home: Option<OsString>,
    /// `HF_HUB_CACHE`: folder of repositories.
    pub(super) cache: Option<OsString>,
    /// `HF_TOKEN`: the token itself.
    pub(super) token: Option<OsString>,
    /// `HF_TOKEN_PATH`: a file with the token.
    pub(super) token_path: Option<OsString>,
    /// `HF_HUB_OFFLINE`: whether the network is forbidden.
    pub(super) offline: Option<OsString>,
}

impl std::fmt::Debug for HubVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubVariables").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads the process's environment.
    pub(super) fn read() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            spillway_cache: variable("SPILLWAY_CACHE"),
            xdg_cache_home: variable("XDG_CACHE_HOME"),
            spillway_state: variable("SPILLWAY_STATE"),
            xdg_state_home: variable("XDG_STATE_HOME"),
            home: variable("HOME"),
            hub: HubVariables {
                endpoint: variable("HF_ENDPOINT"),
                home: variable("HF_HOME"),
                cache: variable("HF_HUB_CACHE"),
                token: variable("HF_TOKEN"),
                token_path: variable("HF_TOKEN_PATH"),
                offline: variable("HF_HUB_OFFLINE"),
            },
            // What is not Unicode becomes what no key may contain, and is refused as such.
            api_key: std::env::var_os("SPILLWAY_API_KEY")
                .map(|key| Secret::from(key.to_string_lossy().into_owned())),
            named: NamedVariables::Process,
        }
    }

    /// A variable whose name stands in the config file; absent if it is not set. It may be a secret.
    pub(super) fn named(&self, name: &str) -> Option<Secret> {
        match &self.named {
            NamedVariables::None => None,
            NamedVariables::Process => {
                std::env::var_os(name).map(|value| Secret::from(value.to_string_lossy().into_owned()))
            }
            #[cfg(test)]
            NamedVariables::These(variables) => variables.get(name).cloned().map(Secret::from),
        }
    }

    /// Folder of downloaded models: `$SPILLWAY_CACHE`, else `$XDG_CACHE_HOME/spillway`, else `~/.cache/spillway`.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        if let Some(own) = &self.spillway_cache {
            return Some(PathBuf::from(own));
        }
        self.shared_cache_folder().map(|shared| shared.join("spillway"))
    }

    /// Folder of what must outlive the process: `$SPILLWAY_STATE`, else `$XDG_STATE_HOME/spillway`, else
    /// `~/.local/state/spillway`.
    pub(super) fn state_folder(&self) -> Option<PathBuf> {
        if let Some(own) = &self.spillway_state {
            return Some(PathBuf::from(own));
        }
        let shared = self.xdg_state_home.as_ref().map(PathBuf::from);
        let shared =
            shared.or_else(|| self.home.as_ref().map(|home| PathBuf::from(home).join(".local/state")));
        shared.map(|shared| shared.join("spillway"))
    }

    /// Where the hub is, its cache and its token. The token's file is read here.
    pub(super) fn hub(&self) -> Result<HubConfig, ConfigError> {
        let home = match &self.hub.home {
            Some(home) => Some(PathBuf::from(home)),
            None => self.shared_cache_folder().map(|shared| shared.join("huggingface")),
        };
        let cache = match &self.hub.cache {
            Some(cache) => PathBuf::from(cache),
            None => home.as_ref().ok_or(ConfigError::NoHubCache)?.join("hub"),
        };
        Ok(HubConfig {
            endpoint: self.endpoint()?,
            cache,
            token: self.token(home.as_deref())?,
            access: self.access()?,
        })
    }

    fn shared_cache_folder(&self) -> Option<PathBuf> {
        if let Some(shared) = &self.xdg_cache_home {
            return Some(PathBuf::from(shared));
        }
        self.home.as_ref().map(|home| PathBuf::from(home).join(".cache"))
    }

    fn endpoint(&self) -> Result<String, ConfigError> {
        let endpoint = match &self.hub.endpoint {
            Some(endpoint) => text("HF_ENDPOINT", endpoint)?,
            None => DEFAULT_ENDPOINT,
        };
        let is_address = ["http://", "https://"].into_iter().any(|scheme| endpoint.starts_with(scheme));
        if !is_address {
            let value = endpoint.to_owned();
            let expected = "an address that begins with http:// or https://";
            return Err(ConfigError::Variable { name: "HF_ENDPOINT", value, expected });
        }
        Ok(endpoint.trim_end_matches('/').to_owned())
    }

    /// `HF_TOKEN`, else what the file of `HF_TOKEN_PATH` holds, else what a login has left in the hub's folder.
    fn token(&self, home: Option<&Path>) -> Result<Option<HubToken>, ConfigError> {
        if let Some(token) = &self.hub.token {
            // Its value stays out of the message: it is a secret.
            let token =
                token.to_str().filter(|token| token.trim().bytes().all(|byte| byte.is_ascii_graphic()));
            let value = "no line of visible ASCII".to_owned();
            let wrong =
                ConfigError::Variable { name: "HF_TOKEN", value, expected: "a token as the hub gave it" };
            return token.map(|token| Some(HubToken::new(token.trim()))).ok_or(wrong);
        }
        let named = self.hub.token_path.as_ref().map(PathBuf::from);
        let Some(path) = named.clone().or_else(|| home.map(|home| home.join("token"))) else {
            return Ok(None);
        };
        match std::fs::read_to_string(&path) {
            Ok(token) if token.trim().is_empty() => Ok(None),
            Ok(token) => Ok(Some(HubToken::new(token.trim()))),
            Err(_) if named.is_none() => Ok(None),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    fn access(&self) -> Result<HubAccess, ConfigError> {
        let Some(value) = &self.hub.offline else { return Ok(HubAccess::Online) };
        match text("HF_HUB_OFFLINE", value)?.to_ascii_lowercase().as_str() {
            "1" | "on" | "yes" | "true" => Ok(HubAccess::Offline),
            "0" | "off" | "no" | "false" => Ok(HubAccess::Online),
            other => {
                let (value, expected) = (other.to_owned(), "1 or 0");
                Err(ConfigError::Variable { name: "HF_HUB_OFFLINE", value, expected })
            }
        }
    }
}

fn text<'a>(name: &'static str, value: &'a std::ffi::OsStr) -> Result<&'a str, ConfigError> {
    let wrong =
        || ConfigError::Variable { name, value: value.to_string_lossy().into_owned(), expected: "UTF-8" };
    value.to_str().ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
