//! The stored form of a document: readable JSON with everything the hub needs to go on.
//!
//! ```json
//! {"format":2,"version":7,
//!  "items":[{"uuid":"a","item_type":"source","x_mm":1.50},{"uuid":"b","item_type":"component"}],
//!  "users":["alice","bob"],
//!  "writers":[{"last":1,"fields":[0,0,1],"built":[]},0],
//!  "old":[[0,"9ae16a3b","2f90404f"]],
//!  "removed":[["c",1,0]],"removed_items":[{"uuid":"c","item_type":"source","x_mm":2}],
//!  "extra":{"zoom":3}}
//! ```
//!
//! - `items`: the items, byte for byte as clients wrote their values.
//! - `users`: all users who have been members or have written something. The other parts name a user by the
//!   place in this list.
//! - `writers`: an entry for each item. A number is the user who wrote all of it. An object has the `last`
//!   writer, the writers of the `fields` in order, and in `built` the users who built their copies, if that
//!   isn't the user alone who added it.
//! - `old`: marks of earlier values (`old_values.rs`): the item's place, marks of values at rest, and marks of
//!   places amid a drag.
//! - `removed`: the tombstones, the oldest first: the id, and the users who removed the item.
//! - `removed_items`: those of them that are kept to be brought back, as they were. Absent where early versions
//!   wrote the document.
//! - `extra`: the fields of a client's state beside its items.
//!
//! Ticks are not stored: everything was written before the server's start. Early versions wrote `past` instead
//! of `old`: the item's place, the field's name, and for each value its writer, its fingerprint and that of its
//! moved form. Format 1 had neither, no `built`, and one user for each tombstone.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::value::RawValue;

use super::document::Document;
use super::item::{Field, Item, PastValue, default_builders};
use super::old_values::OldValues;
use super::tombstones::{Tombstone, Tombstones};
use crate::protocol::UserId;
use crate::protocol::inbound::{MAX_ITEM_ID_BYTES, MAX_VERSION};
use crate::protocol::json::{self, Object};
use crate::protocol::outbound::write_object;

/// The format that is written; older ones are read.
const FORMAT: u64 = 2;

/// What was stored can't be read. Says where and why, and nothing of the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// The whole document.
    Document(&'static str),
    /// The change of this number.
    Change(u64, &'static str),
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damaged::Document(why) => write!(f, "the stored document can't be read: {why}"),
            Damaged::Change(seq, why) => write!(f, "change {seq} can't be read: {why}"),
        }
    }
}

impl std::error::Error for Damaged {}

impl Document {
    /// The document in stored form.
    pub fn to_stored(&self) -> Vec<u8> {
        self.stored(|tombstone| tombstone.item.as_deref())
    }

    /// The document in stored form without the removed items: as a version in memory, of which there may be
    /// several.
    pub(super) fn to_version(&self) -> Vec<u8> {
        self.stored(|_| None)
    }

