//! Telling a host, who has the canvas, from a client, who has none (PROTOCOL.md §2.3, first part).

mod support;

use serde_json::{Value, json};
use support::{Client, Server, Wire, add, full_state, masked, nothing_more};

const REQUEST: &str = r#"{"type":"sync:request","user_id":"alice"}"#;
const PONG: u8 = 0x8a;

/// Sends something that passes through the hub, and is told when it has: were an answer to an
/// earlier request due, it would have come before.
fn still_waits(wire: &mut Wire) {
    wire.send(r#"{"type":"command","id":"fence","command":{"action":"fence"}}"#);
    assert_eq!(wire.next()["type"], "message_delivered");
}

#[test]
fn the_ping_follows_the_newcomers_own_joined_and_is_the_only_one() {
    let server = Server::start(&["--no-settle"]);
    let mut wire = Wire::upgrade(&server, "/ws/table/alice");
    assert_eq!(wire.next()["type"], "connection:ack");
    assert_eq!(wire.next()["type"], "user:joined");
    let (first, token) = wire.frame();
    assert_eq!(first, 0x89, "a Ping");
    wire.write(masked(PONG, &token));
    still_waits(&mut wire);
    let mut bob = Client::join(&server, "table", "bob");
    bob.send(add("lens-1", json!({})));
    assert_eq!(wire.next()["type"], "user:joined");
    assert_eq!(wire.next()["type"], "command");
    wire.send(REQUEST);
    assert_eq!(wire.next()["type"], "sync:state");
    still_waits(&mut wire);
}

#[test]
fn a_first_user_who_is_a_client_is_sent_an_empty_document() {
    let server = Server::start(&[]);
    let mut alice = Client::knock(&server, "table", "alice");
    alice.expect("connection:ack");
    alice.send_text(REQUEST);
    alice.expect("user:joined");
    let answer = alice.expect("sync:state");
    assert_eq!((&answer["state"]["items"], &answer["state"]["version"]), (&json!([]), &json!(0)));
    assert_eq!((&answer["from_server"], &answer["seq"]), (&json!(true), &json!(0)));
    assert_eq!(answer["conflict_resolution"], "host_wins");
}

#[test]
fn a_first_user_who_is_a_host_is_answered_with_null() {
    let server = Server::start(&[]);
    let canvas = json!([{"uuid": "lens-1", "item_type": "lens", "x_mm": 1.5}]);
    let mut alice = Client::host(&server, "table", "alice", canvas.clone());
    let answer = alice.expect("sync:state");
    assert_eq!(answer.get("state"), Some(&Value::Null));
    assert_eq!((&answer["from_server"], &answer["epoch"]), (&json!(true), &alice.ack()["epoch"]));
    nothing_more([&mut alice]);
    let bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.greeting[2]["state"]["items"], canvas, "its snapshot was taken");
}

#[test]
fn a_host_whose_canvas_is_empty_is_answered_with_null_too() {
    let server = Server::start(&[]);
    let mut alice = Client::host(&server, "table", "alice", json!([]));
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    nothing_more([&mut alice]);
}

#[test]
fn a_host_that_asks_after_it_was_recognised_is_answered_with_null_as_well() {
    let server = Server::start(&[]);
    let mut alice = Client::knock(&server, "table", "alice");
    alice.expect("connection:ack");
    alice.expect("user:joined");
    alice.send(full_state(json!([{"uuid": "lens-1", "item_type": "lens"}]), Some("alice")));
    nothing_more([&mut alice]);
    alice.send_text(REQUEST);
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
}

#[test]
fn the_request_of_a_newcomer_who_is_alone_waits_for_the_pong() {
    let server = Server::start(&[]);
    let (mut wire, token) = Wire::arrive(&server, "/ws/table/alice");
    wire.send(REQUEST);
    still_waits(&mut wire);
    wire.write(masked(PONG, b"unasked"));
    still_waits(&mut wire);
    wire.write(masked(PONG, &token));
    assert_eq!(wire.next()["state"]["items"], json!([]));
}

