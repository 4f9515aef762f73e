//! The versions of sessions that are not stored: what was replaced or lost items as a whole.

use std::time::Duration;

use collabd::auth::Level;
use collabd::hub::{DocumentBounds, Event, Limits, Refusal, replay};
use collabd::journal::PointInTime;
use collabd::protocol::Timestamp;
use serde_json::{Value, json};

use crate::keeping::{command, member};
use crate::rig::*;

fn put(names: &[&str]) -> Value {
    let items: Vec<Value> = names.iter().map(|name| json!({"uuid": name})).collect();
    json!({"type": "sync:update", "state": {"items": items, "version": 1}})
}

fn versions(rig: &mut Rig) -> Value {
    let versions = |conn| Event::Versions { conn, session: "bench".into(), grant: None };
    rig.ask(versions).expect("it is in memory")
}

/// Its versions in short: as of which change, by whom and why they were replaced, how many items.
fn listed(rig: &mut Rig) -> Vec<String> {
    let versions = versions(rig);
    let versions = versions["versions"].as_array().expect("a list").iter().map(|version| {
        let text = |key: &str| version[key].as_str().expect("a text").to_owned();
        format!("{} {} {} {}", version["seq"], text("user_id"), text("why"), version["items"])
    });
    versions.collect()
}

fn as_of(rig: &mut Rig, at: PointInTime) -> Result<Value, Refusal> {
    rig.ask(|conn| Event::Version { conn, session: "bench".into(), at, grant: None })
}

/// The change that a document is of, and its items' names.
fn found(rig: &mut Rig, at: PointInTime) -> Option<(u64, Vec<String>)> {
    let answer = as_of(rig, at).ok()?;
    let items = answer["document"]["items"].as_array().expect("items").iter();
    let names = items.map(|item| item["uuid"].as_str().expect("a name").to_owned());
    Some((answer["seq"].as_u64().expect("a number"), names.collect()))
}

fn restore(rig: &mut Rig, to: u64) -> Value {
    let stored = as_of(rig, PointInTime::Seq(to)).expect("it is kept")["document"].to_string();
    let state = Box::new(replay(stored.as_bytes(), &[]).expect("a document").into_state());
    let session = || "bench".into();
    rig.ask(|conn| Event::Restore { conn, session: session(), state, by: "operator".into() })
        .expect("it is done")
}

#[test]
fn what_was_replaced_is_a_version_and_so_is_what_a_restore_replaces() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    assert_eq!(listed(&mut rig), [""; 0]);
    rig.tell(alice, put(&["a", "b"]));
    assert_eq!(listed(&mut rig), [""; 0], "there was nothing before");
    rig.pass(1000);
    rig.tell(alice, command("add_item", "c", json!({})));
    let at = rig.wall();
    rig.pass(1000);
    rig.tell(alice, put(&[]));
    assert_eq!(listed(&mut rig), ["3 alice replaced 3"]);
    rig.tell(alice, put(&[]));
    assert_eq!(listed(&mut rig), ["3 alice replaced 3"], "nothing was replaced");
    let answer = versions(&mut rig);
    assert_eq!(answer["versions"][0]["at"], at.to_string());
    let bytes = answer["versions"][0]["bytes"].as_u64().expect("a number") as usize;
    let session = &rig.hub.footprint().sessions[0];
    assert_eq!((session.versions, session.version_bytes), (1, bytes));
    let about = json!({
        "session_id": "bench", "epoch": as_of(&mut rig, PointInTime::Seq(6)).expect("it is there")["epoch"],
        "seq": 6, "created_at": null, "changed_at": rig.wall().to_string(), "changed_by": "alice",
        "changes": 0, "versions": 1, "bytes": bytes, "items": 0, "members": 1,
    });
    assert_eq!(
        (&answer["session"], &answer["first_seq"], &answer["seq"]),
        (&about, &json!(3), &json!(6))
    );
    // The newest that is there at or before it.
    let all: Option<(u64, Vec<String>)> = Some((3, ["a", "b", "c"].map(Into::into).into()));
    let (now, before) = (rig.wall(), Timestamp::from_millis(at.millis() - 1));
    for (point, expected) in [
        (PointInTime::Seq(2), None),
        (PointInTime::Seq(3), all.clone()),
        (PointInTime::Seq(5), all.clone()),
        (PointInTime::Seq(6), Some((6, Vec::new()))),
        (PointInTime::Seq(7), None),
        (PointInTime::Time(before), None),
        (PointInTime::Time(at), all.clone()),
        (PointInTime::Time(now), Some((6, Vec::new()))),
    ] {
        assert_eq!(found(&mut rig, point), expected, "{point:?}");
    }
    rig.all();
    let answer = restore(&mut rig, 5);
    assert_eq!((&answer["type"], &answer["seq"]), (&json!("restored"), &json!(9)));
    assert_eq!(rig.told(alice), ["command"; 3]);
    assert_eq!(listed(&mut rig), ["3 alice replaced 3", "6 operator restored 0"]);
    assert_eq!(rig.kept(), [""; 0]);
    assert_eq!(
        found(&mut rig, PointInTime::Seq(9)),
        Some((9, ["a", "b", "c"].map(Into::into).into()))
    );
}

