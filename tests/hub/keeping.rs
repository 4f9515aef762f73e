//! What of a session has to survive: said once, in order, before anybody is told of it.

use std::time::Duration;

use collabd::hub::{ConnId, Event, Limits};
use serde_json::{Value, json};

use crate::rig::*;

pub fn command(action: &str, item: &str, data: Value) -> Value {
    json!({"type": "command", "command": {"action": action, "item_id": item, "data": data}})
}

pub fn with_id(id: Value, mut message: Value) -> Value {
    message["id"] = id;
    message
}

/// Somebody who is known to be no host and has read everything so far.
pub fn member(rig: &mut Rig, session: &str, user: &str) -> ConnId {
    let conn = rig.join_session(session, user, None);
    rig.commit();
    rig.receive(conn);
    rig.on(conn);
    rig.kept();
    conn
}

fn items(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"uuid": name})).collect()
}

fn canvas(kind: &str, names: &[&str]) -> Value {
    json!({"type": kind, "state": {"items": items(names), "version": 1}})
}

#[test]
fn where_sessions_do_not_survive_nothing_is_kept() {
    let mut rig = Rig::new();
    let alice = rig.join_session("bench", "alice", None);
    rig.tell(alice, with_id(json!(1), command("add_item", "a", json!({}))));
    rig.tell(alice, with_id(json!(2), command("select", "a", json!({}))));
    rig.tell(alice, canvas("sync:update", &["b"]));
    rig.handle(Event::SnapshotRequested { session: "bench".into() });
    rig.handle(Event::Durable(false));
    rig.handle(Event::Durable(true));
    assert_eq!(rig.kept(), [""; 0]);
    assert!(!rig.told(alice).contains(&"not_durable".into()));
}

#[test]
fn a_change_is_kept_before_anybody_hears_of_it() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    rig.all();
    rig.tell(alice, with_id(json!("x"), command("add_item", "a", json!({"n": 1}))));
    let done = rig.all();
    assert_eq!(done[0], (NOBODY, Done::Kept("1 by alice as \"x\"".into())));
    let Done::Told(relayed) = &done[1].1 else { panic!("{done:?}") };
    assert_eq!((done[1].0, &relayed["seq"]), (bob, &json!(1)));
    let Done::Told(confirmed) = &done[2].1 else { panic!("{done:?}") };
    assert_eq!((done[2].0, &confirmed["type"]), (alice, &json!("message_delivered")));
    // As it was relayed.
    rig.commit();
    let kept = rig.store.kept("bench").expect("it was kept");
    assert_eq!(serde_json::from_slice::<Value>(&kept.changes[&1].frame).unwrap(), *relayed);
}

#[test]
fn an_id_that_was_taken_without_a_change_is_kept_once() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    for _ in 0..2 {
        rig.tell(alice, with_id(json!(7), command("select", "a", json!({}))));
        rig.tell(alice, with_id(json!(8), command("remove_item", "unknown", json!({}))));
    }
    assert_eq!(rig.told(alice), ["message_delivered"; 4]);
    assert_eq!(rig.kept(), ["7 of alice at 0", "8 of alice at 0"]);
    rig.tell(alice, command("select", "a", json!({})));
    rig.tell(alice, json!({"type": "chat"}));
    rig.tell(alice, json!({"type": "cursor"}));
    assert_eq!(rig.kept(), [""; 0]);
}

#[test]
fn what_is_refused_is_not_kept() {
    let bounds = collabd::hub::DocumentBounds { item: 100, document: 100 };
    let mut rig = Rig::with(Limits { durable: true, document: bounds, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    let large = json!({"n": "x".repeat(100)});
    rig.tell(alice, with_id(json!(1), command("add_item", "a", large.clone())));
    let state = json!({"items": [{"uuid": "a", "large": large}]});
    rig.tell(alice, json!({"type": "sync:update", "id": 2, "state": state}));
    assert_eq!(rig.told(alice), ["document_full", "document_full"]);
    assert_eq!(rig.kept(), [""; 0]);
}

#[test]
fn a_replaced_document_is_kept_whole() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.tell(alice, with_id(json!(1), canvas("sync:update", &["b"])));
    assert_eq!(
        rig.kept(),
        ["1 by alice", "regular: 0 up to 1", "replaced: 2 up to 3 by alice as 1"],
        "what was before is a version"
    );
    rig.commit();
    let kept = rig.store.kept("bench").expect("it was kept");
    let actions = kept.changes.values().map(|change| {
        let relayed: Value = serde_json::from_slice(&change.frame).expect("JSON");
        relayed["command"]["action"].as_str().expect("a command").to_owned()
    });
    let actions: Vec<String> = actions.collect();
    assert_eq!(actions, ["add_item", "add_item", "remove_item"], "as members were told");
}

#[test]
fn the_id_of_a_state_that_changes_nothing_is_kept_by_itself() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.kept();
    rig.tell(alice, with_id(json!(1), canvas("sync:update", &["a"])));
    assert_eq!(
        rig.kept(),
        ["regular: 0 up to 1", "replaced: 0 up to 1 by alice", "1 of alice at 1"]
    );
}

