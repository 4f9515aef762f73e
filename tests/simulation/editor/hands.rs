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

/// A dialog stays open for a while, and whatever comes meanwhile is taken under it.
#[derive(Debug)]
pub struct Dialog {
    pub handle: Handle,
    /// The whole item as it was then: Cancel brings all of it back.
    before: Saved,
    /// A source's dialog writes all that stands in it when it is closed.
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
        (self.is_hovering, self.is_drawn) = (false, true);
        if !self.is_enabled || self.is_mute {
            return Vec::new();
        }
        self.map.insert(self.objects[handle].id.clone(), handle);
        self.version += 1;
        if self.is_map_broken {
            return Vec::new();
        }
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

    /// Opens the dialog of an item.
    pub fn open_dialog(&mut self, handle: Handle) {
        let before = self.saved(handle);
        let params = &self.objects[handle].params;
        let form = FORM.iter().filter_map(|name| Some((*name, params.get(*name)?.clone())));
        let form = form.filter(|_| self.objects[handle].kind == "source").collect();
        self.dialog = Some(Dialog { handle, before, form });
    }

    /// The dialog of a component changes the item at once.
    pub fn edit(&mut self, field: &str, value: Value) -> Vec<Outgoing> {
        let Some(Dialog { handle, .. }) = self.dialog else { return Vec::new() };
        self.choose(handle, field);
        self.objects[handle].set(field, value);
        if field == "object_height_mm"
            && let Some(z) = self.objects[handle].attach_picture()
        {
            // The picture is loaded anew, and with it the layer.
            self.set_along(handle, "z_value", number(z));
        }
        self.edited(handle)
    }

    /// A colour is picked in the dialog of a source: it is reported from now on, whatever becomes of it.
    pub fn pick(&mut self, color: &str) {
        let Some(Dialog { handle, .. }) = self.dialog else { return };
        self.choices += 1;
        let object = &mut self.objects[handle];
        object.reported_color = color.to_owned();
        object.picked = Some(Untold::Chosen(self.choices));
        object.untold.insert("color_hex".into(), Untold::Hidden);
    }

    /// OK, after one field of a source was changed; null for none.
    pub fn close_dialog(&mut self, field: &str, value: Value) -> Vec<Outgoing> {
        let Some(Dialog { handle, before, form }) = self.dialog.take() else { return Vec::new() };
        if !form.is_empty() {
            for (name, value) in form {
                self.set_along(handle, name, value);
            }
            if !value.is_null() {
                self.choose(handle, field);
                self.objects[handle].set(field, value);
            }
            self.color_rays(handle);
        }
        let said =
            if self.objects[handle].kind == "source" { self.edited(handle) } else { Vec::new() };
        // What was placed or pasted has one more thing in the history, which applies it once more.
        let after = self.saved(handle);
        if !self.objects[handle].is_wired || before == after {
            return said;
        }
        self.remember(Done::Changed { handle, before, after });
        let again = self.edited(handle);
        said.into_iter().chain(again).collect()
    }

    /// OK in the dialog of a source: the rays get the reported colour.
    fn color_rays(&mut self, handle: Handle) {
        let object = &mut self.objects[handle];
        let reported = Value::from(object.reported_color.as_str());
        if object.params["color_hex"] != reported {
            object.untold.insert("color_hex".into(), Untold::Hidden);
            object.set("color_hex", reported);
        }
    }

    /// Cancel: the whole item is again as it was when the dialog was opened.
    pub fn cancel_dialog(&mut self) -> Vec<Outgoing> {
        let Some(Dialog { handle, before, .. }) = self.dialog.take() else { return Vec::new() };
        let picked = &mut self.objects[handle].picked;
        *picked = picked.and(Some(Untold::Along));
        self.apply(handle, &before, &before)
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
            self.vanish(handle);
        }
    }

    /// Context menu → Lock: nobody is told. What is blank shows nothing that could be taken hold of.
    pub fn lock(&mut self, handle: Handle) {
        if self.objects[handle].is_blank {
            return;
        }
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
        self.visible().into_iter().for_each(|handle| self.vanish(handle));
        self.ghosts.clear();
        self.undo.clear();
        self.redo.clear();
        self.dialog = None;
        self.notes = notes;
        for data in items {
            let is_unheard = self.is_enabled;
            let object = Object { is_old: true, is_unheard, ..Object::build(data) };
            // The file was saved from a canvas that had two of it.
            if self.scene.iter().any(|handle| self.objects[*handle].id == object.id) {
                self.ghosts.insert(object.id.clone());
            }
            self.put(object);
        }
    }

    /// File → Save: the items of the file.
    pub fn save(&self) -> Vec<Value> {
        self.scene.iter().map(|handle| self.objects[*handle].report()).collect()
    }

    /// The mouse hovers over the canvas with a tool to place something, and what would be placed is on
    /// the canvas as long as it does.
    pub fn hover(&mut self, id: &str, at: [f64; 2]) -> Vec<Outgoing> {
        self.is_hovering = true;
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
        let id = &self.objects[handle].id;
        if self.map.get(id) != Some(&handle) {
            self.lost.insert(id.clone());
        }
    }

    /// Back on the canvas, and in the map only if it never left it.
    fn appear(&mut self, handle: Handle) {
        let id = self.objects[handle].id.clone();
        if self.scene.iter().any(|other| *other != handle && self.objects[*other].id == id) {
            self.ghosts.insert(id.clone());
        }
        if self.scene.insert(handle) {
            self.lost.remove(&id);
            let object = &mut self.objects[handle];
            object.is_told &= self.map.get(&id) == Some(&handle);
            object.is_old = true;
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
                "color_hex" => {
                    if object.params["color_hex"] != *value {
                        object.untold.insert(name.clone(), Untold::Hidden);
                        object.set(name, value.clone());
                    }
                }
                // What is not on the canvas changes unseen: nothing is chosen.
                _ if other.get(name) != Some(value) && self.scene.contains(&handle) => {
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
        if object.raw_field(field) != value {
            let untold = object.untold.entry(field.into()).or_insert(Untold::Along);
            if *untold != Untold::Hidden {
                *untold = Untold::Along;
            }
            object.set(field, value);
        }
    }

    /// The place has changed.
    fn moved(&mut self, handle: Handle) -> Vec<Outgoing> {
        self.is_drawn = true;
        let mut said = self.edited(handle);
        if self.is_enabled && self.scene.contains(&handle) {
            said.push(self.command("move_item", handle));
        }
        said
    }

    /// The `edited` signal: only what was placed or pasted in this run is wired to it.
    fn edited(&mut self, handle: Handle) -> Vec<Outgoing> {
        self.is_drawn = true;
        match self.is_enabled && self.objects[handle].is_wired {
            true => vec![self.command("update_item", handle)],
            false => Vec::new(),
        }
    }
}
