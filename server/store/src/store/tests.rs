//! Files that are locked, foreign, broken, too new, or left behind.

use std::fs;

use spillway_types::{ModelId, Usd};
use tempfile::TempDir;

use super::*;
use crate::ledger::{Call, Reservation};
use crate::time::UnixMs;

struct Place {
    /// Removes the folder when it goes.
    _folder: TempDir,
    config: StoreConfig,
}

fn place() -> Place {
    let folder = TempDir::new().expect("a folder");
    let config = StoreConfig::new(folder.path().join("spillway.db"));
    Place { _folder: folder, config }
}

fn reservation(nanos: u64) -> Reservation {
    let call = Call {
        request: "r-1".into(),
        attempt: 1,
        key: None,
        route: "chat".into(),
        backend: "bedrock".into(),
        model: ModelId::new("amazon.nova-lite-v1:0"),
        privacy: "standard",
        variant: None,
        purpose: "serve",
        started_at: UnixMs(1_795_420_065_000),
        estimated_prompt_tokens: 10,
        max_tokens: None,
    };
    Reservation { call, amount: Usd::from_nanos(nanos) }
}

#[test]
fn a_file_that_is_open_is_not_opened_twice_but_may_be_read() {
    let place = place();
    let first = Store::open(&place.config).expect("opens");
    let error = Store::open(&place.config).expect_err("it is in use");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    LedgerReader::open(&place.config.path).expect("reading is allowed").open_reservations().expect("read");
    first.close().expect("closes");
    Store::open(&place.config).expect("it is free again");
}

#[tokio::test]
async fn what_a_store_leaves_open_is_unsettled_when_it_is_opened_again() {
    let place = place();
    let store = Store::open(&place.config).expect("opens");
    assert_eq!(store.found_open(), OpenReservations::default());
    let open = store.ledger().reserve(reservation(7_000)).await.expect("reserved");
    store.close().expect("closes");
    drop(open);

    let store = Store::open(&place.config).expect("opens again");
    let found = OpenReservations { num_calls: 1, reserved: Usd::from_nanos(7_000) };
    assert_eq!(store.found_open(), found);
    let savings = |reader: &LedgerReader| reader.savings(crate::TimeRange::ALL);
    assert_eq!(store.ledger().read(savings).await.expect("read").spent, Usd::from_nanos(7_000));
    drop(store);
    let store = Store::open(&place.config).expect("opens a third time");
    assert_eq!(store.found_open(), OpenReservations::default());
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = place();
    let text = "name,price\n".repeat(500);
    fs::write(&place.config.path, &text).expect("written");
    let error = Store::open(&place.config).expect_err("no database");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("is no sound SQLite database: restore it from a copy"), "{error}");
    assert_eq!(fs::read_to_string(&place.config.path).expect("read"), text);
}

#[tokio::test]
async fn a_file_that_broke_is_called_so() {
    let place = place();
    drop(Store::open(&place.config).expect("made"));
    let mut bytes = fs::read(&place.config.path).expect("read");
    // The header stays good; the page with the table of tables does not.
    bytes[100..4096].fill(0xA5);
    fs::write(&place.config.path, bytes).expect("written");
    let error = Store::open(&place.config).expect_err("broken");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let place = place();
    let foreign = Connection::open(&place.config.path).expect("opens");
    foreign.execute_batch("CREATE TABLE recipes (name TEXT)").expect("made");
    drop(foreign);
    let before = fs::read(&place.config.path).expect("read");
    let error = Store::open(&place.config).expect_err("not ours");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(matches!(LedgerReader::open(&place.config.path), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(&place.config.path).expect("read"), before);
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let place = place();
    drop(Store::open(&place.config).expect("made"));
    let later = Connection::open(&place.config.path).expect("opens");
    later.execute("INSERT INTO migrations (version, name) VALUES (99, 'later')", []).expect("marked");
    drop(later);
    let error = Store::open(&place.config).expect_err("too new");
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    assert!(matches!(LedgerReader::open(&place.config.path), Err(StoreError::TooNew { .. })));
}

#[test]
fn a_file_that_no_server_has_opened_yet_is_not_read() {
    let place = place();
    fs::write(&place.config.path, "").expect("written");
    let error = LedgerReader::open(&place.config.path).expect_err("nothing is in there");
    assert!(matches!(error, StoreError::TooOld { found: 0, .. }), "{error}");
    Store::open(&place.config).expect("it may become one").close().expect("closes");
    LedgerReader::open(&place.config.path).expect("now there is something to read");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let place = place();
    let config = StoreConfig::new(place.config.path.join("nowhere/spillway.db"));
    let error = Store::open(&config).expect_err("no folder");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(matches!(LedgerReader::open(&config.path), Err(StoreError::Unreachable { .. })));
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    drop(Store::open(&place.config).expect("made"));
    let mode = fs::metadata(&place.config.path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
