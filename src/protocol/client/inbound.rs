//! A client's messages of the client protocol: parses and checks one text message.
//!
//! Runs on the client's thread, so the hub never parses. Only the hub knows whether the sender has
//! authenticated and what it may do, so it gets refused messages, too.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::refusal::{BAD_CHANNEL, ClientError, LONG_ID, NO_CONTENT, RESERVED_TYPE};
use crate::protocol::inbound::{MAX_MESSAGE_ID_BYTES, MessageId};
use crate::protocol::json::{self, Fields, Object};
use crate::protocol::kind::Kind;
use crate::protocol::relayed::Body;

/// The longest name of a channel, in characters.
pub const MAX_CHANNEL_CHARS: usize = 128;
/// The longest `thread_id` that is counted, in bytes.
pub const MAX_THREAD_ID_BYTES: usize = 256;
const SERVER_TYPES: [&str; 8] = [
    "connection_established",
    "connection_success",
    "message_delivered",
    "subscription_success",
    "unsubscription_success",
    "disconnect",
    "pong",
    "error",
];
/// The fields of a relayed message that the server sets. A sender's own are dropped.
const SERVER_FIELDS: [&str; 2] = ["timestamp", "client_id"];

/// A message that could be parsed. `Debug` shows no key and no content.
pub enum Inbound {
    /// Answered with a pong that carries `echo`, the ping's `id` and `t`.
    Ping { echo: Fields },
    /// `connect`. `key` is `None` where the message has no string as its key.
    Connect { key: Option<String> },
    /// Any other message: the hub handles it.
    Request(Request),
}

impl Inbound {
    /// The message's type, [`Kind::Other`] where the protocols don't define it or the message is
    /// refused.
    pub fn kind(&self) -> Kind {
        match self {
            Inbound::Ping { .. } => Kind::Ping,
            Inbound::Connect { .. } => Kind::Connect,
            Inbound::Request(Request::Join(subscription) | Request::Leave(subscription)) => {
                Kind::from_name(subscription.kind)
            }
            Inbound::Request(Request::Publish(publication)) => publication.body.kind(),
            Inbound::Request(Request::Refused { .. }) => Kind::Other,
        }
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inbound::Ping { .. } => f.write_str("Ping"),
            Inbound::Connect { .. } => f.write_str("Connect"),
            Inbound::Request(request) => request.fmt(f),
        }
    }
}

/// A message that only an authenticated client may send.
#[derive(Debug)]
pub enum Request {
    /// `join_channel`, `subscribe`.
    Join(Subscription),
    /// `leave_channel`, `unsubscribe`.
    Leave(Subscription),
    /// A message to a channel, or one to be echoed.
    Publish(Publication),
    /// A message that breaks a rule; answered with an `error`.
    Refused { why: ClientError, id: Option<MessageId> },
}

/// A request to join or leave a channel.
#[derive(Debug)]
pub struct Subscription {
    pub channel: Arc<str>,
    /// The message's type as it was sent.
    pub kind: &'static str,
    pub id: Option<MessageId>,
}

/// A message to a channel, or one to be echoed to its sender. `Debug` doesn't show its content.
pub struct Publication {
    pub kind: Box<str>,
    /// The channel; `None` where the message is echoed.
    pub channel: Option<Arc<str>>,
    /// `data.thread_id`, if that is a string of at most [`MAX_THREAD_ID_BYTES`] bytes.
    pub thread: Option<Box<str>>,
    /// The message's `id`, repeated in the confirmation.
    pub id: Option<MessageId>,
    /// What the receivers get, without `timestamp` and `client_id`.
    pub body: Body,
}

impl Publication {
    /// True where the message only shows a cursor, which readers may send, too.
    pub fn is_cursor(&self) -> bool {
        &*self.kind == "cursor"
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Publication").field(&self.body).finish()
    }
}

