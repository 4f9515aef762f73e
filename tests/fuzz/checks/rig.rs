//! What all checks share: a hub with small bounds, keys, a door, and the time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use collabd::auth::{Key, KeyHash, KeyStore, Level};
use collabd::http::{Response, parse_head};
use collabd::hub::{ConnId, DocumentBounds, HistoryBounds, Limits, Time};
use collabd::net::service::{Outcome, Requester, Service as _};
use collabd::protocol::Timestamp;
use collabd::routes::Router;

/// The wall clock at the hub's start: far ahead, because a gate asks the system's clock whether a key
/// has expired, and the hub this one.
pub const START: u64 = 4_102_444_800_000;

/// Small enough to be met.
pub fn limits() -> Limits {
    Limits {
        linger: Duration::from_secs(30),
        max_sessions: 3,
        max_channels: 4,
        document: DocumentBounds { item: 600, document: 1500 },
        documents_memory: 0,
        history: HistoryBounds { changes: 8, bytes: 4000 },
        settle: true,
        durable: false,
    }
}

/// The moment `elapsed` after the hub's start.
pub fn now(elapsed: Duration) -> Time {
    Time { elapsed, wall: Timestamp::from_millis(START + elapsed.as_millis() as u64) }
}

/// A key, by what it is called and by itself; `opens` is the rooms it is good for, or all.
pub fn key(
    name: &str,
    secret: &str,
    level: Level,
    opens: Option<&[&str]>,
    expires: Option<u64>,
) -> Arc<Key> {
    Arc::new(Key {
        name: name.into(),
        hash: KeyHash::new(secret),
        level,
        expires: expires.map(|millis| Timestamp::from_millis(START + millis)),
        opens: opens.map(|rooms| rooms.iter().map(|&room| room.into()).collect()),
    })
}

/// A door with these keys and everything switched on.
pub fn door(keys: Vec<Arc<Key>>, require_key: bool) -> Router {
    Router { require_key, debug_endpoints: true, ..Router::new(KeyStore::from_keys(keys)) }
}

/// A path's segment that means this text.
pub fn percent_encoded(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => path.push(byte.into()),
            false => path.push_str(&format!("%{byte:02x}")),
        }
    }
    path
}

/// Asks for a path as a client would.
pub fn ask(door: &Router, path: &str, key: Option<&str>, from: IpAddr, conn: ConnId) -> Asked {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let upgrade = match path.starts_with("/api/") {
        true => "",
        false => {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        }
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}{key}\r\n");
    let Ok(Some(head)) = parse_head(head.as_bytes()) else { panic!("a request: {head:?}") };
    door.answer(&head.request, Requester { address: from, by_proxy: false }, conn)
}

/// What a door says to a request.
pub type Asked = Outcome;

/// The status of a page that was an answer.
pub fn status(answer: &Asked) -> Option<u16> {
    match answer {
        Outcome::Page(page) => Some(page.status()),
        _ => None,
    }
}

/// A page is HTTP, a refusal's body one line, and nothing in it is the client's.
pub fn check_page(page: &Response, is_the_clients: impl Fn(&[u8]) -> bool) {
    for method in ["GET", "HEAD"] {
        let bytes = page.parts(method).concat();
        assert!(!is_the_clients(&bytes), "an answer has a part of the request in it");
        let text = String::from_utf8(bytes).expect("an answer is ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line");
        assert!(
            head.starts_with("HTTP/1.1 ")
                && head.bytes().all(|b| b == 9 || b == 10 || b == 13 || (b' '..=b'~').contains(&b))
        );
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if matches!(page.status(), 204 | 304) {
            assert!(length.is_none() && body.is_empty());
            continue;
        }
        let length: usize = length.expect("a length").parse().expect("a number");
        if method == "GET" {
            assert_eq!(body.len(), length);
            let is_refusal = head.contains("\r\nContent-Type: text/plain");
            assert!(page.status() == 200 || is_refusal);
            assert!(!is_refusal || (body.lines().count() == 1 && body.ends_with('\n')), "{body:?}");
        } else {
            assert!(body.is_empty());
        }
    }
}
