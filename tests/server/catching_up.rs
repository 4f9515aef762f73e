//! Epoch and seq: catching up on what was missed instead of loading everything (PROTOCOL.md §2.5).

use serde_json::{Value, json};

use crate::support::{Client, Server, add, item, move_to, nothing_more, remove, update};

fn since(epoch: &Value, seq: u64) -> Value {
    json!({"type": "sync:request", "epoch": epoch, "since": seq})
}

/// Four changes by two people, as a watcher saw them, and the watcher.
fn four_changes(server: &Server) -> (Client, Vec<String>) {
    let names = ["alice", "bob", "watcher"];
    let [mut alice, mut bob, mut watcher] = Client::join_all(server, "table", names);
    let mut seen = Vec::new();
    for (place, change) in [
        add("lens-1", json!({"x_mm": 1})),
        update("lens-1", json!({"n": 10.5, "note": "ü"})),
        move_to("lens-1", 2.0),
        remove("lens-1"),
    ]
    .into_iter()
    .enumerate()
    {
        [&mut alice, &mut bob][place % 2].send(change);
        seen.push(watcher.next_text());
    }
    for leaver in [alice, bob] {
        leaver.vanish();
        watcher.expect("user:left");
        watcher.expect("host:changed");
    }
    (watcher, seen)
}

#[test]
fn what_was_missed_comes_unchanged_and_in_order_and_then_done() {
    let server = Server::start(&["--no-settle"]);
    let (watcher, seen) = four_changes(&server);
    let epoch = watcher.ack()["epoch"].clone();
    let mut late = Client::join(&server, "table", "late");
    assert_eq!((&late.ack()["epoch"], &late.ack()["seq"]), (&epoch, &json!(4)));
    for known in 0..=4 {
        late.send(since(&epoch, known));
        for missed in &seen[known as usize..] {
            assert_eq!(&late.next_text(), missed);
        }
        let done = late.expect("sync:done");
        assert_eq!(done["seq"], 4);
    }
}

