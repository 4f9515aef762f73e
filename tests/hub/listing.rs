//! What is answered to whoever asks about sessions without a WebSocket.

use std::time::{Duration, Instant};

use collabd::auth::Level;
use collabd::hub::{ConnId, Effect, Event, Hub, Limits, Refusal, Time};
use collabd::protocol::{Timestamp, inbound};
use serde_json::{Value, json};

use crate::keeping::{command, member};
use crate::rig::*;

fn at(rig: &Rig) -> Value {
    json!(rig.wall().to_string())
}

fn minutes(counts: &[(usize, u32)]) -> Value {
    let mut minutes = [0; 30];
    counts.iter().for_each(|(ago, count)| minutes[29 - ago] = *count);
    json!(minutes)
}

fn lens(id: &str) -> Value {
    command("add_item", id, json!({"uuid": id, "item_type": "component", "x_mm": 1.50}))
}

fn moved(id: &str, x: f64) -> Value {
    command("move_item", id, json!({"x_mm": x, "y_mm": 2, "angle_deg": -90}))
}

fn state(rig: &mut Rig, session: &str) -> Result<Value, Refusal> {
    rig.ask(|conn| Event::State { conn, session: session.into(), grant: None })
}

/// What was done last, in short.
fn recent(rig: &mut Rig) -> Vec<String> {
    let details = rig.details("bench").expect("it is there");
    let recent = details["recent"].as_array().expect("a list").iter().map(|change| {
        let text = |key: &str| change[key].as_str().unwrap_or("-").to_owned();
        let of = [text("user_id"), text("action"), text("item_id"), text("label")];
        format!("{} {} {}", change["seq"], of.join(" "), change["x_mm"])
    });
    recent.collect()
}

/// How often a user's connections took over from one another, as the list of sessions says it.
fn takeovers(rig: &mut Rig) -> Value {
    rig.list(None)["sessions"][0]["members"][0]["takeovers"].clone()
}

#[test]
fn takeovers_of_a_user_are_counted_for_five_minutes() {
    let mut rig = Rig::new();
    rig.join_session("bench", "alice", None);
    assert_eq!(takeovers(&mut rig), 0);
    for count in 1..=3 {
        rig.pass(60_000);
        rig.join_session("bench", "alice", None);
        assert_eq!(takeovers(&mut rig), count);
    }
    // Another user's joining is none, and neither is coming back after having left.
    let bob = rig.join_session("bench", "bob", None);
    assert_eq!(takeovers(&mut rig), 3);
    rig.gone(bob);
    rig.pass(240_000);
    assert_eq!(takeovers(&mut rig), 2, "the first was five minutes and more ago");
    rig.pass(60_001);
    assert_eq!(takeovers(&mut rig), 0);
    for _ in 0..150 {
        rig.join_session("bench", "alice", None);
    }
    assert_eq!(takeovers(&mut rig), 100, "no more are counted");
}

#[test]
fn a_session_is_described_with_its_members() {
    let mut rig = Rig::new();
    let conn = rig.join_session("bench", "alice", Some(writer()));
    rig.pass(12);
    rig.pong(conn);
    let (joined, conn_of_alice) = (at(&rig), conn.0);
    rig.pass(59_988);
    rig.tell(conn, lens("a"));
    let bob = rig.join_session("bench", "bob", Some(reader()));
    let viewer = rig.view("bench", None);
    let Done::Told(ack) = &rig.on(viewer)[1] else { panic!("no acknowledgement") };
    let epoch = ack["epoch"].clone();
    let summary = json!({
        "session_id": "bench", "epoch": epoch, "seq": 1, "items": 1,
        "bytes": rig.hub.document("bench").expect("it is there").bytes(),
        "viewers": 1, "member_count": 2,
        "members": [
            {"user_id": "alice", "is_host": true, "connected_at": START_SHOWN, "read_only": false,
             "connection": conn_of_alice, "takeovers": 0, "round_trip_ms": 12.0},
            {"user_id": "bob", "is_host": false, "connected_at": at(&rig), "read_only": true,
             "connection": bob.0, "takeovers": 0, "round_trip_ms": null},
        ],
        "changed_at": at(&rig),
        "changes_per_minute": minutes(&[(0, 1)]),
        "stored": false,
    });
    assert_ne!(joined, START_SHOWN);
    let list = json!({"sessions": [summary], "total": 1, "timestamp": at(&rig)});
    assert_eq!(rig.list(None), list);
    let mut details = summary;
    details["recent"] = json!([{
        "seq": 1, "at": at(&rig), "user_id": "alice", "action": "add_item", "item_id": "a",
        "item_type": "component", "label": null, "x_mm": 1.5,
    }]);
    details["timestamp"] = at(&rig);
    assert_eq!(rig.details("bench"), Ok(details));
    assert_eq!(rig.details("table"), Err(Refusal::Unknown));
}