    fn stored(&self, kept_of: impl Fn(&Tombstone) -> Option<&str>) -> Vec<u8> {
        let mut users = Users::default();
        let mut writers = Vec::new();
        let mut old = Vec::new();
        for (place, item) in self.items().enumerate() {
            writers.extend_from_slice(if writers.is_empty() { b"" } else { b"," });
            write_writers(&mut writers, item, &mut users);
            write_old_values(&mut old, place, item);
        }
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for (id, tombstone) in self.removed().iter() {
            removed.extend_from_slice(if removed.is_empty() { b"[" } else { b",[" });
            json::write_string(&mut removed, id);
            for user in &tombstone.users {
                removed.extend_from_slice(format!(",{}", users.place(user)).as_bytes());
            }
            removed.push(b']');
            if let Some(item) = kept_of(tombstone) {
                kept.extend_from_slice(if kept.is_empty() { b"\n" } else { b",\n" });
                kept.extend_from_slice(item.as_bytes());
            }
        }
        let mut others: Vec<&UserId> = self.users().collect();
        others.sort_unstable();
        for user in others {
            users.place(user);
        }
        let mut stored =
            Vec::with_capacity(self.bytes() + writers.len() + removed.len() + kept.len() + 256);
        let head = format!("{{\"format\":{FORMAT},\"version\":{},\"items\":[", self.version());
        stored.extend_from_slice(head.as_bytes());
        for (place, item) in self.items().enumerate() {
            stored.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
            item.write_stored(&mut stored);
        }
        stored.extend_from_slice(b"],\n\"users\":[");
        for (place, user) in users.names.iter().enumerate() {
            stored.extend_from_slice(if place == 0 { b"" } else { b"," });
            json::write_string(&mut stored, user);
        }
        stored.extend_from_slice(b"],\n\"writers\":[");
        stored.extend_from_slice(&writers);
        stored.extend_from_slice(b"],\n\"old\":[");
        stored.extend_from_slice(&old);
        stored.extend_from_slice(b"],\n\"removed\":[");
        stored.extend_from_slice(&removed);
        stored.extend_from_slice(b"],\n\"removed_items\":[");
        stored.extend_from_slice(&kept);
        stored.extend_from_slice(b"],\n\"extra\":");
        write_object(&mut stored, self.extra().iter().map(|(key, value)| (&**key, &**value)));
        stored.extend_from_slice(b"}\n");
        stored
    }

    /// Parses a stored document.
    ///
    /// # Errors
    /// [`Damaged`], if it isn't what [`to_stored`](Self::to_stored) or an earlier version wrote.
    pub fn from_stored(stored: &[u8]) -> Result<Self, Damaged> {
        read(stored).map_err(Damaged::Document)
    }
}

/// The users of a document and their places in the stored list.
#[derive(Default)]
struct Users<'a> {
    names: Vec<&'a UserId>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Users<'a> {
    fn place(&mut self, user: &'a UserId) -> usize {
        *self.places.entry(user).or_insert_with(|| {
            self.names.push(user);
            self.names.len() - 1
        })
    }
}

fn write_writers<'a>(json: &mut Vec<u8>, item: &'a Item, users: &mut Users<'a>) {
    let last = users.place(&item.writer);
    let wrote_all = item.fields.iter().all(|field| field.writer == item.writer);
    let adder = item.field("uuid").map(|field| &field.writer);
    let is_as_always = item.builders == default_builders(&item.fields, adder);
    if wrote_all && is_as_always {
        return json.extend_from_slice(last.to_string().as_bytes());
    }
    json.extend_from_slice(format!("{{\"last\":{last}").as_bytes());
    if !wrote_all {
        let writers = item.fields.iter().map(|field| &field.writer);
        write_users(json, "fields", writers, users);
    }
    if !is_as_always {
        write_users(json, "built", item.builders.iter(), users);
    }
    json.push(b'}');
}

fn write_users<'a>(
    json: &mut Vec<u8>,
    name: &str,
    who: impl Iterator<Item = &'a UserId>,
    users: &mut Users<'a>,
) {
    let places: Vec<String> = who.map(|user| users.place(user).to_string()).collect();
    json.extend_from_slice(format!(",\"{name}\":[{}]", places.join(",")).as_bytes());
}

fn write_old_values(json: &mut Vec<u8>, place: usize, item: &Item) {
    let mut old = item.old.clone();
    for field in &item.fields {
        field.past.iter().for_each(|past| old.remember(&field.key, past));
    }
    if !old.is_empty() {
        let [at_rest, passed] = old.to_stored();
        json.extend_from_slice(if json.is_empty() { b"" } else { b"," });
        json.extend_from_slice(format!("[{place},\"{at_rest}\",\"{passed}\"]").as_bytes());
    }
}

/// The writers of an item.
#[derive(serde::Deserialize)]
struct Writers {
    last: usize,
    fields: Option<Vec<usize>>,
    built: Option<Vec<usize>>,
}

