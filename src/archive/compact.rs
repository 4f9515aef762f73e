//! Making sessions open faster and their file smaller, a piece at a time.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;

use crate::archive::document;
use crate::journal::{HistoryWindow, JournalEntry, SnapshotReason};
use crate::protocol::Timestamp;
use crate::store::{Retention, Store, StoreError};

/// How much is removed between two other writes, in rows and in pages of 4 KiB: some milliseconds' work.
const ROWS_AT_A_TIME: usize = 2000;
const PAGES_AT_A_TIME: u32 = 500;

/// How many changes may have to be replayed when a session is opened: about 4 ms.
const MAX_REPLAYED_CHANGES: usize = 1000;

/// A compaction that goes on.
#[derive(Debug)]
pub struct Compaction {
    /// Sessions that are still to be made compact.
    left: VecDeque<Arc<str>>,
    /// The whole document of the first one is stored.
    has_document: bool,
    retention: Retention,
    done: CompactResult,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactResult {
    /// How many sessions there were.
    pub sessions: usize,
    /// Those of them that can't be read and are left as they are, and why.
    pub damaged: Vec<(Arc<str>, String)>,
    /// How large the file was, and is.
    pub before: u64,
    pub after: u64,
}

impl Compaction {
    /// Begins with one session, or with all; `None` where there is none of this name. What is not to be kept
    /// will be removed.
    pub fn begin(store: &mut Store, session: Option<&str>, retention: Retention) -> Option<Self> {
        let is_wanted = |name: &&Arc<str>| session.is_none_or(|session| ***name == *session);
        let left: VecDeque<Arc<str>> = store.names().filter(is_wanted).cloned().collect();
        if session.is_some() && left.is_empty() {
            return None;
        }
        // What is in the journal belongs to the file; where it can't be moved there it is not counted.
        let _ = store.checkpoint();
        let (sessions, before) = (left.len(), length(store));
        let done = CompactResult { sessions, before, ..CompactResult::default() };
        Some(Compaction { left, has_document: false, retention, done })
    }

    /// Does a piece of the work. Once all is done it returns what was done.
    ///
    /// # Errors
    /// [`StoreError`], when something can't be written: what was done until then stays.
    pub fn go_on(&mut self, store: &mut Store) -> Result<Option<CompactResult>, StoreError> {
        if let Some(session) = self.left.front() {
            if !self.has_document {
                match store_document(store, session, &self.retention) {
                    Ok(()) => self.has_document = true,
                    Err(StoreError::SessionCorrupt(why)) => {
                        self.done.damaged.push((session.clone(), why));
                        self.left.pop_front();
                    }
                    Err(trouble) => return Err(trouble),
                }
            } else if !store
                .prune(session, &self.retention, Timestamp::now(), ROWS_AT_A_TIME)?
                .is_more()
            {
                self.has_document = false;
                self.left.pop_front();
            }
            return Ok(None);
        }
        if store.shrink(PAGES_AT_A_TIME)?.is_more() {
            return Ok(None);
        }
        store.checkpoint()?;
        let after = length(store);
        Ok(Some(CompactResult { after, ..std::mem::take(&mut self.done) }))
    }
}

fn length(store: &Store) -> u64 {
    fs::metadata(store.file()).map_or(0, |found| found.len())
}

/// Stores the whole document of a session, where that is worth its room: where many changes have to be
/// replayed without it, or an older version goes when there is a newer one.
fn store_document(
    store: &mut Store,
    session: &Arc<str>,
    retention: &Retention,
) -> Result<(), StoreError> {
    let Some(stored) = store.load(session, HistoryWindow { changes: 0, bytes: 0 })? else {
        return Ok(());
    };
    let Some(last) = stored.changes.last() else { return Ok(()) };
    let at = last.at;
    let document =
        document(&stored).map_err(|damaged| StoreError::SessionCorrupt(damaged.to_string()))?;
    let makes_one_go = retention.versions > 0 && store.versions(session)? >= retention.versions;
    if stored.changes.len() < MAX_REPLAYED_CHANGES && !makes_one_go {
        return Ok(());
    }
    let keep = JournalEntry::Snapshot {
        session: session.clone(),
        epoch: stored.epoch,
        seq: stored.seq,
        at,
        user: None,
        document: document.to_stored(),
        frames: Vec::new(),
        id: None,
        why: SnapshotReason::Regular,
    };
    store.commit([&keep]).map(|_| ())
}
