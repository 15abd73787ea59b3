//! A process is killed in the middle of spending: what it was told is in the file, and stays charged.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use spillway_store::{CallRow, CallState, LedgerReader, Store, StoreConfig, StoreError, TimeRange};
use spillway_types::Usd;
use tempfile::TempDir;

/// Reserved by the example for each call, and what it settles for.
const RESERVED: Usd = Usd::from_nanos(1000);
const COST: Usd = Usd::from_nanos(300);

/// Goal: a kill loses no row that was acknowledged and no settlement that was, whatever the moment.
/// Method: three processes, one after the other, spend into one file and are killed after more and more lines. Each time
/// the file is opened again and compared with all the lines so far.
#[test]
fn a_killed_process_loses_nothing_that_it_was_told() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let path = folder.path().join("spillway.db");
    let mut told = HashMap::new();
    let mut num_rows_before = 0;
    for num_lines in [1, 300, 2000] {
        let lines = spend_and_kill(&path, num_lines)?;
        assert!(lines.len() >= num_lines, "it was killed after {} lines", lines.len());
        for (id, state) in lines {
            // A later line of the same call, that it was settled, takes the place of the first.
            told.insert(id, state);
        }
        let store = Store::open(&StoreConfig::new(&path))?;
        let found_open = store.found_open();
        let rows = read_all(&path)?;
        check(&told, &rows);
        let num_unsettled = rows.values().filter(|row| row.state == CallState::Unsettled).count() as u64;
        assert!(found_open.num_calls > 0 && found_open.num_calls <= num_unsettled);
        assert_eq!(found_open.reserved.nanos(), found_open.num_calls * RESERVED.nanos());
        assert!(rows.len() > num_rows_before, "numbers are given once, so rows only become more");
        num_rows_before = rows.len();
        store.close()?;
    }
    Ok(())
}

#[test]
fn a_store_that_another_process_has_open_is_refused() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let path = folder.path().join("spillway.db");
    let mut spender = start(&path)?;
    let mut line = String::new();
    BufReader::new(spender.0.stdout.take().ok_or("it has an output")?).read_line(&mut line)?;
    assert!(line.starts_with("reserved "), "{line}");
    let error = Store::open(&StoreConfig::new(&path)).expect_err("it is in use");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    Ok(())
}

/// A child process that does not outlive the test, even if that fails.
struct Spender(Child);

impl Drop for Spender {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(path: &Path) -> Result<Spender, Box<dyn Error>> {
    let program = example()?;
    Ok(Spender(Command::new(program).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
}

/// Examples lie beside the folder that this test is in.
fn example() -> Result<PathBuf, Box<dyn Error>> {
    let test = std::env::current_exe()?;
    let folder =
        test.parent().and_then(Path::parent).ok_or("the test is in a folder of the target folder")?;
    let program = folder.join("examples/spend").with_extension(std::env::consts::EXE_EXTENSION);
    if !program.is_file() {
        return Err("the example is not built: cargo build -p spillway-store --examples".into());
    }
    Ok(program)
}

/// What a process told before it was killed, after it had told `num_lines` at least: calls and their last known state.
fn spend_and_kill(path: &Path, num_lines: usize) -> Result<Vec<(i64, CallState)>, Box<dyn Error>> {
    let mut spender = start(path)?;
    let mut output = BufReader::new(spender.0.stdout.take().ok_or("it has an output")?);
    let mut text = String::new();
    for _ in 0..num_lines {
        output.read_line(&mut text)?;
    }
    // SIGKILL, where there are signals: nothing is tidied up.
    spender.0.kill()?;
    // What it had told before the kill arrived counts, too; a last line may be torn.
    output.read_to_string(&mut text)?;
    let complete = text.rsplit_once('\n').map_or("", |(complete, _torn)| complete);
    complete.lines().map(parse).collect()
}

fn parse(line: &str) -> Result<(i64, CallState), Box<dyn Error>> {
    let (what, id) = line.split_once(' ').ok_or("two words a line")?;
    let state = match what {
        "reserved" => CallState::Unsettled,
        "settled" => CallState::Settled,
        _ => return Err(format!("unknown line `{line}`").into()),
    };
    Ok((id.parse()?, state))
}

fn read_all(path: &Path) -> Result<HashMap<i64, CallRow>, Box<dyn Error>> {
    let reader = LedgerReader::open(path)?;
    let rows = reader.calls(TimeRange::ALL, None, u32::MAX)?;
    Ok(rows.into_iter().map(|row| (row.id.get(), row)).collect())
}

/// Every call that was told of has a row. One that was told settled is. Any other is settled, if its settlement was
/// written and not told any more, or charged its reservation.
fn check(told: &HashMap<i64, CallState>, rows: &HashMap<i64, CallRow>) {
    for (id, state) in told {
        let row = rows.get(id).unwrap_or_else(|| panic!("call {id} was acknowledged and is lost"));
        if *state == CallState::Settled {
            assert_eq!(row.state, CallState::Settled, "the settlement of call {id} is lost");
        }
    }
    for row in rows.values() {
        let expected = match row.state {
            CallState::Settled => COST,
            CallState::Unsettled => RESERVED,
            CallState::Open | CallState::Refunded => panic!("call {} is {:?}", row.id, row.state),
        };
        assert_eq!((row.charged, row.reserved), (expected, RESERVED));
    }
}
