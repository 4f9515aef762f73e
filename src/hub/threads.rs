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

/// See the module's text. A thread's latest message has a number by which all threads of all
/// channels are in one order.
#[derive(Debug, Default)]
pub struct Threads {
    by_id: HashMap<Arc<str>, Thread>,
    order: BTreeMap<u64, Arc<str>>,
    bytes: usize,
}

#[derive(Debug)]
struct Thread {
    messages: u64,
    last_message_at: Timestamp,
    /// The number of its last message.
    last: u64,
    participants: Vec<UserId>,
    bytes: usize,
}

impl Threads {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What they take of memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The numbers of the threads' last messages.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.order.keys().copied()
    }

    /// Counts the message with this number, which is higher than any before. Returns the number
    /// that the thread had before.
    pub fn count(&mut self, id: &str, from: &UserId, at: Timestamp, number: u64) -> Option<u64> {
        let (id, before) = match self.by_id.get(id) {
            Some(thread) => {
                let before = thread.last;
                (self.order.remove(&before).unwrap_or_else(|| id.into()), Some(before))
            }
            None => (Arc::from(id), None),
        };
        self.order.insert(number, id.clone());
        let bytes = THREAD_OVERHEAD + id.len();
        let thread = self.by_id.entry(id).or_insert_with(|| {
            self.bytes += bytes;
            Thread { messages: 0, last_message_at: at, last: number, participants: vec![], bytes }
        });
        thread.messages += 1;
        thread.last_message_at = at;
        thread.last = number;
        if thread.participants.len() < MOST_PARTICIPANTS && !thread.participants.contains(from) {
            let bytes = PARTICIPANT_OVERHEAD + from.len();
            thread.participants.push(from.clone());
            thread.bytes += bytes;
            self.bytes += bytes;
        }
        before
    }

    /// Whether there are more than are remembered.
    pub fn are_too_many(&self) -> bool {
        self.by_id.len() > MOST_THREADS
    }

    /// Forgets the oldest thread and returns its number.
    pub fn forget_oldest(&mut self) -> Option<u64> {
        let (number, id) = self.order.pop_first()?;
        let thread = self.by_id.remove(&id)?;
        self.bytes -= thread.bytes;
        Some(number)
    }

    /// Appends the thread with this number as JSON.
    pub fn write(&self, number: u64, channel: &str, json: &mut Vec<u8>) {
        let Some(id) = self.order.get(&number) else { return };
        let Some(thread) = self.by_id.get(id) else { return };
        json.push(b'{');
        write_key(json, "thread_id");
        json::write_string(json, id);
        write_key(json, "channel");
        json::write_string(json, channel);
        // Writing to memory can't fail.
        let Thread { messages, last_message_at, .. } = thread;
        let _ = write!(json, ",\"messages\":{messages},\"last_message_at\":\"{last_message_at}\"");
        json.extend_from_slice(b",\"participants\":[");
        for (place, participant) in thread.participants.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            json::write_string(json, participant);
        }
        json.extend_from_slice(b"]}");
    }
}
