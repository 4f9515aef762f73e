//! Joining a session and leaving it: who is told what, and in which order (PROTOCOL.md §2.1).

use serde_json::{Value, json};

use crate::support::{Client, Server, Wire, add, handshake, masked, nothing_more};

/// `2025-10-28T13:30:45.123Z`
fn is_timestamp(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["type"].as_str()).collect()
}

/// The users of an ack: name and whether it is the host.
fn users(ack: &Value) -> Vec<(&str, bool)> {
    let users = ack["users"].as_array().expect("a list");
    let user = |user: &Value| user["is_host"].as_bool().expect("is_host");
    users.iter().map(|u| (u["user_id"].as_str().expect("user_id"), user(u))).collect()
}

#[test]
fn the_ack_comes_first_and_then_ones_own_joined() {
    let server = Server::start(&[]);
    let alice = Client::join(&server, "table", "alice");
    assert_eq!(types(&alice.greeting), ["connection:ack", "user:joined"]);
    assert_eq!(alice.greeting[1]["user_id"], "alice");
    assert!(is_timestamp(&alice.greeting[1]["timestamp"]));
}

#[test]
fn the_ack_says_where_one_is_and_who_is_there() {
    let server = Server::start(&[]);
    let alice = Client::join(&server, "table", "alice");
    let ack = alice.ack();
    assert_eq!((&ack["session_id"], &ack["user_id"]), (&json!("table"), &json!("alice")));
    assert_eq!((&ack["is_host"], &ack["seq"]), (&json!(true), &json!(0)));
    assert_eq!(ack["server"], json!({"name": "collabd", "version": env!("CARGO_PKG_VERSION")}));
    assert!(ack["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()));
    assert!(is_timestamp(&ack["timestamp"]));
    let user = &ack["users"][0];
    assert_eq!((&user["user_id"], &user["is_host"]), (&json!("alice"), &json!(true)));
    assert!(is_timestamp(&user["connected_at"]));
}

#[test]
fn users_stand_in_the_order_they_joined_the_newcomer_included() {
    let server = Server::start(&[]);
    let names = ["zoe", "alice", "mia"];
    let [_zoe, alice, mia] = Client::join_all(&server, "table", names);
    assert_eq!(users(alice.ack()), [("zoe", true), ("alice", false)]);
    assert_eq!(users(mia.ack()), [("zoe", true), ("alice", false), ("mia", false)]);
    assert_eq!(mia.ack()["is_host"], false);
}

#[test]
fn everyone_hears_of_a_newcomer() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut carol = Client::join(&server, "table", "carol");
    for earlier in [&mut alice, &mut bob] {
        assert_eq!(earlier.expect("user:joined")["user_id"], "carol");
    }
    assert_eq!(carol.greeting[1]["user_id"], "carol");
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn a_newcomer_is_sent_the_state_if_others_are_present_and_there_is_a_document() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(add("lens-1", json!({"x_mm": 5})));
    nothing_more([&mut alice]);
    let bob = Client::join(&server, "table", "bob");
    assert_eq!(types(&bob.greeting), ["connection:ack", "user:joined", "sync:state"]);
    let state = &bob.greeting[2];
    assert_eq!(state["state"]["items"][0]["uuid"], "lens-1");
    assert!(state["state"]["version"].is_u64() && is_timestamp(&state["state"]["timestamp"]));
    assert_eq!(state["from_server"], true);
    assert_eq!(state["conflict_resolution"], "host_wins");
    assert_eq!((&state["epoch"], &state["seq"]), (&bob.ack()["epoch"], &json!(1)));
    assert_eq!(bob.ack()["seq"], 1);
}

#[test]
fn a_newcomer_to_a_session_without_a_document_is_sent_no_state() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    assert_eq!(types(&bob.greeting), ["connection:ack", "user:joined"]);
    nothing_more([&mut bob, &mut alice]);
}

#[test]
fn a_newcomer_who_is_alone_is_sent_the_state_as_well() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(add("lens-1", json!({})));
    nothing_more([&mut alice]);
    alice.leave();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(types(&bob.greeting), ["connection:ack", "user:joined", "sync:state"]);
    nothing_more([&mut bob]);
}

