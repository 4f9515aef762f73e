//! The canvas of one of the small faulty server's sessions: its items, and the shapes it refuses.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::faulty::Fault;

/// An item's fields, each as it was written.
type Item = BTreeMap<String, Box<RawValue>>;

/// The part of a command whose numbers must keep their form.
#[derive(Deserialize)]
struct RawCommand {
    command: RawData,
}

#[derive(Deserialize)]
struct RawData {
    #[serde(default)]
    data: Item,
}

/// The same of a message with a canvas in it.
#[derive(Deserialize)]
struct RawCanvas {
    state: RawItems,
}

#[derive(Deserialize)]
struct RawItems {
    items: Vec<Item>,
}

/// The items in the order they were added.
#[derive(Default)]
pub struct Canvas {
    items: Vec<(String, Item)>,
    version: u64,
    /// Who removed an item that isn't there any more.
    removed: BTreeMap<String, String>,
}

impl Canvas {
    /// The canvas as it goes into a `sync:state`.
    pub fn state(&self, fault: Fault, timestamp: &str) -> String {
        let written = self.items.iter().map(|(_, item)| {
            let mut item = item.clone();
            if fault == Fault::ItemsLackUuid {
                item.remove("uuid");
            }
            serde_json::to_string(&item).expect("an item")
        });
        let items: Vec<String> = written.collect();
        match fault {
            Fault::NullForEmpty if items.is_empty() => "null".to_owned(),
            _ => format!(
                r#"{{"items":[{}],"version":{},"timestamp":"{timestamp}"}}"#,
                items.join(","),
                self.version
            ),
        }
    }

    /// The command that gives somebody the item `id`, or every item, in full.
    pub fn settled(&self, id: Option<&str>) -> Vec<String> {
        let asked = self.items.iter().filter(|(known, _)| id.is_none_or(|id| id == known));
        let written = asked.map(|(id, item)| {
            let data = serde_json::to_string(item).expect("an item");
            let command = format!(
                r#"{{"action":"update_item","item_type":"component","item_id":{id:?},"data":{data}}}"#
            );
            format!(
                r#"{{"type":"command","user_id":"somebody","settled":true,"command":{command}}}"#
            )
        });
        written.collect()
    }

    /// Whether it has an item.
    pub fn has(&self, id: &str) -> bool {
        self.items.iter().any(|(known, _)| known == id)
    }

    /// Who removed an item.
    pub fn remover(&self, id: &str) -> Option<&str> {
        self.removed.get(id).map(String::as_str)
    }

    /// The item's whole data.
    pub fn data(&self, id: &str) -> Option<Value> {
        let (_, item) = self.items.iter().find(|(known, _)| known == id)?;
        Some(serde_json::to_value(item).expect("an item"))
    }

    pub fn ids(&self) -> Vec<String> {
        self.items.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Does what a `command` or a `sync:update` says; `text` is the same message as it was written.
    pub fn apply(&mut self, fault: Fault, text: &str, message: &Value) {
        self.version += 1;
        if message["type"] == "sync:update" {
            if fault != Fault::KeepsOldCanvas {
                self.replace(text, message);
            }
            return;
        }
        let Ok(raw) = serde_json::from_str::<RawCommand>(text) else {
            return;
        };
        let (command, mut data) = (&message["command"], raw.command.data);
        let Some(id) = command["item_id"].as_str() else {
            return;
        };
        let place = self.items.iter().position(|(known, _)| known == id);
        match (command["action"].as_str().unwrap_or_default(), place) {
            ("remove_item", Some(place)) => {
                self.items.remove(place);
                let user = message["user_id"].as_str().unwrap_or_default().to_owned();
                self.removed.insert(id.to_owned(), user);
            }
            ("update_item", Some(place)) => self.items[place].1.append(&mut data),
            ("move_item", Some(place)) => {
                let all = fault == Fault::MoveTakesAll;
                data.retain(|field, _| {
                    all || ["x_mm", "y_mm", "angle_deg"].contains(&field.as_str())
                });
                self.items[place].1.append(&mut data);
            }
            ("add_item", _) => self.add(id, data, &command["item_type"]),
            ("update_item", None) if fault == Fault::RemovedComesBack => {
                self.add(id, data, &command["item_type"])
            }
            _ => {}
        }
    }

    fn add(&mut self, id: &str, mut item: Item, item_type: &Value) {
        for (field, value) in [("uuid", json!(id)), ("item_type", item_type.clone())] {
            item.insert(
                field.to_owned(),
                serde_json::value::to_raw_value(&value).expect("a value"),
            );
        }
        self.items.push((id.to_owned(), item));
    }

    /// Takes the items of the `state` in `message`.
    pub fn replace(&mut self, text: &str, message: &Value) {
        let Ok(canvas) = serde_json::from_str::<RawCanvas>(text) else {
            return;
        };
        let ids = message["state"]["items"].as_array().into_iter().flatten();
        let ids = ids.map(|item| item["uuid"].as_str().unwrap_or_default().to_owned());
        self.items = ids.zip(canvas.state.items).collect();
        self.version =
            self.version.max(message["state"]["version"].as_u64().unwrap_or_default()) + 1;
    }
}

/// The shapes on which an editor would abort, as far as `check` sends them.
pub fn malformed(message: &Value) -> bool {
    let (command, state) = (&message["command"], &message["state"]);
    let data = &command["data"];
    let bad_number = |field: &str| data.get(field).is_some_and(|value| !value.is_number());
    match message["type"].as_str() {
        Some("command") => {
            !command.is_object()
                || !data.is_object()
                || !command["item_id"].is_string()
                || ["x_mm", "y_mm", "angle_deg"].into_iter().any(bad_number)
        }
        Some("sync:update" | "sync:full_state") => match state["items"].as_array() {
            Some(items) => items.iter().any(|item| !item["uuid"].is_string()),
            None => true,
        },
        _ => false,
    }
}
