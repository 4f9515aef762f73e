//! Taking a host's snapshot into a session that has a document: nothing that anyone else did is
//! lost (PROTOCOL.md §2.3, second part).

mod support;

use serde_json::{Value, json};
use support::{Client, Server, add, full_state, nothing_more, remove, update};

fn item(id: &str, x_mm: i32) -> Value {
    json!({"uuid": id, "item_type": "lens", "x_mm": x_mm})
}

/// A host who shares these items, and a guest who was sent them. Nothing is left to read.
fn host_and_guest(server: &Server, items: Value) -> (Client, Client) {
    let mut alice = Client::host(server, "table", "alice", items);
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    let bob = Client::join(server, "table", "bob");
    alice.expect("user:joined");
    (alice, bob)
}

/// Sends a command that the other one has to receive.
fn tell(sender: &mut Client, receiver: &mut Client, command: Value) {
    let action = command["command"]["action"].clone();
    sender.send(command);
    assert_eq!(receiver.expect("command")["command"]["action"], action);
}

#[test]
fn an_item_in_the_snapshot_but_not_in_the_document_is_added() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    // Pasting is not sent by the editor; it shows in the next snapshot.
    alice.send(full_state(json!([item("a", 1), item("pasted", 2)]), Some("alice")));
    let added = bob.expect_command("add_item", "pasted");
    assert_eq!(
        (&added["user_id"], &added["command"]["data"]),
        (&json!("alice"), &item("pasted", 2))
    );
    assert!(added["seq"].is_u64());
    assert_eq!(bob.items(), [item("a", 1), item("pasted", 2)]);
}

#[test]
fn an_item_that_somebody_else_removed_is_not_added_again() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1), item("b", 2)]));
    tell(&mut bob, &mut alice, remove("a"));
    alice.send(full_state(json!([item("a", 1), item("b", 2)]), Some("bob")));
    alice.expect_command("remove_item", "a");
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items(), [item("b", 2)]);
}

#[test]
fn an_item_that_the_host_removed_itself_comes_back_with_its_snapshot() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1), item("b", 2)]));
    tell(&mut alice, &mut bob, remove("a"));
    // Undo is not sent by the editor.
    alice.send(full_state(json!([item("a", 1), item("b", 2)]), Some("alice")));
    bob.expect_command("add_item", "a");
    assert_eq!(bob.items(), [item("b", 2), item("a", 1)]);
}

#[test]
fn in_both_and_known_only_from_the_hosts_snapshots_the_snapshot_counts() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    alice.send(full_state(json!([item("a", 7)]), Some("alice")));
    let changed = bob.expect_command("update_item", "a");
    assert_eq!(
        (&changed["command"]["data"]["x_mm"], &changed["user_id"]),
        (&json!(7), &json!("alice"))
    );
    assert_eq!(bob.items(), [item("a", 7)]);
}

#[test]
fn in_both_and_last_changed_by_the_host_the_snapshot_counts() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([]));
    tell(&mut bob, &mut alice, add("a", json!({"x_mm": 1})));
    tell(&mut alice, &mut bob, update("a", json!({"x_mm": 2})));
    alice.send(full_state(json!([item("a", 3)]), Some("alice")));
    let changed = bob.expect_command("update_item", "a");
    assert_eq!(changed["command"]["data"]["x_mm"], 3);
    assert_eq!(bob.items(), [item("a", 3)]);
}

#[test]
fn a_field_that_somebody_else_wrote_and_the_hosts_snapshot_lacks_stays() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    tell(&mut bob, &mut alice, update("a", json!({"note": "Bob's"})));
    tell(&mut alice, &mut bob, update("a", json!({"x_mm": 2})));
    alice.send(full_state(json!([item("a", 3)]), Some("alice")));
    assert_eq!(bob.expect_command("update_item", "a")["command"]["data"]["x_mm"], 3);
    let items = bob.items();
    assert_eq!((&items[0]["x_mm"], &items[0]["note"]), (&json!(3), &json!("Bob's")));
}

