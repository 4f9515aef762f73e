//! A document as JSON: for clients, for editors, and as a file.

use super::Document;
use crate::hub::item::Item;
use crate::hub::item_frames;
use crate::protocol::Timestamp;
use crate::protocol::inbound::{State, StateItem};
use crate::protocol::outbound::write_key;

impl Document {
    /// The document as a client's state.
    pub fn into_state(self) -> State {
        let items = self.items.into_values().map(|item| StateItem {
            id: (&*item.id).into(),
            fields: item.fields.into_iter().map(|field| (field.key, field.value)).collect(),
        });
        let (items, left_out) = (items.collect(), Vec::new());
        let (version, extra, renamed) = (self.version, self.extra, Vec::new());
        State { items, version, extra, left_out, renamed, is_from_file: false }
    }

    /// Appends `{"items":[…],"version":…,"timestamp":…}` as JSON.
    pub fn write_state(&self, json: &mut Vec<u8>, now: Timestamp) {
        self.write_canvas(json, now, |_| true, |item, json| item.write(json));
    }

    /// Appends the document as JSON for editors: only with items of types that editors know.
    pub fn write_editors_state(&self, json: &mut Vec<u8>, now: Timestamp) {
        self.write_canvas(json, now, Item::is_for_editors, item_frames::write_whole);
    }

    /// Appends the document as a file that an editor opens: each item also has `item_uuid` and `_type`, and
    /// extra fields named like the origin of a file are left out.
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
