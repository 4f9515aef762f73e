//! How large an item is, as JSON and in memory, and where its fields stand.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{FIELD_MEMORY, Field, Item};
use crate::protocol::json::{Fields, is_string};
use crate::protocol::relayed::growth_of_completed;

/// From this many comparisons on, a look-up table is cheaper than a linear search.
const MIN_TABLE_COMPARISONS: usize = 1 << 14;
/// What one field costs in JSON beside its name and value: quotes, colon and comma.
pub(in crate::hub) const FIELD_OVERHEAD: usize = 4;
/// The same of an item: itself, its places in the document's tables, and the memory for its id.
pub const ITEM_MEMORY: usize = size_of::<Item>() + 200;

/// Whether a field is one that a message about an item can't write: what says which item it is, and of what type.
/// A relayed command has a `_type` although its item may lack it.
pub(in crate::hub) fn is_fixed(key: &str, value: &RawValue) -> bool {
    matches!(key, "_type" | "item_type") || is_identity(key, value)
}

/// Whether a field says which item this is, or fails to say of what type: neither can be changed.
pub(in crate::hub) fn is_identity(key: &str, value: &RawValue) -> bool {
    matches!(key, "uuid" | "item_uuid") || (key == "item_type" && !is_string(value))
}

/// An item's size as JSON.
fn size(id: &str, fields: &Fields) -> usize {
    size_of_fields(id, fields.iter().map(|(key, value)| (&**key, &**value)))
}

/// The size of an item as it will be kept: with its id and a type, whatever a client called them.
pub(in crate::hub) fn size_completed(id: &str, fields: &Fields) -> usize {
    size(id, fields).saturating_add_signed(growth_of_completed(id, fields))
}

/// What an item will take of memory, likewise.
pub(in crate::hub) fn memory_completed(id: &str, fields: &Fields) -> usize {
    let lacks = |name: &&str| !fields.iter().any(|(key, _)| **key == **name);
    let added = ["uuid", "item_type"].iter().filter(|name| lacks(name)).count();
    ITEM_MEMORY + size_completed(id, fields) + (fields.len() + added) * FIELD_MEMORY
}

/// The size of an item with any fields.
pub(in crate::hub) fn size_of_fields<'a>(
    id: &str,
    fields: impl Iterator<Item = (&'a str, &'a RawValue)>,
) -> usize {
    id.len()
        + fields.map(|(key, value)| key.len() + value.get().len() + FIELD_OVERHEAD).sum::<usize>()
}

/// Where each of `wanted` stands in `fields`. Editors write an item's fields in one order, so the
/// field after the last one found is tried first.
pub(in crate::hub) fn find(fields: &[Field], wanted: &Fields) -> Vec<Option<usize>> {
    if fields.len().saturating_mul(wanted.len()) > MIN_TABLE_COMPARISONS {
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
