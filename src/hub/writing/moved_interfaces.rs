//! Interfaces of copies without a picture.
//!
//! An editor that builds an item from a message doesn't get the item's picture, and puts the item's origin in
//! the middle of its first interface instead. So it is sent the interfaces moved by that offset, and what it
//! reports is moved back (docs/PROTOCOL.md, "Copies without a picture").

use serde_json::value::RawValue;

use super::{Copy, CopyKind, is_lost_path};
use crate::hub::item::{Field, IMAGE_PATH, INTERFACES, Item};
use crate::protocol::geometry;
use crate::protocol::json::{self, Fields, Name};

/// Whether the interfaces are those of a moved copy.
pub(super) fn is_moved_copy(item: &Item, interfaces: &RawValue, copy: Copy<'_>) -> bool {
    match copy.kind {
        // If the user has opened a file meanwhile, they are where the item has them.
        CopyKind::Rebuilt | CopyKind::Blank => !stands_as(item, interfaces),
        CopyKind::Own => false,
        CopyKind::Unseen { .. } => stands_at_origin(interfaces),
    }
}

/// Whether the middle of the first interface is the item's origin.
pub fn stands_at_origin(interfaces: &RawValue) -> bool {
    geometry::first_middle(interfaces).is_some_and(|middle| geometry::is_near(middle, (0.0, 0.0)))
}

/// Whether the sender of these interfaces built its copy itself; `None` where they do not show that. `field`
/// has the item's own interfaces.
pub fn is_own(item: &Item, field: Option<&Field>, interfaces: &RawValue) -> Option<bool> {
    let own = item.offset()?;
    let said = match field {
        Some(field) if field.value.get() == interfaces.get() => own,
        _ => geometry::first_middle(interfaces)?,
    };
    match geometry::is_near(said, (0.0, 0.0)) {
        true => Some(false),
        false => geometry::is_near(said, own).then_some(true),
    }
}

/// Whether the middle of the first interface is where the item has it.
fn stands_as(item: &Item, interfaces: &RawValue) -> bool {
    let middles = item.offset().zip(geometry::first_middle(interfaces));
    middles.is_some_and(|(own, said)| geometry::is_near(own, said))
}

/// The fields of a program that was sent the item without its `image_path` and with its interfaces moved: these
/// are moved back.
pub fn with_moved_interfaces(item: &Item, mut said: Fields) -> Fields {
    if item.hides_path() {
        for (_, value) in said.iter_mut().filter(|(key, _)| **key == *INTERFACES) {
            if stands_at_origin(value)
                && let Some(moved) = moved_back(item, value)
            {
                *value = moved;
            }
        }
    }
    said
}

/// The fields of a whole item that such a program sends: its interfaces are moved back, and if it sends no path
/// the item's own path is added.
pub fn with_hidden_path(item: &Item, said: Fields) -> Fields {
    let Some(path) = item.field(IMAGE_PATH).filter(|_| item.hides_path()) else { return said };
    let is_said =
        |(key, value): &(Name, Box<RawValue>)| **key == *IMAGE_PATH && !is_lost_path(path, value);
    if said.iter().any(is_said) {
        return said;
    }
    let mut said = with_moved_interfaces(item, said);
    said.retain(|(key, _)| **key != *IMAGE_PATH);
    said.push((path.key.clone(), path.value.clone()));
    said
}

/// Gives the fields the item's own interfaces if theirs differ only in the origin. A program that opens a file
/// sees no difference, but an editor that has built the item with its own origin would.
pub fn keep_origin(item: &Item, fields: &mut Fields) {
    let own_and_moved = item.field(INTERFACES).zip(item.moved_interfaces());
    let Some((own, moved)) = own_and_moved else { return };
    for (_, value) in fields.iter_mut().filter(|(key, _)| **key == *INTERFACES) {
        if json::same_value(moved, value) {
            *value = own.value.clone();
        }
    }
}

/// The interfaces of a moved copy, moved back to where the item has them. Interfaces with the places that the
/// copy was sent get exactly the item's own places.
pub fn moved_back(item: &Item, interfaces: &RawValue) -> Option<Box<RawValue>> {
    let (x, y) = item.offset()?;
    geometry::shift_back(interfaces, &item.field(INTERFACES)?.value, x, y)
}
