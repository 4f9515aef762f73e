//! Commands: what they do to the document, and to whom they are relayed (PROTOCOL.md §2.2, §2.4).

use serde_json::{Value, json};

use crate::support::{
    Client, Server, add, command, item, move_to, nothing_more, remove, update, with_id,
};

/// A server that says nothing by itself, and two people at one table.
fn table_for_two() -> (Server, Client, Client) {
    let server = Server::start(&["--no-settle"]);
    let [alice, bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    (server, alice, bob)
}

/// Sends commands that the other one has to get as they are, and nothing else.
fn relayed<const N: usize>(sender: &mut Client, receiver: &mut Client, commands: [Value; N]) {
    for command in commands {
        sender.send(command.clone());
        let relayed = receiver.expect("command");
        is_relayed(&relayed["command"], &command["command"]);
    }
}

/// One item with all of these fields.
fn merged<const N: usize>(parts: [Value; N]) -> Value {
    parts.into_iter().flat_map(|part| part.as_object().expect("an object").clone()).collect()
}

/// A command is relayed as it was sent, but to an `add_item` is added what an editor needs to build
/// the item under its name, and an `update_item` has the whole item.
fn is_relayed(relayed: &Value, sent: &Value) {
    let mut expected = sent.clone();
    if sent["action"] == "update_item" {
        let data = relayed["data"].as_object().expect("an object");
        for name in ["uuid", "item_type", "_type"] {
            assert!(data.get(name).is_some_and(Value::is_string), "{relayed}");
        }
        for (name, value) in sent["data"].as_object().expect("an object") {
            assert!(name == "uuid" || data.get(name) == Some(value), "{name} in {relayed}");
        }
        expected["data"] = relayed["data"].clone();
    }
    if sent["action"] == "add_item" {
        let data = relayed["data"].as_object().expect("an object");
        let named = data.get("uuid").or_else(|| data.get("item_uuid"));
        assert_eq!(named, Some(&sent["item_id"]), "{relayed}");
        assert!(relayed["item_type"].is_string(), "{relayed}");
        expected["item_type"] = relayed["item_type"].clone();
        for name in ["uuid", "item_type"] {
            if let Some(value) = data.get(name) {
                expected["data"][name] = value.clone();
            }
        }
    }
    assert_eq!(relayed, &expected);
}

#[test]
fn a_command_goes_to_all_others_and_never_back_to_its_sender() {
    let (server, mut alice, mut bob) = table_for_two();
    let mut carol = Client::join(&server, "table", "carol");
    alice.expect("user:joined");
    bob.expect("user:joined");
    let sent = add("lens-1", json!({"x_mm": 5}));
    alice.send(sent.clone());
    for other in [&mut bob, &mut carol] {
        let command = other.expect_command("add_item", "lens-1");
        is_relayed(&command["command"], &sent["command"]);
        assert_eq!((&command["user_id"], &command["seq"]), (&json!("alice"), &json!(1)));
        assert!(command["timestamp"].is_string());
    }
    nothing_more([&mut alice, &mut bob, &mut carol]);
}

#[test]
fn what_a_sender_wrote_into_the_servers_fields_is_overwritten() {
    let (_server, mut alice, mut bob) = table_for_two();
    let mut spoofed = add("lens-1", json!({}));
    for (field, value) in [
        ("user_id", json!("bob")),
        ("timestamp", json!("long ago")),
        ("seq", json!(99)),
        ("settled", json!(true)),
    ] {
        spoofed[field] = value;
    }
    alice.send(spoofed);
    let text = bob.next_text();
    let command: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&command["user_id"], &command["seq"]), (&json!("alice"), &json!(1)));
    assert!(command["timestamp"].as_str().is_some_and(|timestamp| timestamp.ends_with('Z')));
    assert_eq!(command.get("settled"), None);
    for field in ["\"user_id\"", "\"timestamp\"", "\"seq\""] {
        assert_eq!(text.matches(field).count(), 1, "{text}");
    }
}

