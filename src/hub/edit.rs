//! A command from end to end: [`Session::command`] is its pipeline.
//!
//! `decide.rs` says what a command does, this file does it, and `relay.rs` tells the other members.

use std::borrow::Cow;

use super::Context;
use super::activity::ActivityKind;
use super::bounds::TooBig;
use super::decide::{Decision, Edit, RelayForm};
use super::document::Author;
use super::field_changes::FieldChanges;
use super::incoming::{Sender, continued, relayed};
use super::item::PLACE;
use super::item_frames::{self, settled_remove};
use super::item_summary::ItemSummary;
use super::journaling::AppliedChange;
use super::message_name::MessageName;
use super::notes::Note;
use super::session::Session;
use super::settling::Correction;
use super::writing::{Written, color_print};
use crate::journal::SnapshotReason;
use crate::protocol::inbound::{Action, Command};
use crate::protocol::json::Fields;
use crate::protocol::outbound::Message;
use crate::protocol::{Frame, UserId};

/// What a command has changed in the document.
pub(super) struct CommandChange {
    /// The message to the other members, without its `seq`.
    message: Message,
    /// The message leaves out a part of the item, so the store is given the whole document instead.
    hides_path: bool,
    pub kind: ChangeKind,
    /// The fields that it writes, for the activity log.
    changes: FieldChanges,
}

/// What a command has done to its item.
#[derive(Clone)]
pub(super) enum ChangeKind {
    /// `is_wiped`: something on its way to the sender may remove its copy again.
    Added { is_pasted: bool, is_wiped: bool },
    /// `has_turned`: the item's angle is another one now.
    Written { relay: RelayForm, has_turned: bool },
    /// `item` is how the activity log names it. `is_crossed`: something about the item may have been on its way
    /// to the sender.
    Removed { item: ItemSummary, is_crossed: bool },
}

/// What may have been on its way to the sender of a command when it sent the command.
#[derive(Clone, Copy)]
struct Crossing {
    /// Something about the item.
    is_crossed: bool,
    /// The item itself, so that the sender will show it twice.
    has_second_copy: bool,
}

impl Session {
    /// Handles a command. The order of the steps is a rule: a change is numbered before it is given to the
    /// store, so that the store gets changes in order, and confirmed last, so that everything before the
    /// confirmation is stored and sent first.
    pub(super) fn command(&mut self, place: usize, mut command: Command, cx: &mut Context<'_>) {
        let name = MessageName { id: command.id.take(), content: command.content };
        if self.answer_repeated(place, &name, "command", cx) {
            return;
        }
        if command.action == Action::Other {
            return self.relay_unknown_command(place, &command, name, cx);
        }
        let mut edit = self.begin_edit(place, command, name);
        let crossing = self.find_crossing(&edit, cx);
        let decision = self.decide(&mut edit, cx);
        if edit.command.action == Action::Add {
            self.document.note_builder(&edit.id, &edit.user, true);
        }
        match self.apply(&mut edit, decision, cx) {
            Ok(Some(CommandChange { message, hides_path, kind, changes })) => {
                let frame = self.number_message(message, 0, cx);
                self.journal_edit(&edit, &frame, hides_path, cx);
                self.record_activity(&edit, &kind, changes, cx);
                self.relay_change(&edit, &frame, &kind, cx);
                self.reconcile_change(&edit, &kind, cx);
            }
            Ok(None) => {}
            Err(why) => return self.refuse_edit(&edit, why, cx),
        }
        self.correct_sender(&edit, crossing, cx);
        self.confirm(place, edit.name, "command", cx);
    }

    /// Relays a command whose action the server doesn't know: it changes no document.
    fn relay_unknown_command(
        &mut self,
        place: usize,
        command: &Command,
        name: MessageName,
        cx: &mut Context<'_>,
    ) {
        let Sender { conn, user } = self.sender(place);
        let frame = relayed(&command.body, &user, cx).finish();
        self.journal_name(&user, &name, cx);
        self.tell_others(conn, &frame, cx);
        self.confirm(place, name, "command", cx);
    }