#[test]
fn a_snapshot_is_kept_whole_with_all_its_changes() {
    let mut rig = Rig::durable();
    let host = rig.join_session("bench", "host", None);
    rig.tell(host, canvas("sync:full_state", &["a", "b"]));
    assert_eq!(rig.kept(), ["snapshot: 2 up to 2 by host"]);
    rig.tell(host, canvas("sync:full_state", &["a", "b"]));
    assert_eq!(rig.kept(), [""; 0], "nothing has changed");
    let mut extra = canvas("sync:full_state", &["a", "b"]);
    extra["state"]["zoom"] = json!(3);
    rig.tell(host, extra.clone());
    assert_eq!(rig.kept(), ["snapshot: 0 up to 2 by host"], "only what is beside the items");
    rig.tell(host, extra);
    assert_eq!(rig.kept(), [""; 0]);
    rig.tell(host, canvas("sync:full_state", &["b", "c", "d"]));
    assert_eq!(rig.kept(), ["snapshot: 3 up to 5 by host"]);
}

#[test]
fn what_a_new_design_replaces_is_a_version() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.gone(alice);
    rig.kept();
    let host = rig.join_session("bench", "host", None);
    let mut design = canvas("sync:full_state", &["b"]);
    design["target_user"] = json!("host");
    rig.tell(host, design);
    assert_eq!(rig.kept(), ["regular: 0 up to 1", "new design: 2 up to 3 by host"]);
    rig.commit();
    let kept = rig.store.kept("bench").unwrap();
    let names = |seq| -> Value {
        let document: Value = serde_json::from_slice(&kept.documents[&seq].1).unwrap();
        document["items"].as_array().unwrap().iter().map(|item| item["uuid"].clone()).collect()
    };
    assert_eq!((names(1), names(3)), (json!(["a"]), json!(["b"])));
}

#[test]
fn a_new_design_gives_way_to_whoever_has_begun_to_work_meanwhile() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.gone(alice);
    rig.pass(1);
    let host = rig.join_session("bench", "host", None);
    let bob = rig.join_session("bench", "bob", None);
    rig.pass(1);
    rig.tell(bob, command("add_item", "c", json!({})));
    let mut design = canvas("sync:full_state", &["b"]);
    design["target_user"] = json!("host");
    rig.tell(host, design);
    let document = rig.hub.document("bench").unwrap();
    let names: Vec<&str> = document.items().map(|item| &*item.id).collect();
    assert_eq!(names, ["a", "c", "b"]);
}

#[test]
fn the_whole_document_is_kept_from_time_to_time() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({"n": 0})));
    for n in 1..2000 {
        rig.tell(alice, command("update_item", "a", json!({"n": n})));
    }
    let regular = |kept: Vec<String>| -> Vec<String> {
        kept.into_iter().filter(|kept| kept.starts_with("regular")).collect()
    };
    assert_eq!(regular(rig.kept()), ["regular: 0 up to 1000", "regular: 0 up to 2000"]);
    // A large one not until the changes are as large: what is written is at most doubled.
    rig.tell(alice, command("add_item", "large", json!({"n": "x".repeat(500_000)})));
    for n in 0..1999 {
        rig.tell(alice, command("update_item", "a", json!({"n": n})));
    }
    assert_eq!(regular(rig.kept()), ["regular: 0 up to 3000"]);
    rig.tell(alice, command("update_item", "a", json!({"long": "x".repeat(400_000)})));
    assert_eq!(regular(rig.kept()), ["regular: 0 up to 4001"]);
}

#[test]
fn of_a_session_where_little_happens_the_document_is_kept_every_ten_minutes() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.pass(599_999);
    rig.tell(alice, command("update_item", "a", json!({})));
    assert_eq!(rig.kept(), ["1 by alice", "2 by alice"]);
    rig.pass(1);
    rig.tell(alice, command("update_item", "a", json!({})));
    assert_eq!(rig.kept(), ["3 by alice", "regular: 0 up to 3"]);
    rig.pass(599_999);
    rig.tell(alice, command("update_item", "a", json!({})));
    assert_eq!(rig.kept(), ["4 by alice"]);
}

