//! The content of a key file: parsed without quoting it, written without losing anything.
//!
//! ```json
//! {"keys": [
//! {"name": "alice", "sha256": "<64 hexadecimal digits>", "level": "write",
//! "expires": "2026-12-20T00:00:00.000Z", "sessions": ["a", "b"]}
//! ]}
//! ```
//!
//! A key without `expires`, or with `null`, never expires; one without `sessions` opens all. A key
//! itself may stand in the file by mistake, so an error names only the number and name of the entry
//! and quotes nothing else. Unknown fields are kept.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{Key, KeyHash, Level};
use crate::protocol::Timestamp;
use crate::protocol::json::{self, Fields, Object};

/// The longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The fields that have a meaning.
const FIELDS: [&str; 5] = ["name", "sha256", "level", "expires", "sessions"];
/// The longest name of a field that is shown, in bytes. A key is longer, so none is shown even
/// where it stands as a field's name.
const MAX_SHOWN_BYTES: usize = 24;

pub struct KeyEntries {
    keys: Vec<KeyEntry>,
    /// The file's fields in order. The value of `keys` is written from the field above.
    fields: Fields,
}

/// A key and the fields it was parsed from.
struct KeyEntry {
    key: Arc<Key>,
    fields: Fields,
}

impl KeyEntries {
    /// The entries of a new file.
    pub fn empty() -> Self {
        KeyEntries { keys: Vec::new(), fields: vec![("keys".into(), RawValue::NULL.to_owned())] }
    }

    /// Parses the whole text of a key file.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with the file's name. It quotes only
    /// names of keys.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "it is not UTF-8")?;
        // Some editors on Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_ascii().is_empty() {
            return Err("it is empty, not even {\"keys\": []}".into());
        }
        let file = Object::parse(text).map_err(|error| match error.classify() {
            Category::Data => "it has to be an object like {\"keys\": []}".to_owned(),
            _ => format!("it is not JSON (line {}, column {})", error.line(), error.column()),
        })?;
        let list = file.get("keys").ok_or("it has no list \"keys\"")?;
        let list: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| "\"keys\" has to be a list")?;
        let keys = list
            .into_iter()
            .enumerate()
            .map(|(index, value)| KeyEntry::parse(index + 1, value))
            .collect::<Result<Vec<_>, _>>()?;
        check_unique(&keys)?;
        let mut fields = file.to_fields();
        for (name, value) in &mut fields {
            if &**name == "keys" {
                *value = RawValue::NULL.to_owned();
            }
        }
        Ok(KeyEntries { keys, fields })
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter().map(|entry| &entry.key)
    }

    /// Describes the first field without a meaning, and how many more there are, as the rest of a
    /// sentence that begins with the file's name; `None` where there is none. Such a field may be a
    /// misspelt one, and the key then opens more than was meant. Quotes only names.
    pub fn unknown(&self) -> Option<String> {
        let mut unknown = self.keys.iter().enumerate().flat_map(|(index, entry)| {
            let fields = entry.fields.iter().map(|(field, _)| &**field);
            let fields = fields.filter(|field| !FIELDS.contains(field));
            fields.map(move |field| (index + 1, &entry.key.name, field))
        });
        let (number, name, field) = unknown.next()?;
        let field = match field.len() <= MAX_SHOWN_BYTES {
            true => format!("the field {field:?}"),
            false => "a field with a long name".to_owned(),
        };
        let more = match unknown.count() {
            0 => String::new(),
            more => format!(", and {more} more like it"),
        };
        Some(format!("{field} of key {number} ({name:?}){more}"))
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys().find(|key| &*key.name == name)
    }

    /// Adds a key. Its name has to be valid ([`is_name`]) and different from the names of all other
    /// keys.
    pub fn add(&mut self, key: Key) {
        let mut fields: Fields = vec![
            ("name".into(), json::string(&key.name)),
            ("sha256".into(), json::string(&to_hex(key.hash.as_bytes()))),
            ("level".into(), json::string(key.level.name())),
        ];
        if let Some(expires) = key.expires {
            fields.push(("expires".into(), json::string(&expires.to_string())));
        }
        if let Some(list) =
            key.opens.as_ref().and_then(|rooms| serde_json::value::to_raw_value(rooms).ok())
        {
            fields.push(("sessions".into(), list));
        }
        self.keys.push(KeyEntry { key: Arc::new(key), fields });
    }

    /// Removes the key of this name. Returns false where there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|entry| &*entry.key.name != name);
        self.keys.len() < before
    }

    /// The whole text of the file, with one line for each key.
    pub fn to_json(&self) -> String {
        let mut text = Vec::from(*b"{");
        for (index, (name, value)) in self.fields.iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"\n  " } else { b",\n  " });
            json::write_string(&mut text, name);
            text.extend_from_slice(b": ");
            match &**name {
                "keys" => self.write_keys(&mut text),
                _ => text.extend_from_slice(value.get().as_bytes()),
            }
        }
        text.extend_from_slice(b"\n}\n");
        String::from_utf8_lossy(&text).into_owned()
    }

    fn write_keys(&self, text: &mut Vec<u8>) {
        text.push(b'[');
        for (index, entry) in self.keys.iter().enumerate() {
            text.extend_from_slice(if index == 0 { b"\n    {" } else { b",\n    {" });
            for (index, (name, value)) in entry.fields.iter().enumerate() {
                if index > 0 {
                    text.extend_from_slice(b", ");
                }
                json::write_string(text, name);
                text.extend_from_slice(b": ");
                text.extend_from_slice(value.get().as_bytes());
            }
            text.push(b'}');
        }
        text.extend_from_slice(if self.keys.is_empty() { b"]" } else { b"\n  ]" });
    }
}