    fn begin_edit(&mut self, place: usize, command: Command, name: MessageName) -> Edit {
        let Sender { conn, user } = self.sender(place);
        self.room[place].note_edit();
        let known = self.document.get(&command.item_id);
        let id = known.map_or_else(|| command.item_id.as_ref().into(), |item| item.id.clone());
        Edit { place, conn, user, id, command, name }
    }

    /// Says what the sender may not have received yet of the item that its command is about, and notes it.
    fn find_crossing(&mut self, edit: &Edit, cx: &Context<'_>) -> Crossing {
        let known = self.document.get(&edit.id);
        let member = &mut self.room[edit.place];
        let is_crossed = known.is_some_and(|item| member.may_be_crossed(item));
        if is_crossed {
            member.note_crossing(cx.elapsed());
        }
        let has_second_copy = edit.command.action == Action::Update
            && edit.command.is_whole
            && cx.limits.settle
            && known.is_some_and(|item| member.has_second_copy(item));
        Crossing { is_crossed, has_second_copy }
    }

    /// Does what was decided. Returns the change to be relayed, or `None` where the document stays as it is.
    ///
    /// # Errors
    ///
    /// The document or the server's memory has no room for the change. Then nothing was changed.
    fn apply(
        &mut self,
        edit: &mut Edit,
        decision: Decision,
        cx: &mut Context<'_>,
    ) -> Result<Option<CommandChange>, TooBig> {
        match decision {
            Decision::Add { is_pasted } => self.apply_add(edit, is_pasted, cx),
            Decision::Write { fields, relay, is_stale } => {
                self.correct_if_stale(edit, is_stale, cx);
                self.apply_write(edit, fields, relay, cx)
            }
            Decision::Remove => Ok(self.apply_removal(edit, cx)),
            Decision::RemoveAgain => {
                self.journal_name(&edit.user, &edit.name, cx);
                if self.document.remove_again(&edit.id, &edit.user) {
                    let note = Note::RemovedAgain((&*edit.id).into());
                    self.journal_note(&edit.user, &note, cx);
                }
                Ok(None)
            }
            Decision::Nothing { is_stale } => {
                self.journal_name(&edit.user, &edit.name, cx);
                self.correct_if_stale(edit, is_stale, cx);
                Ok(None)
            }
            Decision::Removed { is_unreachable } => {
                self.journal_name(&edit.user, &edit.name, cx);
                self.answer_edit_of_removed(edit, is_unreachable, cx);
                Ok(None)
            }
        }
    }

    fn apply_add(
        &mut self,
        edit: &mut Edit,
        is_pasted: bool,
        cx: &Context<'_>,
    ) -> Result<Option<CommandChange>, TooBig> {
        let Edit { place, user, id, command, .. } = edit;
        let fields = std::mem::take(&mut command.data);
        let written = Written { color: color_print(&fields), ..Written::default() };
        let item_type = command.item_type.as_deref();
        let author = self.author(user, cx);
        let member = &self.room[*place];
        let tombstone = self.document.removed().get(id).map(|tombstone| tombstone.tick);
        let is_removed_again =
            tombstone.is_some_and(|tick| member.is_on_its_way(tick.max(member.removal_sent_at)));
        let is_wiped = member.may_be_wiped() || is_removed_again;
        self.document.add(id, fields, item_type, author, cx.allowance())?;
        let member = &mut self.room[*place];
        match is_pasted {
            true => member.note_pasted(id, is_wiped),
            false => member.note_listed(id, author.tick),
        }
        member.note_brought(id);
        member.note_reported_in_list(id, &written, author.tick);
        let Some(item) = self.document.get(id) else { return Ok(None) };
        let message = match is_pasted || item.hides_path() {
            false => relayed(&command.body, user, cx),
            // An editor builds an item of the type that the command has, so the command needs one.
            true if command.item_type.is_none() => {
                item_frames::add(item).string("user_id", user).timestamp(cx.now.wall)
            }
            true => {
                let head = command.body.with_data("add_item", |json| item.write(json));
                continued(&head, user, cx)
            }
        };
        let kind = ChangeKind::Added { is_pasted, is_wiped };
        let (hides_path, changes) = (item.hides_path(), FieldChanges::default());
        Ok(Some(CommandChange { message, hides_path, kind, changes }))
    }

