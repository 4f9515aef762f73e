//! Messages as the editor writes them.

use serde_json::{Value, json};

/// A command about one item.
pub fn command(action: &str, item: &str, data: Value) -> Value {
    let command =
        json!({"action": action, "item_type": "component", "item_id": item, "data": data});
    json!({"type": "command", "command": command})
}

pub fn add(item: &str, data: Value) -> Value {
    command("add_item", item, data)
}

pub fn update(item: &str, data: Value) -> Value {
    command("update_item", item, data)
}

pub fn move_to(item: &str, x_mm: f64) -> Value {
    command("move_item", item, json!({"x_mm": x_mm}))
}

pub fn remove(item: &str) -> Value {
    command("remove_item", item, json!({}))
}

/// An item as the editor writes it and as it is stored, so far as most tests need it: a whole dictionary.
pub fn item(id: &str, x_mm: i32) -> Value {
    json!({"_type": "component", "uuid": id, "item_type": "component", "x_mm": x_mm})
}

/// A host's canvas, meant for `target` or for everyone.
pub fn full_state(items: Value, target: Option<&str>) -> Value {
    let state = json!({"items": items, "version": 1, "timestamp": "2025-10-28T13:30:45.123Z"});
    match target {
        Some(target) => json!({"type": "sync:full_state", "state": state, "target_user": target}),
        None => json!({"type": "sync:full_state", "state": state}),
    }
}

/// The same message with an `id` of its sender's choice.
pub fn with_id(mut message: Value, id: impl Into<Value>) -> Value {
    message["id"] = id.into();
    message
}
