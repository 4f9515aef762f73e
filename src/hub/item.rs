//! One item of a document: fields that know who wrote them, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::protocol::UserId;
use crate::protocol::json::{self, Fields, is_string};
use crate::protocol::outbound::write_object;
use crate::protocol::relayed::complete_item;

/// From this many comparisons on, a look-up table is cheaper than a linear search.
const SEARCH_BY_TABLE: usize = 1 << 14;
/// What one field costs in JSON beside its name and value: quotes, colon and comma.
pub(super) const FIELD_OVERHEAD: usize = 4;

/// One field of an item.
#[derive(Debug)]
pub struct Field {
    pub key: Box<str>,
    pub value: Box<RawValue>,
    pub writer: UserId,
    pub at: Duration,
}

/// One item; always has the fields `uuid` (its id) and `item_type` (a string).
#[derive(Debug)]
pub struct Item {
    pub id: Arc<str>,
    pub fields: Vec<Field>,
    /// Who changed it last, or in whose snapshot it first appeared.
    pub writer: UserId,
    /// When it was changed last.
    pub at: Duration,
    /// An item with its id was here before: who speaks of it may mean that one.
    pub came_back: bool,
    /// Its size as JSON.
    pub(super) bytes: usize,
}

impl Item {
    /// Appends the item as JSON.
    pub fn write(&self, json: &mut Vec<u8>) {
        write_object(json, self.fields.iter().map(|field| (&*field.key, &*field.value)));
    }

    /// The item's `item_type` as JSON.
    pub fn item_type(&self) -> &RawValue {
        self.field("item_type").map_or(RawValue::NULL, |field| &field.value)
    }

    /// Who added it. Nobody ever overwrites its `uuid`.
    pub fn added_by(&self) -> &UserId {
        self.field("uuid").map_or(&self.writer, |field| &field.writer)
    }

    /// When it was added.
    pub fn added_at(&self) -> Duration {
        self.field("uuid").map_or(self.at, |field| field.at)
    }

    /// The field with this name.
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.key == key)
    }

    /// How large it is at most once its last writer's canvas, which shows `fields`, is merged into it.
    pub(super) fn size_with(&self, fields: &Fields) -> usize {
        let places = find(&self.fields, fields);
        let dropped = self.fields.iter().enumerate().filter(|(place, field)| {
            field.writer == self.writer
                && !matches!(&*field.key, "uuid" | "item_uuid" | "item_type")
                && !places.contains(&Some(*place))
        });
        let size = |key: &str, value: &RawValue| key.len() + value.get().len() + FIELD_OVERHEAD;
        let dropped: usize = dropped.map(|(_, field)| size(&field.key, &field.value)).sum();
        let added = fields.iter().zip(&places).map(|((key, value), place)| match place {
            _ if is_identity(key, value) => 0,
            Some(place) => value.get().len().saturating_sub(self.fields[*place].value.get().len()),
            None => size(key, value),
        });
        self.bytes - dropped + added.sum::<usize>()
    }

    /// Whether a client that shows `fields` for this item shows what the document says. The fields
    /// that name the item don't count, nor does a type that only the server knows.
    pub fn is_shown_by(&self, fields: &Fields) -> bool {
        let typed = fields.iter().any(|(key, value)| &**key == "item_type" && is_string(value));
        let counts = |key: &str, value| !is_identity(key, value) && (typed || key != "item_type");
        let own = self.fields.iter().filter(|field| counts(&field.key, &field.value)).count();
        let mut shown = 0;
        for ((key, value), place) in fields.iter().zip(find(&self.fields, fields)) {
            if counts(key, value) {
                let Some(place) = place else { return false };
                if !json::same_value(value, &self.fields[place].value) {
                    return false;
                }
                shown += 1;
            }
        }
        shown == own
    }
}

/// Whether a field says which item this is, or fails to say of what type: neither can be changed.
pub(super) fn is_identity(key: &str, value: &RawValue) -> bool {
    matches!(key, "uuid" | "item_uuid") || (key == "item_type" && !is_string(value))
}

/// An item's size as JSON.
pub(super) fn size(id: &str, fields: &Fields) -> usize {
    size_of(id, fields.iter().map(|(key, value)| (&**key, &**value)))
}

/// The size of an item as it will be kept: with its id and a type, whatever a client called them.
pub(super) fn size_completed(id: &str, fields: &Fields) -> usize {
    size(id, &complete_item(id, fields.clone(), None))
}

/// The same, of any fields.
pub(super) fn size_of<'a>(
    id: &str,
    fields: impl Iterator<Item = (&'a str, &'a RawValue)>,
) -> usize {
    id.len()
        + fields.map(|(key, value)| key.len() + value.get().len() + FIELD_OVERHEAD).sum::<usize>()
}

/// Where each of `wanted` stands in `fields`. Editors write an item's fields in one order, so the
/// field after the last one found is tried first.
pub(super) fn find(fields: &[Field], wanted: &Fields) -> Vec<Option<usize>> {
    if fields.len().saturating_mul(wanted.len()) > SEARCH_BY_TABLE {
        let table: HashMap<&str, usize> =
            fields.iter().enumerate().map(|(place, field)| (&*field.key, place)).collect();
        return wanted.iter().map(|(key, _)| table.get(&**key).copied()).collect();
    }
    let mut next = 0;
    let mut places = Vec::with_capacity(wanted.len());
    for (key, _) in wanted {
        let place = match fields.get(next) {
            Some(field) if field.key == *key => Some(next),
            _ => fields.iter().position(|field| field.key == *key),
        };
        next = place.map_or(next, |place| place + 1);
        places.push(place);
    }
    places
}