impl KeyEntry {
    /// Parses the entry `number`, counted from 1 as people do.
    fn parse(number: usize, value: &RawValue) -> Result<Self, String> {
        let fields = Object::parse(value.get())
            .map_err(|_| format!("key {number} has to be an object like {{\"name\": …}}"))?;
        let text = |name: &str| fields.get(name).and_then(json::as_string);
        let name = text("name").filter(|name| is_name(name)).ok_or_else(|| {
            format!(
                "the name of key {number} has to be 1 to {MAX_NAME_CHARS} characters without control \
                 characters"
            )
        })?;
        let wrong = |field: &str, wanted: &str| {
            format!("{field} of key {number} ({name:?}) has to be {wanted}")
        };
        let hash = text("sha256").as_deref().and_then(from_hex).ok_or_else(|| {
            wrong("the sha256", "64 hexadecimal digits, as collabd key new writes them")
        })?;
        let level = text("level")
            .and_then(|level| Level::from_name(&level))
            .ok_or_else(|| wrong("the level", "\"read\", \"write\" or \"admin\""))?;
        let given = |name: &str| fields.get(name).filter(|value| value.get() != "null");
        let expires = given("expires").map(|value| {
            json::as_string(value)
                .and_then(|text| Timestamp::parse(&text))
                .ok_or_else(|| wrong("expires", "a moment like \"2026-12-20T00:00:00Z\""))
        });
        let opens = given("sessions").map(|value| {
            serde_json::from_str(value.get())
                .map_err(|_| wrong("sessions", "a list of names like [\"a\", \"b\"]"))
        });
        let (expires, opens) = (expires.transpose()?, opens.transpose()?);
        let fields = fields.to_fields();
        let key = Key { name: name.into(), hash: KeyHash::from_bytes(hash), level, expires, opens };
        Ok(KeyEntry { key: Arc::new(key), fields })
    }
}

/// Refuses two keys of one name, which could not be revoked one by one, and two keys of one hash,
/// of which the one in force would be a matter of order.
fn check_unique(keys: &[KeyEntry]) -> Result<(), String> {
    let (mut names, mut hashes) = (HashMap::new(), HashMap::new());
    for (index, entry) in keys.iter().enumerate() {
        let (number, key) = (index + 1, &*entry.key);
        let name = &key.name;
        if let Some(first) = names.insert(name, number) {
            return Err(format!("keys {first} and {number} have one name, {name:?}"));
        }
        if let Some(first) = hashes.insert(key.hash, number) {
            return Err(format!("keys {first} and {number} ({name:?}) have one sha256"));
        }
    }
    Ok(())
}

