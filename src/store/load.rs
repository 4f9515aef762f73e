//! Reads a session: a document, the changes after it, and history for catching up.

use rusqlite::Connection;

use super::changes::{self, Order};
use super::documents::{self, StoredDocument};
use super::error::StoreError;
use super::reserve;
use super::rows::SessionRow;
use crate::journal::{HistoryWindow, StoredChange, StoredSession};

/// Reads a session as of its last change, with as much history as `reach` allows. To be called in a
/// transaction.
pub fn load(
    db: &Connection,
    session: &SessionRow,
    reach: HistoryWindow,
) -> Result<StoredSession, StoreError> {
    let document = documents::newest_up_to(db, session.id, session.seq)?;
    if document.as_ref().map(|document| document.seq) != session.document {
        return Err(StoreError::SessionCorrupt("the newest document is missing".into()));
    }
    let Some(mut stored) = after(db, session, document, session.seq)? else {
        return Err(missing(session.seq));
    };
    stored.history = history(db, session, &stored, reach)?;
    let oldest = stored.history.first().or(stored.changes.first());
    let first = oldest.map_or(stored.seq, StoredChange::before);
    stored.skipped = reserve::skipped(db, session)?;
    stored.taken = changes::taken(db, session, first, reach.changes)?;
    Ok(stored)
}

fn missing(seq: u64) -> StoreError {
    StoreError::SessionCorrupt(format!("change {seq} or one before it is missing"))
}

/// Reads a session as of change `seq`, without history; where that number was skipped, as of the
/// last change before it. `None` where the rows for that were removed.
pub fn at(
    db: &Connection,
    session: &SessionRow,
    seq: u64,
) -> Result<Option<StoredSession>, StoreError> {
    let seq = reserve::last_given(db, session, seq)?;
    let document = documents::newest_up_to(db, session.id, seq)?;
    if seq == 0 && document.is_none() && session.changes_from > 1 && !has_first(db, session)? {
        // The session began with a document that was removed.
        return Ok(None);
    }
    let from = document.as_ref().map_or(0, |document| document.seq) + 1;
    match after(db, session, document, seq)? {
        None if from >= session.changes_from => Err(missing(seq)),
        stored => Ok(stored),
    }
}

/// Returns true where the session's first change is stored.
fn has_first(db: &Connection, session: &SessionRow) -> Result<bool, StoreError> {
    let mut has_first = false;
    changes::read(db, session.id, (1, 1), Order::OldestFirst, |_| {
        has_first = true;
        Ok(false)
    })?;
    Ok(has_first)
}

/// A document (the empty one where `document` is `None`) and all changes after it up to `seq`.
/// `None` where one of them is missing.
fn after(
    db: &Connection,
    session: &SessionRow,
    document: Option<StoredDocument>,
    seq: u64,
) -> Result<Option<StoredSession>, StoreError> {
    let (seq_of_document, document) =
        document.map_or((0, Vec::new()), |found| (found.seq, found.document));
    let mut changes: Vec<StoredChange> = Vec::new();
    let mut next = seq_of_document + 1;
    changes::read(db, session.id, (next, seq), Order::OldestFirst, |change| {
        let follows = change.before() + 1 == next;
        if follows {
            next = change.seq + 1;
            changes.push(change);
        }
        Ok(follows)
    })?;
    let (epoch, history, taken) = (session.epoch.clone(), Vec::new(), Vec::new());
    let skipped = 0;
    let stored =
        StoredSession { epoch, seq, document, seq_of_document, changes, history, taken, skipped };
    Ok((next == seq + 1).then_some(stored))
}

/// The changes up to the document: the newest that `reach` allows beside those after the document.
/// They have no gap.
fn history(
    db: &Connection,
    session: &SessionRow,
    stored: &StoredSession,
    reach: HistoryWindow,
) -> Result<Vec<StoredChange>, StoreError> {
    let after: usize = stored.changes.iter().map(|change| change.frame.len()).sum();
    let mut bytes = reach.bytes.saturating_sub(after);
    let is_one = |change: &StoredChange| change.skipped_after().is_none();
    let after = stored.changes.iter().filter(|change| is_one(change)).count();
    let most = reach.changes.saturating_sub(after);
    let mut found = 0;
    let last = stored.seq_of_document;
    let first = session.changes_from;
    let mut next = last;
    let mut is_full = most == 0;
    let mut history = Vec::new();
    changes::read(db, session.id, (first, last), Order::NewestFirst, |change| {
        is_full = change.frame.len() > bytes || found >= most;
        if change.seq != next || is_full {
            return Ok(false);
        }
        next = change.before();
        bytes -= change.frame.len();
        found += usize::from(is_one(&change));
        history.push(change);
        Ok(true)
    })?;
    if next >= first && !is_full {
        return Err(missing(next));
    }
    history.reverse();
    Ok(history)
}
