//! Durable state in one SQLite file: migrations, one writer, the ledger of calls; and the price table.
//!
//! [`Store`] owns the file and the one thread that writes to it. [`Ledger`] is its async side: reservations wait for
//! their commit, everything else is written within milliseconds, many in one transaction. [`LedgerReader`] reads beside
//! the writer. [`PriceTable`] knows what tokens cost; it is data, shipped in the binary and overridable.
//!
//! A killed process loses nothing that was committed: see `database.rs`. Money is [`spillway_types::Usd`], whole
//! nano-dollars. Nothing here reads a clock: callers tell the time.
//!
//! In a request's path: after the router's choice, and after the last event.

mod checkpoints;
mod database;
mod error;
mod ledger;
mod migrations;
mod prices;
mod queue;
mod store;
mod time;
mod writer;

pub use error::StoreError;
pub use ledger::{
    Call, CallId, CallRow, CallState, FinishedCall, Ledger, LedgerReader, OpenCall, OpenReservations,
    Outcome, Projection, Refund, Reservation, Savings, Settlement, Spend, SpendBy, TimeRange,
};
pub use prices::{Billing, CacheTtl, Price, PriceFileError, PriceKey, PriceTable, Tier};
pub use store::{Store, StoreConfig};
pub use time::{Month, UnixMs};
