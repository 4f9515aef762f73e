//! What members say to each other besides commands, and what only the server may say (§2.2).

use serde_json::{Value, json};

use crate::support::{Client, Server, add, item, nothing_more, with_id};

#[test]
fn a_ping_is_answered_with_a_pong_and_what_it_wants_back() {
    let server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(json!({"type": "ping"}));
    let pong = alice.expect("pong");
    assert!(pong["timestamp"].is_string());
    assert_eq!((pong.get("id"), pong.get("t")), (None, None));
    alice.send_text(r#"{"type":"ping","id":[1,{"a":null}],"t":1730123456789.1250,"other":1}"#);
    let pong = alice.next_text();
    assert!(pong.contains(r#""id":[1,{"a":null}]"#), "{pong}");
    assert!(pong.contains(r#""t":1730123456789.1250"#), "{pong}");
    assert!(!pong.contains("other"), "{pong}");
}

#[test]
fn nobody_else_notices_a_ping() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(json!({"type": "ping"}));
    alice.expect("pong");
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_cursor_goes_to_all_others_and_is_never_stored() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(json!({"type": "cursor", "x": 1.5, "tool": "pen", "user_id": "bob", "seq": 9}));
    let cursor = bob.expect("cursor");
    assert_eq!((&cursor["x"], &cursor["tool"]), (&json!(1.5), &json!("pen")));
    assert_eq!((&cursor["user_id"], cursor.get("seq")), (&json!("alice"), None));
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(carol.ack()["seq"], 0);
    assert_eq!(carol.greeting.len(), 2, "there is no document: {:?}", carol.greeting);
    alice.expect("user:joined");
    bob.expect("user:joined");
}

#[test]
fn while_everyone_keeps_up_no_cursor_is_lost() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for n in 0..100 {
        alice.send(json!({"type": "cursor", "n": n}));
        assert_eq!(bob.expect("cursor")["n"], n);
    }
}

#[test]
fn any_other_type_goes_to_all_others_as_it_is() {
    let server = Server::start(&[]);
    let [mut alice, mut bob, mut carol] =
        Client::join_all(&server, "table", ["alice", "bob", "carol"]);
    for kind in ["chat", "selection", "presence:update", "ünbekannt", ""] {
        let mut sent = json!({"type": kind, "text": "hello", "n": [1, 2.5], "nested": {"a": null}});
        alice.send(sent.clone());
        for other in [&mut bob, &mut carol] {
            let mut relayed = other.next();
            assert_eq!(relayed["user_id"].take(), "alice");
            assert!(relayed["timestamp"].take().is_string());
            sent["user_id"] = Value::Null;
            sent["timestamp"] = Value::Null;
            assert_eq!(relayed, sent);
        }
    }
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn relayed_messages_arrive_in_order_with_commands() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for n in 0..50 {
        alice.send(json!({"type": "chat", "n": n}));
        alice.send(add(&format!("lens-{n}"), json!({})));
        alice.send(json!({"type": "cursor", "n": n}));
    }
    for n in 0..50 {
        assert_eq!(bob.expect("chat")["n"], n);
        bob.expect_command("add_item", &format!("lens-{n}"));
        assert_eq!(bob.expect("cursor")["n"], n);
    }
}

#[test]
fn the_servers_own_types_are_refused_from_a_client() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    for kind in [
        "user:joined",
        "user:left",
        "host:changed",
        "connection:ack",
        "pong",
        "error",
        "sync:state",
        "sync:done",
        "session:activity",
        "message_delivered",
    ] {
        alice.send(json!({"type": kind, "user_id": "bob", "state": {"items": []}}));
        let error = alice.expect("error");
        assert_eq!(error["original_type"], kind);
        assert!((400..500).contains(&error["code"].as_u64().expect("a number")), "{error}");
    }
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn sync_update_replaces_the_document_and_everyone_else_gets_what_changed_as_commands() {
    let server = Server::start(&["--no-settle"]);
    let names = ["alice", "bob", "carol"];
    let [mut alice, mut bob, mut carol] = Client::join_all(&server, "table", names);
    alice.send(add("old", json!({})));
    bob.expect_command("add_item", "old");
    carol.expect_command("add_item", "old");
    let mut viewer = Client::view(&server, "", "table");
    let items = json!([item("kept", 2), item("new", 1)]);
    alice.send(add("kept", json!({"_type": "component", "x_mm": 1})));
    for other in [&mut bob, &mut carol, &mut viewer] {
        other.expect_command("add_item", "kept");
    }
    alice.send(json!({"type": "sync:update", "state": {"items": items, "version": 8, "zoom": 2}}));
    for other in [&mut bob, &mut carol] {
        let update = other.expect_command("update_item", "kept");
        assert_eq!((&update["command"]["data"], &update["user_id"]), (&items[0], &json!("alice")));
        assert_eq!(other.expect_command("add_item", "new")["command"]["data"], items[1]);
        other.expect_command("remove_item", "old");
    }
    let state = viewer.expect("sync:state");
    assert_eq!((&state["state"]["items"], &state["state"]["zoom"]), (&items, &json!(2)));
    let done = viewer.expect("session:activity");
    assert_eq!((&done["user_id"], &done["action"]), (&json!("alice"), &json!("replace")));
    nothing_more([&mut alice, &mut bob, &mut carol, &mut viewer]);
    let document = alice.document();
    assert_eq!((&document["items"], &document["zoom"]), (&items, &json!(2)));
}

#[test]
fn whoever_replaces_the_document_is_not_sent_it_even_if_others_were_at_work() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    bob.send(add("lens-1", json!({})));
    alice.expect_command("add_item", "lens-1");
    alice.send(json!({"type": "sync:update", "state": {"items": [{"uuid": "new"}]}}));
    bob.expect_command("add_item", "new");
    bob.expect_command("remove_item", "lens-1");
    nothing_more([&mut bob, &mut alice]);
}

#[test]
fn items_of_a_state_get_uuid_and_item_type_and_keep_their_order() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    let items =
        json!([{"item_uuid": "z", "_type": "source"}, {"uuid": "a", "n": 1}, {"uuid": "m"}]);
    alice.send(json!({"type": "sync:update", "state": {"items": items}}));
    ["z", "a", "m"].iter().for_each(|id| drop(bob.expect_command("add_item", id)));
    let items = bob.items();
    let ids: Vec<&Value> = items.iter().map(|item| &item["uuid"]).collect();
    assert_eq!(ids, ["z", "a", "m"]);
    assert!(items.iter().all(|item| item["item_type"].is_string()), "{items:?}");
    assert_eq!(items[0]["item_type"], "source");
}

#[test]
fn an_update_with_an_empty_state_empties_the_document() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", json!({})));
    bob.expect_command("add_item", "lens-1");
    alice.send(json!({"type": "sync:update", "state": {"items": []}}));
    bob.expect_command("remove_item", "lens-1");
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(carol.greeting[2]["state"]["items"], json!([]), "it is empty, but there is one");
}

#[test]
fn a_message_with_an_id_of_another_type_is_relayed_and_not_confirmed() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(with_id(json!({"type": "chat", "text": "hi"}), "c-1"));
    assert_eq!(bob.expect("chat")["id"], "c-1");
    nothing_more([&mut alice, &mut bob]);
}
