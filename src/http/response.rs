//! A response to a request, with the reason where it refuses it.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;

use super::{Reason, Request, date, gzip};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A response. It quotes nothing of what the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    content_type: &'static str,
    cache: &'static str,
    /// The value of `ETag`, quotes included. It changes with the body.
    tag: Option<String>,
    /// The reason of the refusal, where the status doesn't say enough.
    reason: Option<Reason>,
    /// Further headers: whole lines without line breaks.
    headers: Vec<Cow<'static, str>>,
    body: Bytes,
}

/// What the client's request says of the form of the response.
#[derive(Debug, Default)]
pub struct Preferences {
    /// The tags of the bodies that the client has (`If-None-Match`).
    has: Vec<String>,
    takes_gzip: bool,
    /// True where refusals are sent as JSON.
    refusals_as_json: bool,
}

impl Preferences {
    /// Reads them from a request.
    pub fn from_request(request: &Request<'_>, refusals_as_json: bool) -> Self {
        let looks = matches!(request.method, "GET" | "HEAD");
        let tags = request.headers("if-none-match").filter(|_| looks);
        let tags = tags.flat_map(|value| value.split(',')).map(str::trim);
        let takes_gzip = gzip::is_accepted(request.headers("accept-encoding"));
        Preferences { has: tags.map(str::to_owned).collect(), takes_gzip, refusals_as_json }
    }

    /// The preferences where the request could not be parsed.
    pub fn unknown(refusals_as_json: bool) -> Self {
        Preferences { refusals_as_json, ..Preferences::default() }
    }

    /// True where the client has the body with this tag (RFC 9110 §13.1.2).
    fn has_already(&self, tag: &str) -> bool {
        self.has.iter().any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    }
}

/// A random number that tells this run of the server from others.
static RUN: OnceLock<u64> = OnceLock::new();

impl Response {
    /// A line of plain text that says what is wrong and what is accepted.
    pub fn text(status: u16, line: impl std::fmt::Display) -> Self {
        Response { status, ..Self::page(TEXT, format!("{line}\n")) }
    }

