//! An answer to a request, and why it is a refusal where it is one.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Reason, Request};

/// An answer to a request. Holds nothing of what the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    content_type: &'static str,
    /// What a cache may do with it.
    cache: &'static str,
    /// Why it was refused, where the status doesn't say enough.
    reason: Option<Reason>,
    /// Whole lines, without their ends.
    headers: Vec<Cow<'static, str>>,
    body: Bytes,
}

impl Response {
    /// One line of plain text that says what is wrong and what is accepted.
    pub fn text(status: u16, line: impl std::fmt::Display) -> Self {
        Response { status, ..Self::page("text/plain; charset=utf-8", format!("{line}\n")) }
    }

    /// 200, with a body of this type.
    pub fn page(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let (headers, body) = (Vec::new(), body.into());
        Response { status: 200, content_type, cache: "no-store", reason: None, headers, body }
    }

    /// 200, with JSON.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::page("application/json", body)
    }

    /// 405, for a path that only knows GET.
    pub fn only_get(line: &'static str) -> Self {
        Self::text(405, line).with("Allow: GET")
    }

    /// 405, for a page: whoever may read it may ask how large it is.
    pub fn only_get_and_head(line: &'static str) -> Self {
        Self::text(405, line).with("Allow: GET, HEAD")
    }

    /// 405, for a path that knows other methods: `allowed` is the whole header, like
    /// `Allow: GET, HEAD`.
    pub fn not_allowed(line: &'static str, allowed: &'static str) -> Self {
        Self::text(405, line).with(allowed)
    }

    /// 426: only a WebSocket handshake makes sense here.
    pub fn upgrade_required(line: &'static str) -> Self {
        Self::text(426, line).with("Upgrade: websocket").with("Sec-WebSocket-Version: 13")
    }

    /// 429, for an address that has to wait until its minute is over.
    pub fn too_many(line: &'static str) -> Self {
        Self::text(429, line).with("Retry-After: 60")
    }

    /// 204: there is nothing to read but the headers.
    pub fn empty() -> Self {
        Response { status: 204, ..Self::page("", "") }
    }

    /// The same with one more header, a whole line without its end, which has to be free of line
    /// breaks.
    pub fn with(mut self, header: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push(header.into());
        self
    }

    /// The same page for a cache that asks each time whether it still has the right one: `tag` names
    /// this one, quoted. Whoever has it already is answered 304, without the page.
    pub fn for_a_cache(self, tag: &str, request: &Request<'_>) -> Self {
        let page = Response { cache: "no-cache", ..self.with(format!("ETag: {tag}")) };
        match request.has_already(tag) {
            true => Response { status: 304, body: Bytes::new(), ..page },
            false => page,
        }
    }

    /// The same, counted as refused for this reason.
    pub fn because(self, reason: Reason) -> Self {
        Response { reason: Some(reason), ..self }
    }

    /// Why it is a refusal, if it is one.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.or_else(|| Reason::of(self.status))
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The answer as it goes out where the connection ends with it: its head, and its body, which isn't
    /// copied; `HEAD` gets an empty one.
    pub fn parts(&self, method: &str) -> [Bytes; 2] {
        self.encode(method, true)
    }

    /// The same where another request may follow.
    pub fn parts_kept_alive(&self, method: &str) -> [Bytes; 2] {
        self.encode(method, false)
    }

    fn encode(&self, method: &str, is_last: bool) -> [Bytes; 2] {
        // The editor shows a refusal to its user by this phrase.
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            304 => "Not Modified",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            409 => "Conflict",
            411 => "Length Required",
            413 => "Content Too Large",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "Internal Server Error",
        };
        // "Connection: Upgrade" belongs to the Upgrade header of a 426 (RFC 9110 §7.8).
        let connection = match (self.status, is_last) {
            (426, _) => "Connection: Upgrade, close\r\n",
            (_, true) => "Connection: close\r\n",
            (_, false) => "",
        };
        // A 204 may not say how long nothing is (RFC 9110 §8.6), and a 304 not how long something else is.
        let content = match self.status {
            204 | 304 => String::new(),
            _ => format!(
                "Content-Type: {}\r\nContent-Length: {}\r\n",
                self.content_type,
                self.body.len()
            ),
        };
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\n{content}\
             {connection}Cache-Control: {}\r\n\
             X-Content-Type-Options: nosniff\r\n",
            self.status, self.cache,
        );
        for header in &self.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let body = if method == "HEAD" { Bytes::new() } else { self.body.clone() };
        [head.into(), body]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(response: &Response, method: &str) -> String {
        String::from_utf8(response.parts(method).concat()).unwrap()
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
            (Response::only_get_and_head("x"), "405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
            (Response::upgrade_required("x"), "426 Upgrade Required", "Connection: Upgrade, close"),
            (Response::too_many("x"), "429 Too Many Requests", "Retry-After: 60\r\n"),
            (Response::text(403, "x"), "403 Forbidden", "Content-Length: 2\r\n"),
        ] {
            let shown = shown(&refusal, "GET");
            assert!(shown.starts_with(&format!("HTTP/1.1 {reason}\r\n")), "{shown}");
            assert!(shown.contains(header) && shown.ends_with("\r\n\r\nx\n"), "{shown}");
        }
    }
}
