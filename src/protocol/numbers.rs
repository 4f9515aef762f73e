//! Numbers as Python's `json` writes and reads them: `Infinity`, `-Infinity`, `NaN`, and any number of
//! digits. They are rewritten to plain JSON before a message is parsed.
//!
//! Runs on a client's own thread. Every function here takes time linear in the text.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// How long the text of one number may be, in bytes. Python refuses integers over 4,300 digits.
pub const LONGEST_NUMBER: usize = 400;
/// Infinity in plain JSON: Python and JavaScript read it as infinite.
const INFINITE: &str = "1e999";
const MINUS_INFINITE: &str = "-1e999";
/// The shortest number without an exponent that an `f64` can't hold has 309 digits.
const MAY_OVERFLOW: usize = 309;
/// Deeper than this no property is removed: an item that nests so deep isn't taken anyway.
const DEEPEST_REMOVAL: usize = 128;

/// What one pass over a text's bytes finds, before anything is parsed. The text may be no JSON.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The deepest nesting of objects and lists.
    pub depth: usize,
    /// The length of the longest number, in bytes.
    pub longest_number: usize,
    /// There is a number that [`plain`] rewrites.
    pub has_odd_number: bool,
}

impl Survey {
    /// Surveys a text.
    pub fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut survey = Survey::default();
        let (mut at, mut depth) = (0, 0usize);
        while let Some(byte) = bytes.get(at) {
            at = match byte {
                b'"' => end_of_string(bytes, at),
                b'-' | b'0'..=b'9' => {
                    let end = end_of_number(bytes, at);
                    survey.longest_number = survey.longest_number.max(end - at);
                    survey.has_odd_number |= rewritten(&text[at..end]).is_some();
                    end
                }
                b'{' | b'[' => {
                    depth += 1;
                    survey.depth = survey.depth.max(depth);
                    at + 1
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    at + 1
                }
                // JSON has no capital letters but in strings and exponents.
                b'I' | b'N' => {
                    survey.has_odd_number = true;
                    at + 1
                }
                _ => at + 1,
            };
        }
        survey
    }
}

/// The text with its odd numbers in plain JSON: infinite ones, and those that an `f64` can't hold, are
/// `1e999` or `-1e999`; a property that is `NaN` is left out of its object, and one in a list is 0; a
/// number of over [`LONGEST_NUMBER`] characters is the shortest text of the nearest `f64`. All other
/// bytes stay. A text that is no JSON beside its numbers is none afterwards.
pub fn plain<'a>(text: &'a str, survey: &Survey) -> Cow<'a, str> {
    if !survey.has_odd_number {
        return Cow::Borrowed(text);
    }
    let (numbers, nans) = rewrite_numbers(text);
    if nans.is_empty() || serde_json::from_str::<&RawValue>(&numbers).is_err() {
        return Cow::Owned(numbers);
    }
    Cow::Owned(remove_properties(&numbers, &nans))
}

/// Rewrites all numbers of a text. A `NaN` becomes `0`; returns where those zeros stand.
fn rewrite_numbers(text: &str) -> (String, Vec<usize>) {
    let bytes = text.as_bytes();
    let mut plain = String::with_capacity(text.len());
    let mut nans = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        let (end, number) = match byte {
            b'"' => (end_of_string(bytes, at), None),
            b'I' => word(bytes, at, "Infinity", INFINITE),
            b'-' if bytes.get(at + 1) == Some(&b'I') => {
                word(bytes, at, "-Infinity", MINUS_INFINITE)
            }
            b'N' => word(bytes, at, "NaN", "0"),
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                (end, rewritten(&text[at..end]))
            }
            _ => (at + 1, None),
        };
        if let Some(number) = number {
            plain.push_str(&text[copied..at]);
            if *byte == b'N' {
                nans.push(plain.len());
            }
            plain.push_str(&number);
            copied = end;
        }
        at = end;
    }
    plain.push_str(&text[copied..]);
    (plain, nans)
}

/// The end of a word of Python's, and the number that stands for it; none where the word is a part of
/// something longer, which is no JSON.
fn word(
    bytes: &[u8],
    at: usize,
    word: &str,
    number: &'static str,
) -> (usize, Option<Cow<'static, str>>) {
    let end = at + word.len();
    let begins =
        at == 0 || matches!(bytes[at - 1], b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'[');
    let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}');
    let is_whole = begins && bytes.get(end).is_none_or(ends);
    match bytes[at..].starts_with(word.as_bytes()) && is_whole {
        true => (end, Some(Cow::Borrowed(number))),
        false => (at + 1, None),
    }
}

