//! JSON as this test reads it: an object's fields in order, each with the text of its value.
//!
//! The server's own reader keeps the last of fields with one name; here they are an error, because a
//! receiver might keep the first.

use std::fmt;

use collabd::protocol::numbers;
use serde_json::value::RawValue;

/// An object's fields, no two of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Reads an object; `None` for anything else, and for one that has a field twice.
    pub fn read(text: &str) -> Option<Self> {
        let Twice(fields) = serde_json::from_str(text).ok()?;
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair[0] != pair[1]).then_some(Fields(fields))
    }

    /// The same of what a client sent: of fields with one name the last value counts, at the first
    /// one's place.
    pub fn sent(text: &str) -> Option<Self> {
        let Twice(sent) = serde_json::from_str(text).ok()?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in sent {
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => fields.push((name, value)),
            }
        }
        Some(Fields(fields))
    }

    /// The same of what a member of a session sent, with Python's numbers in plain JSON.
    pub fn sent_by_member(text: &str) -> Option<Self> {
        Fields::sent(&numbers::plain(text).text)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The value of a field that is a string.
    pub fn string(&self, name: &str) -> Option<String> {
        string(self.get(name)?)
    }

    /// The value of a field that is an object, as a client sent it.
    pub fn object(&self, name: &str) -> Option<Fields> {
        Fields::sent(self.get(name)?)
    }

    /// All but these fields.
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|(name, _)| !names.contains(&&**name));
        self
    }
}

/// A JSON string's text; `None` for any other value.
pub fn string(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

/// A list's values; `None` for any other value.
pub fn list(value: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// Whether a value is a number that is not too large for a double.
pub fn is_number(value: &str) -> bool {
    serde_json::from_str::<f64>(value).is_ok_and(f64::is_finite)
}

/// An object's fields, those included whose name stands twice.
struct Twice(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Twice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Twice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Twice, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((name, value.get().to_owned()));
                }
                Ok(Twice(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
