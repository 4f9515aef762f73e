//! The hub's timers, as data. A handler checks whether its timer still applies, so timers needn't be cancelled;
//! only those are that would stay for long after their session is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;

/// What a timer is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A timer of the session of this name.
    Session(Arc<str>, SessionTimer),
    /// A timer of a connection of the client protocol.
    Client(ConnId, ClientTimer),
}

/// A timer of a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionTimer {
    /// A session without members may have expired.
    Linger,
    /// A newcomer has had its time to show its canvas.
    Arrival(ConnId),
    /// An item may have been still for long enough to be settled.
    Settle(Arc<str>),
    /// The key of a member or viewer may have expired.
    Expiry(ConnId),
    /// Members are pinged for what they have received.
    Receipts,
}

/// A timer of a connection of the client protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientTimer {
    /// The connection has had its time to authenticate.
    Authentication,
    /// Its key may have expired.
    Expiry,
}

/// Timers, in the order in which they are due.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets a timer. `at` is the time since the hub's start.
    pub fn set(&mut self, at: Duration, timer: Timer) {
        self.due.insert((at, timer));
    }

    /// Sets a timer of a session.
    pub fn set_in_session(&mut self, at: Duration, session: &Arc<str>, timer: SessionTimer) {
        self.set(at, Timer::Session(session.clone(), timer));
    }

    /// Cancels a session's timer.
    pub fn cancel(&mut self, at: Duration, session: &Arc<str>, timer: SessionTimer) {
        self.due.remove(&(at, Timer::Session(session.clone(), timer)));
    }

    /// When the first timer is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The number of timers.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Removes and returns the first timer, if it is due at `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
