//! What the rows of all tables share, and the tables `sessions` and `store`. Every row has a
//! checksum; one whose checksum is wrong is refused. Other tables are in `changes.rs` and
//! `documents.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::checksum::Checksum;
use super::error::StoreError;
use crate::protocol::Timestamp;

/// A session's own row (table `sessions`).
#[derive(Debug, Clone)]
pub struct SessionRow {
    pub id: i64,
    pub name: Arc<str>,
    pub epoch: Arc<str>,
    /// The number of the last change.
    pub seq: u64,
    pub created: Timestamp,
    pub changed: Timestamp,
    /// Every change from this one to `seq` is stored.
    pub changes_from: u64,
    /// The last change in the newest document.
    pub document: Option<u64>,
    /// How many ids without a change were written; each has a number from 1 on.
    pub taken: u64,
    /// Every id from this number to `taken` is stored.
    pub taken_from: u64,
    /// The last number that this process has reserved; not a column (`reserve.rs`).
    pub reserved: Option<u64>,
}

/// Bytes that SQLite is to store as text.
pub struct Text<'a>(pub &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// A number as SQLite's integer.
///
/// # Errors
/// [`StoreError::Internal`] where it is too large: no session reaches that.
pub fn column(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::Internal(format!("{number} is no number of a change")))
}

/// A time as SQLite's integer.
pub fn millis(at: Timestamp) -> i64 {
    // A timestamp is at most the end of the year 9999.
    at.millis() as i64
}

/// The error for damaged content.
pub fn damaged(what: &str) -> StoreError {
    StoreError::SessionCorrupt(format!("{what} is not as it was written"))
}

pub fn number(row: &Row<'_>, place: usize) -> Result<u64, StoreError> {
    let number: i64 = row.get(place)?;
    u64::try_from(number).map_err(|_| damaged("a number"))
}

pub fn time(row: &Row<'_>, place: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(number(row, place)?))
}

pub fn text<'a>(row: &'a Row<'_>, place: usize) -> Result<&'a str, StoreError> {
    row.get_ref(place)?.as_str().map_err(|_| damaged("a text"))
}

pub fn text_or_none<'a>(row: &'a Row<'_>, place: usize) -> Result<Option<&'a str>, StoreError> {
    row.get_ref(place)?.as_str_or_null().map_err(|_| damaged("a text"))
}

/// Compares a computed checksum with the one in this column.
pub fn check(computed: i64, row: &Row<'_>, place: usize, what: &str) -> Result<(), StoreError> {
    let stored: i64 = row.get(place)?;
    if computed == stored { Ok(()) } else { Err(damaged(what)) }
}

impl SessionRow {
    /// Sets the last change.
    pub fn advance(&mut self, seq: u64, at: Timestamp) {
        // A session that began with an id without a change has no time yet.
        if self.created.millis() == 0 {
            self.created = at;
        }
        self.seq = seq;
        self.changed = at;
    }

    fn sum(&self) -> Result<i64, StoreError> {
        Ok(Checksum::new("sessions")
            .number(self.id)
            .text(self.name.as_bytes())
            .text(self.epoch.as_bytes())
            .number(column(self.seq)?)
            .number(millis(self.created))
            .number(millis(self.changed))
            .number(column(self.changes_from)?)
            .number(self.document.map_or(Ok(-1), column)?)
            .number(column(self.taken)?)
            .number(column(self.taken_from)?)
            .finish())
    }

    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let session = SessionRow {
            id: row.get(0)?,
            name: text(row, 1)?.into(),
            epoch: text(row, 2)?.into(),
            seq: number(row, 3)?,
            created: time(row, 4)?,
            changed: time(row, 5)?,
            changes_from: number(row, 6)?,
            document: match row.get_ref(7)? {
                ValueRef::Null => None,
                _ => Some(number(row, 7)?),
            },
            taken: number(row, 8)?,
            taken_from: number(row, 9)?,
            reserved: None,
        };
        check(session.sum()?, row, 10, "what stands about a session")?;
        Ok(session)
    }

    /// Inserts or updates the row.
    pub fn write(&self, db: &Connection) -> Result<(), StoreError> {
        let sql = "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            ON CONFLICT (id) DO UPDATE SET name = ?2, epoch = ?3, seq = ?4, created = ?5,
            changed = ?6, changes_from = ?7, document = ?8, taken = ?9, taken_from = ?10, sum = ?11";
        db.prepare_cached(sql)?.execute(params![
            self.id,
            self.name,
            self.epoch,
            column(self.seq)?,
            millis(self.created),
            millis(self.changed),
            column(self.changes_from)?,
            self.document.map(column).transpose()?,
            column(self.taken)?,
            column(self.taken_from)?,
            self.sum()?
        ])?;
        Ok(())
    }
}

const SESSION: &str = "SELECT * FROM sessions NOT INDEXED";

/// All sessions by name, and the number of transactions.
pub fn sessions(db: &Connection) -> Result<(HashMap<Arc<str>, SessionRow>, u64), StoreError> {
    let mut statement = db.prepare_cached(SESSION)?;
    let mut rows = statement.query([])?;
    let mut sessions = HashMap::new();
    while let Some(row) = rows.next()? {
        let session = SessionRow::read(row)?;
        sessions.insert(session.name.clone(), session);
    }
    let mut statement = db.prepare_cached("SELECT commits, sessions, sum FROM store")?;
    let (commits, count) = statement.query_row([], |row| {
        Ok(number(row, 0).and_then(|commits| {
            let count = number(row, 1)?;
            check(totals_sum(commits, count)?, row, 2, "the table of totals")?;
            Ok((commits, count))
        }))
    })??;
    if count != sessions.len() as u64 {
        let why = format!("there are {} sessions where {count} were written", sessions.len());
        return Err(StoreError::SessionCorrupt(why));
    }
    Ok((sessions, commits))
}

/// A session by its name; `None` where there is none. Doesn't use the index of names, which may be
/// damaged.
pub fn session(db: &Connection, name: &str) -> Result<Option<SessionRow>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{SESSION} WHERE name = ?1"))?;
    let found = statement.query_row([name], |row| Ok(SessionRow::read(row))).optional()?;
    found.transpose()
}

fn totals_sum(commits: u64, sessions: u64) -> Result<i64, StoreError> {
    Ok(Checksum::new("store").number(column(commits)?).number(column(sessions)?).finish())
}

/// Writes the numbers of transactions and sessions (table `store`).
pub fn write_totals(db: &Connection, commits: u64, sessions: u64) -> Result<(), StoreError> {
    let values = params![column(commits)?, column(sessions)?, totals_sum(commits, sessions)?];
    let update = "UPDATE store SET commits = ?1, sessions = ?2, sum = ?3";
    if db.prepare_cached(update)?.execute(values)? == 0 {
        db.execute("INSERT INTO store (commits, sessions, sum) VALUES (?1, ?2, ?3)", values)?;
    }
    Ok(())
}
