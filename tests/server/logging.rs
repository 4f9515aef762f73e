//! The log: what stands in it, what never does, and that nothing waits for whoever should read it.

#![cfg(unix)]

use serde_json::json;

use crate::support::{Client, Server, Wire, add, collabd, handshake, masked, nothing_more};

/// The log's lines without their time stamps, each of which has to be one the server wrote.
fn lines(log: &str) -> Vec<&str> {
    log.lines()
        .map(|line| {
            let (time, rest) = line.split_once(' ').expect("a time stamp");
            let digits: String =
                time.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(digits, "0000-00-00T00:00:00", "{line:?}");
            assert!(
                ["[INFO] ", "[WARN] ", "[ERROR] ", "[DEBUG] "]
                    .iter()
                    .any(|level| rest.starts_with(level)),
                "{line:?}"
            );
            assert!(
                !line.contains(|c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}".contains(c)),
                "{line:?}"
            );
            rest
        })
        .collect()
}

/// Lines that have nothing to do with a client.
fn is_the_servers(line: &&&str) -> bool {
    ["serving ", "kept in memory only", "SHUTTING DOWN", "Server closed", "Port released"]
        .iter()
        .any(|text| line.contains(text))
}

#[test]
fn it_tells_who_came_and_who_went_and_why() {
    let mut server = Server::start(&[]);
    let [mut alice, bob, mut carol] =
        Client::join_all(&server, "table 1", ["alice", "bob", "carol"]);
    assert_eq!(alice.close(1000, "good night").0, 1000);
    bob.vanish();
    carol.expect("user:left");
    carol.expect("host:changed");
    carol.expect("user:left");
    carol.expect("host:changed");
    carol.send_frame(tungstenite::Message::binary(vec![1]));
    assert_eq!(carol.closed().0, 1003);
    let log = server.stop().log;
    for (user, words) in [
        ("alice", ["1000", "good night"]),
        ("bob", ["1006", "lost"]),
        ("carol", ["1003", "unsupported"]),
    ] {
        let about: Vec<&str> = lines(&log).into_iter().filter(|line| line.contains(user)).collect();
        assert_eq!(about.len(), 2, "{log}");
        assert!(about[0].contains("joined") && about[0].contains("table 1"), "{log}");
        assert!(about[0].contains("127.0.0.1"), "{log}");
        assert!(
            about[1].contains("left") && words.iter().all(|word| about[1].contains(word)),
            "{log}"
        );
    }
}

#[test]
fn a_probe_that_connects_and_closes_makes_no_line() {
    let mut server = Server::start(&[]);
    for _ in 0..5 {
        drop(Wire::open(&server));
    }
    Wire::open(&server).hang_up();
    Client::join(&server, "table", "alice").leave();
    let log = server.stop().log;
    let lines = lines(&log);
    assert_eq!(lines.iter().filter(is_the_servers).count(), 5, "{log}");
    assert_eq!(lines.iter().filter(|line| line.contains("alice")).count(), 2, "{log}");
    assert_eq!(lines.len(), 7, "{log}");
}

