//! A request of any bytes: it is refused or it can be read in one way only, what is decided by it is
//! decided, and no answer has a part of it.
//!
//! A `$` in an input stands for a word that nobody can guess.

use std::net::IpAddr;
use std::time::Duration;

use collabd::auth::{Key, Level};
use collabd::http::{
    self, Head, MAX_HEAD_BYTES, Request, body_length, parse_head, percent_decoded,
};
use collabd::hub::{ConnId, Effect, Event, Hub, Refusal};
use collabd::net::service::{Outcome, Report, Requester, Role, Service as _};
use collabd::net::{Network, forwarded};
use collabd::protocol::Timestamp;
use collabd::routes::origin::Origins;

use super::json::Fields;
use super::marks::{self, Marks, PLACEHOLDER};
use super::rig;

/// What may not be there twice.
const ONCE: [&str; 7] = [
    "host",
    "origin",
    "authorization",
    "sec-websocket-key",
    "sec-websocket-version",
    "content-length",
    "transfer-encoding",
];

pub fn check(input: &[u8]) {
    let mark = Marks::of(input).mark("request");
    let mut bytes = Vec::with_capacity(input.len());
    for byte in input {
        match *byte == PLACEHOLDER as u8 {
            true => bytes.extend_from_slice(mark.as_bytes()),
            false => bytes.push(*byte),
        }
    }
    match parse_head(&bytes) {
        Ok(None) => assert!(bytes.len() <= MAX_HEAD_BYTES, "it is waited for without an end"),
        Ok(Some(head)) => check_taken(&bytes, &head, &mark),
        Err(refusal) => {
            assert!(matches!(refusal.status(), 400 | 431));
            rig::check_page(&refusal, |answer| marks::has(answer, &mark));
        }
    }
}

fn check_taken(bytes: &[u8], head: &Head<'_>, mark: &str) {
    let whole = &bytes[..bytes.len() - head.rest.len()];
    assert!(bytes.ends_with(head.rest) && whole.ends_with(b"\r\n\r\n"));
    // However it arrives, it is the same request.
    assert!(matches!(parse_head(&whole[..whole.len() - 1]), Ok(None)), "it was whole before");
    let Ok(Some(alone)) = parse_head(whole) else { panic!("it is whole without its frames") };
    let request = &head.request;
    // What nobody reads is never taken for another request.
    let length = request.header("content-length").map_or(0, |n| n.trim_start_matches('0').len());
    let has_body = length > 0 || request.header("transfer-encoding").is_some();
    assert!(!has_body || request.is_last());
    assert!(alone.rest.is_empty() && alone.request.method == request.method);
    assert_eq!((alone.request.path, alone.request.query), (request.path, request.query));
    assert!(!format!("{head:?}").contains(mark) || request.method.contains(mark));
    check_by_the_letter(whole, request);
    check_parts(request);
    check_body(request, mark);
    check_answers(request, mark);
}

/// A second, stricter reading: lines of printable characters that end with CR LF, each header a
/// name, a colon and a value, nothing that matters twice.
fn check_by_the_letter(whole: &[u8], request: &Request<'_>) {
    assert!(whole.len() <= MAX_HEAD_BYTES);
    let whole = whole.strip_prefix(b"\r\n").unwrap_or(whole);
    let lines: Vec<&[u8]> = whole[..whole.len() - 4].split(|byte| *byte == b'\n').collect();
    let (last, others) = lines.split_last().expect("a line");
    let lines: Vec<&[u8]> = others
        .iter()
        .map(|line| line.strip_suffix(b"\r").expect("CR LF"))
        .chain(std::iter::once(*last))
        .collect();
    assert!(lines.iter().flat_map(|line| line.iter()).all(|b| *b >= b' ' && *b != 127 || *b == 9));
    let parts: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    assert!(
        parts.len() == 3
            && parts[0] == request.method.as_bytes()
            && matches!(parts[2], b"HTTP/1.1" | b"HTTP/1.0")
    );
    let is_old = parts[2] == b"HTTP/1.0";
    assert!(!is_old || (request.is_last() && !request.wants_websocket()));
    assert!(lines.len() <= 101);
    let mut seen = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
        let name = std::str::from_utf8(&line[..colon]).expect("ASCII").to_ascii_lowercase();
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
        assert!(request.header(&name).is_some() && request.headers(&name).next_back().is_some());
        if ONCE.contains(&&*name) {
            assert!(!seen.contains(&name), "{name} twice");
            seen.push(name);
        }
    }
    assert!(is_old || seen.contains(&"host".into()), "a host");
    if matches!(request.method, "GET" | "HEAD") {
        assert!(request.header("transfer-encoding").is_none());
        assert!(request.header("content-length").is_none_or(|n| n.parse() == Ok(0u64)));
    }
    assert!(!request.path.contains(['?', '#']) && !request.query.contains('#'));
}

