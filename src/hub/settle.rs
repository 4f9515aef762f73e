//! Settling: when an item has been still for a moment, everyone is told what it looks like.
//!
//! A sender applies its own change early, so two people who drag one item end up with different
//! canvases although the order is one; and the editor builds remote items blank, and may show values
//! that were not taken. One `update_item` with the item's whole data puts all of that right.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::item::Item;
use super::item_frames::{UpdateFrames, settled_add, settled_blank, settled_remove};
use super::session::Session;
use super::timers::SessionTimer;
use super::told::{Audience, Part};
use super::{ConnId, Turn};
use crate::protocol::UserId;

/// How long an item has to be still.
const SETTLE_DELAY: Duration = Duration::from_millis(300);
/// Whoever changed an item so shortly before somebody else did is told how it ended.
const CONTENTION: Duration = Duration::from_secs(2);

/// Among how many items one is looked for that isn't being changed.
const MAX_SEARCHED: usize = 100;

/// The items that were changed by commands a short while ago.
#[derive(Debug, Default)]
pub struct Settling {
    items: HashMap<Arc<str>, Activity>,
}

/// What happened to one item lately.
#[derive(Debug)]
struct Activity {
    writer: UserId,
    /// Who changed it, and when last.
    changes: Vec<(UserId, Duration)>,
    /// The users who have to be told although the last change was theirs.
    owed: Vec<(UserId, Correction)>,
    /// When it will have been still; `None` where everyone knows it already.
    due: Option<Duration>,
    /// When its timer fires.
    timer: Duration,
}

/// What a member has to be told of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Correction {
    /// What it looks like: its copy may show something else.
    Update,
    /// To build it anew: whether it has the item at all is not known.
    Rebuild,
}

impl Settling {
    /// How many items it is about.
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

impl Activity {
    fn by(user: &UserId) -> Self {
        Activity {
            writer: user.clone(),
            changes: Vec::new(),
            owed: Vec::new(),
            due: None,
            timer: Duration::MAX,
        }
    }

    fn owes(&mut self, user: &UserId, owed: Correction) {
        match self.owed.iter_mut().find(|(known, _)| known == user) {
            Some((_, known)) => *known = owed.max(*known),
            None => self.owed.push((user.clone(), owed)),
        }
    }
}

impl Session {
    /// Records that a user changed an item, so that everyone is told in a moment how it ended.
    pub fn record_item_change(&mut self, user: &UserId, id: &Arc<str>, turn: &mut Turn<'_>) {
        if !turn.limits.settle {
            return;
        }
        let now = turn.elapsed();
        let activity = self.activity(user, id);
        activity.writer = user.clone();
        activity.changes.retain(|(known, at)| known != user && *at + CONTENTION >= now);
        activity.changes.push((user.clone(), now));
        self.settle_at(id, now + SETTLE_DELAY, turn);
    }

    /// Records that a user's copy may show something else than the document, so that the user is told in
    /// a moment what the item looks like.
    pub fn schedule_correction(
        &mut self,
        user: &UserId,
        id: &Arc<str>,
        owed: Correction,
        turn: &mut Turn<'_>,
    ) {
        if turn.limits.settle {
            self.activity(user, id).owes(user, owed);
            self.settle_at(id, turn.elapsed() + SETTLE_DELAY, turn);
        }
    }

    fn activity(&mut self, user: &UserId, id: &Arc<str>) -> &mut Activity {
        self.settling.items.entry(id.clone()).or_insert_with(|| Activity::by(user))
    }

    fn settle_at(&mut self, id: &Arc<str>, due: Duration, turn: &mut Turn<'_>) {
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        activity.due = Some(due);
        if due < activity.timer {
            activity.timer = due;
            turn.timers.set_in_session(due, self.room.name(), SessionTimer::Settle(id.clone()));
        }
    }

    /// An item's timer has fired: settles it if it has been still, forgets it if it was long ago.
    pub fn settle_due(&mut self, id: &Arc<str>, turn: &mut Turn<'_>) {
        let now = turn.elapsed();
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        if activity.timer > now {
            return;
        }
        if activity.due.is_some_and(|due| due <= now) {
            activity.due = None;
            self.settle(id, turn);
        }
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        let last = activity.changes.iter().map(|(_, at)| *at).max().unwrap_or_default();
        let wake = activity.due.unwrap_or(last + CONTENTION);
        if wake <= now {
            self.settling.items.remove(id);
        } else {
            activity.timer = wake;
            turn.timers.set_in_session(wake, self.room.name(), SessionTimer::Settle(id.clone()));
        }
    }

