//! The frames that tell members of one item.
//!
//! An `update_item` has at most two forms. The plain form has the item as it is; editors that built the item
//! are sent it. The moved form has its interfaces moved, for editors whose copy has no picture
//! (docs/PROTOCOL.md, "Copies without a picture"). Other programs are sent the plain form, or the moved form if
//! the item's `image_path` has to stay hidden. A form is encoded once, when the first receiver needs it.

use std::cell::OnceCell;

use serde_json::value::RawValue;

use super::item::{Item, PLACE, default_of, is_at_default_place};
use super::member::Member;
use super::nudge::nudged;
use crate::protocol::outbound::{Message, item_command, write_key, write_object};
use crate::protocol::{Frame, Timestamp, UserId, json};

/// The `update_item` of one item, for all its receivers.
#[derive(Debug)]
pub struct UpdateFrames<'a> {
    item: &'a Item,
    kind: Update<'a>,
    now: Timestamp,
    forms: [OnceCell<Frame>; 2],
    unlocked: [OnceCell<Frame>; 2],
}

/// Why an item's whole data are sent.
#[derive(Debug, Clone, Copy)]
pub enum Update<'a> {
    /// To tell what it looks like: `"settled": true`, without a `seq`.
    Settled,
    /// To relay the change with this `seq`, by this user.
    Change(u64, &'a UserId),
}

impl<'a> UpdateFrames<'a> {
    /// Frames that tell what the item looks like.
    pub fn settled(item: &'a Item, now: Timestamp) -> Self {
        UpdateFrames::new(item, Update::Settled, now)
    }

    /// Frames that relay a change of the item.
    pub fn change(item: &'a Item, seq: u64, user: &'a UserId, now: Timestamp) -> Self {
        UpdateFrames::new(item, Update::Change(seq, user), now)
    }

    fn new(item: &'a Item, kind: Update<'a>, now: Timestamp) -> Self {
        UpdateFrames { item, kind, now, forms: Default::default(), unlocked: Default::default() }
    }

    /// The frames for an editor that has just built its copy from a message.
    pub fn rebuilt(&self) -> impl Iterator<Item = &Frame> {
        let is_moved = self.item.moved_interfaces().is_some();
        let needs_nudge = self.item.is_locked() || is_at_default_place(self.item);
        let unlocking = needs_nudge.then(|| self.unlocking_form(is_moved));
        unlocking.into_iter().chain([self.form(is_moved)])
    }

    /// The frame for members and viewers that are no editors.
    pub fn plain(&self) -> &Frame {
        self.form(self.item.hides_path())
    }

    /// The frame for this member's copy; `None` for an editor if editors don't know items of this type.
    pub fn for_member(&self, member: &Member) -> Option<&Frame> {
        match member.is_editor {
            true if !self.item.is_for_editors() => None,
            true => Some(self.form(member.has_moved_copy(self.item))),
            false => Some(self.plain()),
        }
    }

    /// The frame that is sent to an editor before the one of [`for_member`](Self::for_member); `None` for other
    /// members. It unlocks the copy, so that the copy takes the place that it is sent next: the editor does not
    /// report a lock that its user sets by a menu. And it moves the copy aside by [`NUDGE_MM`](super::nudge::NUDGE_MM), because an
    /// editor draws its rays again only where something moves.
    pub fn unlocking(&self, member: &Member) -> Option<&Frame> {
        if !member.is_editor || !self.item.is_for_editors() {
            return None;
        }
        Some(self.unlocking_form(member.has_moved_copy(self.item)))
    }

    fn unlocking_form(&self, is_moved: bool) -> &Frame {
        self.unlocked[usize::from(is_moved)].get_or_init(|| self.encode(is_moved, true))
    }

    fn form(&self, is_moved: bool) -> &Frame {
        self.forms[usize::from(is_moved)].get_or_init(|| self.encode(is_moved, false))
    }

