//! The channels of the client protocol: rooms whose members send to each other, and counted threads.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::channel_threads::{MAX_THREADS, Threads};
pub use super::event::ChannelMessage;
use super::room::Room;
use super::stats::ChannelsFootprint;
use super::{ConnId, Context};
use crate::protocol::{Frame, Timestamp, UserId};

/// How much memory the threads of all channels may take, in bytes. The oldest are dropped first.
const MAX_THREAD_BYTES: usize = 16 << 20;
/// How many threads one answer lists at most, the newest ones: as many as one channel may have.
const MAX_LISTED_THREADS: usize = MAX_THREADS;
/// The largest answer, in bytes: it waits in memory until it has been read. A thousand threads exceed it
/// only with long ids and many participants.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// All channels that have members or threads.
#[derive(Debug, Default)]
pub(super) struct Channels {
    channels: HashMap<Arc<str>, Channel>,
    /// Channels without members, in the order in which the last member left.
    empty: BTreeMap<u64, Arc<str>>,
    /// The channel of each thread of all channels, by the number of the thread's last message.
    threads: BTreeMap<u64, Arc<str>>,
    thread_bytes: usize,
    /// The last number that was given to a message or to an empty channel.
    number: u64,
}

#[derive(Debug)]
struct Channel {
    room: Room<ConnId>,
    threads: Threads,
    /// Its key in [`Channels::empty`]; `None` while it has members.
    empty: Option<u64>,
}

/// [`Limits::max_channels`](super::Limits) is reached, and every channel has members.
#[derive(Debug)]
pub(super) struct Full;

impl Channels {
    /// Makes a connection a member, which it must not be yet. Returns the channel's own copy of its name,
    /// so that all members share one copy. If there are `max` channels, the one that has been without
    /// members for longest makes room for a new one.
    ///
    /// # Errors
    /// [`Full`].
    pub fn join(&mut self, name: &Arc<str>, conn: ConnId, max: usize) -> Result<Arc<str>, Full> {
        let is_new = !self.channels.contains_key(name);
        if is_new && max > 0 && self.channels.len() >= max {
            let (_, oldest) = self.empty.first_key_value().ok_or(Full)?;
            self.remove_empty(&oldest.clone());
        }
        let channel = self.channels.entry(name.clone()).or_insert_with(|| Channel {
            room: Room::new(name.clone()),
            threads: Threads::default(),
            empty: None,
        });
        channel.room.add(conn);
        if let Some(number) = channel.empty.take() {
            self.empty.remove(&number);
        }
        Ok(channel.room.name().clone())
    }

