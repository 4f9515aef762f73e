//! One test a habit: a message comes in (`messages.rs`) or a hand moves (`hands.rs`), and that is what the
//! editor makes of it.

mod hands;
mod messages;

use serde_json::{Value, json};

use super::*;

/// A source as a file has it.
fn source(id: &str) -> Value {
    json!({"_type": "source", "item_uuid": id, "x_mm": -300.0, "y_mm": 5.0, "angle_deg": 30.0,
        "locked": false, "z_value": 0.0, "size_mm": 6.0, "n_rays": 5, "spread_deg": 0.0,
        "color_hex": "#00ff00", "wavelength_nm": 532.0})
}

/// A library mirror: its first interface is not in the middle of its picture.
fn mirror(id: &str) -> Value {
    json!({"_type": "component", "item_uuid": id, "x_mm": 100.0, "y_mm": 20.0, "angle_deg": 0.0,
        "locked": false, "z_value": 0.0, "name": "M1", "object_height_mm": 50.8,
        "image_path": "objects/library/mirror/mirror.png", "category": "mirrors",
        "interfaces": [{"x1_mm": -25.7, "y1_mm": 25.4, "x2_mm": -25.7, "y2_mm": -25.4,
            "element_type": "mirror", "name": "", "reflectivity": 99.0}]})
}

fn ack() -> Value {
    json!({"type": "connection:ack", "users": [{"user_id": "ann"}]})
}

fn joined(user: &str) -> Value {
    json!({"type": "user:joined", "user_id": user})
}

fn command(action: &str, id: &str, data: &Value) -> Value {
    let command =
        json!({"action": action, "item_type": data["_type"], "item_id": id, "data": data});
    json!({"type": "command", "command": command})
}

/// An item as states and commands carry it.
fn named(data: &Value) -> Value {
    let mut data = data.clone();
    (data["uuid"], data["item_type"]) = (data["item_uuid"].clone(), data["_type"].clone());
    data
}

fn with(data: &Value, field: &str, value: Value) -> Value {
    let mut data = data.clone();
    data[field] = value;
    data
}

fn state(items: &[Value]) -> Value {
    let items: Vec<Value> = items.iter().map(named).collect();
    json!({"type": "sync:state", "state": {"items": items, "version": 3}})
}

/// Somebody who hosts a canvas from a file.
fn host(items: &[Value]) -> Editor {
    let mut editor = Editor::start("ann");
    editor.open(items, 2);
    assert_eq!(editor.connect(Mode::Host), []);
    editor.hear(&ack());
    editor
}

/// Somebody who has joined and was sent these.
fn guest(items: &[Value]) -> Editor {
    let mut editor = Editor::start("ann");
    editor.connect(Mode::Guest);
    editor.hear(&ack());
    editor.hear(&state(items));
    editor
}

fn handle(editor: &Editor, id: &str) -> Handle {
    let found = editor.scene.iter().find(|handle| editor.objects[**handle].id == id);
    *found.expect("it is on the canvas")
}

fn object<'a>(editor: &'a Editor, id: &str) -> &'a Object {
    &editor.objects[handle(editor, id)]
}

fn actions(said: &[Outgoing]) -> Vec<&str> {
    said.iter().map(|out| out.message["command"]["action"].as_str().unwrap()).collect()
}

/// A name is typed into the dialog of a component, and OK pressed.
fn edit(editor: &mut Editor, handle: Handle, name: &str) -> Vec<Outgoing> {
    editor.open_dialog(handle);
    let said = editor.edit("name", name.into());
    said.into_iter().chain(editor.close_dialog("", Value::Null)).collect()
}

fn data(said: &Outgoing) -> &Value {
    &said.message["command"]["data"]
}
