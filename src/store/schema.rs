//! The tables, and how a file of an older format becomes one of the present.
//!
//! The file says of itself that it is collabd's (`PRAGMA application_id`) and which format it has
//! (`PRAGMA user_version`). Each format that ever landed has a step here that makes the next one of
//! it; a step that has landed is never changed.
//!
//! Times are milliseconds since 1970 in UTC, which compare as numbers; the views show them as people
//! write them. Texts that are JSON are stored as such: SQLite's JSON functions work on them. `sum` is
//! the check sum of a row (`sum.rs`).

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::StoreError;
use super::rows;

/// How long another program that holds the file is waited for. After that what happens is not on disk
/// in time, and people are to know.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// "clbd".
const APPLICATION: i32 = 0x636c_6264;
/// The present format.
pub const FORMAT: i32 = STEPS.len() as i32;

type Step = fn(&Connection) -> Result<(), StoreError>;

/// Step 0 makes format 1 of an empty file, step 1 format 2 of format 1, and so on.
const STEPS: [Step; 1] = [format_1];

fn format_1(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(FORMAT_1)?;
    rows::write_totals(db, 0, 0)
}

// SQLite checks its list of free pages only when the table it was told of last is no view
// (`PRAGMA quick_check`; seen in 3.40 and 3.54): so the views come first.
const FORMAT_1: &str = "
    -- For people.
    CREATE VIEW overview AS SELECT
        s.name, s.epoch, s.seq,
        strftime('%Y-%m-%dT%H:%M:%fZ', s.created / 1000.0, 'unixepoch') AS created,
        strftime('%Y-%m-%dT%H:%M:%fZ', s.changed / 1000.0, 'unixepoch') AS changed,
        (SELECT count(*) FROM changes WHERE session = s.id) AS changes,
        (SELECT count(*) FROM documents WHERE session = s.id) AS versions
        FROM sessions s;
    CREATE VIEW journal AS SELECT
        s.name AS session, c.seq,
        strftime('%Y-%m-%dT%H:%M:%fZ', c.at / 1000.0, 'unixepoch') AS time,
        c.user, c.id, c.message
        FROM changes c JOIN sessions s ON s.id = c.session;
    CREATE VIEW versions AS SELECT
        s.name AS session, d.seq,
        strftime('%Y-%m-%dT%H:%M:%fZ', d.at / 1000.0, 'unixepoch') AS time,
        d.user, d.why, d.bytes, d.document
        FROM documents d JOIN sessions s ON s.id = d.session;

    -- One row: how many transactions there have been and how many sessions there are.
    CREATE TABLE store (commits INTEGER NOT NULL, sessions INTEGER NOT NULL, sum INTEGER NOT NULL);

    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        epoch TEXT NOT NULL,
        seq INTEGER NOT NULL,           -- the last change
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        changes_from INTEGER NOT NULL,  -- from here to seq no change is missing
        document INTEGER,               -- the change as of which the newest document is
        taken INTEGER NOT NULL,         -- how many ids were taken without a change
        taken_from INTEGER NOT NULL,    -- from here on none is missing
        sum INTEGER NOT NULL
    );

    -- Each change as it was relayed.
    CREATE TABLE changes (
        session INTEGER NOT NULL REFERENCES sessions (id),
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        user TEXT NOT NULL,
        id TEXT,                        -- what its sender called it, JSON
        sum INTEGER NOT NULL,
        message TEXT NOT NULL,          -- JSON
        PRIMARY KEY (session, seq)
    ) WITHOUT ROWID;

    -- Whole documents. The newest is what a session goes on from, the others are its versions.
    CREATE TABLE documents (
        session INTEGER NOT NULL REFERENCES sessions (id),
        seq INTEGER NOT NULL,           -- the change as of which it is
        at INTEGER NOT NULL,
        user TEXT,
        why TEXT NOT NULL,
        bytes INTEGER NOT NULL,         -- how long the document is
        content INTEGER NOT NULL,       -- the check sum of the document; sum is of all but it
        sum INTEGER NOT NULL,
        document TEXT NOT NULL,         -- JSON
        PRIMARY KEY (session, seq)
    ) WITHOUT ROWID;

    -- Ids that were taken without a change, numbered in this order.
    CREATE TABLE taken (
        session INTEGER NOT NULL REFERENCES sessions (id),
        n INTEGER NOT NULL,
        seq INTEGER NOT NULL,           -- the last change at that moment
        user TEXT NOT NULL,
        id TEXT NOT NULL,               -- JSON
        sum INTEGER NOT NULL,
        PRIMARY KEY (session, n)
    ) WITHOUT ROWID;
