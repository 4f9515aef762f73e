//! One item as the editor holds it: what its user sees of it, and what it reports of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::python::{as_f64, is_odd, number};

/// What a source is built with that nobody described, and reports ever after.
pub const CRIMSON: &str = "#dc143c";

/// What every item has beside its parameters.
const METADATA: [&str; 4] = ["_type", "item_uuid", "locked", "z_value"];
const PLACE: [&str; 3] = ["x_mm", "y_mm", "angle_deg"];

/// Something about an item that its user did and nobody was told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// The user chose it; choices have numbers.
    Chosen(u64),
    /// It came with something else that the user did: an undo brings back all fields.
    Along,
    /// What is shown changed, what is reported did not: no message tells it.
    Hidden,
}

/// See the file's text.
#[derive(Debug, Clone)]
pub struct Object {
    pub id: String,
    pub kind: &'static str,
    /// All fields but the place, the lock and the layer. Of a source `color_hex` is the colour of its
    /// rays, which is what its user sees.
    pub params: Map<String, Value>,
    pub place: [f64; 3],
    pub locked: bool,
    pub z: f64,
    /// Of an item that was built with a picture: the middle of its first interface, by which it is
    /// placed ever after.
    pub picture: Option<[f64; 2]>,
    /// Of a source: the colour that it reports.
    pub reported_color: String,
    /// That colour was picked, and nobody was told yet.
    pub picked: Option<Untold>,
    /// Placed or pasted in this run: whatever changes is sent as `update_item`.
    pub is_wired: bool,
    /// Built from a message, and no `update_item` has come yet.
    pub is_blank: bool,
    /// The server has heard of it from this editor since it last appeared without a word.
    pub is_told: bool,
    /// It came from a file or the undo history, and others may have gone on with theirs.
    pub is_old: bool,
    /// It was opened from a file while its user was connected, and has said nothing of itself since: the
    /// server takes it for the copy that it has sent.
    pub is_unheard: bool,
    /// It was sent something while that was so: with a picture it stands elsewhere for good.
    pub is_misplaced: bool,
    /// Nobody was told of any of it since it came from there: not what it lacks, either.
    pub is_all_untold: bool,
    /// It came with a place that is none: the server leaves it out.
    pub is_nowhere: bool,
    pub untold: BTreeMap<String, Untold>,
}

impl Object {
    /// What `deserialize_item` makes of a whole dictionary.
    pub fn build(data: &Value) -> Self {
        Object::build_as(known_type(&data["_type"]).expect("a known `_type`"), data)
    }

    fn build_as(kind: &'static str, data: &Value) -> Self {
        let data = data.as_object().expect("an item is an object");
        let mut params = defaults(kind);
        for (name, value) in data.iter().filter(|(name, _)| !METADATA.contains(&name.as_str())) {
            let value = match name.as_str() {
                "interfaces" => Value::Array(interfaces(value)),
                _ => value.clone(),
            };
            params.insert(name.clone(), value);
        }
        let place = PLACE.map(|name| {
            let value = params.remove(name).expect("it has a default");
            as_f64(&value).unwrap_or_else(|| panic!("{name} is {value}"))
        });
        let picture = middle_of_picture(&params);
        let is_background = picture.is_none() && has_picture(&params);
        let id = data.get("item_uuid").and_then(Value::as_str).unwrap_or_default();
        let z = data.get("z_value").and_then(as_f64);
        Object {
            id: id.to_owned(),
            kind,
            reported_color: params.get("color_hex").map(lower).unwrap_or_default(),
            picked: None,
            place: [place[0], place[1], turned(place[2])],
            locked: data.get("locked").is_some_and(|locked| *locked == true),
            z: z.unwrap_or(if is_background { -10.0 } else { 0.0 }),
            picture,
            params,
            is_wired: false,
            is_blank: false,
            is_told: false,
            is_old: false,
            is_unheard: false,
            is_misplaced: false,
            is_all_untold: false,
            is_nowhere: !(place[0].is_finite() && place[1].is_finite()),
            untold: BTreeMap::new(),
        }
    }

    /// What an `add_item` or a state makes: the data is not looked at but for the id.
    pub fn blank(kind: &'static str, id: &str) -> Self {
        let data = json!({"_type": kind, "item_uuid": id});
        Object { is_blank: true, is_told: true, ..Object::build(&data) }
    }

