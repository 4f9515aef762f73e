//! One item's dictionary as a client sends it: what of it is taken, and in which form.
//!
//! The same dictionary always gets the same form, whoever sends it, and in whatever message.

use serde_json::value::RawValue;

use super::json::{self, Borrowed, DEEPEST, Fields, Object};
use super::numbers::Survey;
use super::outbound::write_object;

/// How deep an item may nest: in `sync:state` it stands in three objects and lists.
pub const DEEPEST_ITEM: usize = DEEPEST - 3;

/// Why an item isn't taken that nests deeper.
pub(super) const TOO_DEEP: &str = "an item may nest at most 97 levels deep";

/// The largest number of rays that is taken: every parser reads it as it is written.
const MOST_RAYS: f64 = 9_007_199_254_740_992.0;
/// The editor squares differences of coordinates, which has to give a number.
const FARTHEST: f64 = 1e150;
/// The editor divides by what is larger, after dividing it by the size of a picture.
const NEXT_TO_NOTHING: f64 = 1e-300;

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
        let (verdict, why) = match name {
            "interfaces" => (take_interfaces(value)?, ""),
            _ => match expected(name) {
                Some((shape, why)) => (shape.judge(value), why),
                None => (Verdict::Taken, ""),
            },
        };
        let value = match verdict {
            Verdict::Taken => value.to_owned(),
            Verdict::Instead(value) => {
                taken.is_changed = true;
                value
            }
            Verdict::LeftOut => {
                taken.is_changed = true;
                continue;
            }
            Verdict::Refused => return Err(why),
        };
        taken.fields.push((name.into(), value));
    }
    Ok(taken)
}

/// What a field has to be so that the editor doesn't fail on it. Of an infinite number, a fraction or a
/// zero it has a default instead wherever the field is only left out for it.
#[derive(Clone, Copy)]
enum Shape {
    /// A finite number.
    Place,
    /// A number; left out where it is infinite.
    Angle,
    /// A number, written as a whole one where it is whole, else left out.
    Count,
    /// A number; left out where it is 0.
    Divisor,
    /// A number whose square is one, too, or infinite.
    Coordinate,
    Number,
    NumberOrNull,
    Text,
    TextOrNull,
    /// Anything but a number.
    Colour,
    /// Neither a list nor an object.
    Plain,
    /// There can't be such a field: it would take the place of something of Python's.
    Nothing,
}

/// What becomes of a field.
enum Verdict {
    Taken,
    Instead(Box<RawValue>),
    LeftOut,
    /// The whole item can't be taken.
    Refused,
}

/// What is expected of a field that the editor knows, in items of any type, and what is said where it
/// isn't so.
fn expected(name: &str) -> Option<(Shape, &'static str)> {
    use Shape::{Angle, Colour, Count, Divisor, Nothing, Number, NumberOrNull, Place, Plain};
    use Shape::{Text, TextOrNull};
    Some(match name {
        "x_mm" => (Place, "`x_mm` has to be a finite number"),
        "y_mm" => (Place, "`y_mm` has to be a finite number"),
        "angle_deg" => (Angle, "`angle_deg` has to be a number"),
        "z_value" => (NumberOrNull, "`z_value` has to be a number or null"),
        "size_mm" => (Number, "`size_mm` has to be a number"),
        "n_rays" => (Count, "`n_rays` has to be a number"),
        "ray_length_mm" => (Number, "`ray_length_mm` has to be a number"),
        "spread_deg" => (Angle, "`spread_deg` has to be a number"),
        "wavelength_nm" => (Number, "`wavelength_nm` has to be a number"),
        "polarization_angle_deg" => (Number, "`polarization_angle_deg` has to be a number"),
        "custom_jones_ex_real" => (Number, "`custom_jones_ex_real` has to be a number"),
        "custom_jones_ex_imag" => (Number, "`custom_jones_ex_imag` has to be a number"),
        "custom_jones_ey_real" => (Number, "`custom_jones_ey_real` has to be a number"),
        "custom_jones_ey_imag" => (Number, "`custom_jones_ey_imag` has to be a number"),
        "polarization_type" => (Text, "`polarization_type` has to be a string"),
        "color_hex" => (Colour, "`color_hex` has to be a string"),
        "object_height_mm" => (Divisor, "`object_height_mm` has to be a number"),
        "name" => (TextOrNull, "`name` has to be a string or null"),
        "image_path" => (TextOrNull, "`image_path` has to be a string or null"),
        "_type" => (Plain, "`_type` has to be a string"),
        "get_polarization" => (Nothing, "no field can have the name `get_polarization`"),
        _ if name.starts_with("__") && name.ends_with("__") => {
            (Nothing, "no field's name can begin and end with two underscores")
        }
        _ => return None,
    })
}

