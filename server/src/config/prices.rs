//! The price table: what is shipped in the binary, under the operator's own file of `[prices]`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use spillway_store::{CacheTtl, PriceKey, PriceTable};
use spillway_types::TokenPrices;

use super::document::KeyPath;
use super::key_error::{KeyError, Problem};

/// Who says what tokens cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriceOrigin {
    /// The backend's own keys.
    Config,
    /// The table.
    Table {
        /// Who told the table.
        source: Arc<str>,
        /// When it was so.
        date: Arc<str>,
    },
    /// Nobody, and it is inside.
    Free,
}

impl fmt::Display for PriceOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("the config file"),
            Self::Table { source, date } => write!(f, "{source}, {date}"),
            Self::Free => f.write_str("inside, no price given"),
        }
    }
}

/// The table that is in force.
pub(super) fn table(file: Option<&Path>) -> Result<PriceTable, KeyError> {
    let shipped = PriceTable::shipped();
    let Some(path) = file else { return Ok(shipped) };
    let at = KeyPath::section("prices").key("file");
    let bad = |reason: String| at.is(Problem::BadFile { path: path.display().to_string(), reason });
    let json = std::fs::read_to_string(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    shipped.with_file(&json).map_err(|error| bad(format!("cannot be used: {error}")))
}

/// What calls of a kind cost, by the table. Caches are written for five minutes: nobody asks for longer.
pub(super) fn find(table: &PriceTable, key: &PriceKey) -> Option<(TokenPrices, PriceOrigin)> {
    let price = table.find(key)?;
    let (source, date) = (Arc::from(price.source()), Arc::from(price.date()));
    Some((price.tokens(CacheTtl::default()), PriceOrigin::Table { source, date }))
}