    /// An `update_item`: everything is replaced but the picture and the reported colour; a locked
    /// item stays where it is, and then takes the lock.
    pub fn take(&mut self, data: &Value) {
        check_finite(data);
        let kind = match data.get("_type") {
            Some(kind) => known_type(kind).expect("a known `_type`"),
            None => self.kind,
        };
        let new = Object::build_as(kind, data);
        self.params = new.params;
        self.is_misplaced |= self.is_unheard;
        let refuses = self.refuses_place();
        if !self.locked {
            self.place = new.place;
        }
        (self.z, self.locked, self.is_blank) = (new.z, new.locked, false);
        self.is_all_untold = false;
        self.untold.clear();
        if refuses {
            self.keeps_place();
        }
    }

    /// Whether it stays where it is because its user has locked it by a menu, which nobody was told.
    fn refuses_place(&self) -> bool {
        self.locked && self.untold.contains_key("locked")
    }

    fn keeps_place(&mut self) {
        for name in PLACE {
            self.untold.entry(name.into()).or_insert(Untold::Along);
        }
    }

    /// A `move_item`: the angle's sign is wrong; a locked item stays where it is.
    pub fn take_place(&mut self, data: &Value) {
        check_finite(data);
        if self.refuses_place() {
            self.keeps_place();
        }
        if self.locked {
            return;
        }
        let coordinate = |name: &str| data.get(name).and_then(as_f64);
        if let (Some(x), Some(y)) = (coordinate("x_mm"), coordinate("y_mm")) {
            (self.place[0], self.place[1]) = (x, y);
            self.untold.remove("x_mm");
            self.untold.remove("y_mm");
        }
        if let Some(angle) = coordinate("angle_deg") {
            self.place[2] = turned(-angle);
            self.untold.remove("angle_deg");
        }
    }

    /// The whole dictionary, as `to_dict` makes it and commands carry it.
    pub fn report(&self) -> Value {
        let mut data = self.params.clone();
        for (name, value) in PLACE.into_iter().zip(self.place) {
            data.insert(name.into(), number(value));
        }
        if self.kind == "source" {
            data.insert("color_hex".into(), self.reported_color.clone().into());
        }
        data.insert("_type".into(), self.kind.into());
        data.insert("item_uuid".into(), self.id.clone().into());
        data.insert("locked".into(), self.locked.into());
        data.insert("z_value".into(), number(self.z));
        Value::Object(data)
    }

    /// What its user sees: every field, `interfaces` where they really are.
    pub fn shown(&self) -> BTreeMap<String, Value> {
        let offset = self.picture.unwrap_or([0.0, 0.0]);
        let mut shown: BTreeMap<String, Value> =
            self.params.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        if let Some(Value::Array(list)) = shown.get_mut("interfaces") {
            list.iter_mut().for_each(|interface| shift(interface, offset));
        }
        shown.extend(PLACE.iter().zip(self.place).map(|(name, at)| ((*name).into(), number(at))));
        shown.insert("locked".into(), self.locked.into());
        shown.insert("z_value".into(), number(self.z));
        tidy(&mut shown);
        shown
    }

    /// What its rays, or those that meet it, depend on beside the place.
    pub fn optics(&self) -> Vec<Option<Value>> {
        let names = ["interfaces", "size_mm", "n_rays", "spread_deg", "color_hex", "wavelength_nm"];
        names.iter().map(|name| self.params.get(*name).cloned()).collect()
    }

    /// Whether it sends no rays, and does nothing to those that meet it.
    pub fn is_inert(&self) -> bool {
        self.kind == "component" && self.params["interfaces"].as_array().is_none_or(Vec::is_empty)
    }

    /// One field as it is, wherever it is kept.
    pub fn raw_field(&self, name: &str) -> Value {
        match (name, PLACE.iter().position(|field| *field == name)) {
            (_, Some(n)) => number(self.place[n]),
            ("locked", _) => self.locked.into(),
            ("z_value", _) => number(self.z),
            _ => self.params.get(name).cloned().unwrap_or(Value::Null),
        }
    }

    /// The picture is loaded anew; it brings a layer with it.
    pub fn attach_picture(&mut self) -> Option<f64> {
        self.picture = middle_of_picture(&self.params);
        has_picture(&self.params).then(|| if self.picture.is_some() { 0.0 } else { -10.0 })
    }

    /// Sets one field as a dialog or an undo does, whatever kind of field it is.
    pub fn set(&mut self, name: &str, value: Value) {
        match (name, PLACE.iter().position(|field| *field == name)) {
            (_, Some(n)) => self.place[n] = as_f64(&value).expect("a number"),
            ("locked", _) => self.locked = value == true,
            ("z_value", _) => self.z = as_f64(&value).expect("a number"),
            _ => drop(self.params.insert(name.into(), value)),
        }
    }
}

