//! Which items were changed lately or wait to be settled: once an item has not been changed for
//! [`SETTLE_DELAY`], `reconcile.rs` tells members what it looks like. Knows times and users, no member.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::UserId;

/// The time for which an item has to be still before it is settled.
const SETTLE_DELAY: Duration = Duration::from_millis(300);
/// If two users change an item within this time, both are told how it ended, the last writer too.
const CONTENTION_WINDOW: Duration = Duration::from_secs(2);

/// The items that commands have changed within [`CONTENTION_WINDOW`] or that wait to be settled. Each has one
/// timer, whose time the functions here return where it has to be set.
#[derive(Debug, Default)]
pub struct Settling {
    items: HashMap<Arc<str>, Activity>,
}

/// What happened to one item lately.
#[derive(Debug)]
struct Activity {
    /// The user of the last change.
    last_writer: UserId,
    /// The users who changed it, and when each did last.
    changes: Vec<(UserId, Duration)>,
    /// The users who are told even if the last change was theirs.
    corrections: Vec<(UserId, Correction)>,
    /// When it will have been still for long enough; `None` once it is settled.
    due: Option<Duration>,
    /// When its timer fires.
    timer: Duration,
}

/// What a member has to be told because its canvas may show something else than the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Correction {
    /// An update: its copy may show other values.
    Update,
    /// A removal and an add: it may have no copy, or one that messages don't reach.
    Rebuild,
}

/// Whom to tell how an item ended.
pub struct Outcome {
    pub last_writer: UserId,
    pub corrections: Vec<(UserId, Correction)>,
    pub is_changed: bool,
    pub is_contended: bool,
}

impl Settling {
    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Records that a user changed an item.
    pub fn record_change(
        &mut self,
        user: &UserId,
        id: &Arc<str>,
        now: Duration,
    ) -> Option<Duration> {
        let activity = self.activity(user, id);
        activity.last_writer = user.clone();
        activity.changes.retain(|(known, at)| known != user && *at + CONTENTION_WINDOW >= now);
        activity.changes.push((user.clone(), now));
        activity.settle_at(now + SETTLE_DELAY)
    }

    /// Records that a user has to be told of an item.
    pub fn add_correction(
        &mut self,
        user: &UserId,
        id: &Arc<str>,
        correction: Correction,
        now: Duration,
    ) -> Option<Duration> {
        let activity = self.activity(user, id);
        activity.add_correction(user, correction);
        activity.settle_at(now + SETTLE_DELAY)
    }

    /// Handles an item's timer. Returns whom to tell, if the item has been still for long enough.
    pub fn on_timer(&mut self, id: &Arc<str>, now: Duration) -> Option<Outcome> {
        let activity = self.items.get_mut(id).filter(|activity| activity.timer <= now)?;
        activity.due.filter(|due| *due <= now)?;
        activity.due = None;
        Some(Outcome {
            is_changed: !activity.changes.is_empty(),
            is_contended: activity.is_contended(),
            corrections: std::mem::take(&mut activity.corrections),
            last_writer: activity.last_writer.clone(),
        })
    }

    /// Follows [`on_timer`](Self::on_timer): sets the item's next timer, or forgets the item after
    /// [`CONTENTION_WINDOW`].
    pub fn after_timer(&mut self, id: &Arc<str>, now: Duration) -> Option<Duration> {
        let activity = self.items.get_mut(id).filter(|activity| activity.timer <= now)?;
        let last = activity.changes.iter().map(|(_, at)| *at).max().unwrap_or_default();
        let wake = activity.due.unwrap_or(last + CONTENTION_WINDOW);
        if wake <= now {
            self.items.remove(id);
            return None;
        }
        activity.timer = wake;
        Some(wake)
    }

    /// Whether an item waits to be settled.
    pub fn is_waiting(&self, id: &str) -> bool {
        self.items.get(id).is_some_and(|activity| activity.due.is_some())
    }

    fn activity(&mut self, user: &UserId, id: &Arc<str>) -> &mut Activity {
        self.items.entry(id.clone()).or_insert_with(|| Activity {
            last_writer: user.clone(),
            changes: Vec::new(),
            corrections: Vec::new(),
            due: None,
            timer: Duration::MAX,
        })
    }
}

impl Activity {
    /// Sets the time at which the item is settled. A timer that fires earlier stays:
    /// [`Settling::after_timer`] sets it anew.
    fn settle_at(&mut self, due: Duration) -> Option<Duration> {
        self.due = Some(due);
        let is_earlier = due < self.timer;
        is_earlier.then(|| {
            self.timer = due;
            due
        })
    }

    /// Adds a correction. Of two for one user the stronger one stays.
    fn add_correction(&mut self, user: &UserId, correction: Correction) {
        match self.corrections.iter_mut().find(|(known, _)| known == user) {
            Some((_, known)) => *known = correction.max(*known),
            None => self.corrections.push((user.clone(), correction)),
        }
    }

    /// Whether other users than the last writer changed the item within [`CONTENTION_WINDOW`] of the last
    /// change.
    fn is_contended(&self) -> bool {
        let is_by_another = |(user, at): &(UserId, Duration), last: Duration| {
            *user != self.last_writer && *at + CONTENTION_WINDOW >= last
        };
        let last = self.changes.iter().map(|(_, at)| *at).max();
        last.is_some_and(|last| self.changes.iter().any(|change| is_by_another(change, last)))
    }
}

impl Outcome {
    /// What a user has to be told: after a change each user an update, except its last writer. The last writer
    /// is told too if others changed the item at the same time.
    pub fn correction_for(&self, user: &UserId) -> Option<Correction> {
        let planned = self.corrections.iter().find(|(known, _)| known == user);
        let is_told = self.is_changed && (*user != self.last_writer || self.is_contended);
        planned.map(|(_, correction)| *correction).max(is_told.then_some(Correction::Update))
    }
}
