//! What one client may take: connections from its address, the pace of its messages, its silence.

use std::net::TcpStream;
use std::time::Duration;

use collabd::auth::KeyStore;
use collabd::hub::{DocumentBounds, HistoryBounds, Hub, Limits};
use collabd::net::{Config, ConnectionLimits, RateLimits, SendMode, ServerHandle};
use collabd::routes::Router;
use serde_json::json;

use crate::support::{Client, Server, Wire, handshake, masked};
#[cfg(feature = "durable")]
use crate::support::{Folder, SAFETY_NET};

const TEXT: u8 = 0x81;

#[test]
fn an_address_has_room_for_so_many_connections() {
    let server = Server::start(&["--max-connections-per-address", "2"]);
    let [_alice, bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    assert_eq!(Wire::ask_for(&server, &handshake("/ws/table/carol")), 503);
    bob.leave();
    // Its thread may still be saying farewell when the next one knocks.
    while Wire::ask_for(&server, &handshake("/ws/table/carol")) == 503 {}
}

#[test]
#[cfg(target_os = "linux")]
fn other_addresses_have_room_of_their_own() {
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::net::SocketAddr;

    let server = Server::start(&["--max-connections-per-address", "1"]);
    let _alice = Client::join(&server, "table", "alice");
    assert_eq!(Wire::ask_for(&server, &handshake("/ws/table/bob")), 503);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let here: SocketAddr = "127.0.0.2:0".parse().expect("an address");
    socket.bind(&SockAddr::from(here)).expect("a second address of this machine");
    socket.connect(&SockAddr::from(server.addr())).expect("the server accepts");
    let stream: TcpStream = socket.into();
    let mut bob = Client::knock_on(stream, &server, "table", "bob");
    bob.expect("connection:ack");
}

#[test]
fn who_sends_too_fast_is_read_more_slowly_and_loses_nothing() {
    let server = Server::start(&["--rate-messages", "20"]);
    let [mut alice, mut bob, mut carol] =
        Client::join_all(&server, "table", ["alice", "bob", "carol"]);
    // Four seconds' worth are free; the rest takes a second.
    for n in 0..100 {
        alice.send(json!({"type": "chat", "n": n}));
    }
    // Nobody else is slowed down: bob's word is heard before alice's last one.
    assert_eq!(carol.expect("chat")["n"], 0);
    bob.send(json!({"type": "shout"}));
    let mut next = 1;
    let mut heard_bob_at = None;
    while next < 100 {
        let message = carol.next();
        if message["type"] == "shout" {
            heard_bob_at = Some(next);
        } else {
            assert_eq!(message["n"], next);
            next += 1;
        }
    }
    assert!(heard_bob_at.is_some(), "bob had to wait for alice");
}

fn config() -> Config {
    Config {
        room: ConnectionLimits { connections: 0, per_address: 0 },
        trusted_proxies: Vec::new(),
        silence: Duration::from_secs(90),
        handshake_timeout: Some(Duration::from_secs(10)),
        max_message_bytes: 1 << 20,
        queue_bytes: Some(8 << 20),
        rate: RateLimits { messages: 0, bytes: 0 },
        idle_timeout: Some(Duration::from_millis(200)),
        send_mode: SendMode::NonBlocking,
    }
}

fn start_with(config: Config) -> ServerHandle {
    let limits = Limits {
        linger: Duration::ZERO,
        max_sessions: 0,
        max_channels: 0,
        document: DocumentBounds { item: 1 << 20, document: 1 << 22 },
        documents_memory: 0,
        history: HistoryBounds { changes: 100, bytes: 1 << 20 },
        settle: true,
        durable: false,
    };
    let listener = collabd::net::bind("127.0.0.1", 0).expect("a free port");
    let hub = Box::new(Hub::new(limits, 1));
    collabd::net::start(
        listener,
        config,
        Box::new(Router::new(KeyStore::open(None, false).expect("no file"))),
        hub,
    )
    .expect("threads")
}

#[test]
fn who_is_silent_for_too_long_is_closed_where_that_is_asked_for() {
    // In this process: the command line allows no time that a test could wait for.
    let server = start_with(config());
    let stream = TcpStream::connect(server.addr()).expect("it listens");
    let url = format!("ws://{}/ws/table/alice", server.addr());
    let (mut alice, _) = tungstenite::client(url, stream).expect("a session");
    let close = loop {
        match alice.read().expect("a close comes before the end") {
            tungstenite::Message::Close(frame) => break frame.expect("a code"),
            _ => continue,
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "silent for too long"));
    assert!(server.stop().is_empty());
}

/// A machine that was switched off answers no Ping, however much is on its way to it.
#[test]
fn who_gives_no_sign_of_life_is_closed_and_who_answers_is_not() {
    // In this process: the command line has no option for it.
    let config = Config { silence: Duration::from_secs(3), idle_timeout: None, ..config() };
    let server = start_with(config);
    let connect = |user: &str| {
        let stream = TcpStream::connect(server.addr()).expect("it listens");
        let url = format!("ws://{}/ws/table/{user}", server.addr());
        tungstenite::client(url, stream).expect("a session").0
    };
    // She says nothing by herself, but answers.
    let mut alice = connect("alice");
    // Bytes go on arriving at this one, which never says a word.
    let mut ghost = Wire::on(TcpStream::connect(server.addr()).expect("it listens"));
    ghost.write(handshake("/ws/table/ghost"));
    ghost.upgraded();
    let mut bob = connect("bob");
    let (told, dragging) = std::sync::mpsc::channel();
    let drags = std::thread::spawn(move || {
        let cursor = tungstenite::Message::text(r#"{"type":"cursor","x":1}"#);
        while dragging.recv_timeout(Duration::from_millis(50)).is_err() {
            bob.send(cursor.clone()).expect("it is there");
        }
        bob
    });
    let left = loop {
        let message = alice.read().expect("she is not closed");
        let text = message.to_text().unwrap_or_default();
        if text.contains("user:left") {
            break text.to_owned();
        }
    };
    assert!(left.contains("ghost"), "{left}");
    assert_eq!(ghost.closed(), (1008, "no sign of life".into()));
    told.send(()).expect("he drags");
    drop(drags.join().expect("no panic"));
    assert!(server.stop().len() < 2);
}

/// Whoever may not talk yet takes little memory: a key is shown in less than 64 KiB.
#[test]
fn before_a_key_was_good_only_small_messages_are_taken() {
    let server = Server::start(&["--dev-keys"]);
    let connect = |key: &str, size: usize| {
        let text = json!({"type": "connect", "data": {"api_key": key, "domain": ""}}).to_string();
        text.replace(r#""domain":"""#, &format!(r#""domain":"{}""#, "x".repeat(size - text.len())))
    };
    let closed = |text: String| {
        let mut wire = Wire::upgrade(&server, "/client_web");
        wire.send(text);
        wire.closed().0
    };
    assert_eq!(closed(connect("wrong", 64 << 10)), 4000);
    assert_eq!(closed(connect("development", (64 << 10) + 1)), 1009);
    let mut wire = Wire::upgrade(&server, "/client_web");
    // In one go: the large one waits behind the key already.
    let large = json!({"type": "x", "p": "x".repeat(900_000)}).to_string();
    let both = [&connect("development", 64 << 10), &large];
    wire.write(both.map(|text| masked(TEXT, text.as_bytes())).concat());
    let told = (0..4).map(|_| wire.next()["type"].as_str().map(str::to_owned));
    let expected = ["connection_established", "connection_success", "message_delivered", "x"];
    assert_eq!(told.collect::<Vec<_>>(), expected.map(|kind| Some(kind.to_owned())));
    wire.send(json!({"type": "x", "p": "x".repeat(1 << 20)}).to_string());
    assert_eq!(wire.closed().0, 1009);
}

/// Whoever adds more is refused, by whatever way it comes; and the numbers say how full it is.
#[test]
fn all_documents_together_have_a_bound() {
    let server = Server::start(&["--documents-memory", "64KiB"]);
    let limit = |server: &Server, name: &str| -> u64 {
        let metrics = Wire::ask(server, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("a number").parse().expect("a number")
    };
    assert_eq!(limit(&server, "collabd_documents_limit_bytes"), 64 << 10);
    assert_eq!(limit(&server, "collabd_documents_bytes"), 0);
    let mut alice = Client::join(&server, "table", "alice");
    let mut bob = Client::join(&server, "bench", "bob");
    let add_of = |n: usize, bytes: usize| {
        let data = json!({"text": "x".repeat(bytes)});
        let command = json!({"action": "add_item", "item_id": n.to_string(), "data": data});
        json!({"type": "command", "id": n, "command": command})
    };
    let add = |n: usize| add_of(n, 9_900);
    let taken = (0..).take_while(|n| {
        alice.send(add(*n));
        loop {
            match alice.next() {
                told if told["type"] == "message_delivered" => return true,
                told if told["type"] == "error" => {
                    assert_eq!(
                        (&told["error_type"], &told["code"]),
                        (&json!("document_full"), &json!(413))
                    );
                    let message = told["message"].as_str().expect("a text");
                    assert!(message.contains("65536 bytes of memory"), "{message}");
                    return false;
                }
                _ => {}
            }
        }
    });
    assert_eq!(taken.count(), 6);
    bob.send(add(0));
    bob.expect_error("document_full");
    bob.expect_command("remove_item", "0");
    let body = json!({"items": [{"uuid": "a", "text": "x".repeat(10_000)}]}).to_string();
    let put = |server: &Server, session: &str| {
        let request = format!(
            "PUT /api/sessions/{session}/state HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Wire::ask(server, &request)
    };
    assert_eq!(put(&server, "new").status, if cfg!(feature = "durable") { 413 } else { 404 });
    let full = limit(&server, "collabd_documents_bytes");
    assert!(full > 55_000 && full <= 64 << 10, "{full}");
    let remove = json!({"action": "remove_item", "item_id": "0"});
    alice.send(json!({"type": "command", "id": "last", "command": remove}));
    while alice.next()["id"] != "last" {}
    // What is remembered of the removed one takes some, too.
    bob.send(add_of(1, 9_000));
    bob.expect("message_delivered");
    bob.send(add(2));
    bob.expect_error("document_full");
}

#[test]
#[cfg(feature = "durable")]
fn what_is_imported_counts_too() {
    let folder = Folder::new();
    let data = folder.typed("data");
    let server = Server::start(&["--documents-memory", "64KiB", "--data-dir", &data]);
    let put = |session: &str, bytes: usize| {
        let body = json!({"items": [{"uuid": "a", "text": "x".repeat(bytes)}]}).to_string();
        let request = format!(
            "PUT /api/sessions/{session}/state?replace=1 HTTP/1.1\r\nHost: localhost\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Wire::ask(&server, &request)
    };
    // Nobody is in any of them: they take no memory once they are stored.
    for n in 0..10 {
        assert_eq!(put(&n.to_string(), 40_000).status, 201);
    }
    let refused = put("more", 70_000);
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("65536 bytes of memory"), "{}", refused.body);
    let alice = Client::join(&server, "1", "alice");
    assert_eq!(put("more", 40_000).status, 413);
    // Nor is there memory for another one that is stored.
    assert_eq!(Wire::ask_for(&server, &handshake("/ws/2/bob")), 503);
    alice.leave();
    let began = std::time::Instant::now();
    while Wire::ask_for(&server, &handshake("/ws/2/bob")) == 503 {
        assert!(began.elapsed() < SAFETY_NET, "she has left");
    }
}
