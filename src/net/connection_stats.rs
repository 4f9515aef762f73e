//! How one connection is doing, for whoever looks at the server from outside.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::send_queue::SendQueue;
use super::service::Role;

/// For how long something may wait for a client's socket, with none of it taken, before the
/// connection counts as stalled.
pub const SLOW: Duration = Duration::from_secs(2);

/// What is known of one connection. Its own thread writes, any thread reads, nobody waits.
#[derive(Debug)]
pub struct ConnectionStats {
    opened: Instant,
    role: AtomicU8,
    heard: AtomicU64,
    /// Since when its thread has waited for a byte, in milliseconds since it was opened, one more than
    /// that; zero while it doesn't wait.
    waits_since: AtomicU64,
    /// How many Pings were sent to it meanwhile.
    pings: AtomicU64,
    send_queue: OnceLock<Arc<SendQueue>>,
}

/// How well a client takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Nothing waits for it.
    Good,
    /// Something waits, and some of it was taken not long ago.
    Slow,
    /// Something waits, and nothing was taken for longer than [`SLOW`].
    Stalled,
}

/// Whether a client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// As far as anybody can tell.
    Alive,
    /// It is to be sent a Ping.
    NeedsPing,
    /// It isn't: its connection is to be closed.
    Dead,
    /// Nor has it answered the close.
    CloseTimedOut,
}

impl Liveness {
    /// Of a client of which nothing has come for `silent`, that has taken nothing of what waits for it for
    /// `waiting`, and that was sent so many Pings meanwhile.
    fn of(silent: Duration, waiting: Option<Duration>, pings: u64, silence: Duration) -> Liveness {
        let takes_nothing = waiting.is_none_or(|waiting| waiting >= silence);
        if silent >= silence + AFTER_CLOSE && takes_nothing {
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

/// How long the one that is gone is given to answer a close: it may be there after all.
const AFTER_CLOSE: Duration = Duration::from_secs(2);

/// A connection at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub role: Role,
    pub open: Duration,
    /// Messages it has sent.
    pub heard: u64,
    /// Messages that were queued for it.
    pub said: u64,
    /// What of that waits, in bytes.
    pub queued: usize,
    pub quality: Quality,
    /// For how long nothing of what waits was taken.
    pub stalled: Duration,
}

impl ConnectionStats {
    /// A connection that was just accepted.
    pub fn new() -> Arc<Self> {
        Arc::new(ConnectionStats {
            opened: Instant::now(),
            role: AtomicU8::new(Role::Page as u8),
            heard: AtomicU64::default(),
            waits_since: AtomicU64::default(),
            pings: AtomicU64::default(),
            send_queue: OnceLock::new(),
        })
    }

    /// This is what is written to it.
    pub fn has(&self, send_queue: Arc<SendQueue>) {
        // It has no other one.
        let _ = self.send_queue.set(send_queue);
    }

    /// It is open as this from now on.
    pub fn becomes(&self, role: Role) {
        self.role.store(role as u8, Relaxed);
    }

    /// As what it is open.
    pub fn role(&self) -> Role {
        let role = self.role.load(Relaxed);
        Role::ALL.into_iter().find(|known| *known as u8 == role).unwrap_or(Role::Page)
    }

    /// It has said something. For its own thread alone.
    pub fn hears(&self) {
        self.heard.store(self.heard.load(Relaxed) + 1, Relaxed);
    }

    /// Its thread waits for a byte from now on. For that thread alone.
    pub fn waits(&self) {
        self.pings.store(0, Relaxed);
        self.waits_since.store(self.opened.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    /// There is something, or the end. For its own thread alone.
    pub fn reads(&self) {
        self.waits_since.store(0, Relaxed);
    }

    /// Whether the client is still there: it is asked three times within `silence` of which nothing comes,
    /// and it is dead where nothing comes and nothing of what is sent is taken for that long. For one
    /// thread.
    pub fn liveness(&self, silence: Duration) -> Liveness {
        let Some(since) = self.waits_since.load(Relaxed).checked_sub(1) else {
            return Liveness::Alive;
        };
        let silent = self.opened.elapsed().saturating_sub(Duration::from_millis(since));
        let pings = self.pings.load(Relaxed);
        let liveness = Liveness::of(silent, self.waiting().1, pings, silence);
        if liveness == Liveness::NeedsPing {
            self.pings.store(pings + 1, Relaxed);
        }
        liveness
    }

    /// What is written to it.
    pub fn send_queue(&self) -> Option<&Arc<SendQueue>> {
        self.send_queue.get()
    }

    /// What waits for its socket, in bytes, and for how long none of it was taken.
    pub fn waiting(&self) -> (usize, Option<Duration>) {
        self.send_queue
            .get()
            .map_or((0, None), |send_queue| (send_queue.queued(), send_queue.waiting_for()))
    }

    /// How it is doing now.
    pub fn read(&self) -> Reading {
        let (queued, waiting) = self.waiting();
        Reading {
            role: self.role(),
            open: self.opened.elapsed(),
            heard: self.heard.load(Relaxed),
            said: self.send_queue.get().map_or(0, |send_queue| send_queue.pushed()),
            queued,
            quality: Quality::of(waiting),
            stalled: waiting.unwrap_or_default(),
        }
    }
}

impl Quality {
    /// For how long something has waited, if anything does.
    pub fn of(waiting: Option<Duration>) -> Quality {
        match waiting {
            None => Quality::Good,
            Some(waiting) if waiting <= SLOW => Quality::Slow,
            Some(_) => Quality::Stalled,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Slow => "slow",
            Quality::Stalled => "stalled",
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
            stats.becomes(role);
            stats.hears();
            assert_eq!(stats.read().role, role);
        }
        let reading = stats.read();
        assert_eq!((reading.heard, reading.said, reading.queued), (4, 0, 0));
        assert_eq!(reading.quality, Quality::Good, "it has no send_queue yet");
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
            // A slow line: something is still taken.
            (91, Some(5), 3, Liveness::Alive),
            (120, Some(0), 3, Liveness::NeedsPing),
            (1000, Some(89), 50, Liveness::Alive),
        ] {
            let found = Liveness::of(seconds(silent), waiting.map(seconds), pings, seconds(90));
            assert_eq!(found, expected, "{silent} {waiting:?} {pings}");
        }
        let stats = ConnectionStats::new();
        assert_eq!(stats.liveness(Duration::ZERO), Liveness::Alive, "it isn't waited for");
        stats.waits();
        assert_eq!(stats.liveness(seconds(3600)), Liveness::Alive);
        stats.reads();
        assert_eq!(stats.liveness(Duration::ZERO), Liveness::Alive);
    }

    #[test]
    fn two_seconds_without_taking_anything_are_a_stall() {
        for (waiting, quality) in [
            (None, Quality::Good),
            (Some(Duration::ZERO), Quality::Slow),
            (Some(SLOW), Quality::Slow),
            (Some(SLOW + Duration::from_millis(1)), Quality::Stalled),
        ] {
            assert_eq!(Quality::of(waiting), quality, "{waiting:?}");
        }
    }
}