#[test]
fn the_request_of_a_newcomer_who_is_alone_waits_for_the_full_state() {
    let server = Server::start(&[]);
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    wire.send(REQUEST);
    still_waits(&mut wire);
    wire.send(
        full_state(json!([{"uuid": "lens-1", "item_type": "lens"}]), Some("alice")).to_string(),
    );
    let answer = wire.next();
    assert_eq!((&answer["type"], answer.get("state")), (&json!("sync:state"), Some(&Value::Null)));
}

#[test]
fn a_full_state_for_nobody_in_particular_shows_a_host_too() {
    let server = Server::start(&[]);
    let (mut wire, token) = Wire::arrive(&server, "/ws/table/alice");
    wire.send(REQUEST);
    wire.send(full_state(json!([{"uuid": "lens-1", "item_type": "lens"}]), None).to_string());
    wire.write(masked(PONG, &token));
    let answer = wire.next();
    assert_eq!((&answer["type"], answer.get("state")), (&json!("sync:state"), Some(&Value::Null)));
}

#[test]
fn a_host_whose_canvas_is_refused_is_not_wiped() {
    let server = Server::start(&["--max-document-bytes", "1024"]);
    let too_big = json!([{"uuid": "lens-1", "item_type": "lens", "name": "x".repeat(2000)}]);
    for (canvas, error_type) in [(json!({"no": "list"}), "bad_state"), (too_big, "document_full")] {
        let (mut wire, token) = Wire::arrive(&server, "/ws/table/alice");
        wire.send(REQUEST);
        wire.send(full_state(canvas, Some("alice")).to_string());
        wire.write(masked(PONG, &token));
        assert_eq!(wire.next()["error_type"], error_type);
        let answer = wire.next();
        assert_eq!(answer.get("state"), Some(&Value::Null), "{answer}");
    }
}

#[test]
fn without_pong_and_full_state_the_request_is_answered_in_the_end() {
    let server = Server::start(&[]);
    let (mut wire, _) = Wire::arrive(&server, "/ws/table/alice");
    wire.send(REQUEST);
    let answer = wire.next();
    assert_eq!(answer["type"], "sync:state");
    assert_eq!((&answer["state"]["items"], &answer["state"]["version"]), (&json!([]), &json!(0)));
}

#[test]
fn the_same_holds_alone_in_a_session_that_has_a_document() {
    let server = Server::start(&["--no-settle"]);
    let mut bob = Client::join(&server, "table", "bob");
    bob.send(add("lens-1", json!({"x_mm": 5})));
    nothing_more([&mut bob]);
    bob.leave();
    let (mut wire, token) = Wire::arrive(&server, "/ws/table/alice");
    wire.send(REQUEST);
    still_waits(&mut wire);
    wire.write(masked(PONG, &token));
    let answer = wire.next();
    assert_eq!((&answer["type"], &answer["seq"]), (&json!("sync:state"), &json!(1)));
    assert_eq!(answer["state"]["items"][0]["x_mm"], 5);
}

#[test]
fn where_others_are_present_requests_are_answered_at_once() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    for (user, expected) in [("bob", 0), ("carol", 1)] {
        let (mut wire, _) = Wire::arrive(&server, &format!("/ws/table/{user}"));
        wire.send(REQUEST);
        let answer = wire.next();
        assert_eq!(answer["type"], "sync:state");
        assert_eq!(answer["state"]["items"].as_array().map(Vec::len), Some(expected), "{user}");
        still_waits(&mut wire);
        alice.send(add("lens-1", json!({})));
        assert_eq!(wire.next()["type"], "command");
        alice.expect("user:joined");
        alice.expect("command");
        drop(wire);
        alice.expect("user:left");
    }
}

#[test]
fn a_request_that_waits_is_answered_when_somebody_else_has_come_meanwhile() {
    let server = Server::start(&["--no-settle"]);
    let (mut wire, token) = Wire::arrive(&server, "/ws/table/alice");
    wire.send(REQUEST);
    still_waits(&mut wire);
    let mut bob = Client::join(&server, "table", "bob");
    bob.send(add("lens-1", json!({})));
    assert_eq!(wire.next()["type"], "user:joined");
    assert_eq!(wire.next()["type"], "command");
    wire.write(masked(PONG, &token));
    assert_eq!(wire.next()["state"]["items"][0]["uuid"], "lens-1");
}
