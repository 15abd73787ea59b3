//! The service that a server of a config file would have, over backends that do nothing.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::app::compose::{Composer, LocalModel};
use crate::app::serve::{KEEP_ALIVE, http_limits};
use crate::app::{prometheus, wall_clock};
use crate::config::ServeConfig;
use crate::http::{self, AppState, HttpParts, Lifecycle, MetricsPlace};
use crate::routing::{NoLedger, TaskOwner, TokioRuntime};

/// A server that listens nowhere, with a local model that only counts.
pub(super) struct DryRun {
    state: AppState,
    tasks: TaskOwner,
}

impl DryRun {
    /// Composes what the config says.
    pub(super) fn new(config: &ServeConfig, runtime: &Runtime) -> anyhow::Result<Self> {
        let (router_runtime, tasks) = TokioRuntime::start();
        let local = config
            .engine
            .as_ref()
            .map_or(LocalModel::Absent, |engine| LocalModel::Idle(engine.model.served_name.clone()));
        let clock = wall_clock();
        let mut composer =
            Composer::new(local, Arc::new(NoLedger), Arc::new(router_runtime), Arc::clone(&clock));
        let routing = runtime.block_on(composer.compose(config))?;
        let state = AppState::new(HttpParts {
            routing: ArcSwap::from_pointee(routing),
            limits: http_limits(&config.http),
            metrics_place: MetricsPlace::AdminPort,
            allowed_origins: Vec::new(),
            keep_alive: KEEP_ALIVE,
            metrics: prometheus::start()?,
            clock,
            lifecycle: Lifecycle::default(),
        });
        Ok(Self { state, tasks })
    }

    /// Sends a body to a path of the administrators' port.
    pub(super) async fn ask(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::post(path).body(Body::from(body)).context("the request")?;
        request.headers_mut().clone_from(headers);
        let response = http::admin_service(self.state.clone()).oneshot(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Waits until nothing of it runs.
    pub(super) async fn end(self) {
        self.tasks.end().await;
    }
}
