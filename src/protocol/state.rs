//! A whole canvas as a client sends it, or an editor writes it into a file.

use std::collections::HashMap;
use std::fmt;

use serde_json::value::RawValue;

use super::inbound::{LARGEST_VERSION, is_item_id};
use super::item::{self, DEEPEST_ITEM, NormalItem};
use super::json::{self, Fields, Object};
use super::numbers::{self, PlainText};

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
}

/// One item of a [`State`].
pub struct StateItem {
    pub id: Box<str>,
    pub fields: Fields,
}

/// An item of a canvas that could not be taken. The canvas shows it nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it has one that can be read.
    pub id: Option<Box<str>>,
    /// For a person; holds nothing of what the client sent.
    pub why: &'static str,
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
        let mut parsed = State::of(&state, depth)?;
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
        let mut parsed =
            State { items: Vec::new(), version: 0, extra: Fields::new(), left_out: Vec::new() };
        let mut places = HashMap::new();
        let mut unnamed = 0;
        let items = state.get("items").ok_or(NO_ITEMS)?;
        let is_list = json::each_in_list(items, |item| match read_item(item, depth) {
            Ok(item) => match places.get(&item.id) {
                Some(&place) => parsed.items[place] = item,
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
