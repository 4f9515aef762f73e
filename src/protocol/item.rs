//! The normal form of an item's dictionary. What the editor fails on is refused, left out or
//! changed.
//!
//! The rules were found by giving the editor each wrong value of each field (docs/PROTOCOL.md,
//! "Shapes that are refused"). They apply to items of any type, because a command may name another
//! type than its item has. A dictionary gets the same form in commands, states and files.

use std::cell::RefCell;

use serde_json::value::RawValue;

use super::json::{self, Borrowed, Fields, MAX_DEPTH, Object, write_object};
use super::numbers::Survey;

/// How deep an item may nest. In `sync:state` an item is inside three objects and lists.
pub const MAX_ITEM_DEPTH: usize = MAX_DEPTH - 3;

/// The refusal of an item that nests deeper.
pub(super) const TOO_DEEP: &str = "an item may nest at most 97 levels deep";

/// The largest number of rays: 2^53. An `f64` holds every whole number up to it.
const MAX_RAYS: f64 = 9_007_199_254_740_992.0;
/// The largest coordinate of an interface. The editor squares differences of coordinates, and
/// Python raises an error when a square overflows.
const MAX_COORDINATE: f64 = 1e150;
/// The smallest divisor. The editor divides an item's height by the pixels of its picture and then
/// divides by the result, which must not be 0.
const MIN_DIVISOR: f64 = 1e-300;

/// An item's dictionary in its normal form.
#[derive(Default)]
pub(super) struct NormalItem {
    pub fields: Fields,
    /// True where the normal form differs from what the client wrote.
    pub is_changed: bool,
}

impl NormalItem {
    /// Takes a dictionary as it is: it is in its normal form already, or an earlier version
    /// accepted it.
    pub fn unchanged(data: &Object<'_>) -> Self {
        NormalItem { fields: data.to_fields(), is_changed: false }
    }
}