const START_SHOWN: &str = "2025-10-28T13:30:45.123Z";

#[test]
fn a_session_nobody_has_changed_says_so() {
    let mut rig = Rig::new();
    member(&mut rig, "bench", "alice");
    let details = rig.details("bench").expect("it is there");
    let known = (&details["changed_at"], &details["recent"], &details["changes_per_minute"]);
    assert_eq!(known, (&Value::Null, &json!([]), &minutes(&[])));
}

#[test]
fn the_document_is_a_file_that_an_editor_can_open() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    let empty = state(&mut rig, "bench").expect("it is there");
    assert_eq!(
        (&empty["items"], &empty["version"], &empty["seq"]),
        (&json!([]), &json!(0), &json!(0))
    );
    let canvas = r#"{"type":"sync:update","state":{"items":[{"uuid":"a","n":1.50}],"version":3,
                     "zoom":2,"session_id":"mine","seq":99}}"#;
    let message = inbound::parse(canvas).expect("what is allowed");
    rig.handle(Event::Message { conn: alice, message });
    let expected = json!({
        "items": [{"uuid": "a", "n": 1.50, "item_type": "component", "item_uuid": "a",
                   "_type": "component"}], "version": 3,
        "timestamp": at(&rig), "zoom": 2, "session_id": "bench", "epoch": empty["epoch"], "seq": 1,
    });
    assert_eq!(state(&mut rig, "bench"), Ok(expected));
    assert_eq!(state(&mut rig, "table"), Err(Refusal::Unknown));
    // To the letter, and nothing twice.
    let mut effects = Vec::new();
    let now = Time { elapsed: rig.elapsed, wall: rig.wall() };
    let conn = ConnId(99);
    rig.hub.handle(Event::State { conn, session: "bench".into(), grant: None }, now, &mut effects);
    let Effect::Answer { body, .. } = &effects[0] else { panic!("{effects:?}") };
    let body = String::from_utf8_lossy(body);
    assert!(body.contains(r#""n":1.50"#) && body.matches("\"seq\"").count() == 1, "{body}");
}

#[test]
fn only_what_a_key_opens_is_told_of() {
    let mut rig = Rig::new();
    for session in ["bench", "table", "rack"] {
        member(&mut rig, session, "alice");
    }
    let narrow = || Some(granted(only(&["table", "none"], key("k", Level::Read)), 0));
    let list = rig.list(narrow());
    assert_eq!((&list["total"], &list["sessions"][0]["session_id"]), (&json!(1), &json!("table")));
    for (session, expected) in [
        ("table", None),
        ("none", Some(Refusal::Unknown)),
        ("bench", Some(Refusal::KeyRefused)),
        ("unheard of", Some(Refusal::KeyRefused)),
    ] {
        let session = || session.into();
        let details = |conn| Event::Details { conn, session: session(), grant: narrow() };
        assert_eq!(rig.ask(details).err(), expected);
        let state = |conn| Event::State { conn, session: session(), grant: narrow() };
        assert_eq!(rig.ask(state).err(), expected);
    }
    // By now it is in force no more.
    rig.keys(1, []);
    assert_eq!(rig.list(narrow())["total"], 0);
    let details = |conn| Event::Details { conn, session: "table".into(), grant: narrow() };
    assert_eq!(rig.ask(details), Err(Refusal::KeyRefused));
}

#[test]
fn sessions_with_members_come_first_and_then_those_that_were_changed_last() {
    let mut rig = Rig::new();
    for (session, changes, stays) in [
        ("a", true, false),
        ("b", true, true),
        ("c", true, false),
        ("d", false, false),
        ("e", false, true),
    ] {
        let alice = member(&mut rig, session, "alice");
        rig.pass(1000);
        if changes {
            rig.tell(alice, lens("a"));
        }
        if !stays {
            rig.gone(alice);
        }
    }
    let list = rig.list(None);
    let names = list["sessions"].as_array().expect("a list").iter();
    let names: Vec<&str> = names.map(|session| session["session_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "e", "c", "a", "d"]);
}

#[test]
fn a_drag_is_one_thing_that_was_done() {
    let mut rig = Rig::with(Limits { settle: true, ..limits() });
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    rig.tell(alice, lens("a"));
    rig.tell(bob, lens("b"));
    for step in 0..100 {
        for (user, item) in [(alice, "a"), (bob, "b")] {
            rig.tell(user, moved(item, f64::from(step)));
            let whole = json!({"x_mm": step, "name": format!("of {item}")});
            rig.tell(user, command("update_item", item, whole));
        }
        rig.pass(8);
    }
    let drags = [
        "1 alice add_item a - 1.5",
        "2 bob add_item b - 1.5",
        "400 alice move_item a of a 99",
        "402 bob move_item b of b 99",
    ];
    assert_eq!(recent(&mut rig), drags.map(|drag| drag.replace(" 99", " 99.0")));
    rig.pass(1992);
    rig.tell(alice, moved("a", 7.0));
    assert_eq!(recent(&mut rig).last().map(String::as_str), Some("403 alice move_item a of a 7.0"));
    assert_eq!(recent(&mut rig).len(), 4, "still the same drag");
    rig.pass(2001);
    rig.tell(alice, moved("a", 8.0));
    rig.tell(bob, moved("a", 9.0));
    rig.tell(alice, moved("a", 10.0));
    rig.tell(alice, command("remove_item", "a", json!({})));
    assert_eq!(
        recent(&mut rig)[4..],
        [
            "404 alice move_item a of a 8.0",
            "405 bob move_item a of a 9.0",
            "406 alice move_item a of a 10.0",
            "407 alice remove_item a of a 10.0"
        ],
        "in turns it is several"
    );
    let details = rig.details("bench").expect("it is there");
    assert_eq!(details["changes_per_minute"], minutes(&[(0, 407)]));
}

/// What the activities say of fields: `[field, before, after]`, `null` for what isn't there.
fn changes(rig: &mut Rig) -> Vec<Value> {
    let details = rig.details("bench").expect("it is there");
    let recent = details["recent"].as_array().expect("a list").iter().map(|activity| {
        let Some(changes) = activity["changes"].as_array() else { return Value::Null };
        changes.iter().map(|one| json!([one["field"], one["before"], one["after"]])).collect()
    });
    recent.collect()
}

fn focusing(focus: Value) -> Value {
    json!([{"x1_mm": 0, "element_type": "lens", "efl_mm": focus}, {"element_type": "beam_block"}])
}

#[test]
fn an_activity_says_which_fields_were_changed_from_what_to_what() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    let item = json!({"item_type": "component", "x_mm": 1, "y_mm": 2, "name": "L", "locked": false,
                      "interfaces": focusing(json!(50))});
    rig.tell(alice, command("add_item", "a", item));
    let update = |data: Value| command("update_item", "a", data);
    rig.tell(alice, update(json!({"interfaces": focusing(json!(60))})));
    rig.tell(
        alice,
        update(json!({"interfaces": focusing(json!(75.0)), "name": "L", "notes": "new"})),
    );
    rig.tell(alice, moved("a", 7.0));
    rig.tell(alice, moved("a", 9.0));
    assert_eq!(
        changes(&mut rig),
        [
            Value::Null,
            json!([
                ["x_mm", 1.0, 9.0],
                ["angle_deg", null, -90.0],
                ["interfaces[0].efl_mm", 50, 75.0],
                ["notes", null, "new"]
            ])
        ],
        "one activity: the first old value and the last new one"
    );
    rig.pass(3000);
    rig.tell(alice, update(json!({"locked": true, "y_mm": 3})));
    rig.tell(alice, update(json!({"locked": false})));
    rig.pass(3000);
    rig.tell(alice, update(json!({"interfaces": [{"element_type": "lens"}]})));
    rig.pass(3000);
    rig.tell(alice, update(json!({"interfaces": [{"efl_mm": 1e3}]})));
    assert_eq!(
        changes(&mut rig)[2..],
        [
            json!([["y_mm", 2.0, 3.0]]),
            json!([["interfaces.length", 2, 1]]),
            json!([
                ["interfaces[0].efl_mm", null, 1e3],
                ["interfaces[0].element_type", "lens", null]
            ]),
        ]
    );
}

#[test]
fn what_an_activity_says_of_fields_is_bounded_and_tells_no_path() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, command("add_item", "a", json!({"item_type": "component"})));
    let mut data = json!({"image_path": "/home/alice/secret.png", "notes": "x".repeat(255)});
    (0..9).for_each(|n| data[format!("z {n}")] = json!(n));
    rig.tell(alice, command("update_item", "a", data));
    let details = rig.details("bench").expect("it is there");
    let activity = &details["recent"][1];
    let told = activity["changes"].as_array().expect("a list");
    assert_eq!((told.len(), &activity["more_changes"]), (8, &json!(true)));
    assert!(!details.to_string().contains("secret"), "{details}");
    let of = |field: &str| told.iter().find(|one| one["field"] == field).cloned();
    assert_eq!(of("image_path"), Some(json!({"field": "image_path", "not_kept": true})));
    assert_eq!(of("notes"), Some(json!({"field": "notes", "not_kept": true})));
    // A name that is too long isn't kept either, nor are interfaces by the thousand.
    rig.pass(3000);
    let name = "n".repeat(65);
    rig.tell(alice, command("update_item", "a", json!({name: 1})));
    let many =
        |n: i32| json!({"interfaces": (0..6000).map(|_| json!({"x1_mm": n})).collect::<Value>()});
    rig.pass(3000);
    rig.tell(alice, command("update_item", "a", many(1)));
    rig.pass(3000);
    rig.tell(alice, command("update_item", "a", many(2)));
    let details = rig.details("bench").expect("it is there");
    assert_eq!(details["recent"][2]["changes"], Value::Null);
    assert_eq!(details["recent"][2]["more_changes"], true);
    for n in [3, 4] {
        let told = json!([{"field": "interfaces", "not_kept": true}]);
        assert_eq!(details["recent"][n]["changes"], told);
    }
}

