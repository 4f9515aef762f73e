//! Sessions that are stored and not in memory: whoever joins waits, and then everything goes on.

use std::time::Duration;

use collabd::auth::Level;
use collabd::hub::{ConnId, Event, Limits, NotLoaded, Refusal};
use serde_json::{Value, json};

use crate::keeping::{command, member, with_id};
use crate::rig::*;
use crate::store::BLOCK;

fn durable() -> Limits {
    Limits { durable: true, ..limits() }
}

/// A server that has been started again since four changes were made in the session.
fn after_four_changes() -> (Rig, Value, Vec<Value>) {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    let bob = rig.join_session("bench", "bob", None);
    let Done::Told(ack) = &rig.on(bob)[1] else { panic!("no acknowledgement") };
    let epoch = ack["epoch"].clone();
    rig.receive(bob);
    rig.tell(alice, command("add_item", "a", json!({"n": 1.50})));
    rig.tell(alice, with_id(json!("x"), command("update_item", "a", json!({"n": 2}))));
    rig.tell(alice, with_id(json!("y"), command("select", "a", json!({}))));
    rig.tell(alice, json!({"type": "sync:update", "state": {"items": [{"uuid": "b"}]}}));
    let seen = rig.on(bob).into_iter().filter_map(|done| match done {
        Done::Told(told) if told.get("seq").is_some() => Some(told),
        _ => None,
    });
    let seen = seen.collect();
    rig.commit();
    rig.all();
    rig.restart(durable());
    (rig, epoch, seen)
}

fn since(epoch: &Value, seq: u64) -> Value {
    json!({"type": "sync:request", "epoch": epoch, "since": seq})
}

#[test]
fn who_joins_waits_until_it_is_loaded_and_everything_goes_on() {
    let (mut rig, epoch, _) = after_four_changes();
    let alice = rig.join_session("bench", "alice", None);
    let bob = rig.join_session("bench", "bob", None);
    assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))], "once");
    rig.commit();
    let told = rig.told(alice);
    assert_eq!(told, ["Admitted", "connection:ack", "user:joined", "user:joined"]);
    let greetings = rig.texts(bob);
    assert_eq!((&greetings[0]["epoch"], &greetings[0]["seq"]), (&epoch, &json!(4)));
    assert_eq!(greetings.len(), 2, "it isn't known yet what it is");
    rig.pong(bob);
    let greetings = rig.texts(bob);
    assert_eq!(greetings[0]["type"], "sync:state");
    assert_eq!(greetings[0]["state"]["items"], json!([{"uuid": "b", "item_type": "component"}]));
    assert_eq!(greetings[0]["state"]["version"], 4);
    rig.tell(alice, command("add_item", "c", json!({})));
    assert_eq!(rig.texts(bob)[0]["seq"], 5);
    let carol = rig.join_session("bench", "carol", None);
    assert_eq!(rig.told(carol)[0], "Admitted", "it is in memory");
}

#[test]
fn who_was_away_catches_up_across_the_restart() {
    let (mut rig, epoch, seen) = after_four_changes();
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    rig.tell(alice, command("add_item", "c", json!({})));
    let new = rig.texts(bob).remove(0);
    for known in 0..=4 {
        rig.tell(bob, since(&epoch, known as u64));
        let mut caught_up = rig.texts(bob);
        assert_eq!(caught_up.pop().unwrap()["type"], "sync:done");
        assert_eq!(caught_up.pop().unwrap(), new);
        assert_eq!(caught_up, seen[known..]);
    }
}

