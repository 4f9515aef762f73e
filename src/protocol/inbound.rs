//! A client's messages of the session protocol: parses and checks one text message.
//!
//! Runs on the client's thread, so the hub never parses. A message that passes is safe to relay:
//! the editor aborts on a malformed object (docs/PROTOCOL.md, "Shapes that are refused").

use std::fmt;

use serde_json::value::RawValue;

use super::item::{self, MAX_ITEM_DEPTH, NormalItem, is_unsafe_image_path};
use super::json::{self, Fields, MAX_DEPTH, Object};
use super::kind::Kind;
pub use super::limits::{MAX_ITEM_ID_BYTES, MAX_MESSAGE_ID_BYTES, MAX_VERSION, is_item_id};
use super::numbers::{self, PlainText};
pub use super::rejection::{LeftOut, Rejection};
use super::relayed::{Body, ItemData, complete_item, names_the_item};
pub use super::state::{MAX_LISTED_UNNAMED, Renamed, State, StateItem};

/// The types of message that only the server sends.
const SERVER_TYPES: [&str; 9] = [
    "connection:ack",
    "user:joined",
    "user:left",
    "host:changed",
    "sync:state",
    "sync:done",
    "message_delivered",
    "pong",
    "error",
];

/// A message that passed all checks. `Debug` doesn't show its content.
pub enum ClientMessage {
    /// Answered with a pong that carries `echo`, the ping's `id` and `t`.
    Ping { echo: Fields },
    /// A change of one item, or an action that only the clients know.
    Command(Command),
    /// A message to all other members. Of a sender's cursors only the newest matters.
    Relay { body: Body, is_cursor: bool },
    /// Asks for the document, or for the changes after `since`. `names_user` is true where it has a
    /// string `user_id`, which only the editor writes.
    SyncRequest { since: Option<Since>, names_user: bool },
    /// Replaces the document. `content` is as in [`Command::content`].
    SyncUpdate { state: State, id: Option<MessageId>, content: Option<u64> },
    /// A host's snapshot of its canvas for the member `target`.
    FullState { state: State, target: Option<String> },
    /// A host's snapshot that is refused. The hub gets it because it shows that the sender is a
    /// host.
    RefusedFullState(Rejection),
}

/// A position in the order of changes, from which a client wants to catch up.
#[derive(Debug, PartialEq, Eq)]
pub struct Since {
    pub epoch: String,
    pub seq: u64,
}

/// A message's `id` as JSON, chosen by the client. The message is confirmed, and applied only once.
pub type MessageId = Box<RawValue>;

/// The effect of a command on the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Add,
    Update,
    Move,
    Remove,
    /// None: the command is only relayed.
    Other,
}

/// A `command` message.
pub struct Command {
    pub action: Action,
    /// The item's id; empty only where the action is [`Action::Other`].
    pub item_id: Box<str>,
    pub item_type: Option<Box<RawValue>>,
    /// The item's fields; empty where the command has no data.
    pub data: Fields,
    /// True where `data` is the editor's whole dictionary of the item: it has a string `_type`.
    pub is_whole: bool,
    pub id: Option<MessageId>,
    /// The fingerprint of the command as the sender wrote it; `None` where the message has no `id`.
    pub content: Option<u64>,
    pub body: Body,
}

impl ClientMessage {
    /// The message's type, [`Kind::Other`] where the protocols don't define it.
    pub fn kind(&self) -> Kind {
        match self {
            ClientMessage::Ping { .. } => Kind::Ping,
            ClientMessage::Command(_) => Kind::Command,
            ClientMessage::Relay { body, .. } => body.kind(),
            ClientMessage::SyncRequest { .. } => Kind::SyncRequest,
            ClientMessage::SyncUpdate { .. } => Kind::SyncUpdate,
            ClientMessage::FullState { .. } | ClientMessage::RefusedFullState(_) => {
                Kind::SyncFullState
            }
        }
    }
}

impl fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientMessage::Ping { .. } => "Ping",
            ClientMessage::Command(_) => "Command",
            ClientMessage::Relay { .. } => "Relay",
            ClientMessage::SyncRequest { .. } => "SyncRequest",
            ClientMessage::SyncUpdate { .. } => "SyncUpdate",
            ClientMessage::FullState { .. } => "FullState",
            ClientMessage::RefusedFullState(_) => "RefusedFullState",
        })
    }
}