    fn apply_write(
        &mut self,
        edit: &Edit,
        fields: Fields,
        relay: RelayForm,
        cx: &Context<'_>,
    ) -> Result<Option<CommandChange>, TooBig> {
        let Edit { user, id, command, .. } = edit;
        let turns = fields.iter().any(|(key, _)| **key == *PLACE[2]);
        let before = turns.then(|| self.document.get(id).map(|item| item.angle())).flatten();
        let item = self.document.get(id);
        let changes = item.map(|item| FieldChanges::of(item, &fields)).unwrap_or_default();
        self.document.overwrite(id, fields, self.author(user, cx), cx.allowance())?;
        let Some(item) = self.document.get(id) else { return Ok(None) };
        let hides_path = item.hides_path() && relay == RelayForm::Update;
        let has_turned = turns && before != Some(item.angle());
        let head = match relay {
            RelayForm::AsSent => Cow::Borrowed(command.body.head()),
            RelayForm::Move => command.body.with_data("move_item", |json| item.write(json)).into(),
            RelayForm::Update => command
                .body
                .with_data("update_item", |json| item_frames::write_whole(item, json))
                .into(),
        };
        let kind = ChangeKind::Written { relay, has_turned };
        let message = continued(&head, user, cx);
        Ok(Some(CommandChange { message, hides_path, kind, changes }))
    }

    fn apply_removal(&mut self, edit: &Edit, cx: &Context<'_>) -> Option<CommandChange> {
        let item = self.document.get(&edit.id)?;
        let is_crossed = self.room[edit.place].may_be_crossed(item);
        let kind = ChangeKind::Removed { item: ItemSummary::of(item), is_crossed };
        self.document.remove(&edit.id, self.author(&edit.user, cx));
        let message = relayed(&edit.command.body, &edit.user, cx);
        let changes = FieldChanges::default();
        Some(CommandChange { message, hides_path: false, kind, changes })
    }

    /// Tells the sender that another user removed the item.
    fn answer_edit_of_removed(&mut self, edit: &Edit, is_unreachable: bool, cx: &mut Context<'_>) {
        if edit.command.is_whole {
            self.document.note_said_of_removed(&edit.id, &edit.command.data);
        }
        if is_unreachable {
            self.room[edit.place].note_pasted(&edit.id, false);
            self.send_second_ack(edit.place, cx);
        }
        cx.send(edit.conn, &settled_remove(&edit.id, &edit.user, cx.now.wall));
        self.room[edit.place].on_removal_sent(&edit.id, self.tick);
    }

    /// Numbers the message of a change, completes it and appends it to the history.
    pub fn number_message(
        &mut self,
        message: Message,
        version: u64,
        cx: &mut Context<'_>,
    ) -> Frame {
        let frame = message.number("seq", self.history.next_seq()).finish();
        self.document.advance(version);
        self.history.push(frame.clone(), cx.limits.history);
        frame
    }

    /// Gives a change to the store: its frame, or the whole document where the frame leaves out a part of the
    /// item.
    fn journal_edit(&mut self, edit: &Edit, frame: &Frame, hides_path: bool, cx: &mut Context<'_>) {
        let id = edit.name.stored();
        if hides_path {
            let frames = vec![frame.clone()];
            let change = AppliedChange { user: &edit.user, frames, id: id.as_deref() };
            return self.journal_with_document(change, SnapshotReason::Regular, cx);
        }
        self.journal_change(&edit.user, frame, id.as_deref(), cx);
    }