/// A text that is no message: not JSON, no object, without a string `type`, nested too deep, or
/// with a number of over 400 characters. The client gets `invalid_format`; after the third such
/// text in a row the connection is closed with 4002.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Parses and checks one text message.
///
/// # Errors
/// [`Unreadable`] where the text is no message. A message that breaks another rule is
/// [`Request::Refused`].
pub fn parse(text: &str) -> Result<Inbound, Unreadable> {
    json::check_depth_and_numbers(text).map_err(|_| Unreadable)?;
    let message = Object::parse(text).map_err(|_| Unreadable)?;
    let kind = message.get("type").and_then(json::as_string).ok_or(Unreadable)?;
    Ok(match kind.as_str() {
        "ping" => {
            let echo = message.iter().filter(|(key, _)| matches!(*key, "id" | "t"));
            Inbound::Ping {
                echo: echo.map(|(key, value)| (json::name(key), value.to_owned())).collect(),
            }
        }
        "connect" => {
            let key = data(&message).and_then(|data| json::as_string(data.get("api_key")?));
            Inbound::Connect { key }
        }
        _ => Inbound::Request(request(kind, &message)),
    })
}

fn request(kind: String, message: &Object<'_>) -> Request {
    let id = message.get("id").filter(|id| id.get() != "null");
    if id.is_some_and(|id| id.get().len() > MAX_MESSAGE_ID_BYTES) {
        return Request::Refused { why: LONG_ID, id: None };
    }
    let id = id.map(ToOwned::to_owned);
    let asked = match kind.as_str() {
        "join_channel" => subscription("join_channel", message, &id).map(Request::Join),
        "subscribe" => subscription("subscribe", message, &id).map(Request::Join),
        "leave_channel" => subscription("leave_channel", message, &id).map(Request::Leave),
        "unsubscribe" => subscription("unsubscribe", message, &id).map(Request::Leave),
        reserved if SERVER_TYPES.contains(&reserved) => Err(RESERVED_TYPE),
        _ => publication(kind, message, &id).map(Request::Publish),
    };
    asked.unwrap_or_else(|why| Request::Refused { why, id })
}

fn subscription(
    kind: &'static str,
    message: &Object<'_>,
    id: &Option<MessageId>,
) -> Result<Subscription, ClientError> {
    let data = data(message);
    let channel = data.as_ref().and_then(|data| data.get("channel")).ok_or(BAD_CHANNEL)?;
    Ok(Subscription { channel: channel_named(channel)?, kind, id: id.clone() })
}

fn publication(
    kind: String,
    message: &Object<'_>,
    id: &Option<MessageId>,
) -> Result<Publication, ClientError> {
    let channel = message.get("channel").filter(|channel| channel.get() != "null");
    let channel = channel.map(channel_named).transpose()?;
    let data = data(message);
    let field = |name| data.as_ref().and_then(|data| data.get(name));
    let needs_content = matches!(kind.as_str(), "chat_message" | "channel_message");
    if needs_content && !field("content").is_some_and(json::is_string) {
        return Err(NO_CONTENT);
    }
    let thread = field("thread_id").and_then(json::as_string);
    Ok(Publication {
        kind: kind.into(),
        channel,
        thread: thread.filter(|id| id.len() <= MAX_THREAD_ID_BYTES).map(Into::into),
        id: id.clone(),
        body: Body::of_channel(message, &SERVER_FIELDS),
    })
}

fn data<'a>(message: &Object<'a>) -> Option<Object<'a>> {
    Object::parse(message.get("data")?.get()).ok()
}

fn channel_named(value: &RawValue) -> Result<Arc<str>, ClientError> {
    let name = json::as_string(value).filter(|name| is_channel(name));
    name.map(Into::into).ok_or(BAD_CHANNEL)
}

