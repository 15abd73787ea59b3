//! The ledger through its public face, on a store in memory.

use spillway_types::{ModelId, Usage};

use super::*;
use crate::store::Store;

/// Midnight of 2026-11-11, UTC.
const START: UnixMs = UnixMs(1_794_355_200_000);
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

fn usd(text: &str) -> spillway_types::Usd {
    spillway_types::Usd::parse(text).expect("dollars")
}

fn call(request: &str, started_at: UnixMs) -> Call {
    Call {
        request: request.into(),
        attempt: 1,
        key: Some("ward 7".into()),
        route: "chat".into(),
        backend: "bedrock".into(),
        model: ModelId::new("us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        privacy: "standard",
        variant: None,
        purpose: "serve",
        started_at,
        estimated_prompt_tokens: 1200,
        max_tokens: Some(500),
    }
}

fn reservation(request: &str, amount: &str) -> Reservation {
    Reservation { call: call(request, START), amount: usd(amount) }
}

fn settlement(cost: &str) -> Settlement {
    Settlement {
        outcome: Outcome::Answered,
        usage: Usage {
            prompt_tokens: 1210,
            cached_tokens: 1000,
            cache_write_tokens: 100,
            completion_tokens: 77,
        },
        cost: usd(cost),
        strong_cost: Some(usd("0.03")),
        provider_request_id: Some("7a1c".to_owned()),
        settled_at: START.plus_ms(900),
        ttft_ms: Some(300),
        duration_ms: 900,
    }
}

fn refund() -> Refund {
    Refund {
        outcome: Outcome::Failed("throttled".into()),
        provider_request_id: None,
        settled_at: START.plus_ms(20),
        duration_ms: 20,
    }
}

fn store() -> Store {
    Store::in_memory(64).expect("opens")
}

async fn row(ledger: &Ledger, id: CallId) -> CallRow {
    ledger.flush().await.expect("written");
    ledger.read(move |reader| reader.call(id)).await.expect("read").expect("there is a row")
}

async fn open_reservations(ledger: &Ledger) -> OpenReservations {
    ledger.flush().await.expect("written");
    ledger.read(LedgerReader::open_reservations).await.expect("read")
}

#[tokio::test]
async fn a_call_is_charged_its_reservation_until_it_is_settled() {
    let store = store();
    let ledger = store.ledger();
    let open = ledger.reserve(reservation("r-1", "0.0088")).await.expect("reserved");
    let id = open.id();
    let expected = CallRow {
        id,
        request: "r-1".to_owned(),
        attempt: 1,
        key: Some("ward 7".to_owned()),
        route: "chat".to_owned(),
        backend: "bedrock".to_owned(),
        model: "us.anthropic.claude-haiku-4-5-20251001-v1:0".to_owned(),
        privacy: "standard".to_owned(),
        variant: None,
        purpose: "serve".to_owned(),
        started_at: START,
        reserved: usd("0.0088"),
        estimated_prompt_tokens: 1200,
        max_tokens: Some(500),
        state: CallState::Open,
        outcome: None,
        usage: None,
        charged: usd("0.0088"),
        strong_cost: None,
        provider_request_id: None,
        settled_at: None,
        ttft_ms: None,
        duration_ms: None,
    };
    assert_eq!(row(&ledger, id).await, expected);
    assert_eq!(open_reservations(&ledger).await, OpenReservations { num_calls: 1, reserved: usd("0.0088") });

    open.settle(settlement("0.0021"));
    let settled = CallRow {
        state: CallState::Settled,
        outcome: Some(Outcome::Answered),
        usage: Some(settlement("0").usage),
        charged: usd("0.0021"),
        strong_cost: Some(usd("0.03")),
        provider_request_id: Some("7a1c".to_owned()),
        settled_at: Some(START.plus_ms(900)),
        ttft_ms: Some(300),
        duration_ms: Some(900),
        ..expected
    };
    assert_eq!(row(&ledger, id).await, settled);
    assert_eq!(open_reservations(&ledger).await, OpenReservations::default());
}

#[tokio::test]
async fn a_refunded_call_costs_nothing_and_keeps_its_reservation_on_record() {
    let store = store();
    let ledger = store.ledger();
    let open = ledger.reserve(reservation("r-1", "0.5")).await.expect("reserved");
    let id = open.id();
    open.refund(refund());
    let row = row(&ledger, id).await;
    assert_eq!((row.state, row.charged, row.reserved), (CallState::Refunded, usd("0"), usd("0.5")));
    assert_eq!(row.outcome, Some(Outcome::Failed("throttled".into())));
}

#[tokio::test]
async fn a_dropped_call_stays_charged() {
    let store = store();
    let ledger = store.ledger();
    let open = ledger.reserve(reservation("r-1", "0.5")).await.expect("reserved");
    let id = open.id();
    drop(open);
    let row = row(&ledger, id).await;
    assert_eq!((row.state, row.charged, row.outcome), (CallState::Unsettled, usd("0.5"), None));
}

#[tokio::test]
async fn a_call_without_a_reservation_is_one_complete_row() {
    let store = store();
    let ledger = store.ledger();
    let local = Call { key: None, backend: "local".into(), max_tokens: None, ..call("r-1", START) };
    ledger.record(FinishedCall { call: local, settlement: settlement("0") }).expect("there is room");
    ledger.flush().await.expect("written");
    let rows = ledger.read(|reader| reader.calls(TimeRange::ALL, None, 10)).await.expect("read");
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.state, row.charged, row.reserved), (CallState::Settled, usd("0"), usd("0")));
    assert_eq!((row.key.as_deref(), row.max_tokens), (None, None));
    assert_eq!(row.usage, Some(settlement("0").usage));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_get_numbers_of_their_own_and_every_row_is_written() {
    let store = Store::in_memory(2000).expect("opens");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50_u32 {
        let ledger = store.ledger();
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for turn in 0..20 {
                let open = ledger.reserve(reservation(&format!("r-{task}-{turn}"), "1")).await.expect("room");
                ids.push(open.id());
                if turn % 2 == 0 { open.settle(settlement("0.25")) } else { open.refund(refund()) }
            }
            ids
        });
    }
    let mut ids: Vec<CallId> = tasks.join_all().await.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
    let ledger = store.ledger();
    assert_eq!(open_reservations(&ledger).await, OpenReservations::default());
    let spend = ledger.read(|reader| reader.spend(TimeRange::ALL, SpendBy::Backend)).await.expect("read");
    assert_eq!((spend.len(), spend[0].num_calls, spend[0].charged), (1, 1000, usd("125")));
}

