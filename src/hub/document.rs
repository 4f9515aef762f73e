//! The document of a session: its items, in the order in which they were added.
//!
//! Each field has its last writer and its earlier values. They decide what a message or a snapshot may
//! overwrite (`writing.rs`, `merge.rs`).

mod canvas;
mod replace;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::bounds::{Allowance, TooBig};
use super::item::{FIELD_MEMORY, Field, Item, MAX_MARKED, PLACE, is_fixed};
use super::tombstones::Tombstones;
use crate::protocol::UserId;
use crate::protocol::inbound::{Action, Command, MAX_VERSION};
use crate::protocol::json::{self, Fields, Object};
use crate::protocol::relayed::complete_item;

pub use super::author::Author;

/// How many users a document remembers at most.
const MAX_USERS: usize = 10_000;

/// What a command did to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Added,
    Changed,
    Removed,
    /// Nothing changed: the item is unknown, or the action is none that the server applies.
    Nothing,
}

/// One change of an item, of those that a snapshot or a replaced document makes.
#[derive(Debug)]
pub enum Applied {
    Added(Arc<str>),
    Changed(Arc<str>),
    Removed(Arc<str>),
}

impl Applied {
    /// The id of the item.
    pub fn id(&self) -> &Arc<str> {
        match self {
            Applied::Added(id) | Applied::Changed(id) | Applied::Removed(id) => id,
        }
    }
}

/// What no change says and is not stored yet.
#[derive(Debug, Default)]
pub struct News {
    /// Users who joined for the first time.
    pub users: Vec<UserId>,
    /// Items whose `builders` changed without a change of the item.
    pub built: BTreeSet<Arc<str>>,
}

/// The items of one session, with tombstones, users and counters.
#[derive(Debug, Default)]
pub struct Document {
    items: BTreeMap<u64, Item>,
    places: HashMap<Arc<str>, u64>,
    next_place: u64,
    removed: Tombstones,
    /// The users who have been members.
    users: HashSet<UserId>,
    news: News,
    /// The fields of a client's state beside items, version and time stamp.
    extra: Fields,
    version: u64,
    bytes: usize,
    /// The memory of the items and of `extra`, in bytes.
    items_memory: usize,
    extra_memory: usize,
}

impl Document {
    /// Makes a document of its parts; `None` if two items have the same id.
    pub(super) fn from_parts(
        items: Vec<Item>,
        removed: Tombstones,
        users: HashSet<UserId>,
        extra: Fields,
        version: u64,
    ) -> Option<Self> {
        let extra_memory = memory_of(&extra);
        let mut document =
            Document { removed, users, extra, extra_memory, version, ..Document::default() };
        for item in items {
            if document.places.contains_key(&item.id) {
                return None;
            }
            document.put(item);
        }
        Some(document)
    }

    /// Whether it was ever changed.
    pub fn exists(&self) -> bool {
        self.version > 0
    }

    /// The version, which grows with every applied change; at most 2^53 − 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Counts an applied change. The version becomes at least `version`, that of a client's state.
    pub fn advance(&mut self, version: u64) {
        self.version = (self.version + 1).max(version).min(MAX_VERSION);
    }

    /// The item with this id.
    pub fn get(&self, id: &str) -> Option<&Item> {
        self.items.get(self.places.get(id)?)
    }

    /// All items, in the order in which they were added.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The size of the items as JSON, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// An estimate of its memory, in bytes: items with their earlier values, and extra fields. Takes constant
    /// time. Tombstones don't count, so that a removal never fails; their number is bounded.
    pub fn memory(&self) -> usize {
        self.items_memory + self.extra_memory
    }

    /// Computes [`memory`](Self::memory) anew, in time linear in the document.
    pub(super) fn computed_memory(&self) -> usize {
        let items = self.items.values().map(Item::memory).sum::<usize>();
        items + memory_of(&self.extra)
    }

    /// The tombstones of items that were removed and not added again.
    pub(super) fn removed(&self) -> &Tombstones {
        &self.removed
    }

    /// Records that one more user removed an item that is gone already. `true` if that changes the tombstone.
    pub(super) fn remove_again(&mut self, id: &str, user: &UserId) -> bool {
        self.removed.add_remover(id, user)
    }

