//! The document: the items of one session's canvas, in the order they were added.
//!
//! Every field remembers who wrote it last, and its earlier values: what a message or a snapshot may
//! overwrite depends on it (`writing.rs`, `merge.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::bounds::{Allowance, TooBig};
use super::item::{
    FIELD_MEMORY, Field, Item, MAX_MARKED, PLACE, is_fixed, is_identity, memory_completed,
    size_completed,
};
use super::item_frames;
use super::removed::Removed;
use super::writing::with_hidden_path;
use crate::protocol::inbound::{Action, Command, MAX_VERSION, State, StateItem};
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::write_key;
use crate::protocol::relayed::complete_item;
use crate::protocol::{Timestamp, UserId};

/// How many users are known to have been here, at most.
const MAX_USERS: usize = 10_000;

/// Who changes something, and when.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    pub user: &'a UserId,
    /// The session's tick.
    pub tick: u64,
    /// Everybody has received what was sent at or before this tick.
    pub received: u64,
}

impl<'a> Author<'a> {
    /// Somebody whose change is long past: everybody has received it.
    pub fn of_the_past(user: &'a UserId) -> Self {
        Author { user, tick: 0, received: u64::MAX }
    }
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

/// One of the changes that were made together.
#[derive(Debug)]
pub enum Applied {
    Added(Arc<str>),
    Changed(Arc<str>),
    Removed(Arc<str>),
}

impl Applied {
    /// The item that was changed.
    pub fn id(&self) -> &Arc<str> {
        match self {
            Applied::Added(id) | Applied::Changed(id) | Applied::Removed(id) => id,
        }
    }
}

/// What has become known that no change says, and is not stored yet.
#[derive(Debug, Default)]
pub struct News {
    /// Users who have come for the first time.
    pub users: Vec<UserId>,
    /// Items of which it is known in another way than by their changes whose copies are their own.
    pub built: BTreeSet<Arc<str>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Document {
    items: BTreeMap<u64, Item>,
    places: HashMap<Arc<str>, u64>,
    next_place: u64,
    removed: Removed,
    /// The users who have been members.
    users: HashSet<UserId>,
    news: News,
    /// What a client's state carried beside items, version and time stamp.
    extra: Fields,
    version: u64,
    bytes: usize,
    /// What the items take of memory, and what is extra.
    items_memory: usize,
    extra_memory: usize,
}

impl Document {
    /// A document of these parts; `None` where two items have one id.
    pub(super) fn of(
        items: Vec<Item>,
        removed: Removed,
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
        self.version = (self.version + 1).max(version).min(MAX_VERSION);
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

    /// What it takes of memory, in bytes: its items with their earlier values, and what is extra. Reckoned, not
    /// measured; takes no time. Tombstones, of which there are few, don't count: what was removed can always
    /// be brought back.
    pub fn memory(&self) -> usize {
        self.items_memory + self.extra_memory
    }

    /// The same, reckoned anew.
    pub(super) fn memory_reckoned(&self) -> usize {
        let items = self.items.values().map(Item::memory).sum::<usize>();
        items + memory_of(&self.extra)
    }

    /// The items that were removed and have not come back.
    pub(super) fn removed(&self) -> &Removed {
        &self.removed
    }

    /// Notes that one more user has removed an item that is gone already. Whether that is news.
    pub(super) fn remove_again(&mut self, id: &str, user: &UserId) -> bool {
        self.removed.remember_another(id, user)
    }

    /// The users who have been members, as far as they are remembered.
    pub(super) fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.iter()
    }

    /// Whether a user has been a member.
    pub(super) fn knows(&self, user: &UserId) -> bool {
        self.users.contains(user)
    }

    /// Notes that a user is a member.
    pub(super) fn meet(&mut self, user: &UserId) {
        if self.users.len() < MAX_USERS && !self.users.contains(user) {
            self.users.insert(user.clone());
            self.news.users.push(user.clone());
        }
    }

    /// Notes that a change of this user's is stored, which says that it has been here.
    pub(super) fn has_stored_user(&mut self, user: &UserId) {
        self.news.users.retain(|known| known != user);
    }

    /// What has become known since this was asked for last.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Notes whether a user's copy of an item is one that it built itself.
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

    /// Notes the users whose copies of an item are ones that they built themselves.
    pub(super) fn set_builders(&mut self, id: &str, users: Vec<UserId>) {
        if let Some(item) = self.get_mut(id) {
            item.builders = users;
        }
    }

    /// Notes that a user's canvas was built anew from the document: none of it is its own work.
    /// Whether that is news.
    pub(super) fn is_rebuilt_by(&mut self, user: &UserId) -> bool {
        let mut is_news = false;
        for item in self.items.values_mut() {
            let before = item.builders.len();
            item.builders.retain(|builder| builder != user);
            is_news |= item.builders.len() < before;
        }
        is_news
    }

    /// The item with this id, to be changed in what is remembered of it, not in what it is.
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Item> {
        self.items.get_mut(self.places.get(id)?)
    }

    /// What a client's state carried beside items, version and time stamp.
    pub(super) fn extra(&self) -> &Fields {
        &self.extra
    }

    /// Applies one command as it was relayed: every field it has is written.
    ///
    /// # Errors
    /// [`TooBig`], and then nothing has changed.
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
        allowance: Allowance,
    ) -> Result<(), TooBig> {
        let field = |(key, value)| Field::new(key, value, author);
        let fields = complete_item(id, fields, item_type).into_iter().map(field).collect();
        let mut item = Item::new(id.into(), fields, author.user.clone(), author.tick);
        let last = self.removed.get(id).map(|stone| &stone.last).filter(|last| !last.is_empty());
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
        self.removed.forget(id);
        self.put(item);
        Ok(())
    }

