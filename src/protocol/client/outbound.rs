//! What the server says on the client protocol. Each function takes whose `client_id` the message
//! carries: the receiver's own, and on what is relayed the sender's.

use std::io::Write;

use serde_json::value::RawValue;

use super::refusal::{Refusal, SERVER_ERROR};
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::{Message, write_key};
use crate::protocol::relayed::Body;
use crate::protocol::{Frame, Timestamp};

/// The first message on every connection.
pub fn established(client: &str, now: Timestamp) -> Frame {
    let text = "Connection established, waiting for authentication";
    signed(saying(Message::new("connection_established"), text), client, now)
}

/// The key is good.
pub fn connect_success(client: &str, now: Timestamp) -> Frame {
    signed(saying(Message::new("connection_success"), "Connected"), client, now)
}

/// The `connect` with that key is done with.
pub fn connect_delivered(client: &str, now: Timestamp) -> Frame {
    let text = "Authentication message received and processed";
    confirmation("connect", Some(text), None, client, now)
}

/// A `join_channel`, or `subscribe`, has been read.
pub fn join_delivered(kind: &str, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    confirmation(kind, Some("Join channel request received"), id, client, now)
}

/// A `leave_channel`, or `unsubscribe`, has been read.
pub fn leave_delivered(kind: &str, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    confirmation(kind, Some("Leave channel request received"), id, client, now)
}

/// A message has been handed to everyone it was for.
pub fn delivered(kind: &str, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    confirmation(kind, None, id, client, now)
}

/// The receiver is a member of the channel.
pub fn subscribed(channel: &str, client: &str, now: Timestamp) -> Frame {
    membership("subscription_success", channel, "success", "Joined the channel", client, now)
}

/// The receiver is no member of the channel any more, as it asked.
pub fn unsubscribed(channel: &str, client: &str, now: Timestamp) -> Frame {
    membership("unsubscription_success", channel, "success", "Left the channel", client, now)
}

/// The receiver is no member of the channel any more: its key doesn't open it now.
pub fn revoked(channel: &str, client: &str, now: Timestamp) -> Frame {
    let text = "The key does not open this channel any more";
    membership("unsubscription_success", channel, "revoked", text, client, now)
}

/// What a member of the channel said, or an echo; `client` is who said it.
pub fn relayed(body: &Body, client: &str, now: Timestamp) -> Frame {
    signed(Message::continuing(body.head(), body.kind()), client, now)
}

/// `pong`, with what the ping wanted back.
pub fn pong(echo: &Fields, client: &str, now: Timestamp) -> Frame {
    let pong = Message::new("pong");
    let pong = echo.iter().fold(pong, |pong, (key, value)| pong.raw(key, value.get()));
    signed(pong, client, now)
}

/// `error`; `id` is that of the message it is about.
pub fn error(why: Refusal, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    let error = with_data(Message::new("error"), |data| {
        text(data, "message", why.message);
        text(data, "error_type", why.error_type);
        write_key(data, "code");
        // Writing to memory can't fail.
        let _ = write!(data, "{}", why.code);
        repeated(data, id);
    });
    signed(error, client, now)
}

/// `error` 500: a bug on our side; the connection is closed with 1011 after it.
pub fn server_error(client: &str, now: Timestamp) -> Frame {
    error(SERVER_ERROR, None, client, now)
}

/// The connection is closed next, for this reason.
pub fn disconnect(reason: &str, client: &str, now: Timestamp) -> Frame {
    let disconnect = Message::new("disconnect");
    signed(with_data(disconnect, |data| text(data, "reason", reason)), client, now)
}

/// `message_delivered`.
fn confirmation(
    kind: &str,
    message: Option<&str>,
    id: Option<&RawValue>,
    client: &str,
    now: Timestamp,
) -> Frame {
    let delivered = with_data(Message::new("message_delivered"), |data| {
        if let Some(message) = message {
            text(data, "message", message);
        }
        text(data, "original_type", kind);
        text(data, "status", "success");
        repeated(data, id);
    });
    signed(delivered, client, now)
}

fn membership(
    kind: &str,
    channel: &str,
    status: &str,
    message: &str,
    client: &str,
    now: Timestamp,
) -> Frame {
    let membership = Message::new(kind).string("channel", channel);
    let membership = with_data(membership, |data| {
        text(data, "channel", channel);
        text(data, "status", status);
        text(data, "message", message);
    });
    signed(membership, client, now)
}

fn saying(message: Message, words: &str) -> Message {
    with_data(message, |data| text(data, "message", words))
}