#[test]
fn a_replaced_document_is_counted_and_viewers_are_told_who_did_it() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    for id in ["a", "b", "c"] {
        rig.tell(alice, command("add_item", id, json!({"item_type": "component", "x_mm": 1})));
    }
    let viewer = rig.view("bench", None);
    rig.all();
    let conn = rig.conn();
    let text = json!({"items": [{"uuid": "a", "item_type": "component", "x_mm": 1},
        {"uuid": "b", "item_type": "component", "x_mm": 2}, {"uuid": "d"}]});
    let state = Box::new(inbound::State::parse(&text.to_string()).expect("a state"));
    rig.handle(Event::Restore { conn, session: "bench".into(), state, by: "operator".into() });
    let details = rig.details("bench").expect("it is there");
    let activity = details["recent"].as_array().expect("a list").last().expect("one").clone();
    let counts = ["added", "changed", "removed"].map(|key| activity[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(1)]);
    let told = rig.on(viewer);
    let Some(Done::Told(last)) = told.last() else { panic!("{told:?}") };
    let mut expected = activity;
    expected["type"] = json!("session:activity");
    expected["timestamp"] = expected["at"].clone();
    assert_eq!(*last, expected);
}

#[test]
fn an_item_is_told_of_with_who_changed_it_last() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    let bob = member(&mut rig, "bench", "bob");
    rig.tell(alice, lens("a"));
    rig.pass(5000);
    rig.tell(bob, moved("a", 3.0));
    let changed_at = at(&rig);
    rig.pass(5000);
    let ask = |item: &'static str, grant| {
        move |conn| Event::Item { conn, session: "bench".into(), item: item.into(), grant }
    };
    let told = rig.ask(ask("a", None)).expect("it is there");
    assert_eq!((&told["changed_by"], &told["changed_at"]), (&json!("bob"), &changed_at));
    assert_eq!((&told["item"]["uuid"], &told["item"]["x_mm"]), (&json!("a"), &json!(3.0)));
    assert_eq!(rig.ask(ask("b", None)), Err(Refusal::NoItem));
    let other = Some(granted(only(&["table"], key("k", Level::Read)), 0));
    assert_eq!(rig.ask(ask("a", other)), Err(Refusal::KeyRefused));
}

