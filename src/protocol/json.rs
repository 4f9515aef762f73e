//! JSON objects whose values keep the bytes that the sender wrote.
//!
//! Numbers, 64-bit integers and unknown fields pass through the server unchanged, because a value
//! is never converted to anything but its text. Nothing here recurses into a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use super::fingerprint::{fingerprint, fingerprint_of_fields, same_value};
use super::numbers::{MAX_NUMBER_BYTES, Survey, below, end_of_string, equal};

/// How deep a message may nest. Python's parser gives up near 1,000 levels and takes the editor
/// with it.
pub const MAX_DEPTH: usize = 100;
/// The refusal of a message that nests deeper.
pub const TOO_DEEP: &str = "the message nests over 100 levels deep";

/// From this many comparisons on, a hash table is cheaper than a linear search.
const MIN_TABLE_COMPARISONS: usize = 1 << 14;
/// A text of at least this many bytes may be an item, which has many fields.
const MIN_ITEM_BYTES: usize = 256;

/// The fields of an object in the order of the text, from which they borrow. Of several fields with
/// one name the last one counts, as in Python, Qt and JavaScript.
#[derive(Debug)]
pub struct Object<'a>(Borrowed<'a>);

/// Fields that borrow from the text they were read from.
pub(super) type Borrowed<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

impl<'a> Object<'a> {
    /// Parses one object; any other value is an error.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        // The editor's items have 17 to 21 fields. Short texts get less room, because idle threads
        // keep what they allocated.
        let room = if text.len() < MIN_ITEM_BYTES { 8 } else { 24 };
        let object = reader.deserialize_map(ObjectVisitor { room })?;
        reader.end()?;
        Ok(object)
    }

    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    pub(super) fn into_fields(self) -> Borrowed<'a> {
        self.0
    }

    /// Copies the fields into values that own their text.
    pub fn to_fields(&self) -> Fields {
        self.iter().map(|(key, value)| (name(key), value.to_owned())).collect()
    }
}

/// Fields that own their text.
pub type Fields = Vec<(Name, Box<RawValue>)>;

/// The name of a field. Names that editors use are not allocated.
pub type Name = Cow<'static, str>;

/// A name with this text.
pub fn name(text: &str) -> Name {
    match known_name(text) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(text.to_owned()),
    }
}

macro_rules! known_names {
    ($($name:literal)*) => {
        /// The static text of a name that editors give the fields of an item; `None` for other
        /// names.
        fn known_name(text: &str) -> Option<&'static str> {
            match text {
                $($name => Some($name),)*
                _ => None,
            }
        }
    };
}

known_names! {
    "_type" "angle_deg" "category" "color_hex" "custom_jones_ex_imag" "custom_jones_ex_real"
    "custom_jones_ey_imag" "custom_jones_ey_real" "image_path" "interfaces" "item_type" "item_uuid"
    "locked" "mm_per_pixel" "n_rays" "name" "notes" "object_height_mm" "polarization_angle_deg"
    "polarization_type" "ray_length_mm" "reference_line_mm" "size_mm" "spread_deg"
    "use_custom_jones" "uuid" "wavelength_nm" "x_mm" "y_mm" "z_value"
}

/// True where two lists of fields have the same names and the same bytes in the same order.
pub fn same_text(a: &Fields, b: &Fields) -> bool {
    fn text((key, value): &(Name, Box<RawValue>)) -> (&str, &str) {
        (key, value.get())
    }
    a.iter().map(text).eq(b.iter().map(text))
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor { room: 8 })
    }
}

struct ObjectVisitor {
    /// The number of fields for which memory is reserved.
    room: usize,
}

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields: Borrowed<'de> = Vec::with_capacity(self.room);
        while let Some(key) = map.next_key::<Key<'de>>()? {
            fields.push((key.0, map.next_value()?));
        }
        keep_last(&mut fields);
        Ok(Object(fields))
    }
}