#[test]
fn commands_of_several_senders_arrive_in_one_order_that_is_the_same_for_all() {
    const EACH: usize = 200;
    let server = Server::start(&["--no-settle"]);
    let names = ["alice", "bob", "carol", "dave"];
    let [mut alice, mut bob, mut carol, mut dave] = Client::join_all(&server, "table", names);
    std::thread::scope(|scope| {
        for (name, sender) in [("alice", &mut alice), ("bob", &mut bob)] {
            scope.spawn(move || {
                for n in 0..EACH {
                    sender.send(add(&format!("{name}-{n}"), json!({})));
                }
            });
        }
    });
    let order: Vec<Value> = (0..2 * EACH).map(|_| carol.next()).collect();
    for (place, command) in order.iter().enumerate() {
        assert_eq!(command["seq"], place + 1);
        assert_eq!(&dave.next(), command);
    }
    for (receiver, sender) in [(&mut alice, "bob"), (&mut bob, "alice")] {
        for command in order.iter().filter(|command| command["user_id"] == sender) {
            assert_eq!(&receiver.next(), command);
        }
    }
    nothing_more([&mut alice, &mut bob, &mut carol, &mut dave]);
    let added: Vec<&Value> = order.iter().map(|command| &command["command"]["item_id"]).collect();
    let items = carol.items();
    assert_eq!(items.iter().map(|item| &item["uuid"]).collect::<Vec<_>>(), added);
}

#[test]
fn add_item_inserts_with_uuid_and_item_type_whatever_the_editor_left_out() {
    let (_server, mut alice, mut bob) = table_for_two();
    let data = json!({"item_uuid": "lens-1", "_type": "component", "x_mm": 5, "name": "L1"});
    relayed(&mut alice, &mut bob, [add("lens-1", data)]);
    let named = json!({"uuid": "lens-1", "item_uuid": "lens-1"});
    let typed = json!({"item_type": "component", "_type": "component"});
    assert_eq!(bob.items(), [merged([named, typed, json!({"x_mm": 5, "name": "L1"})])]);
    let mut typed_by_data = add("laser", json!({"item_uuid": "laser", "_type": "source"}));
    typed_by_data["command"].as_object_mut().expect("a command").remove("item_type");
    relayed(&mut alice, &mut bob, [typed_by_data]);
    assert_eq!(bob.items()[1]["item_type"], "source");
}

/// An editor builds an item of its `item_type` and fills it by its `_type`: where they differ it breaks.
#[test]
fn an_item_has_one_type() {
    let (_server, mut alice, mut bob) = table_for_two();
    let both = json!({"_type": "component", "item_type": "source", "x_mm": 1});
    let mut add_it = add("a", both.clone());
    add_it["command"]["item_type"] = json!("lens");
    alice.send(add_it);
    let told = bob.expect_command("add_item", "a");
    let types = |item: &Value| (item["item_type"].clone(), item["_type"].clone());
    let component = (json!("component"), json!("component"));
    assert_eq!(told["command"]["item_type"], "component", "{told}");
    assert_eq!(types(&told["command"]["data"]), component);
    assert_eq!(types(&bob.items()[0]), component);
    // No command changes it, however it is said.
    for data in [
        json!({"item_type": "source", "x_mm": 2}),
        json!({"_type": "source", "x_mm": 3}),
        json!({"item_type": "source", "_type": "source", "item_uuid": "a", "x_mm": 4}),
    ] {
        let mut said = update("a", data.clone());
        said["command"]["item_type"] = json!("source");
        alice.send(said);
        let told = bob.expect_command("update_item", "a");
        assert_eq!(types(&told["command"]["data"]), component, "{data}");
        assert_eq!(told["command"]["data"]["x_mm"], data["x_mm"]);
        assert_eq!(types(&bob.items()[0]), component, "{data}");
    }
    // A whole canvas may: with one type, too.
    let items = json!([{"uuid": "a", "_type": "source", "item_type": "component"},
                       {"uuid": "b", "_type": "source", "item_type": "component"}]);
    alice.send(json!({"type": "sync:update", "state": {"items": items}}));
    bob.expect_command("update_item", "a");
    bob.expect_command("add_item", "b");
    let source = (json!("source"), json!("source"));
    assert!(bob.items().iter().all(|item| types(item) == source));
}