#[tokio::test]
async fn a_full_ledger_refuses_and_has_room_again_when_a_call_is_closed() {
    let store = Store::in_memory(2).expect("opens");
    let ledger = store.ledger();
    let first = ledger.reserve(reservation("r-1", "1")).await.expect("room");
    let _second = ledger.reserve(reservation("r-2", "1")).await.expect("room");
    let error = ledger.reserve(reservation("r-3", "1")).await.expect_err("no room");
    assert!(matches!(error, StoreError::Full { max_pending: 2 }), "{error}");
    let finished = FinishedCall { call: call("r-4", START), settlement: settlement("0") };
    assert!(matches!(ledger.record(finished.clone()), Err(StoreError::Full { .. })));
    // Closing needs no room of its own.
    first.settle(settlement("1"));
    ledger.flush().await.expect("written");
    ledger.record(finished).expect("room again");
    ledger.flush().await.expect("written");
    ledger.reserve(reservation("r-5", "1")).await.expect("and again").refund(refund());
}

#[tokio::test]
async fn an_amount_that_the_file_cannot_hold_is_refused_and_the_others_are_not() {
    let store = store();
    let ledger = store.ledger();
    let monstrous = spillway_types::Usd::from_nanos(u64::MAX);
    let (refused, served) = tokio::join!(
        ledger.reserve(Reservation { amount: monstrous, ..reservation("r-1", "0") }),
        ledger.reserve(reservation("r-2", "0.5")),
    );
    assert!(matches!(refused, Err(StoreError::AmountTooLarge { .. })));
    let served = served.expect("its neighbour is none of its business");
    // A settlement that cannot be written leaves the call charged, and its place free.
    let id = served.id();
    served.settle(Settlement { cost: monstrous, ..settlement("0") });
    ledger.flush().await.expect("written");
    let row = row(&ledger, id).await;
    assert_eq!((row.state, row.charged), (CallState::Unsettled, usd("0.5")));
}