#[test]
fn in_both_and_last_changed_by_somebody_else_the_document_counts() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    tell(&mut bob, &mut alice, update("a", json!({"x_mm": 5})));
    // A host republishes what came from guests as blank items at the default place.
    alice.send(full_state(json!([item("a", 0)]), Some("bob")));
    let correction = alice.expect_command("update_item", "a");
    assert_eq!(correction["command"]["data"], item("a", 5));
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items(), [item("a", 5)]);
}

#[test]
fn a_guests_item_is_not_blanked_by_the_hosts_snapshot() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([]));
    tell(&mut bob, &mut alice, add("b", json!({"x_mm": 5, "name": "Bob's"})));
    let carol = Client::join(&server, "table", "carol");
    alice.expect("user:joined");
    bob.expect("user:joined");
    alice.send(full_state(json!([item("b", 0)]), Some("carol")));
    alice.expect_command("update_item", "b");
    assert_eq!(carol.greeting[2]["state"]["items"][0]["name"], "Bob's");
    assert_eq!(bob.items()[0]["name"], "Bob's");
}

#[test]
fn not_in_the_snapshot_and_known_only_from_the_hosts_snapshots_is_removed() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1), item("b", 2)]));
    alice.send(full_state(json!([item("b", 2)]), Some("alice")));
    let removed = bob.expect_command("remove_item", "a");
    assert_eq!(removed["user_id"], "alice");
    assert_eq!(bob.items(), [item("b", 2)]);
}

#[test]
fn not_in_the_snapshot_and_last_changed_by_the_host_is_removed() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    tell(&mut bob, &mut alice, add("b", json!({})));
    tell(&mut alice, &mut bob, update("b", json!({"x_mm": 2})));
    alice.send(full_state(json!([item("a", 1)]), Some("alice")));
    bob.expect_command("remove_item", "b");
    assert_eq!(bob.items(), [item("a", 1)]);
}

#[test]
fn not_in_the_snapshot_and_last_changed_by_somebody_else_stays() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1), item("b", 2)]));
    tell(&mut bob, &mut alice, update("a", json!({"x_mm": 5})));
    tell(&mut bob, &mut alice, add("c", json!({"x_mm": 6})));
    alice.send(full_state(json!([item("b", 2)]), Some("bob")));
    for expected in [item("a", 5), item("c", 6)] {
        let id = expected["uuid"].as_str().expect("an id");
        let mut told = alice.expect("command");
        if told["command"]["action"] == "remove_item" {
            // It may be on its way to the host, whose editor would show it twice.
            told = alice.expect("command");
        }
        assert_eq!(
            (&told["command"]["action"], &told["command"]["item_id"]),
            (&json!("add_item"), &json!(id))
        );
        assert_eq!(told["command"]["data"], expected, "the host's canvas lacks it");
    }
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items(), [item("a", 5), item("b", 2), item("c", 6)]);
}

