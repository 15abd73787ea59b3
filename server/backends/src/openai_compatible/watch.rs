//! Looks at each replica's `/health` and `/metrics` every so often, in a task that ends with the backend.

mod metrics;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use spillway_router::BackendId;
use tokio::time::MissedTickBehavior;

use super::HealthSettings;
use super::client::Client;
use super::replicas::{Replica, ReplicaHealth, Replicas, Report};
use metrics::Gauges;

/// Most bytes of metrics that are read: ten times what a busy server has.
const MAX_METRICS_BYTES: usize = 8 << 20;
/// Looks in a row without an answer after which a replica is down: one may be chance on a busy server.
const MAX_SILENT_LOOKS: u32 = 2;

/// Looks at the replicas, for ever.
pub(super) async fn watch(
    backend: BackendId,
    replicas: Arc<Replicas>,
    client: Client,
    settings: HealthSettings,
) {
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent_looks: Vec<u32> = replicas.iter().map(|_| 0).collect();
    loop {
        ticks.tick().await;
        let looks = replicas
            .iter()
            .zip(&mut silent_looks)
            .map(|(replica, silent)| look(&backend, replica, &replicas, silent, &client, settings.timeout));
        join_all(looks).await;
    }
}

async fn look(
    backend: &BackendId,
    replica: &Replica,
    replicas: &Replicas,
    silent_looks: &mut u32,
    client: &Client,
    timeout: Duration,
) {
    let (health, reason) = match answer(client, &replica.health, timeout).await {
        Ok((status, _)) => {
            *silent_looks = 0;
            (health_of(status), format!("it answered {status}"))
        }
        Err(reason) => {
            *silent_looks = silent_looks.saturating_add(1);
            if *silent_looks < MAX_SILENT_LOOKS {
                return;
            }
            (ReplicaHealth::Down, reason)
        }
    };
    if replica.state.looked_at(health) {
        match health {
            ReplicaHealth::Up => tracing::info!(%backend, url = replica.url.as_str(), "a replica is up"),
            ReplicaHealth::Down => {
                tracing::warn!(%backend, url = replica.url.as_str(), reason, "a replica is down");
            }
        }
    }
    if health == ReplicaHealth::Up {
        report(replica, replicas, client, timeout).await;
    }
}

/// A server without such an endpoint, or that wants another key for it, is up.
fn health_of(status: StatusCode) -> ReplicaHealth {
    let is_up = status.is_success() || matches!(status.as_u16(), 401 | 403 | 404 | 405);
    if is_up { ReplicaHealth::Up } else { ReplicaHealth::Down }
}

async fn report(replica: &Replica, replicas: &Replicas, client: &Client, timeout: Duration) {
    let Ok((StatusCode::OK, text)) = answer(client, &replica.metrics, timeout).await else { return };
    let Some(gauges) = Gauges::read(&text) else { return };
    let at_server = gauges.num_running.saturating_add(gauges.num_waiting);
    replica.state.reported(Report {
        num_running: gauges.num_running,
        num_waiting: gauges.num_waiting,
        num_others: at_server.saturating_sub(replica.state.num_in_flight()),
        kv_cache_usage: gauges.kv_cache_usage,
        at: replicas.now(),
    });
}

async fn answer(client: &Client, uri: &Uri, timeout: Duration) -> Result<(StatusCode, Bytes), String> {
    let asked = async {
        let response = client.get(uri).await.map_err(|fault| fault.message)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_METRICS_BYTES).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let answered = tokio::time::timeout(timeout, asked).await;
    answered.unwrap_or_else(|_elapsed| Err(format!("no answer within {} ms", timeout.as_millis())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_the_endpoint_is_up_and_one_that_refuses_is_down() {
        for (status, health) in [
            (200, ReplicaHealth::Up),
            (404, ReplicaHealth::Up),
            (401, ReplicaHealth::Up),
            (503, ReplicaHealth::Down),
            (500, ReplicaHealth::Down),
            (302, ReplicaHealth::Down),
        ] {
            assert_eq!(health_of(StatusCode::from_u16(status).expect("a status")), health, "{status}");
        }
    }
}
