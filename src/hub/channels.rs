//! The channels of the client protocol: rooms whose members talk, and threads that are counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::footprint::ChannelsFootprint;
use super::room::Room;
use super::threads::Threads;
use super::{ConnId, Turn};
use crate::keys::{Grant, KeyRefusal};
use crate::protocol::client::Request;
use crate::protocol::{Frame, Timestamp, UserId};

/// How much memory the threads of all channels may take, in bytes; the oldest are forgotten.
const MOST_THREAD_BYTES: usize = 16 << 20;

/// What a client's thread makes of a message of the client protocol.
#[derive(Debug)]
pub enum Said {
    /// `connect`; the thread has asked whether there is such a key.
    Connect(Result<Grant, KeyRefusal>),
    /// Everything else that could be read, but for a `ping`, which the thread answers itself.
    Request(Request),
}

/// All channels that somebody is in, or that have threads.
#[derive(Debug, Default)]
pub(super) struct Channels {
    channels: HashMap<Arc<str>, Channel>,
    /// Those nobody is in, by when the last member left.
    deserted: BTreeMap<u64, Arc<str>>,
    /// The threads of all channels by the numbers of their last messages, and where they are.
    threads: BTreeMap<u64, Arc<str>>,
    thread_bytes: usize,
    /// The last number given.
    number: u64,
}

#[derive(Debug)]
struct Channel {
    room: Room<ConnId>,
    threads: Threads,
    /// Its number among those that nobody is in.
    deserted: Option<u64>,
}

/// There are as many channels as there may be.
#[derive(Debug)]
pub(super) struct Full;

impl Channels {
    /// Makes a connection a member, which it must not be yet.
    ///
    /// # Errors
    /// [`Full`], where it is a new channel and every other has members.
    pub fn join(&mut self, name: &Arc<str>, conn: ConnId, most: usize) -> Result<(), Full> {
        let is_new = !self.channels.contains_key(name);
        if is_new && most > 0 && self.channels.len() >= most {
            let (_, oldest) = self.deserted.first_key_value().ok_or(Full)?;
            self.forget(&oldest.clone());
        }
        let channel = self.channels.entry(name.clone()).or_insert_with(|| Channel {
            room: Room::new(name.clone()),
            threads: Threads::default(),
            deserted: None,
        });
        channel.room.add(conn);
        if let Some(number) = channel.deserted.take() {
            self.deserted.remove(&number);
        }
        Ok(())
    }