/// Adds `data`, an object whose fields `write` appends.
fn with_data(message: Message, write: impl FnOnce(&mut Vec<u8>)) -> Message {
    message.written("data", |json| {
        json.push(b'{');
        write(json);
        json.push(b'}');
    })
}

fn text(data: &mut Vec<u8>, key: &str, value: &str) {
    write_key(data, key);
    json::write_string(data, value);
}

fn repeated(data: &mut Vec<u8>, id: Option<&RawValue>) {
    if let Some(id) = id {
        write_key(data, "id");
        data.extend_from_slice(id.get().as_bytes());
    }
}

/// Adds what every message of the server carries.
fn signed(message: Message, client: &str, now: Timestamp) -> Frame {
    message.timestamp(now).string("client_id", client).finish()
}

#[cfg(test)]
mod tests {
    use super::super::refusal::INVALID_KEY;
    use super::super::{Heard, Request, parse};
    use super::*;

    const SIGNED: &str = r#""timestamp":"1970-01-01T00:00:00.000Z","client_id":"a\"b""#;
    const CLIENT: &str = "a\"b";

    fn now() -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn is(frame: &Frame, text: &str) {
        let said = std::str::from_utf8(frame.payload()).unwrap();
        assert_eq!(said, text.replace("SIGNED", SIGNED));
        serde_json::from_str::<serde_json::Value>(said).unwrap();
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    #[test]
    fn greetings_and_farewells_to_the_letter() {
        is(
            &established(CLIENT, now()),
            r#"{"type":"connection_established","data":{"message":"Connection established, waiting for authentication"},SIGNED}"#,
        );
        is(
            &connect_success(CLIENT, now()),
            r#"{"type":"connection_success","data":{"message":"Connected"},SIGNED}"#,
        );
        is(
            &connect_delivered(CLIENT, now()),
            r#"{"type":"message_delivered","data":{"message":"Authentication message received and processed","original_type":"connect","status":"success"},SIGNED}"#,
        );
        is(
            &error(INVALID_KEY, None, CLIENT, now()),
            r#"{"type":"error","data":{"message":"Invalid API key","error_type":"invalid_key","code":403},SIGNED}"#,
        );
        is(
            &disconnect(INVALID_KEY.message, CLIENT, now()),
            r#"{"type":"disconnect","data":{"reason":"Invalid API key"},SIGNED}"#,
        );
    }

    #[test]
    fn what_is_said_of_channels_to_the_letter() {
        is(
            &join_delivered("subscribe", Some(&raw("7")), CLIENT, now()),
            r#"{"type":"message_delivered","data":{"message":"Join channel request received","original_type":"subscribe","status":"success","id":7},SIGNED}"#,
        );
        is(
            &leave_delivered("leave_channel", None, CLIENT, now()),
            r#"{"type":"message_delivered","data":{"message":"Leave channel request received","original_type":"leave_channel","status":"success"},SIGNED}"#,
        );
        is(
            &subscribed("general", CLIENT, now()),
            r#"{"type":"subscription_success","channel":"general","data":{"channel":"general","status":"success","message":"Joined the channel"},SIGNED}"#,
        );
        is(
            &unsubscribed("a\"", CLIENT, now()),
            r#"{"type":"unsubscription_success","channel":"a\"","data":{"channel":"a\"","status":"success","message":"Left the channel"},SIGNED}"#,
        );
    }

    #[test]
    fn messages_confirmations_and_pongs_to_the_letter() {
        let text = r#"{"type":"x","channel":"c","timestamp":0,"n":1.0,"id":"i"}"#;
        let Ok(Heard::Request(Request::Talk(talk))) = parse(text) else { panic!() };
        is(
            &relayed(&talk.body, CLIENT, now()),
            r#"{"type":"x","channel":"c","n":1.0,"id":"i",SIGNED}"#,
        );
        is(
            &delivered(&talk.kind, talk.id.as_deref(), CLIENT, now()),
            r#"{"type":"message_delivered","data":{"original_type":"x","status":"success","id":"i"},SIGNED}"#,
        );
        let Ok(Heard::Ping { echo }) = parse(r#"{"type":"ping","t":1.50}"#) else { panic!() };
        is(&pong(&echo, CLIENT, now()), r#"{"type":"pong","t":1.50,SIGNED}"#);
        is(
            &error(super::super::refusal::RESERVED_TYPE, Some(&raw("[1]")), CLIENT, now()),
            r#"{"type":"error","data":{"message":"Only the server sends messages of this type","error_type":"reserved_type","code":400,"id":[1]},SIGNED}"#,
        );
    }
}
