//! Where a component's interfaces stand, and the same interfaces moved.
//!
//! A coordinate that an interface doesn't name is what the editor takes for it: the interface goes from
//! 0, 0 to 10, 0.

use serde_json::value::RawValue;

use super::json::{self, Object, write_string};
use super::numbers::shortest;

/// The coordinates of an interface, with what the editor takes for a missing one.
pub(super) const COORDINATES: [(&str, f64); 4] =
    [("x1_mm", 0.0), ("y1_mm", 0.0), ("x2_mm", 10.0), ("y2_mm", 0.0)];

/// The interfaces with `dx` added to `x1_mm` and `x2_mm` of each, `dy` to `y1_mm` and `y2_mm`; all other
/// bytes stay. `None` where they are no list of objects, or a coordinate is or becomes no finite number.
///
/// Moving there and back may change the last digit: compare what comes back with what was sent before
/// moving it.
pub fn shift_interfaces(interfaces: &RawValue, dx: f64, dy: f64) -> Option<Box<RawValue>> {
    let text = interfaces.get();
    let mut shifted = String::with_capacity(text.len() + 64);
    let mut copied = 0;
    let mut all_are_finite = true;
    let is_list = json::each_in_list(interfaces, |interface| {
        let moved = Object::parse(interface.get()).ok().and_then(|fields| shift(&fields, dx, dy));
        let Some((values, missing)) = moved else {
            all_are_finite = false;
            return;
        };
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

/// The middle of the first interface; `None` where there is none, or it has no finite coordinates.
pub fn first_middle(interfaces: &RawValue) -> Option<(f64, f64)> {
    let mut first = None;
    json::each_in_list(interfaces, |interface| {
        first.get_or_insert(Object::parse(interface.get()).ok().and_then(|fields| middle(&fields)));
    });
    first?
}

fn middle(interface: &Object<'_>) -> Option<(f64, f64)> {
    let coordinate = |place: usize| {
        let (name, default) = COORDINATES[place];
        interface.get(name).map_or(Some(default), json::as_number)
    };
    let middle = |a, b| Some((coordinate(a)? + coordinate(b)?) / 2.0).filter(|m| m.is_finite());
    Some((middle(0, 2)?, middle(1, 3)?))
}

/// The moved coordinates of an interface by the values they replace, in the order of the text, and those
/// that it doesn't have, as JSON with a comma before each.
fn shift<'a>(
    interface: &Object<'a>,
    dx: f64,
    dy: f64,
) -> Option<(Vec<(&'a RawValue, String)>, String)> {
    let mut values: Vec<(&RawValue, String)> = Vec::with_capacity(COORDINATES.len());
    let mut missing = Vec::new();
    for (name, default) in COORDINATES {
        let by = if name.starts_with('x') { dx } else { dy };
        let value = interface.get(name);
        let moved = value.map_or(Some(default), json::as_number)? + by;
        let number = Some(moved).filter(|moved| moved.is_finite()).map(shortest)?;
        match value {
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
    Some((values, String::from_utf8(missing).unwrap_or_default()))
}

/// Where a part of a text begins in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}