    /// Ends a membership.
    pub fn leave(&mut self, name: &str, conn: ConnId) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.room.remove(conn);
        if channel.room.is_empty() {
            if channel.threads.is_empty() {
                self.channels.remove(name);
            } else {
                self.number += 1;
                channel.deserted = Some(self.number);
                self.deserted.insert(self.number, channel.room.name().clone());
            }
        }
    }

    /// Sends one frame to every member of a channel.
    pub fn send(&self, name: &str, frame: &Frame, turn: &mut Turn<'_>) {
        if let Some(channel) = self.channels.get(name) {
            channel.room.send(frame, turn);
        }
    }

    /// Counts a message as one of a thread.
    pub fn count(&mut self, name: &str, thread: &str, from: &UserId, at: Timestamp) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        self.number += 1;
        let threads = &mut channel.threads;
        self.thread_bytes -= threads.bytes();
        let before = threads.count(thread, from, at, self.number);
        let forgotten = if threads.are_too_many() { threads.forget_oldest() } else { None };
        self.thread_bytes += threads.bytes();
        self.threads.insert(self.number, channel.room.name().clone());
        for number in before.into_iter().chain(forgotten) {
            self.threads.remove(&number);
        }
        while self.thread_bytes > MOST_THREAD_BYTES && self.forget_oldest_thread() {}
    }

    /// Appends `{"threads":[…],"total":…,"timestamp":…}` as JSON: the threads of one channel or of all,
    /// newest first, of those channels that `opens` holds for.
    pub fn write_threads(
        &self,
        json: &mut Vec<u8>,
        only: Option<&str>,
        opens: impl Fn(&str) -> bool,
        now: Timestamp,
    ) {
        if only.is_none() {
            json.reserve(self.thread_bytes);
        }
        json.extend_from_slice(b"{\"threads\":[");
        let mut total = 0;
        let mut write = |channel: &Channel, number| {
            if total > 0 {
                json.push(b',');
            }
            total += 1;
            channel.threads.write(number, channel.room.name(), json);
        };
        match only {
            Some(name) => {
                if let Some(channel) = self.channels.get(name).filter(|_| opens(name)) {
                    channel.threads.numbers().rev().for_each(|number| write(channel, number));
                }
            }
            None => {
                // Many threads have few channels: each is looked up once.
                let mut opened: HashMap<&str, Option<&Channel>> = HashMap::new();
                for (number, name) in self.threads.iter().rev() {
                    let channel = opened
                        .entry(name)
                        .or_insert_with(|| self.channels.get(name).filter(|_| opens(name)));
                    if let Some(channel) = channel {
                        write(channel, *number);
                    }
                }
            }
        }
        json.extend_from_slice(format!("],\"total\":{total},\"timestamp\":\"{now}\"}}").as_bytes());
    }

    /// How much the channels hold: as each counts its own, and as is kept of all of them, but for
    /// their members.
    pub fn footprints(&self) -> (ChannelsFootprint, ChannelsFootprint) {
        let mut each = ChannelsFootprint::default();
        for channel in self.channels.values() {
            each.channels += 1;
            each.deserted += usize::from(channel.room.is_empty());
            each.threads += channel.threads.numbers().count();
            each.thread_bytes += channel.threads.bytes();
            each.members += channel.room.len();
        }
        let all = ChannelsFootprint {
            channels: self.channels.len(),
            deserted: self.deserted.len(),
            threads: self.threads.len(),
            thread_bytes: self.thread_bytes,
            members: 0,
        };
        (each, all)
    }

    /// Whether there was one.
    fn forget_oldest_thread(&mut self) -> bool {
        let Some((_, name)) = self.threads.pop_first() else { return false };
        let Some(channel) = self.channels.get_mut(&name) else { return true };
        self.thread_bytes -= channel.threads.bytes();
        channel.threads.forget_oldest();
        self.thread_bytes += channel.threads.bytes();
        if channel.threads.is_empty() && channel.room.is_empty() {
            self.forget(&name);
        }
        true
    }

    /// Forgets a channel that nobody is in, and its threads.
    fn forget(&mut self, name: &str) {
        let Some(channel) = self.channels.remove(name) else { return };
        self.thread_bytes -= channel.threads.bytes();
        for number in channel.threads.numbers() {
            self.threads.remove(&number);
        }
        if let Some(number) = channel.deserted {
            self.deserted.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Channels {
        /// What is kept twice agrees, and nothing is kept for nobody.
        fn assert_consistent(&self) {
            let mut bytes = 0;
            let (mut threads, mut deserted) = (BTreeMap::new(), BTreeMap::new());
            for (name, channel) in &self.channels {
                assert!(!channel.room.is_empty() || !channel.threads.is_empty(), "{name}");
                assert_eq!(channel.room.is_empty(), channel.deserted.is_some(), "{name}");
                bytes += channel.threads.bytes();
                threads.extend(channel.threads.numbers().map(|number| (number, name.clone())));
                deserted.extend(channel.deserted.map(|number| (number, name.clone())));
            }
            assert_eq!(self.thread_bytes, bytes);
            assert!(bytes <= MOST_THREAD_BYTES);
            assert_eq!((&self.threads, &self.deserted), (&threads, &deserted));
        }

        fn threads_of(&self, name: &str) -> Option<usize> {
            Some(self.channels.get(name)?.threads.numbers().count())
        }
    }

    #[test]
    fn of_too_many_threads_the_oldest_are_forgotten_wherever_they_are() {
        let mut channels = Channels::default();
        let (conn, at) = (ConnId(1), Timestamp::from_millis(0));
        let talk = |channels: &mut Channels, name: &Arc<str>, thread: &str| {
            channels.count(name, thread, &"alice".into(), at);
        };
        let (kept, deserted): (Arc<str>, Arc<str>) = ("kept".into(), "deserted".into());
        for name in [&kept, &deserted] {
            channels.join(name, conn, 0).expect("there is room");
            talk(&mut channels, name, "t");
        }
        channels.leave(&deserted, conn);
        channels.assert_consistent();
        // A thousand threads of half a kilobyte each, until there is no room for more.
        let id = "t".repeat(240);
        for n in 0..40 {
            let name: Arc<str> = format!("channel {n}").into();
            channels.join(&name, conn, 0).expect("there is room");
            (0..1000).for_each(|n| talk(&mut channels, &name, &format!("{id}{n}")));
            channels.leave(&name, conn);
            channels.assert_consistent();
        }
        assert!(channels.thread_bytes > MOST_THREAD_BYTES - 1000);
        assert_eq!(channels.threads_of("kept"), Some(0), "somebody is in it");
        assert_eq!(channels.threads_of("deserted"), None);
        assert_eq!(channels.threads_of("channel 0"), None);
        assert_eq!(channels.threads_of("channel 39"), Some(1000));
        channels.leave(&kept, conn);
        channels.assert_consistent();
        channels.join(&"new".into(), conn, 5).expect("the deserted make room");
        channels.assert_consistent();
    }
}