#[test]
fn whole_canvases_and_what_they_change_are_told_of() {
    let mut rig = Rig::new();
    let host = rig.join_session("bench", "host", None);
    let canvas = |items: Value| json!({"items": items, "version": 1, "timestamp": "x"});
    let shows = |items: Value| json!({"type": "sync:full_state", "target_user": "host", "state": canvas(items)});
    rig.tell(host, shows(json!([{"uuid": "a", "name": "A"}, {"uuid": "b", "label": "B"}])));
    rig.tell(host, shows(json!([{"uuid": "b", "label": "B", "x_mm": 3}])));
    rig.tell(host, json!({"type": "sync:update", "state": canvas(json!([{"uuid": "c"}]))}));
    let conn = rig.conn();
    let text = canvas(json!([{"uuid": "d"}])).to_string();
    let state = Box::new(inbound::State::parse(&text).expect("a state"));
    rig.handle(Event::Restore { conn, session: "bench".into(), state, by: "operator".into() });
    assert_eq!(
        recent(&mut rig),
        [
            "1 host add_item a A null",
            "2 host add_item b B null",
            "3 host remove_item a A null",
            "4 host update_item b B 3.0",
            "6 host replace - - null",
            "8 operator import - - null"
        ]
    );
}

#[test]
fn what_was_done_last_in_a_stored_session_is_known_when_it_is_loaded() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    rig.tell(alice, json!({"type": "sync:update", "state": {"items": [{"uuid": "z"}]}}));
    for item in ["a", "b"] {
        rig.tell(alice, command("add_item", item, json!({"item_type": "component", "name": item})));
    }
    for step in 0..20 {
        rig.pass(100);
        rig.tell(alice, moved("a", f64::from(step)));
        rig.tell(alice, command("update_item", "a", json!({"x_mm": step})));
    }
    rig.tell(alice, command("remove_item", "b", json!({})));
    rig.commit();
    let before = rig.details("bench").expect("it is there");
    let told = recent(&mut rig);
    let since = [
        "2 alice add_item a a null",
        "3 alice add_item b b null",
        "43 alice move_item a a 19.0",
        "44 alice remove_item b b null",
    ];
    assert_eq!(
        (&*told[0], &told[1..]),
        ("1 alice replace - - null", &since.map(str::to_owned)[..])
    );
    rig.restart(Limits { durable: true, ..limits() });
    assert_eq!(rig.details("bench"), Err(Refusal::Unknown), "it isn't in memory");
    member(&mut rig, "bench", "bob");
    // What was replaced was stored as its single changes.
    let told = recent(&mut rig);
    assert_eq!(
        (&*told[0], &told[1..]),
        ("1 alice add_item z - null", &since.map(str::to_owned)[..])
    );
    let after = rig.details("bench").expect("it is there");
    for n in 1..before["recent"].as_array().expect("a list").len() {
        assert_eq!(after["recent"][n]["changes"], before["recent"][n]["changes"], "{n}");
    }
    assert_eq!(after["recent"][3]["changes"][0], json!({"field": "x_mm", "after": 19.0}));
    assert_eq!(after["changed_at"], before["changed_at"]);
    assert_eq!(after["recent"][3]["y_mm"], 2.0);
    assert_eq!(after["changes_per_minute"], minutes(&[]));
}