    /// 200 with a body of this content type.
    pub fn page(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let (headers, body) = (Vec::new(), body.into());
        let cache = "no-store";
        Response { status: 200, content_type, cache, tag: None, reason: None, headers, body }
    }

    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::page(JSON, body)
    }

    /// 200 with a session's state as JSON. Its tag is made of its `epoch` and `seq`.
    pub fn state(body: impl Into<Bytes>) -> Self {
        #[derive(Deserialize)]
        struct Point<'a> {
            #[serde(borrow)]
            epoch: Cow<'a, str>,
            seq: u64,
        }
        let page = Self::json(body);
        // A tag may have only these characters; epochs are hexadecimal.
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match serde_json::from_slice::<Point<'_>>(&page.body) {
            Ok(Point { epoch, seq }) if is_plain(&epoch) => {
                // After a crash a number may be given again to another change: the tag names the
                // run, too.
                let life = RUN.get_or_init(|| RandomState::new().hash_one(0));
                let tag = format!("\"{epoch}-{seq}-{life:x}\"");
                Response { cache: "private, no-cache", ..page.tagged(tag) }
            }
            _ => page,
        }
    }

    /// 405 for a path that has only GET.
    pub fn only_get(line: &'static str) -> Self {
        Self::text(405, line).with("Allow: GET")
    }

    /// 426 for a request that has to be a WebSocket handshake.
    pub fn upgrade_required(line: &'static str) -> Self {
        Self::text(426, line).with("Upgrade: websocket").with("Sec-WebSocket-Version: 13")
    }

    /// 429 for an address that has sent too many wrong keys.
    pub fn too_many(line: &'static str) -> Self {
        Self::text(429, line).with("Retry-After: 60")
    }

    /// 204, without a body.
    pub fn empty() -> Self {
        Response { status: 204, ..Self::page("", "") }
    }

    /// Turns 200 into 201: something was created.
    pub fn created(self) -> Self {
        let status = if self.status == 200 { 201 } else { self.status };
        Response { status, ..self }
    }

    /// Adds a header, as a whole line without a line break at its end. There must be none in it.
    pub fn with(mut self, header: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push(header.into());
        self
    }

    /// Lets caches keep the body if they ask each time whether it is current: `tag`, with its
    /// quotes, names it.
    pub fn tagged(self, tag: impl Into<String>) -> Self {
        Response { cache: "no-cache", tag: Some(tag.into()), ..self }
    }

    /// The response in the form that the client prefers: 304 without a body where it has the body
    /// already, a refusal as JSON, a large text packed. Takes time linear in the body.
    pub fn for_client(self, preferences: &Preferences) -> Self {
        if let Some(tag) = &self.tag
            && preferences.has_already(tag)
        {
            return Response { status: 304, body: Bytes::new(), ..self }.varying();
        }
        if self.status >= 400 && preferences.refusals_as_json {
            return self.into_json();
        }
        let may_be_packed = self.content_type.starts_with("text/") || self.content_type == JSON;
        if !may_be_packed || self.body.len() < gzip::MIN_BYTES {
            return self;
        }
        let page = self.varying();
        if !preferences.takes_gzip {
            return page;
        }
        // A browser tells its page how many bytes it has unpacked, but not of how many.
        let plain_length = format!("Collabd-Length: {}", page.body.len());
        let level = match page.content_type.starts_with("text/html") {
            true => gzip::PAGE_LEVEL,
            false => gzip::DATA_LEVEL,
        };
        match gzip::compressed(&page.body, level).filter(|packed| packed.len() < page.body.len()) {
            Some(packed) => Response {
                body: packed.into(),
                // The packed body has other bytes but the same meaning: its tag is a weak one (RFC
                // 9110 §8.8.1).
                tag: page.tag.as_ref().map(|tag| format!("W/{tag}")),
                ..page.with("Content-Encoding: gzip").with(plain_length)
            },
            None => page,
        }
    }

    /// Tells caches that the form depends on `Accept-Encoding`.
    fn varying(self) -> Self {
        self.with("Vary: Accept-Encoding")
    }

    /// Rewrites a refusal's line as JSON.
    fn into_json(self) -> Self {
        if self.content_type != TEXT {
            return self;
        }
        let line = String::from_utf8_lossy(&self.body);
        let kind = reason_phrase(self.status).to_ascii_lowercase().replace(' ', "_");
        let error = serde_json::json!({
            "error": {"code": self.status, "type": kind, "message": line.trim_end()},
        });
        let body = format!("{error}\n").into();
        Response { content_type: JSON, body, ..self }
    }

    /// Counts the refusal under this reason instead of the status's own.
    pub fn with_reason(self, reason: Reason) -> Self {
        Response { reason: Some(reason), ..self }
    }

    /// The reason of a refusal; `None` where the response is none.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.or_else(|| Reason::from_status(self.status))
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The head and the body as they are sent, where the connection ends after them. The body isn't
    /// copied; it is empty for `HEAD`.
    pub fn parts(&self, method: &str) -> [Bytes; 2] {
        self.encode(method, true)
    }

    /// The head and the body as they are sent, where another request may follow.
    pub fn parts_kept_alive(&self, method: &str) -> [Bytes; 2] {
        self.encode(method, false)
    }

    fn encode(&self, method: &str, is_last: bool) -> [Bytes; 2] {
        let reason = reason_phrase(self.status);
        // A 426 has an Upgrade header, to which "Connection: Upgrade" belongs (RFC 9110 §7.8).
        let connection = match (self.status, is_last) {
            (426, _) => "Connection: Upgrade, close\r\n",
            (_, true) => "Connection: close\r\n",
            (_, false) => "",
        };
        // A 204 must not have a Content-Length (RFC 9110 §8.6), and a 304's would be the one of the
        // whole body.
        let content = match self.status {
            204 | 304 => String::new(),
            _ => format!(
                "Content-Type: {}\r\nContent-Length: {}\r\n",
                self.content_type,
                self.body.len()
            ),
        };
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\nDate: {}\r\n{content}\
             {connection}Cache-Control: {}\r\n\
             X-Content-Type-Options: nosniff\r\n",
            self.status,
            date::now(),
            self.cache,
        );
        let tag = self.tag.as_ref().map(|tag| Cow::from(format!("ETag: {tag}")));
        for header in tag.iter().chain(&self.headers) {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let body = if method == "HEAD" { Bytes::new() } else { self.body.clone() };
        [head.into(), body]
    }
}