#[test]
fn the_target_gets_nothing_if_it_has_exactly_the_result_already() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    alice.send(full_state(json!([item("a", 1)]), Some("bob")));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn the_target_gets_the_result_as_a_state_and_everyone_else_what_changed_as_commands() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    tell(&mut bob, &mut alice, add("b", json!({"x_mm": 2})));
    let mut carol = Client::join(&server, "table", "carol");
    alice.expect("user:joined");
    bob.expect("user:joined");
    alice.send(full_state(json!([item("a", 9), item("b", 0), item("c", 3)]), Some("carol")));
    let state = carol.expect("sync:state");
    let result = json!([item("a", 9), item("b", 2), item("c", 3)]);
    assert_eq!((&state["state"]["items"], &state["from_server"]), (&result, &json!(true)));
    assert_eq!(bob.expect_command("update_item", "a")["command"]["data"], item("a", 9));
    assert_eq!(bob.expect_command("add_item", "c")["command"]["data"], item("c", 3));
    assert_eq!(alice.expect_command("update_item", "b")["command"]["data"], item("b", 2));
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn without_a_target_everyone_else_gets_the_result_as_a_state() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    let mut carol = Client::join(&server, "table", "carol");
    alice.expect("user:joined");
    bob.expect("user:joined");
    alice.send(full_state(json!([item("a", 2), item("c", 3)]), None));
    for other in [&mut bob, &mut carol] {
        let state = other.expect("sync:state");
        assert_eq!(state["state"]["items"], json!([item("a", 2), item("c", 3)]));
    }
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn without_a_target_the_host_is_told_what_its_canvas_lacks_all_the_same() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    tell(&mut bob, &mut alice, update("a", json!({"x_mm": 5})));
    alice.send(full_state(json!([item("a", 0)]), None));
    assert_eq!(alice.expect_command("update_item", "a")["command"]["data"], item("a", 5));
    assert_eq!(bob.expect("sync:state")["state"]["items"], json!([item("a", 5)]));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_snapshot_for_somebody_who_has_left_is_taken_all_the_same() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    alice.send(full_state(json!([item("a", 2)]), Some("carol")));
    assert_eq!(bob.expect_command("update_item", "a")["command"]["data"], item("a", 2));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn what_the_snapshot_changed_is_numbered_like_any_other_change() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1), item("b", 2)]));
    assert_eq!(bob.ack()["seq"], 2);
    alice.send(full_state(json!([item("a", 7), item("c", 3)]), Some("alice")));
    let mut seqs = [(); 3].map(|()| bob.expect("command")["seq"].as_u64());
    seqs.sort();
    assert_eq!(seqs, [Some(3), Some(4), Some(5)]);
    alice.send(add("d", json!({})));
    assert_eq!(bob.expect_command("add_item", "d")["seq"], 6);
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused_whole() {
    let server = Server::start(&["--no-settle", "--max-document-bytes", "4KiB"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    let fat = json!({"uuid": "fat", "note": "x".repeat(5000)});
    alice.send(full_state(json!([item("a", 9), item("b", 2), fat]), None));
    assert_eq!(alice.expect_error("document_full")["original_type"], "sync:full_state");
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items(), [item("a", 1)]);
}

#[test]
fn a_full_state_from_a_guest_changes_nothing() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    for target in [Some("alice"), None] {
        bob.send(full_state(json!([item("b", 2)]), target));
        let error = bob.expect_error("not_host");
        assert_eq!(error["original_type"], "sync:full_state");
        assert!((400..500).contains(&error["code"].as_u64().expect("a number")));
    }
    nothing_more([&mut bob, &mut alice]);
    assert_eq!(bob.items(), [item("a", 1)]);
}

#[test]
fn a_newcomer_who_answers_its_own_joined_is_heard_although_it_is_not_the_sessions_host() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    let mut carol = Client::host(&server, "table", "carol", json!([item("a", 8), item("c", 3)]));
    for other in [&mut alice, &mut bob] {
        other.expect("user:joined");
        let added = other.expect_command("add_item", "c");
        assert_eq!(
            (&added["user_id"], &added["command"]["data"]),
            (&json!("carol"), &item("c", 3))
        );
    }
    assert_eq!(bob.items(), [item("a", 1), item("c", 3)], "a is the host's");
    carol.send(full_state(json!([item("c", 4)]), Some("carol")));
    let mut answer = carol.next();
    while answer["type"] == "sync:state" {
        answer = carol.next();
    }
    assert_eq!(answer["error_type"], "not_host", "it can't answer its own joined twice");
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn a_new_host_inherits_the_right_to_show_its_canvas() {
    let server = Server::start(&["--no-settle"]);
    let (alice, mut bob) = host_and_guest(&server, json!([item("a", 1)]));
    alice.leave();
    bob.expect("user:left");
    bob.expect("host:changed");
    bob.send(full_state(json!([item("a", 1), item("b", 2)]), None));
    nothing_more([&mut bob]);
    assert_eq!(bob.items(), [item("a", 1), item("b", 2)]);
}