/// The same for a field of an interface.
fn expected_of_interface(name: &str) -> Option<(Shape, &'static str)> {
    use Shape::{Coordinate, Divisor, Number, Plain};
    Some(match name {
        "x1_mm" | "y1_mm" | "x2_mm" | "y2_mm" => {
            (Coordinate, "an interface's `x1_mm`, `y1_mm`, `x2_mm`, `y2_mm` have to be numbers")
        }
        "element_type" => (Plain, "an interface's `element_type` has to be a string"),
        "n2" => (Divisor, "an interface's `n2` has to be a number"),
        "n1" => (Number, "an interface's `n1` has to be a number"),
        "efl_mm" => (Number, "an interface's `efl_mm` has to be a number"),
        "reflectivity" => (Number, "an interface's `reflectivity` has to be a number"),
        "split_T" | "split_R" => {
            (Number, "an interface's `split_T` and `split_R` have to be numbers")
        }
        "cutoff_wavelength_nm" | "transition_width_nm" => (
            Number,
            "an interface's `cutoff_wavelength_nm` and `transition_width_nm` have to be numbers",
        ),
        "pbs_transmission_axis_deg"
        | "phase_shift_deg"
        | "fast_axis_deg"
        | "transmission_axis_deg"
        | "rotation_angle_deg" => (Number, "an interface's angles have to be numbers"),
        "extinction_ratio_db" => {
            (Number, "an interface's `extinction_ratio_db` has to be a number")
        }
        _ => return None,
    })
}

impl Shape {
    fn judge(self, value: &RawValue) -> Verdict {
        let if_taken = |is_taken| if is_taken { Verdict::Taken } else { Verdict::Refused };
        let or_null = value.get() == "null";
        let is_number = json::is_number(value);
        match self {
            Shape::Place => if_taken(json::as_number(value).is_some()),
            Shape::Number => if_taken(is_number),
            Shape::NumberOrNull => if_taken(is_number || or_null),
            Shape::Text => if_taken(json::is_string(value)),
            Shape::TextOrNull => if_taken(json::is_string(value) || or_null),
            Shape::Colour => if_taken(!is_number),
            Shape::Plain => if_taken(!value.get().starts_with(['[', '{'])),
            Shape::Nothing => Verdict::Refused,
            _ if !is_number => Verdict::Refused,
            Shape::Angle if json::as_number(value).is_none() => Verdict::LeftOut,
            Shape::Count => count(value),
            Shape::Divisor if json::as_number(value).is_some_and(|n| n.abs() < NEXT_TO_NOTHING) => {
                Verdict::LeftOut
            }
            Shape::Coordinate => {
                if_taken(json::as_number(value).is_none_or(|number| number.abs() <= FARTHEST))
            }
            Shape::Angle | Shape::Divisor => Verdict::Taken,
        }
    }
}

fn count(value: &RawValue) -> Verdict {
    let number = json::as_number(value);
    match number.filter(|number| number.fract() == 0.0 && number.abs() <= MOST_RAYS) {
        None => Verdict::LeftOut,
        Some(_) if value.get().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) => {
            Verdict::Taken
        }
        Some(number) => match RawValue::from_string((number as i64).to_string()) {
            Ok(whole) => Verdict::Instead(whole),
            Err(_) => Verdict::LeftOut,
        },
    }
}

