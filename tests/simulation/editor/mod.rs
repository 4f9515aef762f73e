//! The real editor, as `editor/README.md` saw it and its source says it, bugs included: what its user
//! sees (the scene), what messages reach (the map), what it sends, and what never.
//!
//! Built field by field from what was observed; where this file surprises, the editor does.

mod hands;
pub mod object;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub use hands::Dialog;
pub use object::{CRIMSON, Object, Untold};

/// How its user connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// "Host server": the canvas stays, and is shown to whoever joins.
    Host,
    /// "Connect to server": the canvas is cleared, and comes from the server.
    Guest,
}

/// An object in the editor's memory, on the canvas or not.
pub type Handle = usize;

/// A message, and what its user chose that it tells first.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    pub message: Value,
    pub told: Vec<Told>,
}

/// Something that a user did to a field, as a message tells it: `interfaces` where they really are.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub item: String,
    pub field: String,
    pub value: Value,
    pub how: Untold,
}

/// See the file's text.
#[derive(Debug)]
pub struct Editor {
    pub user: String,
    pub mode: Mode,
    /// Every object there was; the scene, the map and the undo history hold some of them.
    pub objects: Vec<Object>,
    /// What the user sees.
    pub scene: BTreeSet<Handle>,
    /// What messages reach, and what snapshots list.
    pub map: BTreeMap<String, Handle>,
    /// Texts, rulers and the like on the canvas: no message carries them.
    pub notes: u64,
    /// View → Magnetic snap, with what it pulls within.
    pub snap: Option<f64>,
    /// Ids of which the user sees two, because one of them came back without a word.
    pub ghosts: BTreeSet<String>,
    /// Ids of what left the canvas without a word, and can't be reached any more.
    pub lost: BTreeSet<String>,
    /// Messages are taken and sent: since `connection:ack`.
    pub is_enabled: bool,
    /// A guest says nothing of its new items before it has had a state.
    pub is_mute: bool,
    /// It may be sent a state that it didn't ask for by itself: it tells of no canvas.
    states: u64,
    /// It was connected before in this run.
    needs_resync: bool,
    undo: Vec<hands::Done>,
    redo: Vec<hands::Done>,
    pub dialog: Option<Dialog>,
    /// A tool hovers over the canvas.
    pub is_hovering: bool,
    /// What hovered at the last ack is in the map, and no more: whatever lists the map fails.
    is_map_broken: bool,
    /// The rays on the screen are those of what the items say.
    pub is_drawn: bool,
    choices: u64,
    version: u64,
    last_seq: u64,
}

impl Editor {
    /// The program has been started: an empty canvas.
    pub fn start(user: &str) -> Self {
        Editor {
            user: user.to_owned(),
            mode: Mode::Host,
            objects: Vec::new(),
            scene: BTreeSet::new(),
            map: BTreeMap::new(),
            notes: 0,
            snap: None,
            ghosts: BTreeSet::new(),
            lost: BTreeSet::new(),
            is_enabled: false,
            is_mute: false,
            states: 0,
            needs_resync: false,
            undo: Vec::new(),
            redo: Vec::new(),
            dialog: None,
            is_hovering: false,
            is_map_broken: false,
            is_drawn: true,
            choices: 0,
            version: 0,
            last_seq: 0,
        }
    }

    /// The program is ended and started again: an empty canvas.
    pub fn restart(&mut self) {
        let new = Editor::start(&self.user);
        *self = Editor { choices: self.choices, snap: self.snap, ..new };
    }

    /// The user presses "Connect", and the socket is open: what is sent before the server says a word.
    pub fn connect(&mut self, mode: Mode) -> Vec<Outgoing> {
        self.mode = mode;
        self.is_mute = mode == Mode::Guest;
        (self.is_enabled, self.is_hovering) = (false, false);
        (self.states, self.last_seq) = (0, 0);
        self.lost.clear();
        match mode {
            Mode::Guest => self.clear(),
            Mode::Host => self.rebuild_map(),
        }
        if mode == Mode::Guest && self.needs_resync {
            return vec![self.say(json!({"type": "sync:request", "local_version": self.version}))];
        }
        Vec::new()
    }

    /// The connection is gone: the canvas stays as it is.
    pub fn lose(&mut self) {
        self.is_enabled = false;
        self.needs_resync = true;
    }

    /// The canvas without its items, notes and history.
    pub fn clear(&mut self) {
        self.scene.clear();
        self.map.clear();
        self.ghosts.clear();
        self.undo.clear();
        self.redo.clear();
        self.dialog = None;
        self.notes = 0;
    }

    fn rebuild_map(&mut self) {
        let ids = self.scene.iter().map(|handle| (self.objects[*handle].id.clone(), *handle));
        self.map = ids.collect();
    }

    /// Hears one message and returns what it answers.
    pub fn hear(&mut self, message: &Value) -> Vec<Outgoing> {
        let kind = message["type"].as_str().expect("every message has a type");
        match kind {
            "connection:ack" => return self.acknowledged(message),
            "user:joined" if self.mode == Mode::Host && !self.is_map_broken => {
                return vec![self.snapshot_for(message)];
            }
            "sync:state" | "sync:full_state" => self.take_state(&message["state"]),
            "command" if self.is_enabled => self.obey(message),
            _ => {}
        }
        Vec::new()
    }

