//! The checked config of `spillway serve`: the engine, who routes to whom, and how clients reach it.

use std::path::PathBuf;

use super::raw::{RawConfig, RawLog, RawLogFormat};
use super::routing::RawRouting;
use super::{
    BackendConfig, ConfigError, EngineSettings, Environment, HttpConfig, RoutingConfig, SecurityConfig,
    StorePlace, named_keys, prices, store,
};

/// Everything that `spillway serve` needs.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The engine of this process; absent if others serve everything.
    pub engine: Option<EngineSettings>,
    /// Who serves which name.
    pub routing: RoutingConfig,
    /// Where calls and their costs are kept.
    pub store: StorePlace,
    /// How clients reach it.
    pub http: HttpConfig,
    /// Who may ask.
    pub security: SecurityConfig,
    /// What is written on standard error.
    pub log: LogConfig,
    /// Files beside the config's own whose content was read: when one changes, so does the config.
    pub files: Vec<PathBuf>,
}

impl ServeConfig {
    /// Parts that cannot change while a server runs, and in which this one differs from `running`.
    pub(super) fn fixed_differences(&self, running: &Self) -> Vec<&'static str> {
        fn part<T: PartialEq>(
            new: &ServeConfig,
            running: &ServeConfig,
            of: fn(&EngineSettings) -> &T,
        ) -> bool {
            new.engine.as_ref().map(of) != running.engine.as_ref().map(of)
        }
        let (new, old) = (&self.security, &running.security);
        let differs = [
            ("[model]", part(self, running, |engine| &engine.model)),
            ("[device]", part(self, running, |engine| &engine.device)),
            ("[scheduler]", part(self, running, |engine| &engine.scheduler)),
            ("[server]", self.http != running.http),
            ("tls_cert and tls_key of [security]", new.tls != old.tls),
            ("allowed_origin of [security]", new.allowed_origins != old.allowed_origins),
            ("[store]", self.store != running.store),
            ("[log]", self.log != running.log),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// What is written on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Form of the lines.
    pub format: LogFormat,
    /// Levels by module.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        RawLog::default().validate()
    }
}

/// Form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl RawConfig {
    /// Checks every value.
    pub(super) fn validate(self, environment: &Environment) -> Result<ServeConfig, ConfigError> {
        self.validate_over(environment, None)
    }

    /// Checks every value. Routes are checked against the engine of `running` if there is such a config.
    pub(super) fn validate_over(
        mut self,
        environment: &Environment,
        running: Option<&ServeConfig>,
    ) -> Result<ServeConfig, ConfigError> {
        let routing = RawRouting {
            backends: std::mem::take(&mut self.backends),
            routes: std::mem::take(&mut self.routes),
            router: std::mem::take(&mut self.router),
            content_rules: std::mem::take(&mut self.content_rules),
        };
        let (http, log) = (self.server.clone().validate()?, self.log.clone().validate());
        let keys = named_keys::validate(std::mem::take(&mut self.keys))?;
        let key_file = self.security.api_key_file.clone();
        let security = std::mem::take(&mut self.security).validate(environment.api_key.clone(), keys)?;
        let (store, price_file) = (std::mem::take(&mut self.store), self.prices.file.take());
        // Others may serve instead of a local model, but somebody must.
        let engine = match self.validate_engine(environment) {
            Err(ConfigError::NoModel) if !routing.backends.is_empty() => None,
            engine => Some(engine?),
        };
        let in_force = running.map_or(engine.as_ref(), |running| running.engine.as_ref());
        let model = in_force.map(|engine| &engine.model);
        let table = prices::table(price_file.as_deref())?;
        let (routing, files) = routing.validate(model, environment, &table)?;
        let is_paid = routing.backends.iter().any(BackendConfig::is_paid);
        Ok(ServeConfig {
            store: store::validate(store, is_paid, environment)?,
            files: files.into_iter().chain(key_file).chain(price_file).collect(),
            engine,
            routing,
            http,
            security,
            log,
        })
    }
}

impl RawLog {
    fn validate(self) -> LogConfig {
        let format = match self.log_format {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        };
        LogConfig { format, filter: self.log_filter }
    }
}
