//! Taking a canvas into a session that has a document (PROTOCOL.md §2.3, "Taking a canvas"): what others
//! did stays, and everybody is told as commands.
//!
//! Alice shares her canvas and is the session's host; Bob is a script. `--no-settle` leaves out what is
//! told of items by itself.

use serde_json::{Value, json};

use crate::support::{
    Client, Folder, PONG, Run, Server, Wire, add, collabd, full_state, item, masked, move_to,
    remove, update,
};

struct Table {
    server: Server,
    alice: Client,
    bob: Client,
}

impl Table {
    /// Alice shares these items, and Bob was sent them. Nothing is left to read.
    fn with(items: Value) -> Self {
        Self::on(Server::start(&["--no-settle"]), items)
    }

    fn on(server: Server, items: Value) -> Self {
        let mut alice = Client::host(&server, "table", "alice", items);
        assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
        let bob = Client::join(&server, "table", "bob");
        alice.expect("user:joined");
        alice.told();
        Table { server, alice, bob }
    }

    /// Bob does this, and Alice receives it.
    fn bob_does(&mut self, command: Value) {
        self.bob.send(command);
        self.bob.told();
        self.alice.expect("command");
    }

    fn alice_does(&mut self, command: Value) {
        self.alice.send(command);
        self.alice.told();
        self.bob.expect("command");
    }

    /// Alice's editor shows its canvas to somebody. What Bob and she are told of that: action and item.
    fn alice_shows(&mut self, items: Value, target: Option<&str>) -> [Vec<(String, String)>; 2] {
        self.alice.send(full_state(items, target));
        let alice = self.alice.told_commands();
        [self.bob.told_commands(), alice]
    }

    fn items(&mut self) -> Vec<Value> {
        self.bob.items()
    }
}

fn commands(commands: &[(&str, &str)]) -> Vec<(String, String)> {
    commands.iter().map(|(action, id)| (action.to_string(), id.to_string())).collect()
}

/// Like [`item`] with a field of its own.
fn named(id: &str, x_mm: i32, name: &str) -> Value {
    let mut item = item(id, x_mm);
    item["name"] = name.into();
    item
}

#[test]
fn an_item_that_only_the_snapshot_has_is_added() {
    let mut table = Table::with(json!([item("a", 1)]));
    // A paste is told nowhere else.
    table.alice.send(full_state(json!([item("a", 1), item("pasted", 2)]), Some("alice")));
    let added = table.bob.expect_command("add_item", "pasted");
    assert_eq!(added["command"]["data"], item("pasted", 2));
    assert_eq!((&added["user_id"], &added["seq"]), (&json!("alice"), &json!(2)));
    assert_eq!(table.items(), [item("a", 1), item("pasted", 2)]);
}

#[test]
fn an_item_that_somebody_else_removed_is_not_added_again_and_its_owner_is_told() {
    let mut table = Table::with(json!([item("a", 1), item("b", 2)]));
    table.bob_does(remove("a"));
    let [bob, alice] = table.alice_shows(json!([item("a", 1), item("b", 2)]), Some("bob"));
    assert_eq!((bob, alice), (vec![], commands(&[("remove_item", "a")])));
    assert_eq!(table.items(), [item("b", 2)]);
}

#[test]
fn an_item_that_the_owner_of_the_canvas_removed_comes_back_with_it() {
    let mut table = Table::with(json!([item("a", 1), item("b", 2)]));
    table.alice_does(remove("a"));
    // An undone removal is told nowhere else.
    let [bob, alice] = table.alice_shows(json!([item("a", 1), item("b", 2)]), Some("alice"));
    assert_eq!((bob, alice), (commands(&[("add_item", "a")]), vec![]));
    assert_eq!(table.items(), [item("b", 2), item("a", 1)]);
}

#[test]
fn a_value_that_its_owner_chose_counts_whoever_wrote_the_field_last() {
    let mut table = Table::with(json!([item("a", 1)]));
    table.bob_does(update("a", json!({"x_mm": 5})));
    table.alice.told();
    let [bob, alice] = table.alice_shows(json!([item("a", 9)]), Some("alice"));
    assert_eq!((bob, alice), (commands(&[("update_item", "a")]), vec![]));
    assert_eq!(table.items(), [item("a", 9)]);
}

#[test]
fn a_value_from_before_somebody_else_changed_it_does_not_count_and_its_owner_is_told() {
    let mut table = Table::with(json!([item("a", 1)]));
    table.bob.send(update("a", json!({"x_mm": 5})));
    table.bob.told();
    table.alice.send(full_state(json!([item("a", 1)]), Some("bob")));
    let told = table.alice.told();
    let last = told.last().expect("a command");
    assert_eq!((&last["command"]["data"], &last["settled"]), (&item("a", 5), &json!(true)));
    assert_eq!(table.bob.told(), [] as [Value; 0]);
    assert_eq!(table.items(), [item("a", 5)]);
}