    /// Removes a member. A channel without members and threads is dropped.
    pub fn leave(&mut self, name: &str, conn: ConnId) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.room.remove(conn);
        if channel.room.is_empty() {
            if channel.threads.is_empty() {
                self.channels.remove(name);
            } else {
                self.number += 1;
                channel.empty = Some(self.number);
                self.empty.insert(self.number, channel.room.name().clone());
            }
        }
    }

    /// Sends one frame to every member of a channel.
    pub fn send(&self, name: &str, frame: &Frame, cx: &mut Context<'_>) {
        if let Some(channel) = self.channels.get(name) {
            channel.room.send(frame, cx);
        }
    }

    /// Counts a message of a thread.
    pub fn count(&mut self, name: &str, thread: &str, from: &UserId, at: Timestamp) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        self.number += 1;
        let threads = &mut channel.threads;
        self.thread_bytes -= threads.bytes();
        let before = threads.count(channel.room.name(), thread, from, at, self.number);
        let forgotten = if threads.is_over_limit() { threads.evict_oldest() } else { None };
        self.thread_bytes += threads.bytes();
        self.threads.insert(self.number, channel.room.name().clone());
        for number in before.into_iter().chain(forgotten) {
            self.threads.remove(&number);
        }
        while self.thread_bytes > MAX_THREAD_BYTES && self.evict_oldest_thread() {}
    }

    /// `{"threads":[…],"total":…,"timestamp":…}` as JSON: the newest threads, newest first, of the channel
    /// `only` or of all channels, as far as they are among `opens`; `None` opens all. `total` counts those
    /// that aren't listed, too.
    ///
    /// Takes time for each thread that is listed and each name in `opens`, not for each thread that exists.
    pub fn threads<'a>(
        &'a self,
        only: Option<&str>,
        opens: Option<&[Box<str>]>,
        now: Timestamp,
    ) -> Vec<u8> {
        let mut listed = Vec::new();
        let mut length = 100;
        let mut list = |number, channel: &'a Channel| {
            length += channel.threads.max_json_bytes(number);
            let fits = length <= MAX_ANSWER_BYTES && listed.len() < MAX_LISTED_THREADS;
            if fits {
                listed.push((number, channel));
            }
            fits
        };
        let total = match (only, opens) {
            (None, None) => {
                let newest = self.threads.iter().rev();
                let mut newest =
                    newest.filter_map(|(n, name)| Some((*n, self.channels.get(name)?)));
                while newest.next().is_some_and(|(number, channel)| list(number, channel)) {}
                self.threads.len()
            }
            (Some(name), None) => self.list([name], &mut list),
            (Some(name), Some(opens)) => {
                self.list(opens.iter().map(|open| &**open).filter(|open| *open == name), &mut list)
            }
            (None, Some(opens)) => self.list(opens.iter().map(|open| &**open), &mut list),
        };
        let mut json = Vec::with_capacity(length.min(MAX_ANSWER_BYTES));
        json.extend_from_slice(b"{\"threads\":[");
        for (place, (number, channel)) in listed.into_iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            channel.threads.write(number, &mut json);
        }
        json.extend_from_slice(format!("],\"total\":{total},\"timestamp\":\"{now}\"}}").as_bytes());
        json
    }

    /// Passes the threads of these channels to `list`, newest first, until it returns `false`. Returns how
    /// many threads they have.
    fn list<'a, 'n>(
        &'a self,
        names: impl IntoIterator<Item = &'n str>,
        mut list: impl FnMut(u64, &'a Channel) -> bool,
    ) -> usize {
        // A list of names may have one of them twice.
        let channels: HashMap<&str, &Channel> =
            names.into_iter().filter_map(|name| Some((name, self.channels.get(name)?))).collect();
        let mut newest: Vec<_> = channels
            .into_values()
            .map(|channel| (channel.threads.numbers().rev(), channel))
            .collect();
        let mut next: BinaryHeap<(u64, usize)> = newest
            .iter_mut()
            .enumerate()
            .filter_map(|(place, (numbers, _))| Some((numbers.next()?, place)))
            .collect();
        while let Some((number, place)) = next.pop() {
            let (numbers, channel) = &mut newest[place];
            if !list(number, channel) {
                break;
            }
            next.extend(numbers.next().map(|number| (number, place)));
        }
        newest.iter().map(|(_, channel)| channel.threads.len()).sum()
    }

    /// The number of channels.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// The counts of the channels summed up, and the counts kept over all channels, without members.
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
            deserted: self.empty.len(),
            threads: self.threads.len(),
            thread_bytes: self.thread_bytes,
            members: 0,
        };
        (each, all)
    }

    /// `false` if there is no thread.
    fn evict_oldest_thread(&mut self) -> bool {
        let Some((_, name)) = self.threads.pop_first() else { return false };
        let Some(channel) = self.channels.get_mut(&name) else { return true };
        self.thread_bytes -= channel.threads.bytes();
        channel.threads.evict_oldest();
        self.thread_bytes += channel.threads.bytes();
        if channel.threads.is_empty() && channel.room.is_empty() {
            self.remove_empty(&name);
        }
        true
    }

    /// Drops a channel without members, and its threads.
    fn remove_empty(&mut self, name: &str) {
        let Some(channel) = self.channels.remove(name) else { return };
        self.thread_bytes -= channel.threads.bytes();
        for number in channel.threads.numbers() {
            self.threads.remove(&number);
        }
        if let Some(number) = channel.empty {
            self.empty.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Channels {
        /// Counters that are kept twice are equal, and channels without members and threads are gone.
        fn assert_consistent(&self) {
            let mut bytes = 0;
            let (mut threads, mut deserted) = (BTreeMap::new(), BTreeMap::new());
            for (name, channel) in &self.channels {
                assert!(!channel.room.is_empty() || !channel.threads.is_empty(), "{name}");
                assert_eq!(channel.room.is_empty(), channel.empty.is_some(), "{name}");
                bytes += channel.threads.bytes();
                threads.extend(channel.threads.numbers().map(|number| (number, name.clone())));
                deserted.extend(channel.empty.map(|number| (number, name.clone())));
            }
            assert_eq!(self.thread_bytes, bytes);
            assert!(bytes <= MAX_THREAD_BYTES);
            assert_eq!((&self.threads, &self.empty), (&threads, &deserted));
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
        assert!(channels.thread_bytes > MAX_THREAD_BYTES - 1000);
        assert_eq!(channels.threads_of("kept"), Some(0), "somebody is in it");
        assert_eq!(channels.threads_of("deserted"), None);
        assert_eq!(channels.threads_of("channel 0"), None);
        assert_eq!(channels.threads_of("channel 39"), Some(1000));
        let list = channels.threads(None, None, at);
        let listed: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
        assert_eq!(listed["threads"].as_array().map(Vec::len), Some(MAX_LISTED_THREADS));
        assert_eq!(listed["total"], channels.threads.len());
        channels.leave(&kept, conn);
        channels.assert_consistent();
        channels.join(&"new".into(), conn, 5).expect("the deserted make room");
        channels.assert_consistent();
    }

    /// Threads with the longest JSON: the channel's name, ids and user names are escaped, which makes six bytes
    /// of each.
    #[test]
    fn neither_what_is_kept_nor_one_answer_outgrows_its_bound() {
        let mut channels = Channels::default();
        let (conn, at) = (ConnId(1), Timestamp::from_millis(0));
        let participants: Vec<UserId> =
            (0..40).map(|n| format!("{}{n:02}", "\u{1f600}".repeat(126)).into()).collect();
        for name in ["a", "b"] {
            let name: Arc<str> = format!("{name}{}", "\"".repeat(127)).into();
            channels.join(&name, conn, 0).expect("there is room");
            for thread in 0..1000 {
                let thread = format!("{thread:04}{}", "\u{1}".repeat(252));
                for participant in &participants {
                    channels.count(&name, &thread, participant, at);
                }
            }
        }
        channels.assert_consistent();
        let kept: usize = channels
            .channels
            .values()
            .flat_map(|channel| {
                channel.threads.numbers().map(|n| channel.threads.max_json_bytes(n))
            })
            .sum();
        assert!(kept <= MAX_THREAD_BYTES, "{kept} bytes of JSON");
        let list = channels.threads(None, None, at);
        assert!(
            (MAX_ANSWER_BYTES - 50_000..=MAX_ANSWER_BYTES).contains(&list.len()),
            "{}",
            list.len()
        );
        assert!(list.capacity() <= MAX_ANSWER_BYTES);
        let listed: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
        assert_eq!(listed["total"], channels.threads.len());
    }

    #[test]
    fn a_membership_keeps_no_copy_of_the_channels_name() {
        let mut channels = Channels::default();
        let first = channels.join(&"general".into(), ConnId(1), 0).expect("there is room");
        let second = channels.join(&"general".into(), ConnId(2), 0).expect("there is room");
        assert!(Arc::ptr_eq(&first, &second));
    }
}
