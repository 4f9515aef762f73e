//! Messages that are relayed: the sender's bytes without the fields the server owns, and with
//! everything a receiver needs to build the same item.

use std::fmt;
use std::ops::Range;

use serde_json::value::RawValue;

use super::item::is_unsafe_image_path;
use super::json::{self, Fields, Object, write_key, write_object};
use super::kind::Kind;
use super::limits::MAX_MESSAGE_ID_BYTES;

/// The fields of a relayed message that the server sets on the session protocol. A sender's own are
/// dropped.
const SERVER_FIELDS: [&str; 4] = ["user_id", "timestamp", "seq", "settled"];
/// The type of an item that has none. The editor builds a plain component from it.
const UNNAMED_TYPE: &str = "component";

/// A message to relay: the sender's object without the server's fields and without its closing
/// brace, so that the hub only appends its own fields. `Debug` shows only its size.
pub struct Body {
    head: Vec<u8>,
    /// The range of the value of `command.action` in `head`.
    action: Option<Range<usize>>,
    /// The range of the value of `command.data` in `head`.
    data: Option<Range<usize>>,
    /// The ranges of the values of `type` and `id` in `head`.
    kind: Option<Range<usize>>,
    id: Option<Range<usize>>,
    known: Kind,
}

impl Body {
    /// The bytes from the opening brace to the last of the sender's fields.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The message's type, [`Kind::Other`] where the protocols don't define it.
    pub fn kind(&self) -> Kind {
        self.known
    }

    /// The message's `type`, cut to 128 characters, and its `id` as JSON, unless it is too long to
    /// be repeated. An `error` names the message by them.
    pub fn type_and_id(&self) -> (Option<String>, Option<&str>) {
        let text = |range: &Option<Range<usize>>| {
            range.clone().and_then(|range| std::str::from_utf8(&self.head[range]).ok())
        };
        let kind = text(&self.kind).and_then(|kind| serde_json::from_str::<String>(kind).ok());
        let kind = kind.map(|kind| kind.chars().take(128).collect());
        (kind, text(&self.id).filter(|id| id.len() <= MAX_MESSAGE_ID_BYTES))
    }

    /// A copy of [`head`](Self::head) with another `command.action`.
    pub fn with_action(&self, action: &str) -> Vec<u8> {
        let Some(range) = self.action.clone() else { return self.head.clone() };
        let mut head = self.head[..range.start].to_vec();
        head.extend_from_slice(json::string(action).get().as_bytes());
        head.extend_from_slice(&self.head[range.end..]);
        head
    }

    /// A copy of [`head`](Self::head) with another `command.action`, and with the `command.data`
    /// that `write` appends as JSON.
    pub fn with_data(&self, action: &str, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (Some(is_action), Some(is_data)) = (self.action.clone(), self.data.clone()) else {
            return self.with_action(action);
        };
        let mut head = Vec::with_capacity(self.head.len() + 128);
        let write_action = |head: &mut Vec<u8>| json::write_string(head, action);
        let mut copied = 0;
        let mut copy = |head: &mut Vec<u8>, part: &Range<usize>| {
            head.extend_from_slice(&self.head[copied..part.start]);
            copied = part.end;
        };
        if is_action.start < is_data.start {
            copy(&mut head, &is_action);
            write_action(&mut head);
            copy(&mut head, &is_data);
            write(&mut head);
        } else {
            copy(&mut head, &is_data);
            write(&mut head);
            copy(&mut head, &is_action);
            write_action(&mut head);
        }
        head.extend_from_slice(&self.head[copied..]);
        head
    }

    /// The body of a session's message. `item` replaces what `command` says of its item, where that
    /// is not relayed as the sender wrote it.
    pub(super) fn of_session(
        message: &Object<'_>,
        command: Option<&Object<'_>>,
        item: Option<ItemData<'_>>,
    ) -> Self {
        Body::build(message, &SERVER_FIELDS, command, item.as_ref())
    }

    /// The body of a message without the fields that the server owns.
    pub(super) fn of_channel(message: &Object<'_>, servers: &[&str]) -> Self {
        Body::build(message, servers, None, None)
    }

    fn build(
        message: &Object<'_>,
        servers: &[&str],
        command: Option<&Object<'_>>,
        item: Option<&ItemData<'_>>,
    ) -> Self {
        let room: usize =
            message.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum();
        let (mut head, known) = (Vec::with_capacity(room + 1), Kind::Other);
        head.push(b'{');
        let mut body = Body { head, action: None, data: None, kind: None, id: None, known };
        for (key, value) in message.iter().filter(|(key, _)| !servers.contains(key)) {
            body.key(key);
            let start = body.head.len();
            match command.filter(|_| key == "command") {
                Some(command) => body.command(command, item),
                None => body.head.extend_from_slice(value.get().as_bytes()),
            }
            match key {
                "type" => {
                    body.kind = Some(start..body.head.len());
                    body.known = Kind::from_name(value.get().trim_matches('"'));
                }
                "id" => body.id = Some(start..body.head.len()),
                _ => {}
            }
        }
        body
    }

