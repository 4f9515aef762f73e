//! What holds for any message at all: nothing a client sends makes the parser panic, and what is
//! relayed says what the sender said, except where the server speaks.
//!
//! A failing case is printed, with the seed that brings it back.

use collabd::hub::Document;
use collabd::protocol::client::{self, Inbound, Request};
use collabd::protocol::inbound::{self, ClientMessage, State};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Field names as they come, the server's own among them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("user_id".to_owned()),
        Just("timestamp".to_owned()),
        Just("seq".to_owned()),
        Just("settled".to_owned()),
        Just("command".to_owned()),
        Just("client_id".to_owned()),
        Just("channel".to_owned()),
        Just("data".to_owned()),
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn fields() -> impl Strategy<Value = Map<String, Value>> {
    btree_map(name(), value(), 0..8).prop_map(|fields| fields.into_iter().collect())
}

fn relayed(head: &[u8]) -> Value {
    let closed = [head, b"}"].concat();
    serde_json::from_slice(&closed).expect("what is relayed is JSON")
}

/// What a text says less the server's fields on the session protocol. Parsed from the text, because a number's text is kept
/// even where the nearest floating-point number isn't.
fn without_the_servers(text: &str) -> Value {
    without(text, &["user_id", "timestamp", "seq", "settled"])
}

fn without(text: &str, names: &[&str]) -> Value {
    let mut message: Map<String, Value> = serde_json::from_str(text).expect("an object");
    names.iter().for_each(|name| drop(message.remove(*name)));
    Value::Object(message)
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let _ = inbound::parse(&text);
        let _ = client::parse(&text);
        let _ = State::parse(&text);
        let _ = Document::from_stored(text.as_bytes());
    }

    #[test]
    fn no_object_makes_the_parser_panic(
        mut message in fields(),
        kind in "command|cursor|ping|sync:request|sync:update|sync:full_state|chat",
        inner in fields(),
    ) {
        message.insert("type".into(), json!(kind));
        message.insert("command".into(), json!(inner));
        message.insert("state".into(), json!({"items": [inner]}));
        let _ = inbound::parse(&Value::Object(message).to_string());
    }

    #[test]
    fn any_message_is_relayed_as_it_was_said(mut message in fields()) {
        message.insert("type".into(), json!("chat"));
        let text = Value::Object(message).to_string();
        let Ok(ClientMessage::Relay { body, .. }) = inbound::parse(&text) else {
            return Err(TestCaseError::fail(text));
        };
        prop_assert_eq!(relayed(body.head()), without_the_servers(&text));
    }

    #[test]
    fn any_update_is_relayed_as_it_was_said(data in fields(), mut message in fields()) {
        let mut data = data;
        for place in ["x_mm", "y_mm", "angle_deg"] {
            data.remove(place);
        }
        message.remove("id");
        message.insert("type".into(), json!("command"));
        let command = json!({"action": "update_item", "item_id": "a", "data": data});
        message.insert("command".into(), command);
        let text = Value::Object(message).to_string();
        let Ok(ClientMessage::Command(command)) = inbound::parse(&text) else {
            return Err(TestCaseError::fail(text));
        };
        prop_assert_eq!(relayed(command.body.head()), without_the_servers(&text));
    }

    #[test]
    fn any_object_of_the_client_protocol_is_relayed_as_it_was_said_or_refused(
        mut message in fields(),
        kind in "ping|connect|join_channel|unsubscribe|chat_message|cursor|pong|x",
        mut data in fields(),
        content in proptest::option::of(value()),
        channel in proptest::option::of(value()),
    ) {
        message.insert("type".into(), json!(kind));
        if let Some(content) = content {
            data.insert("content".into(), content);
        }
        if let Some(channel) = channel {
            message.insert("channel".into(), channel.clone());
            data.insert("channel".into(), channel);
        }
        message.insert("data".into(), Value::Object(data));
        let text = Value::Object(message).to_string();
        let heard = client::parse(&text);
        match kind.as_str() {
            "ping" => prop_assert!(matches!(heard, Ok(Inbound::Ping { .. })), "{}", text),
            "connect" => prop_assert!(matches!(heard, Ok(Inbound::Connect { .. })), "{}", text),
            _ => match heard {
                Ok(Inbound::Request(Request::Publish(talk))) => {
                    let said = without(&text, &["client_id", "timestamp"]);
                    prop_assert_eq!(relayed(talk.body.head()), said);
                }
                Ok(Inbound::Request(Request::Refused { why, .. })) => prop_assert!(why.code == 400),
                Ok(Inbound::Request(_)) => prop_assert!(kind != "x" && kind != "pong"),
                other => return Err(TestCaseError::fail(format!("{other:?} of {text}"))),
            },
        }
    }
}