impl ClientMessage {
    /// The refusal of this message where its sender may only watch; `message` is the reason.
    pub fn read_only(&self, message: &'static str) -> Rejection {
        let text = |id: &Option<MessageId>| id.as_ref().map(|id| id.get().into());
        let (original_type, id) = match self {
            ClientMessage::Ping { .. } => (Some("ping".into()), None),
            ClientMessage::Command(command) => (Some("command".into()), text(&command.id)),
            ClientMessage::Relay { body, .. } => {
                let (kind, id) = body.type_and_id();
                (kind, id.map(Into::into))
            }
            ClientMessage::SyncRequest { .. } => (Some("sync:request".into()), None),
            ClientMessage::SyncUpdate { id, .. } => (Some("sync:update".into()), text(id)),
            ClientMessage::FullState { .. } | ClientMessage::RefusedFullState(_) => {
                (Some("sync:full_state".into()), None)
            }
        };
        Rejection { error_type: "read_only", message, code: 403, original_type, id, item_id: None }
    }
}

/// A refusal before the message's type and id are known: its `error_type` and its text.
struct RefusalText(&'static str, &'static str);

/// Parses and checks one text message.
///
/// # Errors
/// A [`Rejection`] where the message has none of the shapes of docs/PROTOCOL.md. A refused
/// `sync:full_state` is not an error but [`ClientMessage::RefusedFullState`].
pub fn parse(text: &str) -> Result<ClientMessage, Rejection> {
    let reject = |RefusalText(error_type, message)| Rejection {
        error_type,
        message,
        code: 400,
        original_type: None,
        id: None,
        item_id: None,
    };
    let PlainText { text, depth } = numbers::plain(text);
    let message = Object::parse(&text).map_err(|_| {
        reject(RefusalText("bad_json", "a message is one JSON object per text frame"))
    })?;
    let Some(kind) = message.get("type").and_then(json::as_string) else {
        return Err(reject(RefusalText("no_type", "a message needs a string `type`")));
    };
    message_of_type(&kind, &message, depth)
        .map_err(|why| {
            let id =
                message.get("id").map(|id| id.get()).filter(|id| id.len() <= MAX_MESSAGE_ID_BYTES);
            let item_id = if kind == "command" { item_id(&message) } else { None };
            Rejection {
                original_type: Some(kind.chars().take(128).collect()),
                id: id.map(Into::into),
                item_id,
                ..reject(why)
            }
        })
        .or_else(|rejection| match &*kind {
            "sync:full_state" => Ok(ClientMessage::RefusedFullState(rejection)),
            _ => Err(rejection),
        })
}

/// Parses a command that the server has relayed and stored. Its item is not checked again: what
/// this version or an earlier one accepted stays as it is. `None` for anything else.
pub fn parse_stored(text: &str) -> Option<Command> {
    let message = Object::parse(text).ok()?;
    let kind = message.get("type").and_then(json::as_string)?;
    if kind != "command" {
        return None;
    }
    command(&message, 0, |data| Ok(NormalItem::unchanged(data))).ok()
}

/// The id of the item that a command is about; `None` where it has none that is valid.
fn item_id(message: &Object<'_>) -> Option<Box<str>> {
    let command = Object::parse(message.get("command")?.get()).ok()?;
    let id = json::as_string(command.get("item_id")?)?;
    is_item_id(&id).then(|| id.into())
}

/// The `type` of a message; `None` where it has none. The result means nothing where the text is no
/// message.
pub fn type_of(text: &str) -> Option<String> {
    json::find_string(text, "type")
}

/// True where a text is a message that carries a whole canvas, which may be larger than other
/// messages.
pub fn carries_canvas(text: &str) -> bool {
    matches!(type_of(text).as_deref(), Some("sync:full_state" | "sync:update"))
}

