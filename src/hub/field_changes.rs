//! Which fields of an item a change writes, with the values before and after, for the activity log.
//!
//! Bounded: [`MAX_FIELDS`] fields, names of [`MAX_NAME_BYTES`], values of [`MAX_VALUE_BYTES`]. The fields of the
//! place are numbers and take no allocation, because a drag is a hundred changes a second.

use std::io::Write;

use serde_json::value::RawValue;

use super::item::{Field, IMAGE_PATH, INTERFACES, Item, PLACE, find, is_fixed};
use crate::protocol::json::{self, Fields, Object};
use crate::protocol::outbound::write_key;

/// How many fields are kept beside those of the place.
const MAX_FIELDS: usize = 8;
/// The longest name of a field that is kept, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest value that is kept, in bytes of JSON.
const MAX_VALUE_BYTES: usize = 256;
/// The longest list of interfaces that is compared entry by entry, in bytes of JSON.
const MAX_INTERFACES_BYTES: usize = 64 << 10;

/// `x_mm`, `y_mm` and `angle_deg`, where they are numbers.
pub(super) type Place = [Option<f64>; 3];

/// What a change writes to the fields of one item.
#[derive(Debug, Default)]
pub(super) struct FieldChanges {
    /// The place before; `None` where the change doesn't write it.
    place: Option<Place>,
    fields: Vec<FieldChange>,
    /// More fields were changed than are kept.
    has_more: bool,
}

#[derive(Debug)]
struct FieldChange {
    /// `name`, or `interfaces[0].efl_mm` for a field of an interface.
    name: Box<str>,
    before: Value,
    after: Value,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// There is no such field.
    Absent,
    /// JSON.
    Known(Box<str>),
    /// It is longer than [`MAX_VALUE_BYTES`], or not to be shown.
    NotKept,
}

impl FieldChanges {
    /// What writing these fields to an item changes; `item` is the item before it. Takes time linear in both.
    pub fn of(item: &Item, fields: &Fields) -> Self {
        let mut changes = FieldChanges::default();
        if fields.iter().any(|(key, _)| PLACE.contains(&&**key)) {
            changes.place = Some(item.place());
        }
        if fields.iter().all(|(key, _)| PLACE.contains(&&**key)) {
            return changes;
        }
        for ((key, after), place) in fields.iter().zip(find(&item.fields, fields)) {
            if PLACE.contains(&&**key) || is_fixed(key, after) {
                continue;
            }
            let before = place.and_then(|place| item.fields.get(place));
            let before = before.map(|field: &Field| &*field.value);
            match (&**key, before) {
                (INTERFACES, Some(before)) => changes.compare_interfaces(before, after),
                (key, before) => changes.compare(key, before, Some(after)),
            }
        }
        changes
    }

    /// What a relayed message changes, of an item of which these fields are known. Where nothing is known it says
    /// only that more was changed. Takes time linear in both.
    pub fn of_known(known: &Fields, fields: &Fields) -> Self {
        let mut changes = FieldChanges::default();
        let (mut place, mut has_place) = ([None; 3], false);
        for ((key, after), found) in fields.iter().zip(find_in(known, fields)) {
            let before = found.and_then(|found| known.get(found)).map(|(_, value)| &**value);
            if let Some(coordinate) = PLACE.iter().position(|name| *name == key) {
                has_place = true;
                place[coordinate] = before.and_then(json::as_number);
                continue;
            }
            match (&**key, before) {
                (key, _) if is_fixed(key, after) => {}
                (_, None) => changes.has_more |= known.is_empty(),
                (INTERFACES, Some(before)) => changes.compare_interfaces(before, after),
                (key, before) => changes.compare(key, before, Some(after)),
            }
        }
        changes.place = has_place.then_some(place);
        changes
    }

    /// Compares two lists of interfaces: entry by entry where they have as many, and else by their number.
    fn compare_interfaces(&mut self, before: &RawValue, after: &RawValue) {
        if before.get() == after.get() {
            return;
        }
        let list = |value: &RawValue| -> Option<Vec<Box<RawValue>>> {
            let is_short = value.get().len() <= MAX_INTERFACES_BYTES;
            is_short.then(|| serde_json::from_str(value.get()).ok()).flatten()
        };
        let (Some(old), Some(new)) = (list(before), list(after)) else {
            return self.compare(INTERFACES, Some(before), Some(after));
        };
        if old.len() != new.len() {
            let count = |list: &[Box<RawValue>]| Value::Known(list.len().to_string().into());
            return self.keep("interfaces.length".into(), count(&old), count(&new));
        }
        for (place, (old, new)) in old.iter().zip(&new).enumerate() {
            if old.get() == new.get() {
                continue;
            }
            let (Ok(old), Ok(new)) = (Object::parse(old.get()), Object::parse(new.get())) else {
                self.compare(&format!("interfaces[{place}]"), Some(old), Some(new));
                continue;
            };
            // Real ones have some ten fields, and a list of them has at most 64 KiB.
            let written: Fields = new.to_fields();
            let known: Fields = old.to_fields();
            let places = find_in(&known, &written);
            for ((key, after), found) in written.iter().zip(&places) {
                let before = found.and_then(|found| known.get(found)).map(|(_, value)| &**value);
                self.compare_in_interface(place, key, before, Some(after));
            }
            let mut is_written = vec![false; known.len()];
            places.into_iter().flatten().for_each(|found| is_written[found] = true);
            for ((key, before), _) in known.iter().zip(is_written).filter(|(_, written)| !written) {
                self.compare_in_interface(place, key, Some(before), None);
            }
        }
    }

