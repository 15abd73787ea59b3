//! The config file and the flags over it: read at start, and again whenever the file changes.

use std::path::{Path, PathBuf};

use super::document::Document;
use super::raw::RawConfig;
use super::{ConfigError, Environment, SecurityConfig, ServeConfig};

/// Where the config comes from when there is a file. Its flags and its environment stay; the file may change.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    path: PathBuf,
    /// The flags that were given, by section.
    flags: toml::Table,
    environment: Environment,
}

/// A config that was read while another was in force.
#[derive(Debug, Clone)]
pub struct Reread {
    /// What is to be in force now.
    pub config: ServeConfig,
    /// Parts of the file that differ from what runs, and wait for the next start.
    pub kept: Vec<&'static str>,
}

impl ConfigSource {
    /// A file under no flags, in an environment that has a home only.
    #[cfg(test)]
    pub(crate) fn without_flags(path: &Path) -> Self {
        let environment = Environment { home: Some("/home/ann".into()), ..Environment::default() };
        Self { path: path.to_owned(), flags: toml::Table::new(), environment }
    }

    /// A file without flags over it.
    pub(super) fn of_file(path: PathBuf, environment: &Environment) -> Self {
        Self { path, flags: toml::Table::new(), environment: environment.clone() }
    }

    /// A file under the flags that `is_given` tells of by their keys.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Layers`] if the flags cannot be written as a file would be.
    pub(super) fn new(
        path: PathBuf,
        flags: &RawConfig,
        is_given: impl Fn(&str) -> bool,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let mut sections = toml::Table::try_from(flags).map_err(layers_error)?;
        for section in sections.iter_mut().filter_map(|(_, section)| section.as_table_mut()) {
            section.retain(|key, _| is_given(key));
        }
        Ok(Self { path, flags: sections, environment: environment.clone() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, puts the flags over it, and checks everything.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says which value cannot be followed, and in which line of the file it stands.
    pub fn read(&self) -> Result<ServeConfig, ConfigError> {
        self.read_as(|raw| raw.validate(&self.environment))
    }

    /// Reads the file anew while `running` is in force. What was built when the server started stays as it is; the rest
    /// is that of the file.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn reread(&self, running: &ServeConfig) -> Result<Reread, ConfigError> {
        let new = self.read_as(|raw| raw.validate_over(&self.environment, Some(running)))?;
        let kept = new.fixed_differences(running);
        let config = ServeConfig {
            engine: running.engine.clone(),
            store: running.store.clone(),
            http: running.http.clone(),
            log: running.log.clone(),
            security: SecurityConfig {
                tls: running.security.tls.clone(),
                allowed_origins: running.security.allowed_origins.clone(),
                ..new.security
            },
            ..new
        };
        Ok(Reread { config, kept })
    }

    /// The same for whatever `check` makes of the config.
    pub(super) fn read_as<T>(
        &self,
        check: impl FnOnce(RawConfig) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|source| ConfigError::Unreadable { path: self.path.clone(), source })?;
        let document = Document::new(&text);
        let mut sections = self.sections(&text, &document)?;
        for (section, flags) in &self.flags {
            let toml::Value::Table(flags) = flags else { continue };
            let empty = || toml::Value::Table(toml::Table::new());
            if let toml::Value::Table(keys) = sections.entry(section.clone()).or_insert_with(empty) {
                keys.extend(flags.clone());
            }
        }
        let raw = sections.try_into().map_err(layers_error)?;
        check(raw).map_err(|error| self.placed(error, &document))
    }

    /// The file's sections. Its keys and types are checked while their lines are still known.
    fn sections(&self, text: &str, document: &Document<'_>) -> Result<toml::Table, ConfigError> {
        let malformed = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            // Of the line itself only its keys: what follows them may be a secret.
            let key = document.path_at(start).map_or_else(String::new, |key| format!(" (at `{key}`)"));
            let message = format!("line {}: {}{key}", document.line_at(start), error.message());
            ConfigError::Malformed { path: self.path.clone(), message }
        };
        toml::from_str::<RawConfig>(text).map_err(malformed)?;
        toml::from_str(text).map_err(malformed)
    }

    /// The error with the line that it comes from, if that is in the file.
    fn placed(&self, error: ConfigError, document: &Document<'_>) -> ConfigError {
        let line = match (&error, error.flag()) {
            (ConfigError::Key(error), _) => document.line_of(&error.at),
            (_, Some(flag)) if self.is_given(flag) => return error,
            (_, Some(flag)) => match document.line_of_flag(flag) {
                Some(line) => Some(line),
                None => return error,
            },
            (_, None) => return error,
        };
        ConfigError::InFile { path: self.path.clone(), line, problem: Box::new(error) }
    }

    /// Whether a flag was given, which the file then does not decide.
    fn is_given(&self, flag: &str) -> bool {
        let key = flag.replace('-', "_");
        self.flags.values().any(|section| section.get(&key).is_some())
    }
}

fn layers_error(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Layers { message: error.to_string() }
}

#[cfg(test)]
pub(super) mod tests;