/// The statuses that requests are answered with, each with its reason phrase, which the editor shows
/// to its user.
pub const STATUSES: [(u16, &str); 21] = [
    (101, "Switching Protocols"),
    (200, "OK"),
    (201, "Created"),
    (204, "No Content"),
    (304, "Not Modified"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (411, "Length Required"),
    (413, "Content Too Large"),
    (421, "Misdirected Request"),
    (426, "Upgrade Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (500, "Internal Server Error"),
];

fn reason_phrase(status: u16) -> &'static str {
    // `collabd forward` alone says this one.
    if status == 502 {
        return "Bad Gateway";
    }
    let known = STATUSES.iter().find(|(known, _)| *known == status);
    known.map_or("Internal Server Error", |(_, phrase)| phrase)
}

#[cfg(test)]
mod tests {
    use super::super::parse_head;
    use super::*;

    /// Without the Date header, which changes.
    fn shown(response: &Response, method: &str) -> String {
        let text = String::from_utf8(response.parts(method).concat()).unwrap();
        let (status, rest) = text.split_once("\r\nDate: ").expect("a date");
        let (date, rest) = rest.split_once("\r\n").expect("more headers");
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
        format!("{status}\r\n{rest}")
    }

    fn preferences(headers: &str) -> Preferences {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        Preferences::from_request(&parse_head(head.as_bytes()).unwrap().unwrap().request, false)
    }

    #[test]
    fn an_answer_says_what_it_is_and_head_gets_all_but_the_body() {
        let answer = Response::json(r#"{"total":0}"#).with("X-More: yes");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\
                    Connection: close\r\nCache-Control: no-store\r\n\
                    X-Content-Type-Options: nosniff\r\nX-More: yes\r\n\r\n";
        assert_eq!(shown(&answer, "GET"), format!("{head}{{\"total\":0}}"));
        assert_eq!(shown(&answer, "HEAD"), head);
    }

    #[test]
    fn a_body_is_shared_and_not_copied() {
        let body = Bytes::from(vec![b'x'; 100]);
        let [_, sent] = Response::json(body.clone()).parts("GET");
        assert_eq!(sent.as_ptr(), body.as_ptr());
    }

    #[test]
    fn refusals_say_what_would_be_accepted() {
        for (refusal, reason, header) in [
            (Response::only_get("x"), "405 Method Not Allowed", "Allow: GET\r\n"),
            (Response::upgrade_required("x"), "426 Upgrade Required", "Connection: Upgrade, close"),
            (Response::too_many("x"), "429 Too Many Requests", "Retry-After: 60\r\n"),
            (Response::text(403, "x"), "403 Forbidden", "Content-Length: 2\r\n"),
            (Response::text(421, "x"), "421 Misdirected Request", "Content-Length: 2\r\n"),
        ] {
            let shown = shown(&refusal, "GET");
            assert!(shown.starts_with(&format!("HTTP/1.1 {reason}\r\n")), "{shown}");
            assert!(shown.contains(header) && shown.ends_with("\r\n\r\nx\n"), "{shown}");
        }
    }

    #[test]
    fn programs_are_refused_in_json() {
        let json = Preferences { refusals_as_json: true, ..Preferences::default() };
        let refusal = Response::text(405, "it's \"x\"").with("Allow: GET").for_client(&json);
        assert_eq!((refusal.status(), refusal.reason()), (405, Some(Reason::Method)));
        let shown = shown(&refusal, "GET");
        assert!(shown.contains("Content-Type: application/json\r\n"), "{shown}");
        assert!(shown.contains("Allow: GET\r\n"), "{shown}");
        let body = "{\"error\":{\"code\":405,\"message\":\"it's \\\"x\\\"\",\
                    \"type\":\"method_not_allowed\"}}\n";
        assert!(shown.ends_with(body), "{shown}");
        let fine = Response::text(200, "ok");
        assert_eq!(fine.clone().for_client(&json), fine);
        assert_eq!(Response::text(404, "x").for_client(&preferences("")).content_type, TEXT);
    }

    #[test]
    fn a_client_that_has_the_state_gets_304() {
        let body = r#"{"items":[{"epoch":"other","seq":7}],"epoch":"07ab","seq":12}"#;
        let state = Response::state(body);
        let tag = state.tag.clone().unwrap();
        let life = tag.strip_prefix("\"07ab-12-").unwrap();
        assert!(shown(&state, "GET").contains(&format!("ETag: {tag}\r\n")));
        let had = |tag: &str| {
            let preferences = preferences(&format!("If-None-Match: {tag}\r\n"));
            state.clone().for_client(&preferences).status()
        };
        for tag in [&*tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
            assert_eq!(had(tag), 304, "{tag}");
        }
        let others = ["11", "13"].map(|seq| format!("\"07ab-{seq}-{life}"));
        // After a crash the same number may belong to another change.
        for tag in [&*others[0], &others[1], "\"07ab-12-0\"", "07ab-12", "", "W/"] {
            assert_eq!(had(tag), 200, "{tag}");
        }
        for odd in [r#"{"seq":1}"#, r#"{"epoch":"a\"b","seq":1}"#, "no JSON"] {
            assert_eq!(Response::state(odd).tag, None, "{odd}");
        }
        // Only GET and HEAD can be answered with 304.
        let put = b"PUT / HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n";
        let put = Preferences::from_request(&parse_head(put).unwrap().unwrap().request, false);
        assert_eq!(state.for_client(&put).status(), 200);
    }

    #[test]
    fn what_is_large_is_packed_for_who_takes_that() {
        let body = r#"{"epoch":"07ab","seq":12,"items":""#.to_owned() + &"x".repeat(2000) + "\"}";
        let state = Response::state(body.clone());
        let packed = state.clone().for_client(&preferences("Accept-Encoding: gzip\r\n"));
        assert!(packed.size() < 200 && packed.status() == 200);
        let head = String::from_utf8(packed.parts("HEAD").concat()).unwrap();
        for header in [
            "Content-Encoding: gzip\r\n",
            &format!("Collabd-Length: {}\r\n", body.len()),
            "Vary: Accept-Encoding\r\n",
            "ETag: W/\"07ab-12-",
            &format!("Content-Length: {}\r\n", packed.size()),
        ] {
            assert!(head.contains(header), "{header} {head}");
        }
        let plain = state.for_client(&preferences(""));
        assert_eq!(plain.body, body);
        assert!(shown(&plain, "HEAD").contains("Vary: Accept-Encoding\r\n"));
        let small = Response::json("{}").for_client(&preferences("Accept-Encoding: gzip\r\n"));
        assert_eq!(small, Response::json("{}"));
    }
}
