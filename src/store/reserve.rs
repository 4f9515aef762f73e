//! Reserves numbers of changes on disk before the hub gives them, so that none is given twice. A
//! change that was relayed shortly before a crash may not be on disk, though clients have seen its
//! number.
//!
//! Each session that a server uses has a row ahead of its last change: numbers up to there may have
//! been given. A server that stops properly removes it. Where the row is found when a session is
//! loaded, its server was killed: the next change gets a number behind the row. The row then names
//! the skipped numbers ([`StoredChange::skip`]), and stays as long as the changes around it.

use rusqlite::{Connection, params};

use super::changes::{self, NewChange, Order};
use super::rows::{self, SessionRow, column};
use super::{Store, StoreError};
use crate::journal::StoredChange;
use crate::protocol::Timestamp;

/// How many numbers are reserved at a time. The hub may be half as many changes ahead of the disk;
/// the bound of the queue holds about a hundred thousand.
pub const BLOCK: u64 = 10_000_000;

/// The message in the row of reserved numbers.
const RESERVED: &[u8] = br#"{"type":"reserved"}"#;

/// The rows ahead of a session's last change.
#[derive(Debug, Default)]
struct Ahead {
    /// Numbers up to this one are reserved.
    reserved: Option<u64>,
    /// Numbers up to this one are skipped.
    skipped: Option<u64>,
}

fn ahead(db: &Connection, session: &SessionRow) -> Result<Ahead, StoreError> {
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

/// The last of the skipped numbers ahead of the last change; 0 where none are skipped.
pub fn skipped(db: &Connection, session: &SessionRow) -> Result<u64, StoreError> {
    Ok(ahead(db, session)?.skipped.unwrap_or(0))
}

/// Returns true where change `seq` follows the session's last one, or the skipped numbers after it.
pub fn follows(db: &Connection, session: &SessionRow, seq: u64) -> Result<bool, StoreError> {
    Ok(seq == session.seq + 1 || seq > 1 && skipped(db, session)? == seq - 1)
}

/// The number of the last change up to `seq`, which may be a skipped number.
pub fn last_given(db: &Connection, session: &SessionRow, seq: u64) -> Result<u64, StoreError> {
    let mut last = seq;
    changes::read(db, session.id, (seq, session.seq), Order::OldestFirst, |change| {
        last = change.skipped_after().filter(|after| *after < seq).unwrap_or(seq);
        Ok(false)
    })?;
    Ok(last)
}

/// Reserves numbers behind change `seq`, which is about to be written, where less than half a block
/// is left.
pub fn reserve(db: &Connection, session: &mut SessionRow, seq: u64) -> Result<(), StoreError> {
    let is_enough = |reserved: Option<u64>| reserved.is_some_and(|most| seq + BLOCK / 2 <= most);
    if is_enough(session.reserved) {
        return Ok(());
    }
    let found = ahead(db, session)?;
    if found.skipped.is_some_and(|skipped| skipped >= seq) {
        // The change is not the hub's, which goes on behind the skipped numbers.
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

fn put(db: &Connection, session: &SessionRow, seq: u64, message: &[u8]) -> Result<(), StoreError> {
    let change = NewChange { seq, at: session.changed, user: "", id: None, message };
    changes::add(db, session.id, &change)
}

fn remove(db: &Connection, session: &SessionRow, seq: Option<u64>) -> Result<(), StoreError> {
    let Some(seq) = seq else { return Ok(()) };
    let sql = "DELETE FROM changes WHERE session = ? AND seq = ?";
    db.prepare_cached(sql)?.execute(params![session.id, column(seq)?])?;
    Ok(())
}

/// Reserves numbers for all sessions, as transaction number `commits`, where none are reserved for
/// any: an older version was killed, which reserved none and may have given some that are not on
/// disk. Returns true where it wrote the transaction.
///
/// # Errors
/// [`StoreError`]: nothing is written.
pub fn reserve_for_all<'a>(
    db: &mut Connection,
    sessions: impl ExactSizeIterator<Item = &'a SessionRow>,
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
    /// Prepares a session for use by a server: reserves numbers for it, and skips those that a
    /// killed server may have given. It is on disk when this returns. Does nothing where none of
    /// this name is stored. To be called once, before the session is loaded.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is written.
    pub fn begin_use(&mut self, session: &str) -> Result<(), StoreError> {
        self.ensure_sound()?;
        let begun = self.skip_and_reserve(session);
        self.note_result(begun)
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
        self.count_commit()
    }

    /// The number of a session's next change.
    ///
    /// # Errors
    /// [`StoreError`] where it can't be read.
    pub fn next_number(&self, session: &str) -> Result<u64, StoreError> {
        let Some(session) = self.sessions.get(session) else { return Ok(1) };
        Ok(session.seq.max(skipped(&self.db, session)?) + 1)
    }

    /// Releases all reserved numbers. To be called when every change that has a number is on disk,
    /// before the store is closed.
    pub(super) fn release_numbers(&mut self) -> Result<(), StoreError> {
        let used = self.sessions.values().filter(|session| session.reserved.is_some());
        let transaction = self.begin_writing()?;
        for session in used {
            remove(&transaction, session, session.reserved)?;
        }
        Ok(transaction.commit()?)
    }
}

/// A random number far behind `seq`: numbers can't be reserved while nothing can be written, and
/// from there on none has been given, in all likelihood.
pub fn far_behind(seq: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(Timestamp::now().millis()) % 1000;
    seq + BLOCK * (2 + random)
}