/// A body has one length, or is refused.
fn check_body(request: &Request<'_>, mark: &str) {
    let is_chunked = request.header("transfer-encoding").is_some();
    let length: Option<u128> = request.header("content-length").and_then(|n| n.parse().ok());
    for most in [0, 100] {
        match body_length(request, most) {
            Ok(read) => {
                assert!(!is_chunked && read <= most && (most == 0 || length.is_some()));
                assert_eq!(read as u128, length.unwrap_or(0));
            }
            Err(refusal) => {
                assert!(matches!(refusal.status(), 411 | 413));
                rig::check_page(&refusal, |answer| marks::has(answer, mark));
            }
        }
    }
}

fn check_parts(request: &Request<'_>) {
    let names = request.query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let names: Vec<&str> = names.collect();
    for name in names.iter().copied().chain(["key", "channel", ""]) {
        assert_eq!(request.query_value(name).is_some(), names.contains(&name), "{name:?}");
    }
    if let Some(path) = percent_decoded(request.path) {
        assert!(path.len() <= request.path.len());
    }
    let trusted: [Network; 2] = ["10.0.0.1/32", "::1"].map(|one| one.parse().expect("a network"));
    for peer in ["10.0.0.1", "192.0.2.1", "::ffff:10.0.0.1"] {
        let peer: IpAddr = peer.parse().expect("an address");
        let headers = || request.headers("x-forwarded-for");
        let from = forwarded::client_address(peer, headers(), &trusted);
        assert_eq!(from, from.to_canonical());
        let is_believed = forwarded::is_trusted(peer, &trusted) && headers().next().is_some();
        assert!(is_believed || from == peer.to_canonical());
        assert_eq!(forwarded::client_address(peer, headers(), &[]), peer.to_canonical());
    }
    check_origin(request.header("origin"), request.header("host"));
}

fn check_origin(origin: Option<&str>, host: Option<&str>) {
    let far: IpAddr = [192, 0, 2, 1].into();
    let listed = ["https://lab.example:8443".to_owned()];
    let any = Origins::new(&["*".to_owned()]).expect("any");
    assert!(any.permits(origin, host, far));
    let (none, listed) = (Origins::default(), Origins::new(&listed).expect("an origin"));
    let is_permitted = none.permits(origin, host, far);
    assert!(!is_permitted || listed.permits(origin, host, far));
    assert!(!is_permitted || none.permits(origin, host, [127, 0, 0, 1].into()));
    let Some(origin) = origin else { return assert!(is_permitted) };
    // HTTP/1.0 needs no host; then a page is of no server's own origin.
    let Some(host) = host else { return assert!(!is_permitted) };
    assert_eq!(is_permitted, none.permits(Some(&origin.to_ascii_uppercase()), Some(host), far));
    // Of addresses in brackets one has many spellings.
    if is_permitted && !host.contains('[') {
        let (scheme, served) = origin.split_once("://").expect("a scheme");
        let port = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
        let plain = |authority: &str| match authority.to_ascii_lowercase().split_once(':') {
            Some((name, given)) => (name.to_owned(), given.trim_start_matches('0').to_owned()),
            None => (authority.to_ascii_lowercase(), port.to_owned()),
        };
        assert_eq!(plain(served), plain(host), "a page of {origin:?} came to {host:?}");
    }
}