#[test]
fn ids_that_were_taken_are_confirmed_again_and_not_applied() {
    let (mut rig, _, _) = after_four_changes();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, with_id(json!("x"), command("update_item", "a", json!({"n": 2}))));
    rig.tell(alice, with_id(json!("y"), command("select", "a", json!({}))));
    let told = rig.texts(alice);
    assert_eq!((&told[0]["type"], &told[0]["seq"]), (&json!("message_delivered"), &json!(2)));
    assert_eq!((&told[1]["type"], &told[1]["seq"]), (&json!("message_delivered"), &json!(2)));
    assert_eq!(rig.kept(), [""; 0]);
    rig.tell(alice, with_id(json!("x"), command("update_item", "a", json!({"n": 3}))));
    assert_eq!(rig.told(alice), ["duplicate_id"], "it says something else");
    rig.tell(alice, with_id(json!("z"), command("add_item", "c", json!({}))));
    assert_eq!(rig.kept(), ["5 by alice as \"z\""]);
}

/// What is told to somebody who asks for what came after a change.
fn told_after(rig: &mut Rig, conn: ConnId, epoch: &Value, seq: u64) -> Vec<String> {
    rig.told(conn);
    rig.tell(conn, since(epoch, seq));
    rig.told(conn)
}

#[test]
fn ids_are_kept_again_with_the_document_where_what_was_kept_is_lost() {
    let (mut rig, _, _) = after_four_changes();
    member(&mut rig, "bench", "alice");
    rig.commit();
    rig.kept();
    rig.handle(Event::SnapshotRequested { session: "bench".into() });
    let all = ["regular: 0 up to 4", "\"x\" of alice at 4", "\"y\" of alice at 4"];
    assert_eq!(rig.kept(), all);
}

#[test]
fn who_saw_what_was_lost_gets_the_state_whoever_asks_and_whatever_was_asked_before() {
    let (mut rig, epoch, _) = after_four_changes();
    let alice = member(&mut rig, "bench", "alice");
    let told_later = rig.join_session("bench", "bob", None);
    rig.receive(told_later);
    for name in ["c", "d"] {
        rig.tell(alice, command("add_item", name, json!({})));
    }
    // Bob has been told of changes 5 and 6, which are lost now.
    assert_eq!(rig.texts(told_later).last().expect("told")["seq"], 6);
    rig.restart(durable());
    let alice = member(&mut rig, "bench", "alice");
    let greeting = rig.join_session("bench", "zoe", None);
    assert_eq!(rig.texts(greeting)[0]["seq"], 4, "the last change that there is");
    for name in ["e", "f", "g"] {
        rig.tell(alice, command("add_item", name, json!({})));
    }
    // Another program of bob's asks for the state, and so he is known.
    let bob = member(&mut rig, "bench", "bob");
    rig.tell(bob, json!({"type": "sync:request"}));
    assert_eq!(rig.told(bob), ["sync:state"]);
    // Then comes the one that has seen what was lost.
    let bob = member(&mut rig, "bench", "bob");
    for lost in [5, 6] {
        assert_eq!(told_after(&mut rig, bob, &epoch, lost), ["sync:state"], "{lost}");
    }
    // What everybody has seen is known to all.
    for (seen, missed) in [(3, 4), (4, 3), (4 + BLOCK, 3), (5 + BLOCK, 2), (7 + BLOCK, 0)] {
        let told = told_after(&mut rig, bob, &epoch, seen);
        if seen == 4 + BLOCK {
            assert_eq!(told, ["sync:state"], "no change has this number");
        } else {
            assert_eq!(told.len(), missed + 1, "{seen}");
            assert_eq!(told[missed], "sync:done");
        }
    }
    // In the next life, too, and for those that look on.
    rig.commit();
    rig.restart(durable());
    let bob = member(&mut rig, "bench", "bob");
    let viewer = rig.view("bench", None);
    rig.commit();
    rig.told(viewer);
    for lost in [5, 6] {
        assert_eq!(told_after(&mut rig, bob, &epoch, lost), ["sync:state"], "{lost}");
        rig.look(viewer, Some((epoch.as_str().expect("a string"), lost)));
        assert_eq!(rig.told(viewer), ["sync:state"], "{lost}");
    }
}

