//! The tests of `json.rs`.

use super::*;

#[test]
fn the_first_value_of_a_list_is_found() {
    for (list, first) in [
        ("[]", None),
        ("{}", None),
        (r#""[1]""#, None),
        ("[1]", Some("1")),
        (r#" [ {"a":[2]} , 3, 4]"#, Some(r#"{"a":[2]}"#)),
    ] {
        let list: &RawValue = serde_json::from_str(list).unwrap();
        assert_eq!(first_in_list(list).map(RawValue::get), first);
    }
}

#[test]
fn a_character_that_json_writes_otherwise_is_found_wherever_it_stands() {
    for byte in 0..=127 {
        let is_escaped = byte < b' ' || matches!(byte, b'"' | b'\\');
        for length in 0..20 {
            for place in 0..=length {
                let mut text = "ü".repeat(length / 2) + &" ".repeat(length % 2);
                let place = text.floor_char_boundary(place);
                text.insert(place, char::from(byte));
                assert_eq!(has_escapes(&text), is_escaped, "{text:?}");
            }
        }
    }
    assert!(!has_escapes(""));
}

#[test]
fn names_that_editors_use_take_no_memory() {
    for (text, is_known) in [("x_mm", true), ("interfaces", true), ("x", false), ("", false)] {
        assert_eq!(name(text), text);
        assert_eq!(matches!(name(text), Cow::Borrowed(_)), is_known, "{text}");
    }
}

#[test]
fn the_length_of_a_string_is_known_beforehand() {
    for text in ["", "a", "ü\u{7f}", "\"", "\\", "\n\0", "😀"] {
        assert_eq!(length_of_string(text), string(text).get().len(), "{text:?}");
    }
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn the_last_of_equal_names_counts_and_bytes_are_kept() {
    let object = Object::parse(r#"{"a": 1.50, "b":2, "\u0061": 18446744073709551616}"#).unwrap();
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
    for (text, is_one) in [(r#""""#, true), (r#""\ud83d\ude00""#, true), (r#""\ud800""#, false)] {
        assert_eq!(is_string(&raw(text)), is_one, "{text}");
    }
    assert!(!is_string(&raw("7")) && !is_string(&raw("null")));
}

#[test]
fn a_string_is_found_without_parsing() {
    for (text, found) in [
        (r#"{"type":"chat"}"#, Some("chat")),
        (r#" { "a" : {"type":"x","b":["type"]} , "type" : "ch\u0061t" } "#, Some("chat")),
        (r#"{"\u0074y\u0070e":"chat"}"#, Some("chat")),
        (r#"{"type":"x","type":"chat"}"#, Some("chat")),
        (r#"{"type":"chat","type":7}"#, None),
        (r#"{"type":"chat","type":null,"a":"b"}"#, None),
        (r#"{"type":"chat","type":["x"]}"#, None),
        (r#"{"type":7,"a":"type","b":"x"}"#, None),
        (r#"{"a":"type"}"#, None),
        (r#"{"a":"\"type\":\"chat\""}"#, None),
        (r#"{"n":NaN,"type":"chat","m":Infinity}"#, Some("chat")),
        (r#"{"type":"\ud800"}"#, None),
        (r#"[{"type":"chat"}]"#, None),
        (r#"{"type":"chat""#, Some("chat")),
        (r#"{"type":"#, None),
        (r#"{"type"#, None),
        ("", None),
    ] {
        assert_eq!(find_string(text, "type").as_deref(), found, "{text}");
    }
    let hostile = format!("{}\"type\":\"x\"", "{".repeat(1_000_000));
    assert_eq!(find_string(&hostile, "type"), None);
}

#[test]
fn proportions() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(check_depth_and_numbers(&nested(100)).is_ok());
    assert!(check_depth_and_numbers(&nested(101)).is_err());
    assert!(check_depth_and_numbers(&"[],".repeat(1000)).is_ok());
    assert!(check_depth_and_numbers(&format!("\"{}\"", "[".repeat(1000))).is_ok());
    assert!(check_depth_and_numbers(&format!("\"\\\"{}\"", "[".repeat(1000))).is_ok());
    assert!(check_depth_and_numbers(&"1".repeat(400)).is_ok());
    assert!(check_depth_and_numbers(&"1".repeat(401)).is_err());
}