#[test]
fn applied_changes_are_numbered_from_1_without_gaps() {
    let server = Server::start(&["--no-settle"]);
    let (_watcher, seen) = four_changes(&server);
    let seqs = seen.iter().map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
    assert_eq!(seqs.map(|change| change["seq"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn what_changed_nothing_has_no_number_and_is_not_missed() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(update("unknown", json!({"n": 1})));
    alice.send(move_to("unknown", 1.0));
    for sent in [
        json!({"type": "command", "command": {"action": "select_all"}}),
        json!({"type": "chat", "text": "hi"}),
        json!({"type": "cursor", "x": 1}),
        add("lens-1", json!({})),
    ] {
        alice.send(sent.clone());
        let relayed = bob.next();
        let is_applied = sent["command"]["action"] == "add_item";
        assert_eq!(relayed.get("seq"), is_applied.then_some(&json!(1)), "{relayed}");
    }
    bob.send(since(&bob.ack()["epoch"].clone(), 0));
    bob.expect_command("add_item", "lens-1");
    bob.expect("sync:done");
}

#[test]
fn another_epoch_is_answered_with_the_state() {
    let server = Server::start(&["--no-settle"]);
    let (mut watcher, _) = four_changes(&server);
    watcher.send(since(&json!("another"), 2));
    let state = watcher.expect("sync:state");
    assert_eq!((&state["state"]["items"], &state["seq"]), (&json!([]), &json!(4)));
    assert_eq!(state["epoch"], watcher.ack()["epoch"]);
    nothing_more([&mut watcher]);
}

#[test]
fn a_number_that_was_not_reached_yet_is_answered_with_the_state() {
    let server = Server::start(&["--no-settle"]);
    let (mut watcher, _) = four_changes(&server);
    watcher.send(since(&watcher.ack()["epoch"].clone(), 5));
    assert_eq!(watcher.expect("sync:state")["seq"], 4);
    nothing_more([&mut watcher]);
}

#[test]
fn beyond_the_history_the_state_is_the_answer() {
    let server = Server::start(&["--no-settle", "--history-changes", "3"]);
    let (mut watcher, seen) = four_changes(&server);
    let epoch = watcher.ack()["epoch"].clone();
    watcher.send(since(&epoch, 0));
    assert_eq!(watcher.expect("sync:state")["seq"], 4);
    watcher.send(since(&epoch, 1));
    for missed in &seen[1..] {
        assert_eq!(&watcher.next_text(), missed);
    }
    watcher.expect("sync:done");
}

#[test]
fn the_history_is_bounded_in_bytes_too() {
    let server = Server::start(&["--no-settle", "--history-bytes", "4096"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for n in 1..=3 {
        alice.send(add(&format!("lens-{n}"), json!({"note": "x".repeat(1500)})));
        bob.expect("command");
    }
    let epoch = bob.ack()["epoch"].clone();
    bob.send(since(&epoch, 0));
    assert_eq!(bob.expect("sync:state")["seq"], 3);
    bob.send(since(&epoch, 2));
    bob.expect_command("add_item", "lens-3");
    bob.expect("sync:done");
}

#[test]
fn a_replaced_document_is_caught_up_on_as_commands() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let epoch = bob.ack()["epoch"].clone();
    alice.send(add("lens-1", json!({})));
    alice.send(json!({"type": "sync:update", "state": {"items": [{"uuid": "new", "n": 1.50}]}}));
    alice.send(move_to("new", 3.0));
    let seen: Vec<String> = (0..4).map(|_| bob.next_text()).collect();
    bob.send(since(&epoch, 0));
    for missed in &seen {
        assert_eq!(&bob.next_text(), missed);
    }
    assert_eq!(bob.expect("sync:done")["seq"], 4);
}

#[test]
fn what_a_snapshot_changed_can_be_caught_up_on() {
    let server = Server::start(&["--no-settle"]);
    let items = json!([item("a", 1)]);
    let mut alice = Client::host(&server, "table", "alice", items.clone());
    alice.expect("sync:state");
    let epoch = alice.ack()["epoch"].clone();
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!(bob.ack()["seq"], 1);
    bob.send(since(&epoch, 0));
    let added = bob.expect_command("add_item", "a");
    assert_eq!((&added["user_id"], &added["command"]["data"]), (&json!("alice"), &items[0]));
    bob.expect("sync:done");
}

#[test]
fn the_answer_tells_the_position_of_the_state_it_carries() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let mut last = 0;
    for n in 1..=20 {
        alice.send(add(&format!("lens-{n}"), json!({})));
        bob.send(json!({"type": "sync:request"}));
        // The answer may come before or after the command; what it says has to fit its place.
        for _ in 0..2 {
            let message = bob.next();
            match message["type"].as_str() {
                Some("command") => last = message["seq"].as_u64().expect("a seq"),
                _ => {
                    assert_eq!(
                        (&message["type"], &message["seq"]),
                        (&json!("sync:state"), &json!(last))
                    );
                    assert_eq!(
                        message["state"]["items"].as_array().map(Vec::len),
                        Some(last as usize)
                    );
                }
            }
        }
    }
}

#[test]
fn a_malformed_position_is_refused() {
    let server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    for (epoch, seq) in [
        (json!(7), json!(0)),
        (json!("e"), json!(-1)),
        (json!("e"), json!("0")),
        (json!("e"), json!(1.5)),
    ] {
        alice.send(json!({"type": "sync:request", "epoch": epoch, "since": seq}));
        assert_eq!(alice.expect("error")["original_type"], "sync:request");
    }
}

#[test]
fn every_life_of_a_session_has_another_epoch() {
    let server = Server::start(&["--linger", "0"]);
    let mut epochs = Vec::new();
    for _ in 0..5 {
        let alice = Client::join(&server, "table", "alice");
        let epoch = alice.ack()["epoch"].clone();
        assert!(!epochs.contains(&epoch));
        epochs.push(epoch);
        alice.leave();
    }
    let other_server = Server::start(&[]);
    let alice = Client::join(&other_server, "table", "alice");
    assert!(!epochs.contains(&alice.ack()["epoch"]));
}
