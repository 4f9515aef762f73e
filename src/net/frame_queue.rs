//! The frames that wait for one client: their order, their bound, and which of them may be
//! replaced.
//!
//! Plain data, under the lock of a [`SendQueue`](super::send_queue::SendQueue): it knows no socket
//! and no thread.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::hub::ConnId;

/// The most frames that one system call sends. Linux accepts up to 1,024.
pub const MAX_FRAMES_PER_SEND: usize = 64;
/// How long more than the bound may wait before the client is too slow.
const SLOW_TIMEOUT: Duration = Duration::from_secs(10);
/// After a burst, the rate by which the client gets more time, in bytes a second.
const BURST_BYTES_PER_SECOND: usize = 1 << 20;

/// The client doesn't read: more waits for it than the bound allows. The caller has to close the
/// connection.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

/// The frames that wait for one client, with a bound in bytes.
#[derive(Debug, Default)]
pub struct FrameQueue {
    frames: VecDeque<Bytes>,
    /// The bytes of `frames` that the socket has not taken.
    bytes: usize,
    bound: usize,
    /// The number of the frame at the front. Frames are numbered from the connection's start.
    front: u64,
    /// How many bytes of the front frame the socket has taken.
    sent: usize,
    /// How many frames the writer thread is sending now. They can't be replaced.
    in_flight: usize,
    /// How many frames were pushed since the connection's start.
    pushed: u64,
    /// True where frames were pushed since the last flush.
    is_dirty: bool,
    /// Since when more than the bound waits.
    over_since: Option<Instant>,
    /// How many bytes one event has added at once, until the client is no longer behind. They don't
    /// count against the bound: the frames of a whole document are shared by all members that get
    /// it.
    burst: usize,
    /// How many bytes waited when the current event began.
    at_flush: usize,
    /// For each sender the number of its queued frame that a newer one may replace.
    latest: HashMap<ConnId, u64>,
}

impl FrameQueue {
    pub fn new(bound: usize) -> Self {
        FrameQueue { bound, ..FrameQueue::default() }
    }

    /// The number of frames that wait, including one that the socket has begun to take.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Adds a frame within the bound; see [`SendQueue::push`](super::send_queue::SendQueue::push).
    /// With `supersedes` it replaces a frame with this key, if one waits that has not begun to go
    /// out.
    pub fn push(&mut self, frame: Bytes, supersedes: Option<ConnId>) -> Result<bool, TooSlow> {
        if !self.is_dirty {
            self.at_flush = self.bytes;
        }
        self.check_bound()?;
        self.pushed += 1;
        if let Some(sender) = supersedes {
            let held_back = self.front + self.begun() as u64;
            match self.latest.get(&sender) {
                Some(&number) if number >= held_back => {
                    let place = (number - self.front) as usize;
                    let old = std::mem::replace(&mut self.frames[place], frame);
                    self.bytes = self.bytes - old.len() + self.frames[place].len();
                    return Ok(false);
                }
                _ => {
                    let number = self.front + self.frames.len() as u64;
                    self.latest.insert(sender, number);
                }
            }
        }
        self.append(frame);
        if self.at_flush <= self.bound {
            self.burst = self.bytes.saturating_sub(self.at_flush);
        }
        Ok(!std::mem::replace(&mut self.is_dirty, true))
    }

    fn check_bound(&mut self) -> Result<(), TooSlow> {
        if self.bytes <= self.bound {
            (self.over_since, self.burst) = (None, 0);
            return Ok(());
        }
        let since = *self.over_since.get_or_insert_with(Instant::now);
        let longest =
            SLOW_TIMEOUT + Duration::from_secs((self.burst / BURST_BYTES_PER_SECOND) as u64);
        let counted = self.bytes.saturating_sub(self.burst);
        match counted > 2 * self.bound || since.elapsed() > longest {
            true => Err(TooSlow),
            false => Ok(()),
        }
    }

    pub fn append(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Replaces all frames that have not begun to go out.
    pub fn replace_all(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        // A frame that the socket has begun to take has to go out whole, or the client can't read
        // what follows.
        self.frames.truncate(self.begun());
        self.latest.clear();
        self.frames.extend(frames);
        self.bytes = self.frames.iter().map(Bytes::len).sum::<usize>() - self.sent;
    }

    fn begun(&self) -> usize {
        self.in_flight.max(usize::from(self.sent > 0))
    }

    /// Records a flush: the next push is the first of another event.
    pub fn begin_flush(&mut self) {
        self.is_dirty = false;
    }

    /// What the socket has not taken of each frame, in order.
    pub fn unsent(&self) -> impl Iterator<Item = &[u8]> {
        let mut sent = self.sent;
        self.frames.iter().map(move |frame| &frame[std::mem::take(&mut sent)..])
    }

    /// The first frames, which the writer thread sends now, and how many bytes of the first one are
    /// sent already. They can't be replaced until [`end_batch`](Self::end_batch).
    pub fn begin_batch(&mut self) -> (Vec<Bytes>, usize) {
        let frames: Vec<Bytes> = self.frames.iter().take(MAX_FRAMES_PER_SEND).cloned().collect();
        self.in_flight = frames.len();
        (frames, self.sent)
    }

    /// Records that the writer thread's call has returned.
    pub fn end_batch(&mut self) {
        self.in_flight = 0;
    }

    /// Removes the bytes that the socket has taken.
    pub fn advance(&mut self, mut sent: usize) {
        // The queue is empty where the connection ended during the call.
        debug_assert!(sent <= self.bytes || self.frames.is_empty(), "{sent} of {}", self.bytes);
        self.bytes = self.bytes.saturating_sub(sent);
        while let Some(frame) = self.frames.front() {
            let left = frame.len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.front += 1;
            self.frames.pop_front();
        }
        debug_assert_eq!(self.bytes, 0, "no frame is left");
        if !self.latest.is_empty() {
            self.latest.clear();
        }
        // Frees the memory of a burst.
        if self.frames.capacity() > MAX_FRAMES_PER_SEND {
            self.frames = VecDeque::new();
        }
    }

    /// Drops all frames. `in_flight` stays until the writer thread returns from its call.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.latest.clear();
        (self.bytes, self.sent) = (0, 0);
    }
}
