//! The document: the items of one session's canvas, in the order they were added.
//!
//! Every field remembers who wrote it last and when, because what a host's snapshot may overwrite
//! depends on it (`snapshot.rs`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::item::{FIELD_OVERHEAD, Field, Item, find, is_identity, size, size_completed, size_of};
use crate::protocol::inbound::{Action, Command, LARGEST_VERSION, State};
use crate::protocol::json::Fields;
use crate::protocol::outbound::write_key;
use crate::protocol::relayed::complete_item;
use crate::protocol::{Timestamp, UserId};

/// How many removed items are remembered, the most recent ones.
const MOST_REMOVED: usize = 10_000;
/// What `move_item` may change.
const PLACE: [&str; 3] = ["x_mm", "y_mm", "angle_deg"];

/// Who changes something, and when (since the hub's start).
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    pub user: &'a UserId,
    pub at: Duration,
}

/// What a command did to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Added,
    Changed,
    Removed,
    /// The item is unknown, or the action is not the server's business.
    Nothing,
}

/// The change would make an item or the document larger than allowed; nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub struct TooBig;

/// Bounds in bytes of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// An item has to fit into one message.
    pub item: usize,
    pub document: usize,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Document {
    items: BTreeMap<u64, Item>,
    places: HashMap<Arc<str>, u64>,
    next_place: u64,
    removed: Removed,
    /// What a client's state carried beside items, version and time stamp.
    extra: Fields,
    version: u64,
    bytes: usize,
}

impl Document {
    /// Whether anything was ever put into it.
    pub fn exists(&self) -> bool {
        self.version > 0
    }

    /// Grows with every applied change; at most 2^53 − 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Records one more applied change and that a client is at `version`.
    pub fn advance(&mut self, version: u64) {
        self.version = (self.version + 1).max(version).min(LARGEST_VERSION);
    }

    /// The item with this id.
    pub fn get(&self, id: &str) -> Option<&Item> {
        self.items.get(self.places.get(id)?)
    }

    /// All items in the order they were added.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Its size as JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many removed items are remembered.
    pub fn removed(&self) -> usize {
        self.removed.order.len().max(self.removed.by.len())
    }

    /// Who removed the item with this id, if it was removed and has not come back.
    pub fn removed_by(&self, id: &str) -> Option<&UserId> {
        self.removed.by.get(id).map(|(user, _)| user)
    }

    /// Applies one command.
    ///
    /// # Errors
    /// [`TooBig`], and then nothing has changed.
    pub fn apply(
        &mut self,
        command: &mut Command,
        author: Author<'_>,
        bounds: Bounds,
    ) -> Result<Outcome, TooBig> {
        let id = &*command.item_id;
        let known = self.places.contains_key(id);
        match command.action {
            Action::Other => Ok(Outcome::Nothing),
            Action::Add if !known => {
                let fields = std::mem::take(&mut command.data);
                self.add(id, fields, command.item_type.as_deref(), author, bounds)?;
                Ok(Outcome::Added)
            }
            Action::Remove if known => {
                self.remove(id, author.user);
                Ok(Outcome::Removed)
            }
            Action::Add | Action::Update | Action::Move if known => {
                let only_place = command.action == Action::Move;
                let fields = std::mem::take(&mut command.data);
                let fields = fields
                    .into_iter()
                    .filter(|(key, _)| !only_place || PLACE.contains(&&**key))
                    .collect();
                self.overwrite(id, fields, author, bounds)?;
                Ok(Outcome::Changed)
            }
            _ => Ok(Outcome::Nothing),
        }
    }

    /// Adds an item that is not there yet.
    ///
    /// # Errors
    /// [`TooBig`], and then nothing has changed.
    pub fn add(
        &mut self,
        id: &str,
        fields: Fields,
        item_type: Option<&RawValue>,
        author: Author<'_>,
        bounds: Bounds,
    ) -> Result<(), TooBig> {
        let fields = complete_item(id, fields, item_type);
        let bytes = size(id, &fields);
        if bytes > bounds.item || self.bytes + bytes > bounds.document {
            return Err(TooBig);
        }
        let id: Arc<str> = id.into();
        let stamp = |(key, value)| Field { key, value, writer: author.user.clone(), at: author.at };
        let item = Item {
            came_back: self.removed.forget(&id),
            id: id.clone(),
            fields: fields.into_iter().map(stamp).collect(),
            writer: author.user.clone(),
            at: author.at,
            bytes,
        };
        self.bytes += bytes;
        self.places.insert(id, self.next_place);
        self.items.insert(self.next_place, item);
        self.next_place += 1;
        Ok(())
    }

    /// Overwrites fields of an item one by one; its identity stays. An unknown item is left alone.
    ///
    /// # Errors
    /// [`TooBig`], and then nothing has changed.
    pub fn overwrite(
        &mut self,
        id: &str,
        mut fields: Fields,
        author: Author<'_>,
        bounds: Bounds,
    ) -> Result<(), TooBig> {
        let Some(item) = self.places.get(id).and_then(|place| self.items.get_mut(place)) else {
            return Ok(());
        };
        fields.retain(|(key, value)| !is_identity(key, value));
        let places = find(&item.fields, &fields);
        let mut bytes = item.bytes;
        for ((key, value), place) in fields.iter().zip(&places) {
            bytes += value.get().len();
            match place {
                Some(place) => bytes -= item.fields[*place].value.get().len(),
                None => bytes += key.len() + FIELD_OVERHEAD,
            }
        }
        let grown = bytes > item.bytes;
        if grown && (bytes > bounds.item || self.bytes - item.bytes + bytes > bounds.document) {
            return Err(TooBig);
        }
        for ((key, value), place) in fields.into_iter().zip(places) {
            let field = Field { key, value, writer: author.user.clone(), at: author.at };
            match place {
                Some(place) => item.fields[place] = field,
                None => item.fields.push(field),
            }
        }
        self.bytes = self.bytes - item.bytes + bytes;
        item.bytes = bytes;
        item.writer = author.user.clone();
        item.at = author.at;
        Ok(())
    }

