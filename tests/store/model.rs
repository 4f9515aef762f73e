//! What a store is to give back, said as simply as possible.

use std::collections::BTreeMap;

use collabd::journal::{
    HistoryWindow, JournalEntry, SnapshotReason, StoredChange, StoredId, StoredSession,
};
use collabd::protocol::{Timestamp, UserId};
use collabd::store::{PointInTime, Store, Version};

#[derive(Clone)]
pub struct Session {
    pub epoch: String,
    pub seq: u64,
    pub changes: BTreeMap<u64, StoredChange>,
    pub documents: BTreeMap<u64, (Timestamp, Option<UserId>, SnapshotReason, Vec<u8>)>,
    pub taken: Vec<StoredId>,
}

#[derive(Clone, Default)]
pub struct Model {
    pub sessions: BTreeMap<String, Session>,
}

impl Model {
    /// Whether it follows on what there is.
    pub fn keep(&mut self, keep: &JournalEntry) -> bool {
        let begins = match keep {
            JournalEntry::Change { seq, .. } => *seq == 1,
            JournalEntry::Snapshot { .. } => true,
            JournalEntry::ProcessedId { seq, .. } => *seq == 0,
        };
        let Some(session) = self.session(keep.session(), keep.epoch(), begins) else {
            return false;
        };
        match keep.clone() {
            JournalEntry::Change { seq, at, user, frame, id, .. } => {
                if seq == session.seq + 1 {
                    let frame = frame.payload().to_vec();
                    session.changes.insert(seq, StoredChange { seq, at, user, frame, id });
                    session.seq = seq;
                }
                seq <= session.seq
            }
            JournalEntry::Snapshot { seq, at, user, document, frames, id, why, .. } => {
                if seq < session.seq {
                    return true;
                }
                let old =
                    session.documents.get(&seq).cloned().filter(|_| why == SnapshotReason::Regular);
                let (at_then, by, why) =
                    old.map_or((at, user.clone(), why), |(at, user, why, _)| (at, user, why));
                session.documents.insert(seq, (at_then, by, why, document));
                let user = user.unwrap_or_else(|| "".into());
                if let (true, Some(id)) = (frames.is_empty(), &id) {
                    let (user, id) = (user.clone(), id.clone());
                    session.taken.push(StoredId { seq, user, id });
                }
                let first = seq + 1 - frames.len() as u64;
                for (number, frame) in (first..=seq).zip(&frames) {
                    let (user, frame) = (user.clone(), frame.payload().to_vec());
                    let id = id.clone().filter(|_| number == seq);
                    let change = StoredChange { seq: number, at, user, frame, id };
                    session.changes.entry(number).or_insert(change);
                }
                session.seq = seq;
                true
            }
            JournalEntry::ProcessedId { seq, user, id, .. } => {
                if seq <= session.seq {
                    session.taken.push(StoredId { seq, user, id });
                }
                seq <= session.seq
            }
        }
    }

    fn session(&mut self, name: &str, epoch: &str, begins: bool) -> Option<&mut Session> {
        let same = self.sessions.get(name).is_some_and(|known| known.epoch == epoch);
        if !same && !begins {
            return None;
        }
        if !same {
            if let Some(old) = self.sessions.remove(name) {
                self.sessions.insert(format!("{name} (epoch {})", old.epoch), old);
            }
            let session = Session {
                epoch: epoch.into(),
                seq: 0,
                changes: BTreeMap::new(),
                documents: BTreeMap::new(),
                taken: Vec::new(),
            };
            self.sessions.insert(name.into(), session);
        }
        self.sessions.get_mut(name)
    }

