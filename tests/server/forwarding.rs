//! `collabd forward`: an editor hosts on another machine's collabd, and nobody else gets anything of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use serde_json::json;

use crate::support::{
    Client, Folder, Run, SAFETY_NET, Server, Wire, add, collabd, handshake, item, move_to,
};

/// Forwards to an address; told to stop when dropped.
fn forward_to(address: &str, more: &[&str]) -> Server {
    let url = format!("ws://{address}");
    Server::spawn(collabd(&[&["forward", &url, "--port", "0"], more].concat()))
}

fn forward(far: &Server, more: &[&str]) -> Server {
    forward_to(&far.addr().to_string(), more)
}

/// A new key in a file, and the key file of a server.
fn keys(folder: &Folder, level: &str) -> (String, String, String) {
    let (server, own) = (folder.typed("keys.json"), folder.typed("own.key"));
    let words = ["key", "new", "--name", "alice", "--level", level, "--file", &server];
    let run = Run::of(collabd(&words));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let key = run.out.trim().to_owned();
    std::fs::write(&own, &run.out).expect("written");
    (server, own, key)
}

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn an_editor_hosts_on_another_machine_with_the_key_of_the_forwarder() {
    let folder = Folder::new();
    let (keys, own, key) = keys(&folder, "write");
    let far = Server::start(&["--no-settle", "--keys", &keys, "--require-key"]);
    let near = forward(&far, &["--key-file", &own]);
    let mut alice = Client::host(&near, "table ü", "alice", json!([item("lens", 1)]));
    let mut bob = Client::join(&near, "table ü", "bob");
    assert_eq!(bob.items()[0]["uuid"], "lens");
    bob.send(move_to("lens", 2.5));
    // Before it she hears that bob has come.
    while alice.next()["command"]["action"] != "move_item" {}
    // A large message goes through whole, both ways.
    let text = "x".repeat(900_000);
    alice.send(add("large", json!({"notes": text})));
    let told = bob.expect_command("add_item", "large");
    assert_eq!(told["command"]["data"]["notes"].as_str().map(str::len), Some(text.len()));
    // Closing is passed on as it was said: here because another one takes her place.
    let _again = Client::join(&near, "table ü", "alice");
    assert_eq!(alice.closed_after_all(), (1008, "replaced by a newer connection".into()));
    assert_eq!(bob.close(1000, "bye"), (1000, "bye".into()));
    near.wait_for_log("has ended");
    let log = near.log();
    assert!(log.contains("/ws/table%20") && !log.contains(&key), "{log}");
    assert!(!near.printed.contains(&key) && !far.log().contains(&key));
}

#[test]
fn the_key_may_stand_in_the_address_as_in_the_editors() {
    let folder = Folder::new();
    let (keys, _, key) = keys(&folder, "write");
    let far = Server::start(&["--no-settle", "--keys", &keys, "--require-key"]);
    let near = forward_to(&format!("{}/key/{key}", far.addr()), &[]);
    Client::join(&near, "table", "alice");
    assert!(!near.printed.contains(&key) && !near.log().contains(&key), "{}", near.printed);
}

#[test]
fn it_says_where_it_listens_and_how_to_use_it() {
    let mut near = forward_to("lab-pc:8765", &[]);
    assert!(near.printed.contains("forwards to ws://lab-pc:8765\n"), "{}", near.printed);
    assert!(near.addr().ip().is_loopback());
    let port = near.addr().port();
    let mut printed = near.prints();
    // Where the machine has IPv6.
    if printed.starts_with("listening on") {
        assert_eq!(printed, format!("listening on [::1]:{port}\n"));
        assert!(TcpStream::connect(("::1", port)).is_ok());
        printed = near.prints();
    }
    assert!(printed.contains(&format!("Host server, Port {port}, Connect")), "{printed}");
    #[cfg(unix)]
    assert_eq!(near.stop().status.code(), Some(0));
}

