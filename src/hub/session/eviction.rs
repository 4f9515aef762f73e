//! When a session without members leaves memory.

use std::time::Duration;

use super::Session;
use crate::hub::timers::SessionTimer;
use crate::hub::{Limits, Turn};

/// When a session is looked at again that has lingered and could not be forgotten.
const EVICTION_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// How many items it has or had, whether somebody views it, whether several people were there, and when
/// the last one left.
pub type EvictionCost = (usize, bool, bool, Duration);

impl Session {
    /// Lingers from now on, if nobody is there and it doesn't already.
    pub fn linger_if_empty(&mut self, turn: &mut Turn<'_>) {
        if self.room.is_empty() && self.empty_since.is_none() {
            self.forget_encoded();
            self.empty_since = Some(turn.elapsed());
            self.set_linger_timer(turn);
            if let Some(at) = self.receipts_timer.take() {
                turn.timers.cancel(at, self.room.name(), SessionTimer::Receipts);
            }
        }
    }

    /// Sets a timer for the moment at which the session may have lingered for long enough, unless
    /// there is one: it may be left many times meanwhile.
    pub(super) fn set_linger_timer(&mut self, turn: &mut Turn<'_>) {
        if let (Some(since), None) = (self.empty_since, self.linger_timer) {
            // What must not be forgotten although its time is over is looked at again.
            let until = match since + turn.limits.linger {
                until if until > turn.elapsed() => until,
                _ => turn.elapsed() + EVICTION_RETRY_INTERVAL,
            };
            self.linger_timer = Some(until);
            turn.timers.set_in_session(until, self.room.name(), SessionTimer::Linger);
        }
    }

    /// The timer has fired, and the session is still there.
    pub fn linger_timer_fired(&mut self, turn: &mut Turn<'_>) {
        if self.linger_timer.take_if(|at| *at <= turn.elapsed()).is_some() {
            self.set_linger_timer(turn);
        }
    }

    /// When it sees whether it has lingered, if that is to be seen.
    pub fn linger_timer(&self) -> Option<Duration> {
        self.linger_timer
    }

    /// Whether the session has been without members for as long as it is kept in memory.
    pub fn is_expired(&self, now: Duration, limits: &Limits) -> bool {
        self.empty_since.is_some_and(|since| now >= since + limits.linger)
            && !self.keeping.is_at_risk
            && !self.is_held_by_viewers(limits)
    }

    /// Whether it can leave memory at any time: it is stored, and nobody but viewers is there.
    pub(super) fn is_evictable(&self, limits: &Limits) -> bool {
        limits.durable && self.room.is_empty() && !self.keeping.is_at_risk
    }

    /// What would be lost with it, if another session took its place: the least is the first to go. `None`
    /// where it stays: somebody is there, it isn't stored yet, or more than an item would be lost that nobody
    /// has any more. One person's canvas is on that person's screen, too; its earlier versions are nowhere else.
    pub fn eviction_cost(&self, limits: &Limits) -> Option<EvictionCost> {
        let since = self.empty_since.filter(|_| self.room.is_empty())?;
        let is_viewed = !self.viewers.is_empty();
        if limits.durable {
            return self.is_evictable(limits).then_some((0, is_viewed, false, since));
        }
        let earlier = self.versions.max_items();
        let items = self.document.len().max(earlier);
        let is_shared = self.document.users().nth(1).is_some();
        let is_elsewhere = !is_shared && earlier <= 1;
        (is_elsewhere || items <= 1).then_some((items, is_viewed, is_shared, since))
    }

    /// When the last member left; `None` while there is one.
    pub fn empty_since(&self) -> Option<Duration> {
        self.empty_since
    }
}