/// A field's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Of several fields with one name keeps the last value, at the place of the first.
fn keep_last<'a>(fields: &mut Borrowed<'a>) {
    if fields.len() * fields.len() < MIN_TABLE_COMPARISONS {
        let mut kept = 0;
        // A 64-bit filter: each name sets one bit. Most names find their bit unset and need no
        // search.
        let mut seen = 0_u64;
        for next in 0..fields.len() {
            let name = fields[next].0.as_bytes();
            let ends = [name.first(), name.last()].map(|end| usize::from(*end.unwrap_or(&0)));
            let bit = 1 << ((name.len() + 5 * ends[0] + 17 * ends[1]) % 64);
            let may_be_known = seen & bit != 0;
            seen |= bit;
            let mut earlier = 0..if may_be_known { kept } else { 0 };
            match earlier.find(|&earlier| fields[earlier].0 == fields[next].0) {
                Some(earlier) => fields[earlier].1 = fields[next].1,
                None => {
                    fields.swap(kept, next);
                    kept += 1;
                }
            }
        }
        fields.truncate(kept);
        return;
    }
    let mut places: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(fields.len());
    let mut kept: Borrowed<'a> = Vec::with_capacity(fields.len());
    for (key, value) in fields.drain(..) {
        match places.get(&key) {
            Some(&place) => kept[place].1 = value,
            None => {
                places.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
    }
    *fields = kept;
}

/// Parses a JSON string; `None` for any other value.
pub fn as_string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// True where a value is a string. A string with half a surrogate pair (`"\ud800"`) isn't one: it
/// can't be decoded.
pub fn is_string(value: &RawValue) -> bool {
    serde_json::from_str::<Key<'_>>(value.get()).is_ok()
}

/// Parses a finite number as the nearest `f64`; `None` for any other value.
pub fn as_number(value: &RawValue) -> Option<f64> {
    let number = value.get().parse::<f64>().ok().filter(|number| number.is_finite());
    number.filter(|_| is_number(value))
}

/// True where a value is a number, including an infinite one (`1e999`).
pub fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Finds the string that an object has under `name`, without parsing anything else. Of several
/// fields with one name the last one counts. The result means nothing where the text is no object.
pub fn find_string(text: &str, name: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    let mut found = None;
    // True while the next value is the one of `name`.
    let mut is_awaited = false;
    while let Some(byte) = bytes.get(at) {
        let end = if *byte == b'"' { end_of_string(bytes, at) } else { at + 1 };
        match byte {
            b'"' if depth == 1 && is_awaited => {
                found = serde_json::from_str(&text[at..end]).ok();
                is_awaited = false;
            }
            b'"' if depth == 1 => {
                let colon = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
                is_awaited = colon == Some(&b':') && is_text(&text[at..end], name);
            }
            b'"' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                if std::mem::take(&mut is_awaited) {
                    found = None;
                }
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
        }
        at = end;
    }
    found
}

/// True where a JSON string, quotes included, has this text.
fn is_text(string: &str, text: &str) -> bool {
    // An ASCII character is written with at most six characters.
    string.len() <= 6 * text.len() + 2
        && serde_json::from_str::<Key<'_>>(string).is_ok_and(|key| key.0 == text)
}

/// Calls `each` with the values of a list in order. Returns false, without calling `each`, where
/// `list` is no list.
pub fn each_in_list<'a>(list: &'a RawValue, mut each: impl FnMut(&'a RawValue)) -> bool {
    let mut reader = serde_json::Deserializer::from_str(list.get());
    let goes_on = |value| {
        each(value);
        true
    };
    reader.deserialize_seq(ListVisitor(goes_on)).is_ok()
}

/// Finds the first value of a list without reading the others; `None` where the list is empty, and
/// for any other value.
pub fn first_in_list(list: &RawValue) -> Option<&RawValue> {
    let mut first = None;
    let goes_on = |value| {
        first = Some(value);
        false
    };
    let mut reader = serde_json::Deserializer::from_str(list.get());
    // Ending early is an error to the parser and none here.
    let _ = reader.deserialize_seq(ListVisitor(goes_on));
    first
}

/// Reads a list until the closure returns false.
struct ListVisitor<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for ListVisitor<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element()? {
            if !self.0(value) {
                break;
            }
        }
        Ok(())
    }
}

/// A JSON string with this text.
pub fn string(text: &str) -> Box<RawValue> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    write_string(&mut quoted, text);
    let quoted = String::from_utf8(quoted).ok();
    let string = quoted.and_then(|quoted| RawValue::from_string(quoted).ok());
    string.unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// The length of [`string`] in bytes, without allocating it.
pub fn length_of_string(text: &str) -> usize {
    match has_escapes(text) {
        true => string(text).get().len(),
        false => text.len() + 2,
    }
}

/// Appends a JSON string with this text.
pub fn write_string(json: &mut Vec<u8>, text: &str) {
    if has_escapes(text) {
        // Writing to memory can't fail.
        let _ = serde_json::to_writer(json, text);
        return;
    }
    json.reserve(text.len() + 2);
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

/// True where JSON has to escape a character of a text.
fn has_escapes(text: &str) -> bool {
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let found = eights.iter().chain([&last]).fold(0, |found, eight| {
        let eight = u64::from_le_bytes(*eight);
        found | below(eight, b' ') | equal(eight, b'"') | equal(eight, b'\\')
    });
    found != 0
}

/// Appends `,"key":` (without the comma after an opening brace).
pub fn write_key(json: &mut Vec<u8>, key: &str) {
    if json.last() != Some(&b'{') {
        json.push(b',');
    }
    write_string(json, key);
    json.push(b':');
}

/// Appends one object with these fields.
pub fn write_object<'a>(
    json: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (&'a str, &'a RawValue)>,
) {
    json.push(b'{');
    for (key, value) in fields {
        write_key(json, key);
        json.extend_from_slice(value.get().as_bytes());
    }
    json.push(b'}');
}

/// Refuses a text that a client's parser could fail on: one that nests deeper than [`MAX_DEPTH`] or
/// has a number longer than [`MAX_NUMBER_BYTES`]. One pass over the bytes, before anything is
/// parsed.
pub fn check_depth_and_numbers(text: &str) -> Result<(), &'static str> {
    let survey = Survey::new(text);
    if survey.longest_number > MAX_NUMBER_BYTES {
        return Err("a number is written with over 400 characters");
    }
    if survey.depth > MAX_DEPTH {
        return Err(TOO_DEEP);
    }
    Ok(())
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
