//! What has to be true of every frame, and of all canvases once nothing is on its way.

use super::*;
use crate::editor::{Object, object};
use crate::python::same;

impl World {
    /// What is sent to one of them is what it may be sent.
    pub fn check_frame(&mut self, conn: ConnId, message: &Value) {
        let kind = message["type"].as_str().expect("a type");
        let person = self.connections.get(&conn).map(|connection| connection.person);
        let is_reader = person.is_some_and(|person| self.people[person].is_reader);
        if is_reader && matches!(kind, "connection:ack" | "host:changed") {
            let user = person.map(|person| self.people[person].user.as_str());
            assert!(message["is_host"] != true || kind == "host:changed", "a watcher is host");
            assert!(
                kind != "host:changed" || message["user_id"].as_str() != user,
                "a watcher is host"
            );
        }
        if kind == "error" {
            let what = message["error_type"].as_str().expect("a string");
            let is_item = message.get("item_id").is_some() && self.has_odd_numbers;
            if what == "not_host" {
                self.refused = Some(conn);
            }
            let is_expected = match is_reader {
                true => what == "read_only",
                false => what == "not_host" || is_item,
            };
            assert!(is_expected || what == "not_durable", "{message}");
        }
    }

    /// What was relayed as one change tells the same to everyone.
    pub fn check_form(&mut self, message: &Rc<Value>) {
        if let (Some(seq), "command") =
            (message["seq"].as_u64(), message["type"].as_str().unwrap_or(""))
        {
            let first = self.relayed.entry(seq).or_insert_with(|| message.clone());
            assert!(tells_the_same(first, message), "change {seq}: {first} and {message}");
        }
    }

    /// Nobody does anything any more; what is on its way arrives, and items settle.
    pub fn come_to_rest(&mut self) {
        self.log(|| "everyone rests".into());
        if self.disk.is_some() {
            self.work_again();
        }
        let mut at = self.now;
        for person in &mut self.people {
            at = at.max(person.stopped);
            person.drag = None;
            if let Client::Editor(editor) = &mut person.client {
                editor.dialog = None;
            }
        }
        let frozen = self.connections.values().map(|connection| connection.frozen);
        let at = frozen.fold(at, Duration::max);
        self.advance(at + Duration::from_secs(20));
        for (id, item) in self.document() {
            self.log(|| format!("the document has {id} {}", brief::item(&item)));
        }
    }

    /// Somebody comes in whom a host shows its canvas, and others who see what is there.
    pub fn meet_latecomers(&mut self) {
        let late = [
            self.add_editor("late", Mode::Guest, false),
            self.add_editor("late host", Mode::Host, false),
            self.add_editor("late watcher", Mode::Guest, true),
            self.add_script("late script", Purpose::Write, false),
            self.add_script("late viewer", Purpose::View, false),
        ];
        for person in late {
            let likes = self.people[person].likes;
            if let Client::Editor(editor) = &mut self.people[person].client {
                editor.mode = likes;
            }
            self.join(person);
            self.advance(self.now + Duration::from_secs(20));
        }
    }

    pub fn check(&self) {
        let document = self.document();
        for person in self.people.iter().filter(|person| person.conn.is_some()) {
            match &person.client {
                Client::Editor(editor) => {
                    assert!(editor.is_enabled, "{} was never greeted", person.user);
                    check_editor(editor, person.is_reader, &document);
                    if std::env::var("DRAWN").is_ok() {
                        assert!(editor.is_drawn, "{} sees old rays", person.user);
                    }
                }
                Client::Script(script) => check_script(script, &document),
            }
        }
        // Nobody is in it, and it is stored.
        if self.hub.document(SESSION).is_some() {
            self.ledger.check(&document);
        }
    }
}

/// Whether two forms of a change tell the same. Editors may be sent an update where others are sent a move,
/// and their interfaces may be moved, their pictures left out.
fn tells_the_same(a: &Value, b: &Value) -> bool {
    let of = |message: &Value, name: &str| message["command"][name].clone();
    let is_change = |message: &Value| {
        matches!(of(message, "action").as_str(), Some("move_item" | "update_item"))
    };
    let is_same_action = of(a, "action") == of(b, "action") || (is_change(a) && is_change(b));
    let is_same = ["user_id", "timestamp"].iter().all(|name| a[*name] == b[*name]);
    let (data, other) = (of(a, "data"), of(b, "data"));
    is_same_action
        && is_same
        && of(a, "item_id") == of(b, "item_id")
        && fields(&data).all(|(name, value)| {
            let may_differ = matches!(name.as_str(), "interfaces" | "image_path");
            may_differ || other.get(name).is_none_or(|other| other == value)
        })
}

