//! What people do with their editors: they come and go, open files, and work on the canvas.

use serde_json::json;

use super::*;
use crate::editor::Handle;
use crate::shapes;

/// Something that a person or a program keeps doing for a moment.
#[derive(Debug)]
pub struct Drag {
    pub what: Dragged,
    pub steps: u64,
    pub next: Duration,
}

#[derive(Debug, Clone)]
pub enum Dragged {
    /// By the mouse, from there.
    Object(Handle, [f64; 2]),
    Item(String),
}

impl Person {
    pub fn next_move(&self) -> Option<Duration> {
        self.drag.as_ref().map(|drag| drag.next.max(self.stopped))
    }
}

impl World {
    /// Somebody does something.
    pub fn act(&mut self) {
        let person = self.random.below(self.people.len() as u64) as usize;
        if self.have_an_accident() || self.people[person].stopped > self.now {
            return;
        }
        if self.has_stalls && self.random.chance(3) {
            return self.stall(person);
        }
        match self.people[person].client {
            Client::Editor(_) => self.act_at_editor(person),
            Client::Script(_) => self.act_as_script(person),
        }
    }

    /// The process is stopped, or the network is away; everything else queues up meanwhile.
    fn stall(&mut self, person: usize) {
        let until = self.now + Duration::from_millis(500 + self.random.below(15_000));
        let user = &self.people[person].user;
        self.log(|| format!("{user} stalls until {:.3}", until.as_secs_f64()));
        let conn = self.people[person].conn;
        let connection = conn.and_then(|conn| self.connections.get_mut(&conn));
        match connection.filter(|_| self.random.chance(50)) {
            Some(connection) => connection.frozen = until,
            None => self.people[person].stopped = until,
        }
    }

    fn act_at_editor(&mut self, person: usize) {
        let Some(conn) = self.people[person].conn else { return self.act_offline(person) };
        if !self.people[person].editor().is_enabled {
            // Nobody waits for ever; and there is a canvas to work on meanwhile.
            return match self.random.below(10) {
                0 if self.connections[&conn].is_admitted => self.lose(person),
                1 => self.work(person),
                _ => {}
            };
        }
        let is_reader = self.people[person].is_reader;
        match self.random.below(100) {
            0..=2 => self.lose(person),
            3..=4 => self.connect(person),
            5 => self.open_file(person),
            6 => self.save_file(person),
            7..=9 => {
                let at = self.values.place();
                let id = format!("hover{}", self.values.next());
                let is_long = self.random.chance(30);
                let said = self.people[person].editor().hover(&id, at);
                self.people[person].editor().is_hovering = is_long;
                self.send_all(person, said);
            }
            10..=70 if is_reader => {}
            _ => self.work(person),
        }
    }

    fn act_offline(&mut self, person: usize) {
        match self.random.below(100) {
            0..=49 => self.connect(person),
            50..=64 => self.work(person),
            65..=74 => {
                self.log(|| format!("{} starts the editor again", self.people[person].user));
                self.people[person].editor().restart();
                self.people[person].drag = None;
                if self.random.chance(60) {
                    self.open_file(person);
                }
            }
            75..=84 => self.open_file(person),
            _ => self.save_file(person),
        }
    }

    /// Collaboration → Connect/Host Session.
    fn connect(&mut self, person: usize) {
        let is_as_usual = self.random.chance(85);
        let is_empty = self.random.chance(5);
        let person_ = &mut self.people[person];
        let mode = match (person_.likes, is_as_usual) {
            (Mode::Host, true) | (Mode::Guest, false) => Mode::Host,
            _ => Mode::Guest,
        };
        let editor = person_.editor();
        editor.mode = mode;
        if is_empty && mode == Mode::Host {
            editor.clear();
        }
        self.join(person);
    }

    fn open_file(&mut self, person: usize) {
        let Some(file) = self.random.pick(&self.files) else { return };
        let (mut items, notes) = file.clone();
        for item in &mut items {
            // What has no id is given one when it is opened.
            if item.get("item_uuid").is_none() {
                item["item_uuid"] = format!("opened{}", self.values.next()).into();
            }
        }
        items.retain(|item| crate::editor::object::known_type(&item["_type"]).is_some());
        self.log(|| format!("{} opens a file of {}", self.people[person].user, items.len()));
        self.people[person].editor().open(&items, notes);
        self.people[person].drag = None;
    }

    /// Its own canvas, or what the server exports.
    fn save_file(&mut self, person: usize) {
        let file = match self.random.chance(50) {
            true => {
                let editor = self.people[person].editor();
                (editor.save(), editor.notes)
            }
            false => (self.export(), 0),
        };
        self.files.push(file);
    }

    /// Puts a new item on the canvas.
    pub fn place(&mut self, person: usize) {
        let id = format!("item{}", self.values.next());
        let mut data = shapes::item(&id, &mut self.random, &mut self.values);
        if self.has_odd_numbers && self.random.chance(30) {
            shapes::make_odd(&mut data, &mut self.random);
        }
        // A menu has none of the rarer ones.
        let said = match self.people[person].conn.is_none() && self.random.chance(70) {
            true => {
                let editor = self.people[person].editor();
                let items: Vec<Value> = editor.save().into_iter().chain([data]).collect();
                let notes = self.random.below(3);
                self.people[person].editor().open(&items, notes);
                Vec::new()
            }
            false => self.people[person].editor().place(&data),
        };
        self.send_all(person, said);
    }