    /// Puts an item that is not there yet behind all others.
    fn put(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.items_memory += item.memory();
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
        allowance: Allowance,
    ) -> Result<(), TooBig> {
        let Some(item) = self.places.get(id).and_then(|place| self.items.get_mut(place)) else {
            return Ok(());
        };
        fields.retain(|(key, value)| !is_fixed(key, value));
        let sizes = item.overwritten(&fields);
        let (before, after) = (item.bytes, sizes.bytes);
        // A place may have more digits than the one before it: a drag is always taken.
        let is_place = |(key, value): &(json::Name, Box<RawValue>)| {
            PLACE.contains(&&**key) && value.get().len() <= LONGEST_COORDINATE
        };
        let allowance = match fields.iter().all(is_place) {
            true => allowance.for_a_drag(),
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

    /// Removes an item and remembers who did it.
    pub fn remove(&mut self, id: &str, author: Author<'_>) {
        if let Some((id, place)) = self.places.remove_entry(id)
            && let Some(item) = self.items.remove(&place)
        {
            self.bytes -= item.bytes;
            self.items_memory -= item.memory();
            let users = vec![author.user.clone()];
            self.removed.remember(id, users, author.tick, item.into_last(author.received));
        }
    }

    /// Notes what a copy shows of an item that is gone: if the item comes back, these are values of before.
    pub(super) fn note_said_of_removed(&mut self, id: &str, said: &Fields) {
        for (key, value) in said.iter().take(MAX_MARKED) {
            self.removed.remember_value(id, key, json::fingerprint(value));
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
            self.extra_memory = memory_of(extra);
        }
        is_news
    }

    /// Drops what a client's state carried beside its items.
    pub fn forget_extra(&mut self) {
        self.extra = Fields::new();
        self.extra_memory = 0;
    }

    /// The same canvas as a client's state.
    pub fn into_state(self) -> State {
        let items = self.items.into_values().map(|item| StateItem {
            id: (&*item.id).into(),
            fields: item.fields.into_iter().map(|field| (field.key, field.value)).collect(),
        });
        let (items, left_out) = (items.collect(), Vec::new());
        let (version, extra, renamed) = (self.version, self.extra, Vec::new());
        State { items, version, extra, left_out, renamed, is_from_file: false }
    }

    /// Makes a client's state the document: fields it shows unchanged keep their history, the others
    /// are the author's, and what it doesn't show is removed. Its items come in the state's order, behind
    /// them those that the state had but that could not be taken.
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
                    // Unbounded: it can't fail.
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
            let (id, users) = (item.id.clone(), vec![author.user.clone()]);
            self.removed.remember(id, users, author.tick, item.into_last(author.received));
        }
        changes
    }

    /// Whether a client's state may be the whole document.
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

    /// By how many bytes of memory it grows when what a state carries beside its items takes the place of
    /// what it has.
    pub(super) fn growth_of_extra(&self, extra: &Fields) -> isize {
        match extra.is_empty() {
            true => 0,
            false => memory_of(extra) as isize - self.extra_memory as isize,
        }
    }

    /// Appends `{"items":[…],"version":…,"timestamp":…}` as JSON.
    pub fn write_state(&self, json: &mut Vec<u8>, now: Timestamp) {
        self.write_canvas(json, now, |_| true, |item, json| item.write(json));
    }

    /// The same, with the items alone that editors know.
    pub fn write_editors_state(&self, json: &mut Vec<u8>, now: Timestamp) {
        self.write_canvas(json, now, Item::is_for_editors, item_frames::write_whole);
    }

    /// The same as a file that an editor opens: each item has the names for its id and type that an
    /// editor reads there, and nothing extra is called what a file says of its origin.
    pub fn write_file(&self, json: &mut Vec<u8>, now: Timestamp) {
        self.write_canvas(json, now, |_| true, Item::write_for_file);
    }

    fn write_canvas(
        &self,
        json: &mut Vec<u8>,
        now: Timestamp,
        is_shown: impl Fn(&Item) -> bool,
        write: impl Fn(&Item, &mut Vec<u8>),
    ) {
        json.reserve(self.bytes + 128);
        json.extend_from_slice(b"{\"items\":[");
        let shown = self.items.values().filter(|item| is_shown(item));
        for (place, item) in shown.enumerate() {
            if place > 0 {
                json.push(b',');
            }
            write(item, json);
        }
        json.extend_from_slice(
            format!("],\"version\":{},\"timestamp\":\"{now}\"", self.version).as_bytes(),
        );
        for (key, value) in self.extra.iter().filter(|(key, _)| !State::ORIGIN.contains(&&**key)) {
            write_key(json, key);
            json.extend_from_slice(value.get().as_bytes());
        }
        json.push(b'}');
    }
}

/// An item's fields with the `item_type` that goes with their `_type`, where that is one.
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

/// How many characters a coordinate has at most that an editor or a script writes.
const LONGEST_COORDINATE: usize = 32;

/// What fields take of memory that are no item's.
fn memory_of(extra: &Fields) -> usize {
    extra.iter().map(|(key, value)| key.len() + value.get().len() + FIELD_MEMORY).sum()
}
