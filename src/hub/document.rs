//! The document: the items of one session's canvas, in the order they were added.
//!
//! Every field remembers who wrote it last and when, because what a host's snapshot may overwrite
//! depends on it (`snapshot.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::item::{FIELD_OVERHEAD, Field, Item, find, is_identity, size_completed, size_of};
use super::removed::Removed;
use crate::protocol::inbound::{Action, Command, LARGEST_VERSION, State, StateItem};
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::write_key;
use crate::protocol::relayed::complete_item;
use crate::protocol::{Timestamp, UserId};

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
    /// A document of these parts; `None` where two items have one id.
    pub(super) fn of(
        items: Vec<Item>,
        removed: Removed,
        extra: Fields,
        version: u64,
    ) -> Option<Self> {
        let mut document = Document { removed, extra, version, ..Document::default() };
        for item in items {
            if document.places.contains_key(&item.id) {
                return None;
            }
            document.put(item);
        }
        Some(document)
    }

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

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Its size as JSON, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The items that were removed and have not come back.
    pub(super) fn removed(&self) -> &Removed {
        &self.removed
    }

    /// Who removed the item with this id, if it was removed and has not come back.
    pub fn removed_by(&self, id: &str) -> Option<&UserId> {
        self.removed.by(id)
    }

    /// What a client's state carried beside items, version and time stamp.
    pub(super) fn extra(&self) -> &Fields {
        &self.extra
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
        let stamp = |(key, value)| Field { key, value, writer: author.user.clone(), at: author.at };
        let fields = complete_item(id, fields, item_type).into_iter().map(stamp).collect();
        let mut item = Item::new(id.into(), fields, author.user.clone(), author.at);
        if item.bytes > bounds.item || self.bytes + item.bytes > bounds.document {
            return Err(TooBig);
        }
        item.came_back = self.removed.forget(id);
        self.put(item);
        Ok(())
    }

    /// Puts an item that is not there yet behind all others.
    fn put(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.places.insert(item.id.clone(), self.next_place);
        self.items.insert(self.next_place, item);
        self.next_place += 1;
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

    /// Takes over what a client's state carried beside its items, if anything. Whether that is news.
    pub fn set_extra(&mut self, extra: &Fields) -> bool {
        let is_news = !extra.is_empty() && !json::same_text(extra, &self.extra);
        if is_news {
            self.extra.clone_from(extra);
        }
        is_news
    }

    /// Drops what a client's state carried beside its items.
    pub fn forget_extra(&mut self) {
        self.extra.clear();
    }

    /// The same canvas as a client's state.
    pub fn into_state(self) -> State {
        let items = self.items.into_values().map(|item| StateItem {
            id: (&*item.id).into(),
            fields: item.fields.into_iter().map(|field| (field.key, field.value)).collect(),
        });
        let (items, left_out) = (items.collect(), Vec::new());
        State { items, version: self.version, extra: self.extra, left_out }
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
                    self.put(known);
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
        self.write_canvas(json, now, |_| true);
    }

    /// The same, without anything extra by the names of what a file says of its origin.
    pub fn write_file(&self, json: &mut Vec<u8>, now: Timestamp) {
        self.write_canvas(json, now, |key| !State::ORIGIN.contains(&key));
    }

    fn write_canvas(&self, json: &mut Vec<u8>, now: Timestamp, is_wanted: impl Fn(&str) -> bool) {
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
        for (key, value) in self.extra.iter().filter(|(key, _)| is_wanted(key)) {
            write_key(json, key);
            json.extend_from_slice(value.get().as_bytes());
        }
        json.push(b'}');
    }
}
