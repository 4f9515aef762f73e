//! Numbers as Python's `json` writes and reads them: `Infinity`, `-Infinity`, `NaN`, and any number
//! of digits. They are rewritten to plain JSON before a message is parsed.
//!
//! Runs on the client's thread. Every function takes time linear in the text.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The longest text of one number, in bytes. Python refuses integers over 4,300 digits.
pub const MAX_NUMBER_BYTES: usize = 400;
/// Infinity in plain JSON. Python and JavaScript read it as infinite.
const INFINITE: &str = "1e999";
const MINUS_INFINITE: &str = "-1e999";
/// The fewest digits of a number without an exponent that an `f64` can't hold.
const MIN_OVERFLOW_DIGITS: usize = 309;
/// No property is removed at a deeper level than this. An item that nests so deep is refused
/// anyway.
const MAX_REMOVAL_DEPTH: usize = 128;

/// What one pass over the bytes of a text finds before anything is parsed. The text need not be
/// JSON.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The deepest nesting of objects and lists.
    pub depth: usize,
    /// The length of the longest number, in bytes.
    pub longest_number: usize,
    /// True where the text has a number that [`plain`] rewrites.
    pub has_odd_number: bool,
}

impl Survey {
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut survey = Survey::default();
        let (mut at, mut depth) = (0, 0usize);
        while let Some(byte) = bytes.get(at) {
            at = match byte {
                b'"' => end_of_string(bytes, at),
                b'-' | b'0'..=b'9' => {
                    let end = end_of_number(bytes, at);
                    survey.longest_number = survey.longest_number.max(end - at);
                    survey.has_odd_number |=
                        may_be_odd(&bytes[at..end]) && rewritten(&text[at..end]).is_some();
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
                // Outside of strings and exponents JSON has no capital letters.
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

/// Rewrites the odd numbers of a text to plain JSON. An infinite number, or one that an `f64` can't
/// hold, becomes `1e999` or `-1e999`. A property that is `NaN` is removed from its object; `NaN` in
/// a list becomes 0. A number of over [`MAX_NUMBER_BYTES`] characters becomes the shortest text of
/// the nearest `f64`. All other bytes stay, so a text that isn't JSON for another reason doesn't
/// become JSON.
///
/// A text without odd numbers costs one pass over its bytes.
pub fn plain(text: &str) -> PlainText<'_> {
    let Survey { depth, has_odd_number, .. } = Survey::new(text);
    if !has_odd_number {
        return PlainText { text: Cow::Borrowed(text), depth };
    }
    let (numbers, nans) = rewrite_numbers(text);
    let has_nans = !nans.is_empty() && serde_json::from_str::<&RawValue>(&numbers).is_ok();
    let text = if has_nans { remove_properties(&numbers, &nans) } else { numbers };
    PlainText { text: Cow::Owned(text), depth }
}

/// A text whose numbers are plain JSON.
pub struct PlainText<'a> {
    pub text: Cow<'a, str>,
    /// The deepest nesting of objects and lists.
    pub depth: usize,
}

/// Rewrites all numbers of a text. A `NaN` becomes `0`; returns the offsets of those zeros.
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

/// The end of one of Python's words, and the number that replaces it: `None` where the word is part
/// of something longer, which is no JSON.
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

/// True where a number has so many digits, or such an exponent, that it may have to be rewritten.
/// Almost no number has: this is the only cost of the others.
fn may_be_odd(number: &[u8]) -> bool {
    let exponent = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    number.len() >= MIN_OVERFLOW_DIGITS
        || exponent.is_some_and(|at| number.get(at + 1) != Some(&b'-'))
}

/// The text that replaces a number; `None` where the number stays.
fn rewritten(number: &str) -> Option<Cow<'static, str>> {
    if !may_be_odd(number.as_bytes()) {
        return None;
    }
    let value: f64 = number.parse().ok().filter(|_| is_number(number))?;
    if value.is_infinite() {
        let infinite = if value > 0.0 { INFINITE } else { MINUS_INFINITE };
        return (number != infinite).then_some(Cow::Borrowed(infinite));
    }
    (number.len() > MAX_NUMBER_BYTES).then(|| Cow::Owned(shortest(value)))
}

/// The shortest JSON text that is read back as the same finite number.
pub(super) fn shortest(value: f64) -> String {
    // Adding 0.0 turns `-0.0` into `0.0`.
    serde_json::Value::from(value + 0.0).to_string()
}

/// True where a text is one number of JSON's grammar.
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
struct OpenContainer {
    is_object: bool,
    /// The offset in the output where the current member begins, including the comma before it.
    member: usize,
    /// True where a member before the current one was kept.
    has_members: bool,
    /// True where the current member was removed.
    is_removed: bool,
}

/// Removes the properties of `json` whose values are at the offsets `values`. A value in a list
/// stays.
fn remove_properties(json: &str, values: &[usize]) -> String {
    let bytes = json.as_bytes();
    let mut kept = String::with_capacity(json.len());
    let mut values = values.iter().peekable();
    let mut open: Vec<OpenContainer> = Vec::new();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(byte) = bytes.get(at) {
        let end = if *byte == b'"' { end_of_string(bytes, at) } else { at + 1 };
        let top = open.last_mut().filter(|_| depth <= MAX_REMOVAL_DEPTH);
        match (byte, top) {
            (b'{' | b'[', _) => {
                depth += 1;
                kept.push_str(&json[at..end]);
                if depth <= MAX_REMOVAL_DEPTH {
                    let (is_object, member) = (*byte == b'{', kept.len());
                    open.push(OpenContainer {
                        is_object,
                        member,
                        has_members: false,
                        is_removed: false,
                    });
                }
            }
            (b'}' | b']', _) => {
                if depth <= MAX_REMOVAL_DEPTH {
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

/// The end of the string that begins at `at`: the offset after its closing quote, or the end of the
/// text.
pub(super) fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(ahead) = bytes.get(at..).and_then(to_quote_or_backslash) {
        at += ahead;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The distance to the next quote or backslash, in bytes.
fn to_quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (place, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let found = equal(eight, b'"') | equal(eight, b'\\');
        if found != 0 {
            return Some(8 * place + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    found.map(|place| 8 * eights.len() + place)
}

/// Finds bytes below `bound`, which is at most 128, in eight bytes of which the first is the
/// lowest. The result has the top bit of the first such byte set, and maybe top bits of bytes after
/// it.
pub(super) fn below(eight: u64, bound: u8) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    eight.wrapping_sub(ONES * u64::from(bound)) & !eight & (ONES << 7)
}

/// Finds bytes that are equal to `byte`; the result is as in [`below`].
pub(super) fn equal(eight: u64, byte: u8) -> u64 {
    below(eight ^ (u64::MAX / 255 * u64::from(byte)), 1)
}

/// True for the characters of numbers.
const IS_IN_NUMBERS: [bool; 256] = {
    let mut is_part = [false; 256];
    let parts = b"0123456789-+.eE";
    let mut place = 0;
    while place < parts.len() {
        is_part[parts[place] as usize] = true;
        place += 1;
    }
    is_part
};

/// The end of the run of a number's characters that begins at `at`.
pub(super) fn end_of_number(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at + 1..].iter().position(|byte| !IS_IN_NUMBERS[usize::from(*byte)]);
    rest.map_or(bytes.len(), |length| at + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(text: &str) -> String {
        plain(text).text.into_owned()
    }

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_stands() {
        for length in 0..20 {
            for content in ["a", "!", "#", "ü", "\u{7f}", r"\\", r#"\""#] {
                let string = format!("\"{}{content}\"", " ".repeat(length));
                for after in ["", "\"", ",\"b\\\":1", "[                \""] {
                    let text = format!("[{string}{after}");
                    assert_eq!(end_of_string(text.as_bytes(), 1), 1 + string.len(), "{text}");
                }
            }
            let open = format!("\"{}", "a".repeat(length));
            assert_eq!(end_of_string(open.as_bytes(), 0), open.len());
            assert_eq!(end_of_string((open.clone() + "\\").as_bytes(), 0), open.len() + 1);
        }
    }

    #[test]
    fn odd_numbers_are_rewritten() {
        let digits = "9".repeat(350);
        let zeros = "0".repeat(500);
        for (odd, expected) in [
            ("[Infinity]", "[1e999]"),
            ("[-Infinity , Infinity]", "[-1e999 , 1e999]"),
            (r#"{"a":Infinity,"b":-Infinity}"#, r#"{"a":1e999,"b":-1e999}"#),
            ("[1e400,-1E+400,10e308,1e999,-1e999]", "[1e999,-1e999,1e999,1e999,-1e999]"),
            (&format!("[{digits},-{digits}]"), "[1e999,-1e999]"),
            (&format!("[1.{zeros}]"), "[1.0]"),
            (&format!("[-0.{zeros}]"), "[0.0]"),
            (&format!("[0.1{zeros}1]"), "[0.1]"),
            (&format!("[1{}]", "0".repeat(400)), "[1e999]"),
            (&format!("[0.{zeros}25e500]"), "[0.25]"),
            // Close to the largest number, and beyond it.
            ("[1.7976931348623157e308]", "[1.7976931348623157e308]"),
            ("[1.7976931348623159e308]", "[1e999]"),
            ("[NaN]", "[0]"),
            ("[ NaN ,1,NaN]", "[ 0 ,1,0]"),
            (r#"{"a":NaN}"#, "{}"),
            (r#"{ "a" : NaN }"#, "{ }"),
            (r#"{"a":NaN,"b":1}"#, r#"{"b":1}"#),
            (r#"{"a":1,"b":NaN}"#, r#"{"a":1}"#),
            (r#"{"a":1,"b":NaN,"c":2}"#, r#"{"a":1,"c":2}"#),
            (r#"{"a":NaN,"b":NaN,"c":NaN}"#, "{}"),
            (r#"{"a":NaN,"b":1,"c":NaN,"d":2}"#, r#"{"b":1,"d":2}"#),
            (r#"{"a":{"b":NaN,"c":[NaN,{"d":NaN}]},"e":0}"#, r#"{"a":{"c":[0,{}]},"e":0}"#),
            (r#"{"a\"NaN":"NaN","b":NaN}"#, r#"{"a\"NaN":"NaN"}"#),
        ] {
            assert!(Survey::new(odd).has_odd_number || odd == expected, "{odd}");
            assert_eq!(rewrite(odd), expected, "{odd}");
            assert_eq!(rewrite(expected), expected, "{odd} twice");
        }
    }

    #[test]
    fn everything_else_keeps_its_bytes() {
        let long = format!("[{}]", "1".repeat(309).replacen('1', "0.", 1));
        for text in [
            "",
            "{",
            r#"{"Infinity":"NaN, -Infinity \" NaN","n":[1.50,-0,18446744073709551616,1e5,1E-999]}"#,
            r#"{"ü":"∞","n":6.123233995736766e-17}"#,
            &long,
        ] {
            assert!(matches!(plain(text).text, Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_does_not_become_any() {
        for text in [
            "{NaN}",
            r#"{"a" NaN}"#,
            r#"{"a":NaN,}"#,
            r#"{"a":NaN "b":1}"#,
            r#"{"a":NaN:1}"#,
            r#"{NaN:1}"#,
            r#"{"a":1,NaN}"#,
            "[NaN NaN]",
            "[-NaN]",
            "[+Infinity]",
            "[5Infinity]",
            "[Infinity5]",
            "[Infinityx]",
            "[NaNN]",
            "[Inf]",
            "[--Infinity]",
            "[1e400x]",
            "[01e400]",
            "[1e400.5]",
            "[.5e400]",
            "[1.e400]",
            "[1e+]",
            "[Infinity",
            r#"{"a":"NaN"#,
        ] {
            let plain = rewrite(text);
            assert!(serde_json::from_str::<&RawValue>(&plain).is_err(), "{text} became {plain}");
        }
    }

    #[test]
    fn a_survey_finds_depth_and_length() {
        let text = format!(r#"{{"a":[[{}],"[[[["],"b":{{}}}}"#, "1".repeat(77));
        let expected = Survey { depth: 3, longest_number: 77, has_odd_number: false };
        assert_eq!(Survey::new(&text), expected);
        let hostile = format!("{}NaN{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(Survey::new(&hostile).depth, 500_000);
        assert_eq!(rewrite(&hostile).len(), hostile.len() - 2);
        let deep = format!(r#"{}{{"a":NaN}}{}"#, "[".repeat(500), "]".repeat(500));
        assert!(rewrite(&deep).contains(r#"{"a":0}"#), "below the deepest that is taken");
    }
}