    /// Somebody's hand does something on the canvas.
    fn work(&mut self, person: usize) {
        let what = self.random.below(100);
        let chosen = self.some_object(person);
        let editor = self.people[person].editor();
        if editor.dialog.is_some() {
            return self.use_dialog(person);
        }
        let Some(handle) = chosen.filter(|_| what >= 15) else {
            return self.place(person);
        };
        let id = editor.objects[handle].id.clone();
        let user = self.people[person].user.clone();
        self.log(|| format!("{user} lays hand {what} on {id} "));
        let editor = self.people[person].editor();
        let said = match what {
            15..=44 => {
                // The mouse takes hold of nothing that is locked.
                if editor.objects[handle].locked {
                    return;
                }
                let place = editor.objects[handle].place;
                let steps = 1 + self.random.below(12);
                let what = Dragged::Object(handle, [place[0], place[1]]);
                self.people[person].drag = Some(Drag { what, steps, next: self.now });
                return;
            }
            45..=50 => {
                let angle = self.values.angle() - 180.0;
                editor.turn(handle, angle)
            }
            51..=65 => {
                editor.open_dialog(handle);
                return self.use_dialog(person);
            }
            66..=71 => editor.delete(handle),
            72..=75 => {
                let id = format!("pasted{}", self.values.next());
                let by = self.values.place();
                self.people[person].editor().paste(handle, &id, by);
                return;
            }
            76..=83 => editor.undo(),
            84..=87 => editor.redo(),
            88..=90 => {
                editor.lock(handle);
                return;
            }
            91 => {
                editor.delete_by_menu(handle);
                return;
            }
            92..=93 => {
                let z = self.values.number();
                self.people[person].editor().bring_to_front(handle, z);
                return;
            }
            94..=96 => {
                // A text, a ruler.
                editor.notes += 1;
                return;
            }
            _ => return self.place(person),
        };
        self.send_all(person, said);
    }

    fn some_object(&mut self, person: usize) -> Option<Handle> {
        let visible = self.people[person].editor().visible();
        self.random.pick(&visible).copied()
    }

    /// Something is done with the dialog that is open.
    fn use_dialog(&mut self, person: usize) {
        let what = self.random.below(100);
        let is_closed = self.random.chance(60);
        let editor = self.people[person].editor();
        let Some(dialog) = &editor.dialog else { return };
        let (id, kind) = (&editor.objects[dialog.handle].id, editor.objects[dialog.handle].kind);
        self.plan.verbose.then(|| println!("          dialog of {id} : {what} {is_closed}"));
        let said = match kind {
            _ if what < 10 => editor.cancel_dialog(),
            "source" => {
                if what < 40 {
                    editor.pick(&self.values.color());
                }
                let (field, value) = match what {
                    10..=60 => ("", Value::Null),
                    61..=75 => ("size_mm", python::number(self.values.number())),
                    76..=85 => ("wavelength_nm", python::number(self.values.number())),
                    _ => ("n_rays", self.values.next().into()),
                };
                match is_closed {
                    true => editor.close_dialog(field, value),
                    false => Vec::new(),
                }
            }
            _ => {
                let said = self.edit(person);
                match is_closed {
                    true => {
                        let more = self.people[person].editor().close_dialog("", Value::Null);
                        said.into_iter().chain(more).collect()
                    }
                    false => said,
                }
            }
        };
        self.send_all(person, said);
    }

    /// Types something into the dialog of a component.
    fn edit(&mut self, person: usize) -> Vec<Outgoing> {
        let (value, which) = (self.values.number(), self.random.below(4));
        let number = python::number(value);
        let editor = self.people[person].editor();
        let Some(dialog) = &editor.dialog else { return Vec::new() };
        let params = &editor.objects[dialog.handle].params;
        match which {
            0 => editor.edit("object_height_mm", number),
            1 if params["interfaces"][0].is_object() => {
                let mut interfaces = params["interfaces"].clone();
                let interface = &mut interfaces[0];
                for name in ["efl_mm", "reflectivity", "n2"] {
                    if interface.get(name).is_some() {
                        interface[name] = number.clone();
                    }
                }
                editor.edit("interfaces", interfaces)
            }
            _ => editor.edit("name", json!(format!("name {value}"))),
        }
    }

    pub fn go_on_dragging(&mut self) {
        for person in 0..self.people.len() {
            if self.people[person].next_move().is_none_or(|at| at > self.now) {
                continue;
            }
            let next = self.now + Duration::from_millis(8 + self.random.below(120));
            let to = self.values.place();
            let Some(drag) = &mut self.people[person].drag else { continue };
            (drag.next, drag.steps) = (next, drag.steps - 1);
            let (what, is_over) = (drag.what.clone(), drag.steps == 0);
            if is_over {
                self.people[person].drag = None;
            }
            match what {
                Dragged::Item(id) => self.drag_as_script(person, &id, to),
                Dragged::Object(handle, from) => {
                    let editor = self.people[person].editor();
                    // Removed and rebuilt meanwhile: the mouse holds nothing any more.
                    if !editor.scene.contains(&handle) {
                        self.people[person].drag = None;
                        continue;
                    }
                    let said = editor.drag(handle, to);
                    if is_over {
                        editor.dragged(handle, from);
                    }
                    self.send_all(person, said);
                }
            }
        }
    }
}