#[test]
fn one_field_is_taken_and_another_one_is_not() {
    let mut table = Table::with(json!([named("a", 1, "old")]));
    table.bob.send(update("a", json!({"name": "new"})));
    table.bob.told();
    let [bob, _] = table.alice_shows(json!([named("a", 9, "old")]), Some("bob"));
    assert_eq!(bob, commands(&[("update_item", "a")]));
    assert_eq!(table.items(), [named("a", 9, "new")]);
}

#[test]
fn a_field_that_the_snapshot_lacks_stays() {
    let mut table = Table::with(json!([item("a", 1)]));
    table.bob_does(update("a", json!({"name": "Bob's"})));
    table.alice_shows(json!([item("a", 3)]), Some("alice"));
    assert_eq!(table.items(), [named("a", 3, "Bob's")]);
}

#[test]
fn an_item_that_this_connection_listed_and_nobody_else_changed_is_removed() {
    let mut table = Table::with(json!([item("a", 1), item("b", 2)]));
    table.alice_does(add("c", item("c", 3)));
    let [bob, alice] = table.alice_shows(json!([item("b", 2)]), Some("alice"));
    assert_eq!((bob, alice), (commands(&[("remove_item", "a"), ("remove_item", "c")]), vec![]));
    assert_eq!(table.items(), [item("b", 2)]);
}

#[test]
fn an_item_that_somebody_else_has_changed_since_stays_and_is_sent_to_the_owner() {
    let mut table = Table::with(json!([item("a", 1), item("b", 2)]));
    table.bob_does(move_to("a", 5.0));
    let [bob, _] = table.alice_shows(json!([item("b", 2)]), Some("alice"));
    assert_eq!(bob, vec![]);
    assert_eq!(table.items()[0]["x_mm"], 5.0);
    // Once it is sure that nothing of it is on its way to her.
    let [bob, alice] = table.alice_shows(json!([item("b", 2)]), Some("alice"));
    assert_eq!((bob, alice.first()), (vec![], commands(&[("add_item", "a")]).first()));
}

#[test]
fn an_item_that_somebody_else_added_stays() {
    let mut table = Table::with(json!([item("a", 1)]));
    table.bob_does(add("b", item("b", 2)));
    let [bob, _] = table.alice_shows(json!([item("a", 1)]), Some("bob"));
    assert_eq!(bob, vec![]);
    assert_eq!(table.items(), [item("a", 1), item("b", 2)]);
}

#[test]
fn an_empty_snapshot_removes_nothing() {
    let mut table = Table::with(json!([item("a", 1)]));
    let [bob, _] = table.alice_shows(json!([]), Some("alice"));
    assert_eq!(bob, vec![]);
    assert_eq!(table.items(), [item("a", 1)]);
}

#[test]
fn a_snapshot_that_says_what_is_known_changes_nothing() {
    let mut table = Table::with(json!([item("a", 1)]));
    for target in [Some("bob"), Some("alice"), Some("somebody who has left"), None] {
        assert_eq!(table.alice_shows(json!([item("a", 1)]), target), [vec![], vec![]]);
    }
}

#[test]
fn whoever_it_is_meant_for_everybody_is_told_as_commands_and_numbered_like_any_other_change() {
    for target in [Some("bob"), Some("alice"), Some("somebody who has left"), None] {
        let mut table = Table::with(json!([item("a", 1), item("b", 2)]));
        table.alice.send(full_state(json!([item("a", 7), item("c", 3)]), target));
        for (seq, action, id) in
            [(3, "remove_item", "b"), (4, "update_item", "a"), (5, "add_item", "c")]
        {
            assert_eq!(table.bob.expect_command(action, id)["seq"], seq);
        }
        table.alice.send(add("d", json!({})));
        assert_eq!(table.bob.expect_command("add_item", "d")["seq"], 6);
    }
}

