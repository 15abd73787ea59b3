//! Chooses who serves a request, and sees to it that somebody does: filter, score, pick, try, try again.
//!
//! A backend reports its state as a [`BackendSnapshot`]; a [`Decision`] is a pure function of snapshots, the request and
//! what is remembered, and can be explained. There is no HTTP here and no wire format; time, chance, the books and the
//! listeners are injected.
//!
//! # Invariants
//!
//! - Filters come before any score, and again before every attempt, hedge and copy. A private request is never handed to
//!   a backend outside the boundary, whatever else fails.
//! - Until an answer is handed over the client has seen nothing of it; after that there is never a switch.
//! - A call that costs money is in the [`Ledger`] before it is made.
//!
//! In a request's path: `server::http` calls [`Router::serve`]; the picked [`Backend`] answers with a
//! [`TokenStream`].

mod attempts;
mod backend;
mod books;
mod breaker;
mod confidence;
mod decide;
mod decision;
mod error;
mod filter;
mod forecast;
mod ledger;
mod observer;
mod opened;
mod opening;
mod privacy;
mod request;
mod route;
mod router;
mod runtime;
mod sessions;
mod shadow;
mod snapshot;
mod spend;
mod standing;
#[cfg(test)]
mod testing;
mod upstream;

pub use backend::{Backend, BackendId, BoxError, BoxFuture, TokenStream};
pub use books::Cost;
pub use decision::{Considered, Decision, Gain, Reason, Score, Verdict};
pub use error::{BackendError, NoCandidate, RouteError, RouterConfigError};
pub use filter::{Excluded, Exclusion};
pub use forecast::Forecast;
pub use ledger::{Call, CallEnd, Ledger, LedgerError, OpenCall, Outcome, Purpose};
pub use observer::{AttemptFailure, NextStep, Observer};
pub use privacy::{Boundary, ContentRules, InvalidContentRule, Label, LabelSource, Privacy};
pub use request::{Feature, Needs, RouteRequest};
pub use route::{
    AttemptSettings, BreakerSettings, Confidence, HardPrompts, OverflowSettings, Preference, ResidencyRules,
    Route, RouteId, RouterSettings, Shadow, SplitPart, VariantId,
};
pub use router::{Routed, Router, RouterParts};
pub use runtime::{GainEstimator, Runtime};
pub use snapshot::{BackendHealth, BackendLoad, BackendSnapshot, Capabilities, EngineState, Residency};
pub use standing::Memory;
pub use upstream::{CoolDown, ErrorClass, FallBack, Progress, Treatment, UpstreamError};
