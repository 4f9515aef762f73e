//! Numbers of changes are reserved on disk before they are given, so that none is given twice: what was
//! relayed shortly before a crash may not have been on disk, and somebody may have seen it.
//!
//! A session that a server uses has a row among its changes that stands ahead of its last one: numbers
//! up to there may have been given. A server that stops properly removes it. Where one is found when a
//! session is loaded, the server that wrote it was killed, and the session goes on behind it: the row
//! then says which numbers were skipped ([`StoredChange::skip`]), and stays for as long as the changes
//! around it.

use rusqlite::{Connection, params};

use super::changes::{self, NewChange, Order};
use super::rows::{self, Session, column};
use super::{Store, StoreError};
use crate::kept::StoredChange;
use crate::protocol::Timestamp;

/// How many numbers are reserved at a time. Half of it is what the hub may be ahead of the disk: while
/// the disk works it is less than the queue's bound, a hundred thousand changes or so.
pub const BLOCK: u64 = 10_000_000;

/// What the row of reserved numbers says.
const RESERVED: &[u8] = br#"{"type":"reserved"}"#;

/// What stands ahead of a session's last change.
#[derive(Debug, Default)]
struct Ahead {
    /// Numbers up to this one are reserved.
    reserved: Option<u64>,
    /// Numbers up to this one are skipped.
    skipped: Option<u64>,
}

fn ahead(db: &Connection, session: &Session) -> Result<Ahead, StoreError> {
    let mut ahead = Ahead::default();
    let range = (session.seq + 1, i64::MAX as u64);
    changes::read(db, session.id, range, Order::OldestFirst, |change| {
        match change.skipped_after() {
            Some(_) => ahead.skipped = Some(change.seq),
            None => ahead.reserved = Some(change.seq),
        }
        Ok(true)
    })?;
    Ok(ahead)
}

/// Up to which number a session's next changes skip numbers; 0 where they don't.
///
/// # Errors
/// [`StoreError`], when that can't be read.
pub fn skipped(db: &Connection, session: &Session) -> Result<u64, StoreError> {
    Ok(ahead(db, session)?.skipped.unwrap_or(0))
}

/// Whether a change of this number follows on the session's last one.
///
/// # Errors
/// [`StoreError`], when that can't be read.
pub fn follows(db: &Connection, session: &Session, seq: u64) -> Result<bool, StoreError> {
    Ok(seq == session.seq + 1 || seq > 1 && skipped(db, session)? == seq - 1)
}

/// The last change up to number `seq`, which may be one that was skipped.
///
/// # Errors
/// [`StoreError`], when that can't be read.
pub fn last_given(db: &Connection, session: &Session, seq: u64) -> Result<u64, StoreError> {
    let mut last = seq;
    changes::read(db, session.id, (seq, session.seq), Order::OldestFirst, |change| {
        last = change.skipped_after().filter(|after| *after < seq).unwrap_or(seq);
        Ok(false)
    })?;
    Ok(last)
}

/// Reserves numbers behind `seq`, which is about to be written, where they are about to run out.
///
/// # Errors
/// [`StoreError`], when they can't be.
pub fn reserve(db: &Connection, session: &mut Session, seq: u64) -> Result<(), StoreError> {
    let is_enough = |reserved: Option<u64>| reserved.is_some_and(|most| seq + BLOCK / 2 <= most);
    if is_enough(session.reserved) {
        return Ok(());
    }
    let found = ahead(db, session)?;
    if found.skipped.is_some_and(|skipped| skipped >= seq) {
        // Not by the hub: it goes on behind them.
        remove(db, session, found.skipped)?;
    }
    if !is_enough(found.reserved) {
        remove(db, session, found.reserved)?;
        put(db, session, seq + BLOCK, RESERVED)?;
    }
    session.reserved =
        Some(found.reserved.filter(|_| is_enough(found.reserved)).unwrap_or(seq + BLOCK));
    Ok(())
}

