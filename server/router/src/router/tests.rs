//! What cannot be a router.

use std::sync::Arc;

use spillway_types::ModelId;

use super::*;
use crate::testing::FakeBackend;
use crate::{RouteId, RouterConfigError, SplitPart};

fn fault(backends: &[&str], routes: impl IntoIterator<Item = Route>) -> String {
    let backends: Vec<Arc<dyn Backend>> =
        backends.iter().map(|id| Arc::new(FakeBackend::far(id)) as Arc<dyn Backend>).collect();
    let routes: Vec<Route> = routes.into_iter().collect();
    check(&backends, &routes).err().map(|error: RouterConfigError| error.to_string()).unwrap_or_default()
}

fn route(name: &str, model: &str) -> Route {
    Route::to(RouteId::new(name), ModelId::new(model), BackendId::new("far"))
}

#[test]
fn every_name_must_be_there_and_there_once() {
    assert_eq!(fault(&["far"], [route("r", "m")]), "");
    assert!(fault(&[], [route("r", "m")]).starts_with("there is no backend"));
    assert!(fault(&["far"], []).starts_with("there is no route"));
    assert!(fault(&["far", "far"], [route("r", "m")]).starts_with("two backends are named `far`"));
    assert!(
        fault(&["far"], [route("r", "m"), route("s", "m")]).starts_with("two routes answer to the model `m`")
    );
    assert!(fault(&["near"], [route("r", "m")]).starts_with("route `r` names `far`"));
    let empty = Route { targets: Vec::new(), ..route("r", "m") };
    assert!(fault(&["far"], [empty]).starts_with("route `r` has no target"));
}

#[test]
fn a_route_moves_requests_among_its_targets_alone() {
    let near = || BackendId::new("near");
    let overflowing = Route { overflow: vec![near()], ..route("r", "m") };
    let part = SplitPart { variant: VariantId::new("v"), backend: near(), weight: 1 };
    let split = Route { split: vec![part], ..route("r", "m") };
    let tagged = Route { tags: vec![(Arc::from("law"), near())], ..route("r", "m") };
    for route in [overflowing, split, tagged] {
        let fault = fault(&["far", "near"], [route]);
        assert!(fault.starts_with("route `r` names `near`, which is none of its targets"), "{fault}");
    }
}
