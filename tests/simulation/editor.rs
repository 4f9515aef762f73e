//! An editor as PROTOCOL.md §1 observed it, bugs included, and a script that has none of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Who sits in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The real editor, sharing its canvas.
    Host,
    /// The real editor, joining empty.
    Client,
    /// A program that writes single fields and builds items as they are.
    Script,
}

/// An item on a canvas. All its numbers are whole, so that they can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: String,
    pub fields: BTreeMap<&'static str, i64>,
}

/// What every item has.
pub const FIELDS: [&str; 6] = ["x_mm", "y_mm", "angle_deg", "efl_mm", "width_mm", "color"];
const PLACE: [&str; 3] = ["x_mm", "y_mm", "angle_deg"];

impl Item {
    /// Built by an editor that forgot to look at the data.
    fn blank(kind: &str) -> Self {
        Item { kind: kind.into(), fields: FIELDS.iter().map(|name| (*name, 0)).collect() }
    }

    /// Built from the data; what the data lacks is 0.
    pub fn of(kind: &str, data: &Value) -> Self {
        let mut item = Item::blank(kind);
        item.overlay(data);
        item
    }

    fn overlay(&mut self, data: &Value) {
        for (name, value) in &mut self.fields {
            if let Some(number) = data.get(name) {
                *value = number.as_i64().expect("simulated numbers are whole");
            }
        }
    }

    /// The whole dictionary, as commands carry it.
    pub fn data(&self, id: &str) -> Value {
        let mut data = json!({"_type": self.kind, "item_uuid": id});
        for (name, value) in &self.fields {
            data[*name] = json!(value);
        }
        data
    }

    /// The whole dictionary, as a host's snapshot carries it.
    fn snapshot(&self, id: &str) -> Value {
        let mut data = json!({"_type": self.kind, "uuid": id, "item_type": self.kind});
        for (name, value) in &self.fields {
            data[*name] = json!(value);
        }
        data
    }
}

/// A canvas and the connection it hears through.
#[derive(Debug)]
pub struct Editor {
    pub user: String,
    pub role: Role,
    pub canvas: BTreeMap<String, Item>,
    /// A client adds nothing before it has had a state.
    pub is_mute: bool,
    /// It came with a key to watch and to point.
    pub is_watcher: bool,
    /// It looks at the session without being in it.
    pub is_viewer: bool,
    /// The server takes its snapshots whenever somebody joins.
    pub is_sessions_host: bool,
    /// What it has said under an id and nobody has confirmed yet.
    pub unconfirmed: Vec<Value>,
    /// Of somebody who follows: the session's life and the last change it knows, as JSON; null at
    /// first.
    pub position: Option<(Value, Value)>,
    /// Commands before `connection:ack` are dropped.
    is_acknowledged: bool,
    version: u64,
    last_seq: u64,
}

impl Editor {
    pub fn new(user: String, role: Role) -> Self {
        Editor {
            user,
            role,
            canvas: BTreeMap::new(),
            is_mute: true,
            is_watcher: false,
            is_viewer: false,
            is_sessions_host: false,
            unconfirmed: Vec::new(),
            position: None,
            is_acknowledged: false,
            version: 0,
            last_seq: 0,
        }
    }

    /// Somebody who changes nothing and keeps the canvas when it is away.
    pub fn follower(user: String) -> Self {
        let position = Some((Value::Null, Value::Null));
        Editor { position, ..Editor::new(user, Role::Script) }
    }

    /// Somebody who joins empty and may only watch.
    pub fn watcher(user: String, role: Role) -> Self {
        Editor { is_watcher: true, ..Editor::new(user, role) }
    }

    /// Somebody who looks at the session without being in it.
    pub fn viewer(user: String) -> Self {
        Editor { is_viewer: true, ..Editor::new(user, Role::Script) }
    }

    /// What the user does to connect: a host keeps its canvas, all others start empty.
    pub fn connect(&mut self) {
        if self.role != Role::Host && self.position.is_none() {
            self.canvas.clear();
        }
        self.is_mute = self.role != Role::Host;
        self.is_acknowledged = false;
        self.is_sessions_host = false;
        self.last_seq = 0;
    }

