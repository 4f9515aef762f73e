//! What the user does with the editor, and what of it is sent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Editor, Handle, Object, Outgoing, Untold};
use crate::python::number;

/// Something that can be undone.
#[derive(Debug, Clone)]
pub enum Done {
    /// Placed or pasted.
    Added(Handle),
    Removed(Handle),
    Moved {
        handle: Handle,
        from: [f64; 2],
        to: [f64; 2],
    },
    Changed {
        handle: Handle,
        before: Saved,
        after: Saved,
    },
}

/// All fields of an object, as an undo brings them back.
type Saved = BTreeMap<String, Value>;

/// The dialog of a source stays open for a while, and writes all that stands in it.
#[derive(Debug)]
pub struct Dialog {
    pub handle: Handle,
    form: BTreeMap<&'static str, Value>,
}

/// What the dialog of a source writes.
const FORM: [&str; 4] = ["size_mm", "n_rays", "spread_deg", "wavelength_nm"];

impl Editor {
    /// The objects that the user sees and could take hold of.
    pub fn visible(&self) -> Vec<Handle> {
        self.scene.iter().copied().collect()
    }

    /// An item from the menu or the library.
    pub fn place(&mut self, data: &Value) -> Vec<Outgoing> {
        let handle = self.put(Object { is_wired: true, ..Object::build(data) });
        self.remember(Done::Added(handle));
        if !self.is_enabled || self.is_mute {
            return Vec::new();
        }
        self.map.insert(self.objects[handle].id.clone(), handle);
        self.version += 1;
        vec![self.command("add_item", handle)]
    }

    /// One mouse move of a drag; nothing happens to what is locked.
    pub fn drag(&mut self, handle: Handle, to: [f64; 2]) -> Vec<Outgoing> {
        let object = &self.objects[handle];
        let is_there = object.place[..2] == to;
        if !self.scene.contains(&handle) || object.locked || is_there {
            return Vec::new();
        }
        self.choose(handle, "x_mm");
        self.choose(handle, "y_mm");
        self.objects[handle].place[..2].copy_from_slice(&to);
        self.pull(handle);
        self.moved(handle)
    }

    /// A drag from beginning to end, as the undo history has it.
    pub fn dragged(&mut self, handle: Handle, from: [f64; 2]) {
        let at = self.objects[handle].place;
        if self.scene.contains(&handle) && from != [at[0], at[1]] {
            self.remember(Done::Moved { handle, from, to: [at[0], at[1]] });
        }
    }

    /// Ctrl and the mouse wheel.
    pub fn turn(&mut self, handle: Handle, to: f64) -> Vec<Outgoing> {
        if !self.scene.contains(&handle) || self.objects[handle].locked {
            return Vec::new();
        }
        self.choose(handle, "angle_deg");
        self.objects[handle].place[2] = to.rem_euclid(360.0);
        let said = self.moved(handle);
        said.into_iter().chain(self.edited(handle)).collect()
    }

    /// The dialog of a component, which changes one field.
    pub fn edit(&mut self, handle: Handle, field: &str, value: Value) -> Vec<Outgoing> {
        let before = self.saved(handle);
        self.choose(handle, field);
        self.objects[handle].set(field, value);
        if field == "object_height_mm" {
            // The picture is loaded anew, and with it the layer.
            let z = self.objects[handle].attach_picture();
            self.set_along(handle, "z_value", z.map_or(Value::Null, number));
        }
        let said = self.edited(handle);
        self.changed(handle, before, said)
    }

    /// Opens the dialog of a source.
    pub fn open_dialog(&mut self, handle: Handle) {
        let params = &self.objects[handle].params;
        let form = FORM.map(|name| (name, params.get(name).cloned().unwrap_or_default()));
        self.dialog = Some(Dialog { handle, form: form.into() });
    }

