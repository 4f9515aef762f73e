//! A store without a disk: it commits when it is told to, loses what it has not committed, and holds
//! what the hub wants kept against what it may rely on.

#![allow(dead_code, reason = "each program that tests the hub uses a part")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use collabd::hub::ConnId;
use collabd::journal::{JournalEntry, SnapshotReason, StoredChange, StoredId, StoredSession};
use collabd::protocol::{Frame, Timestamp, UserId};

/// How many numbers are reserved at a time.
pub const BLOCK: u64 = 1000;

/// What a commit brings.
#[derive(Debug)]
pub enum Done {
    Confirmed { conn: ConnId, frame: Frame },
    Loaded { session: Arc<str>, stored: Option<StoredSession> },
    Renamed { conn: ConnId, session: Arc<str>, to: Arc<str> },
}

#[derive(Debug)]
enum Entry {
    Write(JournalEntry),
    Confirm(ConnId, Frame),
    Load(Arc<str>),
    Delete(Arc<str>),
    Rename(ConnId, Arc<str>, Arc<str>),
}

/// A session as it is stored; nothing is ever removed.
#[derive(Debug)]
pub struct Kept {
    pub epoch: Arc<str>,
    pub seq: u64,
    /// Numbers up to this one are not given any more.
    pub skipped: u64,
    pub documents: BTreeMap<u64, (SnapshotReason, Vec<u8>)>,
    pub changes: BTreeMap<u64, StoredChange>,
    pub taken: Vec<StoredId>,
}

/// See the file's text.
#[derive(Debug, Default)]
pub struct ModelStore {
    sessions: HashMap<Arc<str>, Kept>,
    waiting: VecDeque<Entry>,
    /// Sessions of which something was dropped: only a whole document makes up for it.
    lacking: Vec<Arc<str>>,
    /// Confirmations that wait for one.
    held: Vec<(ConnId, Frame)>,
}

impl ModelStore {
    pub fn keep(&mut self, keep: JournalEntry) {
        self.waiting.push_back(Entry::Write(keep));
    }

    pub fn confirm(&mut self, conn: ConnId, frame: Frame) {
        self.waiting.push_back(Entry::Confirm(conn, frame));
    }

    pub fn load(&mut self, session: Arc<str>) {
        self.waiting.push_back(Entry::Load(session));
    }

    pub fn delete(&mut self, session: Arc<str>) {
        self.waiting.push_back(Entry::Delete(session));
    }

    pub fn rename(&mut self, conn: ConnId, session: Arc<str>, to: Arc<str>) {
        self.waiting.push_back(Entry::Rename(conn, session, to));
    }

    /// How much waits.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Commits up to so many of those that wait.
    pub fn commit(&mut self, most: usize, reach: usize) -> Vec<Done> {
        let mut done = Vec::new();
        for _ in 0..most.min(self.waiting.len()) {
            match self.waiting.pop_front().expect("there are so many") {
                Entry::Write(keep) => self.write(keep, &mut done),
                Entry::Confirm(conn, frame) if self.lacking.is_empty() => {
                    done.push(Done::Confirmed { conn, frame });
                }
                Entry::Confirm(conn, frame) => self.held.push((conn, frame)),
                Entry::Delete(session) => drop(self.sessions.remove(&session)),
                Entry::Rename(conn, session, to) => {
                    let kept = self.sessions.remove(&session).expect("it is stored");
                    assert!(self.sessions.insert(to.clone(), kept).is_none(), "{to} is stored");
                    done.push(Done::Renamed { conn, session, to });
                }
                Entry::Load(session) => {
                    let stored = self.stored(&session, reach);
                    done.push(Done::Loaded { session, stored });
                }
            }
        }
        done
    }

    /// Loses everything that is not committed. Sessions that lose something go on behind the numbers that
    /// were reserved for them.
    pub fn crash(&mut self) {
        let lost = self.waiting.iter().filter_map(|entry| match entry {
            Entry::Write(keep) => Some(keep.session().clone()),
            _ => None,
        });
        let lost: Vec<Arc<str>> = lost.chain(self.lacking.drain(..)).collect();
        for (name, kept) in &mut self.sessions {
            if lost.contains(name) {
                kept.skipped = kept.skipped.max(kept.seq) + BLOCK;
            }
        }
        self.waiting.clear();
        self.held.clear();
    }

    /// Drops what is to be kept of whatever waits, as a store does whose disk fails for long.
    pub fn drop_keeps(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for entry in waiting {
            match entry {
                Entry::Write(keep) => self.lacks(keep.session()),
                other => self.waiting.push_back(other),
            }
        }
    }

    fn lacks(&mut self, session: &Arc<str>) {
        if !self.lacking.contains(session) {
            self.lacking.push(session.clone());
        }
    }

    /// The sessions that only a whole document helps that doesn't wait yet.
    pub fn wanted(&self) -> Vec<Arc<str>> {
        let comes = |session: &Arc<str>| {
            self.waiting.iter().any(|entry| {
                matches!(entry, Entry::Write(keep @ JournalEntry::Snapshot { .. }) if keep.session() == session)
            })
        };
        self.lacking.iter().filter(|session| !comes(session)).cloned().collect()
    }

