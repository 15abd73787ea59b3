//! Who is put first, and why.

use std::sync::Arc;
use std::time::Duration;

use spillway_types::Usd;

use super::*;
use crate::testing::{FakeBackend, World, private, standard};
use crate::{HardPrompts, RouteError};

fn id(name: &str) -> BackendId {
    BackendId::new(name)
}

/// Who is planned, in order, and why.
fn plan(world: &World, request: &RouteRequest) -> String {
    match world.router.explain(request) {
        Ok(decision) => {
            let plan: Vec<&str> = decision.plan.iter().map(BackendId::as_str).collect();
            format!("{}: {}", plan.join(" "), decision.reason.as_str())
        }
        Err(error) => error.to_string(),
    }
}

fn local_and_far(change: impl FnOnce(&mut Route, &mut RouterSettings)) -> World {
    World::new([FakeBackend::local(), FakeBackend::far("far")], change)
}

#[test]
fn without_further_wishes_targets_come_in_their_order() {
    let world = local_and_far(|_, _| {});
    assert_eq!(plan(&world, &standard("a")), "local far: preferred");
    assert_eq!(plan(&world, &private("a")), "local: only-candidate");
}

#[test]
fn the_cheapest_and_the_fastest_can_be_preferred() {
    let backends = || [FakeBackend::far("far"), FakeBackend::local().queueing(9000)];
    let world = World::new(backends(), |route, _| route.preference = Preference::Cost);
    assert_eq!(plan(&world, &standard("a")), "local far: cheapest");
    let world = World::new(backends(), |route, _| route.preference = Preference::Latency);
    assert_eq!(plan(&world, &standard("a")), "local far: fastest", "what was never measured comes last");
    world.ask(&private("a"));
    world.router.shared.members[&id("far")].standing.measured(Duration::from_secs(2));
    assert_eq!(plan(&world, &standard("a")), "far local: fastest");
}

#[test]
fn what_looks_too_long_is_asked_last() {
    let short = FakeBackend::far("short").having(|capabilities| capabilities.context_tokens = Some(100));
    let world = World::new([short, FakeBackend::far("long")], |_, _| {});
    assert_eq!(plan(&world, &standard("a")), "long short: preferred");
}

#[test]
fn a_tag_goes_to_its_model_if_that_may_serve() {
    let world = local_and_far(|route, _| route.tags = vec![(Arc::from("law"), id("far"))]);
    let tagged = |request: RouteRequest| RouteRequest { tags: vec![Arc::from("law")], ..request };
    assert_eq!(plan(&world, &tagged(standard("a"))), "far local: tag");
    assert_eq!(plan(&world, &tagged(private("a"))), "local: only-candidate");
}

#[test]
fn a_split_follows_its_weights_and_keeps_sessions_together() {
    let part = |name: &str, backend: &str, weight| SplitPart {
        variant: VariantId::new(name),
        backend: id(backend),
        weight,
    };
    let world = local_and_far(|route, _| {
        route.split = vec![part("old", "local", 75), part("new", "far", 25), part("off", "far", 0)];
    });
    let variant = |request: &RouteRequest| {
        let decision = world.router.explain(request).expect("somebody serves");
        decision.variant.expect("it has a part").to_string()
    };
    let of_requests = (0..4000).filter(|number| variant(&standard(&number.to_string())) == "new").count();
    assert!((900..1100).contains(&of_requests), "a quarter of 4000, but {of_requests}");
    let in_session =
        |number: u32| RouteRequest { session: Some(Arc::from("s")), ..standard(&number.to_string()) };
    let first = variant(&in_session(0));
    assert!((1..50).all(|number| variant(&in_session(number)) == first));
}

#[test]
fn a_prompt_with_enough_gain_goes_to_the_strong_model() {
    let hard = |route: &mut Route| {
        route.hard = Some(HardPrompts { strong: id("far"), share: 0.25, confidence: None });
    };
    let world = local_and_far(|route, _| hard(route));
    let asking = |text: &str| RouteRequest { text: Arc::from(text), ..standard("a") };
    assert_eq!(plan(&world, &asking("0.75")), "far local: hard-prompt");
    assert_eq!(plan(&world, &asking("0.74")), "local far: preferred");
    let decision = world.router.explain(&asking("0.5")).expect("somebody serves");
    assert_eq!(decision.gain, Some(Gain { expected: 0.5, threshold: 0.75 }));
    assert_eq!(
        plan(&world, &RouteRequest { text: Arc::from("0.9"), ..private("a") }),
        "local: only-candidate"
    );
}

