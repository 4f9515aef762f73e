//! The same user on a new connection while the old one is still open (PROTOCOL.md §2.1).

use serde_json::json;

use crate::support::{Client, Server, Wire, add, handshake, item, masked, nothing_more};

#[test]
fn the_old_connection_is_closed_with_1008() {
    let server = Server::start(&[]);
    let mut old = Client::join(&server, "table", "alice");
    let _new = Client::join(&server, "table", "alice");
    assert_eq!(old.closed(), (1008, "replaced by a newer connection".into()));
}

#[test]
fn the_others_see_neither_left_nor_joined() {
    let server = Server::start(&[]);
    let [mut old, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut new = Client::join(&server, "table", "alice");
    assert_eq!(old.closed().0, 1008);
    nothing_more([&mut new, &mut bob]);
    new.send(json!({"type": "chat"}));
    assert_eq!(bob.expect("chat")["user_id"], "alice");
}

#[test]
fn the_new_connection_is_greeted_like_any_newcomer() {
    let server = Server::start(&["--no-settle"]);
    let [mut old, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    bob.send(add("lens-1", json!({"x_mm": 5})));
    old.expect_command("add_item", "lens-1");
    let new = Client::join(&server, "table", "alice");
    assert_eq!(new.greeting[1]["type"], "user:joined");
    assert_eq!(new.greeting[1]["user_id"], "alice");
    assert_eq!(new.greeting[2]["state"]["items"][0]["x_mm"], 5);
}

#[test]
fn the_host_keeps_its_role_and_its_place() {
    let server = Server::start(&[]);
    let [_old, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut new = Client::join(&server, "table", "alice");
    let users = new.ack()["users"].as_array().expect("a list");
    let users: Vec<_> = users.iter().map(|user| (&user["user_id"], &user["is_host"])).collect();
    assert_eq!(users, [(&json!("alice"), &json!(true)), (&json!("bob"), &json!(false))]);
    assert_eq!(new.ack()["is_host"], true);
    nothing_more([&mut bob, &mut new]);
}

#[test]
fn the_late_end_of_the_old_connection_does_not_touch_the_new_one() {
    let server = Server::start(&[]);
    let [mut old, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut new = Client::join(&server, "table", "alice");
    assert_eq!(old.closed().0, 1008);
    old.vanish();
    nothing_more([&mut bob, &mut new]);
    new.leave();
    assert_eq!(bob.expect("user:left")["user_id"], "alice");
    assert_eq!(bob.expect("host:changed")["user_id"], "bob");
}

#[test]
fn what_the_old_connection_still_says_is_not_heard() {
    let server = Server::start(&["--no-settle"]);
    let (mut old, token) = Wire::arrive(&server, "/ws/table/alice");
    old.write(masked(0x8a, &token));
    let mut bob = Client::join(&server, "table", "bob");
    let mut new = Client::join(&server, "table", "alice");
    old.send(add("lens-1", json!({})).to_string());
    old.send(r#"{"type":"chat"}"#);
    assert_eq!(old.closed(), (1008, "replaced by a newer connection".into()));
    drop(old);
    nothing_more([&mut bob, &mut new]);
    assert_eq!(bob.document()["version"], 0);
}

#[test]
fn a_member_who_is_alone_can_be_replaced_too() {
    let server = Server::start(&["--linger", "0", "--no-settle"]);
    let mut old = Client::join(&server, "table", "alice");
    old.send(add("lens-1", json!({})));
    nothing_more([&mut old]);
    let mut new = Client::join(&server, "table", "alice");
    assert_eq!(old.closed().0, 1008);
    assert_eq!(new.ack()["epoch"], old.ack()["epoch"], "the session has never been empty");
    assert_eq!(new.items()[0]["uuid"], "lens-1");
}

#[test]
fn a_host_that_comes_back_over_its_open_connection_keeps_its_canvas() {
    let server = Server::start(&["--no-settle"]);
    let canvas = |x_mm: i32| json!([item("lens-1", x_mm)]);
    let mut old = Client::host(&server, "table", "alice", canvas(1));
    assert!(old.expect("sync:state")["state"].is_null());
    // She has moved it while nothing got through.
    let mut new = Client::host(&server, "table", "alice", canvas(2));
    assert_eq!(old.closed().0, 1008);
    assert!(new.expect("sync:state")["state"].is_null());
    nothing_more([&mut new]);
    let bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.greeting[2]["state"]["items"], canvas(2));
}

#[test]
fn of_many_connections_in_a_row_the_last_one_remains() {
    let server = Server::start(&[]);
    let mut bob = Client::join(&server, "table", "bob");
    let mut alices: Vec<Client> =
        (0..20).map(|_| Client::join(&server, "table", "alice")).collect();
    assert_eq!(bob.expect("user:joined")["user_id"], "alice");
    let mut last = alices.pop().expect("20");
    for mut alice in alices {
        assert_eq!(alice.closed(), (1008, "replaced by a newer connection".into()));
    }
    nothing_more([&mut bob, &mut last]);
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(carol.ack()["users"].as_array().map(Vec::len), Some(3));
}

#[test]
fn connections_of_one_user_that_come_all_at_once_leave_one_member() {
    let server = Server::start(&[]);
    let mut bob = Client::join(&server, "table", "bob");
    let mut wires: Vec<Wire> = (0..10).map(|_| Wire::open(&server)).collect();
    for wire in &mut wires {
        wire.write(handshake("/ws/table/alice"));
    }
    for wire in &mut wires {
        wire.upgraded();
    }
    assert_eq!(bob.expect("user:joined")["user_id"], "alice");
    nothing_more([&mut bob]);
    drop(wires);
    assert_eq!(bob.expect("user:left")["user_id"], "alice");
    nothing_more([&mut bob]);
}

#[test]
fn the_same_name_in_another_session_is_another_member() {
    let server = Server::start(&[]);
    let mut here = Client::join(&server, "here", "alice");
    let mut there = Client::join(&server, "there", "alice");
    nothing_more([&mut here]);
    nothing_more([&mut there]);
}