#[test]
fn numbers_that_were_lost_twice_are_skipped_twice() {
    let (mut rig, epoch, _) = after_four_changes();
    let mut last = 4;
    for round in 1..=3 {
        let alice = member(&mut rig, "bench", "alice");
        let bob = member(&mut rig, "bench", "bob");
        rig.tell(alice, command("add_item", &format!("item-{round}"), json!({})));
        let told = rig.texts(bob).last().expect("told")["seq"].as_u64().expect("a number");
        assert!(told > last, "{told} was given before {last}");
        last = told;
        rig.restart(durable());
    }
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "kept", json!({})));
    let bob = member(&mut rig, "bench", "bob");
    assert_eq!(told_after(&mut rig, bob, &epoch, last), ["sync:state"]);
    assert_eq!(told_after(&mut rig, bob, &epoch, 4), ["command", "sync:done"]);
}

#[test]
fn who_waits_and_goes_is_not_waited_for() {
    let (mut rig, _, _) = after_four_changes();
    let [alice, bob] = ["alice", "bob"].map(|user| rig.join_session("bench", user, None));
    rig.gone(alice);
    rig.commit();
    assert_eq!(rig.on(alice), []);
    assert_eq!(rig.texts(bob)[0]["users"].as_array().unwrap().len(), 1);
    rig.gone(bob);
    rig.restart(durable());
    rig.all();
    let carol = rig.join_session("bench", "carol", None);
    rig.gone(carol);
    rig.commit();
    assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))]);
    assert!(rig.hub.document("bench").is_none(), "nobody needs it any more");
    rig.join_session("bench", "dora", None);
    assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))], "it is loaded anew");
}

#[test]
fn a_user_who_waits_twice_is_there_once() {
    let (mut rig, _, _) = after_four_changes();
    let [old, new] = [(); 2].map(|()| rig.join_session("bench", "alice", None));
    rig.commit();
    let replaced = "1008 replaced by a newer connection";
    assert_eq!(rig.told(old).last().unwrap(), replaced);
    assert_eq!(rig.texts(new)[0]["users"].as_array().unwrap().len(), 1);
}

#[test]
fn what_can_not_be_loaded_is_not_begun_anew() {
    let (mut rig, _, _) = after_four_changes();
    let [alice, bob] = ["alice", "bob"].map(|user| rig.join_session("bench", user, None));
    rig.handle(Event::Loaded { session: "bench".into(), past: Err(NotLoaded) });
    for conn in [alice, bob] {
        assert_eq!(rig.on(conn), [Done::Refused(Refusal::NotLoaded)]);
    }
    rig.kept();
    rig.store.commit(usize::MAX, 0);
    rig.join_session("bench", "carol", None);
    assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))], "it is tried again");
    // An answer that nobody waits for does nothing.
    rig.handle(Event::Loaded { session: "other".into(), past: Ok(None) });
    assert_eq!(rig.all(), []);
}

#[test]
fn what_turns_out_not_to_be_stored_begins() {
    let (mut rig, epoch, _) = after_four_changes();
    let alice = rig.join_session("bench", "alice", None);
    rig.handle(Event::Loaded { session: "bench".into(), past: Ok(None) });
    let ack = &rig.texts(alice)[0];
    assert_eq!(ack["seq"], 0);
    assert_ne!(ack["epoch"], epoch);
}

