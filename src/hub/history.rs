//! The last changes of a session, with which clients catch up, and the ids of the last messages, by which
//! repeated messages are recognised. Bounded in entries and bytes; the oldest are dropped first.

use std::collections::{HashMap, VecDeque};

use crate::protocol::{Frame, UserId};

/// What an entry takes of memory beside its frame and its id, in bytes.
const ENTRY_OVERHEAD: usize = 128;

/// How many ids are remembered if no changes are: repeated messages are recognised without a history, too.
const MIN_IDS: usize = 1000;
/// How many bytes these ids may take.
const MIN_ID_BYTES: usize = 1 << 18;

/// The bounds of a history.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many changes are remembered, with the ids of the messages that made them, and how many ids of
    /// messages that changed nothing. With 0, only ids are remembered.
    pub changes: usize,
    pub bytes: usize,
}

impl Bounds {
    /// Whether the history has no changes, only ids.
    fn keeps_ids_only(self) -> bool {
        self.changes == 0 || self.bytes == 0
    }

    /// The number of changes, which also bounds the ids without a change, and the number of bytes.
    pub fn entries(self) -> (usize, usize) {
        match self.keeps_ids_only() {
            true => (MIN_IDS, MIN_ID_BYTES),
            false => (self.changes, self.bytes),
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// The number of the change and its relayed frame; `None` for a message that changed nothing.
    change: Option<(u64, Frame)>,
    id: Option<(UserId, Box<str>)>,
    bytes: usize,
}

/// A message that was processed.
#[derive(Debug, Clone, Copy)]
struct ProcessedMessage {
    seq: u64,
    /// The fingerprint of its content; `None` if it was stored without one.
    content: Option<u64>,
}

/// What is known of a message by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// No message with this id was processed.
    New,
    /// This message was processed, as of this change.
    Same(u64),
    /// Another message with this id was processed.
    Other,
}

/// The stored form of a client's `id`, which is JSON, and of the fingerprint of the message's content.
pub fn stored_id(id: &str, content: Option<u64>) -> Box<str> {
    match content {
        Some(content) => format!("{id} {content:016x}").into(),
        None => id.into(),
    }
}

/// Splits a stored id into `id` and fingerprint. Versions before 0.2 stored no fingerprint.
fn read_id(stored: &str) -> (&str, Option<u64>) {
    let parts = stored.rsplit_once(' ').filter(|(_, content)| content.len() == 16);
    let content = |hex| u64::from_str_radix(hex, 16).ok();
    match parts.and_then(|(id, hex)| Some((id, content(hex)?))) {
        Some((id, content)) => (id, Some(content)),
        None => (stored, None),
    }
}

/// The last changes and ids of a session.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    confirmed: HashMap<(UserId, Box<str>), ProcessedMessage>,
    bytes: usize,
    /// The number of entries that are changes.
    changes: usize,
    /// The newest change that was dropped. The history has every change after it.
    evicted_up_to: u64,
    seq: u64,
    /// The next change gets a larger number than this.
    skipped: u64,
    /// Ranges of numbers without a change, after the first number up to the second: they may belong to
    /// changes that were lost in a crash.
    gaps: Vec<(u64, u64)>,
}

impl History {
    /// An empty history after change `seq`.
    pub fn starting_after(seq: u64) -> Self {
        History { evicted_up_to: seq, seq, ..History::default() }
    }

    /// The number of the last applied change; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The number of the next change.
    pub fn next_seq(&self) -> u64 {
        self.seq.max(self.skipped) + 1
    }

    /// Makes the number of the next change larger than `up_to`.
    pub fn skip(&mut self, up_to: u64) {
        self.skipped = self.skipped.max(up_to);
    }

    /// Appends a relayed change. Its number is [`next_seq`](Self::next_seq).
    pub fn push(&mut self, relayed: Frame, bounds: Bounds) {
        let seq = self.next_seq();
        if seq > self.seq + 1 {
            self.gaps.retain(|(_, up_to)| *up_to >= self.evicted_up_to);
            self.gaps.push((self.seq, seq - 1));
        }
        self.seq = seq;
        let bytes = relayed.bytes().len() + ENTRY_OVERHEAD;
        self.append(Entry { change: Some((self.seq, relayed)), id: None, bytes }, bounds);
    }