#[test]
fn an_item_is_named_by_its_command_whatever_its_data_say() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({"uuid": "other", "x_mm": 1}))]);
    relayed(&mut alice, &mut bob, [update("lens-1", json!({"uuid": "other", "x_mm": 2}))]);
    let items = bob.items();
    assert_eq!((&items[0]["uuid"], &items[0]["x_mm"]), (&json!("lens-1"), &json!(2)));
    assert_eq!(items.len(), 1);
}

#[test]
fn items_keep_the_order_in_which_they_were_added() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, ["z", "a", "m"].map(|id| add(id, json!({}))));
    relayed(&mut alice, &mut bob, [update("z", json!({"n": 1})), remove("a"), add("a", json!({}))]);
    let ids: Vec<Value> = bob.items().into_iter().map(|item| item["uuid"].clone()).collect();
    assert_eq!(ids, ["z", "m", "a"]);
}

#[test]
fn add_item_for_a_known_id_overwrites_and_is_relayed_as_update_item() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({"x_mm": 1, "name": "L1"}))]);
    bob.send(add("lens-1", json!({"x_mm": 2})));
    let relayed = alice.expect_command("update_item", "lens-1");
    assert_eq!((&relayed["command"]["data"]["x_mm"], &relayed["seq"]), (&json!(2), &json!(2)));
    assert_eq!(relayed["command"]["data"]["name"], "L1", "the whole item");
    let items = alice.items();
    assert_eq!((&items[0]["x_mm"], &items[0]["name"]), (&json!(2), &json!("L1")));
}

#[test]
fn update_item_overwrites_the_fields_in_data_one_by_one() {
    let (_server, mut alice, mut bob) = table_for_two();
    let data = json!({"x_mm": 1, "lens": {"f": 50, "d": 25}, "name": "L1"});
    relayed(&mut alice, &mut bob, [add("lens-1", data)]);
    relayed(&mut bob, &mut alice, [update("lens-1", json!({"lens": {"f": 75}, "color": "red"}))]);
    let items = alice.items();
    let named = json!({"uuid": "lens-1", "item_type": "component", "name": "L1"});
    let rest = json!({"x_mm": 1, "lens": {"f": 75}, "color": "red"});
    assert_eq!(items, [merged([named, rest])]);
}

#[test]
fn an_update_is_relayed_with_the_items_whole_data() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({"x_mm": 1, "name": "L1"}))]);
    alice.send(update("lens-1", json!({"x_mm": 2})));
    let data = bob.expect_command("update_item", "lens-1")["command"]["data"].take();
    let whole = json!({"uuid": "lens-1", "item_type": "component", "_type": "component"});
    assert_eq!(data, merged([whole, json!({"x_mm": 2, "name": "L1"})]));
}

#[test]
fn move_item_from_a_script_writes_only_the_place() {
    let (_server, mut alice, mut bob) = table_for_two();
    let data = json!({"x_mm": 1, "y_mm": 2, "angle_deg": 3, "name": "L1"});
    relayed(&mut alice, &mut bob, [add("lens-1", data)]);
    let moved = json!({"x_mm": 10, "y_mm": 20.5, "angle_deg": -90, "name": "", "f_mm": 0});
    bob.send(command("move_item", "lens-1", moved));
    let told = alice.expect_command("move_item", "lens-1");
    assert_eq!(
        (&told["command"]["data"]["x_mm"], &told["command"]["data"]["name"]),
        (&json!(10), &json!("L1")),
        "what was not taken is not relayed"
    );
    let named = json!({"uuid": "lens-1", "item_type": "component", "name": "L1"});
    let place = json!({"x_mm": 10, "y_mm": 20.5, "angle_deg": -90});
    assert_eq!(alice.items(), [merged([named, place])]);
}

#[test]
fn remove_item_removes() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(
        &mut alice,
        &mut bob,
        [add("lens-1", json!({})), add("lens-2", json!({})), remove("lens-1")],
    );
    let items = bob.items();
    assert_eq!((items.len(), &items[0]["uuid"]), (1, &json!("lens-2")));
}

#[test]
fn a_command_about_an_unknown_item_has_no_effect_and_is_not_relayed() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({}))]);
    let before = bob.document();
    let whole = json!({"_type": "component", "item_uuid": "lens-2", "x_mm": 1});
    alice.send(update("lens-2", json!({"x_mm": 1})));
    alice.send(move_to("lens-2", 1.0));
    alice.send(command("move_item", "lens-2", whole));
    alice.send(remove("lens-2"));
    nothing_more([&mut alice, &mut bob]);
    let after = bob.document();
    assert_eq!((&after["items"], &after["version"]), (&before["items"], &before["version"]));
}

