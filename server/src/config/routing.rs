//! Everything that the router is made of, checked together: backends, routes, rules and settings.
//!
//! It is what can be replaced while the server runs.

use std::path::PathBuf;

use spillway_router::{ContentRules, Route, RouterSettings};
use spillway_store::PriceTable;

use super::backends::{self, BackendConfig, BackendContext};
use super::key_error::KeyError;
use super::raw::{RawBackend, RawContentRule, RawRoute, RawRouter};
use super::{Environment, ModelConfig, content_rules, router, routes};

/// Backends, routes, and what holds for all of them.
#[derive(Debug, Clone)]
pub struct RoutingConfig {
    /// Who can serve: at least one, each with its own name, at most one of them local.
    pub backends: Vec<BackendConfig>,
    /// Who serves which name: at least one; every name in it is that of a backend.
    pub routes: Vec<Route>,
    /// What holds for all routes.
    pub settings: RouterSettings,
    /// What makes a request private by what it says.
    pub content_rules: ContentRules,
    /// Weights of the gain model that replace those inside the binary.
    pub gain_model: Option<PathBuf>,
    /// What can be followed and is likely a mistake.
    pub warnings: Vec<KeyError>,
}

/// The sections as written.
pub(super) struct RawRouting {
    pub(super) backends: Vec<RawBackend>,
    pub(super) routes: Vec<RawRoute>,
    pub(super) router: RawRouter,
    pub(super) content_rules: Vec<RawContentRule>,
}

impl RawRouting {
    /// Checks every value, and what they say of each other. Also answers the files that were read.
    pub(super) fn validate(
        self,
        model: Option<&ModelConfig>,
        environment: &Environment,
        prices: &PriceTable,
    ) -> Result<(RoutingConfig, Vec<PathBuf>), KeyError> {
        let num_listed = self.backends.len();
        let context = BackendContext { environment, prices, has_model: model.is_some() };
        let backends = backends::validate(self.backends, &context)?;
        let routes = routes::validate(self.routes, &backends.backends, num_listed, model)?;
        let gain_model = self.router.gain_model.clone();
        let files = backends.files.into_iter().chain(gain_model.clone()).collect();
        let config = RoutingConfig {
            settings: router::validate(&self.router, &backends.backends)?,
            backends: backends.backends,
            routes: routes.routes,
            content_rules: content_rules::validate(self.content_rules)?,
            gain_model,
            warnings: backends.warnings.into_iter().chain(routes.warnings).collect(),
        };
        Ok((config, files))
    }
}

#[cfg(test)]
mod tests;
