//! Making sessions open faster and their file smaller, a piece at a time.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;

use crate::archive::document;
use crate::kept::{Keep, Reach, Why};
use crate::protocol::Timestamp;
use crate::store::{Retention, Store, StoreError};

/// How much is removed at a time, in rows and in pages of 4 KiB: some milliseconds' work.
const ROWS: usize = 2000;
const PAGES: u32 = 500;

/// How many changes may have to be replayed when a session is opened: about 4 ms.
const MANY: usize = 1000;

/// A compaction that goes on.
#[derive(Debug)]
pub struct Compaction {
    /// Sessions that are still to be looked at, and of the first whether its document is stored.
    left: VecDeque<Arc<str>>,
    is_whole: bool,
    retention: Retention,
    done: Compacted,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compacted {
    /// How many sessions were looked at.
    pub sessions: usize,
    /// Those of them that can't be read and are left as they are, and why.
    pub damaged: Vec<(Arc<str>, String)>,
    /// How large the file was, and is.
    pub before: u64,
    pub after: u64,
}

impl Compaction {
    /// Of one session, or of all; `None` where there is none of this name. What is not to be kept is
    /// removed.
    pub fn begin(store: &mut Store, session: Option<&str>, retention: Retention) -> Option<Self> {
        let is_wanted = |name: &&Arc<str>| session.is_none_or(|session| ***name == *session);
        let left: VecDeque<Arc<str>> = store.names().filter(is_wanted).cloned().collect();
        if session.is_some() && left.is_empty() {
            return None;
        }
        // What is in the journal belongs to the file; where it can't be moved there it is not counted.
        let _ = store.checkpoint();
        let (sessions, before) = (left.len(), length(store));
        let done = Compacted { sessions, before, ..Compacted::default() };
        Some(Compaction { left, is_whole: false, retention, done })
    }

    /// Does a piece of it; what was done once it is all done.
    ///
    /// # Errors
    /// [`StoreError`], when something can't be written: what was done until then stays.
    pub fn go_on(&mut self, store: &mut Store) -> Result<Option<Compacted>, StoreError> {
        if let Some(session) = self.left.front() {
            if !self.is_whole {
                match keep_whole(store, session, &self.retention) {
                    Ok(()) => self.is_whole = true,
                    Err(StoreError::SessionCorrupt(why)) => {
                        self.done.damaged.push((session.clone(), why));
                        self.left.pop_front();
                    }
                    Err(trouble) => return Err(trouble),
                }
            } else if !store.prune(session, &self.retention, Timestamp::now(), ROWS)?.is_more() {
                self.is_whole = false;
                self.left.pop_front();
            }
            return Ok(None);
        }
        if store.shrink(PAGES)?.is_more() {
            return Ok(None);
        }
        store.checkpoint()?;
        let after = length(store);
        Ok(Some(Compacted { after, ..std::mem::take(&mut self.done) }))
    }
}

fn length(store: &Store) -> u64 {
    fs::metadata(store.file()).map_or(0, |found| found.len())
}

/// Stores the whole document, if that is worth its room: if many changes have to be replayed without it,
/// or an older version goes when there is a newer one.
fn keep_whole(
    store: &mut Store,
    session: &Arc<str>,
    retention: &Retention,
) -> Result<(), StoreError> {
    let Some(stored) = store.load(session, Reach { changes: 0, bytes: 0 })? else { return Ok(()) };
    let Some(last) = stored.changes.last() else { return Ok(()) };
    let at = last.at;
    let document =
        document(&stored).map_err(|damaged| StoreError::SessionCorrupt(damaged.to_string()))?;
    let makes_one_go = retention.versions > 0 && store.versions(session)? >= retention.versions;
    if stored.changes.len() < MANY && !makes_one_go {
        return Ok(());
    }
    let keep = Keep::Whole {
        session: session.clone(),
        epoch: stored.epoch,
        seq: stored.seq,
        at,
        user: None,
        document: document.to_stored(),
        frames: Vec::new(),
        id: None,
        why: Why::Regular,
    };
    store.commit([&keep]).map(|_| ())
}
