//! A 64-bit fingerprint of what a JSON value means, however it is written.
//!
//! The fingerprint is stored on disk, so it must never change: it is FNV-1a over a canonical form
//! of the value, written out here. It takes time linear in the text, except that the names of each
//! object are sorted.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::numbers::{end_of_number, end_of_string};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The first byte that is hashed of each kind of value, so that `1` and `"1"` differ.
const LITERAL: u8 = b'l';
const NUMBER: u8 = b'n';
const DIGITS: u8 = b'd';
const STRING: u8 = b's';
const UNREADABLE: u8 = b'u';
const LIST: u8 = b'[';
const OBJECT: u8 = b'{';

/// An `f64` tells integers of up to this many digits apart.
const MAX_EXACT_DIGITS: usize = 15;

/// True where two values mean the same. Editors write numbers back in their own format.
pub fn same_value(a: &RawValue, b: &RawValue) -> bool {
    let (a_text, b_text) = (a.get(), b.get());
    // Two strings without escapes mean the same only where their texts are equal.
    let is_plain = |text: &str| text.starts_with('"') && !text.contains('\\');
    a_text == b_text
        || (!(is_plain(a_text) && is_plain(b_text)) && fingerprint(a) == fingerprint(b))
}

/// The fingerprint of a value. Values that mean the same have the same one: `1.50`, `1.5` and
/// `15e-1` are one number, and so are `-0` and `0`. The order of an object's fields doesn't matter,
/// and the last of several fields with one name counts. Integers of more than 15 digits differ if
/// one digit differs.
pub fn fingerprint(value: &RawValue) -> u64 {
    let text = value.get();
    let bytes = text.as_bytes();
    // The members of all open objects and the values of all open lists, in the order of the text.
    let mut members: Vec<Member> = Vec::new();
    let mut open: Vec<OpenContainer> = Vec::new();
    let mut name = None;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (end, value) = match byte {
            b'{' | b'[' => {
                open.push(OpenContainer {
                    is_object: *byte == b'{',
                    first: members.len(),
                    name: name.take(),
                });
                (at + 1, None)
            }
            b'}' | b']' => {
                let Some(closed) = open.pop() else { break };
                let value = match closed.is_object {
                    true => of_members(&mut members[closed.first..]),
                    false => of_list(&members[closed.first..]),
                };
                members.truncate(closed.first);
                name = closed.name;
                (at + 1, Some(value))
            }
            b'"' => {
                let end = end_of_string(bytes, at);
                let hash = of_string(&text[at..end]);
                let is_name = name.is_none() && open.last().is_some_and(|open| open.is_object);
                if is_name {
                    name = Some(hash);
                }
                (end, (!is_name).then_some(hash))
            }
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                (end, Some(of_number(&text[at..end])))
            }
            b't' | b'f' | b'n' => {
                (at + if *byte == b'f' { 5 } else { 4 }, Some(Hash::new(LITERAL).bytes(&[*byte]).0))
            }
            _ => (at + 1, None),
        };
        if let Some(value) = value {
            if open.is_empty() {
                return value;
            }
            members.push(Member { name: name.take().unwrap_or_default(), value });
        }
        at = end;
    }
    // Not reached: a `RawValue` is always one value.
    Hash::new(UNREADABLE).bytes(bytes).0
}

/// The fingerprint of an object with these fields. No two of them may have one name.
pub fn fingerprint_of_fields<'a>(fields: impl Iterator<Item = (&'a str, &'a RawValue)>) -> u64 {
    let member = |(name, value): (&str, &RawValue)| Member {
        name: Hash::new(STRING).bytes(name.as_bytes()).0,
        value: fingerprint(value),
    };
    of_members(&mut fields.map(member).collect::<Vec<_>>())
}

struct Member {
    /// The hash of the member's name; 0 in a list.
    name: u64,
    value: u64,
}

struct OpenContainer {
    is_object: bool,
    /// The index of its first member in `members`.
    first: usize,
    /// The hash of its own name, where it is itself a member of an object.
    name: Option<u64>,
}

/// The state of an FNV-1a hash.
struct Hash(u64);

impl Hash {
    fn new(kind: u8) -> Self {
        Hash(OFFSET).bytes(&[kind])
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        Hash(bytes.iter().fold(self.0, add))
    }

    fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }
}

fn of_members(members: &mut [Member]) -> u64 {
    // The sort is stable: of members with one name the last one stays last.
    members.sort_by_key(|member| member.name);
    let mut hash = Hash::new(OBJECT);
    for (place, member) in members.iter().enumerate() {
        let counts = members.get(place + 1).is_none_or(|next| next.name != member.name);
        if counts {
            hash = hash.number(member.name).number(member.value);
        }
    }
    hash.0
}

