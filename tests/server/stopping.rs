//! Stopping the server: everyone is told, what is queued goes out, and it's over within 3 s
//! (PROTOCOL.md §1.6, §2.2).

#![cfg(unix)]

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Client, Ended, SAFETY_NET, Server, Wire, add, free_port, handshake, nothing_more,
    reading_slowly, with_id,
};

/// The editor kills its child after so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stops a server as the editor does, and checks that it ends well and in time.
fn stopped(server: &mut Server, signal: &str) -> Ended {
    let began = Instant::now();
    server.signal(signal);
    let ended = server.wait();
    let took = began.elapsed();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(took < PATIENCE, "it took {took:?}");
    let lines: Vec<&str> = ended.log.lines().collect();
    let place = |text: &str| {
        let found = lines.iter().position(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text:?} is missing in:\n{}", ended.log))
    };
    assert!(place("SHUTTING DOWN") < place("Server closed"));
    assert!(place("Server closed") < place("Port released"));
    ended
}

#[test]
fn sigterm_and_sigint_both_tell_every_client() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
        let mut carol = Client::join(&server, "another", "carol");
        server.signal(signal);
        for client in [&mut alice, &mut bob, &mut carol] {
            assert_eq!(client.closed(), (1001, "server shutting down".into()));
        }
        assert_eq!(server.wait().status.code(), Some(0));
    }
}

#[test]
fn a_server_without_clients_stops_too() {
    for signal in ["TERM", "INT"] {
        stopped(&mut Server::start(&[]), signal);
    }
}

#[test]
fn a_server_whose_clients_answer_stops_with_all_of_them_gone() {
    let mut server = Server::start(&[]);
    let clients = Client::join_all(&server, "table", ["alice", "bob"]);
    let leaving = clients.map(|mut client| std::thread::spawn(move || client.closed()));
    let ended = stopped(&mut server, "TERM");
    for client in leaving {
        assert_eq!(client.join().expect("a client").0, 1001);
    }
    assert!(!ended.log.contains("waiting any longer"), "{}", ended.log);
}

#[test]
fn what_is_queued_is_flushed_before_the_close() {
    const CHATS: usize = 200;
    let mut server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    let mut bob = Client::join_on(reading_slowly(&server), &server, "table", "bob");
    alice.expect("user:joined");
    let text = "x".repeat(20_000);
    for n in 0..CHATS {
        alice.send(json!({"type": "chat", "n": n, "text": text}));
    }
    alice.send(with_id(add("lens-1", json!({})), "last"));
    alice.expect("message_delivered");
    server.signal("TERM");
    server.wait_for_log("SHUTTING DOWN");
    for n in 0..CHATS {
        assert_eq!(bob.expect("chat")["n"], n);
    }
    bob.expect_command("add_item", "lens-1");
    assert_eq!(bob.expect_command("update_item", "lens-1")["settled"], true);
    assert_eq!(bob.closed(), (1001, "server shutting down".into()));
    assert_eq!(alice.closed().0, 1001);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_client_that_never_answers_does_not_hold_it_up() {
    let mut server = Server::start(&[]);
    let mut mute = Wire::upgrade(&server, "/ws/table/mute");
    stopped(&mut server, "TERM");
    assert_eq!(mute.closed().0, 1001);
}

#[test]
fn a_client_that_never_reads_does_not_hold_it_up() {
    for mode in [&[][..], &["--writer-threads"]] {
        let mut server = Server::start(mode);
        let mut alice = Client::join(&server, "table", "alice");
        let _sloth = Client::knock_on(reading_slowly(&server), &server, "table", "sloth");
        alice.expect("user:joined");
        let text = "x".repeat(100_000);
        for _ in 0..100 {
            alice.send(json!({"type": "chat", "text": text}));
        }
        alice.send(with_id(add("lens-1", json!({})), "last"));
        alice.expect("message_delivered");
        stopped(&mut server, "TERM");
        assert_eq!(alice.closed().0, 1001);
    }
}

#[test]
fn a_handshake_that_is_half_done_does_not_hold_it_up() {
    let mut server = Server::start(&[]);
    let _silent = Wire::open(&server);
    let mut half = Wire::open(&server);
    half.write("GET /ws/table/alice HTTP/1.1\r\nHost: ");
    // Whoever came before her has been accepted by then.
    let alice = Client::join(&server, "table", "alice");
    stopped(&mut server, "TERM");
    drop(alice);
}

#[test]
fn a_refused_client_that_does_not_hang_up_does_not_hold_it_up() {
    let mut server = Server::start(&["--max-connections", "2"]);
    let mut refused = Wire::open(&server);
    refused.write("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let alice = Client::join(&server, "table", "alice");
    let _one_too_many = Wire::open(&server);
    stopped(&mut server, "TERM");
    drop(alice);
}

#[test]
fn all_of_them_together_do_not_hold_it_up() {
    let mut server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    let _sloth = Client::knock_on(reading_slowly(&server), &server, "table", "sloth");
    alice.expect("user:joined");
    let _mutes: Vec<Wire> =
        (0..20).map(|n| Wire::upgrade(&server, &format!("/ws/table/mute-{n}"))).collect();
    let _halves: Vec<Wire> = (0..20)
        .map(|_| {
            let mut half = Wire::open(&server);
            half.write("GET /ws/table/");
            half
        })
        .collect();
    let text = "x".repeat(100_000);
    for _ in 0..60 {
        alice.send(json!({"type": "chat", "text": text}));
    }
    stopped(&mut server, "INT");
}

#[test]
fn the_port_is_free_for_the_next_start_at_once() {
    let port = free_port();
    let mut server = Server::start(&["--port", &port]);
    let alice = Client::join(&server, "table", "alice");
    let mute = Wire::upgrade(&server, "/ws/table/mute");
    stopped(&mut server, "TERM");
    let next = Server::start(&["--port", &port]);
    assert_eq!(next.addr().port().to_string(), port);
    drop((alice, mute));
    let mut again = Client::join(&next, "table", "alice");
    nothing_more([&mut again]);
}

#[test]
fn nobody_can_join_while_it_stops() {
    let mut server = Server::start(&[]);
    // It holds the server up for as long as clients are waited for.
    let _mute = Wire::upgrade(&server, "/ws/table/mute");
    server.signal("TERM");
    server.wait_for_log("SHUTTING DOWN");
    let late = std::net::TcpStream::connect(server.addr()).map(|socket| {
        use std::io::{Read, Write};
        socket.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        let mut answer = Vec::new();
        // Reset, ended or refused with a status: only a session would be wrong.
        let _ = (&socket).write_all(handshake("/ws/table/late").as_bytes());
        let _ = (&socket).read_to_end(&mut answer);
        answer
    });
    assert!(late.is_err() || late.is_ok_and(|answer| !answer.starts_with(b"HTTP/1.1 101")));
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_second_sigint_ends_it_at_once() {
    let mut server = Server::start(&[]);
    let _mute = Wire::upgrade(&server, "/ws/table/mute");
    server.signal("INT");
    server.wait_for_log("SHUTTING DOWN");
    server.signal("INT");
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.log);
    assert!(!ended.log.contains("Server closed"), "{}", ended.log);
}