    /// The users who have been members: the first 10,000.
    pub(super) fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.iter()
    }

    /// Whether a user is known to have been a member.
    pub(super) fn knows(&self, user: &UserId) -> bool {
        self.users.contains(user)
    }

    /// Records that a user is a member.
    pub(super) fn meet(&mut self, user: &UserId) {
        if self.users.len() < MAX_USERS && !self.users.contains(user) {
            self.users.insert(user.clone());
            self.news.users.push(user.clone());
        }
    }

    /// Drops the news that this user joined: a stored change of the user says so.
    pub(super) fn note_user_stored(&mut self, user: &UserId) {
        self.news.users.retain(|known| known != user);
    }

    /// Takes the news that were gathered since the last call.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Records whether a user built its copy of an item itself.
    pub(super) fn note_builder(&mut self, id: &str, user: &UserId, is_own: bool) {
        let Some(item) = self.places.get(id).and_then(|place| self.items.get_mut(place)) else {
            return;
        };
        let is_own = is_own && !item.is_plain();
        match (is_own, item.builders.iter().position(|builder| builder == user)) {
            (true, None) => item.builders.push(user.clone()),
            (false, Some(place)) => drop(item.builders.remove(place)),
            _ => return,
        }
        self.news.built.insert(item.id.clone());
    }

    /// Replaces the users who built their copies of an item themselves.
    pub(super) fn set_builders(&mut self, id: &str, users: Vec<UserId>) {
        if let Some(item) = self.get_mut(id) {
            item.builders = users;
        }
    }

    /// Records that a user's canvas was built anew from the document: the user built none of its copies.
    /// `true` if that changes an item.
    pub(super) fn remove_builder(&mut self, user: &UserId) -> bool {
        let mut is_news = false;
        for item in self.items.values_mut() {
            let before = item.builders.len();
            item.builders.retain(|builder| builder != user);
            is_news |= item.builders.len() < before;
        }
        is_news
    }

    /// The item with this id, to change what is remembered of it. Its fields change through
    /// [`overwrite`](Self::overwrite) alone, which counts bytes.
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Item> {
        self.items.get_mut(self.places.get(id)?)
    }

    /// The fields of a client's state beside items, version and time stamp.
    pub(super) fn extra(&self) -> &Fields {
        &self.extra
    }

    /// Applies a command as it was relayed: writes every field it has.
    ///
    /// # Errors
    /// [`TooBig`]; nothing has changed then.
    pub fn apply(
        &mut self,
        command: &mut Command,
        author: Author<'_>,
        allowance: Allowance,
    ) -> Result<Outcome, TooBig> {
        let id = &*command.item_id;
        let known = self.places.contains_key(id);
        match command.action {
            Action::Add if !known => {
                let fields = std::mem::take(&mut command.data);
                self.add(id, fields, command.item_type.as_deref(), author, allowance)?;
                Ok(Outcome::Added)
            }
            Action::Remove if known => {
                self.remove(id, author);
                Ok(Outcome::Removed)
            }
            Action::Add | Action::Update | Action::Move if known => {
                let only_place = command.action == Action::Move;
                let mut fields = std::mem::take(&mut command.data);
                fields.retain(|(key, _)| !only_place || PLACE.contains(&&**key));
                self.overwrite(id, fields, author, allowance)?;
                Ok(Outcome::Changed)
            }
            _ => Ok(Outcome::Nothing),
        }
    }

    /// Adds an item that the document doesn't have.
    ///
    /// # Errors
    /// [`TooBig`]; nothing has changed then.
    pub fn add(
        &mut self,
        id: &str,
        fields: Fields,
        item_type: Option<&RawValue>,
        author: Author<'_>,
        allowance: Allowance,
    ) -> Result<(), TooBig> {
        let field = |(key, value)| Field::new(key, value, author);
        let fields = complete_item(id, fields, item_type).into_iter().map(field).collect();
        let mut item = Item::new(id.into(), fields, author.user.clone(), author.tick);
        let last = self.removed.get(id).map(|stone| &stone.last).filter(|last| !last.is_empty());
        item.changed_at = Some(author.at);
        item.before = last.cloned().map(Box::new);
        let bounds = allowance.bounds;
        if item.bytes > bounds.item {
            return Err(TooBig::Item(bounds.item));
        }
        if self.len() >= bounds.items() {
            return Err(TooBig::Items(bounds.items()));
        }
        if self.bytes + item.bytes > bounds.document {
            return Err(TooBig::Document(bounds.document));
        }
        allowance.check_growth(item.memory() as isize)?;
        self.removed.remove(id);
        self.put(item);
        Ok(())
    }

    /// Appends an item that the document doesn't have.
    fn put(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.items_memory += item.memory();
        self.places.insert(item.id.clone(), self.next_place);
        self.items.insert(self.next_place, item);
        self.next_place += 1;
        debug_assert_eq!(self.items.len(), self.places.len());
    }

    /// Overwrites fields of an item; its id and type stay. Does nothing if there is no such item.
    ///
    /// # Errors
    /// [`TooBig`]; nothing has changed then.
    pub fn overwrite(
        &mut self,
        id: &str,
        mut fields: Fields,
        author: Author<'_>,
        allowance: Allowance,
    ) -> Result<(), TooBig> {
        let Some(item) = self.places.get(id).and_then(|place| self.items.get_mut(place)) else {
            return Ok(());
        };
        fields.retain(|(key, value)| !is_fixed(key, value));
        let sizes = item.overwritten(&fields);
        let (before, after) = (item.bytes, sizes.bytes);
        // A coordinate may have more digits than the one before. A drag must not fail for that.
        let is_place = |(key, value): &(json::Name, Box<RawValue>)| {
            PLACE.contains(&&**key) && value.get().len() <= MAX_COORDINATE_BYTES
        };
        let allowance = match fields.iter().all(is_place) {
            true => allowance.for_move(),
            false => allowance,
        };
        let bounds = allowance.bounds;
        if after > before && after > bounds.item {
            return Err(TooBig::Item(bounds.item));
        }
        if after > before && self.bytes - before + after > bounds.document {
            return Err(TooBig::Document(bounds.document));
        }
        allowance.check_growth(item.growth(&sizes))?;
        let memory_before = item.memory();
        item.overwrite(fields, sizes, author);
        self.bytes = self.bytes - before + after;
        self.items_memory = self.items_memory - memory_before + item.memory();
        Ok(())
    }

    /// Removes an item and leaves a tombstone.
    pub fn remove(&mut self, id: &str, author: Author<'_>) {
        if let Some((id, place)) = self.places.remove_entry(id)
            && let Some(item) = self.items.remove(&place)
        {
            self.bytes -= item.bytes;
            self.items_memory -= item.memory();
            debug_assert_eq!(self.items.len(), self.places.len());
            debug_assert!(!self.items.is_empty() || (self.bytes, self.items_memory) == (0, 0));
            debug_assert_eq!(id, item.id);
            self.bury(item, author);
        }
    }

    /// Leaves the tombstone of an item that was taken out.
    fn bury(&mut self, item: Item, author: Author<'_>) {
        let mut json = Vec::new();
        item.write_stored(&mut json);
        let kept = String::from_utf8(json).ok().map(String::into_boxed_str);
        let (id, users) = (item.id.clone(), vec![author.user.clone()]);
        let last = item.into_tombstone_values(author.received);
        self.removed.add(id, users, author.tick, last, kept);
    }

    /// Adds a removed item again as it was. `false` if that isn't known any more; nothing has changed then.
    ///
    /// # Errors
    /// [`TooBig`]; nothing has changed then.
    pub(super) fn bring_back(
        &mut self,
        id: &str,
        author: Author<'_>,
        allowance: Allowance,
    ) -> Result<bool, TooBig> {
        let kept = self.removed.get(id).and_then(|stone| stone.item.as_deref());
        // What is kept was written by the server.
        let fields = kept.and_then(|kept| Object::parse(kept).ok().map(|item| item.to_fields()));
        let Some(fields) = fields else { return Ok(false) };
        self.add(id, fields, None, author, allowance).map(|()| true)
    }

    /// Records the values that a copy shows of a removed item. If the item is added again, they are known to
    /// be older.
    pub(super) fn note_said_of_removed(&mut self, id: &str, said: &Fields) {
        for (key, value) in said.iter().take(MAX_MARKED) {
            self.removed.add_value(id, key, json::fingerprint(value));
        }
    }

    /// Drops the removed items that are kept; their tombstones stay.
    pub fn forget_removed_items(&mut self) {
        self.removed.forget_items();
    }

    /// Drops all tombstones: a new design begins.
    pub fn forget_removed(&mut self) {
        self.removed = Tombstones::default();
    }

    /// Takes over the extra fields of a client's state, if it has any. `true` if the document changes by it.
    pub fn set_extra(&mut self, extra: &Fields) -> bool {
        let is_news = !extra.is_empty() && !json::same_text(extra, &self.extra);
        if is_news {
            self.extra.clone_from(extra);
            self.extra_memory = memory_of(extra);
        }
        is_news
    }

    /// Drops the extra fields.
    pub fn forget_extra(&mut self) {
        self.extra = Fields::new();
        self.extra_memory = 0;
    }
}

/// The longest number in JSON that counts as a coordinate, in bytes. Editors and scripts write shorter ones.
const MAX_COORDINATE_BYTES: usize = 32;

/// The memory that extra fields take, in bytes.
fn memory_of(extra: &Fields) -> usize {
    extra.iter().map(|(key, value)| key.len() + value.get().len() + FIELD_MEMORY).sum()
}