    /// OK, after one field was changed or a colour picked.
    pub fn close_dialog(&mut self, field: &str, value: Value) -> Vec<Outgoing> {
        let Some(Dialog { handle, form }) = self.dialog.take() else { return Vec::new() };
        let before = self.saved(handle);
        for (name, value) in form {
            self.set_along(handle, name, value);
        }
        self.choose(handle, field);
        let object = &mut self.objects[handle];
        if field == "color_hex" {
            object.reported_color = value.as_str().expect("a colour").to_owned();
        }
        object.set(field, value);
        // In any case the reported colour becomes that of the rays.
        let reported = Value::from(object.reported_color.as_str());
        if object.params["color_hex"] != reported && field != "color_hex" {
            object.untold.insert("color_hex".into(), Untold::Hidden);
        }
        object.set("color_hex", reported);
        let said = self.edited(handle);
        self.changed(handle, before, said)
    }

    /// An object that was placed or pasted has one more thing in the history, which applies the change
    /// once more.
    fn changed(&mut self, handle: Handle, before: Saved, said: Vec<Outgoing>) -> Vec<Outgoing> {
        let after = self.saved(handle);
        if !self.objects[handle].is_wired || before == after {
            return said;
        }
        self.remember(Done::Changed { handle, before, after });
        let again = self.edited(handle);
        said.into_iter().chain(again).collect()
    }

    /// The Delete key.
    pub fn delete(&mut self, handle: Handle) -> Vec<Outgoing> {
        if self.objects[handle].locked || !self.scene.remove(&handle) {
            return Vec::new();
        }
        self.remember(Done::Removed(handle));
        if !self.is_enabled {
            return Vec::new();
        }
        self.map.remove(&self.objects[handle].id);
        vec![self.command("remove_item", handle)]
    }

    /// Context menu → Delete: nobody is told.
    pub fn delete_by_menu(&mut self, handle: Handle) {
        if !self.objects[handle].locked {
            self.scene.remove(&handle);
        }
    }

    /// Context menu → Lock: nobody is told.
    pub fn lock(&mut self, handle: Handle) {
        self.choose(handle, "locked");
        let object = &mut self.objects[handle];
        object.locked = !object.locked;
    }

    /// Context menu → Bring to Front: nobody is told.
    pub fn bring_to_front(&mut self, handle: Handle, z: f64) {
        self.choose(handle, "z_value");
        self.objects[handle].z = z;
    }

    /// Copy and paste: nobody is told before the copy is touched.
    pub fn paste(&mut self, from: Handle, id: &str, by: [f64; 2]) -> Handle {
        let from = self.objects[from].clone();
        let mut data = Value::Object(from.params.clone());
        data["_type"] = from.kind.into();
        data["item_uuid"] = id.into();
        (data["uuid"], data["item_type"]) = (id.into(), from.kind.into());
        data["x_mm"] = number(from.place[0] + by[0]);
        data["y_mm"] = number(from.place[1] + by[1]);
        data["angle_deg"] = number(from.place[2]);
        data["z_value"] = number(from.z);
        data["locked"] = from.locked.into();
        let handle = self.put(Object { is_wired: true, ..Object::build(&data) });
        self.remember(Done::Added(handle));
        handle
    }

    /// File → Open: the canvas is replaced, and nobody is told; the map stays as it is.
    pub fn open(&mut self, items: &[Value], notes: u64) {
        self.scene.clear();
        self.ghosts.clear();
        self.undo.clear();
        self.redo.clear();
        self.dialog = None;
        self.notes = notes;
        for data in items {
            self.put(Object::build(data));
        }
    }

    /// File → Save: the items of the file.
    pub fn save(&self) -> Vec<Value> {
        self.scene.iter().map(|handle| self.objects[*handle].report()).collect()
    }

    /// The mouse hovers over the canvas with a tool to place something.
    pub fn hover(&self, id: &str, at: [f64; 2]) -> Vec<Outgoing> {
        if !self.is_enabled {
            return Vec::new();
        }
        let data = json!({"_type": "source", "item_uuid": id, "x_mm": at[0], "y_mm": at[1]});
        let data = Object::build(&data).report();
        let command = json!({"action": "move_item", "item_type": "source", "item_id": id,
            "data": data});
        vec![self.say(json!({"type": "command", "command": command, "timestamp": "local"}))]
    }

