//! What an operator does to sessions: renaming them, bringing a removed item back, ending a connection.

use collabd::hub::{ConnId, Event, Limits, Refusal, TooBig};
use serde_json::{Value, json};

use crate::keeping::{command, member};
use crate::rig::*;

fn rename(rig: &mut Rig, session: &str, to: &str) -> ConnId {
    let conn = rig.conn();
    rig.handle(Event::Rename { conn, session: session.into(), to: to.into() });
    conn
}

fn bring_back(rig: &mut Rig, session: &str, item: &str) -> ConnId {
    let conn = rig.conn();
    let (session, item, by) = (session.into(), item.into(), "operator".into());
    rig.handle(Event::RestoreItem { conn, session, item, by });
    conn
}

fn items(rig: &Rig, session: &str) -> Vec<Value> {
    let mut json = Vec::new();
    let document = rig.hub.document(session).expect("it is in memory");
    document.write_state(&mut json, rig.wall());
    let mut state: Value = serde_json::from_slice(&json).expect("JSON");
    serde_json::from_value(state["items"].take()).expect("a list")
}

/// A session with one item, which its only member leaves.
fn left_session(rig: &mut Rig, name: &str) {
    let alice = member(rig, name, "alice");
    rig.tell(alice, command("add_item", name, json!({"x_mm": 1})));
    rig.gone(alice);
    rig.all();
}

#[test]
fn a_stored_session_is_renamed_with_all_it_has() {
    let mut rig = Rig::durable();
    left_session(&mut rig, "old");
    let conn = rename(&mut rig, "old", "new");
    assert_eq!(rig.on(conn), [Done::Renaming]);
    // Meanwhile nobody gets either of them, and everybody who asks waits.
    let alice = rig.join_session("new", "alice", None);
    let bob = rig.join_session("old", "bob", None);
    assert_eq!(rig.all(), []);
    let refused = rename(&mut rig, "new", "third");
    assert_eq!(rig.on(refused), [Done::Refused(Refusal::InUse)]);
    rig.commit();
    assert_eq!(rig.on(conn), [Done::Answered(json!({"session_id": "new", "renamed_from": "old"}))]);
    rig.commit();
    assert_eq!((rig.told(alice)[0].as_str(), items(&rig, "new").len()), ("Admitted", 1));
    assert_eq!(items(&rig, "old").len(), 0, "it begins anew");
    let new = rig.store.kept("new").expect("it is stored");
    assert_eq!((new.seq, new.changes.len()), (1, 1), "with its history");
    assert!(rig.store.kept("old").is_none());
    rig.gone(bob);
}

#[test]
fn a_session_in_memory_is_renamed_and_its_viewers_are_told() {
    let mut rig = Rig::new();
    left_session(&mut rig, "old");
    let viewer = rig.view("old", None);
    rig.all();
    let conn = rename(&mut rig, "old", "new");
    assert!(matches!(rig.on(viewer)[..], [Done::Closed(1000, "the session has ended")]));
    assert!(matches!(rig.on(conn)[..], [Done::Answered(_)]));
    assert!(rig.hub.document("old").is_none());
    assert_eq!(items(&rig, "new").len(), 1);
    // It lingers as ever, and is then forgotten.
    rig.pass(600_000);
    assert!(rig.hub.document("new").is_none());
}

#[test]
fn a_renamed_session_goes_on_where_it_was() {
    let mut rig = Rig::new();
    left_session(&mut rig, "old");
    rename(&mut rig, "old", "new");
    let [alice, bob] = ["alice", "bob"].map(|user| member(&mut rig, "new", user));
    rig.tell(alice, command("move_item", "old", json!({"x_mm": 2})));
    let told = rig.texts(bob);
    let moved = told.iter().find(|told| told["type"] == "command").expect("it is told");
    assert_eq!((&moved["seq"], &items(&rig, "new")[0]["x_mm"]), (&json!(2), &json!(2)));
}

#[test]
fn a_name_that_is_taken_and_a_session_in_use_are_refused() {
    for mut rig in [Rig::new(), Rig::durable()] {
        let alice = member(&mut rig, "used", "alice");
        rig.tell(alice, command("add_item", "a", json!({})));
        ["left", "other"].into_iter().for_each(|name| left_session(&mut rig, name));
        for (session, to, why) in [
            ("used", "free", Refusal::InUse),
            ("left", "used", Refusal::NameTaken),
            ("left", "other", Refusal::NameTaken),
            ("left", "left", Refusal::NameTaken),
            ("none", "free", Refusal::Unknown),
        ] {
            let conn = rename(&mut rig, session, to);
            assert_eq!(rig.on(conn), [Done::Refused(why)], "{session} {to}");
        }
        // Nobody has done anything there.
        let bob = member(&mut rig, "empty", "bob");
        rig.gone(bob);
        let conn = rename(&mut rig, "left", "empty");
        assert!(matches!(rig.on(conn)[..], [Done::Answered(_) | Done::Renaming]));
    }
}

#[test]
fn nothing_is_renamed_while_the_disk_fails_and_both_names_go_on_after_that() {
    let mut rig = Rig::durable();
    left_session(&mut rig, "old");
    rig.handle(Event::Durable(false));
    let conn = rename(&mut rig, "old", "new");
    assert_eq!(rig.on(conn), [Done::Refused(Refusal::NotWritten)]);
    rig.handle(Event::Durable(true));
    let conn = rename(&mut rig, "old", "new");
    let alice = rig.join_session("old", "alice", None);
    let (session, to) = ("old".into(), "new".into());
    rig.handle(Event::Renamed { conn, session, to, is_done: false });
    assert_eq!(rig.on(conn), [Done::Renaming, Done::Refused(Refusal::NotWritten)]);
    rig.store = crate::store::ModelStore::default();
    assert_eq!(rig.on(NOBODY).last(), Some(&Done::Loading("old".into())));
    rig.gone(alice);
}

