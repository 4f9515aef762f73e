//! JSON as Python's `json` reads and writes it: `Infinity`, `-Infinity` and `NaN` are numbers.
//!
//! `serde_json` has no such numbers. Here they are the strings [`INFINITY`], [`MINUS_INFINITY`] and
//! [`NAN`], which nobody in a simulation writes otherwise.

use serde_json::{Number, Value};

pub const INFINITY: &str = "∞";
pub const MINUS_INFINITY: &str = "-∞";
pub const NAN: &str = "∞/∞";

/// A number of Python's.
pub fn number(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => NAN.into(),
        None if value > 0.0 => INFINITY.into(),
        None => MINUS_INFINITY.into(),
    }
}

/// The value as a number; `None` for anything else.
pub fn as_f64(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text == INFINITY => Some(f64::INFINITY),
        Value::String(text) if text == MINUS_INFINITY => Some(f64::NEG_INFINITY),
        Value::String(text) if text == NAN => Some(f64::NAN),
        _ => None,
    }
}

/// Whether it is one of the numbers that JSON doesn't have.
pub fn is_odd(value: &Value) -> bool {
    as_f64(value).is_some_and(|number| !number.is_finite())
}

/// What `json.dumps` makes of it.
pub fn dumps(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains('∞') {
        return text;
    }
    text.replace("\"∞/∞\"", "NaN").replace("\"-∞\"", "-Infinity").replace("\"∞\"", "Infinity")
}

/// What `json.loads` makes of the server's JSON, which browsers read, too: an infinite number is one
/// that is too large.
pub fn loads(json: &[u8]) -> Value {
    let text = std::str::from_utf8(json).expect("the server sends UTF-8");
    let read = |text: &str| serde_json::from_str(text);
    let value = match text.contains("1e999") {
        true => read(&text.replace("-1e999", "\"-∞\"").replace("1e999", "\"∞\"")),
        false => read(text),
    };
    value.unwrap_or_else(|why| panic!("the server sends JSON: {why}: {text}"))
}

/// Whether two values mean the same. Whoever shifts a number there and back may lose its last digit.
pub fn same(a: &Value, b: &Value) -> bool {
    match (as_f64(a), as_f64(b)) {
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(1.0)
        }
        (None, None) => match (a, b) {
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            _ => a == b,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn odd_numbers_are_written_as_python_writes_them_and_read_as_the_server_writes_them() {
        let odd = json!({"a": number(f64::INFINITY), "b": [number(-f64::INFINITY)], "c": NAN});
        assert_eq!(dumps(&odd), r#"{"a":Infinity,"b":[-Infinity],"c":NaN}"#);
        let read = loads(br#"{"a":1e999,"b":[-1e999],"c":1.5}"#);
        assert_eq!(read, json!({"a": INFINITY, "b": [MINUS_INFINITY], "c": 1.5}));
    }
}
