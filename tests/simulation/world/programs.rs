//! What scripts, followers and viewers do.

use serde_json::json;

use super::people::{Drag, Dragged};
use super::*;
use crate::script::overlay;
use crate::shapes;

impl World {
    pub fn act_as_script(&mut self, person: usize) {
        let Some(conn) = self.people[person].conn else {
            if self.random.chance(60) {
                self.join(person);
            }
            return;
        };
        // Nobody can say anything before the handshake is over.
        if !self.connections[&conn].is_admitted {
            if self.random.chance(10) {
                self.lose(person);
            }
            return;
        }
        let is_reader = self.people[person].is_reader;
        match (self.people[person].script().purpose, self.random.below(100)) {
            (_, 0..=4) => self.lose(person),
            (_, 5..=9) => self.join(person),
            (Purpose::Follow, _) => {}
            (Purpose::View, 10..=25) => self.say(person, json!({"type": "sync:request"})),
            (Purpose::View, _) => {}
            (Purpose::Write, 10..=12) => self.say(person, json!({"type": "sync:request"})),
            (Purpose::Write, what) if is_reader => self.watch(person, what),
            (Purpose::Write, what) => self.write(person, what),
        }
    }

    /// Somebody who may only watch points, and tries what is refused.
    fn watch(&mut self, person: usize, what: u64) {
        let some_item = self.some_item(person);
        match (what, some_item) {
            (13..=40, _) => self.say(person, json!({"type": "cursor", "x": 1})),
            (41..=50, Some(id)) => self.command(person, "remove_item", &id, json!({})),
            (51..=54, _) => {
                self.say(person, json!({"type": "sync:update", "state": {"items": []}}))
            }
            _ => {}
        }
    }

    fn write(&mut self, person: usize, what: u64) {
        let some_item = self.some_item(person);
        match (what, some_item) {
            (13..=30, _) | (_, None) => self.add_as_script(person),
            (31..=40, Some(id)) => {
                self.people[person].script().canvas.remove(&id);
                self.command(person, "remove_item", &id, json!({}));
            }
            (41..=60, Some(id)) => self.change_a_field(person, &id),
            (61..=63, Some(id)) if self.people[person].script().has_state => {
                let script = self.people[person].script();
                if self.random.chance(50) {
                    script.canvas.remove(&id);
                }
                let state = script.state();
                self.say(person, json!({"type": "sync:update", "state": state}));
            }
            (_, Some(id)) => {
                let steps = 1 + self.random.below(8);
                let what = Dragged::Item(id);
                self.people[person].drag = Some(Drag { what, steps, next: self.now });
            }
        }
    }

    /// A new item, or one that somebody has removed; of a type that editors know, or a text.
    fn add_as_script(&mut self, person: usize) {
        let script = self.people[person].script();
        let mut gone: Vec<(String, Value)> = std::mem::take(&mut script.gone).into_iter().collect();
        gone.retain(|(id, _)| !script.canvas.contains_key(id));
        // What is said again after a crash would come from a connection that was told nothing yet.
        let brings_back = self.disk.is_none() && self.random.chance(50);
        let (id, data) = match self.random.pick(&gone).filter(|_| brings_back) {
            Some((id, item)) => {
                let mut item = item.clone();
                item["x_mm"] = self.values.number().into();
                (id.clone(), item)
            }
            None => self.new_item(),
        };
        let mut own = data.clone();
        own["uuid"] = id.as_str().into();
        self.people[person].script().canvas.insert(id.clone(), own);
        self.command(person, "add_item", &id, data);
    }

    /// As an editor makes it, with fewer fields, or a text.
    fn new_item(&mut self) -> (String, Value) {
        let id = format!("made{}", self.values.next());
        let mut data = shapes::item(&id, &mut self.random, &mut self.values);
        match self.random.below(4) {
            0 => {
                data = json!({"_type": "text", "item_uuid": id, "text": "a text",
                    "x_mm": self.values.number(), "y_mm": 0.0});
            }
            1 => {
                let known = ["_type", "x_mm", "y_mm", "interfaces", "image_path", "color_hex"];
                let fields = data.as_object_mut().expect("an item");
                fields.retain(|name, _| known.contains(&name.as_str()));
            }
            _ => {}
        }
        (id, data)
    }

    fn change_a_field(&mut self, person: usize, id: &str) {
        let kind = self.people[person].script().canvas[id]["_type"].clone();
        let (value, which) = (self.values.number(), self.random.below(6));
        let number = python::number(value);
        let data = match (which, kind.as_str()) {
            (0, _) => json!({"x_mm": number}),
            (1, _) => json!({"angle_deg": python::number(-value % 360.0)}),
            (2, Some("component")) => json!({"name": format!("name {value}")}),
            (3, Some("component")) => json!({"serial": value}),
            (4, Some("component")) => json!({"locked": self.random.chance(50)}),
            (2, Some("source")) => json!({"color_hex": self.values.color().to_uppercase()}),
            (3, Some("source")) => json!({"n_rays": self.values.next()}),
            (_, Some("text")) => json!({"text": format!("text {value}")}),
            _ => json!({"z_value": number, "y_mm": self.values.number()}),
        };
        self.say_of_item(person, "update_item", id, data);
    }

    pub fn drag_as_script(&mut self, person: usize, id: &str, [x, y]: [f64; 2]) {
        if self.people[person].script().canvas.contains_key(id) {
            self.say_of_item(person, "move_item", id, json!({"x_mm": x, "y_mm": y}));
        }
    }

    fn say_of_item(&mut self, person: usize, action: &str, id: &str, data: Value) {
        let canvas = &mut self.people[person].script().canvas;
        overlay(canvas.get_mut(id).expect("it is there"), &data);
        self.command(person, action, id, data);
    }

    fn some_item(&mut self, person: usize) -> Option<String> {
        let ids: Vec<String> = self.people[person].script().canvas.keys().cloned().collect();
        self.random.pick(&ids).cloned()
    }

    fn command(&mut self, person: usize, action: &str, id: &str, data: Value) {
        let kind = data.get("_type").cloned().unwrap_or("component".into());
        let command = json!({"action": action, "item_type": kind, "item_id": id, "data": data});
        self.say(person, json!({"type": "command", "command": command}));
    }

    /// Where sessions survive, a script wants to know what is safe.
    fn say(&mut self, person: usize, mut message: Value) {
        let is_change = matches!(message["type"].as_str(), Some("command" | "sync:update"));
        if self.disk.is_some() && is_change && !self.people[person].is_reader {
            message["id"] = self.values.next().into();
            self.people[person].script().unconfirmed.push(message.clone());
        }
        self.send(person, message, Vec::new());
    }
}
