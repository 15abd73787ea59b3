//! The writer without its thread: when the file fails it, and when nobody waits any more. A database that may not grow
//! stands for a full disk.

use spillway_types::{ModelId, Usage, Usd};

use super::*;
use crate::ledger::{Call, Outcome};
use crate::migrations;

fn call(request: &str) -> Call {
    Call {
        request: request.into(),
        attempt: 1,
        key: None,
        route: "chat".into(),
        backend: "local".into(),
        model: ModelId::new("demo"),
        privacy: "private",
        variant: None,
        purpose: "serve",
        started_at: UnixMs(0),
        estimated_prompt_tokens: 1,
        max_tokens: None,
    }
}

fn record(request: &str) -> Command {
    let settlement = Settlement {
        outcome: Outcome::Answered,
        usage: Usage::default(),
        cost: Usd::ZERO,
        strong_cost: None,
        provider_request_id: None,
        settled_at: UnixMs(1),
        ttft_ms: None,
        duration_ms: 1,
    };
    Command::Record { finished: Box::new(FinishedCall { call: call(request), settlement }) }
}

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().expect("opens");
    migrations::migrate(&mut connection, &migrations::ALL).expect("migrates");
    connection
}

fn writer<'c>(connection: &'c Connection, queue: &'c Arc<Queue<Command>>) -> Writer<'c> {
    let statements = Statements::prepare(connection).expect("prepared");
    Writer { statements, count: checkpoints::channel().0, queue }
}

fn set_max_pages(connection: &Connection, max_pages: u32) {
    connection.query_row(&format!("PRAGMA max_page_count = {max_pages}"), [], |_| Ok(())).expect("is set");
}

fn count(connection: &Connection) -> u32 {
    connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).expect("read")
}

#[test]
fn a_full_disk_refuses_who_waits_and_keeps_the_rest_for_later() {
    let connection = database();
    set_max_pages(&connection, 1);
    let queue = Arc::new(Queue::new(10));
    let mut writer = writer(&connection, &queue);
    let (reply, mut answer) = oneshot::channel();
    let reservation = Reservation { call: call("waits"), amount: Usd::from_nanos(5) };
    let mut pending = vec![
        record(&"long ".repeat(10_000)),
        Command::Reserve { reservation: Box::new(reservation), reply },
        record("last"),
    ];
    for _ in 0..10 {
        queue.take_place().expect("room");
    }
    let error = writer.write(&mut pending).expect_err("the disk is full");
    assert!(error.to_string().contains("database or disk is full"), "{error}");
    let answer = answer.try_recv().expect("it was told");
    assert!(matches!(answer, Err(StoreError::Failed { .. })));
    assert_eq!((pending.len(), count(&connection)), (2, 0), "the records wait, and nothing was half written");
    queue.take_place().expect("only the reservation's place is free");
    queue.take_place().expect_err("the records' places are not");

    set_max_pages(&connection, 1000);
    writer.write(&mut pending).expect("there is room again");
    assert_eq!((pending.len(), count(&connection)), (0, 2));
    queue.take_place().expect("and so are their places");
}

#[test]
fn a_caller_who_stopped_waiting_for_a_reservation_gets_it_back() {
    let connection = database();
    let queue = Arc::new(Queue::new(1));
    let mut writer = writer(&connection, &queue);
    let (reply, answer) = oneshot::channel();
    drop(answer);
    queue.take_place().expect("room");
    let reservation = Reservation { call: call("gone"), amount: Usd::from_nanos(5) };
    writer
        .write(&mut vec![Command::Reserve { reservation: Box::new(reservation), reply }])
        .expect("it is written all the same");
    queue.take_place().expect_err("the call is open");
    let mut followed = Vec::new();
    queue.take(&mut followed, None);
    assert!(matches!(followed[..], [Command::Refund { .. }]), "{followed:?}");
    writer.write(&mut followed).expect("written");
    let state: String =
        connection.query_row("SELECT state FROM calls", [], |row| row.get(0)).expect("one row");
    assert_eq!(state, "refunded");
    queue.take_place().expect("its place is free");
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let queue = Arc::new(Queue::new(10));
    let (reply, answer) = oneshot::channel();
    queue.push(Command::Flush { reply }, Hurry::Yes).expect("open");
    // A database without tables: the statements cannot be prepared.
    let connection = Connection::open_in_memory().expect("opens");
    run(&connection, None, &queue).expect_err("it cannot work");
    assert!(answer.await.is_err(), "the waiting one is let go");
    let (reply, _answer) = oneshot::channel();
    assert!(matches!(queue.push(Command::Flush { reply }, Hurry::Yes), Err(StoreError::Closed)));
}
