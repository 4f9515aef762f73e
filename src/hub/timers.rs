//! The hub's timers, as data. A timer is never cancelled: what it meant is checked when it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;

/// What is due in a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A session without members may have lingered long enough.
    Linger,
    /// A newcomer has had its time to prove itself a host.
    Arrival(ConnId),
    /// An item may have been still for long enough.
    Settle(Arc<str>),
}

/// Timers by the moment they are due.
#[derive(Debug, Default)]
pub struct Timers {
    due: BinaryHeap<Reverse<(Duration, Arc<str>, Timer)>>,
}

impl Timers {
    /// Sets one more timer for a session.
    pub fn set(&mut self, at: Duration, session: &Arc<str>, timer: Timer) {
        self.due.push(Reverse((at, session.clone(), timer)));
    }

    /// The earliest moment at which one is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the earliest timer that is due at `now`, with its session.
    pub fn pop_due(&mut self, now: Duration) -> Option<(Arc<str>, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, session, timer))| (session, timer))
    }
}
