//! A whole canvas as a client sends it, or as an editor writes it into a file.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::value::RawValue;

use super::item::{self, MAX_ITEM_DEPTH, NormalItem};
use super::json::{self, Fields, Object};
use super::limits::{MAX_VERSION, is_item_id};
use super::numbers::{self, PlainText};
use super::rejection::LeftOut;

/// The number of items without an id that are listed as left out.
pub const MAX_LISTED_UNNAMED: usize = 100;

/// A canvas. `Debug` doesn't show what is on it.
pub struct State {
    /// The items in order. Their ids are unique.
    pub items: Vec<StateItem>,
    /// The client's version number, 0 where it gave none.
    pub version: u64,
    pub extra: Fields,
    /// The items that were left out, in order: all that have an id, and the first
    /// [`MAX_LISTED_UNNAMED`] of the others.
    pub left_out: Vec<LeftOut>,
    /// The items of a file that have got another id, in order, because an item before them has
    /// theirs.
    pub renamed: Vec<Renamed>,
    /// True where the canvas was read from a file, and so is no earlier state of a session.
    pub is_from_file: bool,
}

/// An item of a file that has got another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    pub id: Box<str>,
    pub new: Box<str>,
}

/// What to do with an item whose id another item before it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twins {
    /// Take the other one's place: the sender's canvas has only one item of this id.
    Replace,
    /// Get an id of its own: an editor that opens the file shows both items.
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
    /// The fields of a file written by the server that say where the canvas is from.
    pub const ORIGIN: [&str; 3] = ["session_id", "epoch", "seq"];

    /// Reads a canvas from a file of an editor or of the server:
    /// `{"items":[…],"version":…,"timestamp":…}`. The fields of [`ORIGIN`](Self::ORIGIN) are
    /// dropped.
    ///
    /// # Errors
    /// The reason, for people, when the file isn't a canvas, or when it has items and all of them
    /// are refused. It quotes nothing of the file.
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

    /// Reads a canvas out of a message, which nests `depth` levels deep.
    ///
    /// Refused items are left out, and so are other fields that nest too deep. A version that is no
    /// number counts as none: in the editor's files it is the version of the format, a string.
    ///
    /// # Errors
    /// When there is no list of items.
    pub(super) fn from_object(state: &Object<'_>, depth: usize) -> Result<Self, &'static str> {
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
                if left_out.id.is_some() || unnamed <= MAX_LISTED_UNNAMED {
                    parsed.left_out.push(left_out);
                }
            }
        });
        if !is_list {
            return Err(NO_ITEMS);
        }
        parsed.rename(&to_rename, places.into_keys().collect());
        // Rounded up, so that the document is never behind what a client sent.
        let version = state.get("version").and_then(json::as_number).unwrap_or_default();
        parsed.version = (version.ceil() as u64).min(MAX_VERSION);
        let is_extra = |key: &str, value: &RawValue| {
            !matches!(key, "items" | "version" | "timestamp")
                && (depth <= MAX_ITEM_DEPTH || !item::is_too_deep(value))
        };
        let extra = state.iter().filter(|(key, value)| is_extra(key, value));
        parsed.extra = extra.map(|(key, value)| (json::name(key), value.to_owned())).collect();
        Ok(parsed)
    }

    /// Gives the items at `places` new ids. `taken` are the ids of all items.
    fn rename(&mut self, places: &[usize], mut taken: HashSet<Box<str>>) {
        // The last number that was tried for each id, so that many items of one id take linear
        // time.
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
    // Checked first because a failed parse is slow, and a list may have a million such values.
    let fields = Some(item.get()).filter(|item| item.starts_with('{'));
    let fields = fields.and_then(|item| Object::parse(item).ok());
    let fields = fields.ok_or_else(|| why(None, "an item has to be an object"))?;
    let name = |key| fields.get(key).and_then(json::as_string).filter(|id| is_item_id(id));
    let id: Option<Box<str>> = name("uuid").or_else(|| name("item_uuid")).map(Into::into);
    if depth > MAX_ITEM_DEPTH && item::is_too_deep(item) {
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
