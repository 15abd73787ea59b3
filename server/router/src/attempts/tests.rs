//! What is asked, in which order, and what the books say of it.

use std::time::Duration;

use futures::StreamExt;
use futures::executor::block_on;
use spillway_types::{Usage, Usd};

use crate::testing::{
    Act, FakeBackend, FakeLedger, World, answer, delta, locked, private, standard, told, upstream,
};
use crate::{
    BackendError, BackendHealth, BackendId, Confidence, ErrorClass, HardPrompts, Progress, RouteRequest,
    Shadow, UpstreamError,
};

fn refusals(class: ErrorClass, num: usize) -> Vec<Act> {
    (0..num).map(|_| Act::Refuse(upstream(class, None))).collect()
}

fn broken(class: ErrorClass, progress: Progress) -> BackendError {
    match upstream(class, None) {
        BackendError::Upstream(error) => BackendError::Upstream(UpstreamError { progress, ..error }),
        other => other,
    }
}

#[test]
fn the_first_target_serves_and_its_row_is_settled_at_what_it_told() {
    let world = World::new([FakeBackend::far("far")], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "far only-candidate: well");
    // 103 tokens at a tenth of a cent.
    assert_eq!(world.ledger.lines(), ["1 far serve answered 0.103"]);
    let rows = locked(&world.ledger.rows);
    assert_eq!(rows[0].0.reserved, Usd::parse("0.11").expect("dollars"), "100 of prompt, 10 at most");
}

#[test]
fn a_throttled_backend_is_asked_again_after_the_time_that_it_names() {
    let throttled = Act::Refuse(upstream(ErrorClass::Throttled, Some(700)));
    let far = FakeBackend::far("far").acting([throttled]);
    let world = World::new([far], |_, _| {});
    // Its breaker is closed for as long as it asked, and the retry comes after that.
    assert_eq!(world.ask(&standard("a")), "far only-candidate: well");
    assert_eq!(*locked(&world.runtime.slept), [Duration::from_millis(750)]);
    assert_eq!(world.ledger.lines(), ["1 far serve upstream_throttled 0", "2 far serve answered 0.103"]);
}

#[test]
fn a_throttled_backend_that_names_no_time_gets_a_second_unless_another_can_serve() {
    let throttled = || FakeBackend::far("far").acting(refusals(ErrorClass::Throttled, 2));
    let world = World::new([throttled()], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "far only-candidate: well");
    assert_eq!(*locked(&world.runtime.slept), [Duration::from_millis(1050), Duration::from_millis(1100)]);
    let world = World::new([throttled(), FakeBackend::far("other")], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "other fallback: well");
    assert_eq!(*locked(&world.runtime.slept), []);
}

#[test]
fn a_request_that_our_own_count_has_no_room_for_keeps_nobody_else_away() {
    let far =
        FakeBackend::far("far").acting([Act::Refuse(upstream(ErrorClass::NoRoomCounted, Some(60_000)))]);
    let world = World::new([far, FakeBackend::far("other")], |_, _| {});
    assert_eq!(world.ask(&standard("large")), "other fallback: well");
    assert_eq!(world.ask(&standard("small")), "far preferred: well");
}

#[test]
fn a_whole_answer_that_breaks_in_the_middle_is_taken_over_by_another() {
    let mut events = answer("four letters", 3);
    events.truncate(2);
    events.push(Err(broken(ErrorClass::ConnectionLost, Progress::ContentSent)));
    let far = FakeBackend::far("far").acting([Act::Stream(events)]);
    let world = World::new([far, FakeBackend::far("other")], |_, _| {});
    let whole = RouteRequest { is_stream: false, ..standard("a") };
    assert_eq!(world.ask(&whole), "other fallback: well");
    assert_eq!(
        world.ledger.lines(),
        ["1 far serve upstream_connection_lost 0.103", "2 other serve answered 0.103"]
    );
}

#[test]
fn answers_that_break_after_they_were_handed_over_open_the_breaker_too() {
    let breaks = || {
        let mut events = answer("four letters", 3);
        events.truncate(2);
        events.push(Err(broken(ErrorClass::ConnectionLost, Progress::ContentSent)));
        Act::Stream(events)
    };
    let far = FakeBackend::far("far").acting((0..9).map(|_| breaks()));
    let world = World::new([far, FakeBackend::far("other")], |_, settings| settings.breaker.min_calls = 4);
    let served: Vec<bool> = (0..6).map(|_| world.ask(&standard("a")).starts_with("far")).collect();
    assert_eq!(served, [true, true, true, true, false, false]);
}

