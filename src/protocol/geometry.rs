//! Finds the place of a component's interfaces, and moves them.
//!
//! The editor has a default for a coordinate that an interface doesn't name: such an interface goes
//! from 0, 0 to 10, 0.

use serde_json::value::RawValue;

use super::json::{self, Object, write_string};
use super::numbers::shortest;

/// The coordinates of an interface with the editor's defaults.
const COORDINATES: [(&str, f64); 4] =
    [("x1_mm", 0.0), ("y1_mm", 0.0), ("x2_mm", 10.0), ("y2_mm", 0.0)];

/// Adds `dx` to `x1_mm` and `x2_mm` of each interface, and `dy` to `y1_mm` and `y2_mm`. All other
/// bytes stay. Returns `None` where the interfaces are no list of objects, or where a coordinate is
/// no finite number before or after.
///
/// Moving there and back may change the last digit. Compare what comes back with what was sent
/// before you move it.
pub fn shift_interfaces(interfaces: &RawValue, dx: f64, dy: f64) -> Option<Box<RawValue>> {
    with_coordinates(interfaces, |interface| moved(interface, dx, dy))
}

/// Moves the interfaces of a copy back. The copy was sent the interfaces of `original`, moved by
/// `-dx`, `-dy`. An interface that still stands where it was sent gets exactly the original's
/// coordinates.
pub fn shift_back(copy: &RawValue, original: &RawValue, dx: f64, dy: f64) -> Option<Box<RawValue>> {
    let mut sent = Vec::new();
    json::each_in_list(original, |interface| {
        let interface = Object::parse(interface.get()).ok();
        sent.push(interface.and_then(|own| Some((moved(&own, -dx, -dy)?, moved(&own, 0.0, 0.0)?))));
    });
    let mut sent = sent.into_iter();
    with_coordinates(copy, |interface| {
        let shown = moved(interface, 0.0, 0.0)?;
        match sent.next().flatten() {
            Some((sent, own)) if sent == shown => Some(own),
            _ => moved(interface, dx, dy),
        }
    })
}

