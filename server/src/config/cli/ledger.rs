//! The flags of `spillway ledger`.

use std::path::PathBuf;

use clap::ValueEnum;
use spillway_store::SpendBy;

use crate::config::{ConfigError, ConfigSource, Environment, StorePlace};

/// What is asked of a ledger, as written.
#[derive(Debug, clap::Args)]
pub(super) struct RawLedger {
    /// TOML file, as for `spillway serve`: the ledger of its `[store]`.
    #[arg(long, value_name = "FILE", required_unless_present = "path", conflicts_with = "path")]
    config: Option<PathBuf>,
    /// The ledger's own file.
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// What this month's spend is told apart by.
    #[arg(long, value_enum, default_value_t = RawSpendBy::Model)]
    by: RawSpendBy,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RawSpendBy {
    Key,
    Model,
    Route,
    Backend,
    Variant,
    Privacy,
    Purpose,
    State,
    Day,
}

/// What is asked of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerReport {
    /// Its file.
    pub path: PathBuf,
    /// What spend is told apart by.
    pub by: SpendBy,
    /// Whether JSON is printed.
    pub json: bool,
}

impl RawLedger {
    pub(super) fn read(self, environment: &Environment) -> Result<LedgerReport, ConfigError> {
        let path = match (self.path, self.config) {
            (Some(path), _) => path,
            (None, config) => {
                let config = config.unwrap_or_default();
                match ConfigSource::of_file(config.clone(), environment).read()?.store {
                    StorePlace::File(path) => path,
                    StorePlace::Memory => return Err(ConfigError::NoLedgerFile { config }),
                }
            }
        };
        let by = match self.by {
            RawSpendBy::Key => SpendBy::Key,
            RawSpendBy::Model => SpendBy::Model,
            RawSpendBy::Route => SpendBy::Route,
            RawSpendBy::Backend => SpendBy::Backend,
            RawSpendBy::Variant => SpendBy::Variant,
            RawSpendBy::Privacy => SpendBy::Privacy,
            RawSpendBy::Purpose => SpendBy::Purpose,
            RawSpendBy::State => SpendBy::State,
            RawSpendBy::Day => SpendBy::Day,
        };
        Ok(LedgerReport { path, by, json: self.json })
    }
}
