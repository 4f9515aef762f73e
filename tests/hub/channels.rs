//! Joining, leaving and talking: who is told what, and in which order.

use collabd::auth::Level;
use collabd::hub::ConnId;
use serde_json::{Value, json};

use crate::rig::*;

fn delivered(kind: &str, message: Option<&str>, id: Option<Value>) -> Value {
    let mut data = json!({"original_type": kind, "status": "success"});
    if let Some(message) = message {
        data["message"] = json!(message);
    }
    if let Some(id) = id {
        data["id"] = id;
    }
    json!({"type": "message_delivered", "data": data})
}

#[test]
fn joining_and_leaving_to_the_letter() {
    for (joins, leaves) in [("join_channel", "leave_channel"), ("subscribe", "unsubscribe")] {
        let mut rig = Rig::new();
        let conn = rig.client("web", writer());
        // Joining twice is one membership, and answered like one.
        for id in [None, Some(json!({"n": 1}))] {
            let mut message = json!({"type": joins, "data": {"channel": "general"}});
            if let Some(id) = &id {
                message["id"] = id.clone();
            }
            rig.say(conn, message);
            let request = delivered(joins, Some("Join channel request received"), id);
            let data =
                json!({"channel": "general", "status": "success", "message": "Joined the channel"});
            let success =
                json!({"type": "subscription_success", "channel": "general", "data": data});
            assert_eq!(rig.on(conn), [told(&rig, "web", request), told(&rig, "web", success)]);
        }
        rig.say(conn, json!({"type": leaves, "data": {"channel": "general"}, "id": 7}));
        let request = delivered(leaves, Some("Leave channel request received"), Some(json!(7)));
        let data =
            json!({"channel": "general", "status": "success", "message": "Left the channel"});
        let success = json!({"type": "unsubscription_success", "channel": "general", "data": data});
        assert_eq!(rig.on(conn), [told(&rig, "web", request), told(&rig, "web", success)]);
        rig.say(conn, json!({"type": leaves, "data": {"channel": "general"}}));
        let refused = error(&rig, "web", "channel_error", "The channel has not been joined", 400);
        assert_eq!(rig.on(conn), [refused], "instead of both");
    }
}

#[test]
fn a_message_reaches_every_member_once_and_its_sender_is_told_last() {
    let mut rig = Rig::new();
    let first = rig.member("first", &["a"]);
    let sender = rig.member("sender", &["a", "b"]);
    let stranger = rig.member("stranger", &["b"]);
    let last = rig.member("last", &["a"]);
    // One who leaves and comes back stands at the end.
    rig.say(first, leave("a"));
    rig.say(first, join("a"));
    rig.all();
    rig.say(
        sender,
        json!({"type": "graph_update", "id": "g1", "channel": "a", "client_id": "mallory",
               "timestamp": 0, "nodes": [1, 2.50], "user_id": "kept"}),
    );
    let relayed = told(
        &rig,
        "sender",
        json!({"type": "graph_update", "id": "g1", "channel": "a", "nodes": [1, 2.50],
               "user_id": "kept"}),
    );
    let confirmed = told(&rig, "sender", delivered("graph_update", None, Some(json!("g1"))));
    assert_eq!(
        rig.all(),
        [(sender, relayed.clone()), (last, relayed.clone()), (first, relayed), (sender, confirmed)]
    );
    assert_eq!(rig.on(stranger), []);
}

#[test]
fn talking_to_a_channel_needs_membership() {
    let mut rig = Rig::new();
    let (conn, member) = (rig.client("web", writer()), rig.member("member", &["a"]));
    let text = "Join the channel before talking to it";
    for kind in ["chat_message", "channel_message", "agent_status", "anything", "cursor"] {
        let mut message = chat("a", "hi");
        message["type"] = json!(kind);
        rig.say(conn, message);
        assert_eq!(rig.on(conn), [error(&rig, "web", "channel_error", text, 403)]);
    }
    rig.say(conn, chat("nobody is here", "hi"));
    assert_eq!(rig.told(conn), ["channel_error"]);
    assert_eq!(rig.on(member), []);
}