/// A stored document in between: of what was done before it that is known which its own frames tell.
#[test]
fn what_was_done_before_the_last_stored_document_is_known_from_its_frames() {
    let mut rig = Rig::durable();
    let alice = member(&mut rig, "bench", "alice");
    let item = json!({"item_type": "component", "x_mm": 1, "name": "old", "wavelength_nm": 1});
    rig.tell(alice, command("add_item", "a", item));
    for (name, wavelength) in [("new", 2), ("newer", 3)] {
        rig.pass(3000);
        let data = json!({"name": name, "wavelength_nm": wavelength});
        rig.tell(alice, command("update_item", "a", data));
    }
    rig.tell(alice, json!({"type": "sync:update", "state": {"items": [{"uuid": "z"}]}}));
    rig.commit();
    let before = changes(&mut rig);
    rig.restart(Limits { durable: true, ..limits() });
    member(&mut rig, "bench", "bob");
    assert_eq!(changes(&mut rig)[..3], before[..3]);
    let expected = json!([["name", "new", "newer"], ["wavelength_nm", 2, 3]]);
    assert_eq!(before[2], expected);
}

#[test]
fn what_cannot_be_shown_is_left_out_and_only_the_last_are_remembered() {
    let mut rig = Rig::new();
    let alice = member(&mut rig, "bench", "alice");
    let long = "x".repeat(1023);
    for (key, name) in [
        ("name", json!("")),
        ("label", json!(7)),
        ("name", json!(long)),
        ("name", json!(&long[..1022])),
    ] {
        rig.tell(alice, command("add_item", "a", json!({"item_type": "component", key: name})));
        rig.tell(alice, command("remove_item", "a", json!({})));
    }
    let labels = |rig: &mut Rig| -> Vec<Value> {
        let details = rig.details("bench").expect("it is there");
        let recent = details["recent"].as_array().expect("a list").iter();
        recent.map(|change| change["label"].clone()).collect()
    };
    let short = json!(&long[..1022]);
    let nothing = Value::Null;
    assert_eq!(
        labels(&mut rig)[..6],
        [
            nothing.clone(),
            nothing.clone(),
            nothing.clone(),
            nothing.clone(),
            nothing.clone(),
            nothing.clone()
        ]
    );
    assert_eq!(labels(&mut rig)[6..], [short.clone(), short]);
    // Half a character is passed on as it came, and no text.
    let half = r#"{"type":"command","command":{"action":"add_item","item_id":"h","data":{"label":"\ud800"}}}"#;
    let message = inbound::parse(half).expect("what is allowed");
    rig.handle(Event::Message { conn: alice, message });
    assert_eq!(labels(&mut rig).last(), Some(&nothing));
    rig.all();
    for n in 0..100 {
        rig.tell(alice, lens(&n.to_string()));
    }
    let shown = recent(&mut rig);
    assert_eq!((shown.len(), &*shown[0]), (50, "60 alice add_item 50 - 1.5"));
}

