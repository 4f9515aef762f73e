//! Viewers: sent what members are sent, and nobody notices that they are there.

use collabd::auth::Level;
use collabd::hub::{ConnId, Effect, Event, Limits, Refusal, Time};
use collabd::protocol::inbound;
use serde_json::{Value, json};

use crate::keeping::{command, member};
use crate::rig::*;

fn lens(id: &str, x: i64) -> Value {
    command("add_item", id, json!({"uuid": id, "item_type": "component", "x_mm": x}))
}

fn settling() -> Limits {
    Limits { settle: true, ..limits() }
}

fn lingers(millis: u64) -> Limits {
    Limits { linger: std::time::Duration::from_millis(millis), ..limits() }
}

/// Somebody who views the session and has read everything.
fn viewer(rig: &mut Rig, session: &str) -> ConnId {
    let conn = rig.view(session, None);
    let greeting = rig.told(conn);
    assert_eq!(greeting[..3], ["Admitted", "connection:ack", "sync:state"]);
    conn
}

#[test]
fn a_viewer_is_shown_the_session_at_once_and_nobody_hears_of_it() {
    let mut rig = Rig::with(settling());
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    rig.all();
    let viewer = rig.view("bench", None);
    let done = rig.all();
    assert!(done.iter().all(|(conn, _)| *conn == viewer), "{done:?}");
    let told: Vec<Done> = done.into_iter().map(|(_, done)| done).collect();
    let [Done::Admitted, Done::Told(ack), Done::Told(state), Done::Told(settled)] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        (&ack["type"], &ack["session_id"], &ack["user_id"], &ack["viewer"], &ack["is_host"]),
        (&json!("connection:ack"), &json!("bench"), &Value::Null, &json!(true), &json!(false))
    );
    assert_eq!((&ack["seq"], ack["users"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    assert_eq!(ack["users"][0]["user_id"], "alice");
    let mut item = json!({"uuid": "a", "item_type": "component", "x_mm": 1});
    assert_eq!((&state["seq"], &state["state"]["items"]), (&json!(1), &json!([item])));
    item["_type"] = json!("component");
    assert_eq!((&settled["settled"], &settled["command"]["data"]), (&json!(true), &item));
    let bob = rig.join_session("bench", "bob", None);
    assert_eq!(rig.told(viewer), ["user:joined"]);
    let Done::Told(ack) = &rig.on(bob)[1] else { panic!("no acknowledgement") };
    assert_eq!(ack["users"].as_array().map(Vec::len), Some(2), "the viewer is no user");
}

/// Settled items, too, although a viewer that does as it is told needs none.
#[test]
fn a_viewer_is_told_to_the_letter_what_a_member_is_that_does_nothing() {
    let mut rig = Rig::with(settling());
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    let silent = rig.join_session("bench", "silent", None);
    rig.tell(silent, json!({"type": "sync:request"}));
    rig.receive(silent);
    let viewer = rig.view("bench", None);
    rig.pass(5000);
    rig.all();
    let moved = |x: i64| command("move_item", "a", json!({"x_mm": x}));
    for (user, message, after) in [
        (alice, lens("a", 1), 0),
        (alice, moved(2), 100),
        (bob, moved(3), 300),
        (bob, json!({"type": "cursor", "x": 1}), 0),
        (bob, moved(4), 0),
        (alice, command("remove_item", "a", json!({})), 300),
        (alice, lens("b", 1), 0),
        (alice, json!({"type": "chat", "text": "hi"}), 0),
        (alice, command("select", "b", json!({})), 3000),
    ] {
        rig.tell(user, message);
        rig.pass(after);
    }
    let told = rig.on(viewer);
    assert_eq!(told, rig.on(silent));
    let settled = |action: &str| {
        let is_it = |done: &&Done| match done {
            Done::Told(told) => told["settled"] == true && told["command"]["action"] == action,
            _ => false,
        };
        told.iter().filter(is_it).count()
    };
    assert_eq!((settled("update_item"), settled("remove_item")), (3, 1), "{told:#?}");
}

#[test]
fn an_empty_canvas_is_shown_too_and_a_session_that_is_not_there_is_not_made() {
    let mut rig = Rig::new();
    let nobody = rig.view("bench", None);
    assert_eq!(rig.on(nobody), [Done::Refused(Refusal::Unknown)]);
    assert_eq!(rig.list(None)["total"], 0);
    member(&mut rig, "bench", "alice");
    let viewer = rig.view("bench", None);
    let Done::Told(state) = &rig.on(viewer)[2] else { panic!("no state") };
    assert_eq!((&state["state"]["items"], &state["state"]["version"]), (&json!([]), &json!(0)));
}

#[test]
fn a_viewer_that_has_the_document_already_is_told_what_it_missed() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    for x in 1..=3 {
        rig.tell(alice, lens("a", x));
    }
    rig.all();
    let conn = rig.view("bench", None);
    let Done::Told(ack) = &rig.on(conn)[1] else { panic!("no acknowledgement") };
    let epoch = ack["epoch"].as_str().expect("a string").to_owned();
    for (since, told) in [
        (3, &["sync:done"][..]),
        (1, &["command", "command", "sync:done"]),
        // Nothing has that number.
        (4, &["sync:state"]),
        (u64::MAX, &["sync:state"]),
    ] {
        let conn = rig.view_since("bench", &epoch, since);
        let greeting = rig.told(conn);
        assert_eq!(greeting[..2], ["Admitted", "connection:ack"], "{since}");
        assert_eq!(greeting[2..], *told, "{since}");
        // It hears what happens from then on.
        rig.tell(alice, command("select", "a", json!({})));
        assert_eq!(rig.told(conn), ["command"], "{since}");
        rig.gone(conn);
    }
    let other = rig.view_since("bench", "another epoch", 3);
    assert_eq!(rig.told(other)[2..], ["sync:state"]);
    let unknown = rig.view_since("none", &epoch, 3);
    assert_eq!(rig.on(unknown), [Done::Refused(Refusal::Unknown)]);
}

#[test]
fn who_comes_alone_is_alone_although_somebody_views() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    viewer(&mut rig, "bench");
    rig.gone(alice);
    rig.all();
    let host = rig.join_session("bench", "host", None);
    rig.tell(host, json!({"type": "sync:request"}));
    let greeting = rig.told(host);
    assert_eq!(greeting, ["Admitted", "connection:ack", "user:joined"], "no state yet");
    let snapshot = json!({"items": [{"uuid": "a"}], "version": 1, "timestamp": "x"});
    rig.tell(host, json!({"type": "sync:full_state", "target_user": "host", "state": snapshot}));
    let Some(Done::Told(answer)) = rig.on(host).pop() else { panic!("no answer") };
    assert_eq!((&answer["type"], &answer["state"]), (&json!("sync:state"), &Value::Null));
}

