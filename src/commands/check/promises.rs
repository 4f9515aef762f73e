//! What the protocol promises of each message, as checks that say in words what is not kept.

use serde_json::Value;

use super::received::Received;
use crate::client::shown;

/// A sender's own `timestamp`, which the server must replace.
pub(super) const OLD_TIME: &str = "1999-12-31T23:59:59.000Z";

/// Says that `message` does not keep `rule`.
fn broken<T>(message: &Received, rule: &str) -> Result<T, String> {
    let kind = message.value["type"].as_str().unwrap_or_default();
    Err(format!("{kind}: {rule}; it was {}", message.shown()))
}

/// `2025-10-28T13:30:45.123Z` and nothing looser.
fn is_timestamp(value: &Value) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000Z";
    let Some(text) = value.as_str() else {
        return false;
    };
    let fits = |(have, shape): (u8, &u8)| match shape {
        b'0' => have.is_ascii_digit(),
        _ => have == *shape,
    };
    let part = |from: usize| text.get(from..from + 2).and_then(|two| two.parse::<u8>().ok());
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(fits)
        && part(5).is_some_and(|month| (1..=12).contains(&month))
        && part(8).is_some_and(|day| (1..=31).contains(&day))
        && part(11).is_some_and(|hour| hour < 24)
        && part(14).is_some_and(|minute| minute < 60)
        && part(17).is_some_and(|second| second <= 60)
}

/// The message's `timestamp` is one of the server's.
pub(super) fn timestamp(message: &Received) -> Result<(), String> {
    let time = &message.value["timestamp"];
    if !is_timestamp(time) {
        return broken(message, "\"timestamp\" must be RFC 3339 in UTC with milliseconds and Z");
    }
    if time == OLD_TIME {
        return broken(message, "\"timestamp\" is the one the sender wrote, not the server's");
    }
    Ok(())
}

/// The message's `seq`.
pub(super) fn seq(message: &Received) -> Result<u64, String> {
    match message.value["seq"].as_u64() {
        Some(seq) => Ok(seq),
        None => broken(message, "\"seq\" must be a whole number"),
    }
}

/// A `connection:ack` of `user`, the last of `users` in the order they joined.
pub(super) fn ack(
    message: &Received,
    session: &str,
    user: &str,
    users: &[&str],
) -> Result<(), String> {
    let value = &message.value;
    if value["session_id"] != session {
        return broken(message, &format!("\"session_id\" must be {session:?}"));
    }
    if !message.by(user) {
        return broken(message, &format!("\"user_id\" must be {user:?}"));
    }
    let Some(is_host) = value["is_host"].as_bool() else {
        return broken(message, "\"is_host\" must be true or false");
    };
    let Some(listed) = value["users"].as_array() else {
        return broken(message, "\"users\" must be a list");
    };
    if listed.iter().any(|entry| !entry["user_id"].is_string()) {
        return broken(
            message,
            "every entry of \"users\" must be an object with \"user_id\": \
             the editor breaks on anything else",
        );
    }
    let names: Vec<&str> = listed.iter().filter_map(|entry| entry["user_id"].as_str()).collect();
    if names != users {
        return broken(
            message,
            &format!("\"users\" must be {users:?} in this order, but is {names:?}"),
        );
    }
    if listed.iter().any(|entry| !is_timestamp(&entry["connected_at"])) {
        return broken(
            message,
            "every user's \"connected_at\" must be RFC 3339 in UTC with milliseconds and Z",
        );
    }
    let hosts: Vec<&str> = listed
        .iter()
        .filter(|entry| entry["is_host"] == true)
        .filter_map(|entry| entry["user_id"].as_str())
        .collect();
    if hosts.len() != 1 || listed.iter().any(|entry| !entry["is_host"].is_boolean()) {
        return broken(
            message,
            "exactly one user must have \"is_host\" true and every other false",
        );
    }
    if is_host != (hosts == [user]) {
        return broken(message, "\"is_host\" does not agree with \"users\"");
    }
    if !value["epoch"].is_string() && !value["epoch"].is_number() {
        return broken(message, "\"epoch\" is missing");
    }
    if value["server"].is_null() {
        return broken(message, "\"server\" (name and version) is missing");
    }
    seq(message)?;
    timestamp(message)
}

/// The canvas in a `sync:state`: `None` when its `state` is null. With `epoch` known, it must be
/// that one.
pub(super) fn state<'a>(
    message: &'a Received,
    epoch: Option<&Value>,
) -> Result<Option<&'a Vec<Value>>, String> {
    let value = &message.value;
    if value["from_server"] != true {
        return broken(message, "\"from_server\" must be true");
    }
    if value["conflict_resolution"] != "host_wins" {
        return broken(message, "\"conflict_resolution\" must be \"host_wins\"");
    }
    if epoch.is_some_and(|epoch| value["epoch"] != *epoch) {
        return broken(message, "\"epoch\" is not the one of this session's connection:ack");
    }
    seq(message)?;
    let state = &value["state"];
    if state.is_null() {
        return match value.get("state") {
            Some(_) => Ok(None),
            None => broken(message, "\"state\" is missing"),
        };
    }
    let Some(items) = state["items"].as_array() else {
        return broken(message, "\"state\" must be null or an object with a list \"items\"");
    };
    if !state["version"].is_number() {
        return broken(message, "the state's \"version\" must be a number");
    }
    if state["timestamp"].is_null() {
        return broken(message, "the state's \"timestamp\" is missing");
    }
    Ok(Some(items))
}

