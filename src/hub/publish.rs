//! Telling everyone of changes that were applied together: by a snapshot, a `sync:update`, a restore. Each is
//! numbered and relayed as a command, so that no canvas has to be built anew.

use super::document::Applied;
use super::item_frames::{UpdateFrames, add, remove, settled_remove, write_whole};
use super::journaling::AppliedChange;
use super::reconcile::send_settled;
use super::session::Session;
use super::told::{Audience, Part};
use super::{ConnId, Context};
use crate::journal::SnapshotReason;
use crate::protocol::outbound::item_command;
use crate::protocol::{Frame, UserId};

/// What members are told about changes that were applied together.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    pub user: &'a UserId,
    /// The version of the client's state; 0 without one.
    pub version: u64,
    pub why: SnapshotReason,
    /// The id of the client's message in stored form.
    pub id: Option<&'a str>,
    /// A member that is not told: the changes come from its own canvas.
    pub except: Option<ConnId>,
    /// The document changed beside its items, so it is stored even if no item changed.
    pub is_news: bool,
}

/// Whether the document was replaced. Viewers are then sent the new one instead of the changes.
fn is_whole(why: SnapshotReason) -> bool {
    matches!(why, SnapshotReason::Replaced | SnapshotReason::Restored | SnapshotReason::Imported)
}

impl Session {
    /// Numbers changes, stores them, and tells members and viewers.
    pub fn publish(&mut self, changes: &[Applied], how: Publication<'_>, cx: &mut Context<'_>) {
        let mut frames = Vec::with_capacity(changes.len());
        for change in changes {
            frames.push(self.number_change(change, how, cx));
        }
        if !changes.is_empty() || how.is_news {
            // The id of a message that changed no item is stored by itself, below.
            let id = how.id.filter(|_| !changes.is_empty());
            let made = AppliedChange { user: how.user, frames: frames.clone(), id };
            self.journal_with_document(made, how.why, cx);
        }
        if changes.is_empty() {
            if let Some(id) = how.id {
                self.journal_id(how.user.clone(), id.into(), cx);
            }
            return;
        }
        for change in changes {
            if let Applied::Added(id) = change {
                self.note_owners(id);
            }
        }
        let first = self.history.next_seq() - changes.len() as u64;
        for (n, (change, frame)) in changes.iter().zip(&frames).enumerate() {
            self.tell_members(change, frame, first + n as u64, how, cx);
        }
        if is_whole(how.why) {
            self.send_state_to_viewers(cx);
        }
        for change in changes {
            // Editors draw a change, and move a locked item, when the item is settled.
            if let Applied::Changed(id) = change {
                self.record_item_change(how.user, id, cx);
            }
        }
        let is_removal = |change: &&Applied| matches!(change, Applied::Removed(_));
        if let Some(removal) = changes.iter().find(is_removal) {
            self.redraw_rays(removal.id(), how.except, cx);
        }
    }

    /// Makes a change a command, numbers it and appends it to the history.
    fn number_change(
        &mut self,
        change: &Applied,
        how: Publication<'_>,
        cx: &mut Context<'_>,
    ) -> Frame {
        let id = change.id();
        let command = match (change, self.document.get(id)) {
            (Applied::Added(_), Some(item)) => add(item),
            (Applied::Changed(_), Some(item)) => {
                item_command("update_item", item.item_type(), id, |json| write_whole(item, json))
            }
            _ => remove(id),
        };
        let command = command.string("user_id", how.user).timestamp(cx.now.wall);
        self.number_message(command, how.version, cx)
    }

    /// Tells members of one change, and viewers if they are not sent the whole document.
    fn tell_members(
        &mut self,
        change: &Applied,
        frame: &Frame,
        seq: u64,
        how: Publication<'_>,
        cx: &mut Context<'_>,
    ) {
        let (tick, wall) = (self.tick, cx.now.wall);
        let shows_viewers = !is_whole(how.why);
        let id = change.id();
        let Some(item) = self.document.get(id) else {
            self.room.iter_mut().for_each(|member| member.forget_copy(id));
            self.told_last = tick;
            let told = |member: &&super::member::Member| member.is_recognised();
            for member in self.room.iter().filter(told) {
                if Some(member.conn) != how.except {
                    cx.send(member.conn, frame);
                }
            }
            if shows_viewers {
                self.viewers.send(frame, cx);
            }
            return;
        };
        let is_added = matches!(change, Applied::Added(_));
        let update = match is_added {
            true => UpdateFrames::settled(item, wall),
            false => UpdateFrames::change(item, seq, how.user, wall),
        };
        let is_locked = cx.limits.settle && !is_added && item.may_be_locked_before(tick);
        let settled = UpdateFrames::settled(item, wall);
        for member in self.room.iter_mut() {
            let is_told = member.is_recognised() && Some(member.conn) != how.except;
            if !is_told || (member.is_editor && !item.is_for_editors()) {
                continue;
            }
            if is_locked {
                settled.unlocking(member).iter().for_each(|form| cx.send(member.conn, form));
            }
            match is_added {
                true => {
                    if !member.has_listed(id) {
                        if member.may_list_unknown_items() && cx.limits.settle {
                            cx.send(member.conn, &settled_remove(id, how.user, wall));
                        }
                        cx.send(member.conn, frame);
                    }
                    if cx.limits.settle {
                        send_settled(member, &update, cx);
                        self.needs_pings |= member.expect_receipt(tick);
                    }
                }
                false if member.has_moved_copy(item) || item.hides_path() => {
                    update.for_member(member).iter().for_each(|form| cx.send(member.conn, form));
                }
                false => cx.send(member.conn, frame),
            }
        }
        if shows_viewers {
            self.viewers.send(frame, cx);
            if is_added && cx.limits.settle {
                self.viewers.send(update.plain(), cx);
            }
        }
        let except = how.except.is_some().then(|| how.user.clone());
        self.record_told(id, Part::Whole, Audience::AllBut(except));
    }
}
