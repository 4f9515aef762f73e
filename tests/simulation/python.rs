//! JSON as Python's `json` reads and writes it: `Infinity`, `-Infinity` and `NaN` are numbers.
//!
//! `serde_json` has no such numbers. Here they are the strings [`INFINITY`], [`MINUS_INFINITY`] and
//! [`NAN`], which nobody in a simulation writes otherwise.

use serde_json::{Map, Number, Value};

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

/// What `json.loads` makes of the server's JSON: every number exactly as it is written, which `serde_json`
/// doesn't promise; one that is too large is infinite.
pub fn loads(json: &[u8]) -> Value {
    let text = std::str::from_utf8(json).expect("the server sends UTF-8");
    let mut reader = Reader { text, at: 0 };
    let value = reader.value();
    reader.skip_space();
    assert_eq!(reader.at, text.len(), "more than one value: {text}");
    value
}

/// Reads JSON, and panics on anything else.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Value {
        match self.peek() {
            b'{' => self.object(),
            b'[' => self.list(),
            b'"' => Value::String(self.string()),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self) -> Value {
        let mut object = Map::new();
        self.at += 1;
        while self.peek() != b'}' {
            let name = self.string();
            assert_eq!(self.peek(), b':', "{}", self.text);
            self.at += 1;
            // Of a name that stands twice the last one counts.
            object.insert(name, self.value());
            self.comma(b'}');
        }
        self.at += 1;
        Value::Object(object)
    }

    fn list(&mut self) -> Value {
        let mut list = Vec::new();
        self.at += 1;
        while self.peek() != b']' {
            list.push(self.value());
            self.comma(b']');
        }
        self.at += 1;
        Value::Array(list)
    }

    fn comma(&mut self, end: u8) {
        match self.peek() {
            b',' => {
                self.at += 1;
                assert_ne!(self.peek(), end, "{}", self.text);
            }
            other => assert_eq!(other, end, "{}", self.text),
        }
    }

    fn string(&mut self) -> String {
        assert_eq!(self.peek(), b'"', "{}", self.text);
        let rest = &self.text[self.at + 1..];
        let mut is_escaped = false;
        let end = rest.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let end = end.expect("a string ends");
        let quoted = &self.text[self.at..self.at + end + 2];
        self.at += end + 2;
        match quoted.contains('\\') {
            true => serde_json::from_str(quoted).expect("a string"),
            false => quoted[1..=end].to_owned(),
        }
    }

    fn number(&mut self) -> Value {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        let end = rest.bytes().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let written = &rest[..end];
        self.at += end;
        if let Ok(integer) = written.parse::<i64>() {
            return integer.into();
        }
        number(written.parse().unwrap_or_else(|_| panic!("{written} is no number: {}", self.text)))
    }

    fn literal(&mut self, word: &str, value: Value) -> Value {
        assert!(self.text[self.at..].starts_with(word), "{}", self.text);
        self.at += word.len();
        value
    }

    fn skip_space(&mut self) {
        let rest = self.text.as_bytes()[self.at..].iter();
        self.at += rest.take_while(|byte| byte.is_ascii_whitespace()).count();
    }

    /// The next byte that is no space; 0 at the end.
    fn peek(&mut self) -> u8 {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }
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
        let read = loads(
            br#" {"a" : -1.5999999999999999, "b":[ ], "c":"x\"\u00e4", "d":[true,null,-7]} "#,
        );
        let same = json!({"a": 1.8 - 3.4, "b": [], "c": "x\"ä", "d": [true, null, -7]});
        assert_eq!(read, same);
    }
}
