//! Which of several copies of an item an editor speaks of, and what a copy shows that was built before the item
//! was removed and came back.

use collabd::hub::ConnId;
use serde_json::{Value, json};

use crate::editors::*;
use crate::rig::{Rig, reader};

/// Where the first interface begins of what a connection was told of `m` last.
fn told_x1(rig: &mut Rig, conn: ConnId) -> Value {
    let (_, _, data) = told(rig, conn).pop().expect("it was told");
    data["interfaces"][0]["x1_mm"].clone()
}

/// A lens with a picture whose first interface is in its middle: all copies of it stand alike.
fn lens(id: &str, x: f64) -> Value {
    with(moved_mirror(id, x), "category", json!("lenses"))
}

#[test]
fn a_copy_from_a_file_says_nothing_of_the_one_that_messages_reach() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[mirror("m", 1.0)]);
    let bob = host(&mut rig, "bob", &[source("own", 1.0)]);
    rig.receive(bob);
    // Bob opens a file that has the mirror, and drags that one.
    rig.tell(bob, says("move_item", &mirror("m", 2.0)));
    assert_eq!(field(&rig, "m", "x_mm"), 2.0);
    rig.all();
    rig.tell(alice, says("move_item", &with(mirror("m", 3.0), "name", json!("M2"))));
    assert_eq!(told_x1(&mut rig, bob), 0.0, "the other one was built from a message");
    // It has been in the map all the time, and is not what his editor built, either.
    rig.receive(bob);
    rig.gone(alice);
    rig.all();
    rig.tell(bob, canvas(&[source("own", 1.0), moved_mirror("m", 3.0)], "carol"));
    assert_eq!(field(&rig, "m", "interfaces")[0]["x1_mm"], -25.0);
}

#[test]
fn a_copy_from_a_file_is_the_one_that_hears_after_the_editor_has_looked_again() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[mirror("m", 1.0)]);
    let bob = host(&mut rig, "bob", &[source("own", 1.0)]);
    rig.tell(bob, says("move_item", &mirror("m", 2.0)));
    // What he pastes is not in the map: he is greeted again, and his editor looks through its canvas.
    rig.tell(bob, says("update_item", &source("pasted", 1.0)));
    rig.tell(bob, request("bob"));
    rig.receive(bob);
    rig.all();
    rig.tell(alice, says("move_item", &with(mirror("m", 3.0), "name", json!("M2"))));
    assert_eq!(told_x1(&mut rig, bob), -25.0);
}

#[test]
fn a_refused_list_tells_how_copies_came_to_be() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[mirror("m", 1.0)]);
    let bob = host(&mut rig, "bob", &[source("own", 1.0)]);
    // Only the host's list is taken; but the copy in Bob's is one that he has opened.
    rig.tell(bob, canvas(&[source("own", 1.0), mirror("m", 1.0)], "carol"));
    assert_eq!(rig.told(bob), ["not_host"]);
    rig.pass(300);
    assert_eq!(told_x1(&mut rig, bob), -25.0, "he is told at once");
    rig.tell(alice, says("move_item", &with(mirror("m", 3.0), "name", json!("M2"))));
    assert_eq!(told_x1(&mut rig, bob), -25.0);
}

#[test]
fn what_a_watcher_has_removed_is_built_from_a_message() {
    let mut rig = rig();
    host(&mut rig, "alice", &[mirror("m", 1.0)]);
    let watcher = rig.join_session("s", "watcher", Some(reader()));
    rig.tell(watcher, request("watcher"));
    rig.tell(watcher, canvas(&[mirror("m", 1.0)], "watcher"));
    rig.receive(watcher);
    rig.all();
    rig.tell(watcher, removes("m"));
    assert_eq!(told_x1(&mut rig, watcher), 0.0);
}

