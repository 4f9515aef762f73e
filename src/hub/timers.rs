//! The hub's timers, as data. What a timer meant is checked when it is due; only one that would wait
//! for long after its session is gone is taken back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;

/// What is due, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// In the session of this name.
    Session(Arc<str>, SessionTimer),
    /// On this connection of the client protocol.
    Client(ConnId, ClientTimer),
}

/// What is due in a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionTimer {
    /// A session without members may have lingered long enough.
    Linger,
    /// A newcomer has had its time to prove itself a host.
    Arrival(ConnId),
    /// An item may have been still for long enough.
    Settle(Arc<str>),
    /// The time of a member's key may be over.
    Expiry(ConnId),
    /// Members are asked what they have received.
    Receipts,
}

/// What is due on a connection of the client protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientTimer {
    /// It has had its time to authenticate.
    Authentication,
    /// The time of its key may be over.
    Expiry,
}

/// Timers by the moment they are due.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets one more timer.
    pub fn set(&mut self, at: Duration, timer: Timer) {
        self.due.insert((at, timer));
    }

    /// Sets one more timer for a session.
    pub fn set_in_session(&mut self, at: Duration, session: &Arc<str>, timer: SessionTimer) {
        self.set(at, Timer::Session(session.clone(), timer));
    }

    /// Takes a session's timer back.
    pub fn cancel(&mut self, at: Duration, session: &Arc<str>, timer: SessionTimer) {
        self.due.remove(&(at, Timer::Session(session.clone(), timer)));
    }

    /// The earliest moment at which one is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
