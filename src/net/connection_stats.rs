//! Numbers about one connection, for monitoring and for finding dead clients.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::send_queue::SendQueue;
use super::service::Role;

/// A connection counts as stalled when the socket takes nothing of what waits for longer than this.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Numbers about one connection. Its own thread writes most of them, any thread reads them, and
/// none waits.
#[derive(Debug)]
pub struct ConnectionStats {
    opened: Instant,
    role: AtomicU8,
    received: AtomicU64,
    /// Since when its thread has waited for a byte: milliseconds since `opened` plus one; 0 while
    /// it doesn't wait.
    waits_since: AtomicU64,
    /// How many pings were sent since then.
    pings: AtomicU64,
    send_queue: OnceLock<Arc<SendQueue>>,
}

/// How fast a client takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendState {
    Good,
    /// Something waits, and the socket took some of it within [`STALL_TIMEOUT`].
    Slow,
    /// Something waits, and the socket has taken nothing of it for longer than [`STALL_TIMEOUT`].
    Stalled,
}

/// Whether a client still answers, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It has sent something lately, or takes what it is sent.
    Alive,
    NeedsPing,
    /// It doesn't answer: its connection has to be closed.
    Dead,
    /// It hasn't answered the close either: its connection has to be aborted.
    CloseTimedOut,
}

impl Liveness {
    /// Judges a client that has sent nothing for `silent`, has taken nothing of what waits for it
    /// for `waiting`, and was sent `pings` pings meanwhile. It is dead after `silence`.
    fn new(silent: Duration, waiting: Option<Duration>, pings: u64, silence: Duration) -> Liveness {
        let takes_nothing = waiting.is_none_or(|waiting| waiting >= silence);
        if silent >= silence + CLOSE_ANSWER_TIMEOUT && takes_nothing {
            Liveness::CloseTimedOut
        } else if silent >= silence && takes_nothing {
            Liveness::Dead
        } else if silent >= silence / 3 * (pings as u32 + 1) {
            Liveness::NeedsPing
        } else {
            Liveness::Alive
        }
    }
}

/// How long a dead client is given to answer the close: it may still be there.
const CLOSE_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The numbers of a connection at one moment.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSample {
    pub role: Role,
    pub open: Duration,
    pub received: u64,
    pub sent: u64,
    pub queued: usize,
    pub send_state: SendState,
    /// For how long the socket has taken nothing of what waits.
    pub stalled: Duration,
}

impl ConnectionStats {
    /// The numbers of a connection that was just accepted.
    pub fn new() -> Arc<Self> {
        Arc::new(ConnectionStats {
            opened: Instant::now(),
            role: AtomicU8::new(Role::Page as u8),
            received: AtomicU64::default(),
            waits_since: AtomicU64::default(),
            pings: AtomicU64::default(),
            send_queue: OnceLock::new(),
        })
    }