/// What a user sees of an item of the document: what an editor that opened it shows.
pub fn shown(data: &Value) -> BTreeMap<String, Value> {
    Object::build(data).shown()
}

/// What nobody sees or compares: names under which the server sends an item, letters' sizes in a
/// colour, surfaces that are too flat to be painted curved.
fn tidy(shown: &mut BTreeMap<String, Value>) {
    for name in ["uuid", "item_type", "item_uuid"] {
        shown.remove(name);
    }
    if let Some(color) = shown.get_mut("color_hex") {
        *color = lower(color).into();
    }
    if let Some(Value::Array(list)) = shown.get_mut("interfaces") {
        for interface in list {
            if is_odd(&interface["radius_of_curvature_mm"]) {
                interface["is_curved"] = false.into();
            }
        }
    }
}

fn lower(color: &Value) -> String {
    color.as_str().expect("a colour is a string").to_lowercase()
}

/// The registered types.
pub fn known_type(name: &Value) -> Option<&'static str> {
    ["source", "component"].into_iter().find(|kind| name == kind)
}

fn defaults(kind: &str) -> Map<String, Value> {
    let defaults = match kind {
        "source" => json!({"x_mm": -400.0, "y_mm": 0.0, "angle_deg": 0.0, "size_mm": 10.0,
            "n_rays": 9, "spread_deg": 0.0, "color_hex": CRIMSON, "wavelength_nm": 633.0}),
        _ => json!({"x_mm": 0.0, "y_mm": 0.0, "angle_deg": 0.0, "object_height_mm": 60.0,
            "name": null, "image_path": null, "interfaces": [], "category": null}),
    };
    let Value::Object(defaults) = defaults else { unreachable!("it is one") };
    defaults
}

/// The interfaces as the editor holds them: what their type doesn't have is dropped, what they lack is
/// the default.
fn interfaces(list: &Value) -> Vec<Value> {
    let Value::Array(list) = list else {
        assert!(list.is_null(), "`interfaces` is a list");
        return Vec::new();
    };
    list.iter().map(interface).collect()
}

fn interface(data: &Value) -> Value {
    let data = data.as_object().expect("an interface is an object");
    let element = data.get("element_type").and_then(Value::as_str).unwrap_or("");
    let mut whole = match element {
        "lens" => json!({"efl_mm": 100.0}),
        "mirror" => json!({"reflectivity": 100.0}),
        "refractive_interface" => {
            json!({"n1": 1.0, "n2": 1.5, "is_curved": false, "radius_of_curvature_mm": 0.0})
        }
        _ => json!({}),
    };
    for (name, default) in [
        ("element_type", json!("refractive_interface")),
        ("name", json!("")),
        ("x1_mm", json!(0.0)),
        ("y1_mm", json!(0.0)),
        ("x2_mm", json!(10.0)),
        ("y2_mm", json!(0.0)),
    ] {
        whole[name] = default;
    }
    for (name, value) in whole.as_object_mut().expect("it is one") {
        if let Some(given) = data.get(name) {
            *value = given.clone();
        }
    }
    whole
}

fn has_picture(params: &Map<String, Value>) -> bool {
    params.get("image_path").and_then(Value::as_str).is_some_and(|path| !path.is_empty())
}

/// The middle of the first interface, where there is a picture to place by it.
fn middle_of_picture(params: &Map<String, Value>) -> Option<[f64; 2]> {
    let first = params.get("interfaces")?.get(0).filter(|_| has_picture(params))?;
    let at = |name: &str| as_f64(&first[name]).expect("a number");
    Some([(at("x1_mm") + at("x2_mm")) / 2.0, (at("y1_mm") + at("y2_mm")) / 2.0])
}

/// Moves an interface by minus this much.
pub fn shift(interface: &mut Value, by: [f64; 2]) {
    for (name, by) in ["x1_mm", "y1_mm", "x2_mm", "y2_mm"].into_iter().zip([by, by].concat()) {
        interface[name] = number(as_f64(&interface[name]).expect("a number") - by);
    }
}

/// An angle as it is reported.
fn turned(angle: f64) -> f64 {
    angle.rem_euclid(360.0)
}

/// What makes the editor fail must never come.
fn check_finite(data: &Value) {
    for name in ["x_mm", "y_mm", "angle_deg", "n_rays", "spread_deg"] {
        assert!(!data.get(name).is_some_and(is_odd), "{name} is {}", data[name]);
    }
    for interface in data["interfaces"].as_array().into_iter().flatten() {
        let is_flat = is_odd(&interface["radius_of_curvature_mm"]);
        assert!(interface["is_curved"] != true || !is_flat, "it fails to paint {interface}");
    }
}
