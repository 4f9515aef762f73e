//! The sessions of a data directory. Reading is possible while a server uses it; a change needs it alone,
//! as a server would have it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Archive, CanvasFile, ChangeResult, CompactResult, exists};
use crate::archive::compact::Compaction;
use crate::archive::{self, BY, ChangesPage, Listing, Versions, over_damaged};
use crate::hub::{
    ConnId, Document, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits, LoadedSession,
    NotLoaded, Refusal, Time,
};
use crate::journal::{HistoryWindow, JournalEntry, StoredSession};
use crate::protocol::inbound::State;
use crate::protocol::{Timestamp, UserId};
use crate::store::{PointInTime, Reader, Retention, Store, StoreError, Summary};

/// No client is there to catch up.
const NO_HISTORY: HistoryBounds = HistoryBounds { changes: 0, bytes: 0 };
const UNBOUNDED: DocumentBounds = DocumentBounds { item: usize::MAX, document: usize::MAX };

pub(super) struct LocalArchive<'a> {
    directory: &'a Path,
}

impl<'a> LocalArchive<'a> {
    pub fn new(directory: &'a Path) -> Self {
        LocalArchive { directory }
    }

    fn reader(&self) -> Result<Reader, String> {
        Reader::open(self.directory)
    }

    /// Makes a line for the user of a failure of the store.
    fn with_line<T>(&self, done: Result<T, StoreError>) -> Result<T, String> {
        done.map_err(|error| format!("{}: {error}: {}", self.directory.display(), error.advice()))
    }

    fn unknown(&self, session: &str) -> String {
        format!(
            "there is no session {session:?} in {}: collabd sessions list shows which there are",
            self.directory.display()
        )
    }

    /// A session, which has to be there.
    fn summary(&self, reader: &Reader, session: &str) -> Result<Summary, String> {
        self.with_line(reader.session(session))?.ok_or_else(|| self.unknown(session))
    }

    /// A session as it was then; without a point, as it is. And its document.
    fn stored(
        &self,
        reader: &Reader,
        session: &str,
        at: Option<PointInTime>,
    ) -> Result<(StoredSession, Document), String> {
        let last = self.summary(reader, session)?.seq;
        let wanted = at.unwrap_or(PointInTime::Seq(last));
        let Some(stored) = self.with_line(reader.document_at(session, wanted))? else {
            let first = self.with_line(archive::first_seq(reader, session))?;
            return Err(not_stored(session, wanted, first, last));
        };
        let document = archive::document(&stored).map_err(|damaged| {
            format!(
                "session {session:?} can't be used: {damaged}: restore it to one of the versions \
                 that collabd sessions show lists, or from a backup"
            )
        })?;
        Ok((stored, document))
    }

    /// Puts a canvas in the place of a session's document just as a server would, which makes a version
    /// of what was there. As which change.
    fn put(
        &self,
        store: &mut Store,
        session: &str,
        state: State,
        bounds: DocumentBounds,
    ) -> Result<u64, String> {
        let seed =
            getrandom::u64().map_err(|error| format!("the system has no randomness: {error}"))?;
        let mut hub = Hub::new(limits(bounds), seed).with_stored(store.names().cloned());
        let now = Time { elapsed: Duration::ZERO, wall: Timestamp::now() };
        let (name, by): (Arc<str>, UserId) = (session.into(), BY.into());
        let mut effects = Vec::new();
        let restore =
            Event::Restore { conn: ConnId(0), session: name.clone(), state: Box::new(state), by };
        hub.handle(restore, now, &mut effects);
        if effects.iter().any(|effect| matches!(effect, Effect::Load { .. })) {
            let stored =
                self.with_line(store.load(session, HistoryWindow { changes: 0, bytes: 0 }))?;
            let past = stored
                .map(|stored| LoadedSession::of(stored, NO_HISTORY).map(Box::new))
                .transpose();
            let past = past.map_err(|_| NotLoaded);
            hub.handle(Event::Loaded { session: name, past }, now, &mut effects);
        }
        let mut keeps = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(keep) => keeps.push(*keep),
                Effect::Refuse { why: Refusal::TooBig(why), .. } => {
                    return Err(format!(
                        "the canvas is too large: {why}; --max-document-bytes and \
                         --max-message-bytes allow more"
                    ));
                }
                Effect::Refuse { .. } => {
                    return Err(format!(
                        "session {session:?} is damaged: restore it to one of the versions that \
                         collabd sessions show lists"
                    ));
                }
                _ => {}
            }
        }
        self.with_line(store.commit(&keeps))?;
        Ok(keeps.last().map_or(0, JournalEntry::seq))
    }
}