/// Takes a component's interfaces: `null`, or a list of objects.
fn take_interfaces(value: &RawValue) -> Result<Verdict, &'static str> {
    const NO_LIST: &str = "`interfaces` has to be a list of objects";
    if value.get() == "null" {
        return Ok(Verdict::Taken);
    }
    let text = value.get();
    // As it is taken, as far as `copied` in the text.
    let mut taken = Vec::new();
    let mut copied = 0;
    let mut refused = None;
    let is_list = json::each_in_list(value, |interface| {
        match Object::parse(interface.get()).map_err(|_| NO_LIST).and_then(take_interface) {
            Ok(None) => {}
            Ok(Some(fields)) => {
                let start = interface.get().as_ptr() as usize - text.as_ptr() as usize;
                taken.extend_from_slice(&text.as_bytes()[copied..start]);
                write_object(&mut taken, fields.iter().map(|(name, value)| (&**name, *value)));
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
        return Ok(Verdict::Taken);
    }
    taken.extend_from_slice(&text.as_bytes()[copied..]);
    let taken = String::from_utf8(taken).ok().and_then(|taken| RawValue::from_string(taken).ok());
    taken.map(Verdict::Instead).ok_or(NO_LIST)
}

/// The fields of an interface as they are taken; `None` where it is taken as it is. An interface that
/// has an infinite radius and is curved nevertheless is not: the editor fails to paint it.
fn take_interface(interface: Object<'_>) -> Result<Option<Borrowed<'_>>, &'static str> {
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
        match expected_of_interface(name).map(|(shape, why)| (shape.judge(value), why)) {
            Some((Verdict::LeftOut, _)) => {
                is_changed = true;
                false
            }
            Some((Verdict::Refused, why)) => {
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

/// What a command of another action says of a place has to be finite numbers.
pub(super) fn check_place(data: &Object<'_>) -> Result<(), &'static str> {
    let is_wrong = |name| data.get(name).is_some_and(|value| json::as_number(value).is_none());
    match ["x_mm", "y_mm", "angle_deg"].into_iter().any(is_wrong) {
        true => Err("`x_mm`, `y_mm` and `angle_deg` have to be finite numbers"),
        false => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The item as it is taken, or `None`.
    fn taken(item: &str) -> Option<String> {
        let fields = Object::parse(item).unwrap();
        let Taken { fields, is_changed } = take(&fields).ok()?;
        let mut json = Vec::new();
        write_object(&mut json, fields.iter().map(|(key, value)| (&**key, &**value)));
        let taken = String::from_utf8(json).unwrap();
        assert_eq!(is_changed, taken != item, "{item}");
        Some(taken)
    }

    #[test]
    fn what_the_editor_does_not_fail_on_is_taken_as_it_is() {
        for item in [
            "{}",
            r#"{"x_mm":-400.0,"y_mm":0,"angle_deg":-0.0,"locked":"yes","z_value":null,"size_mm":1e999}"#,
            r#"{"_type":"source","n_rays":5,"spread_deg":0,"color_hex":"no colour","ray_length_mm":-1e999}"#,
            r#"{"_type":7,"name":null,"category":7,"notes":[],"image_path":null,"interfaces":null}"#,
            r#"{"image_path":"/etc/passwd","mm_per_pixel":"x","reference_line_mm":{},"_x":1,"__x":1}"#,
            r#"{"interfaces":[{"x1_mm":1e999,"efl_mm":1e999,"n2":1e999, "other":"x" }, {}]}"#,
            r#"{"interfaces":[{"is_curved":false,"radius_of_curvature_mm":1e999}]}"#,
            r#"{"interfaces":[{"is_curved":[],"radius_of_curvature_mm":null}]}"#,
            r#"{"interfaces":[{"is_curved":true,"radius_of_curvature_mm":-1.3e154}]}"#,
            r#"{"interfaces":[{"radius_of_curvature_mm":1e999}]}"#,
        ] {
            assert_eq!(taken(item).as_deref(), Some(item));
        }
    }

    #[test]
    fn what_the_editor_has_a_default_for_is_left_out_or_mended() {
        for (item, expected) in [
            (r#"{"angle_deg":1e999,"x_mm":1}"#, r#"{"x_mm":1}"#),
            (r#"{"spread_deg":-1e999}"#, "{}"),
            (r#"{"n_rays":1e999,"a":1.50}"#, r#"{"a":1.50}"#),
            (r#"{"n_rays":5.0}"#, r#"{"n_rays":5}"#),
            (r#"{"n_rays":1e2}"#, r#"{"n_rays":100}"#),
            (r#"{"n_rays":5.5}"#, "{}"),
            (r#"{"n_rays":9007199254740993}"#, r#"{"n_rays":9007199254740993}"#),
            (r#"{"n_rays":90071992547409930}"#, "{}"),
            (r#"{"object_height_mm":0}"#, "{}"),
            (r#"{"object_height_mm":-5e-324}"#, "{}"),
            (
                r#"{"interfaces":[{"n2":0.0,"n1" : 1.0}, {"n1" : 2.0}]}"#,
                r#"{"interfaces":[{"n1":1.0}, {"n1" : 2.0}]}"#,
            ),
            (
                r#"{"interfaces":[ {}, {"is_curved":true,"radius_of_curvature_mm":1e999} ]}"#,
                r#"{"interfaces":[ {}, {"is_curved":false,"radius_of_curvature_mm":1e999} ]}"#,
            ),
            (
                r#"{"interfaces":[{"radius_of_curvature_mm":-1e999,"is_curved":1}]}"#,
                r#"{"interfaces":[{"radius_of_curvature_mm":-1e999,"is_curved":false}]}"#,
            ),
            (
                r#"{"interfaces":[{"radius_of_curvature_mm":1.4e154,"is_curved":"yes"}]}"#,
                r#"{"interfaces":[{"radius_of_curvature_mm":1.4e154,"is_curved":false}]}"#,
            ),
        ] {
            assert_eq!(taken(item).as_deref(), Some(expected), "{item}");
            assert_eq!(taken(expected).as_deref(), Some(expected), "{item} twice");
        }
    }

    #[test]
    fn what_the_editor_fails_on_is_not_taken() {
        let numbers = [
            "x_mm",
            "y_mm",
            "angle_deg",
            "z_value",
            "size_mm",
            "n_rays",
            "ray_length_mm",
            "spread_deg",
            "wavelength_nm",
            "polarization_angle_deg",
            "custom_jones_ex_real",
            "custom_jones_ex_imag",
            "custom_jones_ey_real",
            "custom_jones_ey_imag",
            "object_height_mm",
        ];
        for name in numbers {
            for value in [r#""1""#, "null", "true", "[1]", "{}"] {
                if (name, value) != ("z_value", "null") {
                    assert_eq!(taken(&format!(r#"{{"{name}":{value}}}"#)), None, "{name}: {value}");
                }
            }
        }
        let numbers_of_interfaces = [
            "x1_mm",
            "y1_mm",
            "x2_mm",
            "y2_mm",
            "efl_mm",
            "reflectivity",
            "split_T",
            "split_R",
            "pbs_transmission_axis_deg",
            "cutoff_wavelength_nm",
            "transition_width_nm",
            "n1",
            "n2",
            "phase_shift_deg",
            "fast_axis_deg",
            "transmission_axis_deg",
            "extinction_ratio_db",
            "rotation_angle_deg",
        ];
        for name in numbers_of_interfaces {
            for value in [r#""1""#, "null", "false", "[1]", "{}"] {
                let item = format!(r#"{{"interfaces":[{{}},{{"{name}":{value}}}]}}"#);
                assert_eq!(taken(&item), None, "{item}");
            }
        }
        for item in [
            r#"{"x_mm":1e999}"#,
            r#"{"y_mm":-1e999}"#,
            r#"{"_type":[]}"#,
            r#"{"_type":{}}"#,
            r#"{"name":7}"#,
            r#"{"image_path":7}"#,
            r#"{"image_path":false}"#,
            r#"{"color_hex":-1}"#,
            r#"{"polarization_type":null}"#,
            r#"{"interfaces":0}"#,
            r#"{"interfaces":""}"#,
            r#"{"interfaces":{}}"#,
            r#"{"interfaces":true}"#,
            r#"{"interfaces":[null]}"#,
            r#"{"interfaces":[[]]}"#,
            r#"{"interfaces":[{"element_type":[]}]}"#,
            r#"{"interfaces":[{"x1_mm":1e200}]}"#,
            r#"{"interfaces":[{"is_curved":true,"radius_of_curvature_mm":null}]}"#,
            r#"{"interfaces":[{"is_curved":{"a":1},"radius_of_curvature_mm":"1"}]}"#,
            r#"{"__class__":7}"#,
            r#"{"__dict__":{}}"#,
            r#"{"get_polarization":7}"#,
        ] {
            assert_eq!(taken(item), None, "{item}");
        }
    }

    #[test]
    fn only_paths_inside_the_installation_are_safe() {
        for path in [
            "",
            "a.png",
            "objects/library/lens_1_in/images/a.b..png",
            "@component/achromat/images/lens.png",
            "@library/user_library\\lens\\images\\.hidden.png",
            "~/a.png",
            "ü/ .png",
        ] {
            assert!(is_safe_image_path(path), "{path}");
        }
        for path in [
            "/etc/passwd",
            "\\windows\\a.png",
            "//host/share/a.png",
            "\\\\host\\share\\a.png",
            "..",
            "../a.png",
            "a/../b.png",
            "a\\..\\b.png",
            "a/..",
            "a/.. /b.png",
            "a/.../b.png",
            "@component//etc/passwd",
            "@component/",
            "@library/../../a.png",
            "C:\\a.png",
            "c:a.png",
            "a/b:c.png",
            "http://host/a.png",
            "file:a.png",
            "data:image/png;base64,",
            "a\0.png",
            "a\n.png",
        ] {
            assert!(!is_safe_image_path(path), "{path}");
        }
    }
}
