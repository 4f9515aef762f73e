//! What the other members and the viewers are sent of a command's change, and what is noted of it.

use super::Context;
use super::decide::Edit;
use super::decide::RelayForm;
use super::edit::ChangeKind;
use super::item::Item;
use super::item_frames::{self, UpdateFrames, settled_remove};
use super::reconcile::send_settled;
use super::session::Session;
use super::told::{Audience, Part};
use crate::protocol::Frame;

impl Session {
    /// Tells the other members and the viewers of a change.
    pub(super) fn relay_change(
        &mut self,
        edit: &Edit,
        frame: &Frame,
        kind: &ChangeKind,
        cx: &mut Context<'_>,
    ) {
        match *kind {
            ChangeKind::Added { .. } => self.relay_added(edit, frame, cx),
            ChangeKind::Written { relay, has_turned } => {
                let Some(item) = self.document.get(&edit.id) else { return };
                let part = self.relay_written(edit, item, frame, relay, has_turned, cx);
                self.viewers.send(frame, cx);
                self.record_told(&edit.id, part, Audience::AllBut(Some(edit.user.clone())));
            }
            ChangeKind::Removed { .. } => self.relay_removed(edit, frame, cx),
        }
    }

    /// Tells the others of a new item. A member that has listed the item already is only told what it looks
    /// like.
    fn relay_added(&mut self, edit: &Edit, frame: &Frame, cx: &mut Context<'_>) {
        let Edit { conn, user, id, .. } = edit;
        self.note_owners(id);
        let tick = self.tick;
        let Some(item) = self.document.get(id) else { return };
        let update = UpdateFrames::settled(item, cx.now.wall);
        let seq = self.history.seq();
        // A script may have left out the `_type` that an editor needs.
        let for_editors = item.field("_type").is_none().then(|| {
            let message = item_frames::add(item).string("user_id", user).timestamp(cx.now.wall);
            message.number("seq", seq).finish()
        });
        for member in self.room.iter_mut().filter(|member| member.conn != *conn) {
            if !member.is_recognised() || (member.is_editor && !item.is_for_editors()) {
                continue;
            }
            if !member.has_listed(id) {
                if member.may_list_unknown_items() && cx.limits.settle {
                    cx.send(member.conn, &settled_remove(id, user, cx.now.wall));
                }
                let form = for_editors.as_ref().filter(|_| member.is_editor);
                cx.send(member.conn, form.unwrap_or(frame));
            }
            if cx.limits.settle {
                send_settled(member, &update, cx);
                self.needs_pings |= member.expect_receipt(tick);
            }
        }
        self.viewers.send(frame, cx);
        if cx.limits.settle {
            self.viewers.send(update.plain(), cx);
        }
        self.record_told(id, Part::Whole, Audience::AllBut(Some(user.clone())));
    }

    /// Tells the other members of a change of an item, each in the form that its copy needs. Returns the part
    /// of the item that editors are told.
    fn relay_written(
        &self,
        edit: &Edit,
        item: &Item,
        frame: &Frame,
        relay: RelayForm,
        has_turned: bool,
        cx: &mut Context<'_>,
    ) -> Part {
        let seq = self.history.seq();
        let others =
            self.room.iter().filter(|member| member.conn != edit.conn && member.is_recognised());
        // A locked copy doesn't take the place that it is sent: it is unlocked first.
        let is_locked = cx.limits.settle && item.may_be_locked_before(self.tick);
        let is_for_all = match relay {
            _ if is_locked => false,
            RelayForm::Update => {
                item.is_for_editors() && item.moved_interfaces().is_none() && !item.hides_path()
            }
            _ => item.is_for_editors() && !has_turned && !item_frames::is_turned(item),
        };
        if is_for_all {
            others.for_each(|member| cx.send(member.conn, frame));
            return if relay == RelayForm::Update { Part::Whole } else { Part::Place };
        }
        let writer = item.writer.clone();
        let update = UpdateFrames::change(item, seq, &writer, cx.now.wall);
        let settled = UpdateFrames::settled(item, cx.now.wall);
        let alone = std::cell::OnceCell::new();
        for member in others {
            if is_locked {
                settled.unlocking(member).iter().for_each(|form| cx.send(member.conn, form));
            }
            let form = match relay {
                _ if !member.is_editor => Some(frame),
                _ if !item.is_for_editors() => None,
                RelayForm::Update if member.has_moved_copy(item) || item.hides_path() => {
                    update.for_member(member)
                }
                RelayForm::Update => Some(frame),
                _ if is_locked => update.for_member(member),
                // An editor turns the sign of the angle in a `move_item`.
                _ if has_turned => update.for_member(member),
                _ => Some(alone.get_or_init(|| {
                    let command = item_frames::place_alone(item);
                    let command = command.string("user_id", &writer).timestamp(cx.now.wall);
                    command.number("seq", seq).finish()
                })),
            };
            form.iter().for_each(|form| cx.send(member.conn, form));
        }
        match relay == RelayForm::Update || has_turned || is_locked {
            true => Part::Whole,
            false => Part::Position,
        }
    }

    /// Tells the others that an item is removed.
    fn relay_removed(&mut self, edit: &Edit, frame: &Frame, cx: &mut Context<'_>) {
        self.room.iter_mut().for_each(|member| member.forget_copy(&edit.id));
        self.told_last = self.tick;
        for member in self.room.iter().filter(|member| member.conn != edit.conn) {
            if member.is_recognised() {
                cx.send(member.conn, frame);
            }
        }
        self.viewers.send(frame, cx);
    }

    /// Notes which members built their copies of an item that is new to the document themselves: those that
    /// have listed it before.
    pub(super) fn note_owners(&mut self, id: &str) {
        for member in self.room.iter().filter(|member| member.has_listed(id)) {
            self.document.note_builder(id, &member.user, !member.has_listed_moved(id));
        }
    }

    /// Notes that these users are sent a part of an item at this tick.
    pub(super) fn record_told(&mut self, id: &str, part: Part, to: Audience) {
        let (tick, received) = (self.tick, self.received_by_all);
        if let Some(item) = self.document.get_mut(id) {
            if matches!(to, Audience::Only(_)) {
                // Its values count as values at rest: a single user is told what an item looks like only then.
                item.rests();
            }
            item.told.note(tick, part, to, received);
        }
        self.told_last = tick;
    }

    /// Asks each member that may send whole dictionaries soon what it has received.
    pub(super) fn ask_all_soon(&mut self) {
        for member in self.room.iter_mut() {
            self.needs_pings |= member.expect_receipt(self.tick);
        }
    }
}