    fn acknowledged(&mut self, message: &Value) -> Vec<Outgoing> {
        let users = message["users"].as_array().expect("a list");
        assert!(users.iter().all(|user| user["user_id"].is_string()), "{users:?}");
        self.is_enabled = true;
        let before = std::mem::take(&mut self.map);
        self.rebuild_map();
        for (id, handle) in &self.map {
            // It may be old, and the server was never told what it is like.
            let object = &mut self.objects[*handle];
            if object.is_old && before.get(id) != Some(handle) {
                untold_all(object);
            }
        }
        // What was deleted by a menu is no longer in the map either.
        self.lost.extend(before.into_keys().filter(|id| !self.map.contains_key(id)));
        self.is_map_broken = self.is_hovering;
        vec![self.say(json!({"type": "sync:request"}))]
    }

    /// The server has taken a canvas that lists this item: it knows of it.
    pub fn is_listed(&mut self, id: &str) {
        if let Some(handle) = self.map.get(id) {
            self.objects[*handle].is_told = true;
        }
    }

    fn snapshot_for(&mut self, joined: &Value) -> Outgoing {
        let (mut items, mut told) = (Vec::new(), Vec::new());
        for (id, handle) in &self.map {
            let mut others = self.scene.iter().filter(|other| *other != handle);
            let is_seen = self.scene.contains(handle);
            let is_double = !is_seen || others.any(|other| self.objects[*other].id == *id);
            let object = &mut self.objects[*handle];
            object.is_unheard = false;
            let mut data = object.report();
            data["uuid"] = id.as_str().into();
            data["item_type"] = object.kind.into();
            items.push(data);
            told.extend(match is_double {
                true => tell_all(object, false),
                false => tell(object, false),
            });
        }
        let state = json!({"items": items, "version": self.version, "timestamp": "local"});
        let target = &joined["user_id"];
        let message = json!({"type": "sync:full_state", "state": state, "target_user": target});
        Outgoing { told, ..self.say(message) }
    }

    /// A state that is a non-empty object replaces everything on the canvas.
    fn take_state(&mut self, state: &Value) {
        if state.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        self.states += 1;
        assert!(self.mode == Mode::Guest, "{}'s canvas is wiped by a state", self.user);
        assert!(self.states == 1, "{}'s canvas is wiped by a second state", self.user);
        self.clear();
        for data in state["items"].as_array().expect("items are a list") {
            if let Some(kind) = data.get("item_type").filter(|kind| !kind.is_null()) {
                self.add(kind, data);
            }
        }
        self.version = state["version"].as_u64().expect("version is a number");
        self.is_mute = false;
        self.needs_resync = false;
    }

    fn obey(&mut self, message: &Value) {
        if let Some(seq) = message["seq"].as_u64() {
            assert!(seq > self.last_seq, "change {seq} came after {}", self.last_seq);
            self.last_seq = seq;
        }
        let command = &message["command"];
        let id = command["item_id"].as_str().expect("item_id is a string");
        let data = &command["data"];
        assert!(data.is_object(), "{message}");
        let known = self.map.get(id).copied();
        match (command["action"].as_str().expect("a string"), known) {
            ("add_item", _) => self.add(&command["item_type"], data),
            ("update_item", Some(handle)) => {
                let object = &mut self.objects[handle];
                let (place, optics) = (object.place, object.optics());
                object.take(data);
                self.pull(handle);
                // Rays are traced where something has moved.
                let object = &self.objects[handle];
                self.is_drawn =
                    object.place != place || (self.is_drawn && object.optics() == optics);
            }
            ("move_item", Some(handle)) => {
                self.objects[handle].take_place(data);
                self.pull(handle);
                self.is_drawn = true;
            }
            ("remove_item", Some(handle)) => {
                self.scene.remove(&handle);
                self.map.remove(id);
                // Without it the rays would be others, but they are not traced.
                self.is_drawn &= self.objects[handle].is_inert();
            }
            // Of an item that the map lacks: ignored.
            _ => {}
        }
    }

    /// Builds a blank item. Without `_type` that fails, and nobody is told.
    fn add(&mut self, kind: &Value, data: &Value) {
        let kind = object::known_type(kind)
            .unwrap_or_else(|| panic!("{} is sent a {kind}, which it doesn't know", self.user));
        if object::known_type(&data["_type"]).is_none() {
            return;
        }
        let id = data.get("uuid").or_else(|| data.get("item_uuid"));
        let id = id.and_then(Value::as_str).expect("an id").to_owned();
        let double = self.scene.iter().find(|handle| self.objects[**handle].id == id);
        if let Some(double) = double {
            let is_mapped = self.map.get(&id) == Some(double);
            // Its user has seen it twice before.
            let is_own_doing = self.ghosts.contains(&id);
            assert!(!is_mapped || is_own_doing, "{} sees {id} twice", self.user);
            // Somebody brought back what this user had brought back without a word. Where the server was
            // told since, the messages have crossed, and in the end there has to be one.
            if !self.objects[*double].is_told {
                self.ghosts.insert(id.clone());
            }
        }
        let handle = self.put(Object::blank(kind, &id));
        self.is_drawn = true;
        self.map.insert(id, handle);
    }

