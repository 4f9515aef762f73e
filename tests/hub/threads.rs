//! `GET /api/chat/threads`: what was said where, and by whom.

use collabd::auth::Level;
use serde_json::{Value, json};

use crate::rig::*;

fn ids(threads: &Value) -> Vec<&str> {
    let threads = threads["threads"].as_array().expect("a list");
    threads.iter().map(|thread| thread["thread_id"].as_str().expect("a string")).collect()
}

#[test]
fn threads_to_the_letter() {
    let mut rig = Rig::new();
    let empty = json!({"threads": [], "total": 0, "timestamp": "2025-10-28T13:30:45.123Z"});
    assert_eq!(rig.threads(None, writer()), empty);
    let (a, b) = (rig.member("ann", &["general", "x"]), rig.member("bob", &["general", "x"]));
    rig.say(a, in_thread("general", "t\"1"));
    rig.pass(1000);
    // Of any type.
    rig.say(b, json!({"type": "task_update", "channel": "general", "data": {"thread_id": "t\"1"}}));
    rig.say(a, in_thread("general", "t\"1"));
    rig.pass(1000);
    rig.say(b, in_thread("x", "t\"1"));
    rig.pass(1000);
    assert_eq!(
        rig.threads(None, reader()),
        json!({"threads": [
            {"thread_id": "t\"1", "channel": "x", "messages": 1,
             "last_message_at": "2025-10-28T13:30:47.123Z", "participants": ["bob"]},
            {"thread_id": "t\"1", "channel": "general", "messages": 3,
             "last_message_at": "2025-10-28T13:30:46.123Z", "participants": ["ann", "bob"]},
        ], "total": 2, "timestamp": "2025-10-28T13:30:48.123Z"})
    );
    let one = rig.threads(Some("general"), writer());
    assert_eq!((&one["total"], &one["threads"][0]["channel"]), (&json!(1), &json!("general")));
    assert_eq!(rig.threads(Some("unknown"), writer())["total"], 0);
}

#[test]
fn the_newest_stand_first_also_within_a_channel() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["a", "b"]);
    for (channel, thread) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "1"), ("b", "4")] {
        rig.say(conn, in_thread(channel, thread));
    }
    assert_eq!(ids(&rig.threads(None, writer())), ["4", "1", "3", "2"]);
    assert_eq!(ids(&rig.threads(Some("a"), writer())), ["1", "3"]);
}

#[test]
fn what_is_counted() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["a"]);
    for message in [
        chat("a", "without a thread"),
        json!({"type": "x", "channel": "a", "data": {"thread_id": 7}}),
        json!({"type": "x", "channel": "a", "data": {"thread_id": null}}),
        json!({"type": "x", "channel": "a", "data": "t", "thread_id": "t"}),
        json!({"type": "x", "data": {"thread_id": "an echo"}}),
        json!({"type": "chat_message", "channel": "a", "data": {"thread_id": "no content"}}),
        in_thread("not joined", "t"),
        in_thread("a", &"t".repeat(257)),
    ] {
        rig.say(conn, message);
    }
    assert_eq!(rig.threads(None, writer())["total"], 0);
    for message in [
        in_thread("a", &"t".repeat(256)),
        in_thread("a", ""),
        json!({"type": "cursor", "channel": "a", "data": {"thread_id": "pointing"}}),
    ] {
        rig.say(conn, message);
    }
    assert_eq!(rig.threads(None, writer())["total"], 3);
    // Whoever may only watch changes nothing.
    let watcher = rig.client("watcher", reader());
    rig.say(watcher, join("a"));
    rig.say(watcher, json!({"type": "cursor", "channel": "a", "data": {"thread_id": "pointing"}}));
    rig.say(watcher, in_thread("a", "reader's"));
    let threads = rig.threads(None, writer());
    assert_eq!((ids(&threads)[0], &threads["threads"][0]["messages"]), ("pointing", &json!(1)));
}

#[test]
fn threads_stay_when_the_members_leave() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["a", "b"]);
    rig.say(conn, in_thread("a", "t"));
    rig.say(conn, in_thread("b", "t"));
    rig.say(conn, leave("a"));
    rig.gone(conn);
    assert_eq!(rig.threads(None, writer())["total"], 2);
    let other = rig.member("other", &["a"]);
    rig.say(other, in_thread("a", "t"));
    assert_eq!(
        rig.threads(Some("a"), writer())["threads"][0]["participants"],
        json!(["web", "other"])
    );
}

#[test]
fn a_key_is_told_of_the_channels_it_opens() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["a", "b"]);
    rig.say(conn, in_thread("a", "of a"));
    rig.say(conn, in_thread("b", "of b"));
    let narrow = || granted(only(&["b"], key("narrow", Level::Read)), 1);
    assert_eq!(ids(&rig.threads(None, narrow())), ["of b"]);
    assert_eq!(ids(&rig.threads(Some("b"), narrow())), ["of b"]);
    assert_eq!(rig.threads(Some("a"), narrow())["total"], 0);
    // The hub's keys are newer than the one that asks: they count.
    rig.keys(2, [only(&["a"], key("narrow", Level::Read)), key("writer", Level::Write)]);
    assert_eq!(ids(&rig.threads(None, narrow())), ["of a"]);
    rig.keys(3, []);
    assert_eq!(rig.threads(None, narrow())["total"], 0);
    let expired = granted(until(0, key("late", Level::Read)), 3);
    assert_eq!(rig.threads(None, expired)["total"], 0);
}

/// A thousand are kept of each channel, and a thousand are listed of whatever is asked for.
#[test]
fn of_many_threads_the_newest_thousand_are_listed_and_all_are_counted() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["a", "b", "c"]);
    for n in 0..700 {
        for channel in ["a", "b", "c"] {
            rig.say(conn, in_thread(channel, &format!("{channel}{n}")));
        }
    }
    let newest_of = |channels: &[&str]| -> Vec<String> {
        let of = |n| channels.iter().rev().map(move |channel| format!("{channel}{n}"));
        (0..700).rev().flat_map(of).take(1000).collect()
    };
    let all = rig.threads(None, writer());
    assert_eq!((ids(&all).len(), &all["total"]), (1000, &json!(2100)));
    assert_eq!(ids(&all), newest_of(&["a", "b", "c"]));
    // Twice in the list is once.
    let narrow = granted(only(&["a", "c", "a", "none"], key("narrow", Level::Read)), 0);
    let some = rig.threads(None, narrow);
    assert_eq!(
        (ids(&some), &some["total"]),
        (newest_of(&["a", "c"])[..].iter().map(|id| &**id).collect(), &json!(1400))
    );
    let one = rig.threads(Some("b"), writer());
    assert_eq!((ids(&one).len(), &one["total"]), (700, &json!(700)));
}