/// Brings an item's dictionary into its normal form.
///
/// # Errors
/// The reason, where the editor would fail on the item.
pub(super) fn normalise(data: &Object<'_>) -> Result<NormalItem, &'static str> {
    let fields = Fields::with_capacity(data.iter().count());
    let mut normal = NormalItem { fields, is_changed: false };
    for (name, value) in data.iter() {
        let (verdict, why) = match name {
            "interfaces" => (normalise_interfaces(value)?, ""),
            _ => match expected(name) {
                Some((shape, why)) => (shape.check(value), why),
                None => (Verdict::Keep, ""),
            },
        };
        let value = match verdict {
            Verdict::Keep => value.to_owned(),
            Verdict::Replace(value) => {
                normal.is_changed = true;
                value
            }
            Verdict::Drop => {
                normal.is_changed = true;
                continue;
            }
            Verdict::Refuse => return Err(why),
        };
        normal.fields.push((json::name(name), value));
    }
    Ok(normal)
}

/// What the editor needs a field to be. A field is left out only where the editor has a default for
/// it.
#[derive(Clone, Copy)]
enum Shape {
    Place,
    /// A number. An infinite one is left out.
    Angle,
    /// A number. `5.0` is rewritten to `5`; a number with a fraction is left out.
    Count,
    /// A number. 0 is left out.
    Divisor,
    /// A number up to [`MAX_COORDINATE`], or an infinite one, whose square raises no error.
    Coordinate,
    Number,
    NumberOrNull,
    /// A string. Any other value is left out, here and in the following shapes.
    Text,
    TextOrNull,
    /// Any value but a number.
    Colour,
    /// Any value but a list or an object.
    Plain,
    /// Always left out. The editor sets fields as attributes, and this one would replace a method
    /// or an attribute of Python's own.
    Absent,
}

/// What to do with a field.
enum Verdict {
    Keep,
    Replace(Box<RawValue>),
    Drop,
    /// Refuse the whole item.
    Refuse,
}

/// What the editor needs this field of an item to be, and the refusal of an item whose field is
/// wrong. `None` for fields on which the editor never fails.
fn expected(name: &str) -> Option<(Shape, &'static str)> {
    Some(match name {
        "x_mm" => (Shape::Place, "`x_mm` has to be a finite number"),
        "y_mm" => (Shape::Place, "`y_mm` has to be a finite number"),
        "angle_deg" => (Shape::Angle, "`angle_deg` has to be a number"),
        "z_value" => (Shape::NumberOrNull, "`z_value` has to be a number or null"),
        "size_mm" => (Shape::Number, "`size_mm` has to be a number"),
        "n_rays" => (Shape::Count, "`n_rays` has to be a number"),
        "ray_length_mm" => (Shape::Number, "`ray_length_mm` has to be a number"),
        "spread_deg" => (Shape::Angle, "`spread_deg` has to be a number"),
        "wavelength_nm" => (Shape::Number, "`wavelength_nm` has to be a number"),
        "polarization_angle_deg" => (Shape::Number, "`polarization_angle_deg` has to be a number"),
        "custom_jones_ex_real"
        | "custom_jones_ex_imag"
        | "custom_jones_ey_real"
        | "custom_jones_ey_imag" => (Shape::Number, "`custom_jones_…` have to be numbers"),
        "object_height_mm" => (Shape::Divisor, "`object_height_mm` has to be a number"),
        "polarization_type" => (Shape::Text, ""),
        "name" | "image_path" => (Shape::TextOrNull, ""),
        "color_hex" => (Shape::Colour, ""),
        "_type" => (Shape::Plain, ""),
        "get_polarization" => (Shape::Absent, ""),
        _ if name.starts_with("__") && name.ends_with("__") => (Shape::Absent, ""),
        _ => return None,
    })
}

/// What the editor needs this field of an interface to be; see [`expected`].
fn expected_of_interface(name: &str) -> Option<(Shape, &'static str)> {
    Some(match name {
        "x1_mm" | "y1_mm" | "x2_mm" | "y2_mm" => (
            Shape::Coordinate,
            "an interface's `x1_mm`, `y1_mm`, `x2_mm` and `y2_mm` have to be numbers up to 1e150",
        ),
        "element_type" => (Shape::Plain, ""),
        "n2" => (Shape::Divisor, "an interface's `n2` has to be a number"),
        "n1" => (Shape::Number, "an interface's `n1` has to be a number"),
        "efl_mm" => (Shape::Number, "an interface's `efl_mm` has to be a number"),
        "reflectivity" => (Shape::Number, "an interface's `reflectivity` has to be a number"),
        "split_T" | "split_R" => {
            (Shape::Number, "an interface's `split_T` and `split_R` have to be numbers")
        }
        "cutoff_wavelength_nm" | "transition_width_nm" => {
            (Shape::Number, "an interface's wavelengths have to be numbers")
        }
        "pbs_transmission_axis_deg"
        | "phase_shift_deg"
        | "fast_axis_deg"
        | "transmission_axis_deg"
        | "rotation_angle_deg" => (Shape::Number, "an interface's angles have to be numbers"),
        "extinction_ratio_db" => {
            (Shape::Number, "an interface's `extinction_ratio_db` has to be a number")
        }
        _ => return None,
    })
}

impl Shape {
    fn check(self, value: &RawValue) -> Verdict {
        let if_taken = |is_taken| if is_taken { Verdict::Keep } else { Verdict::Refuse };
        let if_kept = |is_kept| if is_kept { Verdict::Keep } else { Verdict::Drop };
        let or_null = value.get() == "null";
        let is_number = json::is_number(value);
        // A string with half a surrogate pair is a string to Python, too.
        let is_text = value.get().starts_with('"');
        match self {
            Shape::Place => if_taken(json::as_number(value).is_some()),
            Shape::Number => if_taken(is_number),
            Shape::NumberOrNull => if_taken(is_number || or_null),
            Shape::Text => if_kept(is_text),
            Shape::TextOrNull => if_kept(is_text || or_null),
            Shape::Colour => if_kept(!is_number),
            Shape::Plain => if_kept(!value.get().starts_with(['[', '{'])),
            Shape::Absent => Verdict::Drop,
            _ if !is_number => Verdict::Refuse,
            Shape::Angle if json::as_number(value).is_none() => Verdict::Drop,
            Shape::Count => count(value),
            Shape::Divisor if json::as_number(value).is_some_and(|n| n.abs() < MIN_DIVISOR) => {
                Verdict::Drop
            }
            Shape::Coordinate => {
                if_taken(json::as_number(value).is_none_or(|number| number.abs() <= MAX_COORDINATE))
            }
            Shape::Angle | Shape::Divisor => Verdict::Keep,
        }
    }
}

fn count(value: &RawValue) -> Verdict {
    let number = json::as_number(value);
    match number.filter(|number| number.fract() == 0.0 && number.abs() <= MAX_RAYS) {
        None => Verdict::Drop,
        Some(_) if value.get().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) => {
            Verdict::Keep
        }
        Some(number) => match RawValue::from_string((number as i64).to_string()) {
            Ok(whole) => Verdict::Replace(whole),
            Err(_) => Verdict::Drop,
        },
    }
}