    /// Sets the connection's send queue. A later one is ignored.
    pub fn set_send_queue(&self, send_queue: Arc<SendQueue>) {
        // A connection has only one send queue.
        let _ = self.send_queue.set(send_queue);
    }

    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Relaxed);
    }

    pub fn role(&self) -> Role {
        let role = self.role.load(Relaxed);
        Role::ALL.into_iter().find(|known| *known as u8 == role).unwrap_or(Role::Page)
    }

    /// Counts a message from the client. Only the connection's own thread may call it.
    pub fn count_message(&self) {
        self.received.store(self.received.load(Relaxed) + 1, Relaxed);
    }

    /// Records that the connection's thread begins to wait for a byte. Only that thread may call
    /// it.
    pub fn mark_waiting(&self) {
        self.pings.store(0, Relaxed);
        self.waits_since.store(self.opened.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    /// Records that the wait has ended. Only the connection's own thread may call it.
    pub fn mark_reading(&self) {
        self.waits_since.store(0, Relaxed);
    }

    /// Tells whether the client still answers, and counts a ping where one is due. A client is
    /// pinged up to three times within `silence` without a byte from it. It is dead where it sends
    /// nothing and takes nothing of what waits for that long. Only one thread may call it.
    pub fn liveness(&self, silence: Duration) -> Liveness {
        let Some(since) = self.waits_since.load(Relaxed).checked_sub(1) else {
            return Liveness::Alive;
        };
        let silent = self.opened.elapsed().saturating_sub(Duration::from_millis(since));
        let pings = self.pings.load(Relaxed);
        let liveness = Liveness::new(silent, self.waiting().1, pings, silence);
        if liveness == Liveness::NeedsPing {
            self.pings.store(pings + 1, Relaxed);
        }
        liveness
    }

    /// The connection's send queue; `None` before the handshake has made one.
    pub fn send_queue(&self) -> Option<&Arc<SendQueue>> {
        self.send_queue.get()
    }

    /// How many bytes wait for the socket, and for how long it has taken none of them.
    pub fn waiting(&self) -> (usize, Option<Duration>) {
        self.send_queue
            .get()
            .map_or((0, None), |send_queue| (send_queue.queued(), send_queue.waiting_for()))
    }

    pub fn sample(&self) -> ConnectionSample {
        let (queued, waiting) = self.waiting();
        ConnectionSample {
            role: self.role(),
            open: self.opened.elapsed(),
            received: self.received.load(Relaxed),
            sent: self.send_queue.get().map_or(0, |send_queue| send_queue.pushed()),
            queued,
            send_state: SendState::new(waiting),
            stalled: waiting.unwrap_or_default(),
        }
    }
}

impl SendState {
    /// Judges a connection by how long its socket has taken nothing; `None` where nothing waits.
    pub fn new(waiting: Option<Duration>) -> SendState {
        match waiting {
            None => SendState::Good,
            Some(waiting) if waiting <= STALL_TIMEOUT => SendState::Slow,
            Some(_) => SendState::Stalled,
        }
    }

    /// The name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            SendState::Good => "good",
            SendState::Slow => "slow",
            SendState::Stalled => "stalled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_what_it_became() {
        let stats = ConnectionStats::new();
        for role in [Role::Member, Role::Viewer, Role::Client, Role::Page] {
            stats.set_role(role);
            stats.count_message();
            assert_eq!(stats.sample().role, role);
        }
        let sample = stats.sample();
        assert_eq!((sample.received, sample.sent, sample.queued), (4, 0, 0));
        assert_eq!(sample.send_state, SendState::Good, "it has no send_queue yet");
    }

    #[test]
    fn who_says_nothing_is_asked_and_then_dead() {
        let seconds = Duration::from_secs;
        for (silent, waiting, pings, expected) in [
            (0, None, 0, Liveness::Alive),
            (29, None, 0, Liveness::Alive),
            (30, None, 0, Liveness::NeedsPing),
            (31, None, 1, Liveness::Alive),
            (60, None, 1, Liveness::NeedsPing),
            (89, None, 2, Liveness::Alive),
            (90, None, 2, Liveness::Dead),
            (91, Some(90), 2, Liveness::Dead),
            (92, None, 2, Liveness::CloseTimedOut),
            // The line is slow: the socket still takes something.
            (91, Some(5), 3, Liveness::Alive),
            (120, Some(0), 3, Liveness::NeedsPing),
            (1000, Some(89), 50, Liveness::Alive),
        ] {
            let found = Liveness::new(seconds(silent), waiting.map(seconds), pings, seconds(90));
            assert_eq!(found, expected, "{silent} {waiting:?} {pings}");
        }
        let stats = ConnectionStats::new();
        assert_eq!(stats.liveness(Duration::ZERO), Liveness::Alive, "it isn't waited for");
        stats.mark_waiting();
        assert_eq!(stats.liveness(seconds(3600)), Liveness::Alive);
        stats.mark_reading();
        assert_eq!(stats.liveness(Duration::ZERO), Liveness::Alive);
    }

    #[test]
    fn two_seconds_without_taking_anything_are_a_stall() {
        for (waiting, send_state) in [
            (None, SendState::Good),
            (Some(Duration::ZERO), SendState::Slow),
            (Some(STALL_TIMEOUT), SendState::Slow),
            (Some(STALL_TIMEOUT + Duration::from_millis(1)), SendState::Stalled),
        ] {
            assert_eq!(SendState::new(waiting), send_state, "{waiting:?}");
        }
    }
}