    /// Adds a change to the activity log.
    fn record_activity(
        &mut self,
        edit: &Edit,
        kind: &ChangeKind,
        changes: FieldChanges,
        cx: &Context<'_>,
    ) {
        let did = match kind {
            ChangeKind::Added { .. } => ActivityKind::Add,
            ChangeKind::Written { relay: RelayForm::Update, .. } => ActivityKind::Update,
            ChangeKind::Written { .. } => ActivityKind::Move,
            ChangeKind::Removed { item, .. } => {
                let seq = self.history.seq();
                let item = Some(item.clone());
                return self.activity.note_removed(seq, &edit.user, item, cx.now);
            }
        };
        let Some(item) = self.document.get(&edit.id) else { return };
        self.activity.note_item(self.history.seq(), &edit.user, did, item, changes, cx.now);
    }

    /// Plans what the members have to be told after a change so that all canvases show the same.
    fn reconcile_change(&mut self, edit: &Edit, kind: &ChangeKind, cx: &mut Context<'_>) {
        match *kind {
            ChangeKind::Added { is_pasted, is_wiped } => {
                match is_pasted && self.room[edit.place].is_editor {
                    // Its answer shows whether its copy is still there.
                    true => self.send_second_ack(edit.place, cx),
                    false if is_wiped => {
                        self.schedule_correction(&edit.user, &edit.id, Correction::Rebuild, cx);
                    }
                    false => {}
                }
            }
            ChangeKind::Written { .. } => self.record_item_change(&edit.user, &edit.id, cx),
            ChangeKind::Removed { is_crossed, .. } => {
                if is_crossed && cx.limits.settle {
                    // What was on its way to the sender may have brought the item back.
                    cx.send(edit.conn, &settled_remove(&edit.id, &edit.user, cx.now.wall));
                    self.room[edit.place].on_removal_sent(&edit.id, self.tick);
                }
                self.record_item_change(&edit.user, &edit.id, cx);
            }
        }
    }

    /// Plans what the sender has to be told because a message was on its way to it when it sent the command.
    fn correct_sender(&mut self, edit: &Edit, crossing: Crossing, cx: &mut Context<'_>) {
        if crossing.has_second_copy {
            // The server doesn't know which of the two copies the editor shows. The one that messages reach is
            // removed. The answer to the second `connection:ack` shows when they reach the other one; then that
            // one is built anew.
            cx.send(edit.conn, &settled_remove(&edit.id, &edit.user, cx.now.wall));
            let member = &mut self.room[edit.place];
            member.on_removal_sent(&edit.id, self.tick);
            member.note_pasted(&edit.id, true);
            self.send_second_ack(edit.place, cx);
        } else if crossing.is_crossed {
            self.schedule_correction(&edit.user, &edit.id, Correction::Update, cx);
        }
    }

    fn correct_if_stale(&mut self, edit: &Edit, is_stale: bool, cx: &mut Context<'_>) {
        if is_stale {
            self.schedule_correction(&edit.user, &edit.id, Correction::Update, cx);
        }
    }

    /// Refuses a command for which there is no room.
    fn refuse_edit(&mut self, edit: &Edit, why: TooBig, cx: &mut Context<'_>) {
        let message_id = edit.name.id.as_ref();
        self.refuse_as_too_big(edit.place, why, "command", message_id, Some(&edit.id), cx);
        // An item that the sender has just placed is removed from its canvas: else its user would work on
        // without knowing that the others don't see it. One that it has pasted, or from a canvas that was
        // refused, stays.
        if edit.command.action == Action::Add || self.document.get(&edit.id).is_some() {
            self.correct_now(edit.place, &edit.id, cx);
        }
    }

    /// Sends an editor another `connection:ack`, unless it has one to answer. The editor then looks through its
    /// canvas again, and from then on messages reach the items that it has pasted.
    fn send_second_ack(&mut self, place: usize, cx: &mut Context<'_>) {
        if self.room[place].start_second_ack() {
            let conn = self.room[place].conn;
            cx.send(conn, &self.acknowledgement(Some(place), cx.now.wall));
        }
    }

    /// A user as the author of a change that is made at this tick.
    pub(super) fn author<'a>(&self, user: &'a UserId, cx: &Context<'_>) -> Author<'a> {
        Author { user, tick: self.tick, received: self.received_by_all, at: cx.now.wall }
    }
}