#[test]
fn while_the_disk_fails_everyone_is_told_once() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    let watcher = rig.join_session("bench", "watcher", Some(reader()));
    rig.all();
    for _ in 0..2 {
        rig.handle(Event::Durable(false));
    }
    assert_eq!(
        (rig.told(alice), rig.told(watcher)),
        (vec!["not_durable".into()], vec!["not_durable".into()])
    );
    let bob = rig.join_session("bench", "bob", None);
    assert_eq!(rig.told(bob), ["Admitted", "connection:ack", "user:joined", "not_durable"]);
    rig.all();
    rig.handle(Event::Durable(true));
    rig.handle(Event::Durable(true));
    assert_eq!(rig.all(), []);
    let carol = rig.join_session("bench", "carol", None);
    assert!(!rig.told(carol).contains(&"not_durable".into()));
    rig.handle(Event::Durable(false));
    assert_eq!(rig.told(alice).last().unwrap(), "not_durable", "it fails again");
}

#[test]
fn when_the_disk_works_again_what_has_changed_is_kept_whole() {
    let mut rig = Rig::durable();
    let [alice, bob, carol] = [("a", "alice"), ("b", "bob"), ("c", "carol")]
        .map(|(session, user)| member(&mut rig, session, user));
    let add = || command("add_item", "a", json!({}));
    rig.tell(alice, add());
    rig.tell(carol, add());
    rig.pass(60_001);
    rig.tell(carol, command("update_item", "a", json!({})));
    rig.handle(Event::Durable(false));
    rig.tell(bob, add());
    assert_eq!(rig.kept().len(), 4, "it goes on");
    rig.handle(Event::Durable(true));
    let mut kept = rig.kept();
    kept.sort();
    // What was to be kept shortly before may not have been written either.
    assert_eq!(kept, ["regular: 0 up to 1", "regular: 0 up to 2"]);
}

#[test]
fn what_could_not_be_written_stays_in_memory() {
    for linger in [0, 1000] {
        let linger = Duration::from_millis(linger);
        let limits = || Limits { durable: true, linger, max_sessions: 1, ..limits() };
        let mut rig = Rig::with(limits());
        let alice = member(&mut rig, "bench", "alice");
        rig.handle(Event::Durable(false));
        rig.tell(alice, command("add_item", "a", json!({})));
        rig.gone(alice);
        rig.pass(10_000);
        assert!(rig.hub.document("bench").is_some());
        let other = rig.join_session("other", "alice", None);
        assert_eq!(rig.on(other), [Done::Refused(collabd::hub::Refusal::Full)]);
        rig.kept();
        rig.handle(Event::Durable(true));
        assert_eq!(rig.kept(), ["regular: 0 up to 1"]);
        assert!(rig.hub.document("bench").is_none(), "it has lingered");
        member(&mut rig, "bench", "bob");
        assert!(rig.hub.document("bench").unwrap().get("a").is_some());
    }
}

#[test]
fn a_document_that_is_wanted_is_kept() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.kept();
    for session in ["bench", "unknown"] {
        rig.handle(Event::SnapshotRequested { session: session.into() });
    }
    assert_eq!(rig.kept(), ["regular: 0 up to 1"]);
}

#[test]
fn after_a_bug_the_document_is_kept_as_it_is() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.all();
    rig.handle(Event::Failed { conn: alice });
    assert_eq!(rig.kept(), ["regular: 0 up to 1"]);
    assert_eq!(rig.told(bob)[0], "sync:state");
}

/// What only whoever goes on with the session has to know, as soon as there is something to go on with.
#[test]
fn who_has_been_there_and_whose_copies_are_their_own_is_kept() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    assert_eq!(rig.kept_with_notes(), [""; 0], "nothing was done yet");
    rig.tell(alice, command("add_item", "a", json!({"item_type": "source"})));
    assert_eq!(rig.kept_with_notes(), ["1 by alice", r#"{"note":"joined"} of bob at 1"#]);
    member(&mut rig, "bench", "carol");
    let carol = rig.join_session("bench", "carol", None);
    rig.tell(carol, json!({"type": "cursor"}));
    assert_eq!(rig.kept_with_notes(), [""; 0], "carol has been there before");
    rig.tell(bob, command("add_item", "a", json!({"n": 1})));
    let built = r#"{"note":{"built":["a",["alice","bob"]]}} of  at 2"#;
    assert_eq!(rig.kept_with_notes(), ["2 by bob", built]);
    rig.tell(bob, command("remove_item", "a", json!({})));
    rig.tell(alice, command("remove_item", "a", json!({})));
    assert_eq!(
        rig.kept_with_notes(),
        ["3 by bob", r#"{"note":{"removed_again":"a"}} of alice at 3"#]
    );
}
