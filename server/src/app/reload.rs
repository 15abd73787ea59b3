//! Reads the config anew while the server runs: at SIGHUP, and when its file or one that it names has changed.
//!
//! What routes requests is replaced; what was built at the start stays as it was, and a warning names it. A file that
//! cannot be followed changes nothing and is told once, until it changes again.
//!
//! # Invariants
//!
//! - The old config is in force until [`Apply::apply`] has put the new one in its place.
//! - Files are looked at by their size, inode and time of change, and read only when one of these differs. One that
//!   changes from look to look is still being written, and waits.
//!
//! In a request's path: not at all; a request keeps the router that it began with.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics::counter;
use spillway_router::BoxFuture;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::listen::Tls;
use crate::config::{ConfigSource, Reread, ServeConfig};

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Counts what became of new configs.
const RELOADS: &str = "spillway_config_reloads_total";

/// Puts a config in the place of another.
pub(super) trait Apply: Send {
    /// Builds what `config` asks for and lets new requests have it. What fails must leave the old one as it was.
    fn apply<'a>(&'a mut self, config: &'a ServeConfig) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// What became of a new config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in force.
    Applied,
    /// The old one still is.
    Refused,
}

impl Outcome {
    /// The metric's label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
        }
    }
}

/// A config that can be read anew.
pub(super) struct Reload<A> {
    source: Arc<ConfigSource>,
    running: Arc<ServeConfig>,
    apply: A,
    /// What the files were like when they were last read.
    read: Stamps,
    /// What they were like at the last look.
    seen: Stamps,
}

/// The state of every file that a config is made of: what tells it from another state, or that there is no such file.
type Stamps = BTreeMap<PathBuf, Option<(i64, i64, u64, u64)>>;

impl<A: Apply> Reload<A> {
    /// `running` is what was read from `source` at the start.
    pub(super) fn new(source: ConfigSource, running: ServeConfig, apply: A) -> Self {
        let mut reload = Self {
            source: Arc::new(source),
            running: Arc::new(running),
            apply,
            read: Stamps::new(),
            seen: Stamps::new(),
        };
        reload.read = reload.stamps();
        reload.seen.clone_from(&reload.read);
        // Both are there from the start, so that a rate can be taken of the first.
        for outcome in [Outcome::Applied, Outcome::Refused] {
            counter!(RELOADS, "result" => outcome.as_str()).absolute(0);
        }
        reload
    }

    /// Reads the config if its files have changed since it was last read, and not since the last look.
    pub(super) async fn look(&mut self) -> Option<Outcome> {
        let now = self.stamps();
        let is_settled = now == self.seen;
        self.seen = now;
        if !is_settled || self.seen == self.read {
            return None;
        }
        Some(self.read_anew().await)
    }

    /// Reads the config, and puts it in force if it can be followed.
    pub(super) async fn read_anew(&mut self) -> Outcome {
        // Before the content: what changes meanwhile is seen at the next look.
        self.read = self.stamps();
        let outcome = match self.replace().await {
            Ok(()) => Outcome::Applied,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    file = %self.source.path().display(),
                    "the new config cannot be followed: the old one stays in force"
                );
                Outcome::Refused
            }
        };
        counter!(RELOADS, "result" => outcome.as_str()).increment(1);
        outcome
    }

    async fn replace(&mut self) -> anyhow::Result<()> {
        let (source, running) = (Arc::clone(&self.source), Arc::clone(&self.running));
        let reading = tokio::task::spawn_blocking(move || source.reread(&running));
        let Reread { config, kept } = reading.await.context("the config could not be read")??;
        self.apply.apply(&config).await?;
        for warning in &config.routing.warnings {
            tracing::warn!("{warning}");
        }
        if !kept.is_empty() {
            tracing::warn!(
                kept = kept.join(", "),
                "changes here come into force when the server starts anew"
            );
        }
        let (backends, routes) = (config.routing.backends.len(), config.routing.routes.len());
        tracing::info!(backends, routes, "a new config is in force");
        self.running = Arc::new(config);
        // The new one may name other files. Those that were known keep the state that they had before they were read.
        let mut stamps = self.stamps();
        for (path, stamp) in &mut stamps {
            *stamp = self.read.get(path).copied().unwrap_or(*stamp);
        }
        self.read = stamps;
        Ok(())
    }

    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.mtime(), found.mtime_nsec(), found.ino(), found.len()))
        };
        let files = self.running.files.iter().map(PathBuf::as_path);
        std::iter::once(self.source.path()).chain(files).map(|path| (path.to_owned(), stamp(path))).collect()
    }
}

/// What is read anew while the server runs.
pub(super) struct Watching<A> {
    /// Certificate and key, if TLS is spoken.
    pub(super) tls: Option<Arc<Tls>>,
    /// The config, if it has a file.
    pub(super) reload: Option<Reload<A>>,
}

impl<A: Apply> Watching<A> {
    /// Whether there is nothing to read anew.
    pub(super) fn is_idle(&self) -> bool {
        self.tls.is_none() && self.reload.is_none()
    }

    /// Reads all of it anew at each signal, and the config when its files change. Runs until it is dropped.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => self.at_signal().await,
                _ = looks.tick() => {
                    if let Some(reload) = &mut self.reload {
                        reload.look().await;
                    }
                }
            }
        }
    }

    async fn at_signal(&mut self) {
        tracing::info!("SIGHUP");
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        if let Some(reload) = &mut self.reload {
            reload.read_anew().await;
        }
    }
}

#[cfg(test)]
mod tests;