/// Checks a message that nests `depth` levels deep.
fn message_of_type(
    kind: &str,
    message: &Object<'_>,
    depth: usize,
) -> Result<ClientMessage, RefusalText> {
    // In these three a part that nests too deep is left out, or named in the refusal.
    if depth > MAX_DEPTH && !matches!(kind, "command" | "sync:update" | "sync:full_state") {
        return Err(RefusalText("bad_message", json::TOO_DEEP));
    }
    match kind {
        "ping" => {
            let echo = message.iter().filter(|(key, _)| matches!(*key, "id" | "t"));
            let echo = echo.map(|(key, value)| (json::name(key), value.to_owned())).collect();
            Ok(ClientMessage::Ping { echo })
        }
        "command" => Ok(ClientMessage::Command(command(message, depth, item::normalise)?)),
        "cursor" => Ok(ClientMessage::Relay {
            body: Body::of_session(message, None, None),
            is_cursor: true,
        }),
        "sync:request" => {
            let names_user = message.get("user_id").is_some_and(json::is_string);
            Ok(ClientMessage::SyncRequest { since: since(message)?, names_user })
        }
        "sync:update" => {
            let (fields, id) = (state_object(message)?, message_id(message)?);
            // The time is not part of the content: a message that is sent again may have another
            // one.
            let said = || fields.iter().filter(|(key, _)| *key != "timestamp");
            let content = id.as_ref().map(|_| json::fingerprint_of_fields(said()));
            Ok(ClientMessage::SyncUpdate { state: state(&fields, depth)?, id, content })
        }
        "sync:full_state" => {
            let target = match message.get("target_user") {
                None => None,
                Some(value) if value.get() == "null" => None,
                Some(value) => Some(
                    json::as_string(value)
                        .ok_or(RefusalText("bad_state", "`target_user` has to be a string"))?,
                ),
            };
            let state = state(&state_object(message)?, depth)?;
            Ok(ClientMessage::FullState { state, target })
        }
        _ if SERVER_TYPES.contains(&kind) => {
            Err(RefusalText("reserved_type", "only the server sends messages of this type"))
        }
        _ => Ok(ClientMessage::Relay {
            body: Body::of_session(message, None, None),
            is_cursor: false,
        }),
    }
}

/// Checks a command in a message that nests `depth` levels deep. `take` checks the item's
/// dictionary.
fn command(
    message: &Object<'_>,
    depth: usize,
    take: impl FnOnce(&Object<'_>) -> Result<NormalItem, &'static str>,
) -> Result<Command, RefusalText> {
    let bad = |why| RefusalText("bad_command", why);
    let said = message.get("command").ok_or(bad(NO_COMMAND))?;
    let command = Object::parse(said.get()).map_err(|_| bad(NO_COMMAND))?;
    let action = command
        .get("action")
        .and_then(json::as_string)
        .ok_or(bad("`command.action` has to be a string"))?;
    let action = match action.as_str() {
        "add_item" => Action::Add,
        "update_item" => Action::Update,
        "move_item" => Action::Move,
        "remove_item" => Action::Remove,
        _ => Action::Other,
    };
    let item_id = match command.get("item_id").map(json::as_string) {
        Some(Some(id)) if is_item_id(&id) || action == Action::Other => id,
        None if action == Action::Other => String::new(),
        _ => return Err(bad("`command.item_id` has to be a string of 1 to 1024 bytes")),
    };
    let item_type = command.get("item_type").filter(|value| value.get() != "null");
    if item_type.is_some_and(|value| json::as_string(value).is_none()) {
        return Err(bad("`command.item_type` has to be a string"));
    }
    let data = match command.get("data") {
        Some(data) if depth > MAX_ITEM_DEPTH && item::is_too_deep(data) => {
            return Err(bad(item::TOO_DEEP));
        }
        Some(data) => {
            Some(Object::parse(data.get()).map_err(|_| bad("`data` has to be an object"))?)
        }
        None if matches!(action, Action::Remove | Action::Other) => None,
        None => return Err(bad("`command.data` has to be an object")),
    };
    if depth > MAX_DEPTH {
        return Err(RefusalText("bad_message", json::TOO_DEEP));
    }
    let mut taken = match (action, data) {
        (Action::Add | Action::Update | Action::Move, Some(data)) => take(&data).map_err(bad)?,
        (_, Some(data)) => {
            item::check_place(&data).map_err(bad)?;
            NormalItem::default()
        }
        (_, None) => NormalItem::default(),
    };
    taken.is_changed |= taken.fields.iter().any(|(key, value)| is_unsafe_image_path(key, value));
    let mut own_type = None;
    if action == Action::Add && !names_the_item(&taken.fields, &item_id, item_type) {
        let fields = complete_item(&item_id, taken.fields, item_type);
        own_type = fields.iter().find(|(key, _)| &**key == "item_type").map(|(_, own)| own.clone());
        taken = NormalItem { fields, is_changed: true };
    }
    let rewritten = ItemData { item_type: own_type.as_deref(), data: &taken.fields };
    let body = Body::of_session(message, Some(&command), taken.is_changed.then_some(rewritten));
    let id = message_id(message)?;
    Ok(Command {
        action,
        item_id: item_id.into(),
        item_type: item_type.map(ToOwned::to_owned),
        is_whole: item::is_whole(&taken.fields),
        content: id.as_ref().map(|_| json::fingerprint(said)),
        id,
        data: taken.fields,
        body,
    })
}

const NO_COMMAND: &str = "`command` has to be an object";

fn since(message: &Object<'_>) -> Result<Option<Since>, RefusalText> {
    let (epoch, seq) = match (message.get("epoch"), message.get("since")) {
        (Some(epoch), Some(seq)) => (epoch, seq),
        _ => return Ok(None),
    };
    let parsed = json::as_string(epoch).zip(serde_json::from_str::<u64>(seq.get()).ok());
    match parsed {
        Some((epoch, seq)) => Ok(Some(Since { epoch, seq })),
        None => {
            Err(RefusalText("bad_request", "`epoch` has to be a string, `since` a whole number"))
        }
    }
}

fn message_id(message: &Object<'_>) -> Result<Option<MessageId>, RefusalText> {
    let Some(id) = message.get("id").filter(|id| id.get() != "null") else { return Ok(None) };
    let is_name = json::as_string(id).is_some() || json::as_number(id).is_some();
    if is_name && id.get().len() <= MAX_MESSAGE_ID_BYTES {
        Ok(Some(id.to_owned()))
    } else {
        Err(RefusalText("bad_id", "`id` has to be a string or a number of at most 256 bytes"))
    }
}

fn state_object<'a>(message: &Object<'a>) -> Result<Object<'a>, RefusalText> {
    let state = message.get("state").and_then(|value| Object::parse(value.get()).ok());
    state.ok_or(RefusalText("bad_state", "`state` has to be an object"))
}

