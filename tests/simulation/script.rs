//! A program that joins the session or looks at it, and has none of the editor's habits: it takes
//! items as they are, and writes single fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Changes the document.
    Write,
    /// Changes nothing, and asks for what it missed instead of for everything.
    Follow,
    /// Looks at the session without being in it.
    View,
}

/// See the file's text.
#[derive(Debug)]
pub struct Script {
    pub user: String,
    pub purpose: Purpose,
    pub canvas: BTreeMap<String, Value>,
    /// What it was told is gone, and could bring back.
    pub gone: BTreeMap<String, Value>,
    /// What it has said under an id and nobody has confirmed yet.
    pub unconfirmed: Vec<Value>,
    pub version: u64,
    /// The session's life and the last change it knows, as JSON; null at first.
    position: (Value, Value),
    /// It knows what there is.
    pub has_state: bool,
    is_acknowledged: bool,
    last_seq: u64,
}

impl Script {
    pub fn new(user: &str, purpose: Purpose) -> Self {
        Script {
            user: user.to_owned(),
            purpose,
            canvas: BTreeMap::new(),
            gone: BTreeMap::new(),
            unconfirmed: Vec::new(),
            version: 0,
            position: (Value::Null, Value::Null),
            has_state: false,
            is_acknowledged: false,
            last_seq: 0,
        }
    }

    /// It connects. Only a follower keeps what it knows.
    pub fn connect(&mut self) {
        if self.purpose != Purpose::Follow {
            self.canvas.clear();
            self.gone.clear();
            self.has_state = false;
        }
        self.is_acknowledged = false;
        self.last_seq = 0;
    }

    /// Hears one message and returns what it answers.
    pub fn hear(&mut self, message: &Value) -> Vec<Value> {
        let kind = message["type"].as_str().expect("every message has a type");
        assert!(self.is_acknowledged || kind == "connection:ack", "it comes first");
        if matches!(kind, "command" | "sync:state")
            && let Some(seq) = message["seq"].as_u64()
        {
            // What is caught up on may be older than the state that came first.
            let is_new = seq > self.last_seq || kind == "sync:state";
            let is_ordered = is_new || self.purpose == Purpose::Follow;
            assert!(is_ordered, "change {seq} came after {}", self.last_seq);
            self.last_seq = seq;
            self.position.1 = message["seq"].clone();
        }
        match kind {
            "connection:ack" => return self.acknowledged(message),
            "message_delivered" => {
                self.unconfirmed.retain(|said| said["id"] != message["id"]);
            }
            "sync:state" => self.take_state(&message["state"]),
            "command" => self.obey(&message["command"]),
            _ => {}
        }
        Vec::new()
    }

    fn acknowledged(&mut self, message: &Value) -> Vec<Value> {
        self.is_acknowledged = true;
        if self.purpose == Purpose::View {
            assert_eq!((&message["user_id"], &message["viewer"]), (&Value::Null, &json!(true)));
            // It is shown the document without asking.
            return Vec::new();
        }
        let (epoch, since) = &mut self.position;
        if self.purpose == Purpose::Follow && *epoch == message["epoch"] && since.is_number() {
            return vec![json!({"type": "sync:request", "epoch": epoch, "since": since})];
        }
        (*epoch, *since) = (message["epoch"].clone(), Value::Null);
        // What wasn't confirmed is said again, and what came of it is asked for.
        let request = json!({"type": "sync:request"});
        self.unconfirmed.iter().cloned().chain([request]).collect()
    }

    fn take_state(&mut self, state: &Value) {
        if state.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        self.has_state = true;
        let items = state["items"].as_array().expect("items are a list").iter();
        let id = |data: &Value| data["uuid"].as_str().expect("a uuid").to_owned();
        self.canvas = items.map(|data| (id(data), data.clone())).collect();
        self.version = state["version"].as_u64().expect("version is a number");
    }

    fn obey(&mut self, command: &Value) {
        let id = command["item_id"].as_str().expect("item_id is a string");
        let data = &command["data"];
        match command["action"].as_str().expect("a string") {
            "add_item" => {
                let mut data = data.clone();
                data["uuid"] = id.into();
                self.canvas.insert(id.to_owned(), data);
            }
            "remove_item" => {
                if let Some(item) = self.canvas.remove(id) {
                    self.gone.insert(id.to_owned(), item);
                }
            }
            action @ ("move_item" | "update_item") => {
                if let Some(item) = self.canvas.get_mut(id) {
                    match action == "update_item" && data.get("_type").is_some() {
                        true => {
                            *item = data.clone();
                            item["uuid"] = id.into();
                        }
                        false => overlay(item, data),
                    }
                }
            }
            other => panic!("nobody sends {other}"),
        }
    }

    /// Everything it knows, for a `sync:update`.
    pub fn state(&self) -> Value {
        let items: Vec<&Value> = self.canvas.values().collect();
        json!({"items": items, "version": self.version, "timestamp": "local"})
    }
}

/// Writes single fields.
pub fn overlay(item: &mut Value, data: &Value) {
    let fields = data.as_object().expect("an object").clone();
    item.as_object_mut().expect("an item").extend(fields);
}
