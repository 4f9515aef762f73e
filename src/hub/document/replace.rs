//! A client's state that takes the place of the whole document.

use std::collections::HashSet;

use super::{Applied, Document, memory_of};
use crate::hub::author::Author;
use crate::hub::bounds::{Allowance, TooBig};
use crate::hub::item::{is_identity, memory_completed, size_completed};
use crate::hub::writing::with_hidden_path;
use crate::protocol::inbound::{State, StateItem};
use crate::protocol::json::{self, Fields};

impl Document {
    /// Replaces the document with a client's state. Unchanged fields keep their writers and earlier values,
    /// the others are the author's; items that the state doesn't have are removed. The items get the state's
    /// order. Items that the state had in an invalid form stay as they were, at the end.
    pub fn replace(&mut self, state: State, author: Author<'_>) -> Vec<Applied> {
        let left_out = state.left_out.into_iter().filter_map(|item| item.id);
        let left_out: HashSet<Box<str>> = left_out.collect();
        let mut old = std::mem::take(&mut self.items);
        let places = std::mem::take(&mut self.places);
        (self.bytes, self.items_memory) = (0, 0);
        self.set_extra(&state.extra);
        let mut changes = Vec::new();
        for StateItem { id, mut fields, .. } in state.items {
            match places.get(&*id).and_then(|place| old.remove(place)) {
                Some(mut known) => {
                    fields = with_one_type(with_hidden_path(&known, fields));
                    fields.retain(|(key, value)| !is_identity(key, value));
                    let is_shown = known.is_shown_by(&fields);
                    let has_dropped = known.drop_others(&fields);
                    let sizes = known.overwritten(&fields);
                    if !is_shown || has_dropped {
                        known.overwrite(fields, sizes, author);
                        changes.push(Applied::Changed(known.id.clone()));
                    }
                    self.put(known);
                }
                None => {
                    // It can't fail without bounds.
                    let _ = self.add(&id, fields, None, author, Allowance::NONE);
                    changes.push(Applied::Added(id.as_ref().into()));
                }
            }
        }
        for item in old.into_values() {
            if left_out.contains(&*item.id) {
                self.put(item);
                continue;
            }
            changes.push(Applied::Removed(item.id.clone()));
            self.bury(item, author);
        }
        changes
    }

    /// Checks that a client's state fits as the whole document.
    ///
    /// # Errors
    /// [`TooBig`].
    pub fn fits_alone(&self, state: &State, allowance: Allowance) -> Result<(), TooBig> {
        let bounds = allowance.bounds;
        if state.items.len() > bounds.items() {
            return Err(TooBig::Items(bounds.items()));
        }
        let mut total = 0;
        for item in &state.items {
            let bytes = size_completed(&item.id, &item.fields);
            total += bytes;
            if bytes > bounds.item {
                return Err(TooBig::Item(bounds.item));
            }
            if total > bounds.document {
                return Err(TooBig::Document(bounds.document));
            }
        }
        let items = state.items.iter().map(|item| memory_completed(&item.id, &item.fields));
        let items = items.sum::<usize>() as isize - self.items_memory as isize;
        allowance.check_growth(items + self.growth_of_extra(&state.extra))
    }

    /// By how many bytes of memory the document grows with these extra fields in the place of its own.
    pub(in crate::hub) fn growth_of_extra(&self, extra: &Fields) -> isize {
        match extra.is_empty() {
            true => 0,
            false => memory_of(extra) as isize - self.extra_memory as isize,
        }
    }
}

/// The fields of an item, with `item_type` set to `_type` if that is a string.
fn with_one_type(mut fields: Fields) -> Fields {
    let own = fields.iter().find(|(key, value)| **key == *"_type" && json::is_string(value));
    if let Some(own) = own.map(|(_, value)| value.clone()) {
        match fields.iter_mut().find(|(key, _)| **key == *"item_type") {
            Some((_, item_type)) => *item_type = own,
            None => fields.push(("item_type".into(), own)),
        }
    }
    fields
}