/// The list is bounded, whatever there is, and takes the hub a few milliseconds where it is optimised.
#[test]
fn a_list_of_very_many_is_cut() {
    let mut hub = Hub::new(limits(), 1);
    let now = Time { elapsed: Duration::ZERO, wall: Timestamp::from_millis(START) };
    let mut conns = 0;
    let mut join = |hub: &mut Hub, session: &str, users: usize| {
        for user in 0..users {
            conns += 1;
            let user = format!("user {user}").into();
            let join =
                Event::Join { conn: ConnId(conns), session: session.into(), user, grant: None };
            hub.handle(join, now, &mut Vec::new());
        }
    };
    let ask = |hub: &mut Hub, question| {
        let mut effects = Vec::new();
        let began = Instant::now();
        hub.handle(question, now, &mut effects);
        println!("took {:?}", began.elapsed());
        let Some(Effect::Answer { body, .. }) = effects.pop() else { panic!("no answer") };
        (serde_json::from_slice::<Value>(&body).expect("JSON"), body.len())
    };
    let list = || Event::Sessions { conn: ConnId(0), grant: None };
    let length = |value: &Value| value.as_array().map(Vec::len);
    (0..1010).for_each(|session| join(&mut hub, &format!("{session}"), 1));
    let (answer, _) = ask(&mut hub, list());
    assert_eq!((length(&answer["sessions"]), &answer["total"]), (Some(1000), &json!(1010)));
    join(&mut hub, "0", 102);
    let (answer, _) = ask(&mut hub, list());
    let crowd = answer["sessions"].as_array().unwrap().iter().find(|s| s["session_id"] == "0");
    let crowd = crowd.expect("it has members");
    assert_eq!((length(&crowd["members"]), &crowd["member_count"]), (Some(100), &json!(102)));
    let details = Event::Details { conn: ConnId(0), session: "0".into(), grant: None };
    assert_eq!(length(&ask(&mut hub, details).0["members"]), Some(102));
    // Longer than any name that gets past the door.
    let long = "!".repeat(100_000);
    (0..50).for_each(|session| join(&mut hub, &format!("{long}{session}"), 1));
    let (answer, bytes) = ask(&mut hub, list());
    assert!((3 << 20..=(4 << 20) + 100).contains(&bytes), "{bytes}");
    assert_eq!(answer["total"], 1060);
}