    /// A new object on the canvas.
    fn put(&mut self, object: Object) -> Handle {
        self.objects.push(object);
        let handle = self.objects.len() - 1;
        self.scene.insert(handle);
        handle
    }

    /// Magnetic snap: wherever an item is put, it is pulled to another one's x and y.
    fn pull(&mut self, handle: Handle) {
        let Some(within) = self.snap.filter(|_| self.scene.contains(&handle)) else { return };
        for axis in [0, 1] {
            let at = self.objects[handle].place[axis];
            let others = self.scene.iter().filter(|other| **other != handle);
            let others = others.map(|other| self.objects[*other].place[axis]);
            let nearest = others.min_by(|a, b| (a - at).abs().total_cmp(&(b - at).abs()));
            if let Some(nearest) = nearest.filter(|nearest| (nearest - at).abs() < within) {
                self.objects[handle].place[axis] = nearest;
            }
        }
    }

    /// Every message has its sender's name in it.
    fn say(&self, mut message: Value) -> Outgoing {
        message["user_id"] = self.user.as_str().into();
        Outgoing { message, told: Vec::new() }
    }

    /// A command about an object, with its whole dictionary.
    fn command(&mut self, action: &str, handle: Handle) -> Outgoing {
        // The dialog of an item that was removed says something of the one that has its id now.
        let successor = self.map.get(&self.objects[handle].id).copied();
        if let Some(successor) = successor.filter(|other| *other != handle)
            && !self.scene.contains(&handle)
        {
            untold_all(&mut self.objects[successor]);
        }
        let object = &mut self.objects[handle];
        object.is_unheard = false;
        let data = match action {
            "remove_item" => json!({}),
            _ => object.report(),
        };
        // A move of what the server doesn't know tells it nothing.
        object.is_told |= action != "move_item";
        let is_deaf = self.map.get(&object.id) != Some(&handle);
        // Its user sees another one of the same id, and may have told of that one before.
        let is_double = self.ghosts.contains(&object.id);
        // The server leaves out whole what stands nowhere: it remains to be told.
        let is_taken = object.place[..2].iter().all(|at| at.is_finite());
        let told = match action {
            "remove_item" => Vec::new(),
            // As old as it may be, all of it is said as if it were new.
            _ if (is_deaf && object.is_old) || is_double => tell_all(object, is_taken),
            _ => tell(object, is_taken),
        };
        let command = json!({"action": action, "item_type": object.kind, "item_id": object.id,
            "data": data});
        let message = json!({"type": "command", "command": command, "timestamp": "local"});
        Outgoing { told, ..self.say(message) }
    }
}

/// What a message tells of one of two objects of the same id, of which one hears and the other is or was
/// seen; or of one that came to the canvas from a file or the history while others went on: what its user chose, and
/// everything else along with it.
fn tell_all(object: &mut Object, is_over: bool) -> Vec<Told> {
    untold_all(object);
    tell(object, is_over)
}

fn untold_all(object: &mut Object) {
    object.is_all_untold = true;
    for field in object.shown().into_keys() {
        object.untold.entry(field).or_insert(Untold::Along);
    }
}

/// What a message with an object's whole dictionary tells of what its user did. A snapshot may be
/// refused: what it tells remains to be told.
fn tell(object: &mut Object, is_over: bool) -> Vec<Told> {
    if object.untold.is_empty() && object.picked.is_none() {
        return Vec::new();
    }
    let shown = object.shown();
    let reported = Value::from(object.reported_color.as_str());
    let id = &object.id;
    let mut told = Vec::new();
    let mut add = |field: &str, value: Option<&Value>, how: Untold| {
        let (item, field) = (id.clone(), field.to_owned());
        told.push(Told { item, field, value: value.cloned().unwrap_or(Value::Null), how });
    };
    // Nobody can tell where what is misplaced was meant to be: a number that is none leaves that open.
    let anything = Value::from("∞/∞");
    for (field, how) in object.untold.iter().filter(|(_, how)| **how != Untold::Hidden) {
        let is_open = object.is_misplaced && field == "interfaces";
        add(field, if is_open { Some(&anything) } else { shown.get(field) }, *how);
    }
    if let Some(how) = object.picked {
        add("color_hex", Some(&reported), how);
    }
    // Where the rays have the reported colour the server can tell that it differs.
    let is_drawn = shown.get("color_hex") == Some(&reported);
    let is_hidden = object.untold.get("color_hex") == Some(&Untold::Hidden);
    let is_hidden = !is_drawn && (is_hidden || object.picked.is_some());
    if is_over {
        object.is_all_untold = false;
        object.untold.clear();
        object.picked = None;
    }
    if is_hidden {
        object.untold.insert("color_hex".into(), Untold::Hidden);
    }
    told
}
