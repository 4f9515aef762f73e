//! Requests that don't become a session: each gets a status and a line that says what to do
//! (PROTOCOL.md §2.1, §5).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Response, SAFETY_NET, Server, Wire, add, handshake, nothing_more};

/// Asks and checks what holds for every refusal: one line of plain text, then the end.
fn refused(server: &Server, request: &str) -> Response {
    let response = Wire::ask(server, request);
    let line = response.body.strip_suffix('\n').expect("a line");
    assert!(!line.is_empty() && !line.contains('\n'), "{response:?}");
    let is_api = request.split(' ').nth(1).is_some_and(|path| path.starts_with("/api/"));
    let kind = if is_api { "application/json" } else { "text/plain; charset=utf-8" };
    assert_eq!(response.header("content-type"), Some(kind));
    assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response
}

fn status_and_reason(response: &Response) -> (u16, &str) {
    (response.status, &response.reason)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

#[test]
fn an_unknown_path_is_404_and_the_line_says_which_is_known() {
    let server = Server::start(&[]);
    for path in
        ["/index.html", "/ws", "/ws/", "/ws/table", "/wss/a/b", "/api/nothing", "/key/K", "*"]
    {
        for request in [handshake(path), get(path)] {
            let response = refused(&server, &request);
            assert_eq!(status_and_reason(&response), (404, "Not Found"), "{path}");
            let known = if path.starts_with("/api") { "/api/openapi.json" } else { "/ws/" };
            assert!(response.body.contains(known), "{response:?}");
        }
    }
    // Whoever connects there has forgotten the rest of the path.
    let response = refused(&server, &handshake("/"));
    assert_eq!(status_and_reason(&response), (404, "Not Found"));
}

#[test]
fn a_bad_id_is_404_and_the_line_says_what_a_good_one_is() {
    let server = Server::start(&[]);
    let too_long = format!("/ws/table/{}", "x".repeat(129));
    for path in [
        "/ws//alice",
        "/ws/table/",
        "/ws/table/a%0Ab",
        "/ws/table/a%0D",
        "/ws/a%00b/alice",
        "/ws/table/%1B[31m",
        "/ws/table/a%7F",
        "/ws/table/%C2%85",
        "/ws/table/%FF",
        "/ws/table/%C3",
        "/ws/table/%ED%A0%80",
        "/ws/table/%",
        "/ws/table/%4",
        "/ws/table/%zz",
        &too_long,
    ] {
        let response = refused(&server, &handshake(path));
        assert_eq!(status_and_reason(&response), (404, "Not Found"), "{path}");
        assert!(response.body.contains("128"), "{response:?}");
    }
}

#[test]
fn a_query_swallows_what_follows_it() {
    let server = Server::start(&[]);
    assert_eq!(refused(&server, &handshake("/?x=/ws/table/alice")).status, 404);
    let mut wire = Wire::upgrade(&server, "/ws/table/alice?key=SECRET");
    assert_eq!(wire.next()["user_id"], "alice");
}

#[test]
fn another_method_is_405() {
    let server = Server::start(&[]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let request = handshake("/ws/table/alice").replacen("GET", method, 1);
        let response = refused(&server, &request);
        assert_eq!(status_and_reason(&response), (405, "Method Not Allowed"), "{method}");
        assert!(response.header("allow").is_some_and(|allow| allow.contains("GET")));
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let server = Server::start(&[]);
    for path in ["/nothing", "/ws/table/alice"] {
        let response = Wire::ask(&server, &get(path).replacen("GET", "HEAD", 1));
        assert!(matches!(response.status, 404 | 405 | 426), "{response:?}");
        assert_eq!(response.body, "");
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        assert!(length > Some(1), "it says what GET would have sent: {response:?}");
    }
}

#[test]
fn a_request_that_asks_for_no_upgrade_is_426() {
    let server = Server::start(&[]);
    let whole = handshake("/ws/table/alice");
    for request in [
        get("/ws/table/alice"),
        whole.replace("Upgrade: websocket\r\n", ""),
        whole.replace("Upgrade: websocket", "Upgrade: h2c"),
        whole.replace("Connection: Upgrade", "Connection: keep-alive"),
    ] {
        let response = refused(&server, &request);
        assert_eq!(status_and_reason(&response), (426, "Upgrade Required"), "{request}");
        assert_eq!(response.header("upgrade"), Some("websocket"));
    }
}

#[test]
fn another_version_of_the_protocol_is_426_and_names_ours() {
    let server = Server::start(&[]);
    for version in ["8", "14", "thirteen", ""] {
        let request =
            handshake("/ws/table/alice").replace("-Version: 13", &format!("-Version: {version}"));
        let response = refused(&server, &request);
        assert_eq!(response.status, 426, "{version}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn a_handshake_without_a_right_key_is_400() {
    let server = Server::start(&[]);
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for bad in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZSB0aGF0IGlzIHRvbyBsb25n"] {
        let response = refused(&server, &handshake("/ws/table/alice").replace(key, bad));
        assert_eq!(status_and_reason(&response), (400, "Bad Request"), "{bad}");
    }
    let without =
        handshake("/ws/table/alice").replace(&format!("Sec-WebSocket-Key: {key}\r\n"), "");
    assert_eq!(refused(&server, &without).status, 400);
}

#[test]
fn header_names_and_tokens_are_known_in_any_case_and_company() {
    let server = Server::start(&[]);
    let request = "GET /ws/table/alice HTTP/1.1\r\nhost: h\r\nUPGRADE: WebSocket\r\n\
                   connection: keep-alive, upgrade\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   SEC-WebSocket-Version:   13  \r\n\
                   Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let mut wire = Wire::open(&server);
    wire.write(request);
    wire.upgraded();
    assert_eq!(wire.next()["type"], "connection:ack");
}

#[test]
fn what_is_not_http_1_1_is_400() {
    let server = Server::start(&[]);
    for request in [
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "GET /ws/table/alice HTTP/2.0\r\n\r\n",
        "GET /ws/a b/alice HTTP/1.1\r\n\r\n",
        "GET /ws/table/alice HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        let response = refused(&server, request);
        assert_eq!(status_and_reason(&response), (400, "Bad Request"), "{request:?}");
    }
}

#[test]
fn what_a_proxy_might_read_in_another_way_is_400() {
    let server = Server::start(&[]);
    let with = |header: &str| {
        handshake("/ws/table/alice").replacen("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"), 1)
    };
    for request in [
        with("Host: other"),
        with("host: 127.0.0.1"),
        with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        with("Sec-WebSocket-Version: 13"),
        with("Origin: http://127.0.0.1\r\nOrigin: http://evil.example"),
        with("Authorization: Bearer one\r\nAuthorization: Bearer two"),
        with("Content-Length: 10"),
        with("Content-Length: 0\r\nContent-Length: 10"),
        with("Content-Length: 0, 10"),
        with("Transfer-Encoding: chunked"),
        with("Transfer-Encoding: identity"),
        with("X-Folded: a\r\n b"),
        with("X-Bare: a\nContent-Length: 10"),
        with("Host : other"),
        handshake("/ws/table/alice").replace("Host: 127.0.0.1\r\n", ""),
        handshake("http://other/ws/table/alice"),
        handshake("http://me@127.0.0.1/ws/table/alice"),
    ] {
        let response = refused(&server, &request);
        assert_eq!(status_and_reason(&response), (400, "Bad Request"), "{request:?}");
    }
    for request in [with("Content-Length: 0"), handshake("http://127.0.0.1/ws/table/alice")] {
        assert_eq!(Wire::ask_for(&server, &request), 101, "{request:?}");
    }
}

#[test]
fn nothing_of_a_request_comes_back_in_its_refusal() {
    let server = Server::start(&["--allow-host", "mark"]);
    let marked = handshake("/MARK/ws/MARK?key=MARK").replace("127.0.0.1", "MARK").replace(
        "\r\n\r\n",
        "\r\nOrigin: http://MARK\r\nAuthorization: Bearer MARK\r\nSec-WebSocket-Protocol: MARK\r\n\r\n",
    );
    for (request, status) in [
        (marked.clone(), 404),
        (marked.replace("/MARK/ws", "/ws/%zz"), 404),
        (marked.replacen("GET /MARK", "MARK ", 1), 405),
        (marked.replacen("GET /MARK", "GET ", 1).replace("Version: 13", "Version: MARK"), 426),
        (marked.replacen("GET /MARK", "GET ", 1).replace("Key: d", "Key: MARK"), 400),
        (marked.replace("HTTP/1.1", "MARK/1.1"), 400),
        (marked.replace("Bearer MARK\r", &format!("Bearer MARK{}\r", "x".repeat(20_000))), 431),
    ] {
        let request = request.replace("MARK /ws/MARK", "MARK /ws/table/MARK");
        let request = request.replace("GET /ws/MARK", "GET /ws/table/MARK");
        let response = refused(&server, &request);
        assert_eq!(response.status, status, "{request}");
        assert!(!format!("{response:?}").contains("MARK"), "{response:?}");
    }
}

#[test]
fn a_request_that_is_too_large_is_431() {
    let server = Server::start(&[]);
    let fat = handshake("/ws/table/alice")
        .replace("\r\n\r\n", &format!("\r\nX-Fat: {}\r\n\r\n", "x".repeat(20_000)));
    let endless_path = handshake(&format!("/ws/table/{}", "x".repeat(20_000)));
    let many = "X-Many: x\r\n".repeat(150);
    let many = handshake("/ws/table/alice").replace("\r\n\r\n", &format!("\r\n{many}\r\n"));
    for request in [fat, endless_path, many] {
        let response = refused(&server, &request);
        assert_eq!(status_and_reason(&response), (431, "Request Header Fields Too Large"));
    }
}

#[test]
fn a_request_that_never_ends_is_refused_while_it_still_comes() {
    let server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    wire.write("GET /ws/table/alice HTTP/1.1\r\n");
    let line = format!("X-Line: {}\r\n", "x".repeat(1000));
    for _ in 0..17 {
        wire.write(&line);
    }
    assert_eq!(wire.refusal().status, 431);
}

#[test]
fn a_request_that_takes_too_long_is_408() {
    let server = Server::start(&["--handshake-timeout", "0.3"]);
    let mut wire = Wire::open(&server);
    wire.write("GET /ws/table/alice HTTP/1.1\r\nHost: ");
    let response = wire.refusal();
    assert_eq!(status_and_reason(&response), (408, "Request Timeout"));
}

#[test]
fn one_slow_byte_at_a_time_makes_the_time_no_longer() {
    let server = Server::start(&["--handshake-timeout", "0.5", "--max-connections", "1"]);
    let stream = TcpStream::connect(server.addr()).expect("the server accepts");
    stream.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    let dripping = stream.try_clone().expect("a socket");
    // Whole it would be after hours, but it never says nothing for long.
    let dripper = thread::spawn(move || {
        let head = format!("GET / HTTP/1.1\r\nHost: {}", "h".repeat(10_000));
        for byte in head.bytes() {
            if (&dripping).write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut answer = [0; 12];
    (&stream).read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    // It goes on talking and doesn't hang up, and yet its place is free.
    let began = Instant::now();
    while Wire::ask_for(&server, &handshake("/ws/table/bob")) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "there is room again");
    }
    dripper.join().expect("its connection has ended");
}

#[test]
fn without_a_limit_a_slow_request_is_waited_for() {
    let server = Server::start(&["--handshake-timeout", "0", "--queue-bytes", "0"]);
    let mut wire = Wire::open(&server);
    let request = handshake("/ws/table/alice");
    let (begin, end) = request.split_at(30);
    wire.write(begin);
    // Others come and go meanwhile.
    Client::join(&server, "table", "bob").leave();
    wire.write(end);
    wire.upgraded();
    assert_eq!(wire.next()["type"], "connection:ack");
}

#[test]
fn who_speaks_tls_is_told_at_once_that_nobody_does_here() {
    let server = Server::start(&["--handshake-timeout", "0"]);
    // A ClientHello has no empty line in it that could end a request.
    let response = refused(&server, "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03");
    assert_eq!(response.status, 400);
}

#[test]
fn a_connection_that_never_says_a_word_is_just_ended() {
    let server = Server::start(&["--handshake-timeout", "0.3"]);
    Wire::open(&server).ended();
}

#[test]
fn a_member_has_all_the_time_in_the_world() {
    let server = Server::start(&["--handshake-timeout", "0.3"]);
    let mut alice = Client::join(&server, "table", "alice");
    Wire::open(&server).ended();
    nothing_more([&mut alice]);
}

#[test]
fn a_second_request_behind_a_refused_one_is_not_answered() {
    let server = Server::start(&[]);
    let response =
        Wire::ask(&server, &(get("/nothing") + &get("/nothing") + &handshake("/ws/table/alice")));
    assert_eq!(response.status, 404);
    assert_eq!(response.body.lines().count(), 1, "{response:?}");
}

#[test]
fn a_body_is_ignored() {
    let server = Server::start(&[]);
    let request =
        "POST /ws/table/alice HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(refused(&server, request).status, 405);
}

#[test]
fn with_as_many_connections_as_are_allowed_the_next_is_503() {
    let server = Server::start(&["--max-connections", "2"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for _ in 0..40 {
        let response = refused(&server, &handshake("/ws/table/carol"));
        assert_eq!(status_and_reason(&response), (503, "Service Unavailable"));
        assert!(response.body.contains("full"), "{response:?}");
    }
    nothing_more([&mut alice, &mut bob]);
    alice.leave();
    let began = Instant::now();
    while Wire::ask_for(&server, &handshake("/ws/table/carol")) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "there is room again");
    }
}

#[test]
fn with_as_many_sessions_as_are_allowed_a_new_one_is_503_and_the_old_ones_go_on() {
    let server = Server::start(&["--max-sessions", "1", "--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    let response = refused(&server, &handshake("/ws/another/bob"));
    assert_eq!(status_and_reason(&response), (503, "Service Unavailable"));
    assert!(response.body.contains("session"), "{response:?}");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    bob.send(json!({"type": "chat"}));
    alice.expect("chat");
}

#[test]
fn a_session_that_lingers_with_work_in_it_is_not_given_up_for_a_new_one() {
    let server = Server::start(&["--max-sessions", "1", "--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for item in ["lens-1", "lens-2"] {
        alice.send(add(item, json!({})));
        bob.expect_command("add_item", item);
    }
    bob.leave();
    alice.expect("user:left");
    alice.leave();
    assert_eq!(refused(&server, &handshake("/ws/another/bob")).status, 503);
    let mut alice = Client::join(&server, "table", "alice");
    assert_eq!(alice.items().len(), 2);
}

/// Nobody waits for an empty line that was there, but for a carriage return.
#[test]
fn bare_line_feeds_are_answered_at_once() {
    let server = Server::start(&["--handshake-timeout", "0"]);
    for parts in [
        &["GET /healthz HTTP/1.1\nHost: localhost\n\n"][..],
        &["GET /healthz HTTP/1.1\n"],
        &["GET /healthz HTTP/1.1\r", "\nHost: localhost\n", "\n"],
        &["GET /healthz HTTP/1.0\n\n"],
    ] {
        let mut wire = Wire::open(&server);
        parts.iter().for_each(|part| wire.write(part));
        assert_eq!(wire.refusal().status, 400, "{parts:?}");
    }
}

#[test]
fn sessions_of_one_item_that_nobody_is_in_keep_nobody_out() {
    let server = Server::start(&["--max-sessions", "2", "--no-settle"]);
    for n in 0..5 {
        let mut mallory = Client::join(&server, &n.to_string(), "mallory");
        mallory.send(add("lens-1", json!({})));
        nothing_more([&mut mallory]);
        mallory.leave();
        // Its thread may still be saying farewell.
        server.wait_for_log(&format!("left session \"{n}\""));
    }
    Client::join(&server, "table", "alice");
}

/// A page that is permitted may read the API with a key, which a browser asks about beforehand.
#[test]
fn a_permitted_page_may_ask_the_api_with_a_key_and_another_may_not() {
    let origin = "https://Lab.example:8443";
    let server = Server::start(&["--dev-keys", "--allow-origin", origin, "--allow-host", "collab"]);
    let ask = |method: &str, path: &str, headers: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: collab\r\n{headers}\r\n");
        Wire::ask(&server, &request)
    };
    let threads = "/api/chat/threads";
    let key = "Authorization: Bearer development\r\n";
    for (origin, written) in [
        ("https://lab.example:8443", "https://lab.example:8443"),
        ("HTTPS://LAB.example:8443", "https://lab.example:8443"),
        ("http://collab:80", "http://collab"),
        ("http://localhost:3000", "http://localhost:3000"),
    ] {
        let headers = format!("Origin: {origin}\r\n");
        let before = format!(
            "{headers}Access-Control-Request-Method: GET\r\n\
             Access-Control-Request-Headers: authorization\r\n"
        );
        let allowed = ask("OPTIONS", threads, &before);
        assert_eq!((allowed.status, &*allowed.body), (204, ""), "{origin}");
        assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, HEAD"));
        assert_eq!(allowed.header("access-control-allow-headers"), Some("authorization"));
        assert_eq!(allowed.header("content-length"), None);
        let answers = [
            (200, ask("GET", threads, &format!("{headers}{key}"))),
            (401, ask("GET", threads, &headers)),
            (405, ask("POST", threads, &headers)),
            (204, allowed),
        ];
        for (status, answer) in answers {
            assert_eq!(answer.status, status, "{origin}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(written));
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
    }
    for origin in ["https://evil.example", "null", "https://lab.example"] {
        for method in ["OPTIONS", "GET"] {
            let answer = ask(method, threads, &format!("Origin: {origin}\r\n{key}"));
            assert_eq!(answer.status, 403, "{method} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    let without = ask("GET", threads, key);
    assert_eq!((without.status, without.header("access-control-allow-origin")), (200, None));
    assert_eq!(ask("OPTIONS", threads, "").status, 204);
    let session = ask("OPTIONS", "/ws/table/alice", "Origin: http://localhost\r\n");
    assert_eq!((session.status, session.header("access-control-allow-origin")), (405, None));
}