impl Writers {
    fn read(value: &RawValue) -> Option<Self> {
        match serde_json::from_str(value.get()) {
            Ok(last) => Some(Writers { last, fields: None, built: None }),
            Err(_) => serde_json::from_str(value.get()).ok(),
        }
    }
}

fn read(stored: &[u8]) -> Result<Document, &'static str> {
    let text = std::str::from_utf8(stored).map_err(|_| "it is not UTF-8")?;
    json::check_depth_and_numbers(text)?;
    let stored = Object::parse(text).map_err(|_| "it is not a JSON object")?;
    match part::<u64>(&stored, "format") {
        Some(1..=FORMAT) => {}
        Some(_) => return Err("a newer collabd has written it"),
        None => return Err("it has no format"),
    }
    let version = part(&stored, "version").filter(|version| *version <= MAX_VERSION);
    let version = version.ok_or("it has no version")?;
    let users: Vec<Box<str>> = part(&stored, "users").ok_or("it has no users")?;
    let users: Vec<UserId> = users.into_iter().map(UserId::from).collect();
    let items: Vec<&RawValue> = part(&stored, "items").ok_or("it has no items")?;
    let writers: Vec<&RawValue> = part(&stored, "writers").ok_or("it has no writers")?;
    if items.len() != writers.len() {
        return Err("its items and writers don't match");
    }
    let items = items.into_iter().zip(writers).map(|(item, writers)| {
        let writers = Writers::read(writers).ok_or("who wrote an item is no number")?;
        read_item(item, &writers, &users)
    });
    let mut items: Vec<Item> = items.collect::<Result<_, _>>()?;
    if stored.get("past").is_some() {
        read_past(&stored, &mut items)?;
    }
    if stored.get("old").is_some() {
        read_old_values(&stored, &mut items)?;
    }
    let removed: Vec<&RawValue> =
        part(&stored, "removed").ok_or("it has no list of removed items")?;
    let mut kept = read_removed_items(&stored)?;
    let mut remembered = Tombstones::default();
    for tombstone in removed {
        let (id, users) = read_tombstone(tombstone, &users)?;
        let item = kept.remove(&id).map(|item| item.get().into());
        remembered.add(id.into(), users, 0, OldValues::default(), item);
    }
    let extra = stored.get("extra").and_then(|extra| Object::parse(extra.get()).ok());
    let extra = extra.ok_or("it has nothing extra")?.to_fields();
    let users = HashSet::from_iter(users);
    Document::from_parts(items, remembered, users, extra, version).ok_or("two items have one name")
}

/// The removed items that are kept, by id.
fn read_removed_items<'a>(
    stored: &Object<'a>,
) -> Result<HashMap<Box<str>, &'a RawValue>, &'static str> {
    let Some(items) = stored.get("removed_items") else { return Ok(HashMap::new()) };
    let items: Vec<&'a RawValue> =
        serde_json::from_str(items.get()).map_err(|_| "its removed items are no list")?;
    let with_id = |item: &'a RawValue| {
        let fields = Object::parse(item.get()).ok()?;
        Some((json::as_string(fields.get("uuid")?)?.into(), item))
    };
    let items = items.into_iter().map(|item| with_id(item).ok_or("a removed item has no id"));
    items.collect()
}

/// `["id",user,…]`.
fn read_tombstone(
    tombstone: &RawValue,
    users: &[UserId],
) -> Result<(Box<str>, Vec<UserId>), &'static str> {
    const NO_TOMBSTONE: &str = "a removed item is not a list of its name and users";
    let parts: Vec<&RawValue> = serde_json::from_str(tombstone.get()).map_err(|_| NO_TOMBSTONE)?;
    let (id, by) = parts.split_first().filter(|(_, by)| !by.is_empty()).ok_or(NO_TOMBSTONE)?;
    let id = json::as_string(id).ok_or(NO_TOMBSTONE)?;
    let user = |place: &&RawValue| {
        let place = serde_json::from_str::<usize>(place.get()).map_err(|_| NO_TOMBSTONE)?;
        users.get(place).cloned().ok_or(UNKNOWN_USER)
    };
    Ok((id.into(), by.iter().map(user).collect::<Result<_, _>>()?))
}