";

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is nothing in it.
    Empty,
    /// Ours, of this format.
    Ours(i32),
    /// Ours, of a format that is yet to come.
    Newer(i32),
    /// A database, but not ours.
    Foreign,
}

/// Looks what the file is, without changing it.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is no database at all, or a broken one.
pub fn kind(db: &Connection) -> Result<Kind, StoreError> {
    let application: i32 = pragma(db, "application_id")?;
    let format: i32 = pragma(db, "user_version")?;
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok(match (application, objects) {
        (0, 0) => Kind::Empty,
        (APPLICATION, 1..) if format > FORMAT => Kind::Newer(format),
        (APPLICATION, 1..) if format > 0 => Kind::Ours(format),
        (APPLICATION, _) => {
            return Err(StoreError::Corrupt(format!("a format {format} there never was")));
        }
        _ => Kind::Foreign,
    })
}

/// Says how the connection is to work; for one that only reads, too.
///
/// # Errors
/// [`StoreError`], when the file doesn't allow it.
pub fn configure(db: &Connection) -> Result<(), StoreError> {
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // A file that shrinks or a disk that fails is an error, not a signal that ends the process.
    db.pragma_update(None, "mmap_size", 0)?;
    // Nothing is written outside the data directory, where there may be no room and no permission.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// Whether closing leaves the journal as it is, instead of moving it into the database.
///
/// # Errors
/// [`StoreError::Internal`], never seen.
pub fn keep_journal(db: &Connection, keep: bool) -> Result<(), StoreError> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)?;
    Ok(())
}

/// Has the connection be the only one there is, in this process and in others, from when it reads first.
/// It makes no use then of what processes share about the journal, but reads it from its beginning.
///
/// # Errors
/// [`StoreError::Internal`], never seen.
pub fn exclude_others(db: &Connection) -> Result<(), StoreError> {
    db.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    Ok(())
}

/// Says how the connection that writes is to work. An empty file becomes a database by it.
///
/// # Errors
/// [`StoreError`], when the file doesn't allow it.
pub fn configure_writer(db: &Connection) -> Result<(), StoreError> {
    // Has to come before the first table, and before the journal mode, which writes the first page.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = format!("a journal of the kind {mode}: its file system can't share memory");
        return Err(StoreError::Io(why));
    }
    // A commit has reached the disk when it returns; on macOS the disk itself, not its cache.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(())
}

/// Makes the present format of the format `from` (0 for an empty file), each step whole or not at
/// all.
///
/// # Errors
/// [`StoreError`]: the file is of some format in between then, and the next start goes on from there.
pub fn migrate(db: &mut Connection, from: i32) -> Result<(), StoreError> {
    let done = usize::try_from(from).unwrap_or_default();
    for (place, step) in STEPS.iter().enumerate().skip(done) {
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        step(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", place as i32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A setting of the connection, or a number in the file's head.
///
/// # Errors
/// [`StoreError`], when it can't be read.
pub fn pragma<T: rusqlite::types::FromSql>(db: &Connection, name: &str) -> Result<T, StoreError> {
    Ok(db.pragma_query_value(None, name, |row| row.get(0))?)
}