    /// Expects that a store gives back what this does.
    pub fn expect(&self, store: &Store, reach: HistoryWindow) {
        let mut names: Vec<String> = store.names().map(|name| name.to_string()).collect();
        names.sort();
        assert_eq!(names, self.sessions.keys().cloned().collect::<Vec<_>>());
        let reader = collabd::store::Reader::open(store.directory()).expect("a reader");
        for (name, session) in &self.sessions {
            let expected = session.load(reach);
            let stored = store.load(name, reach).expect("loads");
            assert_eq!(stored.as_ref(), Some(&expected), "{name}");
            assert_eq!(reader.load(name, reach).expect("loads"), Some(expected), "{name}");
            let versions = reader.versions(name).expect("are read").expect("is stored");
            assert_eq!(versions, session.versions(), "{name}");
            for seq in 0..=session.seq + 1 {
                let state = reader.document_at(name, PointInTime::Seq(seq)).expect("is read");
                assert_eq!(state, session.at(seq), "{name} at {seq}");
            }
            let (changes, documents) = (session.changes.values(), session.documents.values());
            for time in changes.map(|change| change.at).chain(documents.map(|entry| entry.0)) {
                for time in [time.millis() - 1, time.millis()].map(Timestamp::from_millis) {
                    let state = reader.document_at(name, PointInTime::Time(time)).expect("is read");
                    let expected = session.seq_at(time).and_then(|seq| session.at(seq));
                    assert_eq!(state, expected, "{name} at {time}");
                }
            }
        }
    }
}

impl Session {
    pub fn load(&self, reach: HistoryWindow) -> StoredSession {
        let mut stored = self.at(self.seq).expect("the present is there");
        let mut left = reach.changes.saturating_sub(stored.changes.len());
        let used: usize = stored.changes.iter().map(|change| change.frame.len()).sum();
        let mut bytes = reach.bytes.saturating_sub(used);
        let mut next = stored.seq_of_document;
        while let Some(change) = self.changes.get(&next)
            && left > 0
            && change.frame.len() <= bytes
        {
            left -= 1;
            bytes -= change.frame.len();
            stored.history.insert(0, change.clone());
            next -= 1;
        }
        let oldest = stored.history.first().or(stored.changes.first());
        let first = oldest.map_or(self.seq, |change| change.seq - 1);
        let newest = self.taken.iter().rev().take(reach.changes);
        stored.taken = newest.take_while(|id| id.seq >= first).cloned().collect();
        stored.taken.reverse();
        stored
    }

    pub fn at(&self, seq: u64) -> Option<StoredSession> {
        let newest = self.documents.range(..=seq).next_back();
        if seq == 0 && newest.is_none() && self.seq > 0 && !self.changes.contains_key(&1) {
            // What was there at first may have been removed.
            return None;
        }
        let (seq_of_document, document) =
            newest.map_or((0, Vec::new()), |(seq, entry)| (*seq, entry.3.clone()));
        let changes = (seq_of_document + 1..=seq).map(|seq| self.changes.get(&seq).cloned());
        let changes = changes.collect::<Option<Vec<_>>>()?;
        (seq <= self.seq).then(|| StoredSession {
            epoch: self.epoch.as_str().into(),
            seq,
            document,
            seq_of_document,
            changes,
            history: Vec::new(),
            taken: Vec::new(),
            skipped: 0,
        })
    }

    /// Whether this makes the state after its change, even if from an older document than need be.
    pub fn is_right(&self, state: &StoredSession) -> bool {
        let document = self.documents.get(&state.seq_of_document).map(|entry| &entry.3);
        let begins = state.seq_of_document == 0 && state.document.is_empty();
        let changes = state.seq_of_document + 1..=state.seq;
        (document == Some(&state.document) || document.is_none() && begins)
            && state.changes.iter().eq(changes.filter_map(|seq| self.changes.get(&seq)))
            && state.changes.len() as u64 == state.seq - state.seq_of_document
    }

    fn seq_at(&self, time: Timestamp) -> Option<u64> {
        let changes = self.changes.values().filter(|change| change.at <= time);
        let documents = self.documents.iter().filter(|(_, entry)| entry.0 <= time);
        changes.map(|change| change.seq).chain(documents.map(|(seq, _)| *seq)).max()
    }

    pub fn versions(&self) -> Vec<Version> {
        let version =
            |(seq, (at, user, why, document)): (&u64, &(_, Option<UserId>, _, Vec<u8>))| {
                let bytes = document.len() as u64;
                Version { seq: *seq, at: *at, user: user.clone(), why: *why, bytes }
            };
        self.documents.iter().map(version).collect()
    }
}