#[test]
fn who_names_too_long_a_time_is_not_asked_again() {
    let throttled = Act::Refuse(upstream(ErrorClass::Throttled, Some(60_000)));
    let world =
        World::new([FakeBackend::far("far").acting([throttled]), FakeBackend::far("other")], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "other fallback: well");
    assert_eq!(*locked(&world.runtime.slept), []);
}

#[test]
fn waits_double_and_are_drawn_then_the_next_target_is_asked() {
    let far = FakeBackend::far("far").acting(refusals(ErrorClass::Unavailable, 3));
    let world = World::new([far, FakeBackend::far("other")], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "other fallback: well");
    assert_eq!(*locked(&world.runtime.slept), [Duration::from_millis(50), Duration::from_millis(100)]);
    assert_eq!(world.num_calls(), [3, 1]);
}

#[test]
fn attempts_and_time_have_a_budget() {
    let failing = |id| FakeBackend::far(id).acting(refusals(ErrorClass::Unavailable, 9));
    let world =
        World::new([failing("far"), failing("other")], |_, settings| settings.attempts.max_attempts = 2);
    assert!(world.ask(&standard("a")).starts_with("no answer: backend `far`: planted"));
    assert_eq!(world.num_calls(), [2, 0]);

    let world = World::new([failing("far"), failing("other")], |_, settings| {
        settings.attempts.max_time = Duration::from_millis(60);
    });
    world.ask(&standard("a"));
    assert_eq!(world.num_calls(), [3, 0], "the third began at 150 ms, after which none begins");
}

#[test]
fn what_the_client_must_change_ends_it_at_once() {
    let far = FakeBackend::far("far").acting(refusals(ErrorClass::InvalidRequest, 1));
    let world = World::new([far, FakeBackend::far("other")], |_, _| {});
    assert!(world.ask(&standard("a")).starts_with("no answer: backend `far`"));
    assert_eq!(world.num_calls(), [1, 0]);
}

#[test]
fn a_prompt_that_is_too_long_goes_to_who_holds_more() {
    let with =
        |id, tokens| FakeBackend::far(id).having(|capabilities| capabilities.context_tokens = Some(tokens));
    let refusing = with("far", 1000).acting(refusals(ErrorClass::ContextTooLong, 1));
    let world = World::new([refusing, with("same", 1000), with("more", 2000)], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "more fallback: well");
    assert_eq!(world.num_calls(), [1, 0, 1]);
}

#[test]
fn private_requests_never_leave_whatever_fails_inside() {
    let fails = || BackendError::Failed {
        backend: BackendId::new("local"),
        tokens_sent: 0,
        source: "planted".into(),
    };
    let local =
        FakeBackend::local().acting([Act::Refuse(fails()), Act::Stream(vec![Err(fails())]), Act::Hang]);
    let world = World::new([local, FakeBackend::far("far")], |route, settings| {
        route.overflow = vec![BackendId::new("far")];
        route.slo_ttft = Some(Duration::from_millis(1));
        route.hard = Some(HardPrompts { strong: BackendId::new("far"), share: 1.0, confidence: None });
        route.tags = vec![("t".into(), BackendId::new("far"))];
        route.shadow = Some(Shadow { backend: BackendId::new("far"), share: 1.0 });
        settings.attempts.hedge_after = Some(Duration::from_millis(1));
    });
    for name in ["a", "b"] {
        let answer = world.ask(&private(name));
        assert!(answer.ends_with("backend `local` failed after 0 tokens"), "{answer}");
    }
    // The third hangs for ever: it must not be raced either.
    let hanging = private("c");
    let mut serving = Box::pin(world.router.serve(&hanging, crate::testing::standard_work()));
    assert!(futures::FutureExt::now_or_never(&mut serving).is_none());
    drop(serving);
    // And one that is answered must not be copied.
    assert!(world.ask(&private("d")).starts_with("local"));
    world.runtime.run_tasks();
    assert_eq!(world.num_calls(), [4, 0]);
    assert!(world.ledger.lines().iter().all(|line| line.contains("local")), "{:?}", world.ledger.lines());
}

#[test]
fn a_private_request_whose_backends_are_all_outside_is_refused_with_the_reason() {
    let world = World::new([FakeBackend::far("far")], |_, _| {});
    let expected = "no answer: no backend of model `m` can serve the request: `far` is outside, and the request is \
                    private (header says so)";
    assert_eq!(world.ask(&private("a")), expected);
    assert_eq!(world.num_calls(), [0]);
}

#[test]
fn a_stream_that_breaks_before_any_content_is_asked_for_again() {
    let breaks = || vec![Err(broken(ErrorClass::ModelError, Progress::NothingSent))];
    let far = FakeBackend::far("far").acting([Act::Stream(breaks())]);
    let world = World::new([far], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "far only-candidate: well");
    assert_eq!(world.ledger.lines()[0], "1 far serve upstream_model_error 0");
}

