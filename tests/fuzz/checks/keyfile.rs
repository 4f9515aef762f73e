//! A key file with anything in it: it is read or refused, never quoted but for names of keys, and
//! written again without a loss.

use std::collections::HashSet;
use std::sync::OnceLock;

use collabd::auth::key_entries::{KeyEntries, is_name};
use collabd::auth::{Key, KeyHash, Level};
use collabd::protocol::Timestamp;

use super::json::{self, Fields};
use super::marks::{self, Marks, PLACEHOLDER};

/// No line for the operator is longer than a name, escaped, and a few words.
const LONGEST_LINE: usize = 64 * 10 * 2 + 200;
/// So much of a secret, in bytes, is too much.
const TELLING: usize = 8;

pub fn check(input: &[u8]) {
    let secret = Marks::of(input).mark("secret");
    let file: Vec<u8> = input
        .iter()
        .flat_map(|byte| match *byte == PLACEHOLDER as u8 {
            true => secret.as_bytes(),
            false => std::slice::from_ref(byte),
        })
        .copied()
        .collect();
    match KeyEntries::parse(&file) {
        Ok(entries) => check_taken(entries, &file),
        Err(line) => check_refusal(&line, &file, &secret),
    }
}

fn check_refusal(line: &str, file: &[u8], secret: &str) {
    assert!(!line.is_empty() && line.len() <= LONGEST_LINE, "{} bytes", line.len());
    assert!(!line.contains(char::is_control), "more than a line: {line:?}");
    let keys = keys_of(file);
    let names: Vec<String> = keys.iter().filter_map(|key| key.string("name")).collect();
    assert!(
        !marks::has(line.as_bytes(), secret) || names.iter().any(|name| name.contains(secret)),
        "a secret is quoted: {line}"
    );
    for hash in keys.iter().filter_map(|key| key.string("sha256")) {
        for piece in hash.as_bytes().windows(TELLING) {
            let is_in = |text: &str| text.as_bytes().windows(TELLING).any(|other| other == piece);
            let is_quoted = is_in(line) && !our_words().iter().any(|line| is_in(line));
            let is_name = || names.iter().any(|name| is_in(&format!("{name:?}")));
            assert!(!is_quoted || is_name(), "a hash is quoted: {line}");
        }
    }
}

/// Lines about files with nothing of anybody's in them: what may stand in any line.
fn our_words() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    const HASH: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    LINES.get_or_init(|| {
        let key = |fields: &str| format!(r#"{{"keys":[{{"name":"","name":"k"{fields}}}]}}"#);
        let hash = format!(r#","sha256":"{HASH}""#);
        let level = format!(r#"{hash},"level":"read""#);
        let files = [
            String::new(),
            "?".into(),
            "[]".into(),
            "{}".into(),
            r#"{"keys":{}}"#.into(),
            r#"{"keys":[[]]}"#.into(),
            r#"{"keys":[{}]}"#.into(),
            key(""),
            key(&hash),
            key(&format!(r#"{level},"expires":0"#)),
            key(&format!(r#"{level},"sessions":0"#)),
            format!(r#"{{"keys":[{{"name":"k"{level}}},{{"name":"k"{level}}}]}}"#),
            format!(r#"{{"keys":[{{"name":"k"{level}}},{{"name":"l"{level}}}]}}"#),
        ];
        let lines = files.iter().map(|file| KeyEntries::parse(file.as_bytes()).err());
        lines.map(|line| line.expect("it is no key file")).collect()
    })
}

/// The entries of a file as far as it can be read at all.
fn keys_of(file: &[u8]) -> Vec<Fields> {
    let text = std::str::from_utf8(file).unwrap_or_default();
    let file = Fields::sent(text.strip_prefix('\u{feff}').unwrap_or(text));
    let list = file.as_ref().and_then(|file| json::list(file.get("keys")?));
    list.unwrap_or_default().into_iter().filter_map(Fields::sent).collect()
}

fn check_taken(mut entries: KeyEntries, file: &[u8]) {
    let keys: Vec<_> = entries.keys().cloned().collect();
    let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
    for key in &keys {
        assert!(is_name(&key.name) && names.insert(key.name.clone()) && hashes.insert(key.hash));
        // Its name may be anything, a hash too; of its hash nothing is shown.
        let other = Key { hash: KeyHash::from_bytes([0; 32]), ..Key::clone(key) };
        assert_eq!(format!("{key:?}"), format!("{other:?}"), "a hash is shown");
        let _ = (key.opens("a"), key.has_expired(Timestamp::from_millis(0)));
    }
    let written = entries.to_json();
    let again = KeyEntries::parse(written.as_bytes()).expect("what was written can be read");
    assert!(again.keys().eq(&keys), "other keys than before");
    assert_eq!(again.to_json(), written);
    check_others_are_kept(file, &written);
    // As `collabd key new` and `revoke` do it.
    let name = "a key of this test's own";
    if !names.contains(name) && !hashes.contains(&KeyHash::new(name)) {
        let (hash, level) = (KeyHash::new(name), Level::Read);
        entries.add(Key { name: name.into(), hash, level, expires: None, opens: None });
        assert!(
            KeyEntries::parse(entries.to_json().as_bytes()).is_ok_and(|e| e.get(name).is_some())
        );
        assert!(entries.remove(name) && entries.to_json() == written);
    }
}

/// Fields nobody knows are written as they were read.
fn check_others_are_kept(file: &[u8], written: &str) {
    let text = std::str::from_utf8(file).expect("it was taken");
    let before = Fields::sent(text.strip_prefix('\u{feff}').unwrap_or(text)).expect("an object");
    let after = Fields::read(written).expect("an object that has nothing twice");
    assert_eq!(before.without(&["keys"]), after.without(&["keys"]));
    let (before, after) = (keys_of(file), keys_of(written.as_bytes()));
    assert_eq!(before, after);
}