#[tokio::test]
async fn nothing_is_taken_after_the_store_is_closed() {
    let store = store();
    let ledger = store.ledger();
    let open = ledger.reserve(reservation("r-1", "1")).await.expect("reserved");
    store.close().expect("all is written");
    open.settle(settlement("1"));
    assert!(matches!(ledger.reserve(reservation("r-2", "1")).await, Err(StoreError::Closed)));
    assert!(matches!(ledger.flush().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn spend_is_told_apart_by_each_name_and_by_day() {
    let store = store();
    let ledger = store.ledger();
    let calls = [
        (Call { key: None, ..call("r-1", START) }, "0.1"),
        (call("r-2", START.plus_ms(DAY)), "0.2"),
        (
            Call {
                route: "code".into(),
                backend: "vllm".into(),
                variant: Some("b".into()),
                ..call("r-3", START)
            },
            "0.4",
        ),
        (Call { model: ModelId::new("qwen"), ..call("r-4", START.plus_ms(DAY - 1)) }, "0.8"),
        (call("before", START.plus_ms(-1)), "100"),
        (call("after", START.plus_ms(2 * DAY)), "100"),
    ];
    for (call, cost) in calls {
        ledger.record(FinishedCall { call, settlement: settlement(cost) }).expect("room");
    }
    ledger.flush().await.expect("written");
    let time = TimeRange::from(START..START.plus_ms(2 * DAY));
    let haiku = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
    for (by, expected) in [
        (SpendBy::Key, vec![(Some("ward 7"), 3, "1.4"), (None, 1, "0.1")]),
        (SpendBy::Model, vec![(Some("qwen"), 1, "0.8"), (Some(haiku), 3, "0.7")]),
        (SpendBy::Route, vec![(Some("chat"), 3, "1.1"), (Some("code"), 1, "0.4")]),
        (SpendBy::Backend, vec![(Some("bedrock"), 3, "1.1"), (Some("vllm"), 1, "0.4")]),
        (SpendBy::Variant, vec![(None, 3, "1.1"), (Some("b"), 1, "0.4")]),
        (SpendBy::Privacy, vec![(Some("standard"), 4, "1.5")]),
        (SpendBy::Purpose, vec![(Some("serve"), 4, "1.5")]),
        (SpendBy::State, vec![(Some("settled"), 4, "1.5")]),
        (SpendBy::Day, vec![(Some("2026-11-11"), 3, "1.3"), (Some("2026-11-12"), 1, "0.2")]),
    ] {
        let spend = ledger.read(move |reader| reader.spend(time, by)).await.expect("read");
        let found: Vec<_> =
            spend.iter().map(|row| (row.name.as_deref(), row.num_calls, row.charged)).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(name, calls, cost)| (name, calls, usd(cost))).collect();
        assert_eq!(found, expected, "by {by:?}");
        let tokens: u64 = spend.iter().map(|row| row.completion_tokens).sum();
        assert_eq!(tokens, 4 * 77);
    }
}

#[tokio::test]
async fn savings_count_every_charge_and_each_answer_once() {
    let store = store();
    let ledger = store.ledger();
    let record = |call, settlement| ledger.record(FinishedCall { call, settlement }).expect("room");
    record(call("r-1", START), settlement("0"));
    // An attempt that was given up for another, one that broke, and a shadow: paid, and nobody got them.
    record(call("r-1", START), Settlement { outcome: Outcome::Cancelled, ..settlement("0.01") });
    record(call("r-1", START), Settlement { outcome: Outcome::Broken("idle".into()), ..settlement("0.001") });
    record(Call { purpose: "shadow", ..call("r-1", START) }, settlement("0.0001"));
    record(Call { purpose: "hedge", ..call("r-2", START) }, settlement("0.00001"));
    ledger.flush().await.expect("written");
    let savings = ledger.read(|reader| reader.savings(TimeRange::ALL)).await.expect("read");
    assert_eq!((savings.spent, savings.strong_cost), (usd("0.01111"), usd("0.06")));
    assert_eq!(savings.saved(), usd("0.04889"));
    let dear = Savings { spent: usd("2"), strong_cost: usd("1") };
    assert_eq!(dear.saved(), usd("0"));
}

async fn projection(spent: &[(i64, &str)], now: UnixMs) -> Projection {
    let store = store();
    let ledger = store.ledger();
    for (offset_ms, cost) in spent {
        let call = call("r", START.plus_ms(*offset_ms));
        ledger.record(FinishedCall { call, settlement: settlement(cost) }).expect("room");
    }
    ledger.flush().await.expect("written");
    ledger.read(move |reader| reader.projection(now)).await.expect("read")
}

#[tokio::test]
async fn a_month_is_projected_by_its_rate_so_far() {
    // Ten days are over: a dollar on each. The first call was as the month began.
    let spent: Vec<_> = (0..10).map(|day| ((day - 10) * DAY, "1")).collect();
    let projection = projection(&spent, START.plus_ms(-1)).await;
    assert_eq!((projection.month.to_string().as_str(), projection.spent), ("2026-11", usd("10")));
    let projected = projection.projected.as_dollars();
    assert!((projected - 30.0).abs() < 0.001, "{projected}");
}

#[tokio::test]
async fn a_young_month_is_projected_by_the_last_seven_days() {
    // 2026-12-01, an hour past midnight: a dollar a day in the week before, nothing since.
    let december = START.plus_ms(20 * DAY + HOUR);
    let spent: Vec<_> = (13..20).map(|day| (day * DAY + 2 * HOUR, "1")).collect();
    let projection = projection(&spent, december).await;
    assert_eq!((projection.month.to_string().as_str(), projection.spent), ("2026-12", usd("0")));
    assert_eq!(projection.measured_spend, usd("7"));
    let projected = projection.projected.as_dollars();
    assert!((projected - 31.0).abs() < 0.3, "{projected}");
}

#[tokio::test]
async fn the_first_minutes_of_a_ledger_project_no_fortune() {
    let projection = projection(&[(0, "0.01")], START.plus_ms(60_000)).await;
    // A cent an hour for the twenty days that are left.
    let projected = projection.projected.as_dollars();
    assert!((projected - 4.81).abs() < 0.01, "{projected}");
    assert_eq!(super::tests::projection(&[], START).await.projected, usd("0"));
}

#[tokio::test]
async fn pruning_takes_what_is_old_and_closed_and_numbers_are_never_given_twice() {
    let store = Store::in_memory(8000).expect("opens");
    let ledger = store.ledger();
    let open = ledger.reserve(reservation("open", "1")).await.expect("room");
    for _ in 0..4500 {
        let finished = FinishedCall { call: call("old", START), settlement: settlement("0") };
        ledger.record(finished).expect("room");
    }
    let new = call("new", START.plus_ms(DAY));
    ledger.record(FinishedCall { call: new, settlement: settlement("0") }).expect("room");
    ledger.flush().await.expect("written");
    assert_eq!(ledger.prune(START.plus_ms(1)).await.expect("pruned"), 4500);
    // The newest row is as old as one can be, and stays, for the next number follows from it.
    assert_eq!(ledger.prune(START.plus_ms(2 * DAY)).await.expect("pruned"), 0);
    let rows = ledger.read(|reader| reader.calls(TimeRange::ALL, None, 10)).await.expect("read");
    let names: Vec<_> = rows.iter().map(|row| row.request.as_str()).collect();
    assert_eq!(names, ["open", "new"]);
    let next = ledger.reserve(reservation("next", "1")).await.expect("room");
    assert_eq!(next.id().get(), rows[1].id.get() + 1);
    next.refund(refund());
    open.refund(refund());
}

#[tokio::test]
async fn calls_are_read_page_by_page() {
    let store = store();
    let ledger = store.ledger();
    for number in 0..5 {
        let finished =
            FinishedCall { call: call(&format!("r-{number}"), START), settlement: settlement("0") };
        ledger.record(finished).expect("room");
    }
    ledger.flush().await.expect("written");
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = ledger.read(move |reader| reader.calls(TimeRange::ALL, after, 2)).await.expect("read");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        names.extend(page.iter().map(|row| row.request.clone()));
    }
    assert_eq!(names, ["r-0", "r-1", "r-2", "r-3", "r-4"]);
}