/// Replaces the coordinates of each interface, in the order of [`COORDINATES`]. All other bytes
/// stay.
fn with_coordinates(
    interfaces: &RawValue,
    mut coordinates: impl FnMut(&Object<'_>) -> Option<[f64; 4]>,
) -> Option<Box<RawValue>> {
    let text = interfaces.get();
    let mut shifted = String::with_capacity(text.len() + 64);
    let mut copied = 0;
    let mut all_are_finite = true;
    let is_list = json::each_in_list(interfaces, |interface| {
        let fields = Object::parse(interface.get()).ok();
        let moved = fields.as_ref().and_then(|fields| Some((fields, coordinates(fields)?)));
        let Some((fields, moved)) = moved else {
            all_are_finite = false;
            return;
        };
        let (values, missing) = replaced(fields, moved);
        for (value, number) in values {
            let start = offset(text, value.get());
            shifted.push_str(&text[copied..start]);
            shifted.push_str(&number);
            copied = start + value.get().len();
        }
        if !missing.is_empty() {
            let end = offset(text, interface.get()) + interface.get().len() - 1;
            shifted.push_str(text[copied..end].trim_end());
            shifted.push_str(if shifted.ends_with('{') { &missing[1..] } else { &missing });
            copied = end;
        }
    });
    shifted.push_str(&text[copied..]);
    if !is_list || !all_are_finite {
        return None;
    }
    RawValue::from_string(shifted).ok()
}

/// The midpoint of the first interface; `None` where there is none, or where a coordinate is no
/// finite number.
pub fn first_middle(interfaces: &RawValue) -> Option<(f64, f64)> {
    middle(&Object::parse(json::first_in_list(interfaces)?.get()).ok()?)
}

fn middle(interface: &Object<'_>) -> Option<(f64, f64)> {
    let coordinate = |place: usize| {
        let (name, default) = COORDINATES[place];
        interface.get(name).map_or(Some(default), json::as_number)
    };
    let middle = |a, b| Some((coordinate(a)? + coordinate(b)?) / 2.0).filter(|m| m.is_finite());
    Some((middle(0, 2)?, middle(1, 3)?))
}

/// The coordinates of an interface, moved; `None` where one is no finite number before or after.
fn moved(interface: &Object<'_>, dx: f64, dy: f64) -> Option<[f64; 4]> {
    let mut coordinates = [0.0; 4];
    for (place, (name, default)) in COORDINATES.into_iter().enumerate() {
        let by = if name.starts_with('x') { dx } else { dy };
        let value = interface.get(name).map_or(Some(default), json::as_number)?;
        coordinates[place] = value + by;
    }
    coordinates.iter().all(|number| number.is_finite()).then_some(coordinates)
}

/// Returns the interface's values that are replaced, in the order of the text, each with its new
/// coordinate; and the coordinates it doesn't name, as JSON with a comma before each.
fn replaced<'a>(
    interface: &Object<'a>,
    coordinates: [f64; 4],
) -> (Vec<(&'a RawValue, String)>, String) {
    let mut values: Vec<(&RawValue, String)> = Vec::with_capacity(COORDINATES.len());
    let mut missing = Vec::new();
    for ((name, _), number) in COORDINATES.into_iter().zip(coordinates) {
        let number = shortest(number);
        match interface.get(name) {
            Some(value) => values.push((value, number)),
            None => {
                missing.push(b',');
                write_string(&mut missing, name);
                missing.push(b':');
                missing.extend_from_slice(number.as_bytes());
            }
        }
    }
    values.sort_by_key(|(value, _)| value.get().as_ptr());
    (values, String::from_utf8(missing).unwrap_or_default())
}

/// The offset of `part` in `text`, in bytes. `part` has to be a slice of `text`.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// Whether two points, in millimetres, are the same but for rounding.
pub fn is_near(a: (f64, f64), b: (f64, f64)) -> bool {
    (a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn shifted(interfaces: &str, dx: f64, dy: f64) -> Option<String> {
        shift_interfaces(&raw(interfaces), dx, dy).map(|shifted| shifted.get().to_owned())
    }

    #[test]
    fn interfaces_are_moved_and_keep_all_other_bytes() {
        let whole =
            r#"[ {"n1" : 1.50,"y2_mm":-27.95, "x1_mm":0,"y1_mm":27.95,"x2_mm":0.5,"name":"ü"} ]"#;
        let moved = r#"[ {"n1" : 1.50,"y2_mm":-26.95, "x1_mm":-0.25,"y1_mm":28.95,"x2_mm":0.25,"name":"ü"} ]"#;
        assert_eq!(shifted(whole, -0.25, 1.0).as_deref(), Some(moved));
        for (interfaces, expected) in [
            ("[]", "[]"),
            ("[ ]", "[ ]"),
            ("[{}]", r#"[{"x1_mm":1.0,"y1_mm":2.0,"x2_mm":11.0,"y2_mm":2.0}]"#),
            (
                r#"[{"x1_mm":-1,"y1_mm":1e1,"x2_mm":0,"y2_mm":-2 },{"x2_mm":3 , "efl_mm":7 }]"#,
                r#"[{"x1_mm":0.0,"y1_mm":12.0,"x2_mm":1.0,"y2_mm":0.0 },{"x2_mm":4.0 , "efl_mm":7,"x1_mm":1.0,"y1_mm":2.0,"y2_mm":2.0}]"#,
            ),
            (
                r#"[{"x1_mm":9,"x1_mm":1,"x2_mm":1,"y1_mm":1,"y2_mm":1}]"#,
                r#"[{"x1_mm":9,"x1_mm":2.0,"x2_mm":2.0,"y1_mm":3.0,"y2_mm":3.0}]"#,
            ),
        ] {
            assert_eq!(shifted(interfaces, 1.0, 2.0).as_deref(), Some(expected), "{interfaces}");
        }
    }

    #[test]
    fn what_has_no_finite_coordinates_is_not_moved() {
        for interfaces in [
            "7",
            "{}",
            "null",
            "[7]",
            "[{},[]]",
            r#"[{"x1_mm":"1"}]"#,
            r#"[{},{"y2_mm":null}]"#,
            r#"[{"x2_mm":1e999}]"#,
            r#"[{"x2_mm":1.7e308}]"#,
        ] {
            assert_eq!(shifted(interfaces, 1e308, 0.0), None, "{interfaces}");
        }
    }

    #[test]
    fn the_middle_is_the_first_interfaces() {
        for (interfaces, middle) in [
            (r#"[{"x1_mm":0.0,"y1_mm":27.95,"x2_mm":0.0,"y2_mm":-27.95}]"#, Some((0.0, 0.0))),
            (r#"[{"x1_mm":1,"y1_mm":2,"x2_mm":2,"y2_mm":4},{"x1_mm":"a"}]"#, Some((1.5, 3.0))),
            ("[{}]", Some((5.0, 0.0))),
            ("[]", None),
            ("null", None),
            ("[7]", None),
            ("{}", None),
            (r#"[{"x1_mm":"a"},{}]"#, None),
            (r#"[{"x1_mm":1e999}]"#, None),
            (r#"[{"x1_mm":1.7e308,"x2_mm":1.7e308}]"#, None),
        ] {
            assert_eq!(first_middle(&raw(interfaces)), middle, "{interfaces}");
        }
    }

    #[test]
    fn there_and_back_is_where_it_was() {
        let there = r#"[{"x1_mm":12.7,"y1_mm":25.5,"x2_mm":12.7,"y2_mm":-25.5}]"#;
        let (x, y) = first_middle(&raw(there)).unwrap();
        let sent = shift_interfaces(&raw(there), -x, -y).unwrap();
        assert_eq!(first_middle(&sent), Some((0.0, 0.0)));
        assert_eq!(shift_interfaces(&sent, x, y).unwrap().get(), there);
    }
}