#[test]
fn a_viewer_that_asks_is_answered_and_one_that_is_gone_is_not() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    let conn = rig.view("bench", None);
    let Done::Told(ack) = &rig.on(conn)[1] else { panic!("no acknowledgement") };
    let epoch = ack["epoch"].as_str().expect("a string").to_owned();
    rig.tell(alice, lens("a", 1));
    rig.tell(alice, lens("b", 1));
    rig.all();
    rig.look(conn, None);
    rig.look(conn, Some((&epoch, 1)));
    rig.look(conn, Some((&epoch, 3)));
    rig.look(conn, Some(("another", 1)));
    let told = ["sync:state", "command", "sync:done", "sync:state", "sync:state"];
    assert_eq!(rig.told(conn), told);
    rig.gone(conn);
    rig.look(conn, None);
    rig.tell(alice, lens("c", 1));
    assert_eq!(rig.on(conn), []);
    rig.look(alice, None);
    assert_eq!(rig.on(alice), [], "a member is no viewer");
}

#[test]
fn a_change_that_may_have_another_number_now_is_not_caught_up_on() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    rig.commit();
    rig.tell(alice, lens("lost", 1));
    rig.restart(Limits { durable: true, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    let conn = rig.view("bench", None);
    let Done::Told(ack) = &rig.on(conn)[1] else { panic!("no acknowledgement") };
    let epoch = ack["epoch"].as_str().expect("a string").to_owned();
    rig.tell(alice, lens("b", 1));
    rig.tell(alice, lens("c", 1));
    rig.all();
    rig.look(conn, Some((&epoch, 2)));
    assert_eq!(rig.told(conn), ["sync:state"], "2 was another change once");
    rig.look(conn, Some((&epoch, 1)));
    assert_eq!(rig.told(conn), ["command", "command", "sync:done"]);
    assert_eq!(rig.kept(), [""; 0], "what a member asks for first would be");
}

#[test]
fn a_session_ends_for_its_viewers_when_it_has_lingered() {
    let mut rig = Rig::with(lingers(60_000));
    let alice = member(&mut rig, "bench", "alice");
    let viewer = viewer(&mut rig, "bench");
    rig.tell(alice, lens("a", 1));
    rig.gone(alice);
    assert_eq!(rig.told(viewer), ["command", "user:left"]);
    rig.pass(59_999);
    assert_eq!(rig.told(viewer), [""; 0]);
    rig.pass(1);
    assert_eq!(rig.told(viewer), ["1000 the session has ended"]);
    let held = rig.hub.footprint();
    assert_eq!((held.viewers, held.timers, held.sessions.len()), (0, 0, 0));
    let next = member(&mut rig, "bench", "bob");
    rig.tell(next, lens("b", 1));
    assert_eq!(rig.on(viewer), [], "another session");
}

#[test]
fn where_it_would_be_loaded_again_a_session_with_viewers_stays_in_memory() {
    let mut rig = Rig::with(Limits { durable: true, ..lingers(0) });
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    let one = viewer(&mut rig, "bench");
    let two = viewer(&mut rig, "bench");
    rig.gone(alice);
    rig.pass(1_000_000);
    assert_eq!(rig.told(one), ["user:left"]);
    rig.gone(one);
    assert_eq!(rig.hub.footprint().sessions.len(), 1);
    let bob = rig.join_session("bench", "bob", None);
    assert!(rig.told(bob).contains(&"Admitted".into()), "without being loaded");
    rig.gone(bob);
    rig.gone(two);
    assert_eq!(rig.hub.footprint().sessions.len(), 0);
    rig.all();
    let three = rig.view("bench", None);
    assert_eq!(rig.all(), [(NOBODY, Done::Loading("bench".into()))]);
    rig.commit();
    assert_eq!(rig.told(three), ["Admitted", "connection:ack", "sync:state"]);
    rig.pass(1_000_000);
    assert_eq!(rig.told(three), [""; 0]);
    let carol = rig.join_session("bench", "carol", None);
    rig.gone(carol);
    assert_eq!(rig.told(three), ["user:joined", "host:changed", "user:left"]);
    rig.gone(three);
    assert_eq!(rig.hub.footprint().sessions.len(), 0);
}

#[test]
fn a_session_of_which_nothing_is_stored_ends_for_its_viewers_all_the_same() {
    let mut rig = Rig::with(Limits { durable: true, ..lingers(1000) });
    let alice = member(&mut rig, "bench", "alice");
    let viewer = viewer(&mut rig, "bench");
    rig.gone(alice);
    rig.pass(1000);
    assert_eq!(rig.told(viewer), ["user:left", "1000 the session has ended"]);
}

#[test]
fn a_viewer_that_is_gone_before_its_session_is_loaded_changes_nothing() {
    let mut rig = Rig::with(Limits { durable: true, ..lingers(0) });
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    rig.gone(alice);
    rig.all();
    let viewer = rig.view("bench", None);
    rig.gone(viewer);
    rig.commit();
    assert_eq!(rig.on(viewer), []);
    assert_eq!(rig.hub.footprint().sessions.len(), 0);
}

#[test]
fn a_session_that_cannot_be_loaded_is_not_shown() {
    let mut rig = Rig::with(Limits { durable: true, ..lingers(0) });
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    rig.gone(alice);
    for (past, why) in [
        (Err(collabd::hub::NotLoaded), Refusal::NotLoaded),
        (Ok(None), Refusal::Unknown),
        (Ok(None), Refusal::Unknown),
    ] {
        let viewer = rig.view("bench", None);
        rig.handle(Event::Loaded { session: "bench".into(), past });
        assert_eq!(rig.on(viewer), [Done::Refused(why)]);
    }
}

/// Sessions have to make way for one that a member needs, though somebody views them; for a viewer's
/// only those that nobody views.
#[test]
fn viewers_take_nobodys_place() {
    let limits = || Limits { max_sessions: 2, durable: true, ..lingers(600_000) };
    let mut rig = Rig::with(limits());
    for session in ["one", "two"] {
        let alice = member(&mut rig, session, "alice");
        rig.tell(alice, lens("a", 1));
        rig.gone(alice);
    }
    rig.commit();
    rig.restart(limits());
    let viewers = ["one", "two"].map(|session| {
        let viewer = rig.view(session, None);
        rig.commit();
        assert_eq!(rig.told(viewer), ["Admitted", "connection:ack", "sync:state"]);
        viewer
    });
    let alice = member(&mut rig, "three", "alice");
    assert_eq!(rig.hub.footprint().sessions.len(), 2);
    let (closed, open) = match rig.told(viewers[0]).is_empty() {
        true => (1, 0),
        false => (0, 1),
    };
    let told = rig.told(viewers[closed]);
    assert!(told.is_empty() || told == ["1000 the session has ended"], "{told:?}");
    assert_eq!(rig.told(viewers[open]), [""; 0]);
    let again = rig.view(["one", "two"][closed], None);
    rig.commit();
    assert_eq!(rig.on(again), [Done::Refused(Refusal::Full)], "somebody views the other one");
    rig.gone(viewers[open]);
    let again = rig.view(["one", "two"][closed], None);
    rig.commit();
    assert_eq!(rig.told(again), ["Admitted", "connection:ack", "sync:state"]);
    rig.tell(alice, lens("a", 1));
}

#[test]
fn what_is_loaded_for_viewers_alone_takes_no_members_place() {
    let limits = || Limits { max_sessions: 1, durable: true, ..lingers(600_000) };
    let mut rig = Rig::with(limits());
    let alice = member(&mut rig, "old", "alice");
    rig.tell(alice, lens("a", 1));
    rig.gone(alice);
    rig.commit();
    rig.restart(limits());
    rig.all();
    let viewer = rig.view("old", None);
    let bob = rig.join_session("new", "bob", None);
    assert!(rig.told(bob).contains(&"Admitted".into()));
    let late = rig.join_session("old", "carol", None);
    assert_eq!(rig.on(late), [Done::Refused(Refusal::Full)]);
    rig.commit();
    assert_eq!(rig.on(viewer), [Done::Refused(Refusal::Full)]);
    rig.gone(bob);
    let viewer = rig.view("old", None);
    let carol = rig.join_session("old", "carol", None);
    rig.commit();
    assert_eq!(rig.told(viewer)[..2], ["Admitted", "connection:ack"]);
    assert!(rig.told(carol).contains(&"Admitted".into()));
}

#[test]
fn a_session_that_somebody_only_views_can_be_deleted() {
    let mut rig = Rig::with(Limits { durable: true, ..lingers(600_000) });
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    rig.gone(alice);
    let viewer = viewer(&mut rig, "bench");
    let conn = rig.conn();
    rig.handle(Event::Delete { conn, session: "bench".into() });
    assert_eq!(rig.on(conn), [Done::Deleted]);
    assert_eq!(rig.told(viewer), ["1000 the session has ended"]);
    assert_eq!(rig.hub.footprint().viewers, 0);
}

#[test]
fn a_viewers_key_has_to_open_the_session_as_long_as_it_views() {
    let mut rig = Rig::new();
    member(&mut rig, "bench", "alice");
    let wrong = rig.view("bench", Some(granted(only(&["other"], key("k", Level::Read)), 0)));
    assert_eq!(rig.on(wrong), [Done::Refused(Refusal::KeyRefused)]);
    let unknown = rig.view("none", Some(granted(only(&["other"], key("k", Level::Read)), 0)));
    assert_eq!(rig.on(unknown), [Done::Refused(Refusal::KeyRefused)], "nor whether it is there");
    let expiring = rig.view("bench", Some(granted(until(90_000, key("e", Level::Read)), 0)));
    let revoked = rig.view("bench", Some(granted(key("r", Level::Admin), 0)));
    let narrowed = rig.view("bench", Some(granted(key("n", Level::Write), 0)));
    let stays = rig.view("bench", Some(granted(key("s", Level::Read), 0)));
    rig.all();
    rig.pass(89_999);
    assert_eq!(rig.all(), []);
    rig.pass(1);
    assert_eq!(rig.told(expiring), ["token_expired", "1008 key expired"]);
    let narrow = only(&["other"], key("n", Level::Write));
    rig.keys(1, [narrow, only(&["bench"], key("s", Level::Read))]);
    for conn in [revoked, narrowed] {
        assert_eq!(rig.told(conn), ["invalid_key", "1008 key revoked"]);
    }
    assert_eq!(rig.all(), [], "nobody hears of it");
    assert_eq!(rig.hub.footprint().viewers, 1);
    rig.gone(stays);
}

#[test]
fn a_bug_that_a_viewer_meets_is_its_own() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    let viewer = viewer(&mut rig, "bench");
    rig.all();
    rig.handle(Event::Failed { conn: viewer });
    assert_eq!(rig.told(viewer), ["server_error", "1011 internal server error"]);
    assert_eq!(rig.all(), []);
    let other = self::viewer(&mut rig, "bench");
    let bob = member(&mut rig, "bench", "bob");
    rig.all();
    rig.handle(Event::Failed { conn: bob });
    assert_eq!(rig.told(other), ["sync:state", "user:left"], "what bob did may be lost");
}

