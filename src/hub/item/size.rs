//! How large an item is, as JSON and in memory; finding its fields; which fields can't be written.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{FIELD_MEMORY, Field, Item};
use crate::protocol::json::{Fields, is_string};
use crate::protocol::relayed::growth_of_completed;

/// From this number of comparisons on, a look-up table is faster than a linear search.
const MIN_TABLE_COMPARISONS: usize = 1 << 14;
/// The bytes of a field in JSON beside its name and value: quotes, colon and comma.
pub(in crate::hub) const FIELD_OVERHEAD: usize = 4;
/// What an item takes of memory beside its fields, in bytes: the struct, its entries in the document's tables,
/// and the allocation of its id.
pub const ITEM_MEMORY: usize = size_of::<Item>() + 200;

/// Whether a message about an item can't write this field: its id and its type. A relayed command has a `_type`
/// even if its item has none.
pub(in crate::hub) fn is_fixed(key: &str, value: &RawValue) -> bool {
    matches!(key, "_type" | "item_type") || is_identity(key, value)
}

/// Whether a state can't write this field: an id, or an `item_type` that is no string.
pub(in crate::hub) fn is_identity(key: &str, value: &RawValue) -> bool {
    matches!(key, "uuid" | "item_uuid") || (key == "item_type" && !is_string(value))
}

/// The size of an item as JSON, in bytes.
fn size(id: &str, fields: &Fields) -> usize {
    size_of_fields(id, fields.iter().map(|(key, value)| (&**key, &**value)))
}

/// The size of a client's item as JSON once it has `uuid` and `item_type`, in bytes.
pub(in crate::hub) fn size_completed(id: &str, fields: &Fields) -> usize {
    size(id, fields).saturating_add_signed(growth_of_completed(id, fields))
}

/// The memory of a client's item once it has `uuid` and `item_type`, in bytes.
pub(in crate::hub) fn memory_completed(id: &str, fields: &Fields) -> usize {
    let lacks = |name: &&str| !fields.iter().any(|(key, _)| **key == **name);
    let added = ["uuid", "item_type"].iter().filter(|name| lacks(name)).count();
    ITEM_MEMORY + size_completed(id, fields) + (fields.len() + added) * FIELD_MEMORY
}

/// The size of an item with these fields as JSON, in bytes.
pub(in crate::hub) fn size_of_fields<'a>(
    id: &str,
    fields: impl Iterator<Item = (&'a str, &'a RawValue)>,
) -> usize {
    id.len()
        + fields.map(|(key, value)| key.len() + value.get().len() + FIELD_OVERHEAD).sum::<usize>()
}

/// The place of each of `wanted` in `fields`. Editors write an item's fields in one order, so the field after
/// the last one found is tried first.
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
