//! A whole canvas as a client sends it, or an editor writes it into a file.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::value::RawValue;

use super::item::{self, DEEPEST_ITEM, NormalItem};
use super::json::{self, Fields, Object};
use super::limits::{LARGEST_VERSION, is_item_id};
use super::numbers::{self, PlainText};
use super::rejection::LeftOut;

/// How many items without an id are listed as left out.
pub const MAX_UNNAMED: usize = 100;

/// A canvas as a client sends it. `Debug` doesn't show what is on it.
pub struct State {
    /// In order; ids are unique.
    pub items: Vec<StateItem>,
    /// 0 where the client gave none.
    pub version: u64,
    /// What else the state carried.
    pub extra: Fields,
    /// The items that could not be taken, in order: all that have an id, and the first
    /// [`MAX_UNNAMED`] of the others.
    pub left_out: Vec<LeftOut>,
    /// Items of a file whose id an item before them has, in order: they have another one here.
    pub renamed: Vec<Renamed>,
    /// Whether it was read from a file, and is no earlier state of a session.
    pub is_from_file: bool,
}

/// An item of a file that was given another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    pub id: Box<str>,
    pub new: Box<str>,
}

/// What becomes of an item whose id one before it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twins {
    /// It takes the other one's place: the sender's canvas has one item of this id, too.
    Replace,
    /// It is given an id of its own: an editor shows both when it opens the file.
    Rename,
}

/// One item of a [`State`].
pub struct StateItem {
    pub id: Box<str>,
    pub fields: Fields,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} items, {} left out)", self.items.len(), self.left_out.len())
    }
}

impl State {
    /// What a file that the server has written says beside the canvas: where it is from.
    pub const ORIGIN: [&str; 3] = ["session_id", "epoch", "seq"];

    /// Reads a canvas as an editor, or the server, writes it into a file:
    /// `{"items":[…],"version":…,"timestamp":…}`. Where it is from is no part of it.
    ///
    /// # Errors
    /// What is wrong with it, for a person; nothing of what it says. A canvas with items of which none
    /// can be taken is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let PlainText { text, depth } = numbers::plain(text);
        let state = Object::parse(&text).map_err(|_| "a canvas has to be one JSON object")?;
        let mut parsed = State::read(&state, depth, Twins::Rename)?;
        parsed.extra.retain(|(key, _)| !State::ORIGIN.contains(&&**key));
        match parsed.left_out.first() {
            Some(left_out) if parsed.items.is_empty() => Err(left_out.why),
            _ => Ok(parsed),
        }
    }

    /// Reads a canvas. `depth` is how deep the text nests in which it stands.
    ///
    /// Items that can't be taken are left out, and so is what nests too deep beside them. A version that
    /// is no number counts as none: in the editor's files it is the format's, a string.
    ///
    /// # Errors
    /// When there is no list of items.
    pub(super) fn of(state: &Object<'_>, depth: usize) -> Result<Self, &'static str> {
        State::read(state, depth, Twins::Replace)
    }

    fn read(state: &Object<'_>, depth: usize, twins: Twins) -> Result<Self, &'static str> {
        let mut parsed = State {
            items: Vec::new(),
            version: 0,
            extra: Fields::new(),
            left_out: Vec::new(),
            renamed: Vec::new(),
            is_from_file: twins == Twins::Rename,
        };
        let mut places = HashMap::new();
        let mut to_rename = Vec::new();
        let mut unnamed = 0;
        let items = state.get("items").ok_or(NO_ITEMS)?;
        let is_list = json::each_in_list(items, |item| match read_item(item, depth) {
            Ok(item) => match places.get(&item.id) {
                Some(&place) if twins == Twins::Replace => parsed.items[place] = item,
                Some(_) => {
                    to_rename.push(parsed.items.len());
                    parsed.items.push(item);
                }
                None => {
                    places.insert(item.id.clone(), parsed.items.len());
                    parsed.items.push(item);
                }
            },
            Err(left_out) => {
                unnamed += usize::from(left_out.id.is_none());
                if left_out.id.is_some() || unnamed <= MAX_UNNAMED {
                    parsed.left_out.push(left_out);
                }
            }
        });
        if !is_list {
            return Err(NO_ITEMS);
        }
        parsed.rename(&to_rename, places.into_keys().collect());
        // Fractions are rounded up: the document is never behind what a client sent.
        let version = state.get("version").and_then(json::as_number).unwrap_or_default();
        parsed.version = (version.ceil() as u64).min(LARGEST_VERSION);
        let is_extra = |key: &str, value: &RawValue| {
            !matches!(key, "items" | "version" | "timestamp")
                && (depth <= DEEPEST_ITEM || !item::is_too_deep(value))
        };
        let extra = state.iter().filter(|(key, value)| is_extra(key, value));
        parsed.extra = extra.map(|(key, value)| (json::name(key), value.to_owned())).collect();
        Ok(parsed)
    }

    /// Gives items, by their places, ids that no other one has; `taken` are all there are.
    fn rename(&mut self, places: &[usize], mut taken: HashSet<Box<str>>) {
        // Of many with one id each goes on where the last one was.
        let mut next: HashMap<Box<str>, u64> = HashMap::new();
        let mut nameless = Vec::new();
        for &place in places {
            let item = &mut self.items[place];
            let number = next.entry(item.id.clone()).or_insert(1);
            let new = loop {
                *number += 1;
                let new = format!("{}-{number}", item.id);
                if !taken.contains(&*new) {
                    break new;
                }
            };
            if !is_item_id(&new) {
                nameless.push(place);
                continue;
            }
            for (key, value) in &mut item.fields {
                if matches!(&**key, "uuid" | "item_uuid") {
                    *value = json::string(&new).to_owned();
                }
            }
            let new: Box<str> = new.into();
            taken.insert(new.clone());
            let id = std::mem::replace(&mut item.id, new.clone());
            self.renamed.push(Renamed { id, new });
        }
        for place in nameless.into_iter().rev() {
            self.items.remove(place);
            self.left_out.push(LeftOut { id: None, why: "another item has its id" });
        }
    }
}

const NO_ITEMS: &str = "`state.items` has to be a list";

fn read_item(item: &RawValue, depth: usize) -> Result<StateItem, LeftOut> {
    let why = |id, why| LeftOut { id, why };
    // Looked at first because parsing anything else costs an error, and there may be a million of them.
    let fields = Some(item.get()).filter(|item| item.starts_with('{'));
    let fields = fields.and_then(|item| Object::parse(item).ok());
    let fields = fields.ok_or_else(|| why(None, "an item has to be an object"))?;
    let name = |key| fields.get(key).and_then(json::as_string).filter(|id| is_item_id(id));
    let id: Option<Box<str>> = name("uuid").or_else(|| name("item_uuid")).map(Into::into);
    if depth > DEEPEST_ITEM && item::is_too_deep(item) {
        return Err(why(id, item::TOO_DEEP));
    }
    let Some(id) = id else {
        return Err(why(
            None,
            "an item needs a `uuid` or `item_uuid`, a string of 1 to 1024 bytes",
        ));
    };
    match item::normalise(&fields) {
        Ok(NormalItem { fields, .. }) => Ok(StateItem { id, fields }),
        Err(reason) => Err(why(Some(id), reason)),
    }
}
