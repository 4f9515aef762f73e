//! A request: its line and its headers as they were sent.

use std::fmt;

/// The value of a header that isn't UTF-8. It counts as present and matches nothing.
const UNREADABLE: &str = "\u{fffd}";

pub struct Request<'a> {
    pub method: &'a str,
    /// As sent: percent-encoded, without the query.
    pub path: &'a str,
    /// As sent: percent-encoded, without the `?`; empty where there is none.
    pub query: &'a str,
    /// True for HTTP/1.0: it may have no `Host`, and it is the last request on its connection.
    pub(super) is_old: bool,
    pub(super) headers: Vec<httparse::Header<'a>>,
}

impl Request<'_> {
    /// The first value of the header of this name, in any case. A value that isn't UTF-8 reads as
    /// U+FFFD.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All values of the header of this name, in the order they were sent. A value that isn't UTF-8
    /// reads as U+FFFD.
    pub fn headers(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        let headers = self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        headers.map(|header| std::str::from_utf8(header.value).unwrap_or(UNREADABLE))
    }

    /// The names of all headers as they were sent.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|header| header.name)
    }

    /// The value of the first parameter of the query with this name, decoded as in a form: `%2B` is
    /// a plus, `+` a space. A parameter without a `=` has an empty value.
    ///
    /// A badly encoded value doesn't read as missing: a `%` without two digits stays, and bytes
    /// that aren't UTF-8 become U+FFFD.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let bytes = decoded(&self.sent_in_query(name)?, true).unwrap_or_default();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Request::query_value`], for a name that something is to have: a badly encoded value is
    /// `None`.
    pub fn name_in_query(&self, name: &str) -> Option<String> {
        percent_decoded(&self.sent_in_query(name)?)
    }

    /// The first parameter of the query with this name, with its percent signs.
    fn sent_in_query(&self, name: &str) -> Option<String> {
        let mut parameters =
            self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = parameters.find(|(key, _)| *key == name)?;
        Some(value.replace('+', " "))
    }

    /// True where the request asks for a WebSocket. HTTP/1.0 has none (RFC 9110 §7.8).
    pub fn wants_websocket(&self) -> bool {
        !self.is_old && self.lists("connection", "upgrade") && self.lists("upgrade", "websocket")
    }

    /// True where no further request is read from the connection: the client says so, speaks
    /// HTTP/1.0, or sends a body, which is not read.
    pub fn is_last(&self) -> bool {
        let is_not_zero = |value: &str| value.bytes().any(|byte| byte != b'0');
        let has_body = self.header("transfer-encoding").is_some()
            || self.headers("content-length").any(is_not_zero);
        self.is_old || self.lists("connection", "close") || has_body
    }

    /// True where the header of this name, a list, has this token.
    fn lists(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.headers(name).flat_map(|value| value.split(','));
        tokens.any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}

impl fmt::Debug for Request<'_> {
    /// Shows neither path nor query nor headers: each may contain a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Decodes a part of a path. `None` where a `%` isn't followed by two digits or the result isn't
/// UTF-8.
pub fn percent_decoded(encoded: &str) -> Option<String> {
    String::from_utf8(decoded(encoded, false)?).ok()
}

/// Decodes percent signs. A `%` without two digits stays where `kept` is set; otherwise the result
/// is `None`.
fn decoded(encoded: &str, kept: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
        match (byte, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                decoded.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            (b'%', None) if !kept => return None,
            _ => {
                decoded.push(byte);
                bytes = rest;
            }
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::super::parse_head;
    use super::*;

    fn request(head: &[u8]) -> Request<'_> {
        parse_head(head).unwrap().unwrap().request
    }

    #[test]
    fn a_query_has_values_by_name() {
        let head = b"GET /?key=a%2Fb%3D+%2B&key=c&empty=&bare&a=b=c&%61=d&bad=%zz%4&\
                     wrong=%ff%C3%BC HTTP/1.1\r\nHost: h\r\n\r\n";
        let request = request(head);
        for (name, value) in [
            ("key", Some("a/b= +")),
            ("empty", Some("")),
            ("bare", Some("")),
            ("a", Some("b=c")),
            ("%61", Some("d")),
            ("bad", Some("%zz%4")),
            ("wrong", Some("\u{fffd}ü")),
            ("ey", None),
            ("Key", None),
        ] {
            assert_eq!(request.query_value(name).as_deref(), value, "{name}");
        }
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(
            super::super::parse_head(head).unwrap().unwrap().request.query_value("key"),
            None
        );
    }

    #[test]
    fn a_header_may_be_there_several_times_and_never_passes_for_missing() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nVia: a\r\nvia:  b, c \r\nX: \xff\r\nVIA:\r\n\r\n";
        let request = request(head);
        assert_eq!(request.headers("Via").collect::<Vec<_>>(), ["a", "b, c", ""]);
        assert_eq!(request.headers("via").next_back(), Some(""));
        assert_eq!(request.header("x"), Some("\u{fffd}"));
        assert_eq!(request.header("y"), None);
    }

    #[test]
    fn a_websocket_key_is_sixteen_bytes_in_base64() {
        let status = |key: &str| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            );
            super::super::accept(&request(head.as_bytes()))
                .map_or_else(|refusal| refusal.status(), |_| 101)
        };
        for good in
            ["dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA==", "+/+/+/+/+/+/+/+/+/+/+w=="]
        {
            assert_eq!(status(good), 101, "{good}");
        }
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZWQ=",
            "dGhlIHNhbXBsZSBub25j",
            "!!!!!!!!!!!!!!!!!!!!!!==",
            "-_-_-_-_-_-_-_-_-_-_-w==",
            "dGhlIHNhbXBs ZSBub25jZQ==",
            "========================",
        ] {
            assert_eq!(status(bad), 400, "{bad}");
        }
    }

    #[test]
    fn debug_shows_nothing_that_may_be_a_key() {
        let head = b"GET /key/SECRET/ws/a/b?key=SECRET HTTP/1.1\r\nHost: h\r\n\
                     Authorization: Bearer SECRET\r\n\r\nSECRET";
        let shown = format!("{:?} {:?}", request(head), parse_head(head));
        assert!(
            shown.contains("GET") && !shown.contains("SECRET") && !shown.contains("83"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_badly_encoded_in_a_path_is_nothing() {
        assert_eq!(percent_decoded("a%20b+%c3%BC%25").as_deref(), Some("a b+ü%"));
        for bad in ["%", "%4", "%zz", "%+1", "a%f", "%ff", "%é9"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }
}
