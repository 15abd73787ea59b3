//! Copies of requests for comparison: served beside the client's, paid for, and read by nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures::stream::StreamExt;
use spillway_types::GenerateRequest;

use crate::decide::stable_hash;
use crate::decision::Decision;
use crate::opening::{Aim, open};
use crate::router::Router;
use crate::standing::Memory;
use crate::{Purpose, Reason, Route, RouteRequest};

/// Copies under way at once: beyond it none are made, so that they never take more than a little.
const MAX_COPIES: usize = 32;

/// A place among the copies under way.
struct Place(Arc<Memory>);

impl Place {
    fn take(memory: &Arc<Memory>) -> Option<Self> {
        let place = Self(Arc::clone(memory));
        // The place is given back by its drop if there is none left.
        (memory.num_copies.fetch_add(1, Relaxed) < MAX_COPIES).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.num_copies.fetch_sub(1, Relaxed);
    }
}

/// Sends a copy, if the route wants one of this request. All filters are asked as for the request itself.
pub(crate) fn copy(
    router: &Router,
    request: &RouteRequest,
    route: &Route,
    decision: &Decision,
    work: &GenerateRequest,
) {
    let Some(shadow) = &route.shadow else { return };
    let drawn = stable_hash(format!("{} shadow", request.name).as_bytes()) as f64 / 2.0_f64.powi(64);
    if drawn >= shadow.share {
        return;
    }
    let Some(place) = Place::take(&router.shared.memory) else { return };
    let aim =
        Aim { id: shadow.backend.clone(), reason: Reason::Preferred, purpose: Purpose::Shadow, attempt: 1 };
    let (router, request, route, decision, work) =
        (router.clone(), request.clone(), route.clone(), decision.clone(), work.clone());
    let runtime = Arc::clone(&router.shared.clerk.runtime);
    runtime.spawn(Box::pin(async move {
        let _place = place;
        if let Ok(opened) = open(&router, &request, &route, &decision, work, &aim, false).await {
            let mut stream = opened.into_stream();
            while let Some(event) = stream.next().await {
                if event.is_err() {
                    break;
                }
            }
        }
    }));
}
