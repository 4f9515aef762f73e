//! What a client of the session protocol may say: one text message in, one checked value out.
//!
//! Runs on the client's own thread, so that the hub never parses. Whatever passes here is safe to
//! relay: the editor aborts on a malformed object (docs/PROTOCOL.md, "Shapes that are refused").

use std::fmt;

use serde_json::value::RawValue;

use super::json::{self, Fields, Object};
use super::kind::Kind;
use super::relayed::{Body, Completed, complete_item, names_the_item};
pub use super::state::{State, StateItem};

/// Types only the server sends.
const SERVERS_TYPES: [&str; 9] = [
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
/// The longest `id` a message may carry, in bytes of its JSON text.
pub const LONGEST_ID: usize = 256;
/// The longest item id, in bytes: ids of removed items are remembered.
pub const LONGEST_ITEM_ID: usize = 1024;
/// The largest version number that every client can count from: 2^53 − 1.
pub const LARGEST_VERSION: u64 = (1 << 53) - 1;

/// A message that passed all checks. `Debug` doesn't show what it says.
pub enum ClientMessage {
    /// Answered with a pong that carries `echo`: the ping's `id` and `t`.
    Ping { echo: Fields },
    /// One change of one item, or an action only the clients know.
    Command(Command),
    /// To all others; of cursors only the newest matters.
    Relay { body: Body, is_cursor: bool },
    /// Asks for the document, or for what came after `since`.
    SyncRequest { since: Option<Since> },
    /// Replaces the document.
    SyncUpdate { state: State, id: Option<MessageId> },
    /// A host's snapshot of its canvas, meant for `target`.
    FullState { state: State, target: Option<String> },
    /// A host's snapshot that can't be taken: the sender is told, and that it is a host is known.
    RefusedFullState(Rejection),
}

/// The client's position in the order: what it wants to catch up from.
#[derive(Debug, PartialEq, Eq)]
pub struct Since {
    pub epoch: String,
    pub seq: u64,
}

/// A client-chosen `id` as its JSON text; confirmed, and applied only once.
pub type MessageId = Box<RawValue>;

/// What a command does to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Add,
    Update,
    Move,
    Remove,
    /// Relayed, not applied.
    Other,
}

/// A `command` message.
pub struct Command {
    pub action: Action,
    /// Empty only where the action is [`Action::Other`].
    pub item_id: Box<str>,
    pub item_type: Option<Box<RawValue>>,
    /// Empty where the action has no data.
    pub data: Fields,
    pub id: Option<MessageId>,
    pub body: Body,
}

impl ClientMessage {
    /// Its type, where the protocols know it.
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
    /// The refusal of this message by whoever may only watch, who is told `message`.
    pub fn read_only(&self, message: &'static str) -> Rejection {
        let text = |id: &Option<MessageId>| id.as_ref().map(|id| id.get().into());
        let (original_type, id) = match self {
            ClientMessage::Ping { .. } => (Some("ping".into()), None),
            ClientMessage::Command(command) => (Some("command".into()), text(&command.id)),
            ClientMessage::Relay { body, .. } => {
                let (kind, id) = body.named();
                (kind, id.map(Into::into))
            }
            ClientMessage::SyncRequest { .. } => (Some("sync:request".into()), None),
            ClientMessage::SyncUpdate { id, .. } => (Some("sync:update".into()), text(id)),
            ClientMessage::FullState { .. } | ClientMessage::RefusedFullState(_) => {
                (Some("sync:full_state".into()), None)
            }
        };
        Rejection { error_type: "read_only", message, code: 403, original_type, id }
    }
}

/// Why a message was refused. The sender is told; nobody else notices.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// In `snake_case`, for programs.
    pub error_type: &'static str,
    /// For a person; holds nothing of what the client sent.
    pub message: &'static str,
    /// In the manner of HTTP: 4xx.
    pub code: u16,
    /// The type of the refused message, where it had one.
    pub original_type: Option<String>,
    /// The `id` of the refused message, where it had one.
    pub id: Option<Box<str>>,
}

impl Rejection {
    /// The type of the refused message, where the protocols know it.
    pub fn kind(&self) -> Kind {
        self.original_type.as_deref().map_or(Kind::Other, Kind::of)
    }
}

/// A [`Rejection`] whose message is still to be named.
struct Refused(&'static str, &'static str);

/// Checks one text message.
///
/// # Errors
/// A [`Rejection`] for whatever is not one of the shapes docs/PROTOCOL.md lists. A refused
/// `sync:full_state` is none: [`ClientMessage::RefusedFullState`].
pub fn parse(text: &str) -> Result<ClientMessage, Rejection> {
    let reject = |Refused(error_type, message), original_type, id| Rejection {
        error_type,
        message,
        code: 400,
        original_type,
        id,
    };
    json::check_proportions(text).map_err(|why| reject(Refused("bad_message", why), None, None))?;
    let message = Object::parse(text).map_err(|_| {
        reject(Refused("bad_json", "a message is one JSON object per text frame"), None, None)
    })?;
    let Some(kind) = message.get("type").and_then(json::as_string) else {
        return Err(reject(Refused("no_type", "a message needs a string `type`"), None, None));
    };
    message_of_type(&kind, &message)
        .map_err(|why| {
            let id = message.get("id").map(|id| id.get()).filter(|id| id.len() <= LONGEST_ID);
            reject(why, Some(kind.chars().take(128).collect()), id.map(Into::into))
        })
        .or_else(|rejection| match &*kind {
            "sync:full_state" => Ok(ClientMessage::RefusedFullState(rejection)),
            _ => Err(rejection),
        })
}

/// The `type` of a message, for the log; `None` where it has none.
pub fn type_of(text: &str) -> Option<String> {
    Object::parse(text).ok()?.get("type").and_then(json::as_string)
}

