//! Changes with an id of the sender's choice: confirmed, never applied twice (PROTOCOL.md §2.5).

use serde_json::{Value, json};

use crate::support::{
    Client, Server, add, full_state, item, nothing_more, remove, update, with_id,
};

#[test]
fn a_command_with_an_id_is_confirmed_to_its_sender() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(with_id(add("lens-1", json!({})), "m-1"));
    let delivered = alice.expect("message_delivered");
    assert_eq!((&delivered["id"], &delivered["seq"]), (&json!("m-1"), &json!(1)));
    assert_eq!(delivered["original_type"], "command");
    assert_eq!(delivered["status"], "success");
    assert_eq!(bob.expect_command("add_item", "lens-1")["id"], "m-1");
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_sync_update_with_an_id_is_confirmed_to_its_sender() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let update = json!({"type": "sync:update", "state": {"items": [{"uuid": "a"}]}});
    alice.send(with_id(update.clone(), 7));
    let delivered = alice.expect("message_delivered");
    assert_eq!((&delivered["id"], &delivered["seq"]), (&json!(7), &json!(1)));
    assert_eq!(delivered["original_type"], "sync:update");
    bob.expect_command("add_item", "a");
    alice.send(with_id(update, 7));
    let again = alice.expect("message_delivered");
    assert_eq!((&again["seq"], &again["repeated"]), (&json!(1), &json!(true)));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn without_an_id_nothing_is_confirmed() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", json!({})));
    alice.send(with_id(add("lens-2", json!({})), Value::Null));
    bob.expect_command("add_item", "lens-1");
    bob.expect_command("add_item", "lens-2");
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_repeated_id_is_confirmed_again_and_not_applied_again() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let added = with_id(add("lens-1", json!({})), "m-1");
    alice.send(added.clone());
    alice.send(with_id(remove("lens-1"), "m-2"));
    alice.send(added);
    let seqs = [(); 3].map(|()| {
        let delivered = alice.expect("message_delivered");
        [delivered["id"].clone(), delivered["seq"].clone(), delivered["repeated"].clone()]
    });
    let expected = [("m-1", 1, Value::Null), ("m-2", 2, Value::Null), ("m-1", 1, json!(true))];
    assert_eq!(seqs, expected.map(|(id, seq, repeated)| [json!(id), json!(seq), repeated]));
    bob.expect_command("add_item", "lens-1");
    bob.expect_command("remove_item", "lens-1");
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items(), [] as [Value; 0]);
}

#[test]
fn an_id_that_was_used_for_something_else_is_refused() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(with_id(add("lens-1", json!({"x_mm": 1})), "m-1"));
    alice.expect("message_delivered");
    bob.expect_command("add_item", "lens-1");
    for other in [
        add("lens-1", json!({"x_mm": 2})),
        add("lens-2", json!({"x_mm": 1})),
        remove("lens-1"),
        json!({"type": "sync:update", "state": {"items": []}}),
    ] {
        let kind = other["type"].clone();
        alice.send(with_id(other, "m-1"));
        let error = alice.expect_error("duplicate_id");
        assert_eq!((&error["code"], &error["id"]), (&json!(409), &json!("m-1")));
        assert_eq!(error["original_type"], kind);
    }
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items()[0]["x_mm"], 1);
}

#[test]
fn it_is_remembered_when_the_user_comes_back() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let added = with_id(add("lens-1", json!({})), "m-1");
    alice.send(added.clone());
    bob.expect_command("add_item", "lens-1");
    // It was lost on the way to her, so she asks again.
    alice.vanish();
    bob.expect("user:left");
    bob.expect("host:changed");
    let mut alice = Client::join(&server, "table", "alice");
    bob.expect("user:joined");
    alice.send(added);
    let delivered = alice.expect("message_delivered");
    assert_eq!((&delivered["id"], &delivered["seq"]), (&json!("m-1"), &json!(1)));
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn the_same_id_from_another_user_is_another_one() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(with_id(add("lens-1", json!({})), "m-1"));
    alice.expect("message_delivered");
    bob.expect_command("add_item", "lens-1");
    bob.send(with_id(add("lens-2", json!({})), "m-1"));
    assert_eq!(bob.expect("message_delivered")["seq"], 2);
    alice.expect_command("add_item", "lens-2");
}

#[test]
fn an_id_is_forgotten_with_the_history() {
    let server = Server::start(&["--no-settle", "--history-changes", "3"]);
    let mut alice = Client::join(&server, "table", "alice");
    let first = with_id(add("lens-0", json!({})), "m-0");
    alice.send(first.clone());
    assert_eq!(alice.expect("message_delivered")["seq"], 1);
    for n in 1..=3 {
        alice.send(with_id(add(&format!("lens-{n}"), json!({})), format!("m-{n}")));
        assert_eq!(alice.expect("message_delivered")["seq"], n + 1);
    }
    alice.send(first);
    assert_eq!(alice.expect("message_delivered")["seq"], 5, "it is a change like any other now");
}

#[test]
fn what_changed_nothing_is_confirmed_too() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(with_id(update("unknown", json!({})), "m-1"));
    assert_eq!(alice.expect("message_delivered")["id"], "m-1");
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn an_id_comes_back_as_it_was_written() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    for id in ["18446744073709551616", "1.50", "\"\\u00fc\"", "\"\""] {
        let command = r#"{"action":"add_item","item_id":"a","data":{}}"#;
        alice.send_text(&format!(r#"{{"type":"command","command":{command},"id":{id}}}"#));
        let delivered = alice.next_text();
        let delivered_id: Value =
            serde_json::from_str::<Value>(&delivered).expect("JSON")["id"].take();
        assert_eq!(delivered_id, serde_json::from_str::<Value>(id).expect("JSON"), "{delivered}");
        assert!(
            !id.starts_with(char::is_numeric) || delivered.contains(&format!("\"id\":{id}")),
            "{delivered}"
        );
    }
}

#[test]
fn an_id_that_is_neither_string_nor_number_is_refused() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for id in [json!({}), json!([1]), json!(true), json!("x".repeat(300))] {
        alice.send(with_id(add("lens-1", json!({})), id));
        assert_eq!(alice.expect("error")["original_type"], "command");
    }
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(bob.items(), [] as [Value; 0]);
}

#[test]
fn a_refused_message_is_not_confirmed_and_may_be_sent_again_under_its_id() {
    let server = Server::start(&["--no-settle"]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(with_id(json!({"type": "command", "command": {"action": "add_item"}}), "m-1"));
    assert_eq!(alice.expect("error")["id"], "m-1");
    alice.send(with_id(add("lens-1", json!({})), "m-1"));
    assert_eq!(alice.expect("message_delivered")["seq"], 1);
}

#[test]
fn a_snapshot_is_not_confirmed() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(with_id(full_state(json!([item("a", 1)]), Some("bob")), "m-1"));
    bob.expect_command("add_item", "a");
    nothing_more([&mut alice, &mut bob]);
}