/// A paste and an undone removal are told nowhere; they show in the item's next edit.
#[test]
fn a_whole_update_of_an_unknown_item_adds_it() {
    let (_server, mut alice, mut bob) = table_for_two();
    alice.send(update("pasted", json!({"_type": "component", "x_mm": 3})));
    let added = bob.expect_command("add_item", "pasted");
    assert_eq!((&added["command"]["data"]["x_mm"], &added["seq"]), (&json!(3), &json!(1)));
    assert_eq!(bob.items(), [item("pasted", 3)]);
    alice.send(remove("pasted"));
    bob.expect_command("remove_item", "pasted");
    alice.send(update("pasted", json!({"_type": "component", "x_mm": 4})));
    bob.expect_command("add_item", "pasted");
    assert_eq!(bob.items(), [item("pasted", 4)], "who removed it may bring it back");
}

#[test]
fn who_speaks_of_an_item_that_somebody_else_removed_is_told_so() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({"x_mm": 1})), remove("lens-1")]);
    let whole = json!({"_type": "component", "x_mm": 2});
    for told in [
        update("lens-1", json!({"x_mm": 2})),
        update("lens-1", whole.clone()),
        command("move_item", "lens-1", whole),
        move_to("lens-1", 3.0),
    ] {
        bob.send(told);
        bob.expect_command("remove_item", "lens-1");
    }
    nothing_more([&mut alice, &mut bob]);
    assert_eq!(alice.items(), Vec::<Value>::new());
}

/// It chooses its ids itself, and was told that this one is free.
#[test]
fn a_script_may_add_an_item_again_that_somebody_else_removed() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({})), remove("lens-1")]);
    relayed(&mut bob, &mut alice, [add("lens-1", json!({"x_mm": 2}))]);
    assert_eq!(alice.items().len(), 1);
}

#[test]
fn everyone_who_removed_an_item_may_bring_it_back() {
    let (server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({})), remove("lens-1")]);
    bob.send(remove("lens-1"));
    let whole = update("lens-1", json!({"_type": "component", "x_mm": 2}));
    bob.send(whole.clone());
    alice.expect_command("add_item", "lens-1");
    bob.send(remove("lens-1"));
    alice.expect_command("remove_item", "lens-1");
    nothing_more([&mut alice, &mut bob]);
    let mut carol = Client::join(&server, "table", "carol");
    carol.send(whole);
    carol.expect_command("remove_item", "lens-1");
    assert_eq!(carol.items(), Vec::<Value>::new());
}

#[test]
fn another_action_is_relayed_but_not_applied() {
    let (_server, mut alice, mut bob) = table_for_two();
    relayed(&mut alice, &mut bob, [add("lens-1", json!({"x_mm": 1}))]);
    let before = bob.document();
    let unknown =
        json!({"type": "command", "command": {"action": "group_items", "members": ["lens-1"]}});
    alice.send(unknown.clone());
    let relayed = bob.expect("command");
    assert_eq!((&relayed["command"], relayed.get("seq")), (&unknown["command"], None));
    assert_eq!(bob.document()["version"], before["version"]);
}

#[test]
fn the_version_grows_with_every_applied_change() {
    let (_server, mut alice, mut bob) = table_for_two();
    let mut last = 0;
    let changes = [
        add("lens-1", json!({})),
        update("lens-1", json!({"n": 1})),
        move_to("lens-1", 2.0),
        remove("lens-1"),
    ];
    for change in changes {
        relayed(&mut alice, &mut bob, [change]);
        let version = bob.document()["version"].as_u64().expect("a number");
        assert!(version > last);
        last = version;
    }
}

