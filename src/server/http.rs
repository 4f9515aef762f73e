//! The HTTP a client speaks before its connection is a WebSocket: one request, one answer.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::handshake::derive_accept_key;

/// The largest request head: line and headers, in bytes.
pub const LARGEST_HEAD: usize = 16 * 1024;
/// How much of a head is read at once.
const READ: usize = 1024;
/// The most headers a request may have.
const MOST_HEADERS: usize = 100;

/// A request's line and headers.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As sent, percent-encoded, without the query.
    pub path: &'a str,
    headers: &'a [httparse::Header<'a>],
}

impl Request<'_> {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    }

    /// Whether the client asks for a WebSocket at all.
    pub fn wants_websocket(&self) -> bool {
        let has = |name: &str, token: &str| {
            let headers = self.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
            headers
                .filter_map(|header| std::str::from_utf8(header.value).ok())
                .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
        };
        has("connection", "upgrade") && has("upgrade", "websocket")
    }

    /// The answer that makes the connection a WebSocket (RFC 6455 §4.2).
    ///
    /// # Errors
    /// The refusal for a handshake that isn't one.
    pub fn accept(&self) -> Result<Vec<u8>, Response> {
        if !self.wants_websocket() {
            return Err(Response::upgrade_required(
                "this address speaks WebSocket: connect with ws://",
            ));
        }
        if self.header("sec-websocket-version").map(str::trim) != Some("13") {
            return Err(Response::upgrade_required("Sec-WebSocket-Version has to be 13"));
        }
        let key = self.header("sec-websocket-key").map(str::trim).unwrap_or_default();
        // 16 bytes in base64.
        if key.len() != 24 || !key.ends_with("==") {
            return Err(Response::text(400, "Sec-WebSocket-Key has to be 16 bytes in base64"));
        }
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        Ok(answer.into_bytes())
    }
}

/// An answer that ends the connection. Holds nothing of what the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: &'static str,
    body: &'static str,
}

impl Response {
    /// One line of plain text that says what is wrong and what is accepted.
    pub const fn text(status: u16, body: &'static str) -> Self {
        Response { status, headers: "", body }
    }

    /// 405, for a path that only knows GET.
    pub const fn only_get(body: &'static str) -> Self {
        Response { status: 405, headers: "Allow: GET\r\n", body }
    }

    /// 426: only a WebSocket handshake makes sense here.
    pub const fn upgrade_required(body: &'static str) -> Self {
        let headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        Response { status: 426, headers, body }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The answer as bytes; `HEAD` gets it without the body.
    pub fn bytes(&self, method: &str) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        // "Connection: Upgrade" belongs to the Upgrade header of a 426 (RFC 9110 §7.8).
        let connection = if self.status == 426 { "Upgrade, close" } else { "close" };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: {connection}\r\n{}\r\n",
            self.status,
            self.body.len() + 1,
            self.headers,
        )
        .into_bytes();
        if method != "HEAD" {
            bytes.extend_from_slice(self.body.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Why there is no request to answer.
#[derive(Debug)]
pub enum HeadError {
    /// The client left, or never said a word.
    Gone,
    /// Tell the client.
    Refuse(Response),
}

/// Reads a request's head within `timeout` and hands it to `answer`, with whatever the client has
/// sent after it. One slow byte at a time doesn't make the time longer.
///
/// # Errors
/// See [`HeadError`].
pub fn read_head<T>(
    socket: &TcpStream,
    timeout: Duration,
    answer: impl FnOnce(&Request<'_>, &[u8]) -> T,
) -> Result<T, HeadError> {
    let deadline = Instant::now() + timeout;
    let mut head = Vec::with_capacity(READ);
    let end = loop {
        // Only the last few bytes of what was known can be the beginning of the end.
        let known = head.len();
        if !read_some(socket, &mut head, deadline)? {
            return Err(HeadError::Gone);
        }
        if let Some(end) = end_of_head(&head, known) {
            break end;
        }
        if head.len() > LARGEST_HEAD {
            let body = "the request has to be smaller than 16 KiB";
            return Err(HeadError::Refuse(Response::text(431, body)));
        }
    };
    // On the heap, which gets it back: a page of stack touched once is kept by an idle client.
    let mut headers = vec![httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let bad = |body| HeadError::Refuse(Response::text(400, body));
    match parsed.parse(&head[..end]) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            let body = "the request has to have at most 100 headers";
            return Err(HeadError::Refuse(Response::text(431, body)));
        }
        _ => return Err(bad("this is not an HTTP/1.1 request")),
    }
    let (Some(method), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(bad("this is not an HTTP/1.1 request"));
    };
    // What proxies send: http://host/path (RFC 9112 §3.2.2).
    let after_scheme = target.split_once("://").map(|(_, rest)| rest);
    let target = match after_scheme.filter(|_| !target.starts_with('/')) {
        Some(rest) => rest.find('/').map_or("/", |path| &rest[path..]),
        None => target,
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let request = Request { method, path, headers: parsed.headers };
    Ok(answer(&request, &head[end..]))
}

/// Appends what the socket has; whether there was anything.
fn read_some(socket: &TcpStream, head: &mut Vec<u8>, deadline: Instant) -> Result<bool, HeadError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
        return Err(too_late(head));
    }
    let known = head.len();
    head.resize(known + READ, 0);
    let read = { socket }.read(&mut head[known..]);
    head.truncate(known + read.as_ref().copied().unwrap_or(0));
    match read {
        Ok(size) => Ok(size > 0),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) if is_timeout(&error) => Err(too_late(head)),
        Err(_) => Err(HeadError::Gone),
    }
}

fn too_late(head: &[u8]) -> HeadError {
    match head.is_empty() {
        true => HeadError::Gone,
        false => HeadError::Refuse(Response::text(408, "the request took too long to arrive")),
    }
}

/// Whether a read ended because its time was up: systems disagree on what to call it.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn end_of_head(head: &[u8], known: usize) -> Option<usize> {
    let from = known.saturating_sub(3);
    let found = head[from..].windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(from + found + 4)
}