/// A route whose goal is a second, with a local queue of so many seconds.
fn queue_of(seconds_by_ten: u64, change: impl FnOnce(&mut Route, &mut RouterSettings)) -> World {
    let local = FakeBackend::local().queueing(seconds_by_ten * 100 - 100);
    World::new([local, FakeBackend::far("far")], |route, settings| {
        route.overflow = vec![id("far")];
        route.slo_ttft = Some(Duration::from_secs(1));
        settings.overflow.initial_remote_ttft = Duration::from_millis(200);
        change(route, settings);
    })
}

#[test]
fn a_queue_that_would_miss_the_goal_overflows() {
    assert_eq!(plan(&queue_of(8, |_, _| {}), &standard("a")), "local far: preferred");
    assert_eq!(plan(&queue_of(9, |_, _| {}), &standard("a")), "far local: overflow");
    assert_eq!(plan(&queue_of(9, |_, _| {}), &private("a")), "local: only-candidate");
    let patient = RouteRequest { slo_ttft: Some(Duration::from_secs(5)), ..standard("a") };
    assert_eq!(plan(&queue_of(9, |_, _| {}), &patient), "local far: preferred", "its own goal is later");
}

#[test]
fn overflowing_goes_on_until_the_queue_is_well_below_the_goal() {
    let world = queue_of(8, |_, _| {});
    let state = world.router.shared.memory.route(&crate::RouteId::new("r"));
    state.is_overflowing.store(true, Relaxed);
    assert_eq!(plan(&world, &standard("a")), "far local: overflow");
    let world = queue_of(6, |_, _| {});
    let state = world.router.shared.memory.route(&crate::RouteId::new("r"));
    state.is_overflowing.store(true, Relaxed);
    assert_eq!(plan(&world, &standard("a")), "local far: preferred");
    assert!(state.is_overflowing.load(Relaxed), "a dry run leaves no trace");
    world.ask(&standard("a"));
    assert!(!state.is_overflowing.load(Relaxed));
}

#[test]
fn nothing_overflows_to_who_would_be_later() {
    let world = queue_of(20, |_, settings| settings.overflow.initial_remote_ttft = Duration::from_secs(3));
    assert_eq!(plan(&world, &standard("a")), "local far: preferred");
}

#[test]
fn a_prompt_without_room_in_the_cache_overflows_however_short_the_queue() {
    let local = FakeBackend::local().with_engine(|engine| engine.num_free_blocks = 6);
    let world = World::new([local, FakeBackend::far("far")], |route, _| {
        route.overflow = vec![id("far")];
        route.slo_ttft = Some(Duration::from_mins(1));
    });
    // A hundred tokens are seven blocks.
    assert_eq!(plan(&world, &standard("a")), "far local: overflow");
}

#[test]
fn overflow_stops_when_its_money_is_spent_and_what_was_not_spent_comes_back() {
    let world = queue_of(20, |_, settings| {
        settings.overflow.max_spend_per_minute = Usd::parse("0.22");
    });
    // Each reserves 0.11 and costs 0.103 dollars.
    let reasons: Vec<String> = (0..3).map(|number| world.ask(&standard(&number.to_string()))).collect();
    assert_eq!(reasons, ["far overflow: well", "far overflow: well", "local preferred: well"]);
    world.runtime.advance(Duration::from_mins(1));
    assert_eq!(world.ask(&standard("later")), "far overflow: well");
}

#[test]
fn a_session_that_is_warm_here_overflows_later() {
    let world = queue_of(14, |_, _| {});
    let warm = RouteRequest { session: Some(Arc::from("s")), ..standard("a") };
    assert_eq!(plan(&world, &warm), "far local: overflow");
    world.ask(&RouteRequest { session: Some(Arc::from("s")), ..private("a") });
    assert_eq!(plan(&world, &warm), "local far: preferred");
    assert_eq!(plan(&world, &standard("cold")), "far local: overflow");
}

#[test]
fn a_model_without_a_route_is_named() {
    let world = local_and_far(|_, _| {});
    let request = RouteRequest { model: spillway_types::ModelId::new("other"), ..standard("a") };
    assert_eq!(plan(&world, &request), "the model `other` does not exist");
    let work = crate::testing::standard_work();
    let error = futures::executor::block_on(world.router.serve(&request, work)).err().expect("nobody serves");
    assert!(matches!(error, RouteError::NoCandidate(NoCandidate::UnknownModel { .. })));
}