thread_local! {
    /// The interfaces that were last found to be in their normal form. An editor repeats the same
    /// ones while it drags a component.
    static LAST_NORMAL: RefCell<Box<str>> = RefCell::default();
}

/// The longest interfaces that are remembered, in bytes.
const MAX_CACHED_BYTES: usize = 4096;

/// Brings a component's interfaces, which are `null` or a list of objects, into their normal form.
fn normalise_interfaces(value: &RawValue) -> Result<Verdict, &'static str> {
    const NO_LIST: &str = "`interfaces` has to be a list of objects";
    if value.get() == "null" {
        return Ok(Verdict::Keep);
    }
    let text = value.get();
    if LAST_NORMAL.with_borrow(|last| **last == *text) {
        return Ok(Verdict::Keep);
    }
    // The normal form of the text up to `copied`.
    let mut normal = Vec::new();
    let mut copied = 0;
    let mut refused = None;
    let is_list = json::each_in_list(value, |interface| {
        match Object::parse(interface.get()).map_err(|_| NO_LIST).and_then(normalise_interface) {
            Ok(None) => {}
            Ok(Some(fields)) => {
                let start = interface.get().as_ptr() as usize - text.as_ptr() as usize;
                normal.extend_from_slice(&text.as_bytes()[copied..start]);
                write_object(&mut normal, fields.iter().map(|(name, value)| (&**name, *value)));
                copied = start + interface.get().len();
            }
            Err(why) => {
                refused.get_or_insert(why);
            }
        }
    });
    if let Some(why) = refused.or((!is_list).then_some(NO_LIST)) {
        return Err(why);
    }
    if copied == 0 {
        if text.len() <= MAX_CACHED_BYTES {
            LAST_NORMAL.set(text.into());
        }
        return Ok(Verdict::Keep);
    }
    normal.extend_from_slice(&text.as_bytes()[copied..]);
    let normal = String::from_utf8(normal).ok().and_then(|text| RawValue::from_string(text).ok());
    normal.map(Verdict::Replace).ok_or(NO_LIST)
}