impl Archive for LocalArchive<'_> {
    fn sessions(&self) -> Result<Listing, String> {
        self.with_line(Listing::read(&self.reader()?, |_| true, None, usize::MAX, true))
    }

    fn versions(&self, session: &str) -> Result<Versions, String> {
        let found = Versions::read(&self.reader()?, session);
        self.with_line(found)?.ok_or_else(|| self.unknown(session))
    }

    fn canvas(&self, session: &str, at: Option<PointInTime>) -> Result<Vec<u8>, String> {
        let mut json = Vec::new();
        let (_, document) = self.stored(&self.reader()?, session, at)?;
        document.write_file(&mut json, Timestamp::now());
        Ok(json)
    }

    fn state(&self, session: &str, seq: u64, now: Timestamp) -> Result<Vec<u8>, String> {
        let mut json = Vec::new();
        let (_, document) = self.stored(&self.reader()?, session, Some(PointInTime::Seq(seq)))?;
        document.write_state(&mut json, now);
        Ok(json)
    }

    fn changes_after(&self, session: &str, seq: u64, max: usize) -> Result<ChangesPage, String> {
        let reader = self.reader()?;
        let last = self.summary(&reader, session)?.seq;
        let first = self.with_line(reader.begins(session))?.map_or(1, |begins| begins.changes);
        let changes = self.with_line(reader.changes_after(session, seq, max))?;
        self.with_line(ChangesPage::new(changes, first, last))
    }

    fn import(
        &self,
        session: &str,
        canvas: CanvasFile,
        replace: bool,
        bounds: DocumentBounds,
    ) -> Result<ChangeResult, String> {
        let mut store = Store::open(self.directory)?;
        if store.names().any(|name| **name == *session) && !replace {
            return Err(exists(session));
        }
        let items = canvas.state.items.len();
        self.with_line(store.begin_use(session))?;
        let seq = self.put(&mut store, session, canvas.state, bounds)?;
        self.with_line(store.close())?;
        Ok(ChangeResult { seq, items, restored_to: 0, was_damaged: false })
    }

    fn restore(&self, session: &str, to: PointInTime) -> Result<ChangeResult, String> {
        let mut store = Store::open_existing(self.directory)?;
        let reader = self.reader()?;
        let (earlier, document) = self.stored(&reader, session, Some(to))?;
        let items = document.items().count();
        let can_be_read = match store.load(session, HistoryWindow { changes: 0, bytes: 0 }) {
            Ok(now) => now.is_some_and(|now| LoadedSession::of(now, NO_HISTORY).is_ok()),
            Err(StoreError::SessionCorrupt(_)) => false,
            Err(error) => return self.with_line(Err(error)),
        };
        self.with_line(store.begin_use(session))?;
        let seq = match can_be_read {
            true => self.put(&mut store, session, document.into_state(), UNBOUNDED)?,
            false => {
                let keep = over_damaged(self.summary(&reader, session)?, document);
                self.with_line(store.commit([&keep]))?;
                keep.seq()
            }
        };
        drop(reader);
        self.with_line(store.close())?;
        Ok(ChangeResult { seq, items, restored_to: earlier.seq, was_damaged: !can_be_read })
    }

    fn delete(&self, session: &str) -> Result<(), String> {
        let mut store = Store::open_existing(self.directory)?;
        if !self.with_line(store.delete(session))? {
            return Err(self.unknown(session));
        }
        self.with_line(store.close())
    }

    fn compact(
        &self,
        session: Option<&str>,
        retention: Retention,
    ) -> Result<CompactResult, String> {
        let mut store = Store::open_existing(self.directory)?;
        let compaction = Compaction::begin(&mut store, session, retention);
        let mut compaction = compaction.ok_or_else(|| self.unknown(session.unwrap_or_default()))?;
        let done = loop {
            if let Some(done) = self.with_line(compaction.go_on(&mut store))? {
                break done;
            }
        };
        let file = store.file();
        self.with_line(store.close())?;
        let damaged = done.damaged.iter().map(|(name, why)| (name.to_string(), why.clone()));
        Ok(CompactResult {
            sessions: done.sessions,
            damaged: damaged.collect(),
            bytes_before: done.before,
            bytes_after: fs::metadata(&file).map_or(done.after, |found| found.len()),
        })
    }
}

/// Why a session can't be had as it was then.
fn not_stored(session: &str, at: PointInTime, first: u64, last: u64) -> String {
    let at = match at {
        PointInTime::Seq(seq) if seq > last => {
            return format!("session {session:?} has no change {seq}: its last one is {last}");
        }
        PointInTime::Seq(seq) => format!("after change {seq}"),
        PointInTime::Time(time) => format!("at {time}"),
    };
    format!(
        "what session {session:?} was like {at} isn't stored, or not any more: it can be brought \
         back to each change from {first} to {last}, and to each of the versions that collabd \
         sessions show lists"
    )
}

/// What a hub keeps to that changes one session.
fn limits(document: DocumentBounds) -> Limits {
    Limits {
        linger: Duration::ZERO,
        max_sessions: 0,
        max_channels: 0,
        document,
        documents_memory: 0,
        history: NO_HISTORY,
        settle: false,
        durable: true,
    }
}