    fn compare_in_interface(
        &mut self,
        place: usize,
        key: &str,
        before: Option<&RawValue>,
        after: Option<&RawValue>,
    ) {
        // Most fields are the same, and need no name.
        if before.map(RawValue::get) != after.map(RawValue::get) {
            self.compare(&format!("interfaces[{place}].{key}"), before, after);
        }
    }

    fn compare(&mut self, name: &str, before: Option<&RawValue>, after: Option<&RawValue>) {
        let is_same = match (before, after) {
            (Some(before), Some(after)) => json::same_value(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        if !is_same {
            let is_path = name == IMAGE_PATH;
            let kept = |value| if is_path { Value::NotKept } else { Value::of(value) };
            self.keep(name.into(), kept(before), kept(after));
        }
    }

    fn keep(&mut self, name: Box<str>, before: Value, after: Value) {
        if self.fields.len() < MAX_FIELDS && name.len() <= MAX_NAME_BYTES {
            self.fields.push(FieldChange { name, before, after });
        } else {
            self.has_more = true;
        }
    }

    /// Goes on with a later change of the same item: each field keeps its first value and gets its last one.
    pub fn go_on(&mut self, later: FieldChanges) {
        self.place = self.place.or(later.place);
        self.has_more |= later.has_more;
        for change in later.fields {
            match self.fields.iter().position(|field| field.name == change.name) {
                Some(found) => {
                    let field = &mut self.fields[found];
                    field.after = change.after;
                    if field.before == field.after && field.after != Value::NotKept {
                        self.fields.remove(found);
                    }
                }
                None => self.keep(change.name, change.before, change.after),
            }
        }
    }

    /// Appends `,"changes":[…]` with the fields that differ, and `,"more_changes":true` where more do. `place` is
    /// the place after the change. Nothing where nothing differs.
    pub fn write(&self, json: &mut Vec<u8>, place: &Place) {
        let begin = json.len();
        write_key(json, "changes");
        let empty = json.len();
        let before = self.place.unwrap_or(*place);
        for (name, (before, after)) in PLACE.iter().zip(before.iter().zip(place)) {
            if before != after {
                begin_change(json, empty, name);
                for (key, number) in [("before", before), ("after", after)] {
                    if let Some(number) = number {
                        write_key(json, key);
                        let _ = serde_json::to_writer(&mut *json, number);
                    }
                }
                json.push(b'}');
            }
        }
        for FieldChange { name, before, after } in &self.fields {
            begin_change(json, empty, name);
            for (key, value) in [("before", before), ("after", after)] {
                if let Value::Known(value) = value {
                    write_key(json, key);
                    json.extend_from_slice(value.as_bytes());
                }
            }
            if [before, after].contains(&&Value::NotKept) {
                json.extend_from_slice(b",\"not_kept\":true");
            }
            json.push(b'}');
        }
        match json.len() == empty {
            true => json.truncate(begin),
            false => json.push(b']'),
        }
        if self.has_more {
            json.extend_from_slice(b",\"more_changes\":true");
        }
    }
}

fn begin_change(json: &mut Vec<u8>, empty: usize, name: &str) {
    let _ = write!(json, "{}{{\"field\":", if json.len() == empty { '[' } else { ',' });
    json::write_string(json, name);
}

/// The place of each of `wanted` in `fields`. In lists of less than 64 KiB a search is short.
fn find_in(fields: &Fields, wanted: &Fields) -> Vec<Option<usize>> {
    let table: std::collections::HashMap<&str, usize> =
        fields.iter().enumerate().map(|(place, (key, _))| (&**key, place)).collect();
    wanted.iter().map(|(key, _)| table.get(&**key).copied()).collect()
}

impl Value {
    fn of(value: Option<&RawValue>) -> Self {
        let Some(value) = value else { return Value::Absent };
        let text = value.get();
        // Half a surrogate pair is no text that every program reads.
        let is_readable = !text.contains("\\u") || json::is_string(value);
        match text.len() <= MAX_VALUE_BYTES && is_readable {
            true => Value::Known(text.into()),
            false => Value::NotKept,
        }
    }
}
