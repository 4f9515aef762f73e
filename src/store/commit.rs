//! One transaction: a batch of entries, in their order.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::changes::{self, NewChange};
use super::documents::{self, NewDocument};
use super::rows::{self, SessionRow};
use super::{Store, StoreError, reserve};
use crate::journal::{JournalEntry, SnapshotReason};
use crate::protocol::{Frame, Timestamp};

impl Store {
    /// Writes a batch: all of it or nothing. It is on disk when this returns.
    ///
    /// Entries that are stored already are left as they are, so that a batch may be written twice.
    /// A session is left as it was where its changes don't follow on the stored ones. The names of
    /// such sessions are returned: each needs a snapshot ([`JournalEntry::Snapshot`]), which always fits.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is written.
    pub fn commit<'a>(
        &mut self,
        batch: impl IntoIterator<Item = &'a JournalEntry>,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        self.ensure_sound()?;
        let written = self.write(batch);
        self.note_result(written)
    }

    fn write<'a>(
        &mut self,
        batch: impl IntoIterator<Item = &'a JournalEntry>,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let transaction = self.begin_writing()?;
        let mut batch_writer = BatchWriter {
            db: &transaction,
            stored: &self.sessions,
            changed: HashMap::new(),
            next_id: self.next_id,
            incomplete: Vec::new(),
        };
        for keep in batch {
            batch_writer.write(keep)?;
        }
        let BatchWriter { changed, next_id, incomplete, .. } = batch_writer;
        for session in changed.values() {
            session.write(&transaction)?;
        }
        let new = changed.keys().filter(|name| !self.sessions.contains_key(*name)).count();
        let sessions = (self.sessions.len() + new) as u64;
        rows::write_totals(&transaction, self.commits + 1, sessions)?;
        transaction.commit()?;
        self.sessions.extend(changed);
        self.next_id = next_id;
        self.count_commit()?;
        Ok(incomplete)
    }
}

/// The number of the first change of a snapshot as of change `seq`, which these frames made; the
/// number after `seq` where there are none.
fn first_change(seq: u64, frames: &[Frame]) -> u64 {
    (seq + 1).saturating_sub(frames.len() as u64)
}

/// What came of an entry.
#[derive(PartialEq, Eq)]
enum Written {
    /// It is written, or was stored already.
    Stored,
    /// Changes before it are missing: it is not written.
    ChangesMissing,
}

/// A transaction in the making.
struct BatchWriter<'a> {
    db: &'a Connection,
    /// The sessions before the transaction.
    stored: &'a HashMap<Arc<str>, SessionRow>,
    /// The sessions that the transaction changes, as they are after it.
    changed: HashMap<Arc<str>, SessionRow>,
    next_id: i64,
    /// Sessions of which a change is missing.
    incomplete: Vec<Arc<str>>,
}