    fn encode(&self, is_moved: bool, unlocks: bool) -> Frame {
        let item = self.item;
        let command = item_command("update_item", item.item_type(), &item.id, |json| {
            match item.moved().filter(|_| is_moved) {
                Some(moved) => moved.write(json),
                None if is_moved => item.write(json),
                None => item.write_stored(json),
            }
            complete(item, unlocks, json);
        });
        match self.kind {
            Update::Settled => settled(command, &item.writer, self.now),
            Update::Change(seq, user) => {
                command.string("user_id", user).timestamp(self.now).number("seq", seq).finish()
            }
        }
    }
}

/// Appends an item's whole data as JSON, in the form that is relayed, with the `_type` that an editor needs to
/// build it.
pub fn write_whole(item: &Item, json: &mut Vec<u8>) {
    item.write(json);
    complete(item, false, json);
}

/// Adds to an item's data what a frame needs beside the item's own fields: `_type`, and the values that unlock
/// a copy and move it aside.
fn complete(item: &Item, unlocks: bool, json: &mut Vec<u8>) {
    let lacks_type = item.field("_type").is_none();
    if !lacks_type && !unlocks {
        return;
    }
    json.pop();
    if lacks_type {
        write_key(json, "_type");
        json.extend_from_slice(item.item_type().get().as_bytes());
    }
    if unlocks {
        // JSON readers take the later one of two fields with the same name.
        write_key(json, "locked");
        json.extend_from_slice(b"false");
        let x_mm = item.field(PLACE[0]).map(|x_mm| &*x_mm.value);
        let x_mm = x_mm.or_else(|| default_of(item, PLACE[0]));
        if let Some(x_mm) = x_mm.and_then(nudged) {
            write_key(json, PLACE[0]);
            json.extend_from_slice(x_mm.get().as_bytes());
        }
    }
    json.push(b'}');
}

/// `remove_item` for members that may still show the item.
pub fn settled_remove(id: &str, writer: &UserId, now: Timestamp) -> Frame {
    settled(remove(id), writer, now)
}

/// `add_item` with the item's whole data, for members that may show the item no more.
pub fn settled_add(item: &Item, now: Timestamp) -> Frame {
    settled(add(item), &item.writer, now)
}

/// `add_item` of a component without any interface, which changes no ray.
pub fn settled_blank(id: &str, writer: &UserId, now: Timestamp) -> Frame {
    let component = json::string("component");
    let command = item_command("add_item", &component, id, |json| {
        let id = json::string(id);
        write_object(json, [("uuid", &*id), ("item_uuid", &*id), ("_type", &*component)]);
    });
    settled(command, writer, now)
}

/// `add_item` with the item's whole data, without `user_id` and `seq`.
pub fn add(item: &Item) -> Message {
    item_command("add_item", item.item_type(), &item.id, |json| write_whole(item, json))
}

/// `remove_item`, without `user_id` and `seq`.
pub fn remove(id: &str) -> Message {
    item_command("remove_item", RawValue::NULL, id, |json| json.extend_from_slice(b"{}"))
}

/// `move_item` without the angle, for editors: they would turn its sign.
pub fn place_alone(item: &Item) -> Message {
    item_command("move_item", item.item_type(), &item.id, |json| {
        json.push(b'{');
        for key in &PLACE[..2] {
            if let Some(field) = item.field(key) {
                write_key(json, key);
                json.extend_from_slice(field.value.get().as_bytes());
            }
        }
        json.push(b'}');
    })
}

/// Whether an editor would show the item at a wrong angle after a `move_item` with its angle, whose sign it
/// turns.
pub fn is_turned(item: &Item) -> bool {
    item.angle().is_some_and(|angle| angle != 0.0)
}

fn settled(command: Message, writer: &UserId, now: Timestamp) -> Frame {
    command.string("user_id", writer).timestamp(now).flag("settled", true).finish()
}