#[test]
fn a_stream_that_breaks_after_content_is_told_and_paid_for_and_never_switched() {
    let mut events = answer("four letters", 3);
    events.truncate(2);
    events.push(Err(broken(ErrorClass::ConnectionLost, Progress::ContentSent)));
    let far = FakeBackend::far("far").acting([Act::Stream(events)]);
    let world = World::new([far, FakeBackend::far("other")], |_, _| {});
    let told = world.ask(&standard("a"));
    assert!(told.starts_with("far preferred: four letters ERROR"), "{told}");
    assert_eq!(world.num_calls(), [1, 0]);
    // 100 of prompt, and twelve letters are three tokens.
    assert_eq!(world.ledger.lines(), ["1 far serve upstream_connection_lost 0.103"]);
}

#[test]
fn a_failure_that_its_provider_bills_is_charged_at_what_it_told() {
    let billed = match upstream(ErrorClass::EmptyAnswer, None) {
        BackendError::Upstream(error) => {
            let usage = Some(Box::new(Usage { prompt_tokens: 7, ..Usage::default() }));
            BackendError::Upstream(UpstreamError { usage, ..error })
        }
        other => other,
    };
    let far = FakeBackend::far("far").acting([Act::Stream(vec![Err(billed)])]);
    let world = World::new([far], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "far only-candidate: well");
    let expected = ["1 far serve upstream_empty_answer 0.007", "2 far serve answered 0.103"];
    assert_eq!(world.ledger.lines(), expected);
}

#[test]
fn an_answer_that_is_given_up_is_paid_for_as_far_as_it_came() {
    let mut events = answer("four letters", 3);
    events.truncate(2);
    let world = World::new([FakeBackend::far("far").acting([Act::Stall(events)])], |_, _| {});
    let mut routed =
        block_on(world.router.serve(&standard("a"), crate::testing::standard_work())).expect("it begins");
    assert_eq!(routed.cost.get(), None);
    block_on(routed.stream.next());
    block_on(routed.stream.next());
    drop(routed.stream);
    assert_eq!(world.ledger.lines(), ["1 far serve cancelled 0.103"]);
    assert_eq!(routed.cost.get(), Usd::parse("0.103"));
}

#[test]
fn a_slow_first_is_raced_by_the_next_and_the_loser_is_paid_for() {
    let world = World::new(
        [FakeBackend::far("far").acting([Act::Hang]), FakeBackend::far("other")],
        |_, settings| {
            settings.attempts.hedge_after = Some(Duration::from_secs(2));
        },
    );
    assert_eq!(world.ask(&standard("a")), "other hedge: well");
    assert_eq!(*locked(&world.runtime.slept), [Duration::from_secs(2)]);
    assert_eq!(world.ledger.lines(), ["1 far serve cancelled 0.1", "2 other hedge answered 0.103"]);
}

#[test]
fn a_goal_that_passes_without_a_first_token_overflows_late() {
    let world =
        World::new([FakeBackend::local().acting([Act::Hang]), FakeBackend::far("far")], |route, _| {
            route.overflow = vec![BackendId::new("far")];
            route.slo_ttft = Some(Duration::from_secs(3));
        });
    assert_eq!(world.ask(&standard("a")), "far late-overflow: well");
    assert_eq!(*locked(&world.runtime.slept), [Duration::from_secs(3)]);
}

#[test]
fn an_unsure_local_model_hands_over_before_anything_is_seen() {
    let hard = |route: &mut crate::Route| {
        let confidence =
            Confidence { hold_tokens: 2, min_mean_logprob: -1.0, max_entropy: None, min_margin: None };
        let strong = BackendId::new("far");
        route.hard = Some(HardPrompts { strong, share: 0.0, confidence: Some(confidence) });
    };
    let says = |logprobs: [f32; 2]| {
        let mut events = vec![Ok(delta("he", &logprobs[..1])), Ok(delta("re", &logprobs[1..]))];
        events.extend(answer("", 2).into_iter().skip(2));
        FakeBackend::local().acting([Act::Stream(events)])
    };
    let world = World::new([says([-0.5, -2.0]), FakeBackend::far("far")], |route, _| hard(route));
    assert_eq!(world.ask(&standard("a")), "far unsure: well");
    assert_eq!(world.ledger.lines(), ["1 local serve cancelled 0", "2 far serve answered 0.103"]);

    let world = World::new([says([-0.5, -1.0]), FakeBackend::far("far")], |route, _| hard(route));
    assert_eq!(world.ask(&standard("a")), "local preferred: here");
    let asked = locked(&world.backends[0].calls)[0].params.logprobs;
    assert!(asked.is_some(), "the router wants the distribution");
    // What only the router asked for is not told.
    let world = World::new([says([-0.5, -1.0]), FakeBackend::far("far")], |route, _| hard(route));
    let routed =
        block_on(world.router.serve(&standard("a"), crate::testing::standard_work())).expect("it begins");
    let events: Vec<_> = block_on(routed.stream.collect());
    let details = events.iter().filter_map(|event| match event {
        Ok(spillway_types::GenerateEvent::Delta(delta)) => Some(&delta.tokens),
        _ => None,
    });
    assert!(details.flatten().all(|token| token.detail.is_none()), "{}", told(&events));
}

