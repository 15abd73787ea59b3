//! Where requests would go by a config file: asked of the same service that a server has, over backends that do nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::app::compose::{Composer, LocalModel};
use crate::app::serve::{KEEP_ALIVE, http_limits};
use crate::app::{prometheus, runtime, wall_clock};
use crate::config::RouteExplain;
use crate::http::{self, AppState, HttpParts, Lifecycle, MetricsPlace};
use crate::routing::{NoLedger, TokioRuntime};

/// Prints what would be decided about each request.
pub(super) fn run(options: &RouteExplain) -> anyhow::Result<()> {
    let RouteExplain { config, headers, requests } = options;
    let (router_runtime, router_tasks) = TokioRuntime::start();
    let local = config
        .engine
        .as_ref()
        .map_or(LocalModel::Absent, |engine| LocalModel::Idle(engine.model.served_name.clone()));
    let clock = wall_clock();
    let mut composer = Composer::new(local, Arc::new(NoLedger), Arc::new(router_runtime), Arc::clone(&clock));
    let runtime = runtime()?;
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
    for path in requests {
        let told = runtime.block_on(explain(&state, headers, path))?;
        println!("{}", serde_json::to_string_pretty(&told)?);
    }
    runtime.block_on(router_tasks.end());
    Ok(())
}

async fn explain(state: &AppState, headers: &[(String, String)], path: &Path) -> anyhow::Result<Value> {
    let body = fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let mut request = Request::post("/admin/route/explain").header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body)).context("--header")?;
    let response = http::admin_service(state.clone()).oneshot(request).await?;
    let is_good = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    let told: Value = serde_json::from_slice(&body)?;
    if !is_good {
        bail!("{}: {}", path.display(), told["error"]["message"].as_str().unwrap_or("it was refused"));
    }
    Ok(told)
}
