//! Putting an earlier document, or one from elsewhere, in the place of a session's own.

use collabd::hub::{ConnId, Event, Limits, Refusal, TooBig, replay};
use collabd::protocol::inbound::State;
use serde_json::{Value, json};

use crate::keeping::{command, member};
use crate::rig::*;

fn restore(rig: &mut Rig, session: &str, state: State) -> ConnId {
    let conn = rig.conn();
    let (session, state, by) = (session.into(), Box::new(state), "operator".into());
    rig.handle(Event::Restore { conn, session, state, by });
    conn
}

fn canvas(names: &[&str]) -> State {
    let items: Vec<Value> = names.iter().map(|name| json!({"uuid": name, "n": 1.50})).collect();
    State::parse(&json!({"items": items, "version": 1}).to_string()).expect("a canvas")
}

/// The document as it was after a change.
fn as_of(rig: &mut Rig, session: &str, seq: u64) -> State {
    rig.commit();
    let stored = rig.store.kept(session).expect("it is kept").at(seq).expect("it is complete");
    replay(&stored.document, &stored.changes).expect("it is stored").into_state()
}

fn names(rig: &Rig, session: &str) -> Vec<String> {
    let document = rig.hub.document(session).expect("it is in memory");
    document.items().map(|item| item.id.to_string()).collect()
}

#[test]
fn members_get_what_was_restored_and_what_was_before_is_a_version() {
    let mut rig = Rig::with(Limits { durable: true, settle: true, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    let state = json!({"items": [{"uuid": "a"}], "version": 1, "zoom": 1});
    rig.tell(alice, json!({"type": "sync:update", "state": state}));
    rig.tell(alice, json!({"type": "sync:update", "state": {"items": [{"uuid": "b"}], "grid": 2}}));
    rig.tell(alice, command("add_item", "c", json!({})));
    rig.all();
    let viewer = rig.view("bench", None);
    rig.all();
    let state = as_of(&mut rig, "bench", 1);
    let conn = restore(&mut rig, "bench", state);
    assert_eq!(rig.kept(), ["regular: 0 up to 4", "restored: 3 up to 7 by operator"]);
    let Done::Answered(answer) = &rig.on(conn)[0] else { panic!("no answer") };
    assert_eq!((&answer["session_id"], &answer["seq"]), (&json!("bench"), &json!(7)));
    // Members keep what they have, and are told what to do with it.
    for member in [alice, bob] {
        let told = rig.texts(member);
        let done = told.iter().map(|told| {
            let command = &told["command"];
            (told["seq"].as_u64(), command["action"].as_str(), command["item_id"].as_str())
        });
        let done: Vec<_> = done.collect();
        assert_eq!(
            done,
            [
                (Some(5), Some("add_item"), Some("a")),
                (None, Some("update_item"), Some("a")),
                (Some(6), Some("remove_item"), Some("b")),
                (Some(7), Some("remove_item"), Some("c")),
            ]
        );
        assert_eq!((&told[0]["user_id"], &told[1]["settled"]), (&json!("operator"), &json!(true)));
    }
    // Viewers have nothing to keep.
    let told = rig.texts(viewer);
    let (state, settled, done) = (&told[0], &told[1], &told[2]);
    assert_eq!((&state["type"], &state["seq"]), (&json!("sync:state"), &json!(7)));
    let state = &state["state"];
    assert_eq!(state["items"], json!([{"uuid": "a", "item_type": "component"}]));
    assert_eq!((&state["zoom"], state.get("grid")), (&json!(1), None), "exactly as it was");
    assert!(state["version"].as_u64() > Some(4), "it grows");
    assert_eq!((&settled["settled"], told.len()), (&json!(true), 3));
    assert_eq!((&done["type"], &done["action"]), (&json!("session:activity"), &json!("restore")));
    rig.tell(bob, command("update_item", "a", json!({"n": 1})));
    assert_eq!(rig.kept(), ["8 by bob"]);
}

#[test]
fn what_a_host_shows_from_before_does_not_undo_it() {
    let mut rig = Rig::durable();
    let host = rig.join_session("bench", "host", None);
    let shown = json!({"items": [{"uuid": "a"}], "version": 1});
    let snapshot = json!({"type": "sync:full_state", "state": shown, "target_user": "host"});
    rig.tell(host, snapshot.clone());
    restore(&mut rig, "bench", canvas(&["b"]));
    // Sent before it has heard of it.
    rig.tell(host, snapshot);
    assert_eq!(names(&rig, "bench"), ["b"]);
}

#[test]
fn a_session_that_is_not_in_memory_is_loaded_first() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.commit();
    rig.restart(Limits { durable: true, ..limits() });
    rig.all();
    let conn = restore(&mut rig, "bench", canvas(&["b"]));
    let alice = rig.join_session("bench", "alice", None);
    assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))]);
    rig.commit();
    assert_eq!(rig.kept(), ["regular: 0 up to 1", "imported: 2 up to 3 by operator"]);
    assert!(matches!(rig.on(conn)[..], [Done::Answered(_)]));
    let Done::Told(ack) = &rig.on(alice)[1] else { panic!("no acknowledgement") };
    assert_eq!(ack["seq"], 3);
    assert_eq!(names(&rig, "bench"), ["b"]);
}