fn put(db: &Connection, session: &Session, seq: u64, message: &[u8]) -> Result<(), StoreError> {
    let change = NewChange { seq, at: session.changed, user: "", id: None, message };
    changes::add(db, session.id, &change)
}

fn remove(db: &Connection, session: &Session, seq: Option<u64>) -> Result<(), StoreError> {
    let Some(seq) = seq else { return Ok(()) };
    let sql = "DELETE FROM changes WHERE session = ? AND seq = ?";
    db.prepare_cached(sql)?.execute(params![session.id, column(seq)?])?;
    Ok(())
}

/// Reserves numbers for all sessions, if there are none for any: the server before this one was killed, and
/// its version reserved none, so it may have given some that are not on disk. It is transaction number
/// `commits`. Whether there was anything to do.
///
/// # Errors
/// [`StoreError`], and then nothing has been written.
pub fn where_none_are<'a>(
    db: &mut Connection,
    sessions: impl ExactSizeIterator<Item = &'a Session>,
    commits: u64,
) -> Result<bool, StoreError> {
    let count = sessions.len() as u64;
    if count == 0 {
        return Ok(false);
    }
    let transaction = db.transaction()?;
    for session in sessions {
        let Ahead { reserved, skipped } = ahead(&transaction, session)?;
        if reserved.is_some() {
            return Ok(false);
        }
        put(&transaction, session, session.seq.max(skipped.unwrap_or(0)) + BLOCK, RESERVED)?;
    }
    rows::write_totals(&transaction, commits, count)?;
    transaction.commit()?;
    Ok(true)
}

impl Store {
    /// A server begins to use a session, if there is one of this name: numbers are reserved for it, and
    /// those that a server may have given that was killed are skipped. It is on disk when this returns.
    /// To be called once, before the session is loaded.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing has been written.
    pub fn begin_use(&mut self, session: &str) -> Result<(), StoreError> {
        self.sound()?;
        let begun = self.skip_and_reserve(session);
        self.noting(begun)
    }

    fn skip_and_reserve(&mut self, session: &str) -> Result<(), StoreError> {
        let Some(known) = self.sessions.get(session) else { return Ok(()) };
        let mut session = known.clone();
        let transaction = self.begin_writing()?;
        let Ahead { reserved, skipped } = ahead(&transaction, &session)?;
        let last = reserved.max(skipped);
        for number in [reserved, skipped] {
            remove(&transaction, &session, number)?;
        }
        if let Some(last) = last {
            let skip = StoredChange::skip(session.seq, last, session.changed);
            put(&transaction, &session, last, &skip.frame)?;
        }
        let most = last.unwrap_or(session.seq) + BLOCK;
        put(&transaction, &session, most, RESERVED)?;
        session.reserved = Some(most);
        let count = self.sessions.len() as u64;
        rows::write_totals(&transaction, self.commits + 1, count)?;
        transaction.commit()?;
        self.sessions.insert(session.name.clone(), session);
        self.committed()
    }

    /// The number that the next change of a session gets.
    ///
    /// # Errors
    /// [`StoreError`], when that can't be read.
    pub fn next_number(&self, session: &str) -> Result<u64, StoreError> {
        let Some(session) = self.sessions.get(session) else { return Ok(1) };
        Ok(session.seq.max(skipped(&self.db, session)?) + 1)
    }

    /// The server stops, and everything it has given a number is on disk.
    pub(super) fn release_numbers(&mut self) -> Result<(), StoreError> {
        let used = self.sessions.values().filter(|session| session.reserved.is_some());
        let transaction = self.begin_writing()?;
        for session in used {
            remove(&transaction, session, session.reserved)?;
        }
        Ok(transaction.commit()?)
    }
}

/// What is stored of a session where numbers can't be reserved, because nothing can be written: it goes
/// on behind numbers that nobody else has been given, in all likelihood.
pub fn far_behind(seq: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(Timestamp::now().millis()) % 1000;
    seq + BLOCK * (2 + random)
}