#[test]
fn a_removed_item_comes_back_as_it_was_for_everybody() {
    for mut rig in [Rig::new(), Rig::durable()] {
        let [alice, bob] = ["alice", "bob"].map(|user| member(&mut rig, "bench", user));
        let viewer = rig.view("bench", None);
        rig.tell(alice, command("add_item", "a", json!({"x_mm": 1.50, "name": "L1"})));
        rig.tell(bob, command("move_item", "a", json!({"x_mm": 2.50})));
        let before = items(&rig, "bench");
        rig.tell(alice, command("remove_item", "a", json!({})));
        rig.all();
        let conn = bring_back(&mut rig, "bench", "a");
        let Done::Answered(answer) = &rig.on(conn)[0] else { panic!("no answer") };
        assert_eq!((&answer["seq"], &answer["session_id"]), (&json!(4), &json!("bench")));
        assert_eq!(items(&rig, "bench"), before, "digit by digit");
        for told in [alice, bob, viewer] {
            let texts = rig.texts(told);
            let added = texts.iter().find(|told| told["seq"] == 4).expect("it is told");
            assert_eq!(added["command"]["action"], "add_item");
            assert_eq!(added["user_id"], "operator");
        }
        let again = bring_back(&mut rig, "bench", "a");
        assert_eq!(rig.on(again), [Done::Refused(Refusal::ItemExists)]);
        let unknown = bring_back(&mut rig, "bench", "b");
        assert_eq!(rig.on(unknown), [Done::Refused(Refusal::ItemNotKept)]);
        let nowhere = bring_back(&mut rig, "none", "a");
        assert_eq!(rig.on(nowhere), [Done::Refused(Refusal::Unknown)]);
        assert!(rig.hub.document("none").is_none(), "no session begins by it");
    }
}

#[test]
fn a_removed_item_outlives_a_restart_whether_its_removal_or_a_whole_document_is_stored() {
    for is_whole in [false, true] {
        let mut rig = Rig::durable();
        let alice = member(&mut rig, "bench", "alice");
        rig.tell(alice, command("add_item", "a", json!({"x_mm": 1.50})));
        let before = items(&rig, "bench");
        rig.tell(alice, command("remove_item", "a", json!({})));
        if is_whole {
            let state = json!({"items": [{"uuid": "b"}], "version": 1});
            rig.tell(alice, json!({"type": "sync:update", "state": state}));
        }
        rig.commit();
        rig.restart(Limits { durable: true, ..limits() });
        rig.all();
        let conn = bring_back(&mut rig, "bench", "a");
        assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))]);
        rig.commit();
        assert!(matches!(rig.on(conn)[..], [Done::Answered(_)]), "{is_whole}");
        assert_eq!(items(&rig, "bench").last(), before.first());
    }
}

#[test]
fn what_a_replaced_canvas_removed_comes_back_unless_there_is_no_room() {
    let document = collabd::hub::DocumentBounds { item: 100, document: 150 };
    let mut rig = Rig::with(Limits { document, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    let text = "x".repeat(40);
    rig.tell(alice, command("add_item", "a", json!({"text": text})));
    let other = json!({"items": [{"uuid": "b", "text": text}], "version": 1});
    rig.tell(alice, json!({"type": "sync:update", "state": other}));
    let conn = bring_back(&mut rig, "bench", "a");
    let why = Refusal::TooBig(TooBig::Document(150));
    assert_eq!(rig.on(conn), [Done::Refused(why)]);
    rig.tell(alice, command("remove_item", "b", json!({})));
    let conn = bring_back(&mut rig, "bench", "a");
    assert!(matches!(rig.on(conn)[..], [Done::Answered(_)]));
    assert_eq!(items(&rig, "bench")[0]["uuid"], "a");
}

#[test]
fn a_connection_is_ended_with_words_and_the_others_hear_that_its_user_left() {
    let mut rig = Rig::new();
    let [alice, bob] = ["alice", "bob"].map(|user| member(&mut rig, "bench", user));
    let viewer = rig.view("bench", None);
    rig.all();
    let end = |rig: &mut Rig, target: ConnId| {
        let conn = rig.conn();
        rig.handle(Event::EndConnection { conn, target });
        conn
    };
    for target in [alice, viewer] {
        let conn = end(&mut rig, target);
        assert_eq!(
            rig.on(target).last(),
            Some(&Done::Closed(1008, "ended by the operator of this server"))
        );
        let answer = json!({"connection": target.0, "ended": true});
        assert_eq!(rig.on(conn), [Done::Answered(answer)]);
    }
    let told = rig.texts(bob);
    assert_eq!((&told[0]["type"], &told[0]["user_id"]), (&json!("user:left"), &json!("alice")));
    for target in [alice, ConnId(999)] {
        let conn = end(&mut rig, target);
        assert_eq!(rig.on(conn), [Done::Refused(Refusal::NoSuchConnection)]);
    }
    // Its user may come back.
    let again = rig.join_session("bench", "alice", None);
    assert_eq!(rig.told(again)[0], "Admitted");
}
