//! What there may be at most, and what happens at it.

use collabd::hub::{ConnId, DocumentBounds, Event, Limits, Refusal};
use serde_json::{Value, json};

use crate::rig::*;

#[test]
fn a_connection_joins_a_thousand_channels() {
    let mut rig = Rig::new();
    let conn = rig.client("web", writer());
    for n in 0..1000 {
        rig.say(conn, join(&n.to_string()));
        assert_eq!(rig.told(conn), ["message_delivered", "subscription_success"]);
    }
    rig.say(conn, join("one more"));
    let text = "Too many channels joined: leave one first";
    assert_eq!(rig.on(conn), [error(&rig, "web", "channel_error", text, 409)]);
    rig.say(conn, join("999"));
    assert_eq!(rig.told(conn)[1], "subscription_success", "it is in there already");
    rig.say(conn, leave("0"));
    rig.say(conn, join("one more"));
    assert_eq!(rig.told(conn)[3], "subscription_success");
    let other = rig.client("other", writer());
    rig.say(other, join("another"));
    assert_eq!(rig.told(other)[1], "subscription_success");
}

#[test]
fn a_session_that_is_left_again_and_again_has_one_timer_that_ends_it() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        let conn = rig.join_session("a", "alice", None);
        rig.gone(conn);
        rig.pass(11_000);
    }
    assert_eq!(rig.hub.footprint().timers, 1);
    // It lingers from the last time on.
    rig.pass(600_000 - 11_001);
    assert_eq!(rig.hub.footprint().sessions.len(), 1);
    rig.pass(1);
    let left = rig.hub.footprint();
    assert_eq!((left.sessions.len(), left.timers), (0, 0));
}

#[test]
fn sessions_that_make_way_for_others_leave_no_timers_behind() {
    let mut rig = Rig::with(Limits { max_sessions: 3, ..limits() });
    for n in 0..100 {
        let conn = rig.join_session(&format!("session {n}"), "alice", None);
        rig.gone(conn);
        rig.pass(11_000);
    }
    let left = rig.hub.footprint();
    assert_eq!((left.sessions.len(), left.timers), (3, 3));
}

fn add_items(rig: &mut Rig, conn: ConnId, count: usize) {
    for n in 0..count {
        let add = json!({"action": "add_item", "item_id": n.to_string(), "data": {}});
        rig.tell(conn, json!({"type": "command", "command": add}));
    }
}

/// A session in which these users were one after the other, and then nobody; the first added items.
fn left_session(rig: &mut Rig, name: &str, users: &[&str], items: usize) {
    for user in users {
        let conn = rig.join_session(name, user, None);
        assert!(rig.on(conn).contains(&Done::Admitted), "{name}");
        add_items(rig, conn, if user == &users[0] { items } else { 0 });
        rig.gone(conn);
        rig.pass(1);
    }
}

fn names(rig: &Rig) -> Vec<String> {
    let sessions = rig.hub.footprint().sessions;
    let mut names: Vec<String> = sessions.iter().map(|it| it.name.to_string()).collect();
    names.sort_unstable();
    names
}

/// Sessions that somebody fills with an item each, or a few, neither keep others out nor push their work
/// out.
#[test]
fn sessions_of_an_item_make_way_and_work_stays() {
    for (items, users) in [(1, &["mallory"][..]), (3, &["mallory"]), (1, &["mallory", "trudy"])] {
        let mut rig = Rig::with(Limits { max_sessions: 10, ..limits() });
        left_session(&mut rig, "work", &["alice", "bob"], 2);
        left_session(&mut rig, "own work", &["carol"], 5);
        for n in 0..100 {
            left_session(&mut rig, &format!("m{n}"), users, items);
        }
        let left = names(&rig);
        assert_eq!(left.len(), 10);
        assert!(left.contains(&"work".to_owned()) && left.contains(&"own work".to_owned()));
        // Of equal ones the one that was left last stays.
        assert!(left.contains(&"m99".to_owned()) && left.contains(&"m92".to_owned()), "{left:?}");
        let conn = rig.join_session("new", "dave", None);
        assert!(rig.on(conn).contains(&Done::Admitted), "{users:?}");
        assert!(!names(&rig).contains(&"m92".to_owned()));
    }
}