fn state(state: &Object<'_>, depth: usize) -> Result<State, RefusalText> {
    State::from_object(state, depth).map_err(|why| RefusalText("bad_state", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> &'static str {
        match parse(text) {
            Err(rejection) | Ok(ClientMessage::RefusedFullState(rejection)) => rejection.error_type,
            Ok(_) => panic!("{text}"),
        }
    }

    fn command(text: &str) -> Command {
        match parse(text) {
            Ok(ClientMessage::Command(command)) => command,
            other => panic!("{other:?} of {text}"),
        }
    }

    fn written(fields: &Fields) -> String {
        let mut json = Vec::new();
        let fields = fields.iter().map(|(key, value)| (&**key, &**value));
        json::write_object(&mut json, fields);
        String::from_utf8(json).unwrap()
    }

    fn state(text: &str) -> State {
        match parse(text) {
            Ok(
                ClientMessage::SyncUpdate { state, .. } | ClientMessage::FullState { state, .. },
            ) => state,
            other => panic!("{other:?} of {text}"),
        }
    }

    #[test]
    fn what_python_writes_is_taken_wherever_it_stands() {
        let Ok(ClientMessage::Relay { body, .. }) =
            parse(r#"{"type":"chat","n":NaN,"far":-Infinity,"list":[NaN,1.50]}"#)
        else {
            panic!()
        };
        let kept = r#"{"type":"chat","far":-1e999,"list":[0,1.50]"#;
        assert_eq!(std::str::from_utf8(body.head()).unwrap(), kept);
        let state = state(
            r#"{"type":"sync:full_state","x":NaN,"state":{"items":[{"uuid":"a","n2":Infinity,
                "size_mm":NaN,"x_mm":1.0}],"version":NaN,"zoom":Infinity,"pan":NaN}}"#,
        );
        assert_eq!(written(&state.items[0].fields), r#"{"uuid":"a","n2":1e999,"x_mm":1.0}"#);
        assert_eq!((state.version, written(&state.extra)), (0, r#"{"zoom":1e999}"#.into()));
        assert!(state.left_out.is_empty());
    }

    #[test]
    fn what_is_relayed_says_what_is_stored() {
        for (data, stored, relayed) in [
            (r#"{"x_mm": 1.50}"#, r#"{"x_mm":1.50}"#, r#"{"x_mm": 1.50}"#),
            (r#"{"x_mm":NaN,"a":1}"#, r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"a" : 1,"angle_deg":Infinity}"#, r#"{"a":1}"#, r#"{"a":1}"#),
            (
                r#"{"interfaces":[{"is_curved":true,"radius_of_curvature_mm":Infinity}]}"#,
                r#"{"interfaces":[{"is_curved":false,"radius_of_curvature_mm":1e999}]}"#,
                r#"{"interfaces":[{"is_curved":false,"radius_of_curvature_mm":1e999}]}"#,
            ),
            (
                r#"{"image_path":"objects/a.png", "a":1}"#,
                r#"{"image_path":"objects/a.png","a":1}"#,
                r#"{"image_path":"objects/a.png", "a":1}"#,
            ),
            (
                r#"{"image_path":"/home/ann/a.png", "a":1}"#,
                r#"{"image_path":"/home/ann/a.png","a":1}"#,
                r#"{"a":1}"#,
            ),
        ] {
            for action in ["update_item", "move_item"] {
                let command = command(&format!(
                    r#"{{"type":"command","command":{{"action":"{action}","item_id":"a","data":{data}}}}}"#
                ));
                assert_eq!(written(&command.data), stored);
                let head = std::str::from_utf8(command.body.head()).unwrap();
                assert!(head.ends_with(&format!(r#""data":{relayed}}}"#)), "{head}");
            }
        }
        let add = command(
            r#"{"type":"command","command":{"action":"add_item","item_id":"a","item_type":"lens","data":
                {"image_path":"file:a.png"}}}"#,
        );
        assert!(add.data.iter().any(|(key, _)| &**key == "image_path"));
        let head = std::str::from_utf8(add.body.head()).unwrap();
        assert!(
            head.ends_with(r#""item_type":"lens","data":{"uuid":"a","item_type":"lens"}}"#),
            "{head}"
        );
    }

    #[test]
    fn whole_dictionaries_and_editors_are_known_by_what_only_they_write() {
        for (data, is_whole) in [
            (r#"{"_type":"source"}"#, true),
            (r#"{"_type":7}"#, false),
            (r#"{"_type":null}"#, false),
            (r#"{"item_type":"source"}"#, false),
        ] {
            let text = format!(
                r#"{{"type":"command","command":{{"action":"update_item","item_id":"a","data":{data}}}}}"#
            );
            assert_eq!(command(&text).is_whole, is_whole, "{text}");
        }
        for (request, names) in [
            (r#"{"type":"sync:request","user_id":"ann"}"#, true),
            (r#"{"type":"sync:request","user_id":7}"#, false),
            (r#"{"type":"sync:request"}"#, false),
        ] {
            let Ok(ClientMessage::SyncRequest { since: None, names_user }) = parse(request) else {
                panic!()
            };
            assert_eq!(names_user, names, "{request}");
        }
    }

    #[test]
    fn content_is_what_the_sender_means_and_only_asked_for_with_an_id() {
        let content = |text: &str| match parse(text) {
            Ok(ClientMessage::Command(command)) => command.content,
            Ok(ClientMessage::SyncUpdate { content, .. }) => content,
            other => panic!("{other:?} of {text}"),
        };
        let one = r#"{"type":"command","id":1,"command":{"action":"move_item","item_id":"a","data":{"x_mm":1,"n":NaN}}}"#;
        let again = r#"{"type":"command","timestamp":"later","command":{"item_id":"a","data":{"x_mm":1.0},"action":"move_item"},"id":1}"#;
        assert_eq!(content(one), content(again));
        assert!(content(one).is_some());
        assert_ne!(content(one), content(&one.replace("\"x_mm\":1", "\"x_mm\":2")));
        assert_ne!(content(one), content(&one.replace("move_item", "update_item")));
        assert_eq!(content(&one.replace("\"id\":1,", "")), None);
        assert_eq!(content(&one.replace("\"id\":1,", "\"id\":null,")), None);
        let state =
            r#"{"type":"sync:update","id":"s","state":{"items":[{"uuid":"a"}],"timestamp":1}}"#;
        assert!(content(state).is_some());
        assert_eq!(content(state), content(&state.replace("\"timestamp\":1", "\"timestamp\":2")));
        assert_ne!(content(state), content(&state.replace("\"a\"", "\"b\"")));
        assert_eq!(content(&state.replace("\"id\":\"s\",", "")), None);
    }

    #[test]
    fn what_was_stored_is_not_judged_again() {
        let deep = format!("{}{}", "[".repeat(97), "]".repeat(97));
        for data in [
            r#"{"uuid":"a","name":7,"interfaces":0}"#,
            r#"{"uuid":"a","image_path":"/etc/a.png","n_rays":5.5}"#,
            &format!(r#"{{"uuid":"a","deep":{deep}}}"#),
        ] {
            let text = format!(
                r#"{{"type":"command","command":{{"action":"add_item","item_type":"x","item_id":"a","data":{data}}},"user_id":"ann","seq":7}}"#
            );
            let command = parse_stored(&text).unwrap();
            assert_eq!(written(&command.data), data);
        }
        for other in ["", "[]", r#"{"type":"sync:state"}"#, r#"{"type":"command","command":7}"#] {
            assert!(parse_stored(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_refusal_names_the_item_of_a_command() {
        let refused = |text: &str| match parse(text) {
            Err(Rejection { error_type, item_id, id, .. }) => (error_type, item_id, id),
            other => panic!("{other:?} of {text}"),
        };
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (command, error_type, names) in [
            (
                r#"{"action":"move_item","item_id":"a","data":{"x_mm":"1"}}"#.to_owned(),
                "bad_command",
                true,
            ),
            (r#"{"action":"add_item","item_id":"a"}"#.into(), "bad_command", true),
            (
                format!(r#"{{"action":"add_item","item_id":"a","data":{{"b":{}}}}}"#, deep(97)),
                "bad_command",
                true,
            ),
            (
                format!(
                    r#"{{"action":"add_item","item_id":"a","data":{{"b":{}}}}}"#,
                    deep(500_000)
                ),
                "bad_command",
                true,
            ),
            (
                format!(r#"{{"action":"add_item","item_id":"a","data":{{}},"b":{}}}"#, deep(99)),
                "bad_message",
                true,
            ),
            (r#"{"action":"move_item","item_id":"","data":{}}"#.into(), "bad_command", false),
            (r#"{"action":7}"#.into(), "bad_command", false),
        ] {
            let text = format!(r#"{{"type":"command","id":7,"command":{command}}}"#);
            let expected = (error_type, names.then(|| "a".into()), Some("7".into()));
            assert_eq!(refused(&text), expected, "{}", &text[..text.len().min(200)]);
        }
        let text = format!(
            r#"{{"type":"command","command":{{"action":"add_item","item_id":"a","data":{{"b":{}}}}}}}"#,
            deep(96)
        );
        assert!(parse(&text).is_ok());
        let chat = format!(r#"{{"type":"chat","b":{}}}"#, deep(100));
        assert_eq!(refused(&chat), ("bad_message", None, None));
    }

    #[test]
    fn a_state_is_taken_with_what_is_too_deep_left_out() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let text = format!(
            r#"{{"type":"sync:full_state","state":{{"items":[{{"uuid":"a"}},{{"uuid":"b","c":{}}},
                {{"uuid":"c","c":{}}},{}],"deep":{},"zoom":[1]}},"more":{}}}"#,
            deep(96),
            deep(97),
            deep(100_000),
            deep(98),
            deep(100_000),
        );
        let state = state(&text);
        let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
        assert_eq!((ids, written(&state.extra)), (vec!["a", "b"], r#"{"zoom":[1]}"#.into()));
        let left_out: Vec<_> = state.left_out.iter().map(|one| one.id.as_deref()).collect();
        assert_eq!(left_out, [Some("c"), None]);
    }

    #[test]
    fn only_so_many_items_without_an_id_are_listed() {
        let items = format!("[{}{{\"uuid\":\"a\",\"x_mm\":\"0\"}}]", "7,".repeat(100_000));
        let state = state(&format!(r#"{{"type":"sync:update","state":{{"items":{items}}}}}"#));
        assert_eq!((state.items.len(), state.left_out.len()), (0, MAX_LISTED_UNNAMED + 1));
        assert_eq!(state.left_out[MAX_LISTED_UNNAMED].id.as_deref(), Some("a"));
    }

    #[test]
    fn the_editors_own_files_are_read() {
        let file = r##"{"version":"2.0","items":[{"_type":"source","item_uuid":"s","x_mm":-400.0,"y_mm":0.0,
            "angle_deg":0.0,"n_rays":5,"size_mm":Infinity,"spread_deg":NaN,"color_hex":"#dc143c"},
            {"_type":"component","item_uuid":"c","x_mm":NaN,"y_mm":Infinity}],
            "rulers":[{"a":NaN}],"texts":[],"session_id":"lab","seq":9}"##;
        let state = State::parse(file).unwrap();
        assert_eq!((state.items.len(), &*state.items[0].id, state.version), (1, "s", 0));
        assert_eq!(written(&state.extra), r#"{"rulers":[{}],"texts":[]}"#);
        assert_eq!(state.left_out[0].id.as_deref(), Some("c"));
        for hopeless in ["", "7", "[]", "{}", r#"{"items":{}}"#, r#"{"items":[NaN NaN]}"#] {
            assert!(State::parse(hopeless).is_err(), "{hopeless}");
        }
    }

    #[test]
    fn what_is_relayed_keeps_its_bytes_but_not_the_servers_fields() {
        let text = r#"{"type":"chat","n":1.50,"user_id":"mallory","seq":9,"big":18446744073709551616,
            "timestamp":"x","settled":true,"a\"b": {"x" : [1, 2]}}"#;
        let Ok(ClientMessage::Relay { body, is_cursor: false }) = parse(text) else { panic!() };
        let kept = r#"{"type":"chat","n":1.50,"big":18446744073709551616,"a\"b":{"x" : [1, 2]}"#;
        assert_eq!(std::str::from_utf8(body.head()).unwrap(), kept);
    }

    #[test]
    fn an_action_can_be_changed_without_touching_the_rest() {
        let text = r#"{"type":"command","command":{"action":"add_item","item_type":"lens","item_id":"a","data":{"uuid":"a","k":0.10}}}"#;
        let Ok(ClientMessage::Command(command)) = parse(text) else { panic!() };
        assert_eq!(command.action, Action::Add);
        let changed = String::from_utf8(command.body.with_action("update_item")).unwrap();
        assert_eq!(changed + "}", text.replace("add_item", "update_item"));
    }

    #[test]
    fn an_add_that_does_not_name_its_item_is_completed() {
        let relayed = |command: &str| {
            let text = format!(r#"{{"type":"command","command":{command}}}"#);
            let Ok(ClientMessage::Command(command)) = parse(&text) else { panic!("{text}") };
            String::from_utf8(command.body.head().to_vec()).unwrap()
        };
        let whole =
            r#"{"action":"add_item","item_type":"lens","item_id":"a","data":{"item_uuid":"a"}}"#;
        assert!(relayed(whole).ends_with(whole));
        for (bare, completed) in [
            (
                r#"{"action":"add_item","item_type":"lens","item_id":"a","data":{"x_mm":1.0},"n":1}"#,
                r#"{"action":"add_item","item_id":"a","n":1,"item_type":"lens","data":{"x_mm":1.0,"uuid":"a","item_type":"lens"}}"#,
            ),
            (
                r#"{"action":"add_item","item_id":"a","data":{"uuid":"b","_type":"lens"}}"#,
                r#"{"action":"add_item","item_id":"a","item_type":"lens","data":{"uuid":"a","_type":"lens","item_type":"lens"}}"#,
            ),
        ] {
            assert!(relayed(bare).ends_with(completed), "{}", relayed(bare));
        }
    }

    #[test]
    fn every_shape_that_aborts_an_editor_is_refused() {
        for command in [
            r#"7"#,
            r#"{"item_id":"a","data":{}}"#,
            r#"{"action":"add_item","item_id":7,"data":{}}"#,
            r#"{"action":"add_item","item_id":"","data":{}}"#,
            r#"{"action":"add_item","data":{}}"#,
            r#"{"action":"add_item","item_id":"a"}"#,
            r#"{"action":"remove_item","item_id":"a","data":null}"#,
            r#"{"action":"update_item","item_id":"a","data":[]}"#,
            r#"{"action":"move_item","item_id":"a","data":{"x_mm":"1"}}"#,
            r#"{"action":"move_item","item_id":"a","data":{"y_mm":null}}"#,
            r#"{"action":"move_item","item_id":"a","data":{"angle_deg":true}}"#,
            r#"{"action":"move_item","item_id":"a","data":{"x_mm":1e999}}"#,
            r#"{"action":"select","item_id":7}"#,
            r#"{"action":"select","data":"x"}"#,
        ] {
            let text = format!(r#"{{"type":"command","command":{command}}}"#);
            assert_eq!(refusal(&text), "bad_command", "{text}");
        }
        for state in ["null", "[]", "{}", r#"{"items":{}}"#] {
            for kind in ["sync:update", "sync:full_state"] {
                let text = format!(r#"{{"type":"{kind}","state":{state}}}"#);
                assert_eq!(refusal(&text), "bad_state", "{text}");
            }
        }
    }

    #[test]
    fn items_of_a_file_that_share_an_id_are_all_taken() {
        let item = |id: &str, n: u32| format!(r#"{{"item_uuid":"{id}","_type":"source","n":{n}}}"#);
        let twins = [item("a", 1), item("a", 2), item("b", 3), item("a", 4), item("a-2", 5)];
        let file = format!(r#"{{"items":[{}]}}"#, twins.join(","));
        let state = State::parse(&file).unwrap();
        let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
        assert_eq!(ids, ["a", "a-3", "b", "a-4", "a-2"]);
        for StateItem { id, fields } in &state.items {
            let names = fields.iter().filter(|(key, _)| matches!(&**key, "uuid" | "item_uuid"));
            let names: Vec<_> = names.map(|(_, value)| json::as_string(value).unwrap()).collect();
            assert!(!names.is_empty() && names.iter().all(|name| **name == **id), "{names:?}");
        }
        let renamed = state.renamed.iter().map(|item| (&*item.id, &*item.new));
        assert_eq!(renamed.collect::<Vec<_>>(), [("a", "a-3"), ("a", "a-4")]);
        // An item for which every longer id is too long is left out.
        let long = "x".repeat(1024);
        let file = format!(r#"{{"items":[{},{}]}}"#, item(&long, 1), item(&long, 2));
        let state = State::parse(&file).unwrap();
        assert_eq!((state.items.len(), state.left_out.len(), state.renamed.len()), (1, 1, 0));
        // A member's canvas has only one item of an id: the last one replaces the others.
        let text = format!(r#"{{"type":"sync:update","state":{{"items":[{}]}}}}"#, twins.join(","));
        let Ok(ClientMessage::SyncUpdate { state, .. }) = parse(&text) else { panic!("{text}") };
        assert_eq!(state.items.len(), 3);
    }

    #[test]
    fn an_item_that_cannot_be_taken_is_left_out_alone() {
        let deep = format!(r#"{{"uuid":"d","a":{}{}}}"#, "[".repeat(97), "]".repeat(97));
        let whys: Vec<(&str, Option<&str>)> = vec![
            ("7", None),
            ("[]", None),
            ("null", None),
            ("{}", None),
            (r#"{"uuid":7}"#, None),
            (r#"{"uuid":""}"#, None),
            (r#"{"uuid":"d","x_mm":"1"}"#, Some("d")),
            (r#"{"item_uuid":"d","y_mm":null}"#, Some("d")),
            (r#"{"uuid":"d","x_mm":Infinity}"#, Some("d")),
            (r#"{"uuid":"d","angle_deg":true}"#, Some("d")),
            (r#"{"uuid":"d","interfaces":{}}"#, Some("d")),
            (r#"{"uuid":"d","interfaces":[{},7]}"#, Some("d")),
            (r#"{"uuid":"d","interfaces":[{"x1_mm":"0"}]}"#, Some("d")),
            (&deep, Some("d")),
        ];
        for (item, id) in whys {
            for kind in ["sync:update", "sync:full_state"] {
                let items = format!(r#"[{{"uuid":"a"}},{item},{{"uuid":"b"}}]"#);
                let text = format!(r#"{{"type":"{kind}","state":{{"items":{items}}}}}"#);
                let state = match parse(&text) {
                    Ok(
                        ClientMessage::SyncUpdate { state, .. }
                        | ClientMessage::FullState { state, .. },
                    ) => state,
                    other => panic!("{other:?} of {text}"),
                };
                let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
                assert_eq!(ids, ["a", "b"], "{text}");
                let left_out: Vec<_> = state.left_out.iter().map(|one| one.id.as_deref()).collect();
                assert_eq!(left_out, [id], "{text}");
            }
        }
    }

    #[test]
    fn messages_without_form_are_refused() {
        for (text, error_type) in [
            ("", "bad_json"),
            ("[]", "bad_json"),
            ("{\"type\":\"chat\"", "bad_json"),
            ("{}", "no_type"),
            (r#"{"type":7}"#, "no_type"),
            (r#"{"type":"user:joined","user_id":"x"}"#, "reserved_type"),
            (r#"{"type":"chat","type":"pong"}"#, "reserved_type"),
            (r#"{"type":"sync:request","epoch":1,"since":0}"#, "bad_request"),
            (r#"{"type":"sync:request","epoch":"e","since":-1}"#, "bad_request"),
            (r#"{"type":"sync:update","state":{"items":[]},"id":{}}"#, "bad_id"),
            (r#"{"type":"sync:full_state","state":{"items":[]},"target_user":7}"#, "bad_state"),
        ] {
            assert_eq!(refusal(text), error_type, "{text}");
        }
    }

    #[test]
    fn a_states_items_are_named_by_uuid_or_item_uuid() {
        let text = r#"{"type":"sync:update","state":{"items":[{"uuid":"a","n":1},{"item_uuid":"b"},
            {"uuid":"a","n":2}],"version":6.5,"zoom":3}}"#;
        let Ok(ClientMessage::SyncUpdate { state, id: None, .. }) = parse(text) else { panic!() };
        let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(state.items[0].fields[1].1.get(), "2");
        assert_eq!((state.version, &*state.extra[0].0), (7, "zoom"));
    }
}
