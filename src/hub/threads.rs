//! The threads of one channel: how many messages each has had, when, and from whom.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use crate::protocol::outbound::write_key;
use crate::protocol::{Timestamp, UserId, json};

/// How many threads of a channel are remembered, the newest ones.
pub const MOST_THREADS: usize = 1000;
/// How many of a thread's participants are listed, the first ones.
pub const MOST_PARTICIPANTS: usize = 100;
/// What a thread costs beside its id, and a participant beside its name.
const THREAD_OVERHEAD: usize = 256;
const PARTICIPANT_OVERHEAD: usize = 16;

/// See the module's text. A thread is called by the number of its latest message: by them all threads
/// of all channels are in one order.
#[derive(Debug, Default)]
pub struct Threads {
    by_number: BTreeMap<u64, Thread>,
    numbers: HashMap<Arc<str>, u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Thread {
    id: Arc<str>,
    messages: u64,
    last_message_at: Timestamp,
    participants: Vec<UserId>,
    bytes: usize,
}

impl Threads {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// What they take of memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The threads' numbers, the newest last.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.by_number.keys().copied()
    }

    /// Counts the message with this number, which is higher than any before. Returns the number
    /// that the thread had before.
    pub fn count(&mut self, id: &str, from: &UserId, at: Timestamp, number: u64) -> Option<u64> {
        let before = self.numbers.get(id).copied();
        let known = before.and_then(|before| self.by_number.remove(&before));
        let mut thread = known.unwrap_or_else(|| {
            let bytes = THREAD_OVERHEAD + id.len();
            Thread { id: id.into(), messages: 0, last_message_at: at, participants: vec![], bytes }
        });
        self.bytes -= before.map_or(0, |_| thread.bytes);
        thread.messages += 1;
        thread.last_message_at = at;
        if thread.participants.len() < MOST_PARTICIPANTS && !thread.participants.contains(from) {
            thread.participants.push(from.clone());
            thread.bytes += PARTICIPANT_OVERHEAD + from.len();
        }
        self.bytes += thread.bytes;
        self.numbers.insert(thread.id.clone(), number);
        self.by_number.insert(number, thread);
        before
    }

    /// Whether there are more than are remembered.
    pub fn are_too_many(&self) -> bool {
        self.by_number.len() > MOST_THREADS
    }

    /// Forgets the oldest thread and returns its number.
    pub fn forget_oldest(&mut self) -> Option<u64> {
        let (number, thread) = self.by_number.pop_first()?;
        self.numbers.remove(&thread.id);
        self.bytes -= thread.bytes;
        Some(number)
    }

    /// Appends the thread with this number as JSON.
    pub fn write(&self, number: u64, channel: &str, json: &mut Vec<u8>) {
        let Some(thread) = self.by_number.get(&number) else { return };
        let Thread { id, messages, last_message_at, participants, .. } = thread;
        json.push(b'{');
        write_key(json, "thread_id");
        json::write_string(json, id);
        write_key(json, "channel");
        json::write_string(json, channel);
        // Writing to memory can't fail.
        let _ = write!(json, ",\"messages\":{messages},\"last_message_at\":\"{last_message_at}\"");
        json.extend_from_slice(b",\"participants\":[");
        for (place, participant) in participants.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            json::write_string(json, participant);
        }
        json.extend_from_slice(b"]}");
    }
}
