//! The head of a request: read from a socket until it is whole, then parsed.
//!
//! A proxy in front of the server may decide by the same bytes. A head that the proxy could have
//! read in another way is refused, so that both act on the same request.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Request, Response};

/// The largest head of a request, line and headers, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How many bytes of a head are read at once.
const READ_BYTES: usize = 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// Headers that may occur only once, because a decision depends on them.
const SINGLE_HEADERS: [&str; 7] = [
    "host",
    "origin",
    "authorization",
    "sec-websocket-key",
    "sec-websocket-version",
    "content-length",
    "transfer-encoding",
];

const BARE_LINE_FEED: &str = "every line of a request has to end with CR LF";
const NOT_HTTP: &str = "this is not a request of HTTP/1.1 or HTTP/1.0";

pub struct Head<'a> {
    pub request: Request<'a>,
    /// The bytes that came after the head: the client's first frames.
    pub rest: &'a [u8],
}

impl fmt::Debug for Head<'_> {
    /// Doesn't show the bytes after the head: they are a client's messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.rest.len();
        f.debug_struct("Head").field("request", &self.request).field("rest", &rest).finish()
    }
}

/// Parses the head at the start of `bytes`; `None` while it isn't whole. Takes time linear in the
/// bytes and never panics, whatever they are.
///
/// # Errors
/// The refusal, which quotes nothing of the bytes: 431 where the head is too large, 400 where it
/// isn't HTTP/1.1 or HTTP/1.0 or could be read in two ways.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head<'_>>, Response> {
    let end = match end_of_head(bytes, 0) {
        Some(end) if end <= MAX_HEAD_BYTES => end,
        // For example TLS: its client waits for an answer before it sends more, so the head never
        // gets whole.
        None if bytes.first().is_some_and(|byte| !may_begin(*byte)) => return Err(bad(NOT_HTTP)),
        // A client that ends lines by a bare line feed never sends the empty line.
        None if has_bare_line_feed(bytes, 0) => return Err(bad(BARE_LINE_FEED)),
        None if bytes.len() <= MAX_HEAD_BYTES => return Ok(None),
        _ => return Err(Response::text(431, "the request has to be smaller than 16 KiB")),
    };
    let (head, rest) = bytes.split_at(end);
    // RFC 9112 §2.2 lets a server accept a bare line feed as the end of a line; not every proxy
    // does.
    if has_bare_line_feed(head, 0) {
        return Err(bad(BARE_LINE_FEED));
    }
    // On the heap, where it is freed: an idle client's thread keeps a stack page that was touched
    // once.
    let mut headers = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(size)) if size == end => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Response::text(431, "the request has to have at most 100 headers"));
        }
        _ => return Err(bad(NOT_HTTP)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(bad(NOT_HTTP));
    };
    let count = parsed.headers.len();
    headers.truncate(count);
    let (authority, path, query) = parts_of(target);
    let request = Request { method, path, query, is_old: version == 0, headers };
    check(&request, authority)?;
    Ok(Some(Head { request, rest }))
}

/// True where a request, or an empty line before it, may begin with this byte.
fn may_begin(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n')
}

fn bad(why: &'static str) -> Response {
    Response::text(400, why)
}

/// Splits a target into its authority, path and query. A proxy sends the authority, too:
/// `http://host/path` (RFC 9112 §3.2.2).
fn parts_of(target: &str) -> (Option<&str>, &str, &str) {
    let target = target.split('#').next().unwrap_or_default();
    let whole = target.split_once("://").filter(|(scheme, _)| {
        ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
    });
    let (authority, target) = match whole {
        Some((_, rest)) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, target),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (authority, if path.is_empty() { "/" } else { path }, query)
}

