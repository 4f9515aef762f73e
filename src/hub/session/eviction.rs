//! When a session without members leaves memory.

use std::time::Duration;

use super::Session;
use crate::hub::timers::SessionTimer;
use crate::hub::{Context, Limits};

/// When a session is checked again that has expired and could not be evicted.
const EVICTION_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// What is lost when a session is evicted to make room for another. The smallest is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvictionCost {
    /// The items of the document, or of its largest version; 0 if it is stored.
    items: usize,
    is_viewed: bool,
    /// Several users have been members.
    is_shared: bool,
    /// When the last member left.
    empty_since: Duration,
}

impl Session {
    /// Starts the time after which the session expires, if it has no members and the time isn't running.
    pub fn linger_if_empty(&mut self, cx: &mut Context<'_>) {
        if self.room.is_empty() && self.empty_since.is_none() {
            self.forget_encoded();
            self.empty_since = Some(cx.elapsed());
            self.set_linger_timer(cx);
            if let Some(at) = self.receipts_timer.take() {
                cx.timers.cancel(at, self.room.name(), SessionTimer::Receipts);
            }
        }
    }

    /// Sets a timer for the moment at which the session may expire, unless one is set: members may come and
    /// leave many times meanwhile.
    pub(super) fn set_linger_timer(&mut self, cx: &mut Context<'_>) {
        if let (Some(since), None) = (self.empty_since, self.linger_timer) {
            // A session that has expired and must stay is checked again later.
            let until = match since + cx.limits.linger {
                until if until > cx.elapsed() => until,
                _ => cx.elapsed() + EVICTION_RETRY_INTERVAL,
            };
            self.linger_timer = Some(until);
            cx.timers.set_in_session(until, self.room.name(), SessionTimer::Linger);
        }
    }

    /// Handles the timer: sets it again, as the session was not evicted.
    pub fn linger_timer_fired(&mut self, cx: &mut Context<'_>) {
        if self.linger_timer.take_if(|at| *at <= cx.elapsed()).is_some() {
            self.set_linger_timer(cx);
        }
    }

    /// When the timer fires that checks whether it has expired.
    pub fn linger_timer(&self) -> Option<Duration> {
        self.linger_timer
    }

    /// Whether the session has been without members for [`Limits::linger`], and may leave memory.
    pub fn is_expired(&self, now: Duration, limits: &Limits) -> bool {
        self.empty_since.is_some_and(|since| now >= since + limits.linger)
            && !self.journal.is_at_risk
            && !self.is_held_by_viewers(limits)
    }

    /// Whether it can leave memory at any time: it is stored, and has no members.
    pub(super) fn is_evictable(&self, limits: &Limits) -> bool {
        limits.durable && self.room.is_empty() && !self.journal.is_at_risk
    }

    /// What would be lost with it; `None` if it has to stay. It stays while it has members or isn't stored yet.
    /// Without a store it also stays if more than one item would be lost that may be on no canvas any more: the
    /// document of a single user is on that user's canvas, the document of several users and versions aren't.
    pub fn eviction_cost(&self, limits: &Limits) -> Option<EvictionCost> {
        let empty_since = self.empty_since.filter(|_| self.room.is_empty())?;
        let is_viewed = !self.viewers.is_empty();
        if limits.durable {
            return self.is_evictable(limits).then_some(EvictionCost {
                items: 0,
                is_viewed,
                is_shared: false,
                empty_since,
            });
        }
        let earlier = self.versions.max_items();
        let items = self.document.len().max(earlier);
        let is_shared = self.document.users().nth(1).is_some();
        let is_elsewhere = !is_shared && earlier <= 1;
        (is_elsewhere || items <= 1).then_some(EvictionCost {
            items,
            is_viewed,
            is_shared,
            empty_since,
        })
    }

    /// When the last member left; `None` while there is one.
    pub fn empty_since(&self) -> Option<Duration> {
        self.empty_since
    }
}