fn message_of_type(kind: &str, message: &Object<'_>) -> Result<ClientMessage, Refused> {
    match kind {
        "ping" => {
            let echo = message.iter().filter(|(key, _)| matches!(*key, "id" | "t"));
            let echo = echo.map(|(key, value)| (key.into(), value.to_owned())).collect();
            Ok(ClientMessage::Ping { echo })
        }
        "command" => Ok(ClientMessage::Command(command(message)?)),
        "cursor" => {
            Ok(ClientMessage::Relay { body: Body::of(message, None, None), is_cursor: true })
        }
        "sync:request" => Ok(ClientMessage::SyncRequest { since: since(message)? }),
        "sync:update" => {
            Ok(ClientMessage::SyncUpdate { state: state(message)?, id: message_id(message)? })
        }
        "sync:full_state" => {
            let target = match message.get("target_user") {
                None => None,
                Some(value) if value.get() == "null" => None,
                Some(value) => Some(
                    json::as_string(value)
                        .ok_or(Refused("bad_state", "`target_user` has to be a string"))?,
                ),
            };
            Ok(ClientMessage::FullState { state: state(message)?, target })
        }
        _ if SERVERS_TYPES.contains(&kind) => {
            Err(Refused("reserved_type", "only the server sends messages of this type"))
        }
        _ => Ok(ClientMessage::Relay { body: Body::of(message, None, None), is_cursor: false }),
    }
}

fn command(message: &Object<'_>) -> Result<Command, Refused> {
    let bad = |why| Refused("bad_command", why);
    let command = message
        .get("command")
        .and_then(|value| Object::parse(value.get()).ok())
        .ok_or(bad("`command` has to be an object"))?;
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
        Some(data) => {
            Some(Object::parse(data.get()).map_err(|_| bad("`data` has to be an object"))?)
        }
        None if matches!(action, Action::Remove | Action::Other) => None,
        None => return Err(bad("`command.data` has to be an object")),
    };
    if let Some(data) = &data {
        check_place(data).map_err(bad)?;
    }
    let fields = match action {
        Action::Add | Action::Update | Action::Move => data.map(|data| data.to_fields()),
        Action::Remove | Action::Other => None,
    };
    let mut fields = fields.unwrap_or_default();
    let mut add = None;
    if action == Action::Add && !names_the_item(&fields, &item_id, item_type) {
        fields = complete_item(&item_id, fields, item_type);
        let own_type = fields.iter().find(|(key, _)| &**key == "item_type");
        add = own_type.map(|(_, item_type)| Completed { item_type, data: &fields });
    }
    let body = Body::of(message, Some(&command), add);
    Ok(Command {
        action,
        item_id: item_id.into(),
        item_type: item_type.map(ToOwned::to_owned),
        data: fields,
        id: message_id(message)?,
        body,
    })
}

pub(super) fn is_item_id(id: &str) -> bool {
    (1..=LONGEST_ITEM_ID).contains(&id.len())
}

/// Where an item says where it is, it says so in finite numbers.
pub(super) fn check_place(data: &Object<'_>) -> Result<(), &'static str> {
    for name in ["x_mm", "y_mm", "angle_deg"] {
        if data.get(name).is_some_and(|value| json::as_number(value).is_none()) {
            return Err("`x_mm`, `y_mm` and `angle_deg` have to be finite numbers");
        }
    }
    Ok(())
}

fn since(message: &Object<'_>) -> Result<Option<Since>, Refused> {
    let (epoch, seq) = match (message.get("epoch"), message.get("since")) {
        (Some(epoch), Some(seq)) => (epoch, seq),
        _ => return Ok(None),
    };
    let parsed = json::as_string(epoch).zip(serde_json::from_str::<u64>(seq.get()).ok());
    match parsed {
        Some((epoch, seq)) => Ok(Some(Since { epoch, seq })),
        None => Err(Refused("bad_request", "`epoch` has to be a string, `since` a whole number")),
    }
}

fn message_id(message: &Object<'_>) -> Result<Option<MessageId>, Refused> {
    let Some(id) = message.get("id").filter(|id| id.get() != "null") else { return Ok(None) };
    let is_name = json::as_string(id).is_some() || json::as_number(id).is_some();
    if is_name && id.get().len() <= LONGEST_ID {
        Ok(Some(id.to_owned()))
    } else {
        Err(Refused("bad_id", "`id` has to be a string or a number of at most 256 bytes"))
    }
}

fn state(message: &Object<'_>) -> Result<State, Refused> {
    let state = message
        .get("state")
        .and_then(|value| Object::parse(value.get()).ok())
        .ok_or("`state` has to be an object");
    state.and_then(|state| State::of(&state)).map_err(|why| Refused("bad_state", why))
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
        for state in [
            "null",
            "[]",
            "{}",
            r#"{"items":{}}"#,
            r#"{"items":[7]}"#,
            r#"{"items":[{}]}"#,
            r#"{"items":[{"uuid":7}]}"#,
            r#"{"items":[{"uuid":""}]}"#,
            r#"{"items":[{"uuid":"a","x_mm":"1"}]}"#,
            r#"{"items":[],"version":"1"}"#,
        ] {
            for kind in ["sync:update", "sync:full_state"] {
                let text = format!(r#"{{"type":"{kind}","state":{state}}}"#);
                assert_eq!(refusal(&text), "bad_state", "{text}");
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
        let Ok(ClientMessage::SyncUpdate { state, id: None }) = parse(text) else { panic!() };
        let ids: Vec<&str> = state.items.iter().map(|item| &*item.id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(state.items[0].fields[1].1.get(), "2");
        assert_eq!((state.version, &*state.extra[0].0), (7, "zoom"));
    }
}