/// Refuses a request that a proxy and this server might read in two ways.
fn check(request: &Request<'_>, authority: Option<&str>) -> Result<(), Response> {
    if SINGLE_HEADERS.iter().any(|name| request.headers(name).nth(1).is_some()) {
        return Err(bad("Host, Origin, Authorization, Sec-WebSocket-Key, Sec-WebSocket-Version, \
             Content-Length and Transfer-Encoding may each be there only once"));
    }
    // RFC 9112 §3.2: HTTP/1.1 requires Host.
    let host = request.header("host");
    if host.is_none() && !request.is_old {
        return Err(bad("a request has to have a Host header"));
    }
    let is_host = |authority: &str| host.is_some_and(|host| authority.eq_ignore_ascii_case(host));
    if authority.is_some_and(|authority| !is_host(authority)) {
        return Err(bad("the host in the request line has to be the one in the Host header"));
    }
    let length = request.header("content-length");
    let is_number = |length: &str| !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    if length.is_some_and(|length| !is_number(length)) {
        return Err(bad("Content-Length has to be a number"));
    }
    let is_chunked = request.header("transfer-encoding").is_some();
    // RFC 9112 §6.1: a proxy in between may have ignored it.
    if is_chunked && request.is_old {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    if is_chunked && length.is_some() {
        return Err(bad("a request has Content-Length or Transfer-Encoding, not both"));
    }
    // The body would be taken for the client's first frames.
    let has_body = is_chunked || length.is_some_and(|length| length.bytes().any(|b| b != b'0'));
    if has_body && matches!(request.method, "GET" | "HEAD") {
        return Err(bad("a GET request has no body here"));
    }
    Ok(())
}

/// The path in the request line, as it was sent, even where the request is refused; `/` where there
/// is none.
pub fn path_of(bytes: &[u8]) -> &str {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    parts_of(std::str::from_utf8(target).unwrap_or_default()).1
}

/// Why a head or body could not be read.
#[derive(Debug)]
pub enum HeadError {
    /// The client has left, or it sent nothing in time.
    Disconnected,
    /// The request is refused with this response.
    Refuse(Response),
}

/// Reads a request's head and passes it to `answer`, with the bytes that came after it. These bytes
/// are left in `bytes`, which at the call contains the beginning of the request.
///
/// The whole head has to arrive before `deadline`; a client that sends one byte at a time gets no
/// more time. Without a deadline this waits until the client sends a head or leaves.
///
/// # Errors
/// [`HeadError::Refuse`] when the head is refused or late, [`HeadError::Disconnected`] when the
/// client has left or sent nothing in time.
pub fn read_head<T>(
    socket: &TcpStream,
    bytes: &mut Vec<u8>,
    deadline: Option<Instant>,
    answer: impl FnOnce(&Request<'_>, &[u8]) -> T,
) -> Result<T, HeadError> {
    let mut known = 0;
    loop {
        // Parsed only when it may be whole: parsing after every byte would take quadratic time.
        let may_be_whole =
            known == 0 || end_of_head(bytes, known).is_some() || has_bare_line_feed(bytes, known);
        if !bytes.is_empty()
            && (may_be_whole || bytes.len() > MAX_HEAD_BYTES)
            && let Some(whole) = parse_head(bytes).map_err(HeadError::Refuse)?
        {
            let (answer, rest) = (answer(&whole.request, whole.rest), whole.rest.len());
            bytes.drain(..bytes.len() - rest);
            return Ok(answer);
        }
        known = bytes.len();
        if !read_some(socket, bytes, READ_BYTES, deadline)? {
            return Err(HeadError::Disconnected);
        }
    }
}

/// Appends at most `most` bytes from the socket. Returns false at the end of the stream.
pub(super) fn read_some(
    socket: &TcpStream,
    head: &mut Vec<u8>,
    most: usize,
    deadline: Option<Instant>,
) -> Result<bool, HeadError> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left == Some(Duration::ZERO) || socket.set_read_timeout(left).is_err() {
        return Err(too_late(head));
    }
    let known = head.len();
    head.resize(known + most, 0);
    let read = { socket }.read(&mut head[known..]);
    head.truncate(known + read.as_ref().copied().unwrap_or(0));
    match read {
        Ok(size) => Ok(size > 0),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) if is_timeout(&error) => Err(too_late(head)),
        Err(_) => Err(HeadError::Disconnected),
    }
}

fn too_late(head: &[u8]) -> HeadError {
    match head.is_empty() {
        true => HeadError::Disconnected,
        false => HeadError::Refuse(too_slow()),
    }
}

