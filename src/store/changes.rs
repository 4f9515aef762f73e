//! The rows of changes, and of ids that were taken without one.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::checksum::Sum;
use super::error::StoreError;
use super::rows::{
    Session, Text, check, column, damaged, millis, number, text, text_or_none, time,
};
use crate::kept::{StoredChange, StoredId};
use crate::protocol::{Timestamp, UserId};

/// A change that is to be written; its message is JSON.
pub struct NewChange<'a> {
    pub seq: u64,
    pub at: Timestamp,
    pub user: &'a str,
    pub id: Option<&'a str>,
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
    Ok(Sum::of("changes")
        .number(session)
        .number(column(seq)?)
        .number(millis(at))
        .text(user.as_bytes())
        .maybe(id.map(str::as_bytes))
        .text(message)
        .finish())
}

/// Adds a change. One of the same number that is there already stays.
///
/// # Errors
/// [`StoreError`], when it can't be written.
pub fn add(db: &Connection, session: i64, change: &NewChange<'_>) -> Result<(), StoreError> {
    let NewChange { seq, at, user, id, message } = *change;
    let sum = change_sum(session, seq, at, user, id, message)?;
    let sql = "INSERT OR IGNORE INTO changes (session, seq, at, user, id, sum, message)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![session, column(seq)?, millis(at), user, id, sum, Text(message)];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Which way changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Reads the changes from `first` to `last`, both included, until `take` has had enough.
///
/// # Errors
/// [`StoreError`], when one can't be read or is not as it was written; or what `take` says.
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
    // The same few people over and over.
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
    Ok(Sum::of("taken")
        .number(session)
        .number(column(n)?)
        .number(column(seq)?)
        .text(user.as_bytes())
        .text(id.as_bytes())
        .finish())
}

/// Adds the session's next id that was taken without a change; the session's own row is still to be
/// written.
///
/// # Errors
/// [`StoreError`], when it can't be written.
pub fn add_taken(
    db: &Connection,
    session: &mut Session,
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

/// The newest ids that were taken without a change, in order: at most so many, and as of change
/// `first` or later.
///
/// # Errors
/// [`StoreError`], when one can't be read or is not as it was written.
pub fn taken(
    db: &Connection,
    session: &Session,
    first: u64,
    most: usize,
) -> Result<Vec<StoredId>, StoreError> {
    let sql = "SELECT n, seq, user, id, sum FROM taken WHERE session = ?1 ORDER BY n DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX) as u64;
    let mut rows = statement.query(params![session.id, column(most)?])?;
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
    if next >= session.taken_from && (taken.len() as u64) < most {
        return Err(damaged("what stands about ids that were taken"));
    }
    taken.reverse();
    Ok(taken)
}