/// Alice has added an item; Bob has removed it; a program has brought it back with another place and name.
fn removed_and_back(rig: &mut Rig, hears: bool) -> ConnId {
    let alice = host(rig, "alice", &[]);
    let bob = guest(rig, "bob");
    let eve = script(rig, "eve");
    rig.tell(alice, says("add_item", &with(lens("l", 1.0), "z_value", json!(4.0))));
    rig.receive(bob);
    rig.receive(eve);
    rig.tell(bob, removes("l"));
    rig.receive(eve);
    rig.tell(eve, says("add_item", &with(lens("l", 9.0), "name", json!("again"))));
    if hears {
        rig.receive(alice);
        rig.pass(3000);
        rig.receive(alice);
    }
    assert_eq!((field(rig, "l", "x_mm"), field(rig, "l", "z_value")), (json!(9.0), json!(0.0)));
    rig.all();
    alice
}

#[test]
fn the_dialog_of_an_item_that_was_removed_writes_what_was_typed_and_no_more() {
    for hears in [true, false] {
        let mut rig = rig();
        let alice = removed_and_back(&mut rig, hears);
        let old = with(lens("l", 1.0), "z_value", json!(4.0));
        rig.tell(alice, says("update_item", &with(old, "object_height_mm", json!(33.0))));
        let shown =
            ["x_mm", "z_value", "name", "object_height_mm"].map(|key| field(&rig, "l", key));
        assert_eq!(shown, [json!(9.0), json!(0.0), json!("again"), json!(33.0)], "{hears}");
        rig.pass(300);
        let (_, _, data) = told(&mut rig, alice).pop().expect("hers is another one");
        assert_eq!(data["object_height_mm"], 33.0);
    }
}

/// Her canvas was built anew while the dialog was open.
#[test]
fn the_dialog_of_a_copy_that_was_replaced_takes_back_no_place() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &lens("l", 1.0)));
    rig.receive(bob);
    rig.gone(alice);
    let alice = guest(&mut rig, "alice");
    rig.tell(bob, says("move_item", &with(lens("l", 9.0), "name", json!("moved"))));
    for _ in 0..4 {
        rig.pass(1000);
        rig.receive(alice);
        rig.receive(bob);
    }
    rig.tell(alice, says("update_item", &with(lens("l", 1.0), "object_height_mm", json!(33.0))));
    let shown = ["x_mm", "name", "object_height_mm"].map(|key| field(&rig, "l", key));
    assert_eq!(shown, [json!(9.0), json!("moved"), json!(33.0)]);
}

#[test]
fn a_dialog_of_before_says_nothing_of_the_copy_that_hears_after_the_editor_has_looked_again() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &mirror("m", 1.0)));
    rig.receive(bob);
    rig.tell(bob, removes("m"));
    let eve = script(&mut rig, "eve");
    rig.tell(eve, says("add_item", &mirror("m", 9.0)));
    rig.receive(alice);
    rig.pass(3000);
    rig.receive(alice);
    rig.tell(alice, says("update_item", &with(mirror("m", 1.0), "name", json!("typed"))));
    // What she pastes has her editor look through its canvas: the copy of before isn't on it.
    rig.tell(alice, says("update_item", &source("pasted", 1.0)));
    rig.tell(alice, request("alice"));
    rig.receive(alice);
    rig.all();
    rig.tell(eve, says("update_item", &json!({"item_uuid": "m", "z_value": 3.0})));
    assert_eq!(told_x1(&mut rig, alice), 0.0);
}

#[test]
fn what_was_refused_while_the_item_was_gone_is_of_before_too() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &lens("l", 1.0)));
    rig.receive(bob);
    rig.tell(bob, removes("l"));
    rig.tell(alice, says("update_item", &with(lens("l", 1.0), "name", json!("too late"))));
    rig.tell(bob, says("update_item", &lens("l", 1.0)));
    let edited = with(lens("l", 1.0), "name", json!("too late"));
    rig.tell(alice, says("update_item", &with(edited, "object_height_mm", json!(33.0))));
    let shown = ["name", "object_height_mm"].map(|key| field(&rig, "l", key));
    assert_eq!(shown, [json!("M1"), json!(33.0)]);
}

#[test]
fn a_list_from_before_an_item_was_removed_takes_nothing_back() {
    let mut rig = rig();
    let alice = removed_and_back(&mut rig, false);
    let old = with(lens("l", 1.0), "z_value", json!(4.0));
    rig.tell(alice, canvas(&[with(old, "notes", json!("kept"))], "carol"));
    let shown = ["x_mm", "z_value", "name", "notes"].map(|key| field(&rig, "l", key));
    assert_eq!(shown, [json!(9.0), json!(0.0), json!("again"), json!("kept")]);
}

