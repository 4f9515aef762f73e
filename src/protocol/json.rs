//! JSON that stays as it was written: objects whose values keep the sender's bytes.
//!
//! Numbers, 64-bit integers and unknown fields pass through the server unchanged because nobody
//! here turns a value into anything but the text it came as.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a message may nest. Python's parser gives up near 1,000 and takes the editor with it.
pub const DEEPEST: usize = 100;
/// How long the text of one number may be, in bytes. Python refuses integers over 4,300 digits.
pub const LONGEST_NUMBER: usize = 400;

/// From this many comparisons on, a look-up table is cheaper than a linear search.
const SEARCH_BY_TABLE: usize = 1 << 14;

/// The fields of an object in the order they came, borrowing from the text they were read from.
/// Of a name that stands twice the last one counts, as it does for Python, Qt and JavaScript.
#[derive(Debug)]
pub struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object; anything else is an error.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The fields as values that own their text.
    pub fn to_fields(&self) -> Fields {
        self.iter().map(|(key, value)| (key.into(), value.to_owned())).collect()
    }
}

/// Fields that own their text.
pub type Fields = Vec<(Box<str>, Box<RawValue>)>;

/// Whether fields are the same to the letter, and in the same order.
pub fn same_text(a: &Fields, b: &Fields) -> bool {
    fn text((key, value): &(Box<str>, Box<RawValue>)) -> (&str, &str) {
        (key, value.get())
    }
    a.iter().map(text).eq(b.iter().map(text))
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
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

/// Of fields with one name keeps the last value, at the first one's place.
fn keep_last<'a>(fields: &mut Vec<(Cow<'a, str>, &'a RawValue)>) {
    if fields.len() * fields.len() < SEARCH_BY_TABLE {
        let mut kept = 0;
        for next in 0..fields.len() {
            match (0..kept).find(|&earlier| fields[earlier].0 == fields[next].0) {
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
    let mut kept: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::with_capacity(fields.len());
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

/// Reads a JSON string; `None` for any other kind of value.
pub fn as_string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Whether a value is a string; one with half a character in it (`"\ud800"`) is none, as nobody can
/// read it.
pub fn is_string(value: &RawValue) -> bool {
    serde_json::from_str::<Key<'_>>(value.get()).is_ok()
}

/// Reads a finite number as the nearest `f64`; `None` for any other kind of value.
pub fn as_number(value: &RawValue) -> Option<f64> {
    let first = value.get().bytes().next()?;
    if first != b'-' && !first.is_ascii_digit() {
        return None;
    }
    serde_json::from_str::<f64>(value.get()).ok().filter(|number| number.is_finite())
}

/// A JSON string with this text.
pub fn string(text: &str) -> Box<RawValue> {
    let quoted = serde_json::Value::from(text).to_string();
    RawValue::from_string(quoted).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Appends a JSON string with this text.
pub fn write_string(json: &mut Vec<u8>, text: &str) {
    // Writing to memory can't fail.
    let _ = serde_json::to_writer(json, text);
}

/// Whether two values mean the same: equal text, or equal once parsed (`1.50` is `1.5`; the order
/// of an object's fields doesn't matter). Editors write numbers back in their own format.
pub fn same_value(a: &RawValue, b: &RawValue) -> bool {
    use serde_json::Value;
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            _ => a == b,
        }
    }
    a.get() == b.get()
        || match (serde_json::from_str(a.get()), serde_json::from_str(b.get())) {
            (Ok(a), Ok(b)) => same(&a, &b),
            _ => false,
        }
}

/// Refuses what a parser somewhere down the line would choke on: nesting deeper than [`DEEPEST`],
/// numbers longer than [`LONGEST_NUMBER`]. One pass over the bytes, before anything is built.
pub fn check_proportions(text: &str) -> Result<(), &'static str> {
    let (mut depth, mut number, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' => {
                number += 1;
                if number > LONGEST_NUMBER {
                    return Err("a number is written with over 400 characters");
                }
                continue;
            }
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEEPEST {
                    return Err("the message nests over 100 levels deep");
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        number = 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn the_last_of_equal_names_counts_and_bytes_are_kept() {
        let object =
            Object::parse(r#"{"a": 1.50, "b":2, "\u0061": 18446744073709551616}"#).unwrap();
        let fields: Vec<_> = object.iter().map(|(key, value)| (key, value.get())).collect();
        assert_eq!(fields, [("a", "18446744073709551616"), ("b", "2")]);
    }

    #[test]
    fn many_equal_names_are_found_by_table_as_by_search() {
        let text: Vec<String> = (0..400).map(|n| format!("\"k{}\":{n}", n % 150)).collect();
        let text = format!("{{{}}}", text.join(","));
        let object = Object::parse(&text).unwrap();
        assert_eq!(object.iter().count(), 150);
        assert_eq!(object.get("k0").unwrap().get(), "300");
        assert_eq!(object.get("k149").unwrap().get(), "299");
    }

    #[test]
    fn only_finite_numbers_are_numbers() {
        for (text, number) in [("1", Some(1.0)), ("-2.5e3", Some(-2500.0)), ("1e999", None)] {
            assert_eq!(as_number(&raw(text)), number);
        }
        for text in ["true", "null", "\"1\"", "[1]"] {
            assert_eq!(as_number(&raw(text)), None);
        }
    }

    #[test]
    fn only_what_can_be_read_is_a_string() {
        for (text, is_one) in [(r#""""#, true), (r#""\ud83d\ude00""#, true), (r#""\ud800""#, false)]
        {
            assert_eq!(is_string(&raw(text)), is_one, "{text}");
        }
        assert!(!is_string(&raw("7")) && !is_string(&raw("null")));
    }

    #[test]
    fn values_are_compared_by_meaning() {
        assert!(same_value(&raw("1.50"), &raw("1.5")));
        assert!(same_value(&raw("2"), &raw("2.0")));
        assert!(same_value(&raw(r#"{"a":1,"b":[2]}"#), &raw(r#"{"b":[2.0],"a":1}"#)));
        assert!(!same_value(&raw("1"), &raw("\"1\"")));
        assert!(!same_value(&raw(r#"{"a":1}"#), &raw(r#"{"a":1,"b":2}"#)));
    }

    #[test]
    fn proportions() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_proportions(&nested(100)).is_ok());
        assert!(check_proportions(&nested(101)).is_err());
        assert!(check_proportions(&"[],".repeat(1000)).is_ok());
        assert!(check_proportions(&format!("\"{}\"", "[".repeat(1000))).is_ok());
        assert!(check_proportions(&format!("\"\\\"{}\"", "[".repeat(1000))).is_ok());
        assert!(check_proportions(&"1".repeat(400)).is_ok());
        assert!(check_proportions(&"1".repeat(401)).is_err());
    }
}
