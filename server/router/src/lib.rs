//! Chooses who serves a request: filters the backends that could, picks one, and can say why.
//!
//! Pure choice over plain data. There is no HTTP here, no wire format, no clock and no retry: a backend reports its
//! state as a [`BackendSnapshot`], and everything that a decision needs is in it.
//!
//! # Invariants
//!
//! - A choice is made among at least one backend: [`Candidates::new`] fails otherwise, and says why for each.
//! - A [`Router`] never holds two backends of one id.
//!
//! In a request's path: `server::http` calls [`Router::generate`]; the picked [`Backend`] answers with a
//! [`TokenStream`].

mod backend;
mod candidates;
mod error;
mod privacy;
mod request;
mod route;
mod router;
mod snapshot;
mod upstream;

pub use backend::{Backend, BackendId, BoxError, BoxFuture, TokenStream};
pub use candidates::{Candidate, Candidates, Decision, Excluded, Exclusion, Reason, pick};
pub use error::{BackendError, NoCandidate, Retry, RouteError, RouterConfigError};
pub use privacy::{Boundary, ContentRules, InvalidContentRule, Label, LabelSource, Privacy};
pub use request::{Chosen, Feature, Needs, RouteRequest};
pub use route::{
    AttemptSettings, BreakerSettings, Confidence, HardPrompts, OverflowSettings, Preference, ResidencyRules,
    Route, RouteId, RouterSettings, Shadow, SplitPart, VariantId,
};
pub use router::{Routed, Router};
pub use snapshot::{BackendHealth, BackendLoad, BackendSnapshot, Capabilities, EngineState, Residency};
pub use upstream::{CoolDown, ErrorClass, FallBack, Progress, Treatment, UpstreamError};