pub(super) fn too_slow() -> Response {
    Response::text(408, "the request took too long to arrive")
}

/// True where a read ended by its timeout. Linux, macOS and Windows report different kinds.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// True where a line that ends after the first `known` bytes has no carriage return.
fn has_bare_line_feed(head: &[u8], known: usize) -> bool {
    let mut news = head.iter().enumerate().skip(known);
    news.any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'))
}

/// The end of the first empty line. The first `known` bytes have been searched before, so only
/// their last three can belong to it.
fn end_of_head(head: &[u8], known: usize) -> Option<usize> {
    let from = known.saturating_sub(3);
    let found = head[from..].windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(from + found + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match parse_head(head.as_bytes()) {
            Ok(Some(_)) => 200,
            Ok(None) => 100,
            Err(refusal) => refusal.status(),
        }
    }

    fn with(headers: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
    }

    #[test]
    fn a_head_is_whole_at_its_empty_line_and_not_before() {
        let head = b"GET /a?b=c#d HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\nframes\r\n\r\n";
        let end = head.len() - b"frames\r\n\r\n".len();
        for size in 0..end {
            assert!(matches!(parse_head(&head[..size]), Ok(None)), "{size}");
        }
        for size in end..=head.len() {
            let whole = parse_head(&head[..size]).unwrap().unwrap();
            assert_eq!(whole.rest, &head[end..size]);
            let request = whole.request;
            assert_eq!((request.method, request.path, request.query), ("GET", "/a", "b=c"));
            assert_eq!(request.header("x"), Some("y"));
        }
    }

    #[test]
    fn a_line_that_ends_without_a_carriage_return_is_refused_before_the_head_is_whole() {
        for head in [
            "GET / HTTP/1.1\n",
            "\n",
            "GET / HTTP/1.1\r\nHost: h\n",
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
        ] {
            assert_eq!(status(head), 400, "{head:?}");
        }
        for head in ["\r", "\r\n", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHost: h\r\n\r"] {
            assert_eq!(status(head), 100, "{head:?}");
        }
        // The bytes come in pieces, cut at every place.
        let whole = b"GET / HTTP/1.1\r\nHost: h\n";
        for known in 0..whole.len() {
            assert!(has_bare_line_feed(whole, known), "{known}");
            assert!(!has_bare_line_feed(&whole[..known], 0), "{known}");
        }
    }

    #[test]
    fn targets_come_whole_too_and_then_name_the_same_host() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("*", "*", ""),
            ("?x", "/", "x"),
            ("/a?", "/a", ""),
            ("/a?b?c", "/a", "b?c"),
            ("http://H/a/b?c", "/a/b", "c"),
            ("WSS://h", "/", ""),
            ("http://h?x=/ws/a/b", "/", "x=/ws/a/b"),
            ("http://h#/ws/a/b", "/", ""),
            ("/?u=http://other/ws/a/b", "/", "u=http://other/ws/a/b"),
            ("x?u=://h/ws/a/b", "x", "u=://h/ws/a/b"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let request = parse_head(head.as_bytes()).unwrap().unwrap().request;
            assert_eq!((request.path, request.query), (path, query), "{target}");
        }
        for target in ["http://other/", "http://me@h/", "http://h:80/", "http:///a", "http://"] {
            assert_eq!(status(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")), 400);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for name in SINGLE_HEADERS {
            let twice = format!("{name}: 0\r\n{}: 0\r\n", name.to_uppercase());
            assert_eq!(status(&with(&twice)), 400, "{name}");
        }
        for headers in [
            "Content-Length: 5\r\n",
            "Content-Length: 05\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0, 0\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "X: a\nY: b\r\n",
            "X: a\rY: b\r\n",
            " folded\r\n",
            "X: a\r\n folded\r\n",
            "X : y\r\n",
            ": y\r\n",
            "X: \0\r\n",
            "X\r\n",
        ] {
            assert_eq!(status(&with(headers)), 400, "{headers:?}");
            assert_eq!(status(&with(headers).replacen("GET", "HEAD", 1)), 400, "{headers:?}");
        }
        for headers in ["", "Content-Length: 0\r\n", "X: 1\r\nX: 2\r\n", "X:\r\n", "X: \u{fc}\r\n"]
        {
            assert_eq!(status(&with(headers)), 200, "{headers:?}");
        }
        let post = |headers| status(&with(headers).replacen("GET", "POST", 1));
        assert_eq!(post("Content-Length: 5\r\n"), 200);
        assert_eq!(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400);
    }

    #[test]
    fn http_1_0_needs_no_host_and_has_no_chunks() {
        for head in [
            "GET /healthz HTTP/1.0\r\n\r\n",
            "OPTIONS / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
            "PUT / HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
        ] {
            assert_eq!(status(head), 200, "{head:?}");
            let request = parse_head(head.as_bytes()).unwrap().unwrap().request;
            assert!(request.is_last() && !request.wants_websocket());
        }
        for head in [
            "GET http://h/ HTTP/1.0\r\n\r\n",
            "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(status(head), 400, "{head:?}");
        }
        let handshake = "GET / HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\n\
                         Upgrade: websocket\r\n\r\n";
        let request = parse_head(handshake.as_bytes()).unwrap().unwrap().request;
        assert!(!request.wants_websocket());
    }

    #[test]
    fn a_path_is_seen_in_what_is_no_request() {
        for (head, path) in [
            ("GET /api/x?y HTTP/1.1\r\n\r\n", "/api/x"),
            ("GET /api/x HTTP/3\r\nHost", "/api/x"),
            ("BREW http://h/api/x\r\n", "/api/x"),
            ("GET", "/"),
            ("", "/"),
        ] {
            assert_eq!(path_of(head.as_bytes()), path, "{head:?}");
        }
        assert_eq!(path_of(b"GET \xff HTTP/1.1\r\n"), "/");
    }

    #[test]
    fn only_http_1_with_a_host_is_a_request() {
        for head in [
            "\r\n\r\n",
            "hello\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: h\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\nHost: h\n\nX\r\n\r\n",
        ] {
            assert_eq!(status(head), 400, "{head:?}");
        }
        // RFC 9112 §2.2: an empty line before a request is ignored.
        assert_eq!(status("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    }

    #[test]
    fn what_cannot_become_a_request_is_not_waited_for() {
        for begin in ["\x16\x03\x01", "\0", " GET / HTTP/1.1\r\n", "\u{fc}"] {
            assert_eq!(status(begin), 400, "{begin:?}");
        }
        for begin in ["", "\r", "G", "~"] {
            assert_eq!(status(begin), 100, "{begin:?}");
        }
    }

    #[test]
    fn any_byte_anywhere_is_taken_or_refused() {
        let head = b"GET /ws/a%20/b?key=%2B&x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n";
        let mut taken = 0;
        for at in 0..head.len() {
            for byte in 0..=u8::MAX {
                let mut changed = head.to_vec();
                changed[at] = byte;
                if let Ok(Some(Head { request, rest })) = parse_head(&changed) {
                    taken += 1;
                    assert!(rest.is_empty() && request.path.starts_with(|c| c != '?'));
                    let hosts = request.headers("host").count();
                    assert!(hosts == 1 || (hosts == 0 && request.is_last()));
                    let _ = (super::super::accept(&request), request.query_value("key"));
                    let _ = super::super::percent_decoded(request.path);
                }
            }
        }
        assert!(taken > head.len(), "most bytes of a path or a value may be others");
    }

    #[test]
    fn a_head_has_its_bounds_to_the_byte() {
        let padded = |size: usize| {
            let bare = with("X: \r\n").len();
            with(&format!("X: {}\r\n", "x".repeat(size - bare)))
        };
        assert_eq!(status(&padded(MAX_HEAD_BYTES)), 200);
        assert_eq!(status(&padded(MAX_HEAD_BYTES + 1)), 431);
        assert_eq!(status(&"x".repeat(MAX_HEAD_BYTES)), 100);
        assert_eq!(status(&"x".repeat(MAX_HEAD_BYTES + 1)), 431);
        assert_eq!(status(&with(&"X: y\r\n".repeat(MAX_HEADERS - 1))), 200);
        assert_eq!(status(&with(&"X: y\r\n".repeat(MAX_HEADERS))), 431);
    }
}
