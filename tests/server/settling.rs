//! Settling: everyone ends with the same canvas (PROTOCOL.md §2.6), and what an editor is sent and what
//! counts of what it says (§2.3).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    Client, Server, Wire, add, command, full_state, item, move_to, nothing_more, remove, update,
    with_id,
};

/// The next message has to be an item's whole data, sent by the server in `writer`'s name.
fn settled(client: &mut Client, item: &str, writer: &str) -> Value {
    let mut message = client.expect_command("update_item", item);
    assert_eq!((&message["settled"], &message["user_id"]), (&json!(true), &json!(writer)));
    assert_eq!(message["command"]["data"]["uuid"], item);
    message["command"]["data"].take()
}

/// The next two messages have to be the pair that settles an editor's copy; returns the real data.
fn settled_in_two(editor: &mut Client, item: &str, writer: &str) -> Value {
    let first = settled(editor, item, writer);
    let second = settled(editor, item, writer);
    assert_eq!(first["locked"], false, "a lock would refuse the place");
    let x_mm = |data: &Value| data["x_mm"].as_f64().expect("a number");
    let moved = x_mm(&first) - x_mm(&second);
    assert!((moved - 1e-6).abs() < 1e-9, "{first} {second}");
    second
}

/// Returns when the server's own clock has gone on by the time it gives a silent newcomer, which is
/// far longer than an item has to be still.
fn after_a_while(server: &Server) {
    let (mut wire, _) = Wire::arrive(server, "/ws/another-table/somebody");
    wire.send(r#"{"type":"sync:request"}"#);
    assert_eq!(wire.next()["type"], "sync:state");
}

/// Has it done, and waits until it is.
fn done(client: &mut Client, message: Value) {
    client.send(with_id(message, "done"));
    while client.next()["type"] != "message_delivered" {}
}

fn named(id: &str, x_mm: i32, name: &str) -> Value {
    let mut item = item(id, x_mm);
    item["name"] = name.into();
    item
}

/// Alice, who added an item, and Bob, who was told of it. Nothing is left to read.
fn table_with_a_lens(server: &Server) -> (Client, Client) {
    let [mut alice, mut bob] = Client::join_all(server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", named("lens-1", 1, "L1")));
    bob.expect_command("add_item", "lens-1");
    settled(&mut bob, "lens-1", "alice");
    (alice, bob)
}

/// Alice, a script, and Edith, whose program is the editor. Nothing is left to read.
fn table_with_an_editor(server: &Server) -> (Client, Client) {
    let mut alice = Client::join(server, "table", "alice");
    let edith = Client::editor(server, "table", "edith");
    alice.expect("user:joined");
    (alice, edith)
}

#[test]
fn a_relayed_add_item_is_followed_by_its_whole_data_at_once() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    alice.send(add("lens-1", json!({"x_mm": 1, "_type": "component"})));
    alice.send(json!({"type": "chat"}));
    bob.expect_command("add_item", "lens-1");
    assert_eq!(settled(&mut bob, "lens-1", "alice"), item("lens-1", 1));
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
        assert_eq!((&data["x_mm"], &data["name"]), (&json!(7.5), &json!("L1")));
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

#[test]
fn the_writer_gets_it_too_if_a_value_of_the_writers_was_not_taken() {
    let server = Server::start(&[]);
    let (mut alice, mut edith) = table_with_an_editor(&server);
    edith.send(add("lens-1", named("lens-1", 1, "old")));
    edith.told();
    // She has not read of the new name when she moves it.
    done(&mut alice, update("lens-1", json!({"name": "new"})));
    edith.send(command("move_item", "lens-1", named("lens-1", 9, "old")));
    edith.expect_command("update_item", "lens-1");
    let mut data = settled_in_two(&mut edith, "lens-1", "edith");
    if data["x_mm"] == 1 {
        data = settled_in_two(&mut edith, "lens-1", "edith");
    }
    assert_eq!(data, named("lens-1", 9, "new"));
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
            Some("remove_item") => drop(self.0.remove(&id)),
            // An update has the whole item.
            _ => drop(self.0.insert(id, command["data"].clone())),
        }
    }
}

