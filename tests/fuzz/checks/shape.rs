//! What a message to an editor has to look like: a malformed one aborts it (docs/PROTOCOL.md, "Shapes
//! that are refused"), and then it doesn't matter who sent it.

use collabd::protocol::Timestamp;

use super::json::{self, Fields};

/// What only the server says in a session.
pub const SERVERS: [&str; 9] = [
    "connection:ack",
    "user:joined",
    "user:left",
    "host:changed",
    "sync:done",
    "session:activity",
    "message_delivered",
    "pong",
    "error",
];

/// Reads a message to a member of a session; panics where an editor would abort.
pub fn to_editor(text: &str) -> Fields {
    let message = Fields::read(text).unwrap_or_else(|| panic!("no object: {text}"));
    let kind = message.string("type").unwrap_or_else(|| panic!("no type: {text}"));
    if kind != "error" {
        let at = message.string("timestamp").and_then(|at| Timestamp::parse(&at));
        assert!(at.is_some(), "no time stamp: {text}");
    }
    match &*kind {
        "command" => command(&message.object("command").expect("a command"), text),
        "sync:state" => state(message.get("state").expect("a state")),
        "sync:full_state" | "sync:update" | "sync:request" => panic!("{kind} is not for others"),
        _ => {}
    }
    message
}

fn command(command: &Fields, text: &str) {
    let action = command.string("action").expect("an action");
    let is_ours = matches!(&*action, "add_item" | "update_item" | "move_item" | "remove_item");
    match command.get("item_id") {
        Some(id) => {
            assert!(json::string(id).is_some_and(|id| !is_ours || !id.is_empty()), "{text}")
        }
        None => assert!(!is_ours, "{text}"),
    }
    let kind = command.get("item_type").unwrap_or("null");
    assert!(kind == "null" || kind.starts_with('"'), "{text}");
    match command.get("data") {
        Some(data) => {
            let data = Fields::sent(data).unwrap_or_else(|| panic!("{text}"));
            place(&data);
            if is_ours && action != "remove_item" {
                sound(&data);
                let path = data.string("image_path").unwrap_or_default();
                let leads_up = path.split(['/', '\\']).any(|part| part == "..");
                assert!(!path.starts_with('/') && !leads_up, "{path} is opened");
            }
        }
        None => assert!(!is_ours || action == "remove_item", "{text}"),
    }
    if action == "add_item" {
        let data = command.object("data").expect("checked above");
        let id = data.string("uuid").or_else(|| data.string("item_uuid"));
        assert_eq!(id, command.string("item_id"), "{text}");
        assert_ne!(kind, "null", "{text}");
    }
}

fn state(state: &str) {
    if state == "null" {
        return;
    }
    let state = Fields::read(state).expect("a state has nothing twice");
    let version: u64 = state.get("version").and_then(|v| v.parse().ok()).expect("a version");
    assert!(version < 1 << 53);
    let items = state.get("items").and_then(json::list).expect("a list");
    let mut seen = Vec::new();
    for item in items {
        let fields = Fields::read(item).expect("an item has nothing twice");
        let id = fields.string("uuid").expect("a uuid");
        assert!(!id.is_empty() && !seen.contains(&id), "{id:?} twice, or without a name");
        // Halves of surrogate pairs pass through, as in any other field's string.
        assert!(fields.get("item_type").is_some_and(|kind| kind.starts_with('"')), "{item}");
        place(&fields);
        sound(&fields);
        seen.push(id);
    }
}

fn place(data: &Fields) {
    for name in ["x_mm", "y_mm", "angle_deg"] {
        assert!(data.get(name).is_none_or(json::is_number), "{name} is no number");
    }
}

/// The editor paints and traces what it is sent, and fails on these.
fn sound(item: &Fields) {
    for name in ["z_value", "size_mm", "ray_length_mm", "object_height_mm"] {
        let is_number = |value: &str| value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let value = item.get(name).filter(|value| *value != "null" || name != "z_value");
        assert!(value.is_none_or(is_number), "{name} is no number");
    }
    assert!(item.get("spread_deg").is_none_or(json::is_number));
    assert!(item.get("n_rays").is_none_or(|rays| rays.parse::<i64>().is_ok()));
    let interfaces = item.get("interfaces").filter(|interfaces| *interfaces != "null");
    for interface in interfaces.map_or(Vec::new(), |list| json::list(list).expect("a list")) {
        let interface = Fields::sent(interface).expect("an object");
        let number = |name| interface.get(name).map(|value: &str| value.parse::<f64>());
        for name in ["x1_mm", "y1_mm", "x2_mm", "y2_mm"] {
            assert!(number(name).is_none_or(|number| number.is_ok()), "{name} is no number");
        }
        if interface.get("is_curved") == Some("true") {
            let radius = number("radius_of_curvature_mm").map(|radius| radius.expect("a number"));
            assert!(radius.is_none_or(f64::is_finite), "a curve that can't be painted");
        }
    }
}