fn of_list(values: &[Member]) -> u64 {
    values.iter().fold(Hash::new(LIST), |hash, member| hash.number(member.value)).0
}

/// The hash of a string; `text` includes its quotes.
fn of_string(text: &str) -> u64 {
    let inner = text.get(1..text.len() - 1).unwrap_or_default();
    let content = match inner.contains('\\') {
        false => Some(Cow::Borrowed(inner)),
        true => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
    };
    match content {
        Some(content) => Hash::new(STRING).bytes(content.as_bytes()).0,
        // The string has half a surrogate pair, which has no characters.
        None => Hash::new(UNREADABLE).bytes(inner.as_bytes()).0,
    }
}

fn of_number(text: &str) -> u64 {
    // `-0.0 + 0.0` is `0.0`.
    let nearest = text.parse().unwrap_or(f64::INFINITY) + 0.0;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_integer
        && digits.len() > MAX_EXACT_DIGITS
        && nearest.is_finite()
        && !is_exact(text, nearest)
    {
        return Hash::new(DIGITS).bytes(text.as_bytes()).0;
    }
    Hash::new(NUMBER).number(nearest.to_bits()).0
}

/// True where an `f64` has exactly the value of this integer, as far as 128 bits reach.
fn is_exact(integer: &str, nearest: f64) -> bool {
    nearest.abs() < 1e38 && integer.parse() == Ok(nearest as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn values_are_compared_by_meaning() {
        for (a, b) in [
            ("1.50", "1.5"),
            ("15e-1", "1.5"),
            ("1.5E0", "0.15e+1"),
            ("2", "2.0"),
            ("-0", "0"),
            ("-0.0", "0e5"),
            ("1e999", "1e400"),
            ("10000000000000000", "1e16"),
            ("18446744073709551616", "18446744073709551616.0"),
            ("-10000000000000000000000", "-1e22"),
            (r#""a""#, r#""\u0061""#),
            (r#""\ud83d\ude00""#, r#""😀""#),
            ("[1, 2]", "[1.0,2]"),
            (r#"{"a":1,"b":[2]}"#, r#"{ "b" : [2.0], "a" : 1 }"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":{"x":{},"y":[]}}"#, r#"{"a":{"y":[],"x":{}}}"#),
        ] {
            assert!(same_value(&raw(a), &raw(b)), "{a} {b}");
        }
        let all = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1e999",
            "-1e999",
            "0.1",
            "1e-320",
            "18446744073709551614",
            "18446744073709551615",
            "-18446744073709551615",
            r#""""#,
            r#""1""#,
            r#""null""#,
            r#""\ud800""#,
            r#""\\ud800""#,
            "[]",
            "{}",
            "[[]]",
            "[{}]",
            "[0]",
            "[1]",
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "[1,[2]]",
            "[[1,2]]",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"b":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            r#"["a",1]"#,
            r#"{"":0}"#,
        ];
        for (place, a) in all.iter().enumerate() {
            for b in &all[..place] {
                assert!(!same_value(&raw(a), &raw(b)), "{a} {b}");
            }
        }
    }

    #[test]
    fn it_never_changes_because_it_is_stored() {
        for (text, expected) in [
            ("null", 0x08ad_3a07_b553_fa9f),
            ("1.5", 0xca08_171e_3575_b794),
            ("18446744073709551615", 0x6650_4cda_08da_15ea),
            (r#""ü""#, 0x8447_5319_5e9f_731d),
            (r#"[1,"a",null]"#, 0x3042_320a_5702_08d1),
            (r#"{"uuid":"a","x_mm":1.50,"interfaces":[{"n2":1e999}]}"#, 0x542b_23dc_affd_303b),
        ] {
            assert_eq!(fingerprint(&raw(text)), expected, "{text}");
        }
    }

    #[test]
    fn an_object_has_the_fingerprint_of_its_fields() {
        let (one, two) = (raw("1"), raw("[2]"));
        let fields = [("b", &*two), ("a", &*one)];
        let object = raw(r#"{"a":1,"b":[2]}"#);
        assert_eq!(fingerprint_of_fields(fields.into_iter()), fingerprint(&object));
    }

    #[test]
    fn nesting_and_many_fields_are_no_trouble() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let deeper = format!("[{deep}]");
        assert!(!same_value(&raw(&deep), &raw(&deeper)));
        let fields: Vec<String> = (0..50_000).map(|n| format!("\"{n}\":{n}")).collect();
        let backwards: Vec<String> = fields.iter().rev().cloned().collect();
        let object = |fields: &[String]| raw(&format!("{{{}}}", fields.join(",")));
        assert!(same_value(&object(&fields), &object(&backwards)));
    }
}
