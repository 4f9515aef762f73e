//! One field of an item, with its earlier values.

use std::ops::Range;

use serde_json::value::RawValue;

use super::author::Author;
use super::old_values::OldValues;
use super::past_value::PastValue;
use crate::protocol::UserId;
use crate::protocol::json::{self, Name};

/// The fields of an item's place, which `move_item` may change.
pub(super) const PLACE: [&str; 3] = ["x_mm", "y_mm", "angle_deg"];

/// What a field takes of memory beside its JSON, in bytes: the struct, and the overhead of two allocations.
pub(super) const FIELD_MEMORY: usize = size_of::<Field>() + 40;
/// How many earlier values a field has at most while a member may not have received the newer ones: some
/// seconds of a drag.
const MAX_EARLIER_VALUES: usize = 512;

/// One field of an item.
#[derive(Debug)]
pub struct Field {
    pub key: Name,
    pub value: Box<RawValue>,
    /// The user who wrote this value.
    pub writer: UserId,
    /// The session's tick at which it was written (`Session::tick`); 0 if it was loaded.
    pub tick: u64,
    /// A file may have been saved with this value: it is no place, or the item has been still since.
    pub is_at_rest: bool,
    /// Earlier values that a copy may still show, the oldest first.
    pub past: Vec<PastValue>,
}

impl Field {
    /// A field with a new value.
    pub fn new(key: Name, value: Box<RawValue>, author: Author<'_>) -> Self {
        let (writer, tick) = (author.user.clone(), author.tick);
        Field { key, value, writer, tick, is_at_rest: true, past: Vec::new() }
    }

    /// Replaces the value and remembers the one before. `moved_print` is the fingerprint of that one's moved
    /// form. Values that no copy can show any more go to `old`.
    pub fn change(
        &mut self,
        value: Box<RawValue>,
        moved_print: Option<u64>,
        author: Author<'_>,
        old: &mut OldValues,
    ) {
        if self.past.is_empty() {
            // Most fields change once; a larger allocation would cost memory.
            self.past.reserve_exact(1);
        }
        let print = json::fingerprint(&self.value);
        let writer = std::mem::replace(&mut self.writer, author.user.clone());
        let (tick, is_at_rest) = (self.tick, self.is_at_rest);
        self.past.push(PastValue { print, moved_print, writer, tick, is_at_rest });
        (self.value, self.tick) = (value, author.tick);
        self.is_at_rest = !PLACE.contains(&&*self.key);
        // A value ends when the next one begins.
        let ends = self.past.iter().skip(1).map(|next| next.tick).chain([self.tick]);
        let left = ends.take_while(|end| *end <= author.received).count();
        let left = left.max(self.past.len().saturating_sub(MAX_EARLIER_VALUES));
        self.past.drain(..left).for_each(|past| old.remember(&self.key, &past));
    }

    /// Its earlier values with the ticks at which it had them, the newest first.
    pub fn earlier(&self) -> impl Iterator<Item = (&PastValue, Range<u64>)> + Clone {
        let past = self.past.iter().rev();
        let ends = std::iter::once(self.tick).chain(past.clone().map(|next| next.tick));
        past.zip(ends).map(|(past, end)| (past, past.tick..end))
    }
}
