//! Coming back to a session that everyone had left: as a client, as its host, as a host with a new
//! design (PROTOCOL.md §2.1, §2.3).

mod support;

use std::time::Instant;

use serde_json::{Value, json};
use support::{Client, SAFETY_NET, Server, Wire, add, full_state, handshake, nothing_more, remove};

fn item(id: &str, x_mm: i32) -> Value {
    json!({"uuid": id, "item_type": "lens", "x_mm": x_mm})
}

/// Leaves a session behind in which `alice` shared these items and nobody is left.
fn left_behind(server: &Server, items: Value) -> Value {
    let mut alice = Client::host(server, "table", "alice", items);
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    let ack = alice.ack().clone();
    alice.leave();
    ack
}

#[test]
fn a_session_lingers_when_its_last_member_has_left() {
    let server = Server::start(&["--no-settle"]);
    let ack = left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!((&bob.ack()["epoch"], &bob.ack()["seq"]), (&ack["epoch"], &json!(1)));
    assert_eq!(bob.ack()["is_host"], true);
    assert_eq!(bob.items(), [item("a", 1)]);
}

#[test]
fn with_linger_0_a_session_is_removed_at_once() {
    let server = Server::start(&["--no-settle", "--linger", "0"]);
    let before = left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    assert_ne!(bob.ack()["epoch"], before["epoch"]);
    assert_eq!(bob.ack()["seq"], 0);
    assert_eq!(bob.items(), [] as [Value; 0]);
}

#[test]
fn a_session_that_has_lingered_long_enough_is_removed() {
    let server = Server::start(&["--no-settle", "--linger", "0.2", "--max-sessions", "1"]);
    let before = left_behind(&server, json!([item("a", 1)]));
    // Knocking at the session itself would keep it; there is room for another one once it is gone.
    let began = Instant::now();
    while Wire::ask_for(&server, &handshake("/ws/other/bob")) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "it is not removed");
    }
    let knock = handshake("/ws/table/bob");
    while Wire::ask_for(&server, &knock) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "the other one, which is empty, is in the way");
    }
    let carol = Client::join(&server, "table", "carol");
    assert_ne!(carol.ack()["epoch"], before["epoch"]);
    assert_eq!(carol.ack()["seq"], 0);
}

#[test]
fn whoever_comes_back_in_time_keeps_the_session() {
    let server = Server::start(&["--no-settle", "--linger", "60"]);
    let before = left_behind(&server, json!([item("a", 1)]));
    for user in ["bob", "carol", "bob", "alice"] {
        let mut visitor = Client::join(&server, "table", user);
        assert_eq!(visitor.ack()["epoch"], before["epoch"]);
        assert_eq!(visitor.items(), [item("a", 1)]);
        visitor.leave();
    }
}

#[test]
fn a_host_who_comes_back_with_the_same_canvas_is_answered_with_null() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1)]));
    let mut alice = Client::host(&server, "table", "alice", json!([item("a", 1)]));
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    nothing_more([&mut alice]);
}

#[test]
fn a_host_who_comes_back_gets_what_its_canvas_lacks() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    bob.send(add("b", json!({"x_mm": 2})));
    nothing_more([&mut bob]);
    bob.leave();
    let mut alice = Client::host(&server, "table", "alice", json!([item("a", 7)]));
    let state = alice.expect("sync:state");
    assert_eq!(state["state"]["items"], json!([item("a", 7), item("b", 2)]));
    nothing_more([&mut alice]);
}

#[test]
fn what_others_removed_while_the_host_was_away_stays_removed() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1), item("b", 2)]));
    let mut bob = Client::join(&server, "table", "bob");
    bob.send(remove("a"));
    nothing_more([&mut bob]);
    bob.leave();
    let canvas = json!([item("a", 1), item("b", 2)]);
    let mut alice = Client::host(&server, "table", "alice", canvas);
    let state = alice.expect("sync:state");
    assert_eq!(state["state"]["items"], json!([item("b", 2)]), "its canvas shows one too many");
    nothing_more([&mut alice]);
}

#[test]
fn a_host_alone_none_of_whose_items_is_known_has_started_a_new_design() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1), item("b", 2)]));
    let mut bob = Client::host(&server, "table", "bob", json!([item("c", 3)]));
    assert_eq!(bob.expect("sync:state").get("state"), Some(&Value::Null));
    nothing_more([&mut bob]);
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(carol.greeting[2]["state"]["items"], json!([item("c", 3)]));
}

#[test]
fn a_host_who_shares_one_item_with_the_document_has_not_started_a_new_design() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1), item("b", 2)]));
    let mut bob = Client::host(&server, "table", "bob", json!([item("b", 2), item("c", 3)]));
    let state = bob.expect("sync:state");
    assert_eq!(state["state"]["items"], json!([item("a", 1), item("b", 2), item("c", 3)]));
    nothing_more([&mut bob]);
}

#[test]
fn a_host_who_is_not_alone_never_replaces_the_document() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    let mut carol = Client::host(&server, "table", "carol", json!([item("c", 3)]));
    assert_eq!(carol.greeting[2]["state"]["items"], json!([item("a", 1)]));
    bob.expect("user:joined");
    bob.expect_command("add_item", "c");
    assert_eq!(bob.items(), [item("a", 1), item("c", 3)]);
    let answer = carol.expect("sync:state");
    assert!(answer["state"]["items"].is_array(), "{answer}");
}

#[test]
fn a_snapshot_without_a_target_is_no_answer_to_ones_own_joined() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    bob.send(full_state(json!([item("c", 3)]), None));
    let mut added = bob.expect("command");
    if added["command"]["action"] == "remove_item" {
        added = bob.expect("command");
    }
    assert_eq!(
        added["command"]["data"],
        item("a", 1),
        "alice's item stays, so the host is told of it"
    );
    nothing_more([&mut bob]);
    assert_eq!(bob.items(), [item("a", 1), item("c", 3)]);
}