impl BatchWriter<'_> {
    fn write(&mut self, keep: &JournalEntry) -> Result<(), StoreError> {
        let written = match keep {
            JournalEntry::Change { seq, at, user, frame, id, .. } => {
                let (id, message) = (id.as_deref(), frame.payload());
                let change = NewChange { seq: *seq, at: *at, user, id, message };
                self.write_change(keep, &change)?
            }
            JournalEntry::Snapshot { seq, at, user, document, frames, id, why, .. } => {
                let user = user.as_deref();
                let document = NewDocument { seq: *seq, at: *at, user, why: *why, document };
                self.write_snapshot(keep, &document, frames, id.as_deref())?
            }
            JournalEntry::ProcessedId { seq, user, id, .. } => {
                self.write_taken(keep, *seq, user, id)?
            }
        };
        if written == Written::ChangesMissing && !self.incomplete.contains(keep.session()) {
            self.incomplete.push(keep.session().clone());
        }
        Ok(())
    }

    fn write_change(
        &mut self,
        keep: &JournalEntry,
        change: &NewChange<'_>,
    ) -> Result<Written, StoreError> {
        let (seq, at) = (change.seq, change.at);
        let Some(mut session) = self.session(keep, seq == 1, Some(at))? else {
            return Ok(Written::ChangesMissing);
        };
        if seq <= session.seq {
            return Ok(Written::Stored);
        }
        if !reserve::follows(self.db, &session, seq)? {
            return Ok(Written::ChangesMissing);
        }
        reserve::reserve(self.db, &mut session, seq)?;
        changes::add(self.db, session.id, change)?;
        session.advance(seq, at);
        self.changed.insert(session.name.clone(), session);
        Ok(Written::Stored)
    }

    /// Writes a document, the changes that made it (`frames`), and the id of their message.
    fn write_snapshot(
        &mut self,
        keep: &JournalEntry,
        document: &NewDocument<'_>,
        frames: &[Frame],
        id: Option<&str>,
    ) -> Result<Written, StoreError> {
        let NewDocument { seq, at, user, .. } = *document;
        let Some(mut session) = self.session(keep, true, Some(at))? else {
            return Ok(Written::ChangesMissing);
        };
        if seq < session.seq {
            return Ok(Written::Stored);
        }
        self.incomplete.retain(|name| *name != session.name);
        let first = first_change(seq, frames);
        let follows = first <= session.seq + 1 || reserve::follows(self.db, &session, first)?;
        reserve::reserve(self.db, &mut session, seq)?;
        self.put_document(session.id, document)?;
        session.document = Some(seq);
        let user = user.unwrap_or_default();
        for (number, frame) in (first..=seq).zip(frames) {
            // The id is that of the last change the message made.
            let id = id.filter(|_| number == seq);
            let change = NewChange { seq: number, at, user, id, message: frame.payload() };
            changes::add(self.db, session.id, &change)?;
        }
        if let Some(id) = id.filter(|_| frames.is_empty()) {
            changes::add_taken(self.db, &mut session, seq, user, id)?;
        }
        // Where it doesn't follow, changes before it are missing; itself is, where it was not
        // relayed.
        session.changes_from = if follows { session.changes_from.min(first) } else { first };
        if seq > session.seq {
            session.advance(seq, at);
        }
        self.changed.insert(session.name.clone(), session);
        Ok(Written::Stored)
    }

    fn write_taken(
        &mut self,
        keep: &JournalEntry,
        seq: u64,
        user: &str,
        id: &str,
    ) -> Result<Written, StoreError> {
        let Some(mut session) = self.session(keep, seq == 0, None)? else {
            return Ok(Written::ChangesMissing);
        };
        if seq > session.seq {
            return Ok(Written::ChangesMissing);
        }
        changes::add_taken(self.db, &mut session, seq, user, id)?;
        self.changed.insert(session.name.clone(), session);
        Ok(Written::Stored)
    }

    /// Writes a document. A regular one doesn't change the time, user and reason of one that is
    /// stored as of the same change.
    fn put_document(&self, session: i64, new: &NewDocument<'_>) -> Result<(), StoreError> {
        let old = match new.why {
            SnapshotReason::Regular => documents::reason(self.db, session, new.seq),
            _ => Ok(None),
        };
        // A damaged one is replaced.
        let old = old.or_else(|error| match error {
            StoreError::SessionCorrupt(_) => Ok(None),
            other => Err(other),
        })?;
        match &old {
            Some((at, user, why)) => {
                let (at, user, why) = (*at, user.as_deref(), *why);
                documents::put(self.db, session, &NewDocument { at, user, why, ..*new })
            }
            None => documents::put(self.db, session, new),
        }
    }

    /// The session of an entry. Where there is none of its name and epoch, makes one if the entry
    /// is the first of a session (`begins`); otherwise returns `None`.
    fn session(
        &mut self,
        keep: &JournalEntry,
        begins: bool,
        at: Option<Timestamp>,
    ) -> Result<Option<SessionRow>, StoreError> {
        let name = keep.session();
        let known = self.changed.get(name).or_else(|| self.stored.get(name));
        if let Some(known) = known.filter(|known| known.epoch == *keep.epoch()) {
            return Ok(Some(known.clone()));
        }
        if !begins {
            return Ok(None);
        }
        if let Some(old) = known.cloned() {
            self.rename_with_epoch(old)?;
        }
        let at = at.unwrap_or(Timestamp::from_millis(0));
        let session = SessionRow {
            id: self.next_id,
            name: name.clone(),
            epoch: keep.epoch().clone(),
            seq: 0,
            created: at,
            changed: at,
            changes_from: 1,
            document: None,
            taken: 0,
            taken_from: 1,
            reserved: None,
        };
        self.next_id += 1;
        session.write(self.db)?;
        self.changed.insert(name.clone(), session.clone());
        Ok(Some(session))
    }

    /// Renames a stored session, because one of another epoch begins under its name. Nothing that
    /// is stored is overwritten.
    fn rename_with_epoch(&mut self, mut old: SessionRow) -> Result<(), StoreError> {
        let mut name = format!("{} (epoch {})", old.name, old.epoch);
        while self.changed.contains_key(&*name) || self.stored.contains_key(&*name) {
            name.push('+');
        }
        let name: Arc<str> = name.into();
        log::warn!(
            "session {:?} was stored with another epoch; what was stored is now named {name:?}",
            old.name
        );
        old.name = name.clone();
        old.write(self.db)?;
        self.changed.insert(name, old);
        Ok(())
    }
}