#[test]
fn of_sessions_that_are_left_the_least_makes_way_first() {
    let mut rig = Rig::with(Limits { max_sessions: 6, ..limits() });
    left_session(&mut rig, "shared", &["alice", "bob"], 1);
    left_session(&mut rig, "two", &["alice"], 2);
    left_session(&mut rig, "one", &["alice"], 1);
    left_session(&mut rig, "one, later", &["alice"], 1);
    left_session(&mut rig, "three", &["alice"], 3);
    left_session(&mut rig, "none", &["alice"], 0);
    for (n, gone) in ["none", "one", "one, later", "shared", "two", "three"].iter().enumerate() {
        assert!(names(&rig).contains(&(*gone).to_owned()), "{gone}");
        let conn = rig.join_session(&n.to_string(), "dave", None);
        assert!(rig.on(conn).contains(&Done::Admitted), "{gone}");
        assert!(!names(&rig).contains(&(*gone).to_owned()), "{gone}");
    }
    let conn = rig.join_session("more", "dave", None);
    assert_eq!(rig.on(conn), [Done::Refused(Refusal::Full)], "somebody is in each of them");
}

#[test]
fn what_several_people_worked_on_or_is_in_versions_alone_makes_way_for_nobody() {
    let mut rig = Rig::with(Limits { max_sessions: 3, ..limits() });
    left_session(&mut rig, "work", &["alice", "bob"], 2);
    left_session(&mut rig, "more work", &["alice", "bob"], 20);
    // Its canvas is empty, and what it was before is nowhere else.
    let conn = rig.join_session("emptied", "alice", None);
    add_items(&mut rig, conn, 2);
    rig.tell(conn, json!({"type": "sync:update", "state": {"items": []}}));
    rig.gone(conn);
    let conn = rig.join_session("new", "dave", None);
    assert_eq!(rig.on(conn), [Done::Refused(Refusal::Full)]);
    rig.pass(600_000);
    let conn = rig.join_session("new", "dave", None);
    assert!(rig.on(conn).contains(&Done::Admitted));
}

/// What is stored is not lost: the one that was left first leaves memory.
#[test]
fn of_stored_sessions_the_one_left_first_leaves_memory() {
    let mut rig = Rig::with(Limits { max_sessions: 3, durable: true, ..limits() });
    for (name, items) in [("a", 9), ("b", 1), ("c", 5), ("d", 2)] {
        left_session(&mut rig, name, &["alice", "bob"], items);
    }
    assert_eq!(names(&rig), ["b", "c", "d"]);
}

/// A host, and somebody else who has added the item "i" with a field of his own.
fn host_and_guest(document: DocumentBounds) -> (Rig, [ConnId; 2]) {
    let mut rig = Rig::with(Limits { document, ..limits() });
    let alice = rig.join_session("s", "alice", None);
    let bob = rig.join_session("s", "bob", None);
    let data = json!({"of_bob": "b".repeat(100)});
    let add = json!({"action": "add_item", "item_id": "i", "item_type": "component", "data": data});
    rig.tell(bob, json!({"type": "command", "command": add}));
    let data = json!({"of_alice": 1});
    let update = json!({"action": "update_item", "item_id": "i", "data": data});
    rig.tell(alice, json!({"type": "command", "command": update}));
    rig.pass(5000);
    rig.all();
    (rig, [alice, bob])
}

/// What the sender of a state of these items, as a snapshot of the host's or as an update, is told is
/// wrong.
fn refusals(rig: &mut Rig, host: ConnId, kind: &str, items: Value) -> Vec<String> {
    rig.tell(host, json!({"type": kind, "id": 1, "state": {"items": items}}));
    rig.told(host)
        .into_iter()
        .filter(|told| matches!(&**told, "document_full" | "bad_item"))
        .collect()
}

#[test]
fn what_a_state_lacks_and_the_server_adds_counts() {
    // Its id and its type are there a second time, in the fields that editors read.
    let untyped = json!([{"item_uuid": "x".repeat(50), "_type": "t".repeat(50)}]);
    let bounds = |item, document| DocumentBounds { item, document };
    for (kind, of_item) in [("sync:update", "document_full"), ("sync:full_state", "bad_item")] {
        for (bounds, refused) in [
            (bounds(700, 1 << 20), None),
            (bounds(1 << 20, 700), None),
            (bounds(260, 1 << 20), Some(of_item)),
            (bounds(1 << 20, 260), Some("document_full")),
        ] {
            let (mut rig, [alice, _]) = host_and_guest(bounds);
            let refusals = refusals(&mut rig, alice, kind, untyped.clone());
            assert_eq!(refusals.first().map(String::as_str), refused, "{kind}, {bounds:?}");
            assert!(rig.hub.footprint().sessions[0].document_bytes <= bounds.document);
        }
    }
}

