//! The send queue of a client: everything that is written to the client goes through it, as whole
//! frames.
//!
//! A thread pushes frames, which never blocks, and then flushes. A flush sends what the socket
//! accepts at once. For the rest it starts a writer thread for this client, which writes with
//! blocking calls and ends when the queue is empty. So neither the hub nor another client's thread
//! ever waits for this client.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use super::frame_queue::TooSlow;
use super::frame_queue::{FrameQueue, MAX_FRAMES_PER_SEND};
use super::threads::Threads;
use crate::hub::ConnId;
use crate::os::sever;
use crate::protocol::Frame;

/// In mode [`WriterThread`](SendMode::WriterThread) a client is behind while more bytes than these
/// wait.
const BEHIND_BYTES: usize = 64 * 1024;
/// How long an idle writer thread sleeps at a time. It is woken when there is something to do.
const IDLE_WAIT: Duration = Duration::from_secs(3600);
const WRITER_STACK_BYTES: usize = 128 * 1024;

/// How frames get to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// A flush sends without blocking, and a writer thread runs only while the socket is full. A
    /// system without a non-blocking send uses [`WriterThread`](Self::WriterThread) instead.
    NonBlocking,
    /// A writer thread runs as long as the connection and sends everything.
    WriterThread,
}

/// The send queue of one client. Any thread may push and flush.
#[derive(Debug)]
pub struct SendQueue {
    conn: ConnId,
    socket: Arc<TcpStream>,
    threads: Arc<Threads>,
    mode: SendMode,
    state: Mutex<QueueState>,
    changed: Condvar,
    stats: PublishedStats,
}

/// A copy of two values for monitoring, read without the lock. It is written under the lock, and
/// only while something waits: one more cache line to write is 5 % of a delivery to a thousand
/// clients.
#[derive(Debug)]
struct PublishedStats {
    opened: Instant,
    queued: AtomicUsize,
    /// When the socket last took something of what waits: milliseconds since `opened` plus one; 0
    /// while nothing waits.
    waiting_since: AtomicU64,
}

impl PublishedStats {
    fn new() -> Self {
        PublishedStats {
            opened: Instant::now(),
            queued: AtomicUsize::default(),
            waiting_since: AtomicU64::default(),
        }
    }

