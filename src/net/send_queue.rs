//! Everything that is written to one client goes through its send queue, as whole frames.
//!
//! Whoever has something to say pushes a frame, which never waits, and flushes. A flush sends what
//! the socket takes at once; what it doesn't take is left to a writer thread, which is started for
//! this client, writes with blocking calls and ends when it has caught up. So neither the hub nor
//! another client ever waits for this one.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::threads::Threads;
use crate::hub::ConnId;
use crate::os::sever;
use crate::protocol::Frame;

/// How many frames one system call sends at most; Linux takes up to 1,024.
const BATCH: usize = 64;
/// How much waits, in bytes, where a client is behind whose frames always wait for a writer thread.
const BACKLOG: usize = 64 * 1024;
/// How long a client may be over its bound before it is too slow.
const TOO_LONG: Duration = Duration::from_secs(10);
/// A client that was sent very much at once has as much longer as it takes at this rate, in bytes a
/// second.
const BURST_RATE: usize = 1 << 20;
/// How long a writer thread sleeps at a time; it is woken when there is something to do.
const A_WHILE: Duration = Duration::from_secs(3600);
/// The stack of a writer thread: it does little.
const WRITER_STACK: usize = 128 * 1024;

/// How frames get to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// A flush sends without blocking; a writer thread runs only while the socket is full. Where the
    /// system has no non-blocking send this is the same as [`WriterThread`](Self::WriterThread).
    NonBlocking,
    /// A writer thread runs as long as the connection and does all the sending.
    WriterThread,
}

/// The client doesn't read: it has more waiting than the bound allows. Close it.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

/// What is queued for one client. Any thread may push and flush.
#[derive(Debug)]
pub struct SendQueue {
    conn: ConnId,
    socket: Arc<TcpStream>,
    threads: Arc<Threads>,
    mode: SendMode,
    bound: usize,
    state: Mutex<State>,
    changed: Condvar,
    shown: PublishedStats,
}

/// What anybody may know without the lock. Whoever has it writes here, too, but only where something waits
/// that the socket didn't take at once: another line of memory to touch is 5 % of a delivery to a
/// thousand clients.
#[derive(Debug)]
struct PublishedStats {
    opened: Instant,
    /// What waits, in bytes.
    queued: AtomicUsize,
    /// Since when nothing of what waits was taken, in milliseconds since the start, one more than that;
    /// zero where nothing waits.
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