#[test]
fn what_a_canvas_removes_can_be_brought_back_just_as_it_was() {
    let mut rig = Rig::with(Limits { settle: true, ..limits() });
    let host = rig.join_session("bench", "host", None);
    let snapshot = |names: &[&str], zoom: u64| {
        let items: Vec<Value> = names.iter().map(|name| json!({"uuid": name, "n": 1.5})).collect();
        let state = json!({"items": items, "version": 1, "zoom": zoom});
        json!({"type": "sync:full_state", "state": state, "target_user": "host"})
    };
    rig.tell(host, snapshot(&["a", "b"], 1));
    rig.receive(host);
    rig.tell(host, json!({"type": "sync:request", "user_id": "host"}));
    rig.tell(host, snapshot(&["a"], 2));
    assert_eq!(listed(&mut rig), ["2 host snapshot 2"]);
    let document = &as_of(&mut rig, PointInTime::Seq(2)).expect("it is kept")["document"];
    let expected = json!([
        {"uuid": "a", "n": 1.5, "item_type": "component"},
        {"uuid": "b", "n": 1.5, "item_type": "component"},
    ]);
    assert_eq!((&document["items"], &document["extra"]), (&expected, &json!({"zoom": 1})));
    restore(&mut rig, 2);
    let document = &as_of(&mut rig, PointInTime::Seq(4)).expect("it is there")["document"];
    assert_eq!((&document["items"], &document["extra"]), (&expected, &json!({"zoom": 1})));
    // The one before has what it had beside its items.
    let document = &as_of(&mut rig, PointInTime::Seq(3)).expect("it is kept")["document"];
    assert_eq!(document["extra"], json!({"zoom": 2}));
}

#[test]
fn a_new_design_leaves_the_old_one_as_a_version() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, put(&["a"]));
    rig.gone(alice);
    let bob = rig.join_session("bench", "bob", None);
    let state = json!({"items": [{"uuid": "x"}], "version": 1});
    rig.tell(bob, json!({"type": "sync:full_state", "state": state, "target_user": "bob"}));
    assert_eq!(listed(&mut rig), ["1 bob new design 1"]);
}

#[test]
fn the_last_ten_are_kept_and_no_more_bytes_than_ten_documents_may_have() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    for n in 0..15 {
        rig.tell(alice, put(&[&n.to_string()]));
    }
    let listed_now = listed(&mut rig);
    assert_eq!((listed_now.len(), &*listed_now[0]), (10, "9 alice replaced 1"));
    assert_eq!(found(&mut rig, PointInTime::Seq(8)), None);

    // As it is stored each of these takes more than the document may have.
    let document = DocumentBounds { item: 1000, document: 200 };
    let mut rig = Rig::with(Limits { document, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    for n in 0..15 {
        let state = json!({"items": [{"uuid": n.to_string(), "text": "x".repeat(130)}]});
        rig.tell(alice, json!({"type": "sync:update", "state": state}));
        let session = &rig.hub.footprint().sessions[0];
        assert!(session.version_bytes <= 2000 && session.versions <= n);
    }
    let session = &rig.hub.footprint().sessions[0];
    assert!((3..10).contains(&session.versions), "{session:?}");
}

#[test]
fn they_go_with_their_session_which_is_not_given_up_before() {
    let mut rig = Rig::with(Limits { max_sessions: 1, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, put(&["a", "b"]));
    rig.tell(alice, put(&[]));
    rig.gone(alice);
    let other = rig.join_session("other", "bob", None);
    assert_eq!(rig.on(other), [Done::Refused(Refusal::Full)], "somebody's work is in it");
    rig.elapsed += Duration::from_secs(600);
    rig.handle(Event::Tick);
    assert_eq!(as_of(&mut rig, PointInTime::Seq(2)), Err(Refusal::Unknown));
    member(&mut rig, "bench", "alice");
    assert_eq!((listed(&mut rig), found(&mut rig, PointInTime::Seq(2))), (vec![], None));
}

#[test]
fn only_whom_a_key_opens_a_session_to_is_told_of_them() {
    let mut rig = Rig::new();
    member(&mut rig, "bench", "alice");
    let other = || Some(granted(only(&["other"], key("other", Level::Admin)), 0));
    let session = || "bench".into();
    let answer = rig.ask(|conn| Event::Versions { conn, session: session(), grant: other() });
    assert_eq!(answer, Err(Refusal::KeyRefused));
    let at = PointInTime::Seq(0);
    let answer = rig.ask(|conn| Event::Version { conn, session: session(), at, grant: other() });
    assert_eq!(answer, Err(Refusal::KeyRefused));
}

#[test]
fn where_sessions_are_stored_the_store_has_them() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, put(&["a"]));
    rig.tell(alice, put(&[]));
    assert_eq!(rig.kept(), ["replaced: 1 up to 1 by alice", "replaced: 1 up to 2 by alice"]);
    assert_eq!((listed(&mut rig), rig.hub.footprint().sessions[0].versions), (vec![], 0));
}
