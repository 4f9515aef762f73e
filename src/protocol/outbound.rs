//! The server's messages of the session protocol: a builder, and one function for each type.

use std::io::Write;

use serde_json::value::RawValue;

use super::frame::{Frame, FrameBuffer};
use super::json::{self, Fields};
pub use super::json::{write_key, write_object};
use super::kind::Kind;
use super::rejection::{LeftOut, Rejection};
use super::timestamp::Timestamp;

/// A JSON object that is written, field by field, into the frame that carries it.
#[derive(Debug)]
pub struct Message(FrameBuffer, Kind);

impl Message {
    /// Begins a message of the server's own.
    pub fn new(kind: &str) -> Self {
        let mut message = Message(FrameBuffer::with_capacity(192), Kind::from_name(kind));
        message.0.0.push(b'{');
        message.string("type", kind)
    }

    /// Continues a client's message of this type. `head` is its opening brace and at least one
    /// field.
    pub fn continuing(head: &[u8], kind: Kind) -> Self {
        let mut message = Message(FrameBuffer::with_capacity(head.len() + 128), kind);
        message.0.0.extend_from_slice(head);
        message
    }

    pub fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        json::write_string(&mut self.0.0, value);
        self
    }

    /// Adds a value that is JSON already.
    pub fn raw(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.0.extend_from_slice(value.as_bytes());
        self
    }

    pub fn number(self, key: &str, value: u64) -> Self {
        self.written(key, |json| drop(write!(json, "{value}")))
    }

    pub fn flag(self, key: &str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub fn timestamp(self, now: Timestamp) -> Self {
        self.written("timestamp", |json| drop(write!(json, "\"{now}\"")))
    }

    /// Adds a value that `write` appends as JSON.
    pub fn written(mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.key(key);
        write(&mut self.0.0);
        self
    }

    /// Closes the object and encodes the frame.
    pub fn finish(mut self) -> Frame {
        self.0.0.push(b'}');
        self.0.into_text().with_kind(self.1)
    }

    fn key(&mut self, key: &str) {
        write_key(&mut self.0.0, key);
    }
}

/// `pong` with the ping's `id` and `t`.
pub fn pong(echo: &Fields, now: Timestamp) -> Frame {
    let pong = Message::new("pong").timestamp(now);
    echo.iter().fold(pong, |pong, (key, value)| pong.raw(key, value.get())).finish()
}

/// `error` for a refused message.
pub fn rejected(rejection: &Rejection) -> Frame {
    error(
        rejection.error_type,
        rejection.message,
        rejection.code,
        rejection.original_type.as_deref(),
        rejection.id.as_deref(),
        rejection.item_id.as_deref(),
    )
}

/// `error` for one item that was left out of a canvas.
pub fn left_out(item: &LeftOut, original_type: &str, id: Option<&str>) -> Frame {
    bad_item(item.id.as_deref(), item.why, original_type, id)
}

/// `error` for an item that the document has no room for.
pub fn bad_item(item: Option<&str>, why: &str, original_type: &str, id: Option<&str>) -> Frame {
    error("bad_item", why, 400, Some(original_type), id, item)
}

/// `error`. `id` is JSON, `item_id` is plain text.
pub fn error(
    error_type: &str,
    message: &str,
    code: u16,
    original_type: Option<&str>,
    id: Option<&str>,
    item_id: Option<&str>,
) -> Frame {
    let mut error = Message::new("error")
        .string("error_type", error_type)
        .string("message", message)
        .number("code", code.into());
    if let Some(original_type) = original_type {
        error = error.string("original_type", original_type);
    }
    if let Some(id) = id {
        error = error.raw("id", id);
    }
    if let Some(item_id) = item_id {
        error = error.string("item_id", item_id);
    }
    error.finish()
}

/// `error` 500 for a bug of the server. The connection is closed with 1011 after it.
pub fn server_error() -> Frame {
    let message = "the server failed to handle this; please report it, then connect again";
    error("server_error", message, 500, None, None, None)
}

/// A `command` about one item, without its author and the server's other fields. `data` appends the
/// command's data as JSON.
pub fn item_command(
    action: &str,
    item_type: &RawValue,
    item_id: &str,
    data: impl FnOnce(&mut Vec<u8>),
) -> Message {
    Message::new("command").written("command", |json| {
        json.push(b'{');
        write_key(json, "action");
        json::write_string(json, action);
        write_key(json, "item_type");
        json.extend_from_slice(item_type.get().as_bytes());
        write_key(json, "item_id");
        json::write_string(json, item_id);
        write_key(json, "data");
        data(json);
        json.push(b'}');
    })
}

/// `message_delivered`: the sender's change has been applied as change `seq`. `repeated` is true
/// where it had been applied before, when the sender sent it first.
pub fn delivered(
    id: &RawValue,
    seq: u64,
    original_type: &str,
    repeated: bool,
    now: Timestamp,
) -> Frame {
    let message = Message::new("message_delivered")
        .raw("id", id.get())
        .number("seq", seq)
        .string("original_type", original_type)
        .string("status", "success");
    let message = if repeated { message.flag("repeated", true) } else { message };
    message.timestamp(now).finish()
}

/// The answer to a request that restored a session as change `seq`.
pub fn restored(session: &str, epoch: &str, seq: u64, now: Timestamp) -> Vec<u8> {
    let answer = Message::new("restored")
        .string("session_id", session)
        .string("epoch", epoch)
        .number("seq", seq)
        .timestamp(now);
    answer.finish().payload().to_vec()
}