    /// Hears one message and returns what it answers.
    pub fn hear(&mut self, message: &Value) -> Vec<Value> {
        let kind = message["type"].as_str().expect("every message has a type");
        if !self.is_acknowledged {
            assert_eq!(kind, "connection:ack", "it comes first");
        }
        if let (Some(seq), true) = (message["seq"].as_u64(), kind == "command") {
            // What is caught up on may be older than the state that came first.
            let is_catching_up = self.position.is_some();
            assert!(
                seq > self.last_seq || is_catching_up,
                "change {seq} came after {}",
                self.last_seq
            );
            self.last_seq = seq;
        }
        if let (Some((_, since)), Some(seq)) = (&mut self.position, message.get("seq"))
            && matches!(kind, "command" | "sync:state")
        {
            *since = seq.clone();
        }
        match kind {
            "connection:ack" => {
                assert!(
                    message["users"].as_array().unwrap().iter().all(|u| u["user_id"].is_string())
                );
                self.is_acknowledged = true;
                if self.is_viewer {
                    assert_eq!(
                        (&message["user_id"], &message["viewer"]),
                        (&Value::Null, &json!(true))
                    );
                    // It is shown the document without asking.
                    return Vec::new();
                }
                self.is_sessions_host = message["is_host"] == true;
                assert!(!(self.is_watcher && self.is_sessions_host), "a watcher is host");
                let request = json!({"type": "sync:request", "user_id": self.user});
                if let Some((epoch, since)) = &mut self.position {
                    if *epoch == message["epoch"] && since.is_number() {
                        let request =
                            json!({"type": "sync:request", "epoch": epoch, "since": since});
                        return vec![request];
                    }
                    *epoch = message["epoch"].clone();
                    *since = Value::Null;
                }
                // What wasn't confirmed is said again, and what came of it is asked for.
                return self.unconfirmed.iter().cloned().chain([request]).collect();
            }
            "message_delivered" => {
                self.unconfirmed.retain(|said| said["id"] != message["id"]);
            }
            "user:joined" if self.role == Role::Host => return vec![self.snapshot_for(message)],
            "host:changed" => self.is_sessions_host = message["user_id"] == self.user.as_str(),
            "sync:state" => self.take_state(&message["state"]),
            "command" => self.obey(message),
            "error" => {
                // Only a host that isn't the session's is refused, and nobody shows it; and whoever
                // may only watch but tries more.
                let expected = if self.is_watcher { "read_only" } else { "not_host" };
                let is_expected = message["error_type"] == expected;
                assert!(is_expected || message["error_type"] == "not_durable", "{message}");
            }
            _ => {}
        }
        assert!(!(self.is_watcher && self.is_sessions_host), "a watcher is host");
        Vec::new()
    }

    fn snapshot_for(&self, joined: &Value) -> Value {
        let target = &joined["user_id"];
        json!({"type": "sync:full_state", "state": self.state(), "target_user": target})
    }

    /// The whole canvas.
    pub fn state(&self) -> Value {
        let items: Vec<Value> = self.canvas.iter().map(|(id, item)| item.snapshot(id)).collect();
        json!({"items": items, "version": self.version, "timestamp": "local"})
    }

    fn take_state(&mut self, state: &Value) {
        if state.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        self.is_mute = false;
        self.canvas.clear();
        for data in state["items"].as_array().expect("items are a list") {
            let id = data["uuid"].as_str().expect("a uuid").to_owned();
            let kind = data["item_type"].as_str().expect("an item_type");
            let item = match self.role {
                Role::Script => Item::of(kind, data),
                _ => Item::blank(kind),
            };
            self.canvas.insert(id, item);
        }
        self.version = state["version"].as_u64().expect("version is a number");
    }

    fn obey(&mut self, message: &Value) {
        let command = &message["command"];
        let id = command["item_id"].as_str().expect("item_id is a string");
        let data = &command["data"];
        assert!(data.is_object());
        let careful = self.role == Role::Script;
        match command["action"].as_str().unwrap() {
            "add_item" => {
                let kind = command["item_type"].as_str().expect("an item_type");
                let item = if careful { Item::of(kind, data) } else { Item::blank(kind) };
                let ghost = self.canvas.insert(id.to_owned(), item);
                assert!(ghost.is_none() || careful, "{} shows {id} twice", self.user);
            }
            "remove_item" => drop(self.canvas.remove(id)),
            "move_item" => {
                if let Some(item) = self.canvas.get_mut(id) {
                    for name in PLACE {
                        let value = data[name].as_i64().unwrap_or(0);
                        let wrong = name == "angle_deg" && !careful;
                        item.fields.insert(name, if wrong { -value } else { value });
                    }
                }
            }
            "update_item" => {
                if let Some(item) = self.canvas.get_mut(id) {
                    match careful {
                        true => item.overlay(data),
                        false => *item = Item::of(&item.kind, data),
                    }
                }
            }
            other => panic!("nobody sends {other}"),
        }
    }
}