#[test]
fn a_key_that_is_gone_meanwhile_opens_nothing() {
    let (mut rig, _, _) = after_four_changes();
    rig.keys(1, [key("alice", Level::Write), key("bob", Level::Write)]);
    let grant = |name| Some(granted(key(name, Level::Write), 1));
    let alice = rig.join_session("bench", "alice", grant("alice"));
    let bob = rig.join_session("bench", "bob", grant("bob"));
    let mallory = rig.join_session(
        "bench",
        "mallory",
        Some(granted(only(&["other"], key("m", Level::Write)), 1)),
    );
    assert_eq!(rig.on(mallory), [Done::Refused(Refusal::KeyRefused)], "it needn't wait");
    rig.keys(2, [key("bob", Level::Write)]);
    rig.commit();
    assert_eq!(rig.on(alice), [Done::Refused(Refusal::KeyRefused)]);
    assert_eq!(rig.told(bob)[0], "Admitted");
    // If nobody is left, it lingers.
    rig.gone(bob);
    rig.pass(600_000);
    let bob = rig.join_session("bench", "bob", grant("bob"));
    rig.keys(3, []);
    rig.commit();
    assert_eq!(rig.on(bob), [Done::Refused(Refusal::KeyRefused)]);
    assert!(rig.hub.document("bench").is_some());
    rig.pass(600_000);
    assert!(rig.hub.document("bench").is_none());
}

#[test]
fn one_that_has_lingered_is_dropped_from_memory_alone() {
    for linger in [0, 1000] {
        let linger = Duration::from_millis(linger);
        let mut rig = Rig::with(Limits { linger, ..durable() });
        let alice = member(&mut rig, "bench", "alice");
        rig.tell(alice, command("add_item", "a", json!({})));
        rig.gone(alice);
        rig.pass(1000);
        assert!(rig.hub.document("bench").is_none());
        rig.kept();
        let bob = rig.join_session("bench", "bob", None);
        assert_eq!(rig.kept(), ["Loading(\"bench\")"]);
        rig.commit();
        assert_eq!(rig.texts(bob)[0]["seq"], 1);
        assert_eq!(rig.kept(), [""; 0], "the server was not started again");
        // One in which nothing ever happened is forgotten.
        let idle = rig.join_session("idle", "alice", None);
        rig.gone(idle);
        rig.pass(1000);
        rig.join_session("idle", "alice", None);
        assert_eq!(rig.kept(), [""; 0]);
    }
}

#[test]
fn sessions_that_are_being_loaded_count() {
    let (mut rig, _, _) = after_four_changes();
    rig.restart(Limits { max_sessions: 2, ..durable() });
    let join =
        |rig: &mut Rig, session: &str| -> ConnId { rig.join_session(session, "alice", None) };
    let waiting = join(&mut rig, "bench");
    let there = join(&mut rig, "there");
    let refused = join(&mut rig, "another");
    assert_eq!(rig.on(refused), [Done::Refused(Refusal::Full)]);
    rig.commit();
    assert_eq!(rig.told(waiting)[0], "Admitted");
    let refused = join(&mut rig, "another");
    assert_eq!(rig.on(refused), [Done::Refused(Refusal::Full)]);
    // One that lingers makes room: it is stored.
    rig.tell(there, command("add_item", "a", json!({})));
    rig.gone(there);
    let another = join(&mut rig, "another");
    assert_eq!(rig.told(another)[0], "Admitted");
    assert!(rig.hub.document("there").is_none());
}

#[test]
fn a_host_who_comes_to_a_stored_session_is_recognised() {
    let (mut rig, _, _) = after_four_changes();
    let host = rig.join_session("bench", "host", None);
    rig.tell(host, json!({"type": "sync:request"}));
    rig.commit();
    rig.tell(host, json!({"type": "sync:request"}));
    rig.kept();
    let state = json!({"items": [{"uuid": "new"}], "version": 1});
    rig.tell(host, json!({"type": "sync:full_state", "state": state, "target_user": "host"}));
    let told = rig.texts(host);
    assert_eq!((&told[2]["type"], &told[2]["state"]), (&json!("sync:state"), &Value::Null));
    let names: Vec<&str> =
        rig.hub.document("bench").unwrap().items().map(|item| &*item.id).collect();
    assert_eq!(names, ["new"], "a new design");
    assert_eq!(rig.kept(), ["new design: 2 up to 6 by host"], "what was before is stored as of 4");
}
