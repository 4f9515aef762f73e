//! The threads of one channel: how many messages each has had, when, and from whom.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use crate::protocol::outbound::write_key;
use crate::protocol::{Timestamp, UserId, json};

/// How many threads of a channel are remembered, the newest ones.
pub const MAX_THREADS: usize = 1000;
/// How many of a thread's participants are listed, the first ones.
pub const MAX_PARTICIPANTS: usize = 100;
/// What a thread costs beside its texts, and a participant beside its names.
const THREAD_OVERHEAD: usize = 256;
const PARTICIPANT_OVERHEAD: usize = 16;
/// What stands between the parts of a thread's JSON that are kept, at most.
const MAX_JSON_OVERHEAD: usize = 100;

/// See the module's text. A thread is called by the number of its latest message: by them all threads
/// of all channels are in one order.
#[derive(Debug, Default)]
pub struct Threads {
    by_number: BTreeMap<u64, Thread>,
    numbers: HashMap<Arc<str>, u64>,
    bytes: usize,
}

/// The parts of its JSON that are costly to make, because texts have to be escaped, are made once:
/// whoever asks for a thousand threads has them put together.
#[derive(Debug)]
struct Thread {
    id: Arc<str>,
    messages: u64,
    last_message_at: Timestamp,
    participants: Vec<UserId>,
    /// Of its JSON what stands before the number of messages.
    head: Box<[u8]>,
    /// Of its JSON the participants, with commas between them.
    names: Vec<u8>,
    bytes: usize,
}

impl Threads {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// What they take of memory, in bytes: their texts as they were said and as JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The threads' numbers, the newest last.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.by_number.keys().copied()
    }

    /// Counts the message with this number, which is higher than any before, in a channel of this
    /// name. Returns the number that the thread had before.
    pub fn count(
        &mut self,
        channel: &str,
        id: &str,
        from: &UserId,
        at: Timestamp,
        number: u64,
    ) -> Option<u64> {
        let before = self.numbers.get(id).copied();
        let known = before.and_then(|before| self.by_number.remove(&before));
        let mut thread = known.unwrap_or_else(|| Thread::new(channel, id, at));
        self.bytes -= before.map_or(0, |_| thread.bytes);
        thread.messages += 1;
        thread.last_message_at = at;
        if thread.participants.len() < MAX_PARTICIPANTS && !thread.participants.contains(from) {
            thread.add(from);
        }
        self.bytes += thread.bytes;
        self.numbers.insert(thread.id.clone(), number);
        self.by_number.insert(number, thread);
        before
    }

    /// Whether there are more than are remembered.
    pub fn is_over_limit(&self) -> bool {
        self.by_number.len() > MAX_THREADS
    }

    /// Forgets the oldest thread and returns its number.
    pub fn evict_oldest(&mut self) -> Option<u64> {
        let (number, thread) = self.by_number.pop_first()?;
        self.numbers.remove(&thread.id);
        self.bytes -= thread.bytes;
        Some(number)
    }

    /// How long the thread with this number is as JSON, at most; 0 where there is none.
    pub fn max_json_bytes(&self, number: u64) -> usize {
        let thread = self.by_number.get(&number);
        thread.map_or(0, |thread| thread.head.len() + thread.names.len() + MAX_JSON_OVERHEAD)
    }

    /// Appends the thread with this number as JSON.
    pub fn write(&self, number: u64, json: &mut Vec<u8>) {
        let Some(thread) = self.by_number.get(&number) else { return };
        let Thread { messages, last_message_at, head, names, .. } = thread;
        json.extend_from_slice(head);
        // Writing to memory can't fail.
        let _ = write!(json, "{messages},\"last_message_at\":\"{last_message_at}\"");
        json.extend_from_slice(b",\"participants\":[");
        json.extend_from_slice(names);
        json.extend_from_slice(b"]}");
    }
}

impl Thread {
    /// One that nobody has said anything in.
    fn new(channel: &str, id: &str, at: Timestamp) -> Self {
        let mut head = vec![b'{'];
        write_key(&mut head, "thread_id");
        json::write_string(&mut head, id);
        write_key(&mut head, "channel");
        json::write_string(&mut head, channel);
        write_key(&mut head, "messages");
        Thread {
            id: id.into(),
            messages: 0,
            last_message_at: at,
            participants: Vec::new(),
            bytes: THREAD_OVERHEAD + id.len() + head.len(),
            head: head.into(),
            names: Vec::new(),
        }
    }

    fn add(&mut self, participant: &UserId) {
        let before = self.names.len();
        if before > 0 {
            self.names.push(b',');
        }
        json::write_string(&mut self.names, participant);
        self.names.shrink_to_fit();
        self.bytes += PARTICIPANT_OVERHEAD + participant.len() + (self.names.len() - before);
        self.participants.push(participant.clone());
    }
}