#[test]
fn the_version_is_never_behind_what_a_client_sent() {
    let (_server, mut alice, mut bob) = table_for_two();
    for sent in [41u64, 7, 9_007_199_254_740_000] {
        let state = json!({"items": [{"uuid": "lens-1"}], "version": sent});
        alice.send(json!({"type": "sync:update", "state": state}));
        assert!(alice.document()["version"].as_u64() >= Some(sent.max(41)));
    }
    bob.expect_command("add_item", "lens-1");
    bob.send(add("lens-2", json!({})));
    alice.expect_command("add_item", "lens-2");
    assert!(alice.document()["version"].as_u64() > Some(9_007_199_254_740_000));
}

#[test]
fn numbers_keep_the_form_in_which_they_were_written() {
    let (_server, mut alice, mut bob) = table_for_two();
    let fields = concat!(
        r#""x_mm":1.50,"y_mm":-0.0,"angle_deg":1E2,"serial":9007199254740993,"#,
        r#""max":18446744073709551616,"tiny":1e-300,"list":[1.0,2.10]"#
    );
    alice.send_text(&format!(
        r#"{{"type":"command","extra":1.10,"command":{{"action":"add_item","item_type":"component",
        "item_id":"lens-1","data":{{{fields}}}}}}}"#
    ));
    let relayed = bob.next_text();
    assert!(relayed.contains(fields) && relayed.contains(r#""extra":1.10"#), "{relayed}");
    bob.send(json!({"type": "sync:request"}));
    let state = bob.next_text();
    for field in fields.split(",\"") {
        assert!(state.contains(field), "{field} in {state}");
    }
}

#[test]
fn unknown_fields_are_kept_and_passed_on() {
    let (_server, mut alice, mut bob) = table_for_two();
    let mut sent = add("lens-1", json!({"future": {"deep": [null, true, "ü\u{2028}"]}}));
    sent["trace"] = json!({"hop": [1, 2]});
    sent["command"]["undo_group"] = json!("g-7");
    alice.send(sent.clone());
    let relayed = bob.expect("command");
    is_relayed(&relayed["command"], &sent["command"]);
    assert_eq!(relayed["trace"], sent["trace"]);
    assert_eq!(bob.items()[0]["future"], sent["command"]["data"]["future"]);
}

#[test]
fn of_a_field_that_stands_twice_the_last_one_counts_everywhere() {
    let (_server, mut alice, mut bob) = table_for_two();
    alice.send_text(
        r#"{"type":"chat","type":"command","command":7,"command":{"action":"x","action":"add_item",
        "item_id":"no","item_id":"lens-1","data":{"x_mm":"no","x_mm":1,"x_mm":2}}}"#,
    );
    let text = bob.next_text();
    for field in ["\"type\"", "\"command\":", "\"action\"", "\"item_id\""] {
        assert_eq!(text.matches(field).count(), 1, "{text}");
    }
    let relayed: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&relayed["type"], &relayed["command"]["item_id"]),
        (&json!("command"), &json!("lens-1"))
    );
    assert_eq!((&bob.items()[0]["uuid"], &bob.items()[0]["x_mm"]), (&json!("lens-1"), &json!(2)));
}

#[test]
fn a_change_beyond_the_documents_bound_is_refused_and_nothing_of_it_happens() {
    let server = Server::start(&["--no-settle", "--max-document-bytes", "4KiB"]);
    let [mut alice, mut bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    relayed(&mut alice, &mut bob, [add("lens-1", json!({"note": "x".repeat(2000)}))]);
    let before = bob.document();
    let too_much = "x".repeat(3000);
    for (n, refused) in
        [add("lens-2", json!({"note": too_much})), update("lens-1", json!({"more": too_much}))]
            .into_iter()
            .enumerate()
    {
        alice.send(with_id(refused, n));
        let error = alice.expect_error("document_full");
        assert_eq!((&error["code"], &error["original_type"]), (&json!(413), &json!("command")));
        assert_eq!(error["id"], n);
    }
    let state =
        json!({"items": [{"uuid": "a", "note": too_much}, {"uuid": "b", "note": too_much}]});
    alice.send(json!({"type": "sync:update", "state": state}));
    assert_eq!(alice.expect_error("document_full")["original_type"], "sync:update");
    nothing_more([&mut alice, &mut bob]);
    let after = bob.document();
    assert_eq!((&after["items"], &after["version"]), (&before["items"], &before["version"]));
    relayed(&mut alice, &mut bob, [remove("lens-1"), add("lens-2", json!({"note": too_much}))]);
}
