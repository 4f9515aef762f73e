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

const SERVER_TYPES: [&str; 10] = [
    "connection:ack",
    "user:joined",
    "user:left",
    "host:changed",
    "sync:state",
    "sync:done",
    "session:activity",
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[path = "inbound_tests.rs"]
mod tests;
