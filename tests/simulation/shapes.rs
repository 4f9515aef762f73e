//! Items in the shapes that the real editor writes; every number in them is there once.

use serde_json::{Value, json};

use crate::python::{INFINITY, MINUS_INFINITY, NAN};
use crate::random::Random;

/// Gives every value that somebody chooses: none comes twice.
#[derive(Debug, Default)]
pub struct Values(u64);

impl Values {
    pub fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// A number that is no sum of halves: shifted there and back it may lose its last digit.
    pub fn number(&mut self) -> f64 {
        self.next() as f64 + 0.1
    }

    pub fn place(&mut self) -> [f64; 2] {
        [self.number(), -self.number()]
    }

    pub fn angle(&mut self) -> f64 {
        self.next() as f64 * 0.37 % 360.0
    }

    pub fn color(&mut self) -> String {
        format!("#{:06x}", self.next() + 0x10_0000)
    }
}

/// An item as the menu or the library makes it.
pub fn item(id: &str, random: &mut Random, values: &mut Values) -> Value {
    let [x, y] = values.place();
    let place = json!({"item_uuid": id, "x_mm": x, "y_mm": y, "angle_deg": 0.0, "locked": false,
        "z_value": 0.0});
    let made = match random.below(7) {
        0 | 1 => source(random, values),
        2 => component("Lens", "", &[[0.0, 27.95, 0.0, -27.95]], "lens", values),
        3 => component("Lens", "lens_1_inch", &[[0.0, 12.7, 0.0, -12.7]], "lens", values),
        4 => component("Mirror", "mirror_2_inch", &[[-25.7, 25.4, -25.7, -25.4]], "mirror", values),
        5 => {
            let sides = [[-24.87, 5.0, -24.87, 1.8], [24.87, 5.0, 24.87, 1.8]];
            component("Window", "slm_200", &sides, "refractive_interface", values)
        }
        _ => component("Table", "laser_table", &[], "", values),
    };
    with_all(made, &place)
}

fn source(random: &mut Random, values: &mut Values) -> Value {
    let color = if random.chance(70) { values.color() } else { "#dc143c".into() };
    json!({"_type": "source", "size_mm": values.number(), "n_rays": values.next(),
        "spread_deg": 0.0, "color_hex": color, "wavelength_nm": 633.0})
}

fn component(
    name: &str,
    picture: &str,
    lines: &[[f64; 4]],
    element: &str,
    values: &mut Values,
) -> Value {
    let interfaces = lines.iter().map(|[x1, y1, x2, y2]| {
        let line = json!({"x1_mm": x1, "y1_mm": y1, "x2_mm": x2, "y2_mm": y2,
            "element_type": element, "name": ""});
        let more = match element {
            "lens" => json!({"efl_mm": values.number()}),
            "mirror" => json!({"reflectivity": 99.5}),
            // A flat surface's radius is infinite.
            _ => json!({"n1": 1.0, "n2": values.number(), "is_curved": false,
                "radius_of_curvature_mm": INFINITY}),
        };
        with_all(line, &more)
    });
    let interfaces: Vec<Value> = interfaces.collect();
    let path = match picture {
        "" => String::new(),
        picture => format!("objects/library/{picture}/images/{picture}.png"),
    };
    json!({"_type": "component", "name": format!("{name} {}", values.next()),
        "object_height_mm": values.number(), "image_path": path, "interfaces": interfaces,
        "category": "any"})
}

/// The same item with something in it that is rare.
pub fn make_odd(item: &mut Value, random: &mut Random) {
    match (random.below(8), item["_type"] == "source") {
        (0, true) => item["size_mm"] = NAN.into(),
        (1, true) => item["size_mm"] = INFINITY.into(),
        (2, true) => item["n_rays"] = INFINITY.into(),
        (3, true) => item["spread_deg"] = NAN.into(),
        (0, false) => item["object_height_mm"] = MINUS_INFINITY.into(),
        (1, false) => item["z_value"] = MINUS_INFINITY.into(),
        (2, false) => item["name"] = NAN.into(),
        (3, false) => item["image_path"] = "//evil/share/picture.png".into(),
        (4, false) => item["image_path"] = "/home/ann/mine.png".into(),
        (5, false) if item["interfaces"][0]["n2"].is_number() => {
            item["interfaces"][0]["is_curved"] = true.into();
        }
        (7, _) if random.chance(30) => item["x_mm"] = INFINITY.into(),
        _ => item["z_value"] = INFINITY.into(),
    }
}

fn with_all(mut object: Value, more: &Value) -> Value {
    let more = more.as_object().expect("an object").clone();
    object.as_object_mut().expect("an object").extend(more);
    object
}