/// True where a key may have this name: 1 to 64 characters, no control characters.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains(char::is_control)
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        // Writing to memory can't fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(of: &str) -> String {
        to_hex(KeyHash::new(of).as_bytes())
    }

    fn problem(text: &str) -> String {
        KeyEntries::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("it was taken: {text}"))
    }

    #[test]
    fn a_field_that_says_nothing_is_named_and_its_value_is_not() {
        let unknown = |fields: &str| {
            let hash = hash("a");
            let text = format!(
                "{{\"keys\":[{{\"name\":\"a\",\"sha256\":\"{hash}\",\"level\":\"read\"{fields}}}],\"x\":1}}"
            );
            KeyEntries::parse(text.as_bytes()).expect("a key file").unknown()
        };
        assert_eq!(unknown(""), None);
        assert_eq!(unknown(",\"expires\":null,\"sessions\":[]"), None);
        let one = unknown(",\"session\":[\"SECRET\"]");
        assert_eq!(one.as_deref(), Some("the field \"session\" of key 1 (\"a\")"));
        let key = "ck_SECRETSECRETSECRETSECRETSECRET";
        let two = unknown(&format!(",\"{key}\":1,\"Expires\":\"SECRET\""));
        let line = "a field with a long name of key 1 (\"a\"), and 1 more like it";
        assert_eq!(two.as_deref(), Some(line));
    }

    #[test]
    fn a_key_is_read_with_all_it_may_have() {
        let (a, b) = (hash("a"), hash("b").to_uppercase());
        let text = format!(
            "\u{feff}{{\"keys\":[{{\"name\":\"alice\",\"sha256\":\"{a}\",\"level\":\"write\",
            \"expires\":\"2026-12-20T01:00:00+01:00\",\"sessions\":[\"a\",\"b c\"]}},
            {{\"name\":\"Bob ü\",\"sha256\":\"{b}\",\"level\":\"admin\",\"expires\":null,\"sessions\":null}}]}}"
        );
        let entries = KeyEntries::parse(text.as_bytes()).expect("a key file");
        let keys: Vec<_> = entries.keys().collect();
        assert_eq!(
            (&*keys[0].name, keys[0].hash, keys[0].level),
            ("alice", KeyHash::new("a"), Level::Write)
        );
        assert_eq!(keys[0].expires, Timestamp::parse("2026-12-20T00:00:00Z"));
        assert!(keys[0].opens("a") && keys[0].opens("b c") && !keys[0].opens("b"));
        assert_eq!(
            (&*keys[1].name, keys[1].hash, keys[1].level),
            ("Bob ü", KeyHash::new("b"), Level::Admin)
        );
        assert_eq!((keys[1].expires, &keys[1].opens), (None, &None));
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn a_list_may_be_empty() {
        assert_eq!(KeyEntries::parse(b"{\"keys\": []}").expect("a key file").keys().count(), 0);
    }

    #[test]
    fn what_was_added_is_read_again_and_what_was_removed_is_gone() {
        let mut entries = KeyEntries::empty();
        let key = |name: &str, expires, opens| Key {
            name: name.into(),
            hash: KeyHash::new(name),
            level: Level::Read,
            expires,
            opens,
        };
        let alice =
            key("alice \"\\ü", Some(Timestamp::now()), Some(vec!["a".into(), "b,\"".into()]));
        for key in [alice.clone(), key("bob", None, None), key("carol", None, Some(vec![]))] {
            entries.add(key);
        }
        assert!(entries.remove("bob") && !entries.remove("bob"));
        let read = KeyEntries::parse(entries.to_json().as_bytes()).expect("a key file");
        let keys: Vec<_> = read.keys().cloned().collect();
        assert_eq!(*keys[0], alice);
        assert_eq!(*keys[1], key("carol", None, Some(vec![])));
        assert!(read.get("bob").is_none() && read.get("carol").is_some());
        assert_eq!(read.to_json(), entries.to_json());
    }

    #[test]
    fn unknown_fields_are_kept_as_they_were_written() {
        let hash = hash("a");
        let text = format!(
            r#"{{"note":"ours","big":18446744073709551616.50,"keys":[{{"owner":{{"room":[1.50, null]}},
            "name":"alice","sha256":"{hash}","level":"read","till":1e400}}],"last":[]}}"#
        );
        let mut entries = KeyEntries::parse(text.as_bytes()).expect("a key file");
        entries.add(Key {
            name: "bob".into(),
            hash: KeyHash::new("b"),
            level: Level::Write,
            expires: None,
            opens: None,
        });
        let written = entries.to_json();
        for kept in [
            r#""note": "ours""#,
            r#""big": 18446744073709551616.50"#,
            r#""owner": {"room":[1.50, null]}"#,
            r#""till": 1e400"#,
            r#""last": []"#,
        ] {
            assert!(written.contains(kept), "{kept} in {written}");
        }
        assert_eq!(KeyEntries::parse(written.as_bytes()).expect("a key file").keys().count(), 2);
    }

    #[test]
    fn whatever_is_wrong_is_told_in_a_line_that_quotes_nothing() {
        let good = hash("a");
        let key = |fields: &str| format!("{{\"keys\": [{{\"name\":\"bob\",{fields}}}]}}");
        let level = r#""level":"read""#;
        let sha = format!("\"sha256\":\"{good}\"");
        let cases = [
            ("".to_owned(), "empty"),
            (" \n".to_owned(), "empty"),
            ("SECRET".to_owned(), "line 1"),
            ("{\"keys\": [\n{\"name\": SECRET}]}".to_owned(), "line 2"),
            ("{\"keys\": [{\"name\": \"SECRET".to_owned(), "JSON"),
            ("{\"keys\": []} SECRET".to_owned(), "JSON"),
            ("\"SECRET\"".to_owned(), "object"),
            ("[\"SECRET\"]".to_owned(), "object"),
            ("{\"SECRET\": 1}".to_owned(), "keys"),
            ("{\"keys\": {\"SECRET\": 1}}".to_owned(), "list"),
            ("{\"keys\": \"SECRET\"}".to_owned(), "list"),
            ("{\"keys\": [\"SECRET\"]}".to_owned(), "key 1"),
            ("{\"keys\": [{\"sha256\": \"SECRET\"}]}".to_owned(), "the name of key 1"),
            ("{\"keys\": [{\"name\": {\"SECRET\": 1}}]}".to_owned(), "the name of key 1"),
            ("{\"keys\": [{\"name\": \"SECRET\\n\"}]}".to_owned(), "the name of key 1"),
            (format!("{{\"keys\": [{{\"name\": \"{}\"}}]}}", "SECRET ".repeat(10)), "key 1"),
            (key(level), "the sha256 of key 1 (\"bob\")"),
            (key(&format!("{level},\"sha256\":\"SECRET\"")), "the sha256 of key 1 (\"bob\")"),
            (key(&format!("{level},\"sha256\":[\"SECRET\"]")), "the sha256 of key 1"),
            (key(&format!("{level},\"sha256\":\"{}+f\"", &good[2..])), "the sha256"),
            (key(&format!("{level},\"sha256\":\"{}ü\"", &good[2..])), "the sha256"),
            (key(&sha), "the level of key 1 (\"bob\")"),
            (key(&format!("{sha},\"level\":\"SECRET\"")), "the level of key 1"),
            (key(&format!("{sha},\"level\":\"READ\"")), "the level of key 1"),
            (key(&format!("{sha},{level},\"expires\":\"SECRET\"")), "expires of key 1 (\"bob\")"),
            (key(&format!("{sha},{level},\"expires\":1797724800")), "expires of key 1"),
            (key(&format!("{sha},{level},\"sessions\":\"SECRET\"")), "sessions of key 1"),
            (key(&format!("{sha},{level},\"sessions\":[\"SECRET\",1]")), "sessions of key 1"),
        ];
        for (text, told) in cases {
            let line = problem(&text);
            assert!(line.contains(told), "{text}: {line}");
            assert!(!line.contains("SECRET") && !line.contains(['\n', '\r']), "{text}: {line}");
        }
        assert!(
            KeyEntries::parse(b"{\"keys\": [\"\xff\"]}")
                .err()
                .is_some_and(|line| line.contains("UTF-8"))
        );
    }

    #[test]
    fn no_two_keys_share_a_name_or_a_hash() {
        let key = |name: &str, of: &str| {
            format!("{{\"name\":\"{name}\",\"sha256\":\"{}\",\"level\":\"read\"}}", hash(of))
        };
        let (a, b) = (key("alice", "a"), key("bob", "b"));
        let line = problem(&format!("{{\"keys\":[{a},{b},{}]}}", key("alice", "c")));
        assert_eq!(line, "keys 1 and 3 have one name, \"alice\"");
        let line = problem(&format!("{{\"keys\":[{a},{b},{}]}}", key("carol", "b")));
        assert_eq!(line, "keys 2 and 3 (\"carol\") have one sha256");
    }

    #[test]
    fn names_have_their_bounds() {
        assert!(is_name("a") && is_name(&"ü".repeat(64)) && is_name("alice's laptop"));
        assert!(!is_name("") && !is_name(&"a".repeat(65)) && !is_name("a\u{7f}") && !is_name("\t"));
    }
}