#[test]
fn what_somebody_has_pasted_is_never_blank() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[]);
    rig.tell(alice, says("update_item", &lens("pasted", 1.0)));
    rig.tell(alice, says("update_item", &with(lens("pasted", 1.0), "name", Value::Null)));
    assert_eq!(field(&rig, "pasted", "name"), Value::Null);
    // Nor is it once her editor has looked through its canvas again.
    let named = |name| with(lens("pasted", 1.0), "name", name);
    rig.tell(alice, says("update_item", &named(json!("M2"))));
    rig.tell(alice, request("alice"));
    rig.tell(alice, says("update_item", &named(Value::Null)));
    assert_eq!(field(&rig, "pasted", "name"), Value::Null);
}

#[test]
fn a_canvas_that_comes_back_takes_nothing_of_others_for_its_owners_change_of_mind() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let bob = guest(&mut rig, "bob");
    rig.tell(bob, says("move_item", &with(source("a", 2.0), "color_hex", json!("#dc143c"))));
    rig.tell(alice, says("move_item", &source("a", 3.0)));
    // She hears of Bob's after that, and loses the connection before she hears how it ended.
    rig.gone(alice);
    host(&mut rig, "alice", &[source("a", 2.0)]);
    assert_eq!(field(&rig, "a", "x_mm"), 3.0);
    assert_eq!(writer_of(&rig, "a", "x_mm"), "alice");
}

fn writer_of(rig: &Rig, item: &str, key: &str) -> String {
    let item = rig.hub.document("s").expect("it is there").get(item).expect("it is there");
    item.field(key).expect("it has one").writer.to_string()
}

#[test]
fn a_blank_copy_of_what_stands_behind_everything_has_no_layer_of_its_own() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[]);
    let bob = guest(&mut rig, "bob");
    let table = with(with(mirror("t", 1.0), "interfaces", json!([])), "z_value", json!(-10.0));
    rig.tell(alice, says("add_item", &table));
    let blank = json!({"_type": "component", "item_uuid": "t", "x_mm": 50.0, "y_mm": 7.0,
                       "angle_deg": 0.0, "locked": false, "z_value": 0.0});
    rig.tell(bob, says("move_item", &blank));
    assert_eq!(
        (field(&rig, "t", "x_mm"), field(&rig, "t", "z_value")),
        (json!(50.0), json!(-10.0))
    );
}

#[test]
fn what_is_typed_into_the_dialog_of_a_blank_copy_is_no_choice() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[]);
    let bob = guest(&mut rig, "bob");
    rig.tell(alice, says("add_item", &mirror("m", 1.0)));
    let blank = json!({"_type": "component", "item_uuid": "m", "x_mm": 50.0, "y_mm": 7.0,
                       "angle_deg": 0.0, "interfaces": [], "object_height_mm": 33.0, "name": "typed"});
    rig.tell(bob, says("move_item", &blank));
    let shown = ["x_mm", "name", "object_height_mm"].map(|key| field(&rig, "m", key));
    assert_eq!(shown, [json!(50.0), json!("M1"), Value::Null]);
}

#[test]
fn an_editor_whose_copy_lacks_a_field_is_told() {
    let mut rig = rig();
    let alice = host(&mut rig, "alice", &[source("a", 1.0)]);
    let eve = script(&mut rig, "eve");
    let data = json!({"serial": 7});
    let command = json!({"action": "update_item", "item_id": "a", "data": data});
    rig.tell(eve, json!({"type": "command", "command": command}));
    rig.pass(3000);
    rig.receive(alice);
    rig.pass(3000);
    rig.receive(alice);
    rig.all();
    // She has opened a file from before.
    rig.tell(alice, says("move_item", &source("a", 2.0)));
    rig.pass(300);
    let (_, _, data) = told(&mut rig, alice).pop().expect("it is to be shown there, too");
    assert_eq!(data["serial"], 7);
}