/// Everything a door may answer, with keys and without.
fn check_answers(request: &Request<'_>, mark: &str) {
    let is_the_clients = |answer: &[u8]| marks::has(answer, mark);
    let keys = || {
        vec![
            rig::key("writer", "writer", Level::Write, None, None),
            rig::key("narrow", mark, Level::Read, Some(&["a"]), None),
        ]
    };
    for require_key in [false, true] {
        let mut door = rig::door(keys(), require_key);
        door.debug_endpoints = require_key;
        let mut hub = Hub::new(rig::limits(), 1);
        let conn = ConnId(1);
        let mut effects = Vec::new();
        let from = Requester { address: [192, 0, 2, 1].into(), by_proxy: false };
        match door.answer(request, from, conn) {
            Outcome::Page(page) => rig::check_page(&page, is_the_clients),
            // As it was once: the others that are worked on need a key that changes something.
            Outcome::Work(_) => assert!(request.query_value("at").is_some(), "{}", request.path),
            Outcome::Ask(event) | Outcome::AskState(event) => {
                check_question(&event, request.path, require_key);
                hub.handle(event, rig::now(Duration::ZERO), &mut effects);
                if let [Effect::Refuse { conn: ConnId(1), why: Refusal::Unknown }] = &effects[..] {
                    continue;
                }
                let [Effect::Answer { conn: ConnId(1), body }] = &effects[..] else {
                    panic!("an answer: {effects:?}")
                };
                assert!(!is_the_clients(body));
                let body = std::str::from_utf8(body).expect("UTF-8");
                assert_eq!(Fields::read(body).expect("an object").get("total"), Some("0"));
            }
            Outcome::Report(report) => {
                assert!(matches!(request.method, "GET" | "HEAD"));
                let has_key = request.header("authorization").is_some();
                assert!(!require_key || has_key || report == Report::Health, "{report:?}");
            }
            Outcome::Upgrade(guest) => {
                assert!(matches!(request.method, "GET"));
                for shown in [guest.user().to_owned(), guest.target()] {
                    assert!(!shown.is_empty() && !shown.contains(char::is_control), "{shown:?}");
                }
                assert!(guest.user().chars().count() <= 128);
                match http::accept(request) {
                    Ok(accepted) => assert!(
                        accepted.starts_with(b"HTTP/1.1 101 ") && !is_the_clients(&accepted)
                    ),
                    Err(page) => rig::check_page(&page, is_the_clients),
                }
                hub.handle(
                    guest.join(conn).expect("the hub admits it"),
                    rig::now(Duration::ZERO),
                    &mut effects,
                );
                if guest.role() == Role::Viewer {
                    assert!(matches!(&effects[..], [Effect::Refuse { why: Refusal::Unknown, .. }]));
                    continue;
                }
                let admitted = matches!(&effects[0], Effect::Admit { conn: ConnId(1) });
                assert!(admitted, "{effects:?}");
                for effect in &effects[1..] {
                    let Effect::Send { conn: ConnId(1), frame, .. } = effect else {
                        panic!("{effect:?}")
                    };
                    let text = std::str::from_utf8(frame.payload()).ok();
                    assert!(frame.bytes()[0] == 0x89 || text.and_then(Fields::read).is_some());
                }
            }
        }
    }
}

/// A question is the one that the path stands for, with a key where one is asked for.
fn check_question(event: &Event, path: &str, require_key: bool) {
    let path = path.trim_end_matches('/');
    let (is_it, grant) = match event {
        Event::Threads { grant, .. } => (path.ends_with("api/chat/threads"), Some(grant)),
        Event::Sessions { grant, .. } => (path.ends_with("api/sessions"), grant.as_ref()),
        Event::Details { grant, .. } => (path.contains("api/sessions/"), grant.as_ref()),
        Event::Item { grant, .. } => (path.contains("/items/"), grant.as_ref()),
        Event::State { grant, .. } => (path.ends_with("/state"), grant.as_ref()),
        Event::Versions { grant, .. } => (path.ends_with("/versions"), grant.as_ref()),
        other => panic!("{other:?}"),
    };
    assert!(is_it && grant.is_none_or(|grant| opens(&grant.key)));
    assert!(grant.is_some() || !require_key);
}

fn opens(key: &Key) -> bool {
    key.expires.is_none_or(|end| end > Timestamp::now())
}