/// Every item of a canvas can be built from by an editor that joins.
pub(super) fn items(items: &[Value]) -> Result<(), String> {
    for item in items {
        for field in ["uuid", "item_type"] {
            if !item[field].is_string() {
                let item = shown(&item.to_string());
                return Err(format!(
                    "every item needs a string \"{field}\", or the editor skips it; one is {item}"
                ));
            }
        }
    }
    Ok(())
}

/// A relayed message: from `sender`, at the server's time, and with every other field of `sent` as
/// it was.
pub(super) fn relayed(message: &Received, sender: &str, sent: &Value) -> Result<(), String> {
    if !message.by(sender) {
        return broken(
            message,
            &format!(
                "\"user_id\" must be {sender:?}, who sent it, whatever the sender wrote there"
            ),
        );
    }
    timestamp(message)?;
    let own = ["user_id", "timestamp", "command"];
    let others =
        sent.as_object().into_iter().flatten().filter(|(name, _)| !own.contains(&name.as_str()));
    for (name, value) in others {
        if message.value[name] != *value {
            return broken(
                message,
                &format!("\"{name}\" was sent as {}", shown(&value.to_string())),
            );
        }
    }
    Ok(())
}

/// A relayed command. The server may add to its data (an item's `uuid`), but not change it. Gives
/// its `seq`.
pub(super) fn command(message: &Received, sender: &str, sent: &Value) -> Result<u64, String> {
    relayed(message, sender, sent)?;
    let (came, sent) = (&message.value["command"], &sent["command"]);
    for name in ["action", "item_type", "item_id"] {
        if came[name] != sent[name] {
            return broken(
                message,
                &format!("the command's \"{name}\" was sent as {}", sent[name]),
            );
        }
    }
    for (name, value) in sent["data"].as_object().into_iter().flatten() {
        if came["data"][name] != *value {
            let value = shown(&value.to_string());
            return broken(message, &format!("the data's \"{name}\" was sent as {value}"));
        }
    }
    seq(message)
}

/// A relayed `update_item` has every field that the item has.
pub(super) fn whole_item(message: &Received, item: &Value) -> Result<(), String> {
    let fields = item.as_object().into_iter().flatten();
    match fields.map(|(name, _)| name).find(|name| message.data(name).is_null()) {
        Some(name) => broken(
            message,
            &format!("an update_item must have the item's whole data; {name:?} is missing"),
        ),
        None => Ok(()),
    }
}

/// A `message_delivered` for `id`. Gives its `seq`.
pub(super) fn delivered(message: &Received, id: &str, original: &str) -> Result<u64, String> {
    let value = &message.value;
    if value["id"] != id || value["original_type"] != original || value["status"] != "success" {
        let rule =
            format!("must have id {id:?}, original_type {original:?} and status \"success\"");
        return broken(message, &rule);
    }
    seq(message)
}

/// An `error` about a message of type `original`, if that had one.
pub(super) fn error(message: &Received, original: Option<&str>) -> Result<(), String> {
    let value = &message.value;
    let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !value["error_type"].as_str().is_some_and(|kind| !kind.is_empty() && kind.chars().all(snake))
    {
        return broken(message, "\"error_type\" must be a word in snake_case");
    }
    if value["message"].as_str().is_none_or(|text| text.trim().is_empty()) {
        return broken(message, "\"message\" must say to a person what is wrong");
    }
    if !value["code"].as_u64().is_some_and(|code| (400..600).contains(&code)) {
        return broken(message, "\"code\" must be 4xx or 5xx");
    }
    if original.is_some_and(|original| value["original_type"] != original) {
        return broken(
            message,
            &format!("\"original_type\" must be {:?}", original.unwrap_or_default()),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_form_of_a_timestamp() {
        assert!(is_timestamp(&"2025-10-28T13:30:45.123Z".into()));
        for loose in [
            "2025-10-28T13:30:45Z",
            "2025-10-28T13:30:45.123456Z",
            "2025-10-28T13:30:45.123+00:00",
            "2025-10-28 13:30:45.123Z",
            "2025-13-28T13:30:45.123Z",
            "2025-10-28T24:30:45.123Z",
            "2025-10-28T13:30:45.1é",
        ] {
            assert!(!is_timestamp(&loose.into()), "{loose}");
        }
        assert!(!is_timestamp(&1_761_658_245_123_u64.into()));
    }
}