fn check_script(script: &Script, document: &BTreeMap<String, Value>) {
    let user = &script.user;
    for id in script.canvas.keys().chain(document.keys()) {
        let Some(item) = document.get(id) else { panic!("{user} shows {id}, which is gone") };
        let item = &without_unsafe_picture(item);
        let Some(own) = script.canvas.get(id) else { panic!("{user} lacks {id}") };
        for (name, value) in fields(item) {
            let own = own.get(name).unwrap_or(&Value::Null);
            assert!(same(value, own), "{user}: {id}: {name} is {own}, and is to be {value}");
        }
        for (name, value) in fields(own) {
            assert!(
                item.get(name).is_some(),
                "{user}: {id}: {name} is {value}, and is to be absent"
            );
        }
    }
}

fn fields(data: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let names = ["uuid", "item_uuid", "item_type"];
    let fields = data.as_object().expect("an item is an object").iter();
    fields.filter(move |(name, _)| !names.contains(&name.as_str()))
}

/// What its user sees is what the document says, but for what nobody was ever told.
fn check_editor(editor: &Editor, is_reader: bool, document: &BTreeMap<String, Value>) {
    let user = &editor.user;
    let visible = |id: &str| {
        let handles = editor.scene.iter().copied();
        handles.filter(move |handle| editor.objects[*handle].id == id).collect::<Vec<_>>()
    };
    // A guest that hears nothing yet has nothing.
    assert!(!editor.is_mute, "{user} was never sent a state");
    for (id, item) in document {
        if object::known_type(&item["_type"]).is_none() {
            continue;
        }
        let handles = visible(id);
        let mapped = editor.map.get(id);
        let is_hidden = mapped.is_some_and(|handle| !editor.scene.contains(handle));
        match (mapped, handles.as_slice()) {
            // Deleted by a menu, undone, or on the canvas before a file was opened.
            _ if is_hidden => {}
            (Some(_), [handle]) => check_item(user, &editor.objects[*handle], item),
            (Some(_), _) => assert!(editor.ghosts.contains(id), "{user} sees {id} twice"),
            (None, []) => assert!(editor.lost.contains(id), "{user} lacks {id}"),
            // Pasted or brought back: no message reaches it.
            (None, _) => {}
        }
    }
    for handle in &editor.scene {
        let object = &editor.objects[*handle];
        let is_mapped = editor.map.get(&object.id) == Some(handle);
        let is_wrong = is_mapped && object.is_told && !document.contains_key(&object.id);
        assert!(
            !is_wrong || is_reader || object.is_nowhere || editor.ghosts.contains(&object.id),
            "{user} shows {}, which is gone",
            object.id
        );
    }
}

const PLACE: [&str; 2] = ["x_mm", "y_mm"];

fn check_item(user: &str, own: &Object, item: &Value) {
    let (shown, right) = (own.shown(), object::shown(item));
    let is_locked = own.untold.contains_key("locked") || own.locked;
    for name in shown.keys().chain(right.keys()) {
        let is_lacking = own.is_all_untold && !shown.contains_key(name);
        let is_untold = is_lacking || own.untold.contains_key(name);
        let is_unsafe = name == "image_path" && is_unsafe(&item["image_path"]);
        // Its own, of which the server takes nothing.
        let is_odd = |name: &str| {
            shown.get(name).is_some_and(|value| ledger::allowed(name, value).is_empty())
        };
        // A place that is none is left out whole.
        let is_none = |name: &&str| shown.get(*name).is_some_and(crate::python::is_odd);
        let is_nowhere = PLACE.iter().any(is_none);
        let is_odd = is_odd(name) || (PLACE.contains(&&**name) && is_nowhere);
        let (is, is_to_be) = (shown.get(name), right.get(name));
        // It came from a file, and was sent something before it had said where it stands.
        let is_elsewhere = name == "interfaces" && own.is_misplaced;
        // The server was told of it by this copy, and can't know that the copy shows another colour.
        let is_reported = name == "color_hex" && right[name] == own.reported_color.as_str();
        let is_right = same(is.unwrap_or(&Value::Null), is_to_be.unwrap_or(&Value::Null));
        let number = |value: Option<&Value>| value.and_then(Value::as_f64);
        let distance = number(is).zip(number(is_to_be)).map(|(a, b)| (a - b).abs());
        // Its user locked it while it was put aside.
        let is_aside = name == "x_mm" && is_locked && distance.is_some_and(|by| by < 2e-6);
        assert!(
            is_right || is_untold || is_unsafe || is_odd || is_reported || is_aside || is_elsewhere,
            "{user}: {}: {name} is {is:?}, and is to be {is_to_be:?}",
            own.id
        );
    }
}

/// The item as it is sent: without a picture that nobody is to open it stands where it stood with it.
fn without_unsafe_picture(item: &Value) -> Value {
    let mut sent = item.clone();
    if is_unsafe(&item["image_path"]) {
        sent["interfaces"] = object::shown(item)["interfaces"].clone();
        sent.as_object_mut().expect("an item").remove("image_path");
    }
    sent
}

/// A path that no editor is sent: it would open what it is sent.
fn is_unsafe(path: &Value) -> bool {
    path.as_str().is_some_and(|path| path.starts_with('/'))
}