#[test]
fn an_unsure_local_model_serves_after_all_if_the_strong_one_cannot() {
    let confidence =
        Confidence { hold_tokens: 1, min_mean_logprob: -1.0, max_entropy: None, min_margin: None };
    let mut events = vec![Ok(delta("here", &[-2.0]))];
    events.extend(answer("", 1).into_iter().skip(2));
    let again = vec![Ok(delta("here", &[-2.0]))].into_iter().chain(answer("", 1).into_iter().skip(2));
    let local = FakeBackend::local().acting([Act::Stream(events), Act::Stream(again.collect())]);
    let far = FakeBackend::far("far").acting(refusals(ErrorClass::QuotaExceeded, 1));
    let world = World::new([local, far], |route, _| {
        let strong = BackendId::new("far");
        route.hard = Some(HardPrompts { strong, share: 0.0, confidence: Some(confidence) });
    });
    assert_eq!(world.ask(&standard("a")), "local fallback: here");
    assert_eq!(world.num_calls(), [2, 1]);
}

#[test]
fn a_backend_that_keeps_failing_is_left_alone() {
    let far = FakeBackend::far("far").acting(refusals(ErrorClass::ModelTimeout, 99));
    let world = World::new([far, FakeBackend::far("other")], |_, settings| settings.breaker.min_calls = 4);
    for _ in 0..2 {
        assert_eq!(world.ask(&standard("a")), "other fallback: well");
    }
    assert_eq!(world.num_calls(), [4, 2]);
    assert_eq!(world.ask(&standard("a")), "other only-candidate: well", "it is not even considered");
    assert_eq!(world.num_calls(), [4, 3]);
    world.runtime.advance(Duration::from_secs(11));
    assert_eq!(world.ask(&standard("a")), "other fallback: well");
    assert_eq!(world.num_calls(), [5, 4], "one probe, which failed, opened it again");
}

#[test]
fn what_costs_money_is_not_called_when_the_books_are_shut() {
    let ledger = FakeLedger { refuses: true, ..FakeLedger::default() };
    let world = World::with_ledger([FakeBackend::far("far"), FakeBackend::local()], ledger, |_, _| {});
    assert_eq!(world.ask(&standard("a")), "local fallback: well");
    assert_eq!(world.num_calls(), [0, 1]);
}

#[test]
fn a_client_that_leaves_while_a_call_is_written_down_leaves_no_row_and_spends_nothing() {
    let ledger = FakeLedger { hangs: true, ..FakeLedger::default() };
    let world = World::with_ledger([FakeBackend::far("far")], ledger, |_, _| {});
    let request = standard("a");
    let mut serving = Box::pin(world.router.serve(&request, crate::testing::standard_work()));
    assert!(futures::FutureExt::now_or_never(&mut serving).is_none());
    drop(serving);
    assert_eq!(world.ledger.lines(), [] as [&str; 0]);
    assert_eq!(world.num_calls(), [0]);
}

#[test]
fn copies_are_served_beside_and_written_down_as_such() {
    let world = World::new([FakeBackend::local(), FakeBackend::far("far")], |route, _| {
        route.targets.pop();
        route.shadow = Some(Shadow { backend: BackendId::new("far"), share: 1.0 });
    });
    assert_eq!(world.ask(&standard("a")), "local only-candidate: well");
    assert_eq!(world.num_calls(), [1, 0], "not in the request's way");
    world.runtime.run_tasks();
    assert_eq!(world.num_calls(), [1, 1]);
    assert_eq!(world.ledger.lines(), ["1 local serve answered 0", "1 far shadow answered 0.103"]);
}

#[test]
fn a_backend_that_breaks_between_decision_and_call_is_passed_over() {
    let down = BackendHealth::Unreachable { reason: "planted".into() };
    let world = World::new([FakeBackend::far("far").in_health(down), FakeBackend::far("other")], |_, _| {});
    assert_eq!(world.ask(&standard("a")), "other only-candidate: well");
}