#[test]
fn whoever_stays_hears_who_left() {
    let server = Server::start(&[]);
    let [mut alice, mut bob, carol] = Client::join_all(&server, "table", ["alice", "bob", "carol"]);
    carol.leave();
    for stays in [&mut alice, &mut bob] {
        let left = stays.expect("user:left");
        assert_eq!(left["user_id"], "carol");
        assert!(is_timestamp(&left["timestamp"]));
    }
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_lost_connection_is_a_departure_too() {
    let server = Server::start(&[]);
    let [mut alice, bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    bob.vanish();
    assert_eq!(alice.expect("user:left")["user_id"], "bob");
}

#[test]
fn when_the_host_leaves_the_member_present_longest_becomes_host() {
    let server = Server::start(&[]);
    let [alice, mut zoe, mut bob] = Client::join_all(&server, "table", ["alice", "zoe", "bob"]);
    alice.leave();
    for stays in [&mut zoe, &mut bob] {
        assert_eq!(stays.expect("user:left")["user_id"], "alice");
        assert_eq!(stays.expect("host:changed")["user_id"], "zoe");
    }
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(users(carol.ack()), [("zoe", true), ("bob", false), ("carol", false)]);
}

#[test]
fn a_guest_who_comes_back_stands_at_the_end_of_the_order() {
    let server = Server::start(&[]);
    let [mut alice, bob, mut carol] = Client::join_all(&server, "table", ["alice", "bob", "carol"]);
    bob.leave();
    alice.expect("user:left");
    carol.expect("user:left");
    let bob = Client::join(&server, "table", "bob");
    assert_eq!(users(bob.ack()), [("alice", true), ("carol", false), ("bob", false)]);
}

#[test]
fn ids_are_percent_decoded() {
    let server = Server::start(&[]);
    let name = "Müller & Söhne, 100 % \"optisch\" ☀";
    let alice = Client::join(&server, "ein Tisch", name);
    assert_eq!(alice.ack()["session_id"], "ein Tisch");
    assert_eq!(alice.ack()["user_id"], name);
    assert_eq!(alice.greeting[1]["user_id"], name);
}

#[test]
fn ids_may_have_128_characters_however_many_bytes_those_are() {
    let server = Server::start(&[]);
    let longest = "☀".repeat(128);
    let alice = Client::join(&server, &longest, &longest);
    assert_eq!(alice.ack()["session_id"], longest.as_str());
    assert_eq!(alice.ack()["user_id"], longest.as_str());
}

#[test]
fn further_segments_belong_to_the_user_id() {
    let server = Server::start(&[]);
    let mut wire = Wire::upgrade(&server, "/ws/../lab/../what%2Fever");
    let ack = wire.next();
    assert_eq!((&ack["session_id"], &ack["user_id"]), (&json!(".."), &json!("lab/../what/ever")));
}

#[test]
fn a_key_in_the_path_does_no_harm_where_none_is_asked_for() {
    let server = Server::start(&[]);
    let mut wire = Wire::upgrade(&server, "/key/SECRET/ws/table/alice");
    let ack = wire.next();
    assert_eq!((&ack["session_id"], &ack["user_id"]), (&json!("table"), &json!("alice")));
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    for byte in handshake("/ws/table/alice").bytes() {
        wire.write([byte]);
    }
    wire.upgraded();
    assert_eq!(wire.next()["type"], "connection:ack");
}

#[test]
fn frames_may_follow_directly_behind_the_request() {
    let server = Server::start(&[]);
    let mut wire = Wire::open(&server);
    let mut bytes = handshake("/ws/table/alice").into_bytes();
    for n in 1..=3 {
        let ping = json!({"type": "ping", "id": n}).to_string();
        bytes.extend(masked(0x81, ping.as_bytes()));
    }
    wire.write(bytes);
    wire.upgraded();
    assert_eq!(wire.next()["type"], "connection:ack");
    assert_eq!(wire.next()["type"], "user:joined");
    let mut pongs = Vec::new();
    while pongs.len() < 3 {
        let (first, payload) = wire.frame();
        if first == 0x81 {
            let pong: Value = serde_json::from_slice(&payload).expect("JSON");
            assert_eq!(pong["type"], "pong");
            pongs.push(pong["id"].as_u64());
        }
    }
    assert_eq!(pongs, [Some(1), Some(2), Some(3)]);
}

#[test]
fn nothing_comes_between_the_greetings_whatever_the_client_says_meanwhile() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(add("lens-1", json!({})));
    nothing_more([&mut alice]);
    let mut impatient = handshake("/ws/table/bob").into_bytes();
    impatient.extend(masked(0x81, br#"{"type":"ping"}"#));
    for _ in 0..300 {
        let mut bob = Wire::open(&server);
        bob.write(&impatient);
        bob.upgraded();
        let greeting = [bob.next(), bob.next(), bob.next(), bob.next()];
        assert_eq!(types(&greeting), ["connection:ack", "user:joined", "pong", "sync:state"]);
    }
}