#[test]
fn an_id_cannot_forge_a_line() {
    let mut server = Server::start(&["--debug"]);
    for path in [
        "/ws/table/a%0A2025-10-28T13:30:45.123Z%20[INFO]%20FORGED",
        "/ws/a%0D%0AFORGED/b",
        "/ws/a/%1B[2JFORGED",
    ] {
        assert_eq!(Wire::ask(&server, &handshake(path)).status, 404);
    }
    let strange = "a\u{2028}b\u{202e}c\" joined \u{2029}";
    Client::join(&server, strange, strange).leave();
    let log = server.stop().log;
    lines(&log);
    assert!(!log.contains("FORGED"), "{log}");
    assert!(log.contains(r#"a\u{2028}b\u{202e}c\" joined"#), "{log}");
}

#[test]
fn a_close_reason_cannot_forge_a_line() {
    let mut server = Server::start(&[]);
    let reason = "x\n2025-10-28T13:30:45.123Z [INFO] FORGED\r\x1b[31m\u{2028}\u{7f}y";
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    wire.write(masked(0x88, &[&1000u16.to_be_bytes(), reason.as_bytes()].concat()));
    assert_eq!(wire.closed().0, 1000);
    let log = server.stop().log;
    lines(&log);
    assert!(!log.contains("FORGED") && log.contains("a reason of"), "{log}");
}

#[test]
fn nothing_a_message_holds_is_ever_logged() {
    let secret = "SECRET";
    for options in [&[][..], &["--debug"]] {
        let mut server = Server::start(options);
        let mut bob = Client::join(&server, "table", "bob");
        let (mut wire, token) = Wire::arrive(&server, "/key/SECRET/ws/table/alice?key=SECRET");
        bob.expect("user:joined");
        wire.write(masked(0x8a, &token));
        for text in [
            json!({"type": "chat", "text": secret, "SECRET": 1}).to_string(),
            add(secret, json!({"name": secret})).to_string(),
            json!({"type": "ping", "id": secret}).to_string(),
            json!({"type": "command", "command": {"item_id": 7, "data": secret}}).to_string(),
            "SECRET is not JSON".into(),
            json!({"SECRET": "no type"}).to_string(),
        ] {
            wire.send(text);
        }
        wire.send(json!({"type": "chat", "last": true}).to_string());
        while bob.next()["last"] != true {}
        wire.write(masked(0x81, b"{\"type\":\"SECRET\xff\"}"));
        assert_eq!(wire.closed().0, 1007);
        assert_eq!(Wire::ask(&server, &handshake("/nothing/SECRET")).status, 404);
        bob.vanish();
        let log = server.stop().log;
        lines(&log);
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn debug_logs_a_line_for_every_message_with_its_type_and_size() {
    let mut server = Server::start(&["--debug"]);
    let mut alice = Client::join(&server, "table", "alice");
    let text = r#"{"type":"selection:of\nmine","x":1}"#;
    alice.send_text(text);
    nothing_more([&mut alice]);
    alice.leave();
    // The client protocol's as well; its answer comes after the line.
    let mut agent = Wire::upgrade(&server, "/client_agent");
    agent.send(r#"{"type":"ping"}"#);
    agent.next();
    let log = server.stop().log;
    let about = lines(&log).into_iter().filter(|line| line.contains(r#""ping""#));
    assert_eq!(about.count(), 1, "{log}");
    let about: Vec<&str> =
        lines(&log).into_iter().filter(|line| line.contains("selection")).collect();
    assert_eq!(about.len(), 1, "{log}");
    assert!(
        about[0].contains(r"selection:of\nmine") && about[0].contains(&text.len().to_string()),
        "{log}"
    );
}

#[test]
fn a_log_file_gets_the_same_lines_and_is_appended_to() {
    let path = std::env::temp_dir().join(format!("collabd-log-{}", std::process::id()));
    let file = path.to_str().expect("UTF-8");
    let mut logged = String::new();
    for user in ["alice", "bob"] {
        let mut server = Server::start(&["--log-file", file]);
        Client::join(&server, "table", user).leave();
        logged += &server.stop().log;
    }
    let read = std::fs::read_to_string(&path);
    std::fs::remove_file(&path).expect("it was written");
    let read = read.expect("UTF-8");
    assert_eq!(lines(&read), lines(&logged));
    assert!(read.contains("\"alice\" joined") && read.contains("\"bob\" joined"), "{read}");
}

/// A server whose stderr is a pipe that nobody reads, as the editor's may be.
fn unread(args: &[&str]) -> (Server, std::process::ChildStderr) {
    let all: Vec<&str> =
        ["--host", "127.0.0.1", "--port", "0"].iter().chain(args).copied().collect();
    Server::spawn_unread(collabd(&all))
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let (mut server, stderr) = unread(&["--debug"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    // Far more lines than a pipe and the queue before it can hold.
    for n in 0..10_000 {
        alice.send(json!({"type": "chat", "n": n}));
        if n % 100 == 99 {
            for received in n - 99..=n {
                assert_eq!(bob.expect("chat")["n"], received);
            }
        }
    }
    nothing_more([&mut alice, &mut bob]);
    server.signal("TERM");
    assert_eq!(alice.closed().0, 1001);
    assert_eq!(bob.closed().0, 1001);
    assert_eq!(server.exit_code(), Some(0));
    drop(stderr);
}

#[test]
fn a_log_whose_reader_has_gone_holds_nobody_up() {
    let (mut server, stderr) = unread(&["--debug"]);
    drop(stderr);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for n in 0..100 {
        alice.send(json!({"type": "chat", "n": n}));
        assert_eq!(bob.expect("chat")["n"], n);
    }
    server.signal("TERM");
    assert_eq!(alice.closed().0, 1001);
    assert_eq!(bob.closed().0, 1001);
    assert_eq!(server.exit_code(), Some(0));
}
