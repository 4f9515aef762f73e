//! The recent past of a session: what a client that was away can catch up on, and which message
//! ids were applied already. Bounded in entries and bytes; the oldest are forgotten first.

use std::collections::{HashMap, VecDeque};

use crate::protocol::inbound::MessageId;
use crate::protocol::{Frame, UserId};

/// What one entry costs beside its frame.
const ENTRY_OVERHEAD: usize = 128;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub changes: usize,
    pub bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// The change and what was relayed; a message that changed nothing has neither.
    change: Option<(u64, Frame)>,
    id: Option<(UserId, Box<str>)>,
    bytes: usize,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    confirmed: HashMap<(UserId, Box<str>), u64>,
    bytes: usize,
    /// The newest change that was forgotten; the history reaches back to it.
    forgotten: u64,
    seq: u64,
}

impl History {
    /// The number of the last applied change; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The number the next change will get.
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Appends the change numbered [`next_seq`](Self::next_seq) as it was relayed.
    pub fn push(&mut self, relayed: Frame, bounds: Bounds) {
        self.seq += 1;
        let bytes = relayed.bytes().len() + ENTRY_OVERHEAD;
        self.append(Entry { change: Some((self.seq, relayed)), id: None, bytes }, bounds);
    }

    /// Remembers that this user's message with this `id` was taken, as of the current `seq`.
    pub fn confirm(&mut self, user: &UserId, id: &MessageId, bounds: Bounds) {
        let id: (UserId, Box<str>) = (user.clone(), id.get().into());
        self.confirmed.insert(id.clone(), self.seq);
        let bytes = id.1.len() + ENTRY_OVERHEAD;
        self.append(Entry { change: None, id: Some(id), bytes }, bounds);
    }

    /// The `seq` this user's message with this `id` was confirmed with, if it is remembered.
    pub fn confirmed(&self, user: &UserId, id: &MessageId) -> Option<u64> {
        self.confirmed.get(&(user.clone(), id.get().into())).copied()
    }

    /// What was relayed after change `since`, in order; `None` where it is not all there any more,
    /// or never was.
    pub fn after(&self, since: u64) -> Option<impl Iterator<Item = &Frame>> {
        if since < self.forgotten || since > self.seq {
            return None;
        }
        let changes = self.entries.iter().filter_map(|entry| entry.change.as_ref());
        Some(changes.filter(move |(seq, _)| *seq > since).map(|(_, frame)| frame))
    }

    /// How many entries are kept, in how many bytes, and how many ids.
    pub fn kept(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.bytes, self.confirmed.len())
    }

    fn append(&mut self, entry: Entry, bounds: Bounds) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.entries.len() > bounds.changes || self.bytes > bounds.bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            if let Some((seq, _)) = oldest.change {
                self.forgotten = seq;
            }
            if let Some(id) = oldest.id {
                self.confirmed.remove(&id);
            }
        }
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
        let id = serde_json::value::RawValue::from_string("7".into()).unwrap();
        history.push(Frame::text("1"), BOUNDS);
        history.confirm(&user, &id, BOUNDS);
        assert_eq!(history.confirmed(&user, &id), Some(1));
        assert_eq!(history.confirmed(&"bob".into(), &id), None);
        for n in 0..3 {
            history.push(Frame::text(&n.to_string()), BOUNDS);
        }
        assert_eq!(history.confirmed(&user, &id), None);
    }
}