/// True where a channel may have this name.
pub fn is_channel(name: &str) -> bool {
    (1..=MAX_CHANNEL_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::refusal::{BAD_CHANNEL, LONG_ID, NO_CONTENT, RESERVED_TYPE};
    use super::*;

    fn request(text: &str) -> Request {
        match parse(text) {
            Ok(Inbound::Request(request)) => request,
            other => panic!("{other:?} of {text}"),
        }
    }

    fn refusal(text: &str) -> ClientError {
        match request(text) {
            Request::Refused { why, .. } => why,
            other => panic!("{other:?} of {text}"),
        }
    }

    fn publication(text: &str) -> Publication {
        match request(text) {
            Request::Publish(publication) => publication,
            other => panic!("{other:?} of {text}"),
        }
    }

    #[test]
    fn what_is_no_message_is_unreadable() {
        let deep = format!(r#"{{"type":"x","a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        let endless = format!(r#"{{"type":"x","n":{}}}"#, "1".repeat(401));
        for text in [
            "",
            "hello",
            "[]",
            "7",
            "null",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":null}"#,
            r#"{"type":"\ud800"}"#,
            r#"{"type":"ping"}x"#,
            r#"{"type":"ping","data":{"a":}}"#,
            r#"{"type":"connect""#,
            &deep,
            &endless,
        ] {
            assert_eq!(parse(text).err(), Some(Unreadable), "{text}");
        }
    }

    #[test]
    fn a_ping_wants_its_id_and_t_back() {
        let Ok(Inbound::Ping { echo }) = parse(r#"{"id":7,"x":1,"type":"ping","t":1.50}"#) else {
            panic!()
        };
        let echo: Vec<_> = echo.iter().map(|(key, value)| (&**key, value.get())).collect();
        assert_eq!(echo, [("id", "7"), ("t", "1.50")]);
    }

    #[test]
    fn only_a_string_is_a_key() {
        let key = |text: &str| match parse(text) {
            Ok(Inbound::Connect { key }) => key,
            other => panic!("{other:?} of {text}"),
        };
        let whole = r#"{"type":"connect","data":{"api_key":"k\u00e9y","connection_type":7}}"#;
        assert_eq!(key(whole).as_deref(), Some("kéy"));
        for data in ["null", "7", "[]", "{}", r#"{"api_key":7}"#, r#"{"api_key":null}"#] {
            assert_eq!(key(&format!(r#"{{"type":"connect","data":{data}}}"#)), None, "{data}");
        }
        assert_eq!(key(r#"{"type":"connect","api_key":"elsewhere"}"#), None);
    }

    #[test]
    fn channels_are_joined_and_left_by_two_names_each() {
        for kind in ["join_channel", "subscribe", "leave_channel", "unsubscribe"] {
            let text =
                format!(r#"{{"type":"{kind}","id":"a","data":{{"channel":"gener\u0061l"}}}}"#);
            let (subscription, joins) = match request(&text) {
                Request::Join(subscription) => (subscription, true),
                Request::Leave(subscription) => (subscription, false),
                other => panic!("{other:?}"),
            };
            assert_eq!(joins, matches!(kind, "join_channel" | "subscribe"));
            assert_eq!((&*subscription.channel, subscription.kind), ("general", kind));
            assert_eq!(subscription.id.unwrap().get(), r#""a""#);
        }
    }

    #[test]
    fn a_channel_has_1_to_128_characters_and_none_that_control() {
        for (name, good) in [
            (String::from("a"), true),
            (" ".into(), true),
            ("ü".repeat(128), true),
            (String::new(), false),
            ("ü".repeat(129), false),
            ("a\\u0000".into(), false),
            ("a\\u0085".into(), false),
            ("a\\n".into(), false),
        ] {
            let join = format!(r#"{{"type":"join_channel","data":{{"channel":"{name}"}}}}"#);
            let publication = format!(r#"{{"type":"x","channel":"{name}"}}"#);
            match good {
                true => {
                    assert!(matches!(request(&join), Request::Join(_)), "{join}");
                    assert!(matches!(request(&publication), Request::Publish(_)), "{publication}");
                }
                false => {
                    assert_eq!((refusal(&join), refusal(&publication)), (BAD_CHANNEL, BAD_CHANNEL));
                }
            }
        }
        for text in [
            r#"{"type":"join_channel"}"#,
            r#"{"type":"join_channel","channel":"general"}"#,
            r#"{"type":"subscribe","data":[]}"#,
            r#"{"type":"unsubscribe","data":{"channel":null}}"#,
            r#"{"type":"leave_channel","data":{"channel":["a"]}}"#,
            r#"{"type":"task_update","channel":7}"#,
            r#"{"type":"task_update","channel":{}}"#,
        ] {
            assert_eq!(refusal(text), BAD_CHANNEL, "{text}");
        }
    }

    #[test]
    fn chat_needs_words() {
        for kind in ["chat_message", "channel_message"] {
            for data in ["{}", "null", "\"hi\"", r#"{"content":7}"#, r#"{"content":null}"#] {
                let text = format!(r#"{{"type":"{kind}","data":{data}}}"#);
                assert_eq!(refusal(&text), NO_CONTENT, "{text}");
            }
            publication(&format!(r#"{{"type":"{kind}","data":{{"content":""}}}}"#));
        }
        publication(r#"{"type":"agent_status"}"#);
        publication(r#"{"type":"task_update","data":7}"#);
    }

    #[test]
    fn the_servers_types_are_reserved() {
        for kind in SERVER_TYPES {
            assert_eq!(refusal(&format!(r#"{{"type":"{kind}"}}"#)), RESERVED_TYPE);
        }
    }

    #[test]
    fn an_id_is_any_json_that_is_short_enough_to_be_repeated() {
        let id = |text: &str| publication(text).id.map(|id| id.get().to_owned());
        assert_eq!(id(r#"{"type":"x","id":{"a": 1.0}}"#).as_deref(), Some(r#"{"a": 1.0}"#));
        assert_eq!(id(r#"{"type":"x","id":null}"#), None);
        let of_length =
            |length: usize| format!(r#"{{"type":"x","id":"{}"}}"#, "i".repeat(length - 2));
        assert!(id(&of_length(256)).is_some());
        assert_eq!(refusal(&of_length(257)), LONG_ID);
        let refused = request(r#"{"type":"error","id":7}"#);
        let Request::Refused { why: RESERVED_TYPE, id: Some(id) } = refused else { panic!() };
        assert_eq!(id.get(), "7");
    }

    #[test]
    fn what_is_relayed_keeps_its_bytes_but_not_the_servers_fields() {
        let text = r#"{"type":"chat_message","client_id":"mallory","channel":"a","n":1.50,
            "timestamp":"x","user_id":"kept","seq":18446744073709551616,
            "client\u005fid":"mallory","data":{"content" : "hi", "thread_id":"t"}}"#;
        let publication = publication(text);
        let kept = r#"{"type":"chat_message","channel":"a","n":1.50,"user_id":"kept","seq":18446744073709551616,"data":{"content" : "hi", "thread_id":"t"}"#;
        assert_eq!(std::str::from_utf8(publication.body.head()).unwrap(), kept);
        assert_eq!(
            (publication.channel.as_deref(), publication.thread.as_deref()),
            (Some("a"), Some("t"))
        );
    }

    #[test]
    fn a_thread_id_that_is_too_long_is_not_counted() {
        let thread = |length: usize| {
            let id = "t".repeat(length);
            let text = format!(r#"{{"type":"x","data":{{"thread_id":"{id}"}}}}"#);
            publication(&text).thread.map(|id| id.len())
        };
        assert_eq!((thread(256), thread(257), thread(0)), (Some(256), None, Some(0)));
        assert!(publication(r#"{"type":"x","data":{"thread_id":7}}"#).thread.is_none());
    }

    #[test]
    fn no_key_and_no_content_is_shown_by_debug() {
        for text in [
            r#"{"type":"connect","data":{"api_key":"secret"}}"#,
            r#"{"type":"chat_message","secret":"secret","data":{"content":"secret"}}"#,
            r#"{"type":"ping","id":"secret"}"#,
        ] {
            let shown = format!("{:?}", parse(text));
            assert!(!shown.contains("secret"), "{shown}");
            // The bytes of "secret" are not shown as numbers either.
            assert!(!shown.contains("115, 101"), "{shown}");
        }
    }
}
