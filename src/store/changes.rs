//! The rows of changes (table `changes`), and of ids whose messages changed nothing (table
//! `taken`).

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::checksum::Checksum;
use super::error::StoreError;
use super::rows::{
    SessionRow, Text, check, column, damaged, millis, number, text, text_or_none, time,
};
use crate::journal::{StoredChange, StoredId};
use crate::protocol::{Timestamp, UserId};

/// A change to write.
pub struct NewChange<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub user: &'a str,
    /// The id its sender gave it, as JSON.
    pub id: Option<&'a str>,
    /// JSON.
    pub message: &'a [u8],
}

fn change_sum(
    session: i64,
    seq: u64,
    at: Timestamp,
    user: &str,
    id: Option<&str>,
    message: &[u8],
) -> Result<i64, StoreError> {
    Ok(Checksum::new("changes")
        .number(session)
        .number(column(seq)?)
        .number(millis(at))
        .text(user.as_bytes())
        .maybe(id.map(str::as_bytes))
        .text(message)
        .finish())
}

/// Adds a change. Where a change of this number is stored, that one stays.
pub fn add(db: &Connection, session: i64, change: &NewChange<'_>) -> Result<(), StoreError> {
    let NewChange { seq, at, user, id, message } = *change;
    let sum = change_sum(session, seq, at, user, id, message)?;
    let sql = "INSERT OR IGNORE INTO changes (session, seq, at, user, id, sum, message)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![session, column(seq)?, millis(at), user, id, sum, Text(message)];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The order in which changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Calls `take` with the changes from `first` to `last`, both included, until it returns false.
///
/// # Errors
/// [`StoreError`] where a change can't be read or is damaged; and the errors of `take`.
pub fn read(
    db: &Connection,
    session: i64,
    (first, last): (u64, u64),
    order: Order,
    mut take: impl FnMut(StoredChange) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    if first > last {
        return Ok(());
    }
    let mut statement = db.prepare_cached(match order {
        Order::OldestFirst => {
            "SELECT seq, at, user, id, sum, message FROM changes
                WHERE session = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq"
        }
        Order::NewestFirst => {
            "SELECT seq, at, user, id, sum, message FROM changes
                WHERE session = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC"
        }
    })?;
    let mut rows = statement.query(params![session, column(first)?, column(last)?])?;
    // A few users make all changes: each name is stored once.
    let mut users: HashMap<Box<str>, UserId> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (seq, at, user) = (number(row, 0)?, time(row, 1)?, text(row, 2)?);
        let (id, message) = (text_or_none(row, 3)?, text(row, 5)?.as_bytes());
        let sum = change_sum(session, seq, at, user, id, message)?;
        check(sum, row, 4, &format!("change {seq}"))?;
        let shared = match users.get(user) {
            Some(shared) => shared.clone(),
            None => users.entry(user.into()).or_insert(user.into()).clone(),
        };
        let change =
            StoredChange { seq, at, user: shared, frame: message.to_vec(), id: id.map(Into::into) };
        if !take(change)? {
            break;
        }
    }
    Ok(())
}

fn taken_sum(session: i64, n: u64, seq: u64, user: &str, id: &str) -> Result<i64, StoreError> {
    Ok(Checksum::new("taken")
        .number(session)
        .number(column(n)?)
        .number(column(seq)?)
        .text(user.as_bytes())
        .text(id.as_bytes())
        .finish())
}

/// Adds an id whose message changed nothing. The caller writes the session's own row.
pub fn add_taken(
    db: &Connection,
    session: &mut SessionRow,
    seq: u64,
    user: &str,
    id: &str,
) -> Result<(), StoreError> {
    let n = session.taken + 1;
    let sum = taken_sum(session.id, n, seq, user, id)?;
    let sql = "INSERT INTO taken (session, n, seq, user, id, sum) VALUES (?, ?, ?, ?, ?, ?)";
    let values = params![session.id, column(n)?, column(seq)?, user, id, sum];
    db.prepare_cached(sql)?.execute(values)?;
    session.taken = n;
    Ok(())
}

/// The newest ids whose messages changed nothing, the oldest first: at most `max`, and as of change
/// `first` or later.
pub fn taken(
    db: &Connection,
    session: &SessionRow,
    first: u64,
    max: usize,
) -> Result<Vec<StoredId>, StoreError> {
    let sql = "SELECT n, seq, user, id, sum FROM taken WHERE session = ?1 ORDER BY n DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let max = i64::try_from(max).unwrap_or(i64::MAX) as u64;
    let mut rows = statement.query(params![session.id, column(max)?])?;
    let mut taken = Vec::new();
    let mut next = session.taken;
    while let Some(row) = rows.next()? {
        let (n, seq, user, id) = (number(row, 0)?, number(row, 1)?, text(row, 2)?, text(row, 3)?);
        check(taken_sum(session.id, n, seq, user, id)?, row, 4, "an id that was taken")?;
        if n != next {
            return Err(damaged("what stands about ids that were taken"));
        }
        next -= 1;
        if seq < first {
            taken.reverse();
            return Ok(taken);
        }
        taken.push(StoredId { seq, user: user.into(), id: id.into() });
    }
    if next >= session.taken_from && (taken.len() as u64) < max {
        return Err(damaged("what stands about ids that were taken"));
    }
    taken.reverse();
    Ok(taken)
}