    fn command(&mut self, command: &Object<'_>, item: Option<&ItemData<'_>>) {
        self.head.push(b'{');
        let replaced = |key: &str| match item {
            Some(item) => key == "data" || (key == "item_type" && item.item_type.is_some()),
            None => false,
        };
        for (key, value) in command.iter().filter(|(key, _)| !replaced(key)) {
            self.key(key);
            let start = self.head.len();
            self.head.extend_from_slice(value.get().as_bytes());
            match key {
                "action" => self.action = Some(start..self.head.len()),
                "data" => self.data = Some(start..self.head.len()),
                _ => {}
            }
        }
        if let Some(ItemData { item_type, data }) = item {
            if let Some(item_type) = item_type {
                self.key("item_type");
                self.head.extend_from_slice(item_type.get().as_bytes());
            }
            self.key("data");
            let start = self.head.len();
            let fields = data.iter().map(|(key, value)| (&**key, &**value));
            write_object(&mut self.head, fields.filter(|(key, v)| !is_unsafe_image_path(key, v)));
            self.data = Some(start..self.head.len());
        }
        self.head.push(b'}');
    }

    fn key(&mut self, key: &str) {
        write_key(&mut self.head, key);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.head.len())
    }
}

/// What a relayed command says of its item, so that every receiver can build the same item.
pub(super) struct ItemData<'a> {
    /// Replaces the command's own `item_type`, unless it is `None`.
    pub item_type: Option<&'a RawValue>,
    /// Replaces the command's own `data`. An unsafe image path in it is not relayed.
    pub data: &'a Fields,
}

/// Gives an item's fields a `uuid`, its id, and a string `item_type`: an editor silently skips an
/// item without them. The type is the item's `_type`, or else its own `item_type`, or else
/// `item_type`, because an editor builds the item by `item_type` and then writes the fields of its
/// `_type` into it.
pub fn complete_item(id: &str, mut fields: Fields, item_type: Option<&RawValue>) -> Fields {
    let own_type = |fields: &Fields, name: &str| {
        let named = fields.iter().find(|(key, value)| &**key == name && json::is_string(value));
        named.map(|(_, value)| value.clone())
    };
    let item_type = own_type(&fields, "_type")
        .or_else(|| own_type(&fields, "item_type"))
        .or_else(|| item_type.map(ToOwned::to_owned))
        .unwrap_or_else(|| json::string(UNNAMED_TYPE));
    for (name, value) in [("uuid", json::string(id)), ("item_type", item_type)] {
        match fields.iter_mut().find(|(key, _)| &**key == name) {
            Some(field) => field.1 = value,
            None => fields.push((name.into(), value)),
        }
    }
    if let Some(field) = fields.iter_mut().find(|(key, _)| &**key == "item_uuid") {
        field.1 = json::string(id);
    }
    fields
}

/// The number of bytes by which [`complete_item`] makes an item larger that gets no type from
/// elsewhere. A field that is added counts as its name, its value and four bytes. Copies nothing.
pub fn growth_of_completed(id: &str, fields: &Fields) -> isize {
    let field = |name: &str| fields.iter().find(|(key, _)| &**key == name).map(|(_, value)| value);
    let own_type = |name| field(name).filter(|value| json::is_string(value));
    let own_type = own_type("_type").or_else(|| own_type("item_type"));
    let own_type = own_type.map_or(UNNAMED_TYPE.len() + 2, |value| value.get().len());
    let id = json::length_of_string(id);
    let mut growth = 0;
    for (name, after) in [("uuid", id), ("item_type", own_type), ("item_uuid", id)] {
        growth += match field(name) {
            Some(value) => after as isize - value.get().len() as isize,
            None if name == "item_uuid" => 0,
            None => (name.len() + after + 4) as isize,
        };
    }
    growth
}

/// True where an editor builds the item under the right id and with the right type. It takes the id
/// from `uuid`, or else from `item_uuid`, and the type from the command, which has to be the one in
/// the data.
pub(super) fn names_the_item(data: &Fields, id: &str, item_type: Option<&RawValue>) -> bool {
    let named = |name| data.iter().find(|(key, _)| &**key == name).map(|(_, value)| value);
    let uuid = named("uuid").or_else(|| named("item_uuid"));
    let is_type = |value: &RawValue, item_type: &RawValue| {
        !json::is_string(value) || json::same_value(value, item_type)
    };
    let has_type = item_type.is_some_and(|item_type| {
        let own = ["_type", "item_type"].into_iter().filter_map(named);
        own.into_iter().all(|value| is_type(value, item_type))
    });
    has_type && uuid.and_then(|uuid| json::as_string(uuid)).as_deref() == Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_how_much_larger_an_item_becomes_before_it_is_completed() {
        let bytes = |fields: &Fields| -> usize {
            fields.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum()
        };
        for item in [
            "{}",
            r#"{"uuid":"a"}"#,
            r#"{"uuid":"another","item_uuid":7,"x_mm":1}"#,
            r#"{"_type":"lens","item_uuid":"a"}"#,
            r#"{"_type":"lens","item_type":7}"#,
            r#"{"_type":7,"item_type":"a \"b\""}"#,
        ] {
            for id in ["a", "a \"b\"\n", "ü"] {
                let fields = Object::parse(item).unwrap().to_fields();
                let before = bytes(&fields);
                let growth = growth_of_completed(id, &fields);
                let after = bytes(&complete_item(id, fields, None));
                assert_eq!(before.checked_add_signed(growth), Some(after), "{item} as {id:?}");
            }
        }
    }
}