    /// Remembers that this user's message with this [`stored_id`] was processed, as of change `seq`.
    pub fn confirm(&mut self, user: &UserId, stored: &str, bounds: Bounds) {
        let (id, content) = read_id(stored);
        let id: (UserId, Box<str>) = (user.clone(), id.into());
        self.confirmed.insert(id.clone(), ProcessedMessage { seq: self.seq, content });
        let bytes = id.1.len() + ENTRY_OVERHEAD;
        // The id of a change is dropped together with the change.
        let is_its_change = |entry: &&mut Entry| {
            entry.id.is_none() && entry.change.as_ref().is_some_and(|(seq, _)| *seq == self.seq)
        };
        match self.entries.back_mut().filter(is_its_change) {
            Some(entry) => {
                entry.id = Some(id);
                entry.bytes += bytes;
                self.bytes += bytes;
                self.evict(bounds);
            }
            None => self.append(Entry { change: None, id: Some(id), bytes }, bounds),
        }
    }

    /// Looks up a message of this user by its `id`, which is JSON.
    pub fn repeats(&self, user: &UserId, id: &str, content: Option<u64>) -> Repeat {
        match self.confirmed.get(&(user.clone(), id.into())) {
            None => Repeat::New,
            Some(known) if known.content.is_some() && known.content != content => Repeat::Other,
            Some(known) => Repeat::Same(known.seq),
        }
    }

    /// The relayed frames after change `since`, in order; `None` if some are dropped, or if there is no
    /// change `since`.
    pub fn after(&self, since: u64) -> Option<impl Iterator<Item = &Frame>> {
        let is_lost = |(after, up_to): &(u64, u64)| *after < since && since <= *up_to;
        if since < self.evicted_up_to || since > self.seq || self.gaps.iter().any(is_lost) {
            return None;
        }
        let changes = self.entries.iter().filter_map(|entry| entry.change.as_ref());
        Some(changes.filter(move |(seq, _)| *seq > since).map(|(_, frame)| frame))
    }

    /// The remembered messages, the oldest first: the user and the [`stored_id`].
    pub fn processed_ids(&self) -> impl Iterator<Item = (&UserId, Box<str>)> {
        self.entries.iter().filter_map(|entry| {
            let id = entry.id.as_ref()?;
            let known = self.confirmed.get(id)?;
            Some((&id.0, stored_id(&id.1, known.content)))
        })
    }

