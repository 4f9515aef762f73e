//! Settling: once an item has not been changed for a moment (`settling.rs`), members are told what it looks like.
//!
//! Canvases drift apart in two ways. A sender applies its own change before the changes of others that are
//! numbered earlier, so two users who drag one item see it at different places. And an editor builds remote
//! items without most of their fields, and may show values that were not taken. One `update_item` with the
//! item's whole data mends both.

use std::sync::Arc;
use std::time::Duration;

use super::item::Item;
use super::item_frames::{UpdateFrames, settled_add, settled_blank, settled_remove};
use super::member::Member;
use super::session::Session;
use super::settling::{Correction, Outcome};
use super::timers::SessionTimer;
use super::told::{Audience, Part};
use super::{ConnId, Context};
use crate::protocol::UserId;

/// The number of items among which an item is looked for that is not being changed, to draw rays.
const MAX_ITEMS_SEARCHED: usize = 100;

impl Session {
    /// Records that a user changed an item: it is settled once it has been still.
    pub fn record_item_change(&mut self, user: &UserId, id: &Arc<str>, cx: &mut Context<'_>) {
        if cx.limits.settle {
            let timer = self.settling.record_change(user, id, cx.elapsed());
            self.set_settle_timer(id, timer, cx);
        }
    }

    /// Records that a user's copy may show something else than the document: the user is told once the item has
    /// been still.
    pub fn schedule_correction(
        &mut self,
        user: &UserId,
        id: &Arc<str>,
        correction: Correction,
        cx: &mut Context<'_>,
    ) {
        if cx.limits.settle {
            let timer = self.settling.add_correction(user, id, correction, cx.elapsed());
            self.set_settle_timer(id, timer, cx);
        }
    }

    fn set_settle_timer(&self, id: &Arc<str>, timer: Option<Duration>, cx: &mut Context<'_>) {
        if let Some(timer) = timer {
            cx.timers.set_in_session(timer, self.room.name(), SessionTimer::Settle(id.clone()));
        }
    }

    /// Handles an item's timer: settles the item if it has been still.
    pub fn settle_due(&mut self, id: &Arc<str>, cx: &mut Context<'_>) {
        let now = cx.elapsed();
        if let Some(outcome) = self.settling.on_timer(id, now) {
            self.settle(id, outcome, cx);
        }
        let timer = self.settling.after_timer(id, now);
        self.set_settle_timer(id, timer, cx);
    }

    fn settle(&mut self, id: &Arc<str>, outcome: Outcome, cx: &mut Context<'_>) {
        if self.document.get(id).is_none() {
            return self.settle_removed(id, &outcome, cx);
        }
        if !outcome.corrections.iter().all(|(_, correction)| *correction == Correction::Update) {
            self.note_built_anew(id, &outcome.corrections);
        }
        let Some(item) = self.document.get(id) else { return };
        let (now, tick) = (cx.now.wall, self.tick);
        let frames = UpdateFrames::settled(item, now);
        for member in self.room.iter_mut().filter(|member| member.is_recognised()) {
            let Some(correction) = outcome.correction_for(&member.user) else { continue };
            let can_build = item.is_for_editors() || !member.is_editor;
            if correction == Correction::Rebuild && can_build {
                cx.send(member.conn, &settled_remove(id, &outcome.last_writer, now));
                cx.send(member.conn, &settled_add(item, now));
            }
            send_settled(member, &frames, cx);
            self.needs_pings |= member.expect_receipt(tick);
        }
        if outcome.is_changed {
            self.viewers.send(frames.plain(), cx);
        }
        match outcome.is_changed {
            true => {
                let is_untold = outcome.correction_for(&outcome.last_writer).is_none();
                let untold = is_untold.then_some(outcome.last_writer);
                self.record_told(id, Part::Whole, Audience::AllBut(untold));
            }
            false => outcome.corrections.into_iter().for_each(|(user, _)| {
                self.record_told(id, Part::Whole, Audience::Only(user));
            }),
        }
        if let Some(item) = self.document.get_mut(id) {
            item.rests();
        }
        self.ask_all_soon();
    }

