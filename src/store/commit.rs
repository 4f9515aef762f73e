//! One transaction: what the hub wants kept, in its order.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::changes::{self, NewChange};
use super::documents::{self, NewDocument};
use super::rows::{self, Session};
use super::{Store, StoreError, reserve};
use crate::kept::{Keep, Why};
use crate::protocol::{Frame, Timestamp};

impl Store {
    /// Writes all of it, or nothing. It is on disk when this returns.
    ///
    /// What is stored already is left as it is, so that the same may be given again. A session whose
    /// changes don't follow on what is stored, because some were never given, stays as it was; such
    /// sessions are returned: each needs a [`Keep::Whole`], which always fits.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing has been written.
    pub fn commit<'a>(
        &mut self,
        batch: impl IntoIterator<Item = &'a Keep>,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        self.sound()?;
        let written = self.write(batch);
        self.noting(written)
    }

    fn write<'a>(
        &mut self,
        batch: impl IntoIterator<Item = &'a Keep>,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let transaction = self.begin_writing()?;
        let mut writing = Writing {
            db: &transaction,
            stored: &self.sessions,
            changed: HashMap::new(),
            next_id: self.next_id,
            lacking: Vec::new(),
        };
        for keep in batch {
            if !writing.write(keep)? && !writing.lacking.contains(keep.session()) {
                writing.lacking.push(keep.session().clone());
            }
        }
        let Writing { changed, next_id, lacking, .. } = writing;
        for session in changed.values() {
            session.write(&transaction)?;
        }
        let new = changed.keys().filter(|name| !self.sessions.contains_key(*name)).count();
        let sessions = (self.sessions.len() + new) as u64;
        rows::write_totals(&transaction, self.commits + 1, sessions)?;
        transaction.commit()?;
        self.sessions.extend(changed);
        self.next_id = next_id;
        self.committed()?;
        Ok(lacking)
    }
}

/// The first of the changes that made a document as of change `seq`; the next one where none did.
fn first_of(seq: u64, frames: &[Frame]) -> u64 {
    (seq + 1).saturating_sub(frames.len() as u64)
}

/// A transaction that is being written.
struct Writing<'a> {
    db: &'a Connection,
    /// The sessions as they were before.
    stored: &'a HashMap<Arc<str>, Session>,
    /// Those that this transaction changes, as they will be.
    changed: HashMap<Arc<str>, Session>,
    next_id: i64,
    /// Sessions of which a change is missing.
    lacking: Vec<Arc<str>>,
}

impl Writing<'_> {
    /// Writes one of them. Whether it follows on what is stored.
    fn write(&mut self, keep: &Keep) -> Result<bool, StoreError> {
        match keep {
            Keep::Change { seq, at, user, frame, id, .. } => {
                let Some(mut session) = self.session(keep, *seq == 1, Some(*at))? else {
                    return Ok(false);
                };
                if *seq <= session.seq {
                    return Ok(true);
                }
                if !reserve::follows(self.db, &session, *seq)? {
                    return Ok(false);
                }
                reserve::reserve(self.db, &mut session, *seq)?;
                let (id, message) = (id.as_deref(), frame.payload());
                let change = NewChange { seq: *seq, at: *at, user, id, message };
                changes::add(self.db, session.id, &change)?;
                session.advance(*seq, *at);
                self.changed.insert(session.name.clone(), session);
                Ok(true)
            }
            Keep::Whole { seq, at, user, document, frames, id, why, .. } => {
                let Some(mut session) = self.session(keep, true, Some(*at))? else {
                    return Ok(false);
                };
                if *seq < session.seq {
                    return Ok(true);
                }
                self.lacking.retain(|name| *name != session.name);
                let follows = first_of(*seq, frames) <= session.seq + 1
                    || reserve::follows(self.db, &session, first_of(*seq, frames))?;
                reserve::reserve(self.db, &mut session, *seq)?;
                let user = user.as_deref();
                let new = NewDocument { seq: *seq, at: *at, user, why: *why, document };
                self.put_document(session.id, &new)?;
                session.document = Some(*seq);
                let (by, id) = (user.unwrap_or_default(), id.as_deref());
                let newest = *seq;
                let first = first_of(newest, frames);
                for (seq, frame) in (first..=newest).zip(frames) {
                    // What its sender called it is the last of what came of it.
                    let id = id.filter(|_| seq == newest);
                    let message = frame.payload();
                    let change = NewChange { seq, at: *at, user: by, id, message };
                    changes::add(self.db, session.id, &change)?;
                }
                if let Some(id) = id.filter(|_| frames.is_empty()) {
                    changes::add_taken(self.db, &mut session, newest, by, id)?;
                }
                // The changes before it that are missing, and itself, where it was not relayed.
                session.changes_from = match follows {
                    true => session.changes_from.min(first),
                    false => first,
                };
                if *seq > session.seq {
                    session.advance(*seq, *at);
                }
                self.changed.insert(session.name.clone(), session);
                Ok(true)
            }
            Keep::Taken { seq, user, id, .. } => {
                let Some(mut session) = self.session(keep, *seq == 0, None)? else {
                    return Ok(false);
                };
                if *seq > session.seq {
                    return Ok(false);
                }
                changes::add_taken(self.db, &mut session, *seq, user, id)?;
                self.changed.insert(session.name.clone(), session);
                Ok(true)
            }
        }
    }

    /// A whole document; that it is there regularly is no news about one that is there already.
    fn put_document(&self, session: i64, new: &NewDocument<'_>) -> Result<(), StoreError> {
        let old = match new.why {
            Why::Regular => documents::reason(self.db, session, new.seq),
            _ => Ok(None),
        };
        // One that is damaged is replaced like one that isn't there.
        let old = old.or_else(|trouble| match trouble {
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

    /// The session that something belongs to. Where there is none of this name and epoch it is made,
    /// if what is to be kept is its beginning.
    fn session(
        &mut self,
        keep: &Keep,
        begins: bool,
        at: Option<Timestamp>,
    ) -> Result<Option<Session>, StoreError> {
        let name = keep.session();
        let known = self.changed.get(name).or_else(|| self.stored.get(name));
        if let Some(known) = known.filter(|known| known.epoch == *keep.epoch()) {
            return Ok(Some(known.clone()));
        }
        if !begins {
            return Ok(None);
        }
        if let Some(old) = known.cloned() {
            self.put_aside(old)?;
        }
        let at = at.unwrap_or(Timestamp::from_millis(0));
        let session = Session {
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

    /// Gives an earlier life of a session a name of its own: another one has begun under its name,
    /// and nothing that is stored is overwritten.
    fn put_aside(&mut self, mut old: Session) -> Result<(), StoreError> {
        let mut name = format!("{} (epoch {})", old.name, old.epoch);
        while self.changed.contains_key(&*name) || self.stored.contains_key(&*name) {
            name.push('+');
        }
        let name: Arc<str> = name.into();
        log::warn!(
            "session {:?} was stored with another epoch; what was stored is now {name:?}",
            old.name
        );
        old.name = name.clone();
        old.write(self.db)?;
        self.changed.insert(name, old);
        Ok(())
    }
}