    pub fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.sessions.keys().cloned()
    }

    pub fn kept(&self, session: &str) -> Option<&Kept> {
        self.sessions.get(session)
    }

    /// A session to go on from, with a history that reaches back as far as wanted.
    pub fn stored(&self, session: &str, reach: usize) -> Option<StoredSession> {
        let kept = self.sessions.get(session)?;
        let mut stored = kept.at(kept.seq).expect("the newest is always there");
        let mut next = stored.seq_of_document;
        for change in kept.changes.range(..=next).rev().map(|(_, change)| change) {
            if change.seq != next
                || changes_of(&stored.history) + changes_of(&stored.changes) >= reach
            {
                break;
            }
            stored.history.insert(0, change.clone());
            next = change.before();
        }
        stored.skipped = kept.skipped;
        stored.taken = kept.taken.iter().filter(|id| id.seq >= next).cloned().collect();
        Some(stored)
    }

    fn write(&mut self, keep: JournalEntry, done: &mut Vec<Done>) {
        if self.lacking.contains(keep.session()) {
            if !matches!(keep, JournalEntry::Snapshot { .. }) {
                return;
            }
            self.lacking.retain(|session| session != keep.session());
        }
        let kept = self.sessions.entry(keep.session().clone());
        let kept = kept.or_insert_with(|| Kept {
            epoch: keep.epoch().clone(),
            seq: 0,
            skipped: 0,
            documents: BTreeMap::new(),
            changes: BTreeMap::new(),
            taken: Vec::new(),
        });
        assert_eq!(kept.epoch, *keep.epoch(), "a session that is stored has another epoch");
        kept.write(keep);
        if self.lacking.is_empty() {
            let held = self.held.drain(..);
            done.extend(held.map(|(conn, frame)| Done::Confirmed { conn, frame }));
        }
    }
}

/// How many of these are changes, and don't say that numbers were skipped.
fn changes_of(stored: &[StoredChange]) -> usize {
    stored.iter().filter(|change| change.skipped_after().is_none()).count()
}

impl Kept {
    /// The document as of change `seq` and what it takes to get there; `None` where something of it
    /// was never stored.
    pub fn at(&self, seq: u64) -> Option<StoredSession> {
        let newest = self.documents.range(..=seq).next_back();
        let (seq_of_document, document) =
            newest.map_or((0, Vec::new()), |(seq, (_, document))| (*seq, document.clone()));
        let after = self.changes.range((Bound::Excluded(seq_of_document), Bound::Included(seq)));
        let changes: Vec<StoredChange> = after.map(|(_, change)| change.clone()).collect();
        let last = changes.iter().try_fold(seq_of_document, |last, change| {
            (change.before() == last).then_some(change.seq)
        });
        let is_complete = last == Some(seq);
        is_complete.then(|| StoredSession {
            epoch: self.epoch.clone(),
            seq,
            document,
            seq_of_document,
            changes,
            history: Vec::new(),
            taken: Vec::new(),
            skipped: 0,
        })
    }

    /// Whether this user's message with this `id` is stored as taken. It is stored with a fingerprint of
    /// what the message said.
    pub fn has_taken(&self, user: &str, id: &str) -> bool {
        let is_it = |stored: &str| stored.split(' ').next() == Some(id);
        let changes = self.changes.values().filter(|change| *change.user == *user);
        changes.flat_map(|change| change.id.as_deref()).any(is_it)
            || self.taken.iter().any(|taken| *taken.user == *user && is_it(&taken.id))
    }

    fn write(&mut self, keep: JournalEntry) {
        match keep {
            JournalEntry::Change { seq, at, user, frame, id, .. } => {
                assert_eq!(seq, self.seq.max(self.skipped) + 1, "a change is missing before it");
                self.skip(at);
                self.add(seq, at, user, &frame, id);
            }
            JournalEntry::Snapshot { seq, at, user, document, frames, id, why, .. } => {
                assert!(seq >= self.seq, "older than what is stored");
                match frames.split_last() {
                    Some((last, earlier)) => {
                        let user = user.expect("whose changes they are");
                        let first = seq - earlier.len() as u64;
                        assert!(first > self.seq.max(self.skipped), "{why:?} made {first} again");
                        self.skip(at);
                        for (seq, frame) in (first..).zip(earlier) {
                            self.add(seq, at, user.clone(), frame, None);
                        }
                        self.add(seq, at, user, last, id);
                    }
                    None => {
                        let user = user.unwrap_or_else(|| "".into());
                        self.taken.extend(id.map(|id| StoredId { seq, user, id }));
                    }
                }
                self.seq = seq;
                self.documents.insert(seq, (why, document));
            }
            JournalEntry::ProcessedId { seq, user, id, .. } => {
                assert!(seq <= self.seq, "as of a change that is yet to come");
                self.taken.push(StoredId { seq, user, id });
                self.taken.sort_by_key(|taken| taken.seq);
            }
        }
    }

    /// Numbers are skipped before the next change, if any are to be.
    fn skip(&mut self, at: Timestamp) {
        if self.skipped > self.seq {
            let skip = StoredChange::skip(self.seq, self.skipped, at);
            self.changes.insert(self.skipped, skip);
        }
    }

    fn add(&mut self, seq: u64, at: Timestamp, user: UserId, frame: &Frame, id: Option<Box<str>>) {
        let frame = frame.payload().to_vec();
        self.changes.insert(seq, StoredChange { seq, at, user, frame, id });
        self.seq = seq;
    }
}