#[test]
fn nothing_but_sessions_is_passed_on_and_nothing_for_pages() {
    // Nobody is asked who isn't there.
    let near = forward_to(&nowhere(), &["--key", "secret"]);
    let with =
        |header: &str| handshake("/ws/a/b").replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
    for (request, status) in [
        (with("Origin: http://evil.example"), 403),
        (with("origin: null"), 403),
        (with("Origin: http://localhost:8765"), 403),
        (with("Sec-Fetch-Site: cross-site"), 403),
        (handshake("/"), 404),
        (handshake("/view/a"), 404),
        (handshake("/client_a"), 404),
        (handshake("/ws"), 404),
        (handshake("//ws/a/b"), 404),
        (handshake("/key/k/ws/a/b"), 404),
        (handshake("/ws/../metrics"), 404),
        (handshake("/ws/%2e%2E/metrics"), 404),
        (handshake("/ws/a/..%2f..%2Fmetrics"), 404),
        (handshake("/ws/a%2f%2e%2e%2f..%2fmetrics"), 404),
        (handshake("/ws/..%5c..\\metrics/b"), 404),
        (handshake("/ws/..;x/metrics"), 404),
        (handshake("/ws/a/%zz"), 404),
        (handshake("/wsx/a/b"), 404),
        ("GET /api/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 404),
        ("DELETE /api/sessions/a HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 404),
        (handshake("/ws/a/b").replacen("GET", "POST", 1), 405),
        ("GET /ws/a/b HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 426),
        ("GET /ws/a/b\r\n\r\n".into(), 400),
        ("\u{1}\u{2}\u{3}\r\n\r\n".into(), 400),
        (with(&format!("X: {}", "x".repeat(100_000))), 431),
        (handshake("/ws/a/b"), 502),
    ] {
        let mut wire = Wire::open(&near);
        wire.write(&request);
        let answer = wire.refusal();
        assert_eq!(answer.status, status, "{request:.200}: {}", answer.body);
        assert_eq!(answer.body.lines().count(), 1, "{}", answer.body);
    }
    near.wait_for_log("nothing listens at");
    let log = near.log();
    assert_eq!(log.matches("refused a page in a browser").count(), 1, "{log}");
}

#[test]
fn what_the_server_refuses_is_told_here_and_there() {
    let folder = Folder::new();
    let (keys, _, _) = keys(&folder, "write");
    let keyed = Server::start(&["--keys", &keys, "--require-key"]);
    let small = Server::start(&["--max-sessions", "1"]);
    let _first = Client::join(&small, "first", "alice");
    for (far, more, path, status, words) in [
        (&keyed, &[][..], "/ws/a/b", 403, "give a key with --key-file"),
        (&keyed, &["--key", "wrong"][..], "/ws/a/b", 403, "is not the right one"),
        (&small, &[][..], "/ws/a", 404, "connect with a WebSocket to /ws/SESSION/USER"),
        (&small, &[][..], "/ws/second/b", 503, "too many sessions"),
    ] {
        let near = forward(far, more);
        let mut wire = Wire::open(&near);
        wire.write(handshake(path));
        let answer = wire.refusal();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.lines().count() == 1 && !answer.body.is_empty(), "{}", answer.body);
        near.wait_for_log(words);
        near.wait_for_log(&format!("says {status}, {}", answer.body.trim_end()));
    }
}

#[test]
fn a_server_that_is_none_is_said_in_words() {
    for (said, words) in [
        (&b"SSH-2.0-OpenSSH\r\n"[..], "does not speak HTTP"),
        (b"", "without an HTTP answer"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nno\n", "says 500, no"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 15\r\n\r\nyou sent secret", "you sent ******"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnothing", "says 404, nothing: a collabd has to run there"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = forward_to(
            &listener.local_addr().expect("an address").to_string(),
            &["--key", "secret"],
        );
        let mut wire = Wire::open(&near);
        wire.write(handshake("/ws/a/b"));
        let (mut far, _) = listener.accept().expect("it connects");
        assert!(far.read(&mut [0; 4096]).expect("a request") > 0);
        far.write_all(said).expect("it reads");
        drop(far);
        let answer = wire.refusal();
        assert!(matches!(answer.status, 502 | 500 | 404), "{words}: {}", answer.status);
        assert!(!answer.body.contains("secret"), "{}", answer.body);
        near.wait_for_log(words);
    }
}

#[test]
fn what_comes_after_a_request_waits_until_the_server_has_agreed() {
    for agrees in [false, true] {
        let (listener, near) = listening();
        let mut local = TcpStream::connect(near.addr()).expect("it accepts");
        let second = "GET /api/sessions HTTP/1.1\r\nHost: a\r\n\r\n";
        let both = handshake("/ws/a/b") + second;
        local.write_all(both.as_bytes()).expect("it reads");
        let (mut far, _) = listener.accept().expect("it connects");
        far.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        let mut heard = String::new();
        while !heard.contains("\r\n\r\n") {
            let mut part = [0; 4096];
            let length = far.read(&mut part).expect("a request");
            heard.push_str(&String::from_utf8_lossy(&part[..length]));
        }
        let answer: &[u8] = match agrees {
            true => b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            false => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        };
        far.write_all(answer).expect("it reads");
        local.shutdown(Shutdown::Write).expect("a socket");
        // All that the server ever hears.
        far.read_to_string(&mut heard).expect("the end");
        assert_eq!(heard.contains("/api/sessions"), agrees, "{heard}");
    }
}

#[test]
fn addresses_that_make_no_sense_are_answered_with_one_line() {
    for (words, code, said) in [
        (&["forward"][..], 2, "forward needs a server's address"),
        (&["forward", "wss://lab-pc"], 1, "ssh -N -L"),
        (&["forward", "http://lab-pc"], 1, "does not begin with ws://"),
        (&["forward", "ws://a", "ws://b"], 2, "a word too many"),
        (&["forward", "ws://a", "--host", "0.0.0.0"], 2, "--host"),
        (&["forward", "ws://a", "--port", "x"], 2, "--port"),
        (&["forward", "ws://a", "--key-file", "/nowhere/at/all"], 1, "can't read the key"),
    ] {
        let line = Run::of(collabd(words)).failed(code);
        assert!(line.contains(said), "{words:?}: {line}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let line = Run::of(collabd(&["forward", "ws://a", "--port", &port])).failed(1);
    assert!(line.contains("--port") && line.contains("is in use"), "{line}");
}

/// A server of a test's own behind a forwarder: its socket, and the client's.
fn joined(near: &Server, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut local = TcpStream::connect(near.addr()).expect("it accepts");
    local.write_all(handshake("/ws/a/b").as_bytes()).expect("it reads");
    let (mut far, _) = listener.accept().expect("it connects");
    for socket in [&local, &far] {
        socket.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        socket.set_write_timeout(Some(SAFETY_NET)).expect("a socket");
    }
    let mut head = [0; 4096];
    let length = far.read(&mut head).expect("a request");
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    assert!(head.starts_with("GET /ws/a/b HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
    assert!(head.contains("Authorization: Bearer secret\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "{head}");
    let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\nfirst";
    far.write_all(answer).expect("it reads");
    let mut begin = vec![0; answer.len()];
    local.read_exact(&mut begin).expect("the answer, and what comes after it");
    assert_eq!(begin, answer);
    (local, far)
}

fn listening() -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let near = forward_to(&address, &["--key", "secret"]);
    (listener, near)
}

#[test]
fn bytes_go_both_ways_as_they_are_and_each_end_is_passed_on() {
    let (listener, near) = listening();
    for client_ends_first in [true, false] {
        let (mut local, mut far) = joined(&near, &listener);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut from, to) = match client_ends_first {
            true => (local.try_clone().expect("a socket"), &mut far),
            false => (far.try_clone().expect("a socket"), &mut local),
        };
        let sent = bytes.clone();
        let sending = thread::spawn(move || {
            from.write_all(&sent).expect("it reads");
            from.shutdown(Shutdown::Write).expect("a socket");
            // The other way is still open.
            let mut answer = String::new();
            from.read_to_string(&mut answer).expect("an answer, and the end");
            answer
        });
        let mut received = Vec::new();
        to.read_to_end(&mut received).expect("all of it, and the end");
        assert!(received == bytes, "{client_ends_first}");
        to.write_all(b"thanks").expect("it reads");
        to.shutdown(Shutdown::Write).expect("a socket");
        assert_eq!(sending.join().expect("no panic"), "thanks");
    }
}

#[test]
fn who_reads_nothing_holds_up_nobody_else() {
    let (listener, near) = listening();
    let (_stalled, mut sender) = joined(&near, &listener);
    // As much as all buffers on the way take, and a little.
    sender.set_nonblocking(true).expect("a socket");
    while sender.write(&[0; 65536]).is_ok() {}
    let (mut local, mut far) = joined(&near, &listener);
    far.write_all(b"hello").expect("it reads");
    let mut heard = [0; 5];
    local.read_exact(&mut heard).expect("not held up");
    assert_eq!(&heard, b"hello");
}

#[test]
fn no_more_than_64_are_passed_on_and_who_says_nothing_gives_its_place_back() {
    let (listener, near) = listening();
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(near.addr()).expect("it accepts"));
    }
    let mut wire = Wire::open(&near);
    assert_eq!(wire.refusal().status, 503);
    assert_eq!(Wire::open(&near).refusal().status, 503);
    near.wait_for_log("passes on 64 connections already");
    assert_eq!(near.log().matches("64 connections already").count(), 1, "{}", near.log());
    // Half a request is none.
    silent[0].write_all(b"GET /ws/a/b HTTP/1.1\r\n").expect("it reads");
    drop(silent);
    loop {
        let mut local = TcpStream::connect(near.addr()).expect("it accepts");
        local.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        local.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        let _ = local.read_to_string(&mut answer);
        if answer.contains(" 404 ") {
            break;
        }
    }
    joined(&near, &listener);
}

#[test]
fn when_the_server_stops_the_client_hears_it() {
    let mut far = Server::start(&["--no-settle"]);
    let near = forward(&far, &[]);
    let mut alice = Client::join(&near, "table", "alice");
    #[cfg(unix)]
    {
        far.stop();
        assert_eq!(alice.closed_after_all(), (1001, "server shutting down".into()));
    }
    let _ = (&mut far, &mut alice);
    // It forwards again when the server is there again, and says that it isn't.
    let mut wire = Wire::open(&near);
    wire.write(handshake("/ws/a/b"));
    #[cfg(unix)]
    assert_eq!(wire.refusal().status, 502);
}

#[test]
fn a_server_that_is_killed_ends_the_client_too() {
    let far = Server::start(&["--no-settle"]);
    let near = forward(&far, &[]);
    let (mut wire, _) = Wire::arrive(&near, "/ws/table/alice");
    drop(far);
    // Without a close frame, as the server sent none.
    wire.ended();
}