#[test]
fn nobody_has_to_be_there_and_it_lingers_as_ever() {
    let mut rig = Rig::durable();
    restore(&mut rig, "new", canvas(&["a"]));
    assert_eq!(rig.kept(), ["imported: 1 up to 1 by operator"], "there was nothing before");
    rig.pass(599_999);
    assert_eq!(names(&rig, "new"), ["a"]);
    rig.pass(1);
    assert!(rig.hub.document("new").is_none());
    restore(&mut rig, "new", canvas(&["b"]));
    rig.commit();
    assert_eq!(names(&rig, "new"), ["b"]);
    rig.pass(600_000);
    assert!(rig.hub.document("new").is_none());
}

#[test]
fn what_can_not_be_done_is_refused() {
    let document = collabd::hub::DocumentBounds { item: 100, document: 100 };
    let mut rig = Rig::with(Limits { durable: true, max_sessions: 1, document, ..limits() });
    let conn = restore(&mut rig, "bench", canvas(&["a", "b", "c", "d", "e", "f"]));
    let why = Refusal::TooBig(TooBig::Document(100));
    assert_eq!(rig.on(conn), [Done::Refused(why)]);
    assert_eq!(rig.kept(), [""; 0]);
    member(&mut rig, "other", "alice");
    let conn = restore(&mut rig, "bench", canvas(&["a"]));
    assert_eq!(rig.on(conn), [Done::Refused(Refusal::Full)]);
    // Who asks no longer when it is loaded changes nothing.
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.commit();
    rig.restart(Limits { durable: true, ..limits() });
    let conn = restore(&mut rig, "bench", canvas(&["b"]));
    rig.gone(conn);
    let alice = rig.join_session("bench", "alice", None);
    rig.commit();
    assert_eq!((names(&rig, "bench"), rig.on(conn)), (vec!["a".to_owned()], vec![]));
    assert_eq!(rig.told(alice)[0], "Admitted");
}

#[test]
fn what_comes_from_elsewhere_replaces_only_what_nobody_has_begun() {
    let mut rig = Rig::durable();
    let import = |rig: &mut Rig, session: &str| {
        let conn = rig.conn();
        let (session, state, by) = (session.into(), Box::new(canvas(&["x"])), "operator".into());
        rig.handle(Event::Import { conn, session, state, by });
        rig.on(conn)
    };
    assert!(matches!(import(&mut rig, "new")[..], [Done::Answered(_)]));
    assert_eq!(import(&mut rig, "new"), [Done::Refused(Refusal::Exists)], "it is in memory");
    let alice = member(&mut rig, "bench", "alice");
    assert_eq!(import(&mut rig, "bench"), [Done::Refused(Refusal::Exists)], "somebody is there");
    rig.gone(alice);
    assert!(matches!(import(&mut rig, "bench")[..], [Done::Answered(_)]), "nothing was done");
    rig.commit();
    rig.restart(Limits { durable: true, ..limits() });
    assert_eq!(import(&mut rig, "bench"), [Done::Refused(Refusal::Exists)], "it is stored");
    let joining = rig.join_session("new", "alice", None);
    assert_eq!(import(&mut rig, "new"), [Done::Refused(Refusal::Exists)], "it is being loaded");
    rig.gone(joining);
}

#[test]
fn nothing_is_restored_while_it_can_not_be_written() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    rig.handle(Event::Durable(false));
    let conn = restore(&mut rig, "bench", canvas(&["b"]));
    assert_eq!(rig.on(conn), [Done::Refused(Refusal::NotWritten)]);
    assert_eq!(names(&rig, "bench"), ["a"]);
    rig.handle(Event::Durable(true));
    let conn = restore(&mut rig, "bench", canvas(&["b"]));
    assert!(matches!(rig.on(conn)[..], [Done::Answered(_)]));
}

#[test]
fn a_session_that_is_deleted_begins_anew_under_its_name() {
    let mut rig = Rig::durable();
    let delete = |rig: &mut Rig, session: &str| {
        let conn = rig.conn();
        rig.handle(Event::Delete { conn, session: session.into() });
        rig.on(conn)
    };
    let epoch = |rig: &Rig| rig.store.kept("bench").map(|kept| kept.epoch.clone());
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({})));
    assert_eq!(delete(&mut rig, "bench"), [Done::Refused(Refusal::InUse)]);
    assert_eq!(delete(&mut rig, "unknown"), [Done::Refused(Refusal::Unknown)]);
    rig.gone(alice);
    assert_eq!(delete(&mut rig, "bench"), [Done::Deleted], "it lingers");
    rig.kept();
    // What is kept from now on is of another one.
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "b", json!({})));
    rig.commit();
    let second = epoch(&rig);
    assert_eq!(names(&rig, "bench"), ["b"]);
    rig.restart(Limits { durable: true, ..limits() });
    let waiting = rig.join_session("bench", "alice", None);
    assert_eq!(delete(&mut rig, "bench"), [Done::Refused(Refusal::InUse)]);
    rig.gone(waiting);
    rig.commit();
    assert_eq!(delete(&mut rig, "bench"), [Done::Deleted], "it is stored");
    assert_eq!(delete(&mut rig, "bench"), [Done::Refused(Refusal::Unknown)]);
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "c", json!({})));
    rig.commit();
    assert_eq!(names(&rig, "bench"), ["c"]);
    assert!(second.is_some() && epoch(&rig) != second);
}