    /// Records that the socket takes nothing from now on.
    fn mark_blocked(&self) {
        self.waiting_since.store(self.opened.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    /// Records that nothing waits any more.
    fn mark_empty(&self) {
        self.waiting_since.store(0, Relaxed);
    }

    fn publish(&self, state: &mut QueueState) {
        let bytes = state.queue.bytes();
        if bytes > 0 || state.is_published {
            state.is_published = bytes > 0;
            self.queued.store(bytes, Relaxed);
        }
    }
}

#[derive(Debug)]
struct QueueState {
    queue: FrameQueue,
    /// True where the published copy says that something waits.
    is_published: bool,
    has_writer: bool,
    /// How many threads wait for a change. Notifying without a waiting thread is a system call,
    /// too: with ten clients it was every second one.
    waiting: usize,
    phase: Phase,
    /// The code and reason of the close frame, where this side closed first.
    closed_with: Option<(u16, &'static str)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// A close frame is the last frame in the queue. None may follow it.
    Closing,
    /// The socket takes nothing any more.
    Ended,
}

impl SendQueue {
    pub fn new(
        conn: ConnId,
        socket: Arc<TcpStream>,
        threads: Arc<Threads>,
        mode: SendMode,
        bound: usize,
    ) -> Arc<Self> {
        Arc::new(SendQueue {
            conn,
            socket,
            threads,
            mode: if HAS_NON_BLOCKING_SEND { mode } else { SendMode::WriterThread },
            state: Mutex::new(QueueState {
                queue: FrameQueue::new(bound),
                is_published: false,
                has_writer: false,
                waiting: 0,
                phase: Phase::Open,
                closed_with: None,
            }),
            changed: Condvar::new(),
            stats: PublishedStats::new(),
        })
    }

    /// How many frames were pushed since the connection's start.
    pub fn pushed(&self) -> u64 {
        self.lock().queue.pushed()
    }

    /// How many bytes wait. Takes no lock.
    pub fn queued(&self) -> usize {
        self.stats.queued.load(Relaxed)
    }

    /// For how long the socket has taken nothing of what waits; `None` where nothing waits. Takes
    /// no lock.
    pub fn waiting_for(&self) -> Option<Duration> {
        let since = self.stats.waiting_since.load(Relaxed).checked_sub(1)?;
        Some(self.stats.opened.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Queues a frame, or other bytes that have to go out whole. Never blocks. After a close
    /// nothing is queued. Returns true for the first frame since the last flush: the caller has to
    /// flush then.
    ///
    /// With `supersedes`, while the client is behind, the frame replaces a queued frame with the
    /// same key, at that frame's place.
    ///
    /// # Errors
    /// [`TooSlow`] when more than twice the bound waits, or more than the bound for 10 s. Frames
    /// between two flushes are always accepted where less than the bound waited before. They don't
    /// count until the client has caught up, and the 10 s become longer by a second for each MiB of
    /// them.
    pub fn push(&self, frame: Bytes, supersedes: Option<ConnId>) -> Result<bool, TooSlow> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Ok(false);
        }
        let supersedes = supersedes.filter(|_| self.is_behind(&state));
        state.queue.push(frame, supersedes)
    }

    /// Replaces all frames that the socket has not begun to take, whatever the bound.
    pub fn replace_all(&self, frames: impl IntoIterator<Item = Bytes>) {
        self.lock().queue.replace_all(frames);
    }

    /// Queues a close frame as the last one. Only the first close has an effect.
    pub fn close(&self, code: u16, reason: &'static str) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.queue.append(Frame::close(code, reason).into_bytes());
            state.begin_close(Some((code, reason)));
            self.notify(&state);
        }
    }

    /// Drops what is queued and queues a close frame, for a client that doesn't read.
    pub fn close_instead(&self, code: u16, reason: &'static str) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.queue.replace_all([Frame::close(code, reason).into_bytes()]);
            state.begin_close(Some((code, reason)));
            self.changed.notify_all();
        }
    }

    /// Queues the answer to the client's own close, a whole frame, as the last one.
    pub fn close_with(&self, frame: Bytes) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.queue.append(frame);
            state.begin_close(None);
        }
    }

    /// The code and reason of the close frame, where this side closed first.
    pub fn closed_with(&self) -> Option<(u16, &'static str)> {
        self.lock().closed_with
    }

    /// Sends what is queued as far as the socket takes it at once, and starts a writer thread for
    /// the rest. Never blocks.
    pub fn flush(self: &Arc<Self>) {
        let mut state = self.lock();
        state.queue.begin_flush();
        if state.has_writer {
            self.stats.publish(&mut state);
            // In the mode with a writer thread, the thread may sleep.
            self.notify(&state);
            return;
        }
        while self.mode == SendMode::NonBlocking && state.has_work() {
            match send_queued(&state.queue, &self.socket) {
                Ok(sent) => state.queue.advance(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.end(&mut state),
            }
        }
        self.stats.publish(&mut state);
        if state.has_work() {
            self.start_writer(&mut state);
        } else {
            self.notify(&state);
        }
    }

    fn notify(&self, state: &QueueState) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wait_for_change<'a>(
        &self,
        mut state: MutexGuard<'a, QueueState>,
        longest: Duration,
    ) -> MutexGuard<'a, QueueState> {
        state.waiting += 1;
        let waited = self.changed.wait_timeout(state, longest);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state
    }

    /// Waits until the system has taken everything, or until `deadline`. Returns false at the
    /// deadline.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.wait(deadline, |state| !state.has_work())
    }

    /// Waits until the connection is being closed, or until `deadline`.
    pub fn wait_until_closing(&self, deadline: Instant) {
        self.wait(deadline, |state| state.phase != Phase::Open);
    }

    fn wait(&self, deadline: Instant, is_done: impl Fn(&QueueState) -> bool) -> bool {
        let mut state = self.lock();
        while !is_done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait_for_change(state, left);
        }
        true
    }

    /// Ends the connection at once and drops what is queued. Threads that read from or write to the
    /// socket are woken.
    pub fn abort(&self) {
        self.end(&mut self.lock());
    }

    /// True where the client takes less than it is sent.
    fn is_behind(&self, state: &QueueState) -> bool {
        match self.mode {
            SendMode::NonBlocking => state.has_writer,
            SendMode::WriterThread => state.queue.bytes() > BEHIND_BYTES,
        }
    }

    fn start_writer(self: &Arc<Self>, state: &mut QueueState) {
        state.has_writer = true;
        self.stats.mark_blocked();
        let send_queue = self.clone();
        let name = format!("w{}", self.conn.0);
        if let Err(error) =
            self.threads.spawn(name, Some(WRITER_STACK_BYTES), move || send_queue.write())
        {
            log::warn!("c{}: closed, no thread to write with: {error}", self.conn.0);
            state.has_writer = false;
            self.end(state);
        }
    }

    /// The writer thread: sends with blocking calls until the queue is empty.
    #[inline(never)] // a name in thread dumps
    fn write(&self) {
        let mut state = self.lock();
        loop {
            if state.phase == Phase::Ended {
                break;
            }
            if !state.has_work() {
                self.stats.mark_empty();
                self.changed.notify_all();
                if self.mode == SendMode::NonBlocking || state.phase != Phase::Open {
                    break;
                }
                state = self.wait_for_change(state, IDLE_WAIT);
                continue;
            }
            let (frames, skip) = state.queue.begin_batch();
            // The socket has just taken something, or this is the first call.
            self.stats.mark_blocked();
            drop(state);
            let mut slices: Vec<IoSlice<'_>> =
                frames.iter().map(|frame| IoSlice::new(frame)).collect();
            slices[0] = IoSlice::new(&frames[0][skip..]);
            let sent = { &*self.socket }.write_vectored(&slices);
            state = self.lock();
            state.queue.end_batch();
            match sent {
                Ok(sent) if sent > 0 => state.queue.advance(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.end(&mut state),
            }
            self.stats.publish(&mut state);
        }
        state.has_writer = false;
        self.changed.notify_all();
    }

    fn end(&self, state: &mut QueueState) {
        state.phase = Phase::Ended;
        state.queue.clear();
        self.stats.publish(state);
        self.stats.mark_empty();
        sever(&self.socket);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn has_work(&self) -> bool {
        self.queue.len() > 0
    }

    fn begin_close(&mut self, closed_with: Option<(u16, &'static str)>) {
        self.phase = Phase::Closing;
        self.closed_with = closed_with;
    }
}

#[cfg(unix)]
const HAS_NON_BLOCKING_SEND: bool = true;
#[cfg(not(unix))]
const HAS_NON_BLOCKING_SEND: bool = false;

/// Sends the first frames of the queue with one call that doesn't block.
fn send_queued(queue: &FrameQueue, socket: &TcpStream) -> io::Result<usize> {
    let mut unsent = queue.unsent();
    let first = IoSlice::new(unsent.next().unwrap_or_default());
    if queue.len() == 1 {
        return send_without_blocking(socket, &[first]);
    }
    let mut slices = [IoSlice::new(&[]); MAX_FRAMES_PER_SEND];
    slices[0] = first;
    let mut count = 1;
    for (slice, frame) in slices[1..].iter_mut().zip(unsent) {
        *slice = IoSlice::new(frame);
        count += 1;
    }
    send_without_blocking(socket, &slices[..count])
}

/// Sends what the socket takes without blocking. `WouldBlock` where it takes nothing.
#[cfg(unix)]
fn send_without_blocking(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let socket = socket2::SockRef::from(socket);
    match slices {
        // `send` is cheaper than `sendmsg`.
        [one] => socket.send_with_flags(one, libc::MSG_DONTWAIT),
        several => socket.send_vectored_with_flags(several, libc::MSG_DONTWAIT),
    }
}

/// Without a non-blocking send the writer thread sends everything.
#[cfg(not(unix))]
fn send_without_blocking(_socket: &TcpStream, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(ErrorKind::WouldBlock.into())
}

#[cfg(test)]
#[path = "send_queue_tests.rs"]
mod tests;