    /// Drops the fields of an item that `keep` doesn't want. An unknown item is left alone.
    pub fn retain_fields(&mut self, id: &str, keep: impl Fn(&Field) -> bool) {
        let item = self.places.get(id).and_then(|place| self.items.get_mut(place));
        let Some(item) = item else { return };
        item.fields
            .retain(|field| &*field.key == "uuid" || &*field.key == "item_type" || keep(field));
        let kept = item.fields.iter().map(|field| (&*field.key, &*field.value));
        let bytes = size_of(&item.id, kept);
        self.bytes = self.bytes - item.bytes + bytes;
        item.bytes = bytes;
    }

    /// Removes an item and remembers who did it.
    pub fn remove(&mut self, id: &str, user: &UserId) {
        if let Some((id, place)) = self.places.remove_entry(id)
            && let Some(item) = self.items.remove(&place)
        {
            self.bytes -= item.bytes;
            self.removed.remember(id, user.clone());
        }
    }

    /// Forgets what was removed: a new design has begun.
    pub fn forget_removed(&mut self) {
        self.removed = Removed::default();
    }

    /// Takes over what a client's state carried beside its items.
    pub fn set_extra(&mut self, extra: &Fields) {
        if !extra.is_empty() {
            self.extra.clone_from(extra);
        }
    }

    /// Makes a client's state the document: items it shows unchanged keep their history, the
    /// others are the author's, and what it doesn't show is removed.
    pub fn replace(&mut self, state: State, author: Author<'_>) {
        let unbounded = Bounds { item: usize::MAX, document: usize::MAX };
        let mut old = std::mem::take(&mut self.items);
        let places = std::mem::take(&mut self.places);
        self.bytes = 0;
        self.set_extra(&state.extra);
        for item in state.items {
            let known = places.get(&*item.id).and_then(|place| old.remove(place));
            match known {
                Some(known) if known.is_shown_by(&item.fields) => {
                    self.bytes += known.bytes;
                    self.places.insert(known.id.clone(), self.next_place);
                    self.items.insert(self.next_place, known);
                    self.next_place += 1;
                    continue;
                }
                Some(known) => self.removed.remember(known.id, author.user.clone()),
                None => {}
            }
            // Unbounded: it can't fail.
            let _ = self.add(&item.id, item.fields, None, author, unbounded);
        }
        for item in old.into_values() {
            self.removed.remember(item.id, author.user.clone());
        }
    }

    /// Whether a user's snapshot, with what it leaves untouched, fits into the bounds.
    pub fn fits(&self, state: &State, user: &UserId, bounds: Bounds) -> bool {
        let mut incoming = 0;
        for item in &state.items {
            let known = self.get(&item.id);
            let bytes = match known {
                Some(known) if known.writer == *user => known.size_with(&item.fields),
                Some(known) => known.bytes,
                None => size_completed(&item.id, &item.fields),
            };
            if bytes > bounds.item {
                return false;
            }
            incoming += bytes - known.map_or(0, |known| known.bytes.min(bytes));
        }
        self.bytes + incoming <= bounds.document
    }

    /// Whether a client's state fits into the bounds as the whole document.
    pub fn fits_alone(&self, state: &State, bounds: Bounds) -> bool {
        let mut total = 0;
        state.items.iter().all(|item| {
            let kept = self.get(&item.id).filter(|known| known.is_shown_by(&item.fields));
            let bytes = match kept {
                Some(known) => known.bytes,
                None => size_completed(&item.id, &item.fields),
            };
            total += bytes;
            bytes <= bounds.item && total <= bounds.document
        })
    }

    /// Appends `{"items":[…],"version":…,"timestamp":…}` as JSON.
    pub fn write_state(&self, json: &mut Vec<u8>, now: Timestamp) {
        json.reserve(self.bytes + 128);
        json.extend_from_slice(b"{\"items\":[");
        for (place, item) in self.items.values().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            item.write(json);
        }
        json.extend_from_slice(
            format!("],\"version\":{},\"timestamp\":\"{now}\"", self.version).as_bytes(),
        );
        for (key, value) in &self.extra {
            write_key(json, key);
            json.extend_from_slice(value.get().as_bytes());
        }
        json.push(b'}');
    }
}

/// Items that were removed, and by whom; the oldest are forgotten first.
#[derive(Debug, Default)]
struct Removed {
    by: HashMap<Arc<str>, (UserId, u64)>,
    order: VecDeque<(Arc<str>, u64)>,
    count: u64,
}

impl Removed {
    fn remember(&mut self, id: Arc<str>, user: UserId) {
        self.count += 1;
        self.by.insert(id.clone(), (user, self.count));
        self.order.push_back((id, self.count));
        while self.order.len() > MOST_REMOVED {
            let Some((id, count)) = self.order.pop_front() else { break };
            if self.by.get(&id).is_some_and(|(_, latest)| *latest == count) {
                self.by.remove(&id);
            }
        }
    }

    /// Whether it was remembered.
    fn forget(&mut self, id: &str) -> bool {
        self.by.remove(id).is_some()
    }
}
