//! The threads of one channel: the number of messages, the time of the last one, and the participants.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use crate::protocol::outbound::write_key;
use crate::protocol::{Timestamp, UserId, json};

/// How many threads a channel has at most. The oldest are dropped.
pub const MAX_THREADS: usize = 1000;
/// How many participants a thread has at most, those who wrote first.
pub const MAX_PARTICIPANTS: usize = 100;
/// What a thread takes of memory beside its texts, in bytes.
const THREAD_OVERHEAD: usize = 256;
/// What a participant takes of memory beside its name, in bytes.
const PARTICIPANT_OVERHEAD: usize = 16;
/// The largest size of a thread's JSON without `head` and `names`, in bytes.
const MAX_JSON_OVERHEAD: usize = 100;

/// The threads of one channel. The key of a thread is the number of its last message; the numbers order the
/// threads of all channels.
#[derive(Debug, Default)]
pub struct Threads {
    by_number: BTreeMap<u64, Thread>,
    numbers: HashMap<Arc<str>, u64>,
    bytes: usize,
}

/// One thread. The parts of its JSON that need escaping are made once, so that a list of a thousand threads only
/// copies them.
#[derive(Debug)]
struct Thread {
    id: Arc<str>,
    messages: u64,
    last_message_at: Timestamp,
    participants: Vec<UserId>,
    /// Its JSON up to the number of messages.
    head: Box<[u8]>,
    /// Its participants as JSON, with commas between them.
    names: Vec<u8>,
    bytes: usize,
}

impl Threads {
    /// Whether there are no threads.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// The number of threads.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The memory of the threads, in bytes: their texts, plain and as JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys of the threads, the newest last.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.by_number.keys().copied()
    }

    /// Counts a message of thread `id`. `number` is larger than any before and becomes the thread's key. Returns
    /// the key that the thread had before.
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

    /// Whether there are more than [`MAX_THREADS`].
    pub fn is_over_limit(&self) -> bool {
        self.by_number.len() > MAX_THREADS
    }

    /// Drops the oldest thread and returns its key.
    pub fn evict_oldest(&mut self) -> Option<u64> {
        let (number, thread) = self.by_number.pop_first()?;
        self.numbers.remove(&thread.id);
        self.bytes -= thread.bytes;
        debug_assert_eq!(self.numbers.len(), self.by_number.len());
        debug_assert!(!self.by_number.is_empty() || self.bytes == 0);
        Some(number)
    }

    /// An upper bound of the size of a thread as JSON, in bytes; 0 if there is no such thread.
    pub fn max_json_bytes(&self, number: u64) -> usize {
        let thread = self.by_number.get(&number);
        thread.map_or(0, |thread| thread.head.len() + thread.names.len() + MAX_JSON_OVERHEAD)
    }

    /// Appends a thread as JSON.
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
    /// A thread without messages.
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