    fn settle(&mut self, id: &Arc<str>, turn: &mut Turn<'_>) {
        let Some(activity) = self.settling.items.get_mut(id) else { return };
        let owed = std::mem::take(&mut activity.owed);
        let writer = activity.writer.clone();
        let last = activity.changes.iter().map(|(_, at)| *at).max();
        let is_changed = last.is_some();
        let is_contended = last.is_some_and(|last| {
            activity.changes.iter().any(|(user, at)| *user != writer && *at + CONTENTION >= last)
        });
        let owed_to = |user: &UserId| {
            let owed = owed.iter().find(|(known, _)| known == user).map(|(_, owed)| *owed);
            let is_told = is_changed && (*user != writer || is_contended);
            owed.max(is_told.then_some(Correction::Update))
        };
        let now = turn.now.wall;
        let tick = self.tick;
        if self.document.get(id).is_none() {
            // Removed by one, changed by another: it must not be left on any canvas.
            let frame = settled_remove(id, &writer, now);
            for member in self.room.iter_mut().filter(|member| member.is_recognised()) {
                // A watcher's own item stays on its canvas.
                if member.has_listed(id) {
                    continue;
                }
                if is_contended || owed.iter().any(|(user, _)| *user == member.user) {
                    turn.send(member.conn, &frame);
                    member.on_removal_sent(id, tick);
                    self.needs_pings |= member.expect_receipt(tick);
                }
            }
            if is_contended {
                self.viewers.send(&frame, turn);
            }
            let remover = self.room.iter().find(|member| member.user == writer);
            let remover = remover.map(|member| member.conn);
            return self.redraw_rays(id, remover, turn);
        }
        if !owed.iter().all(|(_, owed)| *owed == Correction::Update) {
            self.note_built_anew(id, &owed);
        }
        let Some(item) = self.document.get(id) else { return };
        let frames = UpdateFrames::settled(item, now);
        for member in self.room.iter_mut().filter(|member| member.is_recognised()) {
            let Some(owed) = owed_to(&member.user) else { continue };
            if owed == Correction::Rebuild && (item.is_for_editors() || !member.is_editor) {
                turn.send(member.conn, &settled_remove(id, &writer, now));
                turn.send(member.conn, &settled_add(item, now));
            }
            send_settled(member, &frames, turn);
            self.needs_pings |= member.expect_receipt(tick);
        }
        if is_changed {
            self.viewers.send(frames.plain(), turn);
        }
        let untold = owed_to(&writer).is_none().then(|| writer.clone());
        match is_changed {
            true => self.record_told(id, Part::Whole, Audience::AllBut(untold)),
            false => {
                owed.into_iter().for_each(|(user, _)| {
                    self.record_told(id, Part::Whole, Audience::Only(user));
                });
            }
        }
        if let Some(item) = self.document.get_mut(id) {
            item.rests();
        }
        self.ask_all_soon();
    }

    /// Has editors draw their rays anew after an item was removed: they do where something moves, so an
    /// item that is not being changed is put aside and back; where there is none, one is built and
    /// removed. The editor that removed it has drawn them already.
    pub(super) fn redraw_rays(&mut self, id: &str, remover: Option<ConnId>, turn: &mut Turn<'_>) {
        if !turn.limits.settle {
            return;
        }
        let is_still = |item: &&Item| {
            let activity = self.settling.items.get(&item.id);
            item.is_for_editors() && activity.is_none_or(|activity| activity.due.is_none())
        };
        let (now, tick) = (turn.now.wall, self.tick);
        let has_items = self.document.items().any(Item::is_for_editors);
        let still = self.document.items().take(MAX_SEARCHED).find(is_still);
        let still = still.map(|item| item.id.clone());
        let still = still.as_ref().and_then(|id| self.document.get(id));
        let frames = still.map(|item| UpdateFrames::settled(item, now));
        for member in self.room.iter_mut().filter(|member| member.is_editor) {
            if !member.is_recognised() || Some(member.conn) == remover {
                continue;
            }
            match &frames {
                Some(frames) => send_settled(member, frames, turn),
                // Of an item that it has all the same it would be shown another.
                None if has_items || member.has_listed(id) => continue,
                None => {
                    turn.send(member.conn, &settled_blank(id, &member.user, now));
                    turn.send(member.conn, &settled_remove(id, &member.user, now));
                }
            }
            self.needs_pings |= member.expect_receipt(tick);
        }
        let untold = self.room.iter().find(|member| Some(member.conn) == remover);
        let untold = untold.map(|member| member.user.clone());
        if let Some(id) = still.map(|item| item.id.clone()) {
            self.record_told(&id, Part::Whole, Audience::AllBut(untold));
        }
        self.ask_all_soon();
    }

    /// Notes that the copies of these users are about to be built anew.
    fn note_built_anew(&mut self, id: &Arc<str>, owed: &[(UserId, Correction)]) {
        for (user, _) in owed.iter().filter(|(_, owed)| *owed == Correction::Rebuild) {
            self.document.note_builder(id, user, false);
            if let Some(member) = self.room.iter_mut().find(|member| member.user == *user) {
                member.on_item_sent(id, self.tick);
            }
        }
    }

    /// Tells one member at once what an item looks like: its own change was not taken.
    pub fn correct_now(&mut self, place: usize, id: &str, turn: &mut Turn<'_>) {
        if !turn.limits.settle {
            return;
        }
        let tick = self.tick;
        let member = &mut self.room[place];
        match self.document.get(id) {
            Some(item) => {
                send_settled(member, &UpdateFrames::settled(item, turn.now.wall), turn);
                self.needs_pings |= member.expect_receipt(tick);
                let user = member.user.clone();
                self.record_told(id, Part::Whole, Audience::Only(user));
            }
            None => {
                turn.send(member.conn, &settled_remove(id, &member.user, turn.now.wall));
                member.on_removal_sent(id, tick);
            }
        }
    }
}

/// Sends a member what an item looks like, in a way that it takes whatever its copy shows.
pub fn send_settled(
    member: &super::member::Member,
    frames: &UpdateFrames<'_>,
    turn: &mut Turn<'_>,
) {
    for frame in [frames.unlocking(member), frames.for_member(member)].into_iter().flatten() {
        turn.send(member.conn, frame);
    }
}