#[test]
fn two_people_who_drag_one_item_end_up_with_the_same_canvas() {
    const MOVES: usize = 60;
    let server = Server::start(&[]);
    let mut alice = Client::join(&server, "table", "alice");
    alice.send(add("lens-1", item("lens-1", 0)));
    nothing_more([&mut alice]);
    let bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    let people = [("alice", 1000, alice), ("bob", 2000, bob)];
    let canvases = std::thread::scope(|scope| {
        let drags = people.map(|(name, start, mut person)| {
            scope.spawn(move || {
                let mut canvas = Canvas::default();
                for n in 1..=MOVES {
                    person.send(update("lens-1", json!({"x_mm": start + n, name: n})));
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
    done(&mut bob, update("lens-1", json!({"x_mm": 9})));
    alice.send(remove("lens-1"));
    alice.expect_command("update_item", "lens-1");
    assert_eq!(bob.expect_command("remove_item", "lens-1").get("settled"), None);
    for person in [&mut alice, &mut bob] {
        let settled = person.expect_command("remove_item", "lens-1");
        assert_eq!(settled["settled"], true);
        assert!(
            settled["command"]["data"].is_object(),
            "an editor shows an error of anything else"
        );
    }
}

#[test]
fn who_changes_an_item_that_is_being_removed_is_told_so() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = table_with_a_lens(&server);
    done(&mut alice, remove("lens-1"));
    bob.send(update("lens-1", json!({"x_mm": 9})));
    assert_eq!(bob.expect_command("remove_item", "lens-1").get("settled"), None);
    assert_eq!(bob.expect_command("remove_item", "lens-1")["settled"], true);
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
    alice.send(add("z", item("z", 1)));
    alice.send(add("a", item("a", 2)));
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
}

#[test]
fn what_a_replacement_added_is_followed_by_its_whole_data() {
    let server = Server::start(&[]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    bob.send(json!({"type": "sync:update", "state": {"items": [item("m", 3)]}}));
    alice.expect_command("add_item", "m");
    assert_eq!(settled(&mut alice, "m", "bob"), item("m", 3));
}

#[test]
fn what_a_snapshot_added_is_followed_by_its_whole_data() {
    let server = Server::start(&[]);
    let mut alice = Client::host(&server, "table", "alice", json!([]));
    alice.expect("sync:state");
    let mut bob = Client::join(&server, "table", "bob");
    alice.expect("user:joined");
    alice.send(full_state(json!([item("a", 1)]), Some("alice")));
    bob.expect_command("add_item", "a");
    assert_eq!(settled(&mut bob, "a", "alice"), item("a", 1));
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
    done(&mut alice, update("lens-1", json!({"x_mm": 1})));
    bob.send(update("lens-1", json!({"x_mm": 2})));
    for action in ["add_item", "update_item"] {
        assert_eq!(bob.expect_command(action, "lens-1").get("settled"), None);
    }
    alice.expect_command("update_item", "lens-1");
    after_a_while(&server);
    let carol = Client::join(&server, "table", "carol");
    assert_eq!(carol.greeting.len(), 3, "ack, joined, state");
    let edith = Client::editor(&server, "table", "edith");
    assert_eq!(edith.greeting.len(), 3, "ack, joined, state");
    for member in [&mut alice, &mut bob] {
        member.expect("user:joined");
        member.expect("user:joined");
    }
    alice.send(remove("lens-1"));
    bob.expect_command("remove_item", "lens-1");
}

#[test]
fn an_editor_is_sent_each_settled_update_as_two() {
    let server = Server::start(&[]);
    let (mut alice, mut edith) = table_with_an_editor(&server);
    let mut locked = named("lens-1", 1, "L1");
    locked["locked"] = true.into();
    alice.send(add("lens-1", locked.clone()));
    edith.expect_command("add_item", "lens-1");
    assert_eq!(settled_in_two(&mut edith, "lens-1", "alice"), locked);
    alice.send(update("lens-1", json!({"name": "L2"})));
    let unlocked = settled(&mut edith, "lens-1", "alice");
    assert_eq!(unlocked["locked"], false, "its place would be refused");
    edith.expect_command("update_item", "lens-1");
    locked["name"] = "L2".into();
    assert_eq!(settled_in_two(&mut edith, "lens-1", "alice"), locked);
}

#[test]
fn an_editor_is_sent_no_item_of_a_type_that_it_does_not_know() {
    let server = Server::start(&["--no-settle"]);
    let (mut alice, mut edith) = table_with_an_editor(&server);
    let mut note = item("note", 1);
    (note["_type"], note["item_type"]) = ("text".into(), "text".into());
    alice.send(add("note", note.clone()));
    alice.send(move_to("note", 2.0));
    alice.send(add("lens-1", item("lens-1", 1)));
    edith.expect_command("add_item", "lens-1");
    assert_eq!(edith.items(), [item("lens-1", 1)]);
    assert_eq!(alice.items().len(), 2, "others are shown it");
    let mut bob = Client::editor(&server, "table", "bob");
    assert_eq!(bob.greeting[2]["state"]["items"], json!([item("lens-1", 1)]));
    alice.send(update("note", json!({"text": "x"})));
    alice.told();
    assert_eq!(bob.told(), [] as [Value; 0]);
}

/// A lens with a picture, whose first interface has its middle at 3, 4.
fn pictured(x1_mm: f64, y1_mm: f64) -> Value {
    let mut lens = item("lens-1", 1);
    lens["image_path"] = "objects/library/lens.png".into();
    lens["interfaces"] = json!([{
        "x1_mm": x1_mm, "y1_mm": y1_mm, "x2_mm": x1_mm, "y2_mm": y1_mm - 20.0, "element_type": "lens",
        "name": "", "efl_mm": 100,
    }]);
    lens
}

fn interfaces(message: &Value) -> &Value {
    &message["command"]["data"]["interfaces"]
}

/// Its copy has no picture, so that it would stand elsewhere.
#[test]
fn an_editor_that_was_sent_a_pictured_item_is_told_its_interfaces_moved() {
    let server = Server::start(&[]);
    let (mut alice, mut edith) = table_with_an_editor(&server);
    let (real, moved) = (pictured(3.0, 14.0), pictured(0.0, 10.0));
    alice.send(add("lens-1", real.clone()));
    let added = edith.expect_command("add_item", "lens-1");
    assert_eq!(interfaces(&added), &real["interfaces"]);
    assert_eq!(settled_in_two(&mut edith, "lens-1", "alice")["interfaces"], moved["interfaces"]);
    // What comes back from there is moved back.
    edith.told();
    let mut dragged = moved.clone();
    dragged["x_mm"] = 5.into();
    dragged["interfaces"][0]["efl_mm"] = 200.into();
    edith.send(update("lens-1", dragged));
    let told = alice.expect_command("update_item", "lens-1");
    assert_eq!(told["command"]["data"]["x_mm"], 5);
    let mut chosen = real["interfaces"].clone();
    chosen[0]["efl_mm"] = 200.into();
    assert_eq!(interfaces(&told), &chosen);
    // Who placed it has its picture.
    edith.send(add("lens-2", json!({"_type": "component", "x_mm": 0})));
    let mut bob = Client::editor(&server, "table", "bob");
    bob.send(add("own", real.clone()));
    bob.told();
    done(&mut alice, update("own", json!({"name": "x"})));
    assert_eq!(interfaces(&bob.expect_command("update_item", "own")), &real["interfaces"]);
}

#[test]
fn until_a_copy_has_been_filled_in_only_its_place_counts() {
    let server = Server::start(&["--max-message-bytes", "64KiB"]);
    let (mut alice, mut edith) = table_with_an_editor(&server);
    done(&mut alice, add("lens-1", named("lens-1", 1, "L1")));
    // Not yet read, and so built blank at 0, 0; then dragged.
    let mut blank = json!({"_type": "component", "item_uuid": "lens-1", "x_mm": 0, "name": null});
    edith.send(update("lens-1", blank.clone()));
    blank["x_mm"] = 7.into();
    edith.send(command("move_item", "lens-1", blank));
    edith.told();
    let told = alice.expect_command("move_item", "lens-1");
    assert_eq!(told["command"]["data"]["name"], "L1");
    let document = alice.told_document();
    assert_eq!(
        (&document["items"][0]["x_mm"], &document["items"][0]["name"]),
        (&json!(7), &json!("L1"))
    );
    // From then on everything does.
    edith.send(update("lens-1", named("lens-1", 7, "mine")));
    edith.told();
    assert_eq!(alice.told_document()["items"][0]["name"], "mine");
}

#[test]
fn the_red_of_a_rebuilt_source_does_not_count_and_a_chosen_colour_does() {
    let server = Server::start(&[]);
    let (mut alice, mut edith) = table_with_an_editor(&server);
    let laser = |color: &str, x_mm: i32| json!({"_type": "source", "uuid": "laser", "item_type": "source", "x_mm": x_mm, "color_hex": color});
    done(&mut alice, add("laser", laser("#00ff00", 1)));
    edith.told();
    for (reported, x_mm, color) in
        [("#dc143c", 2, "#00ff00"), ("#0000ff", 3, "#0000ff"), ("#dc143c", 4, "#0000ff")]
    {
        edith.send(update("laser", laser(reported, x_mm)));
        edith.told();
        assert_eq!(alice.told_document()["items"], json!([laser(color, x_mm)]));
    }
}
