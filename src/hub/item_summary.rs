//! What an activity says of an item: its type, its label and its place.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::field_changes::Place;
use super::item::Item;
use crate::protocol::inbound::Command;
use crate::protocol::json;

/// The longest type and label that are remembered, in bytes of JSON.
const MAX_NAME_BYTES: usize = 1024;

/// An item at the time of an activity.
#[derive(Debug, Clone)]
pub struct ItemSummary {
    pub id: Arc<str>,
    /// A JSON string.
    pub(super) item_type: Option<Box<str>>,
    pub(super) label: Option<Box<str>>,
    /// `x_mm`, `y_mm` and `angle_deg`.
    pub(super) place: Place,
}

impl ItemSummary {
    /// The summary of an item. Its label is its `name`, or else its `label`, if that is a string.
    pub fn of(item: &Item) -> Self {
        let mut summary = ItemSummary::empty(item.id.clone());
        summary.refresh(item);
        summary
    }

    /// The item of a relayed command. What the command doesn't say comes from `item`, the item as it is now.
    pub(super) fn from_command(command: &Command, item: Option<&Item>) -> Self {
        let mut summary = ItemSummary::empty(command.item_id.as_ref().into());
        summary.read_fields(command.data.iter().map(|(key, value)| (&**key, &**value)));
        let now = item.map(ItemSummary::of);
        let Some(ItemSummary { item_type, label, .. }) = now else { return summary };
        ItemSummary {
            item_type: summary.item_type.or(item_type),
            label: summary.label.or(label),
            ..summary
        }
    }

    /// Fills in from `before` what isn't known.
    pub(super) fn or(self, before: ItemSummary) -> Self {
        let [x, y, angle] = self.place;
        let place = [x.or(before.place[0]), y.or(before.place[1]), angle.or(before.place[2])];
        let (item_type, label) = (self.item_type.or(before.item_type), self.label.or(before.label));
        ItemSummary { place, item_type, label, ..self }
    }

    pub(super) fn empty(id: Arc<str>) -> Self {
        ItemSummary { id, item_type: None, label: None, place: [None; 3] }
    }

    pub(super) fn refresh(&mut self, item: &Item) {
        self.read_fields(item.fields.iter().map(|field| (&*field.key, &*field.value)));
    }

    fn read_fields<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a RawValue)>) {
        let (mut item_type, mut name, mut label) = (None, None, None);
        self.place = [None; 3];
        for (key, value) in fields {
            match key {
                "x_mm" => self.place[0] = json::as_number(value),
                "y_mm" => self.place[1] = json::as_number(value),
                "angle_deg" => self.place[2] = json::as_number(value),
                "item_type" => item_type = short_string(value),
                "name" => name = short_string(value),
                "label" => label = short_string(value),
                _ => {}
            }
        }
        keep(&mut self.item_type, item_type);
        keep(&mut self.label, name.or(label));
    }
}

/// A JSON string, if it is not empty and not longer than [`MAX_NAME_BYTES`].
fn short_string(value: &RawValue) -> Option<&str> {
    let text = value.get();
    (text.starts_with('"') && (3..=MAX_NAME_BYTES).contains(&text.len())).then_some(text)
}

/// Replaces a text; allocates only if it differs, which is seldom.
fn keep(kept: &mut Option<Box<str>>, text: Option<&str>) {
    if kept.as_deref() != text {
        *kept = text.map(Into::into);
    }
}
