//! How one connection is doing, for whoever looks at the server from outside.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::outbox::Outbox;
use super::service::Role;

/// For how long something may wait for a client's socket, with none of it taken, before the
/// connection counts as stalled.
pub const SLOW: Duration = Duration::from_secs(2);

/// What is known of one connection. Its own thread writes, any thread reads, nobody waits.
#[derive(Debug)]
pub struct Vitals {
    opened: Instant,
    role: AtomicU8,
    heard: AtomicU64,
    outbox: OnceLock<Arc<Outbox>>,
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

impl Vitals {
    /// A connection that was just accepted.
    pub fn new() -> Arc<Self> {
        Arc::new(Vitals {
            opened: Instant::now(),
            role: AtomicU8::new(Role::Page as u8),
            heard: AtomicU64::default(),
            outbox: OnceLock::new(),
        })
    }

    /// This is what is written to it.
    pub fn has(&self, outbox: Arc<Outbox>) {
        // It has no other one.
        let _ = self.outbox.set(outbox);
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

    /// What waits for its socket, in bytes, and for how long none of it was taken.
    pub fn waiting(&self) -> (usize, Option<Duration>) {
        self.outbox.get().map_or((0, None), |outbox| (outbox.queued(), outbox.waiting_for()))
    }

    /// How it is doing now.
    pub fn read(&self) -> Reading {
        let (queued, waiting) = self.waiting();
        Reading {
            role: self.role(),
            open: self.opened.elapsed(),
            heard: self.heard.load(Relaxed),
            said: self.outbox.get().map_or(0, |outbox| outbox.pushed()),
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
        let vitals = Vitals::new();
        for role in [Role::Member, Role::Viewer, Role::Client, Role::Page] {
            vitals.becomes(role);
            vitals.hears();
            assert_eq!(vitals.read().role, role);
        }
        let reading = vitals.read();
        assert_eq!((reading.heard, reading.said, reading.queued), (4, 0, 0));
        assert_eq!(reading.quality, Quality::Good, "it has no outbox yet");
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
