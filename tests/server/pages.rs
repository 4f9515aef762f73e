//! Plain pages: many on one connection, in order and within bounds, and what the server says of itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Client, Response, SAFETY_NET, Server, Wire, add, handshake, masked, reading_slowly, with_id,
};

fn get(path: &str) -> String {
    with("GET", path, "")
}

fn with(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n")
}

/// A page's JSON.
fn json_of(server: &Server, path: &str) -> Value {
    let answer = Wire::ask(server, &get(path));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Every sample of `/metrics` by its name and labels.
fn metrics(server: &Server) -> HashMap<String, f64> {
    let answer = Wire::ask(server, &get("/metrics"));
    let kind = answer.header("content-type");
    assert_eq!((answer.status, kind), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    samples.collect()
}

/// Asks until it holds.
fn until<T>(mut ask: impl FnMut() -> T, holds: impl Fn(&T) -> bool, what: &str) -> T {
    let began = Instant::now();
    loop {
        let found = ask();
        if holds(&found) {
            return found;
        }
        assert!(began.elapsed() < SAFETY_NET, "{what}");
    }
}

#[test]
fn one_connection_asks_for_many_pages() {
    let server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    let ask = |wire: &mut Wire, request: String| {
        wire.write(request);
        wire.answer()
    };
    let page = ask(&mut wire, get("/"));
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(page.body.starts_with("<!doctype html>"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    let tag = page.header("etag").expect("a tag").to_owned();
    let had = format!("If-None-Match: {tag}\r\n");
    let same = ask(&mut wire, with("GET", "/", &had));
    assert_eq!((same.status, &*same.reason, &*same.body), (304, "Not Modified", ""));
    assert_eq!((same.header("etag"), same.header("content-length")), (Some(&*tag), None));
    wire.write(with("HEAD", "/", ""));
    let head = wire.head();
    let length = page.body.len().to_string();
    assert_eq!((head.status, head.header("content-length")), (200, Some(&*length)));
    for path in ["/api/server", "/api/connections", "/metrics", "/healthz"] {
        let answer = ask(&mut wire, get(path));
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    assert_eq!(ask(&mut wire, get("/healthz")).body, "ok\n");
    wire.write(with("GET", "/healthz", "Connection: keep-alive, Close\r\n"));
    let last = wire.refusal();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
}

#[test]
fn what_is_asked_at_once_is_answered_in_order() {
    let server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    let paths = ["/healthz", "/api/server", "/", "/metrics"];
    let requests: String = paths.iter().cycle().take(40).map(|path| get(path)).collect();
    // In pieces that have nothing to do with where one request ends.
    for piece in requests.as_bytes().chunks(1013) {
        wire.write(piece);
    }
    for path in paths.iter().cycle().take(40) {
        let answer = wire.answer();
        let is_its_own = match *path {
            "/healthz" => answer.body == "ok\n",
            "/api/server" => answer.body.starts_with("{\"server\":"),
            "/" => answer.body.starts_with("<!doctype html>"),
            _ => answer.body.starts_with("# HELP "),
        };
        assert!(answer.status == 200 && is_its_own, "{path}: {answer:?}");
    }
    // A request may be followed by a handshake and by what is said then, all in one go.
    let pinged = masked(0x81, br#"{"type":"ping","id":7}"#);
    let all = [get("/healthz").into_bytes(), handshake("/ws/table/alice").into(), pinged].concat();
    wire.write(all);
    assert_eq!(wire.answer().body, "ok\n");
    wire.upgraded();
    assert_eq!(wire.next()["type"], "connection:ack");
    assert_eq!(wire.next()["type"], "user:joined");
    loop {
        match wire.frame() {
            (0x89, _) => {}
            (_, text) => {
                let pong: Value = serde_json::from_slice(&text).expect("JSON");
                assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(7)));
                break;
            }
        }
    }
}

#[test]
fn a_refusal_is_the_end_of_its_connection() {
    let server = Server::start(&[]);
    for (refused, status) in [
        (get("/nothing"), 404),
        (with("POST", "/healthz", "Content-Length: 30\r\n"), 405),
        (with("POST", "/metrics", "Transfer-Encoding: chunked\r\n"), 405),
        (with("DELETE", "/", ""), 405),
        (with("GET", "/", "Content-Length: 30\r\n"), 400),
        (with("GET", "/api/server", "Origin: http://evil.example\r\n"), 403),
        (get("/ws/table/alice"), 426),
        (handshake("/"), 404),
        ("nonsense\r\n\r\n".into(), 400),
        (with("GET", "/", &format!("X: {}\r\n", "x".repeat(17_000))), 431),
    ] {
        let mut wire = Wire::open(&server);
        // What looks like a request after it may be part of what it was to be about.
        wire.write([get("/healthz"), refused.clone(), get("/healthz")].concat());
        assert_eq!(wire.answer().body, "ok\n");
        let answer = wire.refusal();
        assert_eq!(answer.status, status, "{refused:.60}");
        assert_eq!(answer.body.lines().count(), 1, "and nothing else: {answer:?}");
        assert!(answer.header("connection").is_some_and(|token| token.ends_with("close")));
        assert_eq!(answer.header("allow").is_some(), status == 405);
    }
}

#[test]
fn a_connection_has_a_thousand_requests_and_no_more() {
    let server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    for _ in 0..9 {
        wire.write(get("/healthz").repeat(111));
        (0..111).for_each(|_| assert_eq!(wire.answer().status, 200));
    }
    wire.write(get("/healthz").repeat(2));
    let last = wire.refusal();
    assert_eq!((last.status, last.header("connection"), &*last.body), (200, Some("close"), "ok\n"));
}

#[test]
fn a_kept_connection_has_as_long_for_each_request_as_for_the_first() {
    let server = Server::start(&["--handshake-timeout", "300ms"]);
    let (mut silent, mut slow) = (Wire::open(&server), Wire::open(&server));
    for wire in [&mut silent, &mut slow] {
        wire.write(get("/healthz"));
        assert_eq!(wire.answer().status, 200);
    }
    slow.write("GET /healthz HT");
    silent.ended();
    assert_eq!(slow.refusal().status, 408);
}

#[test]
fn kept_connections_are_connections() {
    let server = Server::start(&["--max-connections-per-address", "2"]);
    let mut kept = [Wire::open(&server), Wire::open(&server)];
    for wire in &mut kept {
        wire.write(get("/healthz"));
        assert_eq!(wire.answer().status, 200);
    }
    assert_eq!(Wire::ask(&server, &handshake("/ws/table/alice")).status, 503);
    // And each of them may still become a member.
    let [mut first, second] = kept;
    first.write(handshake("/ws/table/alice"));
    first.upgraded();
    drop(second);
    until(|| Wire::ask_for(&server, &get("/healthz")), |status| *status == 200, "room again");
}

#[test]
#[cfg(unix)]
fn a_stopping_server_waits_for_nobody_who_asks_nothing() {
    let mut server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    wire.write(get("/healthz"));
    assert_eq!(wire.answer().status, 200);
    let began = Instant::now();
    let ended = server.stop();
    wire.ended();
    assert_eq!(ended.status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "far from the time a request may take");
}

#[test]
fn where_keys_are_asked_for_the_pages_ask_too_but_for_what_tells_nothing() {
    let server = Server::start(&["--dev-keys", "--require-key"]);
    for path in ["/", "/healthz"] {
        assert_eq!(Wire::ask(&server, &get(path)).status, 200, "{path}");
    }
    for path in ["/metrics", "/api/server", "/api/connections"] {
        let refused = Wire::ask(&server, &get(path));
        let (status, reason, scheme) = match path {
            "/metrics" => (403, "Forbidden", None),
            _ => (401, "Unauthorized", Some("Bearer")),
        };
        assert_eq!((refused.status, &*refused.reason), (status, reason), "{path}");
        assert_eq!(refused.header("www-authenticate"), scheme, "{path}");
        let key = "Authorization: Bearer development\r\n";
        assert_eq!(Wire::ask(&server, &with("GET", path, key)).status, 200, "{path}");
        // Any page can write that into the address of a picture.
        let query = format!("{path}?key=development");
        assert_eq!(Wire::ask(&server, &get(&query)).status, status, "{path}");
    }
}

#[test]
fn messages_are_counted_by_the_types_the_protocols_know() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    // Joining has its own messages.
    let before = metrics(&server);
    for n in 0..10 {
        alice.send(add(&format!("lens-{n}"), json!({})));
    }
    alice.send(json!({"type": "chat", "text": "hello"}));
    alice.send(json!({"type": "command", "command": 1}));
    alice.send(json!({"type": "user:left"}));
    alice.send(json!({"type": "ping"}));
    alice.send(with_id(add("last", json!({})), "last"));
    for kind in ["error", "error", "pong", "message_delivered"] {
        alice.expect(kind);
    }
    // All of it is there when the last is.
    while bob.next()["id"] != "last" {}
    let is_counted = |all: &HashMap<String, f64>| {
        all["collabd_messages_sent_total{type=\"message_delivered\"}"] > 0.0
    };
    let all = until(|| metrics(&server), is_counted, "what was sent is counted");
    let since = |name: String| all[&name] - before[&name];
    let heard = |kind: &str| since(format!("collabd_messages_received_total{{type=\"{kind}\"}}"));
    let said = |kind: &str| since(format!("collabd_messages_sent_total{{type=\"{kind}\"}}"));
    // A type that only the server sends is none of a client's.
    assert_eq!((heard("command"), heard("ping"), heard("other")), (12.0, 1.0, 2.0));
    for absent in ["received_total{type=\"user:left\"}", "sent_total{type=\"ping\"}"] {
        assert!(!all.contains_key(&format!("collabd_messages_{absent}")), "{absent}");
    }
    let busy = "collabd_hub_busy_seconds_total";
    assert!(all[busy] > before[busy], "{} {}", all[busy], before[busy]);
    assert_eq!(
        (said("command"), said("pong"), said("error"), said("other")),
        (11.0, 1.0, 2.0, 1.0)
    );
    assert_eq!(before["collabd_messages_sent_total{type=\"connection:ack\"}"], 2.0);
    assert!(all["collabd_message_bytes_received_total{type=\"command\"}"] > 12.0 * 40.0);
    let fan_outs = all["collabd_fanout_latency_seconds_count"];
    assert!(fan_outs >= 12.0, "{fan_outs}");
    assert_eq!(all["collabd_fanout_latency_seconds_bucket{le=\"+Inf\"}"], fan_outs);
    assert!(all["collabd_fanout_latency_seconds_sum"] > 0.0);
    assert!(all["collabd_hub_batch_events_count"] > 0.0);
    for (name, value) in [
        ("collabd_connections{kind=\"member\"}", 2.0),
        ("collabd_connections{kind=\"client\"}", 0.0),
        ("collabd_sessions", 1.0),
        ("collabd_members", 2.0),
        ("collabd_channels", 0.0),
        ("collabd_panics_total", 0.0),
        ("collabd_slow_closes_total", 0.0),
        ("collabd_store_configured", 0.0),
        ("collabd_store_commit_seconds_count", 0.0),
        ("collabd_database_bytes{file=\"database\"}", 0.0),
    ] {
        assert_eq!(all[name], value, "{name}");
    }
    let about = json_of(&server, "/api/server");
    assert_eq!((&about["sessions"], &about["connections"]["members"]), (&json!(1), &json!(2)));
    assert_eq!((&about["healthy"], &about["durable"]), (&json!(true), &json!(false)));
    let all_of = |name: &str| {
        all.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum()
    };
    for (field, name) in [
        ("messages_in", "collabd_messages_received_total"),
        ("messages_out", "collabd_messages_sent_total"),
        ("bytes_in", "collabd_message_bytes_received_total"),
        ("bytes_out", "collabd_message_bytes_sent_total"),
    ] {
        assert_eq!(about[field].as_f64(), Some(all_of(name)), "{field}");
    }
}

/// A viewer is told as much as a member, and is none.
#[test]
fn viewers_are_counted_as_what_they_are() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    let mut viewers = [(); 2].map(|()| Wire::upgrade(&server, "/view/table"));
    for viewer in &mut viewers {
        assert_eq!(viewer.next()["type"], "connection:ack");
    }
    let before = metrics(&server);
    for viewer in &mut viewers {
        viewer.send(r#"{"type":"ping"}"#);
    }
    alice.send(add("lens-1", json!({})));
    for viewer in &mut viewers {
        let mut awaited = vec!["pong", "command"];
        while !awaited.is_empty() {
            let message = viewer.next();
            awaited.retain(|kind| message["type"] != *kind);
        }
    }
    let about = until(
        || json_of(&server, "/api/server"),
        |about| about["connections"]["viewers"] == 2,
        "two viewers",
    );
    assert_eq!(about["connections"]["members"], 1, "{about}");
    let all = metrics(&server);
    for (name, value) in [("collabd_connections{kind=\"viewer\"}", 2.0), ("collabd_members", 1.0)] {
        assert_eq!(all[name], value, "{name}");
    }
    for name in [
        "collabd_messages_received_total{type=\"ping\"}",
        "collabd_messages_sent_total{type=\"command\"}",
    ] {
        assert_eq!(all[name] - before[name], 2.0, "{name}");
    }
    let connections = json_of(&server, "/api/connections");
    let kinds = connections["connections"].as_array().expect("a list").iter();
    let kinds: Vec<_> = kinds.map(|one| one["kind"].as_str().expect("a word")).collect();
    assert_eq!(kinds[..3], ["member", "viewer", "viewer"]);
}

#[test]
fn refusals_and_ends_are_counted_by_reason() {
    let server = Server::start(&[]);
    for _ in 0..3 {
        assert_eq!(Wire::ask(&server, &handshake("/nowhere")).status, 404);
    }
    let from_elsewhere = with("GET", "/ws/table/alice", "Origin: http://evil.example\r\n");
    assert_eq!(Wire::ask(&server, &from_elsewhere).status, 403);
    let mut alice = Wire::upgrade(&server, "/ws/table/alice");
    alice.write(masked(0x82, b"binary"));
    assert_eq!(alice.closed().0, 1003);
    drop(alice);
    let closed = "collabd_websockets_closed_total{code=\"1003\"}";
    let all = until(|| metrics(&server), |all| all[closed] == 1.0, "the close is counted");
    assert_eq!(all["collabd_requests_refused_total{reason=\"not_found\"}"], 3.0);
    assert_eq!(all["collabd_requests_refused_total{reason=\"origin\"}"], 1.0);
    assert_eq!(all["collabd_requests_refused_total{reason=\"key\"}"], 0.0);
    assert!(all["collabd_connections_accepted_total"] >= 6.0);
}

/// Whatever a client asks for, there are only the routes of the table and the statuses that are sent.
#[test]
fn requests_are_counted_by_route_and_status() {
    let server = Server::start(&[]);
    for _ in 0..2 {
        assert_eq!(Wire::ask(&server, &get("/healthz")).status, 200);
        assert_eq!(Wire::ask(&server, &handshake("/api/sessions/made-up")).status, 404);
    }
    for nowhere in ["/nowhere", "/api/made-up", "/ws/a"] {
        assert_eq!(Wire::ask(&server, &get(nowhere)).status, 404);
    }
    assert_eq!(Wire::ask(&server, &get("/view/table")).status, 426);
    assert_eq!(Wire::ask(&server, "no request\r\n\r\n").status, 400);
    assert_eq!(Wire::ask(&server, &get("/").replace("GET", "POST")).status, 405);
    drop(Client::join(&server, "table", "alice"));
    let all = metrics(&server);
    let counted = |route: &str, code: u16| {
        all.get(&format!("collabd_http_requests_total{{route=\"{route}\",code=\"{code}\"}}"))
    };
    for (route, code, count) in [
        ("/healthz", 200, 2.0),
        ("/api/sessions/{id}", 404, 2.0),
        ("other", 404, 3.0),
        ("/view/{session}", 426, 1.0),
        ("other", 400, 1.0),
        ("/", 405, 1.0),
        ("/ws/{session}/{user*}", 101, 1.0),
    ] {
        assert_eq!(counted(route, code), Some(&count), "{route} {code}");
    }
    assert_eq!(counted("/metrics", 200), None, "this is the first scrape");
    let again = metrics(&server);
    let scrapes = "collabd_http_requests_total{route=\"/metrics\",code=\"200\"}";
    assert_eq!(again.get(scrapes), Some(&1.0));
    let took = "collabd_http_request_duration_seconds_count{route=\"/healthz\"}";
    assert_eq!(again.get(took), Some(&2.0));
    let name = "collabd_http_requests_total{";
    assert_eq!(again.keys().filter(|sample| sample.starts_with(name)).count(), 8, "and no other");
}

/// What the process may open and how much of it is open; what the limits are.
#[test]
fn limits_stand_beside_what_they_limit() {
    let server = Server::start(&[
        "--max-connections",
        "40",
        "--max-connections-per-address",
        "30",
        "--max-sessions",
        "7",
        "--queue-bytes",
        "16MiB",
    ]);
    let before = metrics(&server);
    for (name, value) in [
        ("collabd_connections_limit", 40.0),
        ("collabd_connections_per_address_limit", 30.0),
        ("collabd_sessions_limit", 7.0),
        ("collabd_queue_limit_bytes", f64::from(16 << 20)),
    ] {
        assert_eq!(before[name], value, "{name}");
    }
    if cfg!(target_os = "linux") {
        let members: Vec<_> =
            (0..10).map(|n| Client::join(&server, "table", &format!("user {n}"))).collect();
        let now = metrics(&server);
        let open = "process_open_fds";
        assert!(now[open] >= before[open] + members.len() as f64 - 1.0, "{}", now[open]);
        assert!(now[open] <= now["process_max_fds"]);
        let cpu = "process_cpu_seconds_total";
        assert!(now[cpu] >= before[cpu] && now["process_resident_memory_bytes"] > 1e6);
    }
}

#[test]
fn who_does_not_read_is_slow_then_stalled_and_then_gone() {
    for mode in [&[][..], &["--writer-threads"]] {
        let options = [mode, &["--queue-bytes", "1MiB", "--max-document-bytes", "64KiB"]].concat();
        let server = Server::start(&options);
        let mut alice = Client::join(&server, "table", "alice");
        let mut sloth = Client::knock_on(reading_slowly(&server), &server, "table", "sloth");
        alice.expect("user:joined");
        let of = |connections: &Value, state: &str| {
            let all = connections["connections"].as_array().expect("a list").clone();
            all.into_iter().find(|one| one["state"] == state)
        };
        let mut say = || {
            (0..20).for_each(|_| alice.send(json!({"type": "chat", "text": "x".repeat(16_000)})));
        };
        let waits = until(
            || {
                say();
                json_of(&server, "/api/connections")
            },
            |all| of(all, "slow").or_else(|| of(all, "stalled")).is_some(),
            "something waits",
        );
        assert_eq!(waits["connections"].as_array().map(|all| all.len() >= 3), Some(true));
        let stalls = until(
            || {
                let all = json_of(&server, "/api/connections");
                // What waited may have been about to be sent.
                if of(&all, "slow").or_else(|| of(&all, "stalled")).is_none() {
                    say();
                }
                all
            },
            |all| of(all, "stalled").is_some(),
            "nothing is taken for longer than two seconds",
        );
        let stalled = of(&stalls, "stalled").expect("one");
        assert_eq!(stalled["kind"], "member", "{mode:?}");
        assert!(stalled["stalled_seconds"].as_f64().expect("a number") >= 2.0, "{stalled}");
        assert!(stalled["queue_bytes"].as_u64().expect("a number") > 0, "{stalled}");
        let all = metrics(&server);
        assert_eq!(all["collabd_connections_behind{state=\"stalled\"}"], 1.0);
        assert!(all["collabd_queue_bytes"] > 0.0);
        let closes = "collabd_slow_closes_total";
        until(
            || {
                say();
                metrics(&server)
            },
            |all| all[closes] == 1.0,
            "it is given up",
        );
        assert_eq!(sloth.closed_after_all(), (1008, "too slow".into()), "{mode:?}");
    }
}

#[test]
fn a_slow_reader_of_a_page_keeps_nobody_else_from_it() {
    let server = Server::start(&[]);
    let mut sloth = Wire::on(reading_slowly(&server));
    sloth.write(get("/metrics").repeat(100));
    let answers: Vec<Response> = (0..20).map(|_| Wire::ask(&server, &get("/metrics"))).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    (0..100).for_each(|_| assert_eq!(sloth.answer().status, 200));
}