#[test]
fn a_target_that_waits_gets_the_document_with_what_the_snapshot_changed() {
    let mut table = Table::with(json!([item("a", 1)]));
    let (mut carol, token) = Wire::arrive(&table.server, "/ws/table/carol");
    carol.send(r#"{"type":"sync:request","user_id":"carol"}"#);
    table.alice.expect("user:joined");
    table.bob.expect("user:joined");
    let [bob, _] = table.alice_shows(json!([item("a", 1), item("c", 3)]), Some("carol"));
    assert_eq!(bob, commands(&[("add_item", "c")]));
    carol.write(masked(PONG, &token));
    assert_eq!(carol.next()["state"]["items"], json!([item("a", 1), item("c", 3)]));
}

#[test]
fn what_an_arriving_canvas_lacks_or_shows_as_it_was_before_is_told_as_commands() {
    let mut table = Table::with(json!([item("a", 1), item("b", 2)]));
    table.bob_does(move_to("a", 5.0));
    table.bob_does(remove("b"));
    let canvas = json!([item("a", 1), item("b", 2), item("c", 3)]);
    let mut carol = Client::host(&table.server, "table", "carol", canvas);
    assert_eq!(carol.expect("sync:state").get("state"), Some(&Value::Null));
    let told = carol.told_commands();
    assert_eq!(told, commands(&[("remove_item", "b"), ("update_item", "a"), ("update_item", "a")]));
    table.bob.expect("user:joined");
    assert_eq!(table.bob.told_commands(), commands(&[("add_item", "c")]));
    table.bob.send(add("d", item("d", 4)));
    table.bob.told();
    let mut dave = Client::host(&table.server, "table", "dave", json!([item("c", 3)]));
    assert_eq!(dave.expect("sync:state").get("state"), Some(&Value::Null));
    let told = dave.told_commands();
    assert!(told.contains(&commands(&[("add_item", "a")])[0]), "{told:?}");
    assert!(told.contains(&commands(&[("add_item", "d")])[0]), "{told:?}");
}

#[test]
fn an_item_that_cannot_be_taken_is_left_out_alone_and_its_sender_is_told() {
    let mut table = Table::with(json!([item("a", 1)]));
    let text =
        full_state(json!([item("a", 1), item("b", 2), item("c", 3)]), Some("alice")).to_string();
    table.alice.send_text(&text.replace("\"x_mm\":2", "\"x_mm\":Infinity"));
    let error = table.alice.expect("error");
    assert_eq!(
        (&error["item_id"], &error["original_type"]),
        (&json!("b"), &json!("sync:full_state"))
    );
    assert_eq!(table.bob.told_commands(), commands(&[("add_item", "c")]));
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused_whole() {
    let server = Server::start(&["--no-settle", "--max-document-bytes", "4KiB"]);
    let mut table = Table::on(server, json!([item("a", 1)]));
    let fat = |id: &str| named(id, 2, &"x".repeat(2000));
    table.alice.send(full_state(json!([item("a", 9), fat("b"), fat("c"), fat("d")]), None));
    assert_eq!(table.alice.expect_error("document_full")["original_type"], "sync:full_state");
    assert_eq!(table.bob.told(), [] as [Value; 0]);
    assert_eq!(table.items(), [item("a", 1)]);
}

#[test]
fn only_the_host_shows_its_canvas_to_others() {
    let mut table = Table::with(json!([item("a", 1)]));
    let mut carol = Client::host(&table.server, "table", "carol", json!([item("c", 3)]));
    carol.told();
    table.alice.told();
    table.bob.told();
    for target in [Some("alice"), None] {
        table.bob.send(full_state(json!([item("b", 2)]), target));
        let error = table.bob.expect_error("not_host");
        assert_eq!(
            (&error["original_type"], &error["code"]),
            (&json!("sync:full_state"), &json!(403))
        );
    }
    // Nor is a second answer to its own `user:joined` heard.
    carol.send(full_state(json!([item("c", 4)]), Some("carol")));
    carol.expect_error("not_host");
    assert_eq!(table.alice.told(), [] as [Value; 0]);
    assert_eq!(table.items(), [item("a", 1), item("c", 3)]);
}

#[test]
fn a_new_host_may_show_its_canvas() {
    let Table { alice, mut bob, server: _server } = Table::with(json!([item("a", 1)]));
    alice.leave();
    bob.expect("user:left");
    bob.expect("host:changed");
    bob.send(full_state(json!([item("a", 1), item("b", 2)]), None));
    bob.told();
    assert_eq!(bob.items(), [item("a", 1), item("b", 2)]);
}

#[test]
fn a_reader_who_shares_a_canvas_keeps_it_and_is_told_what_it_lacks() {
    let folder = Folder::new();
    let file = folder.typed("keys.json");
    let [read, write] = ["read", "write"].map(|level| {
        let args = ["key", "new", "--name", level, "--level", level, "--file", &file];
        Run::of(collabd(&args)).out.trim_end().to_owned()
    });
    let server = Server::start(&["--no-settle", "--require-key", "--keys", &file]);
    let mut writer = Wire::upgrade(&server, &format!("/key/{write}/ws/table/writer"));
    writer.send(add("a", item("a", 1)).to_string());
    writer.send(r#"{"type":"sync:request"}"#);
    while writer.next()["type"] != "sync:state" {}
    let (mut reader, token) = Wire::arrive(&server, &format!("/key/{read}/ws/table/reader"));
    reader.send(r#"{"type":"sync:request","user_id":"reader"}"#);
    reader.send(full_state(json!([item("b", 2)]), Some("reader")).to_string());
    reader.write(masked(PONG, &token));
    assert_eq!(reader.next()["error_type"], "read_only");
    let answer = reader.next();
    assert_eq!((&answer["type"], answer.get("state")), (&json!("sync:state"), Some(&Value::Null)));
    let told = reader.next();
    assert_eq!(
        (&told["command"]["action"], &told["command"]["data"]),
        (&json!("add_item"), &item("a", 1))
    );
    writer.send(r#"{"type":"sync:request"}"#);
    let state = loop {
        let message = writer.next();
        if message["type"] == "sync:state" {
            break message;
        }
        assert_eq!(message["type"], "user:joined");
    };
    assert_eq!(state["state"]["items"], json!([item("a", 1)]));
}
