//! Settling: everyone ends with the same canvas (PROTOCOL.md §2.6).

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Client, Server, Wire, add, full_state, move_to, nothing_more, remove, update};

/// The next message has to be an item's whole data, sent by the server in `writer`'s name.
fn settled(client: &mut Client, item: &str, writer: &str) -> Value {
    let mut message = client.expect_command("update_item", item);
    assert_eq!((&message["settled"], &message["user_id"]), (&json!(true), &json!(writer)));
    assert_eq!(message["command"]["data"]["uuid"], item);
    message["command"]["data"].take()
}

/// Returns when the server's own clock has gone on by the time it gives a silent newcomer, which is
/// far longer than an item has to be still.
fn after_a_while(server: &Server) {
    let (mut wire, _) = Wire::arrive(server, "/ws/another-table/somebody");
    wire.send(r#"{"type":"sync:request"}"#);
    assert_eq!(wire.next()["type"], "sync:state");
}

/// Alice, who added an item, and Bob, who was told of it. Nothing is left to read.
fn table_with_a_lens(server: &Server) -> (Client, Client) {
    let [mut alice, mut bob] = Client::join_all(server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", json!({"x_mm": 1, "name": "L1"})));
    bob.expect_command("add_item", "lens-1");
    settled(&mut bob, "lens-1", "alice");
    (alice, bob)
}

#[test]
fn a_relayed_add_item_is_followed_by_its_whole_data_at_once() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", json!({"x_mm": 1.5, "_type": "lens"})));
    alice.send(json!({"type": "chat"}));
    bob.expect_command("add_item", "lens-1");
    let data = settled(&mut bob, "lens-1", "alice");
    let whole = json!({"x_mm": 1.5, "_type": "lens", "uuid": "lens-1", "item_type": "lens"});
    assert_eq!(data, whole);
    bob.expect("chat");
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_changed_item_that_is_still_is_sent_whole_to_everyone_but_its_writer() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    let mut carol = Client::join(&server, "table", "carol");
    alice.expect("user:joined");
    bob.expect("user:joined");
    alice.send(move_to("lens-1", 7.5));
    for other in [&mut bob, &mut carol] {
        other.expect_command("move_item", "lens-1");
        let data = settled(other, "lens-1", "alice");
        assert_eq!(data, json!({"x_mm": 7.5, "name": "L1", "uuid": "lens-1", "item_type": "lens"}));
    }
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn it_is_sent_once() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    alice.send(update("lens-1", json!({"x_mm": 2})));
    bob.expect_command("update_item", "lens-1");
    settled(&mut bob, "lens-1", "alice");
    after_a_while(&server);
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn the_writer_gets_it_too_if_somebody_else_changed_the_item_shortly_before() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    alice.send(update("lens-1", json!({"by_alice": 1})));
    bob.send(update("lens-1", json!({"by_bob": 1})));
    for person in [&mut alice, &mut bob] {
        person.expect_command("update_item", "lens-1");
        loop {
            let message = person.expect_command("update_item", "lens-1");
            assert_eq!(message["settled"], true);
            // On a machine that stands still between the two changes the first one settles alone.
            let data = &message["command"]["data"];
            if data["by_alice"] == 1 && data["by_bob"] == 1 {
                break;
            }
        }
    }
    nothing_more([&mut alice, &mut bob]);
}

/// What one person sees: its own changes at once, everybody else's as they come.
#[derive(Default)]
struct Canvas(BTreeMap<String, Value>);

impl Canvas {
    fn apply(&mut self, message: &Value) {
        if message["type"] == "sync:state" {
            let items = message["state"]["items"].as_array().expect("a list").iter();
            self.0 = items.map(|item| (item["uuid"].to_string(), item.clone())).collect();
            return;
        }
        let command = &message["command"];
        let id = command["item_id"].to_string();
        match command["action"].as_str() {
            Some("add_item") => drop(self.0.insert(id, command["data"].clone())),
            Some("remove_item") => drop(self.0.remove(&id)),
            _ => {
                let Some(Value::Object(item)) = self.0.get_mut(&id) else { return };
                item.extend(command["data"].as_object().expect("data").clone());
            }
        }
    }
}

#[test]
fn two_people_who_drag_one_item_end_up_with_the_same_canvas() {
    const MOVES: usize = 60;
    let server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(add("lens-1", json!({"x_mm": 0})));
    nothing_more([&mut alice]);
    let bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    let people = [("alice", 1000, alice), ("bob", 2000, bob)];
    let canvases = std::thread::scope(|scope| {
        let drags = people.map(|(name, start, mut person)| {
            scope.spawn(move || {
                let mut canvas = Canvas::default();
                canvas.apply(&add("lens-1", json!({"x_mm": 0})));
                for n in 1..=MOVES {
                    let change = update("lens-1", json!({"x_mm": start + n, name: n}));
                    canvas.apply(&change);
                    person.send(change);
                }
                loop {
                    let message = person.next();
                    canvas.apply(&message);
                    let data = &message["command"]["data"];
                    if message["settled"] == true && data["alice"] == MOVES && data["bob"] == MOVES
                    {
                        return (canvas.0, person);
                    }
                }
            })
        });
        drags.map(|drag| drag.join().expect("a drag"))
    });
    let [(alice, _a), (bob, _b)] = canvases;
    assert_eq!(alice, bob);
    let carol = Client::join(&server, "table", "carol");
    let mut canvas = Canvas::default();
    carol.greeting[2..].iter().for_each(|message| canvas.apply(message));
    assert_eq!(alice, canvas.0, "and it is the document");
}

#[test]
fn an_item_that_somebody_removed_while_another_changed_it_settles_as_removed() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    alice.send(remove("lens-1"));
    bob.send(update("lens-1", json!({"x_mm": 9})));
    for (person, action) in [(&mut alice, "update_item"), (&mut bob, "remove_item")] {
        person.expect_command(action, "lens-1");
        let settled = person.expect_command("remove_item", "lens-1");
        assert_eq!(settled["settled"], true);
        assert!(settled["command"]["data"].is_object(), "an editor aborts on anything else");
    }
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn an_item_that_was_simply_removed_does_not_settle() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    alice.send(remove("lens-1"));
    bob.expect_command("remove_item", "lens-1");
    after_a_while(&server);
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn after_a_state_the_receiver_gets_each_item_once_more() {
    let server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(add("z", json!({"x_mm": 1})));
    alice.send(add("a", json!({"x_mm": 2})));
    nothing_more([&mut alice]);
    let mut bob = Client::join(&server, "table", "bob");
    let items = bob.greeting[2]["state"]["items"].clone();
    for (message, item) in bob.greeting[3..].iter().zip(items.as_array().expect("a list")) {
        assert_eq!(
            (&message["command"]["action"], &message["settled"]),
            (&json!("update_item"), &json!(true))
        );
        assert_eq!(
            (&message["command"]["item_id"], &message["command"]["data"]),
            (&item["uuid"], item)
        );
        assert_eq!(message["user_id"], "alice");
    }
    assert_eq!(bob.greeting.len(), 5);
    bob.send(json!({"type": "sync:request"}));
    bob.expect("sync:state");
    settled(&mut bob, "z", "alice");
    settled(&mut bob, "a", "alice");
    bob.send(json!({"type": "sync:update", "state": {"items": [{"uuid": "m", "x_mm": 3}]}}));
    alice.expect("user:joined");
    alice.expect("sync:state");
    assert_eq!(settled(&mut alice, "m", "bob")["x_mm"], 3);
}

#[test]
fn what_a_snapshot_added_is_followed_by_its_whole_data() {
    let server = Server::start(&[]);
    let mut alice = Client::host(&server, "table", "alice", json!([]));
    alice.expect("sync:state");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    alice.send(full_state(json!([{"uuid": "a", "item_type": "lens", "x_mm": 1}]), Some("alice")));
    bob.expect_command("add_item", "a");
    assert_eq!(settled(&mut bob, "a", "alice")["x_mm"], 1);
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn a_change_that_was_refused_is_undone_where_it_was_made() {
    let server = Server::start(&["--max-document-bytes", "4KiB"]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    let too_much = "x".repeat(5000);
    bob.send(update("lens-1", json!({"name": too_much})));
    bob.expect_error("document_full");
    assert_eq!(settled(&mut bob, "lens-1", "alice")["name"], "L1");
    bob.send(add("lens-2", json!({"name": too_much})));
    bob.expect_error("document_full");
    assert_eq!(bob.expect_command("remove_item", "lens-2")["settled"], true);
    nothing_more([&mut alice, &mut bob]);
}

#[test]
fn settled_messages_have_no_number_and_are_not_caught_up_on() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    alice.send(move_to("lens-1", 2.0));
    assert_eq!(bob.expect_command("move_item", "lens-1")["seq"], 2);
    assert_eq!(bob.expect_command("update_item", "lens-1").get("seq"), None);
    bob.send(json!({"type": "sync:request", "epoch": bob.ack()["epoch"], "since": 0}));
    bob.expect_command("add_item", "lens-1");
    bob.expect_command("move_item", "lens-1");
    assert_eq!(bob.expect("sync:done")["seq"], 2);
}

#[test]
fn no_settle_turns_all_of_it_off() {
    let server = Server::start(&["--no-settle"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", json!({})));
    alice.send(update("lens-1", json!({"x_mm": 1})));
    bob.send(update("lens-1", json!({"x_mm": 2})));
    bob.send(update("lens-2", json!({"x_mm": 2})));
    for action in ["add_item", "update_item"] {
        assert_eq!(bob.expect_command(action, "lens-1").get("settled"), None);
    }
    alice.expect_command("update_item", "lens-1");
    alice.expect_command("update_item", "lens-2");
    after_a_while(&server);
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(carol.greeting.len(), 3, "ack, joined, state");
    alice.expect("user:joined");
    bob.expect("user:joined");
    alice.send(remove("lens-1"));
    bob.expect_command("remove_item", "lens-1");
}