/// An item that a snapshot makes too large by the fields that it leaves in it is left out of the
/// snapshot, and nothing else is.
#[test]
fn what_a_snapshot_leaves_in_an_item_counts() {
    let shown = json!([{"uuid": "i", "item_type": "component", "of_alice": "a".repeat(100)},
                       {"uuid": "j"}]);
    let bounds = |item, document| DocumentBounds { item, document };
    for (bounds, refused, is_changed) in [
        (bounds(400, 1 << 20), None, true),
        (bounds(1 << 20, 450), None, true),
        (bounds(250, 1 << 20), Some("bad_item"), false),
        (bounds(1 << 20, 250), Some("document_full"), false),
    ] {
        let (mut rig, [alice, _]) = host_and_guest(bounds);
        let refusals = refusals(&mut rig, alice, "sync:full_state", shown.clone());
        assert_eq!(refusals.first().map(String::as_str), refused, "{bounds:?}");
        let document = rig.hub.document("s").expect("it is there");
        let item = document.get("i").expect("it is there");
        let of_alice = item.field("of_alice").expect("it was written").value.get();
        assert_eq!(of_alice.len() > 100, is_changed, "{bounds:?}");
        assert_eq!(document.get("j").is_some(), refused != Some("document_full"));
        assert!(rig.hub.footprint().sessions[0].document_bytes <= bounds.document);
    }
}

/// Whoever is refused is told which bound it was, and how large that is.
#[test]
fn a_refusal_names_the_bound() {
    let bounds = |item, document| DocumentBounds { item, document };
    let item = |bytes: usize| json!({"uuid": "j", "text": "x".repeat(bytes)});
    let many = || -> Value { (0..1300).map(|n| json!({"uuid": format!("a{n}")})).collect() };
    for (bounds, items, named) in [
        (bounds(1000, 1 << 20), json!([item(1000)]), "an item may have 1000 bytes at most"),
        (bounds(1 << 20, 1000), json!([item(1000)]), "canvas may have 1000 bytes at most"),
        (bounds(1 << 20, 220_000), many(), "canvas may have 1100 items at most"),
    ] {
        for kind in ["sync:update", "sync:full_state"] {
            let (mut rig, [alice, _]) = host_and_guest(bounds);
            rig.tell(alice, json!({"type": kind, "state": {"items": items}}));
            let told = rig.texts(alice);
            let error = told.iter().find(|told| told["type"] == "error").expect("an error");
            let message = error["message"].as_str().expect("a text");
            assert!(message.contains(named), "{kind}: {message}");
        }
        let (mut rig, [_, bob]) = host_and_guest(bounds);
        for item in items.as_array().expect("a list") {
            let id = &item["uuid"];
            let add = json!({"action": "add_item", "item_id": id, "data": item});
            rig.tell(bob, json!({"type": "command", "command": add}));
        }
        let told = rig.texts(bob);
        let error = told.iter().find(|told| told["error_type"] == "document_full");
        let message = error.expect("an error")["message"].as_str().expect("a text");
        assert!(message.contains(named), "{message}");
    }
}

/// A document of tiny items may have one for each 200 bytes that it may have.
#[test]
fn there_are_as_many_items_as_permitted() {
    let bounds = DocumentBounds { item: 1 << 20, document: 260_000 };
    let items = |count, name: &str| -> Value {
        (0..count).map(|n| json!({"uuid": format!("{name}{n}")})).collect()
    };
    let of_document = |rig: &Rig| rig.hub.document("s").expect("it is there").len();
    for kind in ["sync:update", "sync:full_state"] {
        let (mut rig, [alice, _]) = host_and_guest(bounds);
        let refused = refusals(&mut rig, alice, kind, items(1301, "a"));
        assert_eq!((refused, of_document(&rig)), (vec!["document_full".to_owned()], 1), "{kind}");
        let (mut rig, [alice, bob]) = host_and_guest(bounds);
        // A snapshot leaves bob's item where it is.
        let count = if kind == "sync:update" { 1300 } else { 1299 };
        assert_eq!(refusals(&mut rig, alice, kind, items(count, "a")), [""; 0], "{kind}");
        assert_eq!(of_document(&rig), 1300);
        let add = json!({"action": "add_item", "item_id": "more", "item_type": "lens", "data": {}});
        rig.all();
        rig.tell(bob, json!({"type": "command", "command": add}));
        assert_eq!((rig.told(bob)[0].as_str(), of_document(&rig)), ("document_full", 1300));
        // Others in their place are no more than those.
        assert_eq!(refusals(&mut rig, alice, kind, items(count, "b")), [""; 0], "{kind}");
        assert_eq!(of_document(&rig), 1300);
    }
}

