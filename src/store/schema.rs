//! The tables, and the migration of older formats.
//!
//! `PRAGMA application_id` marks the file as collabd's, `PRAGMA user_version` is its format. Each
//! released format has a step here that makes the next one from it. A released step is never
//! changed.
//!
//! Times are milliseconds since 1970 in UTC; the views show them as text. JSON is stored as text,
//! so that SQLite's JSON functions work on it. `sum` is the checksum of a row (`checksum.rs`).

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::StoreError;
use super::rows;

/// How long a write waits for another program that holds the file. After that, changes are not on
/// disk in time, and the operator is told.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// `PRAGMA application_id` of collabd's files: "clbd".
const APPLICATION_ID: i32 = 0x636c_6264;
/// The format that this version writes.
pub const FORMAT: i32 = STEPS.len() as i32;

type Step = fn(&Connection) -> Result<(), StoreError>;

/// Step 0 makes format 1 from an empty file, step 1 makes format 2 from format 1, and so on.
const STEPS: [Step; 1] = [format_1];

fn format_1(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(FORMAT_1)?;
    rows::write_totals(db, 0, 0)
}

// `PRAGMA quick_check` checks the list of free pages only where the last entry of the schema is not
// a view (seen in SQLite 3.40 and 3.54): so the views come first.
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

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An empty file, or a database without tables.
    Empty,
    /// Collabd's, in this format.
    Ours(i32),
    /// Collabd's, in a format of a newer version.
    Newer(i32),
    /// The database of another program.
    Foreign,
}

/// Finds out what the file is, without changing it.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is not a database, or a damaged one.
pub fn kind(db: &Connection) -> Result<Kind, StoreError> {
    let application: i32 = pragma(db, "application_id")?;
    let format: i32 = pragma(db, "user_version")?;
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok(match (application, objects) {
        (0, 0) => Kind::Empty,
        (APPLICATION_ID, 1..) if format > FORMAT => Kind::Newer(format),
        (APPLICATION_ID, 1..) if format > 0 => Kind::Ours(format),
        (APPLICATION_ID, _) => {
            return Err(StoreError::Corrupt(format!("a format {format} there never was")));
        }
        _ => Kind::Foreign,
    })
}

/// Configures any connection, also one that only reads.
pub fn configure(db: &Connection) -> Result<(), StoreError> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Without a memory map, a file that shrinks or a disk that fails is an error, and not SIGBUS.
    db.pragma_update(None, "mmap_size", 0)?;
    // Outside the data directory there may be no room and no permission.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// Where `keep` is true, closing leaves the journal as it is, and doesn't move it into the
/// database.
pub fn keep_journal(db: &Connection, keep: bool) -> Result<(), StoreError> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)?;
    Ok(())
}

/// Excludes all other connections, of this process and others, from the first read on. The
/// connection then reads the journal from its beginning, and not the index of it that processes
/// share.
pub fn exclude_others(db: &Connection) -> Result<(), StoreError> {
    db.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    Ok(())
}

/// Configures the connection that writes. It makes a database from an empty file.
pub fn configure_writer(db: &Connection) -> Result<(), StoreError> {
    // Must precede the first table, and the journal mode, which writes the first page.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = format!("a journal of the kind {mode}: its file system can't share memory");
        return Err(StoreError::Io(why));
    }
    // A commit is on disk when it returns; on macOS on the disk itself, and not in its cache.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(())
}

/// Brings a file from the format `from` (0 for an empty file) to [`FORMAT`], one transaction a
/// step.
///
/// # Errors
/// [`StoreError`]: the file has a format in between then, from which the next start goes on.
pub fn migrate(db: &mut Connection, from: i32) -> Result<(), StoreError> {
    let done = usize::try_from(from).unwrap_or_default();
    for (place, step) in STEPS.iter().enumerate().skip(done) {
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        step(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", place as i32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Reads a setting of the connection or a number in the file's header.
pub fn pragma<T: rusqlite::types::FromSql>(db: &Connection, name: &str) -> Result<T, StoreError> {
    Ok(db.pragma_query_value(None, name, |row| row.get(0))?)
}
