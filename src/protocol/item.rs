//! One item's dictionary as a client sends it: what of it is taken, and in which form.
//!
//! The same dictionary always gets the same form, whoever sends it, and in whatever message.

use serde_json::value::RawValue;

use super::geometry::COORDINATES;
use super::json::{self, DEEPEST, Fields, Object};
use super::numbers::Survey;

/// How deep an item may nest: in `sync:state` it stands in three objects and lists.
pub const DEEPEST_ITEM: usize = DEEPEST - 3;

/// Why an item isn't taken that nests deeper.
pub(super) const TOO_DEEP: &str = "an item may nest at most 97 levels deep";

/// What the editor turns into a whole number of rays or an angle: it fails on an infinite one, and has a
/// default for each.
const LEFT_OUT_IF_INFINITE: [&str; 3] = ["angle_deg", "n_rays", "spread_deg"];

/// An item's dictionary as it is taken.
#[derive(Default)]
pub(super) struct Taken {
    pub fields: Fields,
    /// It is not what the client wrote.
    pub is_changed: bool,
}

/// Takes an item's dictionary.
///
/// # Errors
/// Why it can't be taken: the editor would fail on it.
pub(super) fn take(data: &Object<'_>) -> Result<Taken, &'static str> {
    let mut taken = Taken { fields: Fields::new(), is_changed: false };
    for (name, value) in data.iter() {
        let value = match name {
            "x_mm" | "y_mm" if json::as_number(value).is_none() => {
                return Err("`x_mm` and `y_mm` have to be finite numbers");
            }
            name if LEFT_OUT_IF_INFINITE.contains(&name) => {
                if !json::is_number(value) {
                    return Err("`angle_deg`, `n_rays` and `spread_deg` have to be numbers");
                }
                if json::as_number(value).is_none() {
                    taken.is_changed = true;
                    continue;
                }
                value.to_owned()
            }
            "interfaces" => match interfaces(value)? {
                Some(flat) => {
                    taken.is_changed = true;
                    flat
                }
                None => value.to_owned(),
            },
            _ => value.to_owned(),
        };
        taken.fields.push((name.into(), value));
    }
    Ok(taken)
}

/// Checks a component's interfaces. Those whose radius is infinite and that are curved are flat: returns
/// the interfaces with these changed, `None` where there are none.
fn interfaces(value: &RawValue) -> Result<Option<Box<RawValue>>, &'static str> {
    const NO_LIST: &str = "`interfaces` has to be a list of objects";
    if value.get() == "null" {
        return Ok(None);
    }
    let text = value.get();
    let mut flat = String::new();
    let mut copied = 0;
    let mut wrong = None;
    let is_list = json::each_in_list(value, |interface| {
        let Ok(interface) = Object::parse(interface.get()) else {
            wrong.get_or_insert(NO_LIST);
            return;
        };
        if let Err(why) = check_coordinates(&interface) {
            wrong.get_or_insert(why);
        }
        let Some(is_curved) = interface.get("is_curved").filter(|value| is_truthy(value)) else {
            return;
        };
        match interface.get("radius_of_curvature_mm") {
            Some(radius) if !json::is_number(radius) => {
                wrong.get_or_insert("`radius_of_curvature_mm` has to be a number");
            }
            Some(radius) if !has_finite_square(radius) => {
                let start = is_curved.get().as_ptr() as usize - text.as_ptr() as usize;
                flat.push_str(&text[copied..start]);
                flat.push_str("false");
                copied = start + is_curved.get().len();
            }
            _ => {}
        }
    });
    if let Some(why) = wrong.or((!is_list).then_some(NO_LIST)) {
        return Err(why);
    }
    if copied == 0 {
        return Ok(None);
    }
    flat.push_str(&text[copied..]);
    Ok(RawValue::from_string(flat).ok())
}

fn check_coordinates(interface: &Object<'_>) -> Result<(), &'static str> {
    let is_wrong =
        |(name, _): (&str, f64)| interface.get(name).is_some_and(|v| !json::is_number(v));
    match COORDINATES.into_iter().any(is_wrong) {
        true => Err("`x1_mm`, `y1_mm`, `x2_mm` and `y2_mm` of an interface have to be numbers"),
        false => Ok(()),
    }
}

/// Whether the editor can draw an arc of this radius: it squares it.
fn has_finite_square(radius: &RawValue) -> bool {
    json::as_number(radius).is_some_and(|radius| (radius * radius).is_finite())
}

/// Whether Python takes a value for true.
fn is_truthy(value: &RawValue) -> bool {
    match value.get() {
        "false" | "null" | "\"\"" => false,
        text if text.starts_with(['[', '{']) => !text[1..text.len() - 1].trim().is_empty(),
        _ => json::as_number(value) != Some(0.0),
    }
}

/// Whether an item's dictionary is the editor's own, with all its properties.
pub fn is_whole(fields: &Fields) -> bool {
    fields.iter().any(|(key, value)| &**key == "_type" && json::is_string(value))
}

/// Whether an item nests too deep to be taken.
pub(super) fn is_too_deep(item: &RawValue) -> bool {
    Survey::of(item.get()).depth > DEEPEST_ITEM
}

/// Whether an editor that is sent this path opens nothing but a file of its own installation: it isn't
/// absolute, doesn't lead upwards, and names no drive, host or scheme.
///
/// An empty segment makes a path absolute where it is appended to another one. Windows ignores spaces and
/// dots at the end of a segment.
pub fn is_safe_image_path(path: &str) -> bool {
    let leads_away = |segment: &str| {
        let dots = segment.trim();
        dots.is_empty() || (dots.len() > 1 && dots.bytes().all(|byte| byte == b'.'))
    };
    path.is_empty()
        || (!path.contains(|c: char| c == ':' || c.is_control())
            && !path.split(['/', '\\']).any(leads_away))
}

/// Whether a field of an item is an image path that others are not sent.
pub fn has_unsafe_image_path(key: &str, value: &RawValue) -> bool {
    key == "image_path" && json::as_string(value).is_some_and(|path| !is_safe_image_path(&path))
}