    /// Settles an item that is removed. If one user removed it while another changed it, some canvases may still show
    /// it: it is removed from all.
    fn settle_removed(&mut self, id: &Arc<str>, outcome: &Outcome, cx: &mut Context<'_>) {
        let tick = self.tick;
        let frame = settled_remove(id, &outcome.last_writer, cx.now.wall);
        for member in self.room.iter_mut().filter(|member| member.is_recognised()) {
            // A read-only member that has listed the item keeps it: it is on its own canvas alone.
            if member.has_listed(id) {
                continue;
            }
            let is_planned = outcome.corrections.iter().any(|(user, _)| *user == member.user);
            if outcome.is_contended || is_planned {
                cx.send(member.conn, &frame);
                member.on_removal_sent(id, tick);
                self.needs_pings |= member.expect_receipt(tick);
            }
        }
        if outcome.is_contended {
            self.viewers.send(&frame, cx);
        }
        let remover = self.room.iter().find(|member| member.user == outcome.last_writer);
        let remover = remover.map(|member| member.conn);
        self.redraw_rays(id, remover, cx);
    }

    /// Makes editors draw their rays again after an item was removed. An editor draws them where something
    /// moves, not where something is removed; the editor of the remover has drawn them already. So an item that
    /// is not being changed is moved aside and back. If there is none, an item is built and removed.
    pub(super) fn redraw_rays(&mut self, id: &str, remover: Option<ConnId>, cx: &mut Context<'_>) {
        if !cx.limits.settle {
            return;
        }
        let is_still = |item: &&Item| item.is_for_editors() && !self.settling.is_waiting(&item.id);
        let (now, tick) = (cx.now.wall, self.tick);
        let has_items = self.document.items().any(Item::is_for_editors);
        let still = self.document.items().take(MAX_ITEMS_SEARCHED).find(is_still);
        let still = still.map(|item| item.id.clone());
        let still = still.as_ref().and_then(|id| self.document.get(id));
        let frames = still.map(|item| UpdateFrames::settled(item, now));
        for member in self.room.iter_mut().filter(|member| member.is_editor) {
            if !member.is_recognised() || Some(member.conn) == remover {
                continue;
            }
            match &frames {
                Some(frames) => send_settled(member, frames, cx),
                // An editor that has this item all the same would show it twice.
                None if has_items || member.has_listed(id) => continue,
                None => {
                    cx.send(member.conn, &settled_blank(id, &member.user, now));
                    cx.send(member.conn, &settled_remove(id, &member.user, now));
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

    /// Notes that the copies of the users with a [`Correction::Rebuild`] are about to be built from messages.
    fn note_built_anew(&mut self, id: &Arc<str>, corrections: &[(UserId, Correction)]) {
        let rebuilt = corrections.iter().filter(|(_, known)| *known == Correction::Rebuild);
        for (user, _) in rebuilt {
            self.document.note_builder(id, user, false);
            if let Some(member) = self.room.iter_mut().find(|member| member.user == *user) {
                member.on_item_sent(id, self.tick);
            }
        }
    }

    /// Tells one member at once what an item looks like, because its own change was not taken.
    pub fn correct_now(&mut self, place: usize, id: &str, cx: &mut Context<'_>) {
        if !cx.limits.settle {
            return;
        }
        let tick = self.tick;
        let member = &mut self.room[place];
        match self.document.get(id) {
            Some(item) => {
                send_settled(member, &UpdateFrames::settled(item, cx.now.wall), cx);
                self.needs_pings |= member.expect_receipt(tick);
                let user = member.user.clone();
                self.record_told(id, Part::Whole, Audience::Only(user));
            }
            None => {
                cx.send(member.conn, &settled_remove(id, &member.user, cx.now.wall));
                member.on_removal_sent(id, tick);
            }
        }
    }
}

/// Sends a member what an item looks like. To an editor an update goes first that unlocks its copy, because a
/// locked copy would not take its place.
pub fn send_settled(member: &Member, frames: &UpdateFrames<'_>, cx: &mut Context<'_>) {
    for frame in [frames.unlocking(member), frames.for_member(member)].into_iter().flatten() {
        cx.send(member.conn, frame);
    }
}
