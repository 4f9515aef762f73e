//! Sessions know nothing of each other, and what one client does wrong is nobody else's business.

use serde_json::{Value, json};

use crate::support::{Client, Server, Wire, add, full_state, masked, nothing_more, with_id};

#[test]
fn nothing_said_in_one_session_is_heard_in_another() {
    let server = Server::start(&[]);
    let [mut alice, bob] = Client::join_all(&server, "here", ["alice", "bob"]);
    let [mut carol, mut dave] = Client::join_all(&server, "there", ["carol", "dave"]);
    for message in [
        add("lens-1", json!({"x_mm": 1})),
        json!({"type": "cursor", "x": 1}),
        json!({"type": "chat", "text": "hi"}),
        json!({"type": "sync:update", "state": {"items": [{"uuid": "a"}]}}),
        full_state(json!([{"uuid": "b"}]), None),
    ] {
        alice.send(message);
    }
    bob.vanish();
    while alice.next()["type"] != "user:left" {}
    nothing_more([&mut carol, &mut dave]);
}

#[test]
fn documents_epochs_and_numbers_are_a_sessions_own() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "here", "alice");
    let mut bob = Client::join(&server, "there", "bob");
    assert_ne!(alice.ack()["epoch"], bob.ack()["epoch"]);
    for n in 1..=3 {
        alice.send(with_id(add(&format!("lens-{n}"), json!({})), n));
        assert_eq!(alice.expect("message_delivered")["seq"], n);
    }
    bob.send(with_id(add("lens-1", json!({"x_mm": 9})), 1));
    assert_eq!(bob.expect("message_delivered")["seq"], 1);
    assert_eq!(alice.items().len(), 3);
    assert_eq!(bob.items().len(), 1);
    assert_eq!(alice.items()[0].get("x_mm"), None);
}

#[test]
fn one_name_in_two_sessions_is_two_people() {
    let server = Server::start(&[]);
    let [mut here, mut bob] = Client::join_all(&server, "here", ["alice", "bob"]);
    let mut there = Client::join(&server, "there", "alice");
    assert_eq!(there.ack()["is_host"], true);
    assert_eq!(there.ack()["users"].as_array().map(Vec::len), Some(1));
    here.leave();
    bob.expect("user:left");
    bob.expect("host:changed");
    nothing_more([&mut there]);
    here = Client::join(&server, "here", "alice");
    assert_eq!(here.ack()["is_host"], false);
}

#[test]
fn sessions_are_told_apart_by_every_character() {
    let server = Server::start(&[]);
    let mut wires = Vec::new();
    for name in
        ["table", "Table", "table ", "table/", "tabl\u{e9}", "table\u{301}", "%74able", ".."]
    {
        let path: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mut wire = Wire::upgrade(&server, &format!("/ws/{path}/alice"));
        let ack = wire.next();
        assert_eq!(ack["session_id"], name);
        assert_eq!(ack["users"].as_array().map(Vec::len), Some(1), "{name:?}");
        wires.push(wire);
    }
    for mut wire in wires {
        assert_eq!(wire.next()["type"], "user:joined");
        assert_eq!(wire.frame().0, 0x89, "nobody took it over");
    }
}

#[test]
fn a_name_is_the_same_however_it_is_encoded() {
    let server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    let mut wire = Wire::upgrade(&server, "/ws/%74%61ble/%62ob");
    let ack = wire.next();
    assert_eq!((&ack["session_id"], &ack["user_id"]), (&json!("table"), &json!("bob")));
    assert_eq!(alice.expect("user:joined")["user_id"], "bob");
}

#[test]
fn whatever_one_client_does_wrong_the_others_go_on() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let wrongs: [Vec<u8>; 8] = [
        masked(0x82, b"binary"),
        masked(0x81, b"\xff\xff"),
        masked(0x83, b"reserved"),
        vec![0x81, 5, b'h', b'e', b'l', b'l', b'o'],
        masked(0x81, &vec![b'x'; (1 << 20) + 1]),
        masked(0x81, b"not JSON"),
        masked(0x01, b"begun and never ended"),
        vec![0x81, 0xff, 0, 0],
    ];
    for (n, wrong) in wrongs.iter().enumerate() {
        let (mut mallory, _) = Wire::arrive(&server, "/ws/table/mallory");
        mallory.write(wrong);
        assert_eq!(alice.expect("user:joined")["user_id"], "mallory");
        alice.send(add(&format!("lens-{n}"), json!({})));
        drop(mallory);
        bob.expect("user:joined");
        // The command may overtake the departure, or not.
        let mut types = [bob.next(), bob.next()].map(|message: Value| message["type"].to_string());
        types.sort();
        assert_eq!(types, ["\"command\"", "\"user:left\""]);
        assert_eq!(alice.expect("user:left")["user_id"], "mallory");
    }
    assert_eq!(bob.items().len(), wrongs.len());
}

#[test]
fn many_sessions_at_once_each_see_their_own() {
    const SESSIONS: usize = 20;
    const CHANGES: usize = 30;
    let server = Server::start(&["--no-settle"]);
    std::thread::scope(|scope| {
        for n in 0..SESSIONS {
            let server = &server;
            scope.spawn(move || {
                let session = format!("session-{n}");
                let [mut alice, mut bob] = Client::join_all(server, &session, ["alice", "bob"]);
                for change in 1..=CHANGES {
                    alice.send(add(&format!("{session}-{change}"), json!({})));
                    let command = bob.expect_command("add_item", &format!("{session}-{change}"));
                    assert_eq!(command["seq"], change);
                }
                assert_eq!(bob.items().len(), CHANGES);
                nothing_more([&mut alice, &mut bob]);
            });
        }
    });
}
