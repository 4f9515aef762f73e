//! Coming back to a session that everyone had left: without a canvas, with the same one, with another
//! one (PROTOCOL.md §2.1, §2.3).

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Client, SAFETY_NET, Server, Wire, add, handshake, item, move_to, remove};

/// Leaves a session behind in which `alice` shared these items and nobody is left.
fn left_behind(server: &Server, items: Value) -> Value {
    let mut alice = Client::host(server, "table", "alice", items);
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    let ack = alice.ack().clone();
    alice.leave();
    ack
}

#[test]
fn a_session_lingers_when_its_last_member_has_left() {
    let server = Server::start(&["--no-settle"]);
    let ack = left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    assert_eq!((&bob.ack()["epoch"], &bob.ack()["seq"]), (&ack["epoch"], &json!(1)));
    assert_eq!(bob.ack()["is_host"], true);
    assert_eq!(bob.items(), [item("a", 1)]);
}

#[test]
fn with_linger_0_a_session_is_removed_at_once() {
    let server = Server::start(&["--no-settle", "--linger", "0"]);
    let before = left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    assert_ne!(bob.ack()["epoch"], before["epoch"]);
    assert_eq!(bob.ack()["seq"], 0);
    assert_eq!(bob.items(), [] as [Value; 0]);
}

#[test]
fn a_session_that_has_lingered_long_enough_is_removed() {
    let server = Server::start(&["--no-settle", "--linger", "0.2", "--max-sessions", "1"]);
    // What two have made doesn't make way before its time.
    let [mut alice, bob] = Client::join_all(&server, "table", ["alice", "bob"]);
    bob.leave();
    alice.expect("user:left");
    alice.leave();
    let before = left_behind(&server, json!([item("a", 1), item("b", 2)]));
    // Knocking at the session itself would keep it; there is room for another one once it is gone.
    let began = Instant::now();
    while Wire::ask_for(&server, &handshake("/ws/other/bob")) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "it is not removed");
    }
    let knock = handshake("/ws/table/bob");
    while Wire::ask_for(&server, &knock) != 101 {
        assert!(began.elapsed() < SAFETY_NET, "the other one, which is empty, is in the way");
    }
    let carol = Client::join(&server, "table", "carol");
    assert_ne!(carol.ack()["epoch"], before["epoch"]);
    assert_eq!(carol.ack()["seq"], 0);
}

#[test]
fn whoever_comes_back_in_time_keeps_the_session() {
    let server = Server::start(&["--no-settle", "--linger", "60"]);
    let before = left_behind(&server, json!([item("a", 1)]));
    for user in ["bob", "carol", "bob", "alice"] {
        let mut visitor = Client::join(&server, "table", user);
        assert_eq!(visitor.ack()["epoch"], before["epoch"]);
        assert_eq!(visitor.items(), [item("a", 1)]);
        visitor.leave();
    }
}

/// Leaves this behind, has somebody do something who is alone meanwhile, and comes back with this
/// canvas: what Alice is told of it, as commands, and the document then.
fn away(behind: Value, meanwhile: &[Value], canvas: Value) -> (Vec<(String, String)>, Value) {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, behind);
    let mut bob = Client::join(&server, "table", "bob");
    meanwhile.iter().for_each(|command| bob.send(command.clone()));
    bob.told();
    bob.leave();
    let mut alice = Client::host(&server, "table", "alice", canvas);
    assert_eq!(alice.expect("sync:state").get("state"), Some(&Value::Null));
    let told = alice.told_commands();
    let late = Client::join(&server, "table", "late");
    (told, late.greeting[2]["state"]["items"].clone())
}

fn commands(commands: &[(&str, &str)]) -> Vec<(String, String)> {
    commands.iter().map(|(action, id)| (action.to_string(), id.to_string())).collect()
}

#[test]
fn who_comes_back_with_the_same_canvas_is_told_nothing() {
    let canvas = json!([item("a", 1)]);
    assert_eq!(away(canvas.clone(), &[], canvas.clone()), (vec![], canvas));
}

#[test]
fn what_others_added_meanwhile_is_told_as_commands() {
    let added = away(json!([item("a", 1)]), &[add("b", item("b", 2))], json!([item("a", 1)]));
    assert_eq!(added, (commands(&[("add_item", "b")]), json!([item("a", 1), item("b", 2)])));
}

#[test]
fn what_others_changed_meanwhile_stays_and_is_told() {
    let (told, items) =
        away(json!([item("a", 1)]), &[move_to("a", 5.0)], json!([item("a", 1), item("c", 3)]));
    assert_eq!(told, commands(&[("update_item", "a"), ("update_item", "a")]));
    assert_eq!((&items[0]["x_mm"], &items[1]), (&json!(5.0), &item("c", 3)));
}

#[test]
fn what_others_removed_meanwhile_stays_removed_and_is_told() {
    let both = json!([item("a", 1), item("b", 2)]);
    let removed = away(both.clone(), &[remove("a")], both);
    assert_eq!(removed, (commands(&[("remove_item", "a")]), json!([item("b", 2)])));
}

#[test]
fn what_its_owner_changed_meanwhile_counts() {
    let changed = away(json!([item("a", 1)]), &[], json!([item("a", 7)]));
    assert_eq!(changed, (vec![], json!([item("a", 7)])));
}

/// It listed it on an earlier connection; on this one it may never have had it.
#[test]
fn an_item_that_is_missing_from_the_canvas_stays_and_is_told() {
    let (told, items) =
        away(json!([item("a", 1), item("b", 2)]), &[], json!([item("b", 2), item("c", 3)]));
    assert_eq!(told, commands(&[("add_item", "a")]));
    assert_eq!(items, json!([item("a", 1), item("b", 2), item("c", 3)]));
}

#[test]
fn an_empty_canvas_removes_nothing() {
    let (told, items) = away(json!([item("a", 1)]), &[], json!([]));
    assert_eq!((told, items), (commands(&[("add_item", "a")]), json!([item("a", 1)])));
}

#[test]
fn a_canvas_that_has_none_of_the_documents_items_is_a_new_design() {
    let (told, items) = away(json!([item("a", 1), item("b", 2)]), &[], json!([item("c", 3)]));
    assert_eq!((told, items), (vec![], json!([item("c", 3)])));
}

#[test]
fn who_is_not_alone_never_replaces_the_document() {
    let server = Server::start(&["--no-settle"]);
    left_behind(&server, json!([item("a", 1)]));
    let mut bob = Client::join(&server, "table", "bob");
    let mut carol = Client::host(&server, "table", "carol", json!([item("c", 3)]));
    assert_eq!(carol.expect("sync:state").get("state"), Some(&Value::Null));
    assert_eq!(carol.told_commands(), commands(&[("add_item", "a")]));
    bob.expect("user:joined");
    assert_eq!(bob.told_commands(), commands(&[("add_item", "c")]));
    assert_eq!(bob.items(), [item("a", 1), item("c", 3)]);
}