    /// The number of entries, their bytes, and the number of ids.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.bytes, self.confirmed.len())
    }

    fn append(&mut self, entry: Entry, bounds: Bounds) {
        if let Some((seq, _)) = entry.change.as_ref().filter(|_| bounds.keeps_ids_only()) {
            self.evicted_up_to = *seq;
            return;
        }
        self.bytes += entry.bytes;
        self.changes += usize::from(entry.change.is_some());
        self.entries.push_back(entry);
        self.evict(bounds);
    }

    /// Drops the oldest entries until the others are within the bounds.
    fn evict(&mut self, bounds: Bounds) {
        let (most, bytes) = bounds.entries();
        let is_over = |history: &Self| {
            let ids = history.entries.len() - history.changes;
            history.changes > most || ids > most || history.bytes > bytes
        };
        while is_over(self) {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            if let Some((seq, _)) = oldest.change {
                self.evicted_up_to = seq;
                self.changes -= 1;
            }
            if let Some(id) = oldest.id {
                self.confirmed.remove(&id);
            }
        }
        debug_assert!(self.changes <= self.entries.len());
        debug_assert!(!self.entries.is_empty() || self.bytes == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { changes: 3, bytes: 1 << 20 };

    fn texts(history: &History, since: u64) -> Option<Vec<String>> {
        let after = history.after(since)?;
        Some(after.map(|frame| String::from_utf8_lossy(frame.payload()).into_owned()).collect())
    }

    #[test]
    fn reaches_back_as_far_as_it_is_kept() {
        let mut history = History::default();
        for n in 1..=5 {
            history.push(Frame::text(&n.to_string()), BOUNDS);
        }
        assert_eq!(texts(&history, 2).unwrap(), ["3", "4", "5"]);
        assert_eq!(texts(&history, 5).unwrap(), [""; 0]);
        assert_eq!(texts(&history, 1), None);
        assert_eq!(texts(&history, 6), None);
    }

    #[test]
    fn nothing_follows_a_number_that_was_skipped() {
        let bounds = Bounds { changes: 4, bytes: 1 << 20 };
        let mut history = History::starting_after(2);
        history.push(Frame::text("3"), bounds);
        history.skip(10);
        assert_eq!((history.seq(), history.next_seq()), (3, 11));
        assert_eq!(texts(&history, 4), None, "nothing has that number");
        for n in 11..=12 {
            history.push(Frame::text(&n.to_string()), bounds);
        }
        assert_eq!(texts(&history, 2).unwrap(), ["3", "11", "12"]);
        assert_eq!(texts(&history, 3).unwrap(), ["11", "12"]);
        for lost in 4..=10 {
            assert_eq!(texts(&history, lost), None, "{lost}");
        }
        assert_eq!(texts(&history, 11).unwrap(), ["12"]);
        // The gap is dropped with the changes before it.
        for n in 13..=16 {
            history.push(Frame::text(&n.to_string()), bounds);
        }
        assert_eq!(texts(&history, 10), None);
        assert_eq!(texts(&history, 12).unwrap(), ["13", "14", "15", "16"]);
    }

    #[test]
    fn is_bounded_in_bytes_even_by_one_message() {
        let mut history = History::default();
        let bounds = Bounds { changes: 100, bytes: 1000 };
        history.push(Frame::text("small"), bounds);
        history.push(Frame::text(&"x".repeat(2000)), bounds);
        assert_eq!(texts(&history, 1), None);
        assert_eq!(texts(&history, 2).unwrap(), [""; 0]);
        assert_eq!(history.bytes, 0);
    }

    #[test]
    fn ids_are_forgotten_with_the_history() {
        let mut history = History::default();
        let user: UserId = "alice".into();
        let id = "7";
        history.push(Frame::text("1"), BOUNDS);
        history.confirm(&user, &stored_id(id, Some(5)), BOUNDS);
        assert_eq!(history.repeats(&user, id, Some(5)), Repeat::Same(1));
        assert_eq!(history.repeats(&user, id, Some(6)), Repeat::Other);
        assert_eq!(history.repeats(&"bob".into(), id, Some(5)), Repeat::New);
        for n in 0..3 {
            history.push(Frame::text(&n.to_string()), BOUNDS);
        }
        assert_eq!(history.repeats(&user, id, Some(5)), Repeat::New);
    }

    #[test]
    fn ids_are_remembered_where_no_change_is() {
        for bounds in [Bounds { changes: 0, bytes: 1 << 20 }, Bounds { changes: 9, bytes: 0 }] {
            let mut history = History::default();
            let user: UserId = "alice".into();
            for n in 1..=2 * MIN_IDS as u64 {
                history.push(Frame::text("a change"), bounds);
                history.confirm(&user, &stored_id(&n.to_string(), Some(n)), bounds);
                assert_eq!(history.repeats(&user, &n.to_string(), Some(n)), Repeat::Same(n));
                assert!(history.after(n - 1).is_none() && history.after(n).is_some());
            }
            assert_eq!(history.repeats(&user, "1", Some(1)), Repeat::New);
            let (entries, bytes, ids) = history.sizes();
            assert!(entries == MIN_IDS && ids == entries && bytes <= MIN_ID_BYTES);
        }
    }

    #[test]
    fn an_id_is_stored_with_what_its_message_said() {
        for id in ["7", r#""a b""#, r#""x 0123456789abcdef""#] {
            for content in [Some(0), Some(u64::MAX)] {
                assert_eq!(read_id(&stored_id(id, content)), (id, content));
            }
            assert_eq!(read_id(id), (id, None), "of a version before");
        }
    }
}