    pub fn undo(&mut self) -> Vec<Outgoing> {
        let Some(done) = self.undo.pop() else { return Vec::new() };
        self.redo.push(done.clone());
        match done {
            Done::Added(handle) => self.vanish(handle),
            Done::Removed(handle) => self.appear(handle),
            Done::Moved { handle, from, .. } => return self.drag(handle, from),
            Done::Changed { handle, before, after } => return self.apply(handle, &before, &after),
        }
        Vec::new()
    }

    pub fn redo(&mut self) -> Vec<Outgoing> {
        let Some(done) = self.redo.pop() else { return Vec::new() };
        self.undo.push(done.clone());
        match done {
            Done::Added(handle) => self.appear(handle),
            Done::Removed(handle) => self.vanish(handle),
            Done::Moved { handle, to, .. } => return self.drag(handle, to),
            Done::Changed { handle, before, after } => return self.apply(handle, &after, &before),
        }
        Vec::new()
    }

    fn remember(&mut self, done: Done) {
        self.undo.push(done);
        self.redo.clear();
    }

    fn vanish(&mut self, handle: Handle) {
        self.scene.remove(&handle);
    }

    /// Back on the canvas, and in the map only if it never left it.
    fn appear(&mut self, handle: Handle) {
        let id = self.objects[handle].id.clone();
        if self.scene.iter().any(|other| *other != handle && self.objects[*other].id == id) {
            self.ghosts.insert(id.clone());
        }
        if self.scene.insert(handle) {
            self.objects[handle].is_told = self.map.get(&id) == Some(&handle);
        }
    }

    /// `apply_state`: all fields become `wanted`; the user meant those that are different in `other`.
    fn apply(&mut self, handle: Handle, wanted: &Saved, other: &Saved) -> Vec<Outgoing> {
        let place = self.objects[handle].place;
        for (name, value) in wanted {
            let object = &mut self.objects[handle];
            match name.as_str() {
                "x_mm" | "y_mm" | "angle_deg" if object.locked => {}
                // The reported colour stays.
                "color_hex" if object.params["color_hex"] != *value => {
                    object.untold.insert(name.clone(), Untold::Hidden);
                    object.set(name, value.clone());
                }
                _ if other.get(name) != Some(value) => {
                    object.set(name, value.clone());
                    self.choose(handle, name);
                }
                _ => self.set_along(handle, name, value.clone()),
            }
        }
        let moved = match self.objects[handle].place == place {
            true => Vec::new(),
            false => self.moved(handle),
        };
        moved.into_iter().chain(self.edited(handle)).collect()
    }

    fn saved(&self, handle: Handle) -> Saved {
        let object = &self.objects[handle];
        let place = ["x_mm", "y_mm", "angle_deg"].into_iter().zip(object.place.map(number));
        let mut saved: Saved =
            object.params.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        saved.extend(place.map(|(name, value)| (name.to_owned(), value)));
        saved.insert("locked".into(), object.locked.into());
        saved.insert("z_value".into(), number(object.z));
        saved
    }

    /// Its user chose a field's value. What is blank shows nothing that could be chosen from but its
    /// place.
    fn choose(&mut self, handle: Handle, field: &str) {
        self.choices += 1;
        let is_place = ["x_mm", "y_mm", "angle_deg"].contains(&field);
        if !self.objects[handle].is_blank || is_place {
            let chosen = Untold::Chosen(self.choices);
            self.objects[handle].untold.insert(field.into(), chosen);
        }
    }

    /// A field that the user didn't mean changes along with one that was meant.
    fn set_along(&mut self, handle: Handle, field: &str, value: Value) {
        let object = &mut self.objects[handle];
        if !value.is_null() && object.raw_field(field) != value {
            object.untold.entry(field.into()).or_insert(Untold::Along);
            object.set(field, value);
        }
    }

    /// The place has changed.
    fn moved(&mut self, handle: Handle) -> Vec<Outgoing> {
        let mut said = self.edited(handle);
        if self.is_enabled && self.scene.contains(&handle) {
            said.push(self.command("move_item", handle));
        }
        said
    }

    /// The `edited` signal: only what was placed or pasted in this run is wired to it.
    fn edited(&mut self, handle: Handle) -> Vec<Outgoing> {
        match self.is_enabled && self.objects[handle].is_wired {
            true => vec![self.command("update_item", handle)],
            false => Vec::new(),
        }
    }
}
