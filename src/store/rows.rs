//! Rows: written with their check sums, and believed only when the sum is right. Here what all tables
//! share, and the rows of sessions; those of a session are in `changes.rs` and `documents.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::checksum::Sum;
use super::error::StoreError;
use crate::protocol::Timestamp;

/// A session's own row.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: i64,
    pub name: Arc<str>,
    pub epoch: Arc<str>,
    /// The last change.
    pub seq: u64,
    pub created: Timestamp,
    pub changed: Timestamp,
    /// From here to `seq` every change is stored.
    pub changes_from: u64,
    /// The change as of which the newest whole document is.
    pub document: Option<u64>,
    /// How many ids were taken without a change.
    pub taken: u64,
    /// From here to `taken` every one of them is stored.
    pub taken_from: u64,
    /// The number up to which numbers are reserved, since this process has looked; not in the row
    /// (`reserve.rs`).
    pub reserved: Option<u64>,
}

/// Text as it stands in a row, whatever type Rust has it in.
pub struct Text<'a>(pub &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// A number as a column takes it.
///
/// # Errors
/// [`StoreError::Internal`] for one that no session will ever reach.
pub fn column(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::Internal(format!("{number} is no number of a change")))
}

pub fn millis(at: Timestamp) -> i64 {
    // At most the end of the year 9999.
    at.millis() as i64
}

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

pub fn check(is: i64, row: &Row<'_>, place: usize, what: &str) -> Result<(), StoreError> {
    let should_be: i64 = row.get(place)?;
    if is == should_be { Ok(()) } else { Err(damaged(what)) }
}

impl Session {
    /// Notes its last change.
    pub fn advance(&mut self, seq: u64, at: Timestamp) {
        // One that began with an id that was taken learns only now when it began.
        if self.created.millis() == 0 {
            self.created = at;
        }
        self.seq = seq;
        self.changed = at;
    }

    fn sum(&self) -> Result<i64, StoreError> {
        Ok(Sum::of("sessions")
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
        let session = Session {
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

    /// Writes the row anew, or for the first time.
    ///
    /// # Errors
    /// [`StoreError`], when it can't be written.
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

/// All sessions by name, and how many transactions there have been.
///
/// # Errors
/// [`StoreError::SessionCorrupt`] when one of them is not as it was written, or missing.
pub fn sessions(db: &Connection) -> Result<(HashMap<Arc<str>, Session>, u64), StoreError> {
    let mut statement = db.prepare_cached(SESSION)?;
    let mut rows = statement.query([])?;
    let mut sessions = HashMap::new();
    while let Some(row) = rows.next()? {
        let session = Session::read(row)?;
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

/// One session by its name. Doesn't rely on the index of names.
///
/// # Errors
/// [`StoreError`], when it can't be read.
pub fn session(db: &Connection, name: &str) -> Result<Option<Session>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{SESSION} WHERE name = ?1"))?;
    let found = statement.query_row([name], |row| Ok(Session::read(row))).optional()?;
    found.transpose()
}

fn totals_sum(commits: u64, sessions: u64) -> Result<i64, StoreError> {
    Ok(Sum::of("store").number(column(commits)?).number(column(sessions)?).finish())
}

/// Writes how many transactions and sessions there are.
///
/// # Errors
/// [`StoreError`], when it can't be written.
pub fn write_totals(db: &Connection, commits: u64, sessions: u64) -> Result<(), StoreError> {
    let values = params![column(commits)?, column(sessions)?, totals_sum(commits, sessions)?];
    let update = "UPDATE store SET commits = ?1, sessions = ?2, sum = ?3";
    if db.prepare_cached(update)?.execute(values)? == 0 {
        db.execute("INSERT INTO store (commits, sessions, sum) VALUES (?1, ?2, ?3)", values)?;
    }
    Ok(())
}