/// A canvas was moved as a whole: while its items are settled nobody's message waits for the last one.
#[test]
fn many_timers_that_are_due_at_once_let_a_message_through() {
    let mut rig = Rig::with(Limits { settle: true, ..limits() });
    let (alice, bob) = (rig.join_session("s", "alice", None), rig.join_session("s", "bob", None));
    rig.tell(bob, json!({"type": "chat"}));
    let items =
        |x| -> Value { (0..1000).map(|n| json!({"uuid": format!("a{n}"), "x_mm": x})).collect() };
    for x in [1, 2] {
        rig.tell(alice, json!({"type": "sync:update", "state": {"items": items(x)}}));
    }
    rig.all();
    rig.elapsed += std::time::Duration::from_secs(1);
    rig.handle(Event::Tick);
    let settled = rig.told(bob).len();
    assert!(settled > 0 && settled < 1000, "{settled}");
    rig.tell(alice, json!({"type": "chat", "text": "hello"}));
    assert_eq!(rig.told(bob), ["chat"]);
    rig.pass(0);
    assert_eq!(rig.told(bob).len(), 1000 - settled);
}

#[test]
fn there_are_as_many_channels_as_permitted() {
    let mut rig = Rig::with(Limits { max_channels: 3, ..limits() });
    let conn = rig.member("web", &["a", "b", "c"]);
    let full = "There are too many channels: try again later";
    rig.say(conn, join("d"));
    assert_eq!(rig.on(conn), [error(&rig, "web", "channel_error", full, 503)]);
    let other = rig.client("other", writer());
    rig.say(other, join("c"));
    assert_eq!(rig.told(other)[1], "subscription_success", "it is there already");
    // A channel without members and threads is no more.
    rig.say(conn, leave("a"));
    rig.say(conn, join("d"));
    assert_eq!(rig.told(conn)[3], "subscription_success");
    rig.say(conn, leave("c"));
    rig.say(conn, join("e"));
    assert_eq!(rig.told(conn)[2..], ["channel_error"], "somebody is in c still");
    rig.gone(other);
    rig.say(conn, join("e"));
    assert_eq!(rig.told(conn)[1], "subscription_success");
}

#[test]
fn of_channels_with_threads_the_longest_deserted_one_makes_room() {
    let mut rig = Rig::with(Limits { max_channels: 3, ..limits() });
    let conn = rig.member("web", &["a", "b", "c"]);
    for channel in ["c", "a", "b"] {
        rig.say(conn, in_thread(channel, "t"));
    }
    let listed = |rig: &mut Rig| {
        let threads = rig.threads(None, writer());
        let threads = threads["threads"].as_array().unwrap().clone();
        threads
            .iter()
            .map(|thread| thread["channel"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    for channel in ["b", "a", "c"] {
        rig.say(conn, leave(channel));
    }
    assert_eq!(listed(&mut rig), "bac", "newest first");
    rig.say(conn, join("d"));
    assert_eq!(listed(&mut rig), "ac");
    // Somebody came back to it: it is not deserted any more.
    rig.say(conn, join("a"));
    rig.say(conn, join("e"));
    assert_eq!(listed(&mut rig), "a");
    rig.on(conn);
    rig.say(conn, join("f"));
    assert_eq!(rig.told(conn), ["channel_error"]);
    assert_eq!(listed(&mut rig), "a");
}

#[test]
fn a_channel_remembers_its_newest_thousand_threads() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["a", "b"]);
    rig.say(conn, in_thread("b", "t"));
    for n in 0..1000 {
        rig.say(conn, in_thread("a", &n.to_string()));
    }
    rig.say(conn, in_thread("a", "0"));
    rig.say(conn, in_thread("a", "one more"));
    let listed = rig.threads(Some("a"), writer());
    assert_eq!(listed["total"], 1000);
    let ids: Vec<&str> = listed["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["thread_id"].as_str().unwrap())
        .collect();
    assert_eq!((ids.len(), ids[0], ids[1], ids[2], ids[999]), (1000, "one more", "0", "999", "2"));
    assert_eq!(rig.threads(None, writer())["total"], 1001, "the other channel's is still there");
    // A forgotten thread begins anew.
    rig.say(conn, in_thread("a", "1"));
    assert_eq!(rig.threads(Some("a"), writer())["threads"][0]["messages"], 1);
}

#[test]
fn a_thread_lists_its_first_hundred_participants() {
    let mut rig = Rig::new();
    for n in 0..102 {
        let conn = rig.member(&format!("client {n}"), &["a"]);
        rig.say(conn, in_thread("a", "t"));
        rig.say(conn, in_thread("a", "t"));
    }
    let thread = &rig.threads(None, writer())["threads"][0];
    let participants = thread["participants"].as_array().unwrap();
    assert_eq!((thread["messages"].as_u64(), participants.len()), (Some(204), 100));
    assert_eq!((&participants[0], &participants[99]), (&json!("client 0"), &json!("client 99")));
}
