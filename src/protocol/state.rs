//! A whole canvas as a client sends it, or an editor writes it into a file.

use std::collections::HashMap;
use std::fmt;

use serde_json::value::RawValue;

use super::inbound::{LARGEST_VERSION, check_place, is_item_id};
use super::json::{self, Fields, Object};

/// A canvas as a client sends it. `Debug` doesn't show what is on it.
pub struct State {
    /// In order; ids are unique.
    pub items: Vec<StateItem>,
    /// 0 where the client gave none.
    pub version: u64,
    /// What else the state carried.
    pub extra: Fields,
}

/// One item of a [`State`].
pub struct StateItem {
    pub id: Box<str>,
    pub fields: Fields,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} items)", self.items.len())
    }
}

impl State {
    /// What a file that the server has written says beside the canvas: where it is from.
    pub const ORIGIN: [&str; 3] = ["session_id", "epoch", "seq"];

    /// Reads a canvas as an editor, or the server, writes it into a file:
    /// `{"items":[…],"version":…,"timestamp":…}`. Where it is from is no part of it.
    ///
    /// # Errors
    /// What is wrong with it, for a person; nothing of what it says.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        json::check_proportions(text)?;
        let state = Object::parse(text).map_err(|_| "a canvas has to be one JSON object")?;
        let mut parsed = State::of(&state)?;
        parsed.extra.retain(|(key, _)| !State::ORIGIN.contains(&&**key));
        Ok(parsed)
    }

    pub(super) fn of(state: &Object<'_>) -> Result<Self, &'static str> {
        let items: Vec<&RawValue> = state
            .get("items")
            .and_then(|value| serde_json::from_str(value.get()).ok())
            .ok_or("`state.items` has to be a list")?;
        let version = match state.get("version").filter(|value| value.get() != "null") {
            // Fractions are rounded up: the document is never behind what a client sent.
            Some(version) => json::as_number(version)
                .map(|number| number.ceil() as u64)
                .ok_or("`state.version` has to be a number")?,
            None => 0,
        };
        let mut parsed = State {
            items: Vec::with_capacity(items.len()),
            version: version.min(LARGEST_VERSION),
            extra: Fields::new(),
        };
        let mut places = HashMap::with_capacity(items.len());
        for item in items {
            let fields = Object::parse(item.get()).map_err(|_| "items have to be objects")?;
            check_place(&fields)?;
            let name = |key| fields.get(key).and_then(json::as_string).filter(|id| is_item_id(id));
            let id = name("uuid")
                .or_else(|| name("item_uuid"))
                .ok_or("items need a `uuid` or `item_uuid`, a string of 1 to 1024 bytes")?;
            let item = StateItem { id: id.as_str().into(), fields: fields.to_fields() };
            match places.get(&id) {
                Some(&place) => parsed.items[place] = item,
                None => {
                    places.insert(id, parsed.items.len());
                    parsed.items.push(item);
                }
            }
        }
        let known = ["items", "version", "timestamp"];
        let extra = state.iter().filter(|(key, _)| !known.contains(key));
        parsed.extra = extra.map(|(key, value)| (key.into(), value.to_owned())).collect();
        Ok(parsed)
    }
}