#[test]
fn without_a_channel_it_is_an_echo() {
    let mut rig = Rig::new();
    let (conn, other) = (rig.member("web", &["a"]), rig.member("other", &["a"]));
    for message in [
        json!({"type": "task_update", "data": {"n": 1}}),
        json!({"type": "task_update", "channel": null}),
        json!({"type": "chat_message", "data": {"content": ""}, "id": [1]}),
    ] {
        rig.say(conn, message.clone());
        let confirmed =
            delivered(message["type"].as_str().unwrap(), None, message.get("id").cloned());
        assert_eq!(rig.on(conn), [told(&rig, "web", message), told(&rig, "web", confirmed)]);
    }
    assert_eq!(rig.on(other), []);
}

#[test]
fn what_is_refused_is_told_to_its_sender_alone() {
    let mut rig = Rig::new();
    let (conn, other) = (rig.member("web", &["a"]), rig.member("other", &["a"]));
    for (message, error_type) in [
        (json!({"type": "join_channel", "data": {"channel": ""}}), "channel_error"),
        (json!({"type": "unsubscribe", "data": {"channel": 7}}), "channel_error"),
        (json!({"type": "chat_message", "channel": ["a"]}), "channel_error"),
        (json!({"type": "chat_message", "channel": "a"}), "message_error"),
        (json!({"type": "channel_message", "channel": "a", "data": {}}), "message_error"),
        (json!({"type": "disconnect", "channel": "a"}), "reserved_type"),
        (json!({"type": "x", "channel": "a", "id": "i".repeat(300)}), "message_error"),
    ] {
        rig.say(conn, message.clone());
        let answers = rig.on(conn);
        let [Done::Told(error)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(
            (&error["data"]["error_type"], &error["data"]["code"], &error["client_id"]),
            (&json!(error_type), &json!(400), &json!("web")),
            "{message}"
        );
    }
    rig.say(conn, json!({"type": "error", "id": 7}));
    let [Done::Told(error)] = &rig.on(conn)[..] else { panic!() };
    assert_eq!(error["data"]["id"], 7, "whoever gave an id learns which message was refused");
    assert_eq!(rig.on(other), []);
}

#[test]
fn a_debug_connection_is_echoed_where_it_has_not_joined() {
    let mut rig = Rig::new();
    let member = rig.member("member", &["a"]);
    let debug = rig.enter_by("tester", true);
    let narrow = granted(only(&["a"], key("narrow", Level::Write)), 0);
    rig.connect(debug, Ok(narrow));
    rig.on(debug);
    for channel in ["a", "not even open to it"] {
        rig.say(debug, in_thread(channel, "t"));
        let confirmed = delivered("chat_message", None, None);
        let expected = [in_thread(channel, "t"), confirmed].map(|said| told(&rig, "tester", said));
        assert_eq!(rig.on(debug), expected);
    }
    assert_eq!(rig.on(member), []);
    assert_eq!(rig.threads(None, writer())["total"], 0, "the channel has not had it");
    rig.say(debug, join("a"));
    rig.say(debug, chat("a", "hi"));
    assert_eq!(rig.told(member), ["chat_message"]);
    assert_eq!(rig.told(debug)[2..], ["chat_message", "message_delivered"]);
}

#[test]
fn whoever_leaves_or_is_gone_hears_no_more() {
    let mut rig = Rig::new();
    let talker = rig.member("talker", &["a", "b"]);
    let (leaver, goner) = (rig.member("leaver", &["a", "b"]), rig.member("goner", &["a", "b"]));
    rig.say(leaver, leave("a"));
    rig.gone(goner);
    rig.all();
    rig.say(talker, chat("a", "1"));
    rig.say(talker, chat("b", "2"));
    assert_eq!(rig.told(leaver), ["chat_message"]);
    assert_eq!(rig.on(goner), []);
    assert_eq!(rig.told(talker).len(), 4);
}

#[test]
fn a_reader_watches_and_points() {
    let mut rig = Rig::new();
    let (watcher, writer) = (rig.client("watcher", reader()), rig.member("writer", &["a"]));
    rig.say(watcher, join("a"));
    assert_eq!(rig.told(watcher), ["message_delivered", "subscription_success"]);
    rig.say(writer, chat("a", "hi"));
    assert_eq!(rig.told(watcher), ["chat_message"]);
    rig.all();
    rig.say(watcher, json!({"type": "cursor", "channel": "a", "x": 1}));
    assert_eq!(rig.told(writer), ["cursor"]);
    assert_eq!(rig.told(watcher), ["cursor", "message_delivered"]);
    rig.say(watcher, json!({"type": "chat_message", "data": {"content": "echo"}}));
    assert_eq!(rig.told(watcher), ["chat_message", "message_delivered"]);
    for channel in ["a", "not joined"] {
        for kind in ["chat_message", "task_update", "anything"] {
            let mut message = chat(channel, "hi");
            message["type"] = json!(kind);
            rig.say(watcher, message);
            let text = "The key permits to watch, not to change";
            assert_eq!(rig.on(watcher), [error(&rig, "watcher", "read_only", text, 403)]);
        }
    }
    rig.say(watcher, leave("a"));
    assert_eq!(rig.told(watcher), ["message_delivered", "unsubscription_success"]);
    assert_eq!(rig.all(), []);
}

#[test]
fn a_key_opens_the_channels_it_lists() {
    let mut rig = Rig::new();
    let conn = rig.client("web", granted(only(&["a"], key("narrow", Level::Admin)), 0));
    rig.say(conn, join("a"));
    assert_eq!(rig.told(conn), ["message_delivered", "subscription_success"]);
    rig.say(conn, join("b"));
    let text = "The key does not open this channel";
    assert_eq!(rig.on(conn), [error(&rig, "web", "channel_error", text, 403)]);
    rig.say(conn, chat("b", "hi"));
    assert_eq!(rig.told(conn), ["channel_error"]);
}

/// A thousand clients in a hundred channels, coming and going: every message is received exactly
/// once by exactly the members at that point of the order.
#[test]
fn a_thousand_clients_in_a_hundred_channels() {
    const CHANNELS: usize = 100;
    let mut rig = Rig::new();
    let name = |channel: usize| format!("channel {channel}");
    let clients: Vec<ConnId> =
        (0..1000).map(|n| rig.client(&format!("client {n}"), writer())).collect();
    let mut members: Vec<Vec<ConnId>> = vec![Vec::new(); CHANNELS];
    for (n, conn) in clients.iter().enumerate() {
        // Ten channels each, not the same ten.
        for k in 0..10 {
            let channel = (n + k * 7) % CHANNELS;
            rig.say(*conn, join(&name(channel)));
            members[channel].push(*conn);
        }
    }
    rig.all();
    for round in 0..3 {
        for (channel, members) in members.iter_mut().enumerate() {
            let (leaver, talker) = (members.remove(round), members[40]);
            rig.say(leaver, leave(&name(channel)));
            rig.on(leaver);
            rig.say(talker, chat(&name(channel), "hi"));
            let mut receivers: Vec<ConnId> = rig.all().into_iter().map(|(conn, _)| conn).collect();
            assert_eq!(receivers.pop(), Some(talker), "the confirmation");
            assert_eq!(receivers, *members);
            rig.say(leaver, join(&name(channel)));
            rig.on(leaver);
            members.push(leaver);
        }
    }
    let (gone, stay) = clients.split_at(500);
    gone.iter().for_each(|conn| rig.gone(*conn));
    for (channel, members) in members.iter_mut().enumerate() {
        members.retain(|conn| stay.contains(conn));
        rig.say(members[0], chat(&name(channel), "hi"));
        let mut receivers: Vec<ConnId> = rig.all().into_iter().map(|(conn, _)| conn).collect();
        receivers.pop();
        assert_eq!(receivers, *members);
    }
}