/// What a number is rewritten to; `None` where it stays.
fn rewritten(number: &str) -> Option<Cow<'static, str>> {
    let exponent = number.find(['e', 'E']).map(|at| &number[at + 1..]);
    let may_overflow = exponent.is_some_and(|exponent| !exponent.starts_with('-'));
    if !may_overflow && number.len() < MAY_OVERFLOW {
        return None;
    }
    let value: f64 = number.parse().ok().filter(|_| is_number(number))?;
    if value.is_infinite() {
        let infinite = if value > 0.0 { INFINITE } else { MINUS_INFINITE };
        return (number != infinite).then_some(Cow::Borrowed(infinite));
    }
    (number.len() > LONGEST_NUMBER).then(|| Cow::Owned(shortest(value)))
}

/// The shortest JSON text of a finite number, which is read back as the same number.
pub(super) fn shortest(value: f64) -> String {
    // `-0.0` is `0.0`: nobody means another number by it.
    serde_json::Value::from(value + 0.0).to_string()
}

/// Whether a text is one number of JSON's grammar.
fn is_number(text: &str) -> bool {
    fn digits(text: &str) -> Option<&str> {
        let rest = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
        (rest.len() < text.len()).then_some(rest)
    }
    let number = || {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let mut rest = match unsigned.strip_prefix('0') {
            Some(rest) => rest,
            None => digits(unsigned)?,
        };
        if let Some(fraction) = rest.strip_prefix('.') {
            rest = digits(fraction)?;
        }
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            rest = digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))?;
        }
        Some(rest.is_empty())
    };
    number().unwrap_or(false)
}

/// An object or list that is open while properties are removed.
struct Open {
    is_object: bool,
    /// Where its current member begins in what was written, the comma before it included.
    member: usize,
    /// A member before the current one was kept.
    has_members: bool,
    /// The current member was removed.
    is_removed: bool,
}

/// Removes the properties of `json` whose values stand at `values`; a value in a list stays.
fn remove_properties(json: &str, values: &[usize]) -> String {
    let bytes = json.as_bytes();
    let mut kept = String::with_capacity(json.len());
    let mut values = values.iter().peekable();
    let mut open: Vec<Open> = Vec::new();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(byte) = bytes.get(at) {
        let end = if *byte == b'"' { end_of_string(bytes, at) } else { at + 1 };
        let top = open.last_mut().filter(|_| depth <= DEEPEST_REMOVAL);
        match (byte, top) {
            (b'{' | b'[', _) => {
                depth += 1;
                kept.push_str(&json[at..end]);
                if depth <= DEEPEST_REMOVAL {
                    let (is_object, member) = (*byte == b'{', kept.len());
                    open.push(Open { is_object, member, has_members: false, is_removed: false });
                }
            }
            (b'}' | b']', _) => {
                if depth <= DEEPEST_REMOVAL {
                    open.pop();
                }
                depth = depth.saturating_sub(1);
                kept.push_str(&json[at..end]);
            }
            (b',', Some(top)) if top.is_object => {
                top.has_members |= !std::mem::take(&mut top.is_removed);
                top.member = kept.len();
                if top.has_members {
                    kept.push(',');
                }
            }
            (_, top) => {
                let is_removed = values.next_if(|value| **value == at).is_some();
                match top.filter(|top| top.is_object && is_removed) {
                    Some(top) => {
                        kept.truncate(top.member);
                        top.is_removed = true;
                    }
                    None => kept.push_str(&json[at..end]),
                }
            }
        }
        at = end;
    }
    kept
}

/// The end of the string that begins at `at`: behind its closing quote, or the end of the text.
pub(super) fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(ahead) =
        bytes.get(at..).and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'\\')))
    {
        at += ahead;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The end of the run of a number's characters that begins at `at`.
pub(super) fn end_of_number(bytes: &[u8], at: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let rest = bytes[at + 1..].iter().position(|byte| !is_part(byte));
    rest.map_or(bytes.len(), |length| at + 1 + length)
}