    /// Something waits, and the socket takes nothing from now on.
    fn waits(&self) {
        self.waiting_since.store(self.opened.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    /// The socket has taken all there was.
    fn is_done(&self) {
        self.waiting_since.store(0, Relaxed);
    }

    fn shows(&self, state: &mut State) {
        if state.bytes > 0 || state.is_shown {
            state.is_shown = state.bytes > 0;
            self.queued.store(state.bytes, Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    /// Number of the frame at the front of the queue, counted from the connection's start.
    front: u64,
    /// How much of the front frame the socket has taken already.
    sent: usize,
    /// How many frames the writer thread is sending right now; they can't be replaced any more.
    in_flight: usize,
    bytes: usize,
    /// How many frames were pushed.
    pushed: u64,
    /// Whether it is shown that something waits.
    is_shown: bool,
    over_since: Option<Instant>,
    /// How much one event has added at once, in bytes, until the client is no longer behind: what a
    /// member is sent of a whole document is shared by all who are sent it, and counts for nobody.
    burst: usize,
    /// How much waited when the event began that is being handled.
    at_flush: usize,
    /// For each sender the number of its queued frame that a newer one may replace.
    latest: HashMap<ConnId, u64>,
    writer: bool,
    /// Pushed to since the last flush.
    is_dirty: bool,
    /// How many threads wait for a change. Waking nobody is a system call all the same: at ten
    /// clients it was every second one.
    waiting: usize,
    phase: Phase,
    /// The close that went out, by whoever closed first.
    closed_with: Option<(u16, &'static str)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// A close frame is the last in the queue; nothing may follow it.
    Closing,
    /// The socket takes nothing any more.
    Ended,
}

impl SendQueue {
    /// A send queue for a socket, with a bound in bytes.
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
            bound,
            state: Mutex::default(),
            changed: Condvar::new(),
            shown: PublishedStats::new(),
        })
    }

    /// How many frames were pushed.
    pub fn pushed(&self) -> u64 {
        self.lock().pushed
    }

    /// How much waits, in bytes. Doesn't wait.
    pub fn queued(&self) -> usize {
        self.shown.queued.load(Relaxed)
    }

    /// For how long the socket has taken nothing of what waits; `None` where nothing waits for it.
    /// Doesn't wait.
    pub fn waiting_for(&self) -> Option<Duration> {
        let since = self.shown.waiting_since.load(Relaxed).checked_sub(1)?;
        Some(self.shown.opened.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Queues a frame, or anything else that has to go out whole. Never blocks. After a close
    /// nothing is queued any more. Whether this is the first push since the last flush.
    ///
    /// With `supersedes`, while the client is behind, a queued frame with the same key is replaced
    /// instead, at its place.
    ///
    /// # Errors
    /// [`TooSlow`] when more than twice the bound is waiting, or more than the bound for 10 s. What is
    /// pushed between two flushes is always taken where less than the bound was waiting before, and
    /// doesn't count until the client has caught up; the 10 s then are more by a second a MiB.
    pub fn push(&self, frame: Bytes, supersedes: Option<ConnId>) -> Result<bool, TooSlow> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Ok(false);
        }
        if !state.is_dirty {
            state.at_flush = state.bytes;
        }
        if state.bytes > self.bound {
            let since = *state.over_since.get_or_insert_with(Instant::now);
            let longest = TOO_LONG + Duration::from_secs((state.burst / BURST_RATE) as u64);
            if state.bytes.saturating_sub(state.burst) > 2 * self.bound || since.elapsed() > longest
            {
                return Err(TooSlow);
            }
        } else {
            (state.over_since, state.burst) = (None, 0);
        }
        state.pushed += 1;
        if let Some(sender) = supersedes.filter(|_| self.is_behind(&state)) {
            let held_back = state.front + state.in_flight.max(usize::from(state.sent > 0)) as u64;
            match state.latest.get(&sender) {
                Some(&number) if number >= held_back => {
                    let place = (number - state.front) as usize;
                    let old = std::mem::replace(&mut state.queue[place], frame);
                    state.bytes = state.bytes - old.len() + state.queue[place].len();
                    return Ok(false);
                }
                _ => {
                    let number = state.front + state.queue.len() as u64;
                    state.latest.insert(sender, number);
                }
            }
        }
        state.bytes += frame.len();
        state.queue.push_back(frame);
        if state.at_flush <= self.bound {
            state.burst = state.bytes.saturating_sub(state.at_flush);
        }
        Ok(!std::mem::replace(&mut state.is_dirty, true))
    }

    /// Replaces everything that has not begun to go out, whatever the bound.
    pub fn replace_all(&self, frames: impl IntoIterator<Item = Bytes>) {
        self.lock().replace_all(frames);
    }

    /// Queues a close frame as the last one. Only the first close counts.
    pub fn close(&self, code: u16, reason: &'static str) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            let frame = Frame::close(code, reason).bytes().clone();
            state.bytes += frame.len();
            state.queue.push_back(frame);
            state.closing(Some((code, reason)));
            self.notify(&state);
        }
    }

    /// Drops what is queued and queues a close frame: the client doesn't read anyway.
    pub fn close_instead(&self, code: u16, reason: &'static str) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.replace_all([Frame::close(code, reason).into_bytes()]);
            state.closing(Some((code, reason)));
            self.changed.notify_all();
        }
    }

    /// Queues the answer to the client's own close, a whole frame, as the last one.
    pub fn close_with(&self, frame: Bytes) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.bytes += frame.len();
            state.queue.push_back(frame);
            state.closing(None);
        }
    }

    /// The close this side sent on its own account.
    pub fn closed_with(&self) -> Option<(u16, &'static str)> {
        self.lock().closed_with
    }

    /// Sends what is queued as far as that is possible without waiting; a writer thread takes over
    /// from there. Never blocks.
    pub fn flush(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_dirty = false;
        if state.writer {
            self.shown.shows(&mut state);
            // Portable twin: the writer sleeps until there is something to do.
            self.notify(&state);
            return;
        }
        while self.mode == SendMode::NonBlocking && state.has_work() {
            match state.send_without_blocking(&self.socket) {
                Ok(sent) => state.advance(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.end(&mut state),
            }
        }
        self.shown.shows(&mut state);
        if state.has_work() {
            self.start_writer(&mut state);
        } else {
            self.notify(&state);
        }
    }

    fn notify(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wait_for_change<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        longest: Duration,
    ) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let waited = self.changed.wait_timeout(state, longest);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state
    }

    /// Waits until everything has been handed to the system, or until `deadline`. Whether it has.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.wait(deadline, |state| !state.has_work())
    }

    /// Waits until the connection is being closed, or until `deadline`.
    pub fn wait_until_closing(&self, deadline: Instant) {
        self.wait(deadline, |state| state.phase != Phase::Open);
    }

    fn wait(&self, deadline: Instant, is_done: impl Fn(&State) -> bool) -> bool {
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

    /// Ends the connection at once, whatever is queued: wakes whoever reads from or writes to it.
    pub fn abort(&self) {
        self.end(&mut self.lock());
    }

    /// Whether the client takes less than it is sent.
    fn is_behind(&self, state: &State) -> bool {
        match self.mode {
            SendMode::NonBlocking => state.writer,
            SendMode::WriterThread => state.bytes > BACKLOG,
        }
    }

    fn start_writer(self: &Arc<Self>, state: &mut State) {
        state.writer = true;
        self.shown.waits();
        let send_queue = self.clone();
        let name = format!("w{}", self.conn.0);
        if let Err(error) = self.threads.spawn(name, Some(WRITER_STACK), move || send_queue.write())
        {
            log::warn!("c{}: closed, no thread to write with: {error}", self.conn.0);
            state.writer = false;
            self.end(state);
        }
    }

    /// The writer thread: sends with blocking calls until it has caught up.
    #[inline(never)] // a name in thread dumps
    fn write(&self) {
        let mut state = self.lock();
        loop {
            if state.phase == Phase::Ended {
                break;
            }
            if !state.has_work() {
                self.shown.is_done();
                self.changed.notify_all();
                if self.mode == SendMode::NonBlocking || state.phase != Phase::Open {
                    break;
                }
                state = self.wait_for_change(state, A_WHILE);
                continue;
            }
            let frames: Vec<Bytes> = state.queue.iter().take(BATCH).cloned().collect();
            let skip = state.sent;
            state.in_flight = frames.len();
            // From now on, where it has just been given something, or has taken something.
            self.shown.waits();
            drop(state);
            let mut slices: Vec<IoSlice<'_>> =
                frames.iter().map(|frame| IoSlice::new(frame)).collect();
            slices[0] = IoSlice::new(&frames[0][skip..]);
            let sent = { &*self.socket }.write_vectored(&slices);
            state = self.lock();
            state.in_flight = 0;
            match sent {
                Ok(sent) if sent > 0 => state.advance(sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.end(&mut state),
            }
            self.shown.shows(&mut state);
        }
        state.writer = false;
        self.changed.notify_all();
    }

    fn end(&self, state: &mut State) {
        state.phase = Phase::Ended;
        // The writer's frames stay counted until it has noticed.
        state.queue.clear();
        state.latest.clear();
        (state.bytes, state.sent) = (0, 0);
        self.shown.shows(state);
        self.shown.is_done();
        sever(&self.socket);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    fn closing(&mut self, closed_with: Option<(u16, &'static str)>) {
        self.phase = Phase::Closing;
        self.closed_with = closed_with;
    }

    fn replace_all(&mut self, frames: impl IntoIterator<Item = Bytes>) {
        // What is on its way has to go out whole, or the client can't read what follows.
        let begun = self.in_flight.max(usize::from(self.sent > 0));
        self.queue.truncate(begun);
        self.latest.clear();
        self.queue.extend(frames);
        self.bytes = self.queue.iter().map(Bytes::len).sum::<usize>() - self.sent;
    }

    /// Sends the first frames of the queue with one call that doesn't wait.
    fn send_without_blocking(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut frames = self.queue.iter();
        let first = frames.next().map_or(&[][..], |first| &first[self.sent..]);
        if self.queue.len() == 1 {
            return send_without_blocking(socket, &[IoSlice::new(first)]);
        }
        let mut slices = [IoSlice::new(&[]); BATCH];
        slices[0] = IoSlice::new(first);
        let mut count = 1;
        for (slice, frame) in slices[1..].iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        send_without_blocking(socket, &slices[..count])
    }

    /// Takes what the socket has taken off the queue.
    fn advance(&mut self, mut sent: usize) {
        self.bytes = self.bytes.saturating_sub(sent);
        while let Some(frame) = self.queue.front() {
            let left = frame.len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.front += 1;
            self.queue.pop_front();
        }
        if !self.latest.is_empty() {
            self.latest.clear();
        }
        // After a burst its memory goes back.
        if self.queue.capacity() > BATCH {
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(unix)]
const HAS_NON_BLOCKING_SEND: bool = true;
#[cfg(not(unix))]
const HAS_NON_BLOCKING_SEND: bool = false;

/// Sends what the socket takes without waiting; `WouldBlock` where it takes nothing.
#[cfg(unix)]
fn send_without_blocking(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let socket = socket2::SockRef::from(socket);
    match slices {
        // `send` is the cheaper call.
        [one] => socket.send_with_flags(one, libc::MSG_DONTWAIT),
        several => socket.send_vectored_with_flags(several, libc::MSG_DONTWAIT),
    }
}

/// The portable twin: it takes nothing, and so the writer thread sends everything.
#[cfg(not(unix))]
fn send_without_blocking(_socket: &TcpStream, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// A send queue and the client's end of its connection.
    fn pair(mode: SendMode, bound: usize) -> (Arc<SendQueue>, TcpStream, Arc<Threads>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let threads = Arc::new(Threads::default());
        let send_queue = SendQueue::new(ConnId(1), Arc::new(socket), threads.clone(), mode, bound);
        (send_queue, client, threads)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// `count` frames of `size` bytes that tell their place in the order.
    fn frames(count: usize, size: usize) -> Vec<Bytes> {
        let frame = |n: usize| Bytes::from(format!("{n:0size$}"));
        (0..count).map(frame).collect()
    }

    const BOTH: [SendMode; 2] = [SendMode::NonBlocking, SendMode::WriterThread];

    #[test]
    fn everything_arrives_in_order_though_the_client_reads_late() {
        for mode in BOTH {
            let (send_queue, mut client, threads) = pair(mode, 64 << 20);
            let frames = frames(3000, 10_000);
            for frame in &frames {
                send_queue.push(frame.clone(), None).unwrap();
                send_queue.flush();
            }
            send_queue.close(1000, "");
            send_queue.flush();
            let mut got = vec![0; 3000 * 10_000];
            client.read_exact(&mut got).unwrap();
            assert!(got == frames.concat(), "{mode:?}");
            assert!(send_queue.wait_until_empty(soon()));
            assert!(threads.join_all(soon()).is_empty(), "the writer ends when it has caught up");
        }
    }

    #[test]
    fn a_client_that_does_not_read_is_told_apart_and_does_not_block() {
        for mode in BOTH {
            let (send_queue, _client, threads) = pair(mode, 100_000);
            let frame = Bytes::from(vec![b'x'; 50_000]);
            // What the system's buffers take is not counted; it is finite.
            let refused = (0..10_000).find(|_| {
                send_queue.flush();
                send_queue.push(frame.clone(), None).is_err()
            });
            assert!(refused.is_some());
            // Twice the bound, and what one event has added.
            assert!(send_queue.lock().bytes <= 350_000);
            send_queue.abort();
            assert!(threads.join_all(soon()).is_empty(), "a blocked writer is woken by the abort");
        }
    }

    #[test]
    fn anybody_sees_what_waits_and_for_how_long() {
        for mode in BOTH {
            let (send_queue, mut client, _threads) = pair(mode, 64 << 20);
            assert_eq!(
                (send_queue.pushed(), send_queue.queued(), send_queue.waiting_for()),
                (0, 0, None)
            );
            let big = Bytes::from(vec![b'x'; 32 << 20]);
            send_queue.push(big.clone(), None).unwrap();
            send_queue.flush();
            let mut got = vec![0; big.len()];
            client.read_exact(&mut got[..1]).unwrap();
            let mut longest = Duration::ZERO;
            while longest < Duration::from_millis(100) {
                longest = send_queue.waiting_for().expect("most of it waits");
            }
            assert!(send_queue.queued() > 0 && send_queue.queued() <= big.len(), "{mode:?}");
            client.read_exact(&mut got[1..]).unwrap();
            let until = soon();
            while send_queue.waiting_for().is_some() {
                assert!(Instant::now() < until, "{mode:?}: all was taken");
            }
            assert_eq!((send_queue.pushed(), send_queue.queued()), (1, 0), "{mode:?}");
        }
    }

    #[test]
    fn what_one_event_adds_is_taken_whatever_its_size_and_doesnt_count_afterwards() {
        let (send_queue, _client, _threads) = pair(SendMode::NonBlocking, 1000);
        let big = Bytes::from(vec![0; 32 << 20]);
        assert_eq!(send_queue.push(big.clone(), None), Ok(true));
        assert_eq!(send_queue.push(big.clone(), None), Ok(false), "of the same event");
        send_queue.flush();
        // More than what the socket has taken of the first ones.
        assert_eq!(send_queue.push(big.clone(), None), Ok(true), "of the next one");
        send_queue.flush();
        assert_eq!(send_queue.push(Bytes::from_static(b"x"), None), Err(TooSlow));
    }

    #[test]
    fn of_frames_that_supersede_each_other_the_newest_is_sent() {
        for mode in BOTH {
            let (send_queue, mut client, _threads) = pair(mode, 64 << 20);
            let (alice, bob) = (Some(ConnId(2)), Some(ConnId(3)));
            let push = |text: &'static [u8], key| {
                send_queue.push(Bytes::from_static(text), key).unwrap();
            };
            push(b"A1 ", alice);
            push(b"A2 ", alice);
            let big = Bytes::from(vec![b'x'; 32 << 20]);
            send_queue.push(big.clone(), None).unwrap();
            send_queue.flush();
            let mut got = vec![0; 6 + big.len() + 12];
            // What has come shows that the big one is on its way, and what follows is not.
            client.read_exact(&mut got[..7]).unwrap();
            for (text, key) in [
                (b"A3 ".as_slice(), alice),
                (b"chat ", None),
                (b"B1 ", bob),
                (b"A4 ", alice),
                (b"A5 ", alice),
            ] {
                push(text, key);
            }
            send_queue.close_with(Bytes::from_static(b"."));
            send_queue.flush();
            client.read_exact(&mut got[7..]).unwrap();
            assert_eq!(&got[..6], b"A1 A2 ", "while the client keeps up nothing is left out");
            assert_eq!(&got[6 + big.len()..], b"A5 chat B1 .");
        }
    }

    #[test]
    fn nothing_follows_a_close() {
        let (send_queue, mut client, _threads) = pair(SendMode::NonBlocking, 1000);
        send_queue.push(Bytes::from_static(b"one"), None).unwrap();
        send_queue.close(1001, "bye");
        send_queue.push(Bytes::from_static(b"two"), None).unwrap();
        send_queue.close(1008, "late");
        send_queue.flush();
        assert_eq!(send_queue.closed_with(), Some((1001, "bye")));
        let mut got = [0; 10];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"one\x88\x05\x03\xe9bye");
    }

    #[test]
    fn a_frame_that_has_begun_goes_out_whole() {
        let (send_queue, mut client, _threads) = pair(SendMode::NonBlocking, 64 << 20);
        let big = Bytes::from(vec![b'x'; 32 << 20]);
        send_queue.push(big.clone(), None).unwrap();
        send_queue.flush();
        let mut got = vec![0; big.len() + 12];
        // Where a thread writes, what has come is what shows that it has begun.
        client.read_exact(&mut got[..1]).unwrap();
        send_queue.push(Bytes::from_static(b"dropped"), None).unwrap();
        send_queue.close_instead(1008, "too slow");
        send_queue.flush();
        client.read_exact(&mut got[1..]).unwrap();
        assert!(got[..big.len()] == big);
        assert_eq!(&got[big.len()..], b"\x88\x0a\x03\xf0too slow");
    }
}