/// Brings an interface into its normal form; `None` where it is in it already. A curved interface
/// with an infinite radius becomes flat, because the editor fails to paint it.
fn normalise_interface(interface: Object<'_>) -> Result<Option<Borrowed<'_>>, &'static str> {
    let mut is_changed = false;
    let is_curved = interface.get("is_curved").is_some_and(is_truthy);
    let radius = interface.get("radius_of_curvature_mm").filter(|_| is_curved);
    if radius.is_some_and(|radius| !json::is_number(radius)) {
        return Err("an interface's `radius_of_curvature_mm` has to be a number");
    }
    let is_flat = radius.is_some_and(|radius| !has_finite_square(radius));
    let mut fields = interface.into_fields();
    let mut refused = None;
    fields.retain_mut(|(name, value)| {
        if is_flat && name == "is_curved" {
            is_changed = true;
            *value = RawValue::FALSE;
        }
        match expected_of_interface(name).map(|(shape, why)| (shape.check(value), why)) {
            Some((Verdict::Drop, _)) => {
                is_changed = true;
                false
            }
            Some((Verdict::Refuse, why)) => {
                refused.get_or_insert(why);
                true
            }
            _ => true,
        }
    });
    match refused {
        Some(why) => Err(why),
        None => Ok(is_changed.then_some(fields)),
    }
}

/// True where the editor, which squares the radius, can draw an arc of it.
fn has_finite_square(radius: &RawValue) -> bool {
    json::as_number(radius).is_some_and(|radius| (radius * radius).is_finite())
}

/// True where Python takes a value for true.
fn is_truthy(value: &RawValue) -> bool {
    match value.get() {
        "false" | "null" | "\"\"" => false,
        text if text.starts_with(['[', '{']) => !text[1..text.len() - 1].trim().is_empty(),
        _ => json::as_number(value) != Some(0.0),
    }
}

/// Checks the position in a command whose data is no item.
///
/// # Errors
/// When it has something else than finite numbers.
pub(super) fn check_place(data: &Object<'_>) -> Result<(), &'static str> {
    let is_wrong = |name| data.get(name).is_some_and(|value| json::as_number(value).is_none());
    match ["x_mm", "y_mm", "angle_deg"].into_iter().any(is_wrong) {
        true => Err("`x_mm`, `y_mm` and `angle_deg` have to be finite numbers"),
        false => Ok(()),
    }
}

/// True where an item's dictionary comes from the editor with all its properties: it has a string
/// `_type`.
pub fn is_whole(fields: &Fields) -> bool {
    fields.iter().any(|(key, value)| &**key == "_type" && json::is_string(value))
}

/// True where an item nests deeper than [`MAX_ITEM_DEPTH`].
pub(super) fn is_too_deep(item: &RawValue) -> bool {
    Survey::new(item.get()).depth > MAX_ITEM_DEPTH
}

/// True where an editor that is sent this path opens only files of its own installation: the path
/// isn't absolute, doesn't lead upwards, and names no drive, host or scheme.
///
/// An empty segment makes a path absolute where it is appended to another one. Windows ignores
/// spaces and dots at the end of a segment.
pub fn is_safe_image_path(path: &str) -> bool {
    let leads_away = |segment: &str| {
        let dots = segment.trim();
        dots.is_empty() || (dots.len() > 1 && dots.bytes().all(|byte| byte == b'.'))
    };
    path.is_empty()
        || (!path.contains(|c: char| c == ':' || c.is_control())
            && !path.split(['/', '\\']).any(leads_away))
}

/// True where a field of an item is an image path that is not relayed. That includes a string with
/// half a surrogate pair, which only Python reads.
pub fn is_unsafe_image_path(key: &str, value: &RawValue) -> bool {
    key == "image_path"
        && value.get() != "null"
        && !is_plain_path(value.get())
        && !json::as_string(value).is_some_and(|path| is_safe_image_path(&path))
}

/// True where a JSON string is a path like those of the editor's library: letters and digits in
/// segments that are not empty and don't begin with a dot. Such a path is safe; other paths may be
/// safe, too.
fn is_plain_path(json: &str) -> bool {
    let Some(path) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut before = b'/';
    let mut goes_on = |byte| {
        let is_plain = match byte {
            b'/' | b'.' => before != b'/',
            b'_' | b'-' | b'@' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        before = byte;
        is_plain
    };
    path.bytes().all(&mut goes_on) && before != b'/'
}

#[cfg(test)]
#[path = "item_tests.rs"]
mod tests;