/// `[[item,"at rest","passed"],…]`.
fn read_old_values(stored: &Object<'_>, items: &mut [Item]) -> Result<(), &'static str> {
    let lists: Vec<(usize, Box<str>, Box<str>)> =
        part(stored, "old").ok_or("its old values are no list")?;
    for (item, at_rest, passed) in lists {
        let item = items.get_mut(item).ok_or("an old value is of no item")?;
        let old = OldValues::from_stored(&at_rest, &passed);
        item.old = old.ok_or("an old value is no mark")?;
    }
    Ok(())
}

/// `[[item,"field",[[user,"print"],…]],…]`, which early versions wrote instead of `old`.
fn read_past(stored: &Object<'_>, items: &mut [Item]) -> Result<(), &'static str> {
    const NO_PAST: &str = "an earlier value is not a user and a fingerprint";
    let print = |text: &str| u64::from_str_radix(text, 16).map_err(|_| NO_PAST);
    type Values<'a> = Vec<Vec<&'a RawValue>>;
    let fields: Vec<(usize, Box<str>, Values<'_>)> =
        part(stored, "past").ok_or("its earlier values are no list")?;
    for (item, key, values) in fields {
        let item = items.get_mut(item).ok_or("an earlier value is of no item")?;
        for value in values {
            let text = |place: usize| value.get(place).and_then(|text| json::as_string(text));
            let past = PastValue {
                print: print(&text(1).ok_or(NO_PAST)?)?,
                moved_print: text(2).map(|text| print(&text)).transpose()?,
                writer: item.writer.clone(),
                tick: 0,
                is_at_rest: true,
            };
            item.old.remember(&key, &past);
        }
    }
    Ok(())
}

const UNKNOWN_USER: &str = "a user is not in the list";

fn part<'a, T: serde::Deserialize<'a>>(stored: &Object<'a>, name: &str) -> Option<T> {
    serde_json::from_str(stored.get(name)?.get()).ok()
}

fn read_item(item: &RawValue, writers: &Writers, users: &[UserId]) -> Result<Item, &'static str> {
    let fields = Object::parse(item.get()).map_err(|_| "an item is not a JSON object")?;
    let id = fields.get("uuid").and_then(json::as_string);
    let id = id.filter(|id| (1..=MAX_ITEM_ID_BYTES).contains(&id.len()));
    let id = id.ok_or("an item has no name")?;
    if !fields.get("item_type").is_some_and(json::is_string) {
        return Err("an item has no type");
    }
    let fields = fields.to_fields();
    if writers.fields.as_ref().is_some_and(|writers| writers.len() != fields.len()) {
        return Err("an item's fields and their writers don't match");
    }
    let user = |place: usize| users.get(place).cloned().ok_or(UNKNOWN_USER);
    let fields = fields.into_iter().enumerate().map(|(place, (key, value))| {
        let writer = writers.fields.as_ref().map_or(writers.last, |fields| fields[place]);
        Ok(Field { key, value, writer: user(writer)?, tick: 0, is_at_rest: true, past: Vec::new() })
    });
    let fields: Vec<Field> = fields.collect::<Result<_, &'static str>>()?;
    let adder = fields.iter().find(|field| &*field.key == "uuid").map(|field| &field.writer);
    let builders = match &writers.built {
        Some(built) => built.iter().map(|place| user(*place)).collect::<Result<_, _>>()?,
        None => default_builders(&fields, adder),
    };
    let mut item = Item::new(id.into(), fields, user(writers.last)?, 0);
    item.builders = builders;
    Ok(item)
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
