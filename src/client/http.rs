//! One HTTP request and its answer: a WebSocket upgrade, a refusal the server promises, or a page of
//! its API.

use std::io::{Read as _, Write as _};

use serde::Deserialize;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::wire::is_timeout;
use super::{Target, Wire, shown};

/// The longest head and body that are read, where nothing else is asked for.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    /// What came after the head: the body, or already the first frames.
    pub rest: Vec<u8>,
}

/// A request for a page of an API.
pub struct Request<'a> {
    pub method: &'a str,
    /// With its query, percent-encoded.
    pub path: &'a str,
    /// Whole lines, without their ends.
    pub headers: &'a [String],
    /// Where it has one.
    pub body: Option<&'a [u8]>,
    /// How long the answer may be.
    pub longest: usize,
}

/// An error of the API.
#[derive(Deserialize)]
struct Refusal {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    message: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether its body has come, all of it.
    pub fn is_whole(&self) -> bool {
        let length = self.header("Content-Length").and_then(|value| value.trim().parse().ok());
        length.is_some_and(|length: usize| self.rest.len() >= length)
    }

    /// The first line of the body that says something; of an error of the API, its message.
    pub fn body_line(&self) -> String {
        if let Ok(Refusal { error }) = serde_json::from_slice(&self.rest) {
            return error.message;
        }
        let body = String::from_utf8_lossy(&self.rest);
        body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    }

    /// Status, reason and body line, for a person.
    pub fn words(&self) -> String {
        let status = format!("{} {}", self.status, self.reason);
        match self.body_line() {
            line if line.is_empty() => status.trim_end().to_owned(),
            line => format!("{}: {}", status.trim_end(), shown(&line)),
        }
    }
}

/// Asks for a WebSocket at `path`, with the same headers as the editor and these. Gives the bytes that
/// came behind the answer.
pub(super) fn upgrade(
    wire: &mut Wire,
    target: &Target,
    path: &str,
    headers: &[String],
) -> Result<Vec<u8>, String> {
    let key = generate_key();
    let response = ask_upgrade(wire, target, path, headers, &key)?;
    if response.status != 101 {
        return Err(format!("the server refused the connection with {}", response.words()));
    }
    let token = |name: &str, wanted: &str| {
        let value = response.header(name).unwrap_or_default();
        value.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    let fault = if !token("Upgrade", "websocket") {
        "has no \"Upgrade: websocket\""
    } else if !token("Connection", "upgrade") {
        "has no \"Connection: Upgrade\""
    } else if response.header("Sec-WebSocket-Accept") != Some(&derive_accept_key(key.as_bytes())) {
        "has the wrong Sec-WebSocket-Accept"
    } else if response.header("Sec-WebSocket-Extensions").is_some() {
        "turns on an extension that was not asked for"
    } else if response.header("Sec-WebSocket-Protocol").is_some() {
        "chooses a subprotocol though none was offered"
    } else {
        return Ok(response.rest);
    };
    Err(format!("the answer to the upgrade {fault}"))
}

/// Sends the editor's handshake for `path` and gives whatever answer comes.
pub fn ask_upgrade(
    wire: &mut Wire,
    target: &Target,
    path: &str,
    headers: &[String],
    key: &str,
) -> Result<Response, String> {
    let host = target.host_header();
    let more: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    );
    ask(wire, request.as_bytes(), MAX_ANSWER_BYTES)
}

/// Asks for `path` as a browser would for a page.
pub fn get(wire: &mut Wire, target: &Target, path: &str) -> Result<Response, String> {
    send(
        wire,
        target,
        &Request { method: "GET", path, headers: &[], body: None, longest: MAX_ANSWER_BYTES },
    )
}

/// Sends a request and gives its answer, the only one on this wire.
pub fn send(wire: &mut Wire, target: &Target, request: &Request<'_>) -> Result<Response, String> {
    let Request { method, path, headers, body, longest } = request;
    let host = target.host_header();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for header in *headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if let Some(body) = body {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    ask(wire, &bytes, *longest)
}

fn ask(wire: &mut Wire, request: &[u8], longest: usize) -> Result<Response, String> {
    // Who is refused before everything is sent has its answer all the same.
    let sent = wire.write_all(request);
    let failed = |why: String| match &sent {
        Ok(()) => why,
        Err(e) => format!("the request could not be sent: {e}"),
    };
    let mut bytes = Vec::new();
    let mut response = loop {
        if !read_more(wire, &mut bytes, longest).map_err(failed)? {
            let words = "the server closed the connection without an HTTP answer";
            return Err(failed(match bytes.is_empty() {
                true => words.to_owned(),
                false => format!("{words}; it sent {}", shown(&String::from_utf8_lossy(&bytes))),
            }));
        }
        if let Some(response) = parse(&bytes)? {
            break response;
        }
    };
    // A refusal's words may come in a packet of their own; that they never end is no fault to
    // report.
    while response.status != 101 && !response.is_whole() {
        match read_more(wire, &mut response.rest, longest) {
            Ok(true) => {}
            // It is said how long it is: a part of it is nothing.
            Err(why) if response.status == 200 => return Err(why),
            Ok(false) | Err(_) => break,
        }
    }
    Ok(response)
}

/// Appends what comes next to `bytes`; `false` at the end of the connection.
fn read_more(wire: &mut Wire, bytes: &mut Vec<u8>, longest: usize) -> Result<bool, String> {
    let mut chunk = [0; 16 * 1024];
    match wire.read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(count) if bytes.len() + count > longest => {
            Err(format!("the HTTP answer is longer than {longest} bytes"))
        }
        Ok(count) => {
            bytes.extend_from_slice(&chunk[..count]);
            Ok(true)
        }
        Err(e) if is_timeout(&e) => {
            Err("the server took the connection but did not answer the HTTP request".to_owned())
        }
        Err(e) => Err(format!("the connection broke before an HTTP answer came: {e}")),
    }
}

/// The head in `bytes`, once it is complete.
fn parse(bytes: &[u8]) -> Result<Option<Response>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
        Err(_) => {
            let came = shown(&String::from_utf8_lossy(bytes));
            return Err(format!("what answers there does not speak HTTP: {came}"));
        }
    };
    let owned = |header: &httparse::Header<'_>| {
        (header.name.to_owned(), String::from_utf8_lossy(header.value).trim().to_owned())
    };
    Ok(Some(Response {
        status: head.code.unwrap_or_default(),
        reason: head.reason.unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(owned).collect(),
        rest: bytes[length..].to_vec(),
    }))
}