#[test]
fn viewers_are_told_that_nothing_is_written() {
    let mut rig = Rig::durable();
    member(&mut rig, "bench", "alice");
    let one = viewer(&mut rig, "bench");
    rig.handle(Event::Durable(false));
    let two = rig.view("bench", None);
    assert_eq!(rig.told(one), ["not_durable"]);
    let told = ["Admitted", "connection:ack", "sync:state", "not_durable"];
    assert_eq!(rig.told(two), told);
}

/// What one event sends: how many frames there are, each encoded once, and to how many connections
/// they go.
fn sent(rig: &mut Rig, event: Event) -> (usize, usize) {
    let mut effects = Vec::new();
    let now = Time { elapsed: rig.elapsed, wall: rig.wall() };
    rig.hub.handle(event, now, &mut effects);
    let mut frames: Vec<*const u8> = Vec::new();
    let mut receivers = 0;
    for effect in &effects {
        // Editors and whoever writes are asked now and then what they have received.
        if let Effect::Send { frame, .. } = effect
            && frame.bytes()[0] == 0x81
        {
            receivers += 1;
            frames.push(frame.bytes().as_ptr());
        }
    }
    frames.sort_unstable();
    frames.dedup();
    (frames.len(), receivers)
}

/// A frame is encoded once, whoever it goes to: a hundred viewers cost as many queued frames as a
/// hundred members, and no encoding.
#[test]
fn a_hundred_viewers_cost_what_a_hundred_members_do() {
    let sent_to = |viewers: bool| {
        let mut rig = Rig::with(settling());
        let alice = member(&mut rig, "bench", "alice");
        rig.tell(alice, lens("a", 1));
        for n in 0..100 {
            match viewers {
                true => rig.view("bench", None),
                false => member(&mut rig, "bench", &format!("user{n}")),
            };
        }
        rig.pass(10_000);
        let mut costs = Vec::new();
        for message in [
            command("move_item", "a", json!({"x_mm": 2})),
            lens("b", 1),
            json!({"type": "cursor", "x": 1}),
            json!({"type": "sync:update", "state": {"items": [{"uuid": "a"}, {"uuid": "b"}]}}),
        ] {
            let message = inbound::parse(&message.to_string()).expect("what is allowed");
            costs.push(sent(&mut rig, Event::Message { conn: alice, message }));
        }
        rig.pass(300);
        costs
    };
    let (members, viewers) = (sent_to(false), sent_to(true));
    assert_eq!(members, [(1, 100), (2, 200), (1, 100), (2, 200)], "the last are two changes");
    assert_eq!(viewers, [(1, 100), (2, 200), (1, 100), (4, 400)], "a state, two items, who did it");
}

/// The document is encoded once for all who come before it changes.
#[test]
fn who_comes_is_shown_what_others_were_shown() {
    let mut rig = Rig::with(settling());
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, lens("a", 1));
    let mut states = Vec::new();
    for conn in [ConnId(900), ConnId(901)] {
        let mut effects = Vec::new();
        let now = Time { elapsed: rig.elapsed, wall: rig.wall() };
        rig.hub.handle(
            Event::View { conn, session: "bench".into(), grant: None, since: None },
            now,
            &mut effects,
        );
        let state = effects.iter().rev().find_map(|effect| match effect {
            Effect::Send { frame, .. } => Some(frame.bytes().as_ptr()),
            _ => None,
        });
        states.push(state.expect("a state"));
    }
    assert_eq!(states[0], states[1]);
}
