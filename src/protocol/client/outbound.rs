//! The server's messages of the client protocol. `client` is the `client_id` that the message
//! carries: the receiver's own, and the sender's on a relayed message.

use std::io::Write;

use serde_json::value::RawValue;

use super::refusal::{ClientError, SERVER_ERROR};
use crate::protocol::json::{self, Fields};
use crate::protocol::outbound::{Message, write_key};
use crate::protocol::relayed::Body;
use crate::protocol::{Frame, Timestamp};

/// `connection_established`, the first message on every connection.
pub fn established(client: &str, now: Timestamp) -> Frame {
    let text = "Connection established, waiting for authentication";
    signed(saying(Message::new("connection_established"), text), client, now)
}

/// `connection_success`: the key is good.
pub fn connect_success(client: &str, now: Timestamp) -> Frame {
    signed(saying(Message::new("connection_success"), "Connected"), client, now)
}

/// `message_delivered` for a `connect` with a good key.
pub fn connect_delivered(client: &str, now: Timestamp) -> Frame {
    let text = "Authentication message received and processed";
    confirmation("connect", Some(text), None, client, now)
}

/// `message_delivered` for a `join_channel` or `subscribe`.
pub fn join_delivered(kind: &str, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    confirmation(kind, Some("Join channel request received"), id, client, now)
}

/// `message_delivered` for a `leave_channel` or `unsubscribe`.
pub fn leave_delivered(kind: &str, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    confirmation(kind, Some("Leave channel request received"), id, client, now)
}

/// `message_delivered` for a message that was queued for all its receivers.
pub fn delivered(kind: &str, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
    confirmation(kind, None, id, client, now)
}

/// `subscription_success`: the receiver is a member of the channel.
pub fn subscribed(channel: &str, client: &str, now: Timestamp) -> Frame {
    membership("subscription_success", channel, "success", "Joined the channel", client, now)
}

/// `unsubscription_success`: the receiver has left the channel, as it asked.
pub fn unsubscribed(channel: &str, client: &str, now: Timestamp) -> Frame {
    membership("unsubscription_success", channel, "success", "Left the channel", client, now)
}

/// `unsubscription_success` with `revoked`: the receiver has lost its membership, because its key
/// doesn't open the channel any more.
pub fn revoked(channel: &str, client: &str, now: Timestamp) -> Frame {
    let text = "The key does not open this channel any more";
    membership("unsubscription_success", channel, "revoked", text, client, now)
}

/// A member's message to a channel, or an echo; `client` is its sender.
pub fn relayed(body: &Body, client: &str, now: Timestamp) -> Frame {
    signed(Message::continuing(body.head(), body.kind()), client, now)
}

/// `pong` with the ping's `id` and `t`.
pub fn pong(echo: &Fields, client: &str, now: Timestamp) -> Frame {
    let pong = Message::new("pong");
    let pong = echo.iter().fold(pong, |pong, (key, value)| pong.raw(key, value.get()));
    signed(pong, client, now)
}

/// `error`; `id` is the one of the message that it is about.
pub fn error(why: ClientError, id: Option<&RawValue>, client: &str, now: Timestamp) -> Frame {
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

/// `error` 500 for a bug of the server. The connection is closed with 1011 after it.
pub fn server_error(client: &str, now: Timestamp) -> Frame {
    error(SERVER_ERROR, None, client, now)
}

/// `disconnect`: the connection is closed next, for this reason.
pub fn disconnect(reason: &str, client: &str, now: Timestamp) -> Frame {
    let disconnect = Message::new("disconnect");
    signed(with_data(disconnect, |data| text(data, "reason", reason)), client, now)
}

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

/// Adds the fields that every message of the server has, and encodes the frame.
fn signed(message: Message, client: &str, now: Timestamp) -> Frame {
    message.timestamp(now).string("client_id", client).finish()
}

#[cfg(test)]
mod tests {
    use super::super::refusal::INVALID_KEY;
    use super::super::{Inbound, Request, parse};
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
        let Ok(Inbound::Request(Request::Publish(publication))) = parse(text) else { panic!() };
        is(
            &relayed(&publication.body, CLIENT, now()),
            r#"{"type":"x","channel":"c","n":1.0,"id":"i",SIGNED}"#,
        );
        is(
            &delivered(&publication.kind, publication.id.as_deref(), CLIENT, now()),
            r#"{"type":"message_delivered","data":{"original_type":"x","status":"success","id":"i"},SIGNED}"#,
        );
        let Ok(Inbound::Ping { echo }) = parse(r#"{"type":"ping","t":1.50}"#) else { panic!() };
        is(&pong(&echo, CLIENT, now()), r#"{"type":"pong","t":1.50,SIGNED}"#);
        is(
            &error(super::super::refusal::RESERVED_TYPE, Some(&raw("[1]")), CLIENT, now()),
            r#"{"type":"error","data":{"message":"Only the server sends messages of this type","error_type":"reserved_type","code":400,"id":[1]},SIGNED}"#,
        );
    }
}
