//! `[security]`: who may ask, and how the way is protected.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// `[security]`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Security: keys of [security]")]
pub(in crate::config) struct RawSecurity {
    /// A key that clients must show; give it again for more. Other users of the machine can see it: prefer
    /// --api-key-file, or `SPILLWAY_API_KEY` in the environment. All keys count together. None: everyone may ask.
    #[arg(long, value_name = "KEY")]
    #[serde(deserialize_with = "one_or_many")]
    pub(in crate::config) api_key: Vec<Secret>,
    /// File of keys, one a line; empty lines and lines that begin with # are passed over.
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) api_key_file: Option<PathBuf>,
    /// PEM file of the server's certificate and those above it: serves HTTPS. Read again at SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) tls_key: Option<PathBuf>,
    /// Web site whose pages may ask, as in `https://chat.example.com`, or * for all; give it again for more.
    #[arg(long, value_name = "ORIGIN")]
    pub(in crate::config) allowed_origin: Vec<String>,
}

/// What stands for a key that is not shown. It has a space, so that no server takes it for one.
const HIDDEN_KEY: &str = "not shown";

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Puts a word in its place.
    pub(in crate::config) fn hide(&mut self) {
        HIDDEN_KEY.clone_into(&mut self.0);
    }
}

/// A complaint about a value that is no text would show it.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string")]
        enum Written {
            Text(String),
        }
        let Written::Text(text) = Written::deserialize(deserializer)?;
        Ok(Self(text))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// One key or a list of them: a complaint about the wrong one of the two would show the key.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Keys {
        One(Secret),
        Many(Vec<Secret>),
    }
    Ok(match Keys::deserialize(deserializer)? {
        Keys::One(key) => vec![key],
        Keys::Many(keys) => keys,
    })
}
