//! How the file came to have its tables: numbered steps, each applied once and in order.
//!
//! # Invariants
//!
//! - A step that was ever released is never changed: what it should have been is a new step.
//! - A file whose version is not known here is refused before anything is written to it.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// One step of the file's history.
#[derive(Debug)]
pub(crate) struct Migration {
    /// What it does, for whoever looks into the file.
    name: &'static str,
    sql: &'static str,
}

/// All steps; the first has number 1.
pub(crate) const ALL: [Migration; 1] =
    [Migration { name: "calls", sql: include_str!("migrations/1_calls.sql") }];

/// The version of a file after all steps.
pub(crate) fn latest() -> u32 {
    ALL.len() as u32
}

/// The number of the last step that was applied to the file; 0 for an empty one.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'";
    if connection.query_row(exists, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM migrations", [], |row| row.get(0))
}

/// Applies the steps that the file lacks, all or none.
pub(crate) fn migrate(connection: &mut Connection, steps: &[Migration]) -> rusqlite::Result<()> {
    let applied = version(connection)? as usize;
    if applied >= steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT",
    )?;
    for (step_idx, step) in steps.iter().enumerate().skip(applied) {
        transaction.execute_batch(step.sql)?;
        transaction.execute(
            "INSERT INTO migrations (version, name) VALUES (?1, ?2)",
            (step_idx as u32 + 1, step.name),
        )?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [Migration; 2] = [
        Migration { name: "shelf", sql: "CREATE TABLE shelf (book TEXT) STRICT" },
        Migration { name: "author", sql: "ALTER TABLE shelf ADD COLUMN author TEXT" },
    ];

    #[test]
    fn a_file_of_version_one_gets_what_came_later_and_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().expect("opens");
        assert_eq!(version(&connection).expect("is read"), 0);
        migrate(&mut connection, &TWO[..1]).expect("first step");
        connection.execute("INSERT INTO shelf (book) VALUES ('Emma')", []).expect("a row of version 1");
        migrate(&mut connection, &TWO).expect("second step");
        migrate(&mut connection, &TWO).expect("nothing to do");
        assert_eq!(version(&connection).expect("is read"), 2);
        let row: (String, Option<String>) = connection
            .query_row("SELECT book, author FROM shelf", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("the row is there");
        assert_eq!(row, ("Emma".to_owned(), None));
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let mut connection = Connection::open_in_memory().expect("opens");
        let broken = [
            Migration { name: "shelf", sql: "CREATE TABLE shelf (book TEXT) STRICT" },
            Migration { name: "typo", sql: "ALTER TABLE shelve ADD COLUMN author TEXT" },
        ];
        migrate(&mut connection, &broken).expect_err("the second step is wrong");
        assert_eq!(version(&connection).expect("is read"), 0);
        migrate(&mut connection, &TWO).expect("nothing is in the way");
    }
}
