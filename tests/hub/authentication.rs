//! Two steps: a connection is accepted, and has to show a key before anything else.

use collabd::auth::{KeyRefusal, Level};
use collabd::hub::{ChannelMessage, Event};
use serde_json::{Value, json};

use crate::rig::*;

const TOO_MANY: &str = "Too many refused keys: try again in a minute";

fn established() -> Value {
    json!({"type": "connection_established",
           "data": {"message": "Connection established, waiting for authentication"}})
}

fn success() -> [Value; 2] {
    [
        json!({"type": "connection_success", "data": {"message": "Connected"}}),
        json!({"type": "message_delivered", "data": {
            "message": "Authentication message received and processed",
            "original_type": "connect", "status": "success"}}),
    ]
}

#[test]
fn a_good_key_to_the_letter() {
    let mut rig = Rig::new();
    let conn = rig.enter("web");
    assert_eq!(rig.on(conn), [Done::Admitted, told(&rig, "web", established())]);
    rig.pass(9_999);
    rig.connect(conn, Ok(writer()));
    let expected = success().map(|message| told(&rig, "web", message));
    assert_eq!(rig.on(conn), expected);
    rig.pass(3_600_000);
    rig.say(conn, json!({"type": "echo"}));
    assert_eq!(rig.told(conn), ["echo", "message_delivered"], "it stays authenticated");
}

#[test]
fn a_refused_key_to_the_letter() {
    for (why, error_type, message, code) in [
        (KeyRefusal::Invalid, "invalid_key", "Invalid API key", 403),
        (KeyRefusal::Expired, "token_expired", "Token expired", 403),
        (KeyRefusal::TooMany, "too_many_attempts", TOO_MANY, 429),
    ] {
        let mut rig = Rig::new();
        let conn = rig.enter("web");
        rig.on(conn);
        rig.connect(conn, Err(why));
        let disconnect = json!({"type": "disconnect", "data": {"reason": message}});
        assert_eq!(
            rig.on(conn),
            [
                error(&rig, "web", error_type, message, code),
                told(&rig, "web", disconnect),
                Done::Closed(4000, message),
            ]
        );
        rig.connect(conn, Ok(writer()));
        rig.say(conn, join("a"));
        rig.pass(60_000);
        rig.gone(conn);
        assert_eq!(rig.all(), [], "it is closed");
    }
}

#[test]
fn anything_before_connect_is_refused_and_closes() {
    for message in [
        join("a"),
        leave("a"),
        chat("a", "hi"),
        json!({"type": "echo"}),
        json!({"type": "chat_message"}),
        json!({"type": "join_channel"}),
        json!({"type": "pong"}),
        json!({"type": "subscribe", "data": {"channel": 7}}),
    ] {
        for debug in [false, true] {
            let mut rig = Rig::new();
            let conn = rig.enter_by("web", debug);
            rig.on(conn);
            rig.say(conn, message.clone());
            let text = "Not authenticated: the first message has to be `connect`";
            assert_eq!(
                rig.on(conn),
                [
                    error(&rig, "web", "not_authenticated", text, 403),
                    Done::Closed(4003, "not authenticated"),
                ],
                "{message}"
            );
            rig.connect(conn, Ok(writer()));
            assert_eq!(rig.all(), [], "it is closed");
        }
    }
}

#[test]
fn who_has_not_connected_after_ten_seconds_is_closed() {
    let mut rig = Rig::new();
    let late = rig.enter("late");
    let good = rig.client("good", writer());
    rig.on(late);
    rig.pass(9_000);
    rig.handle(Event::ChannelMessage {
        conn: late,
        said: ChannelMessage::Unreadable { is_last: false },
    });
    assert_eq!(rig.told(late), ["invalid_format"], "what can't be read makes the time no longer");
    rig.pass(999);
    assert_eq!(rig.all(), []);
    rig.pass(1);
    let timeout = error(&rig, "late", "auth_timeout", "Not authenticated within 10 seconds", 403);
    assert_eq!(rig.on(late), [timeout, Done::Closed(4000, "authentication timed out")]);
    rig.pass(60_000);
    assert_eq!(rig.all(), []);
    rig.say(good, json!({"type": "echo"}));
    assert_eq!(rig.told(good), ["echo", "message_delivered"]);
}

#[test]
fn a_second_good_key_keeps_the_channels_it_opens() {
    let mut rig = Rig::new();
    let conn = rig.member("web", &["b", "a", "c"]);
    rig.connect(conn, Ok(writer()));
    assert_eq!(rig.told(conn), ["connection_success", "message_delivered"]);
    rig.connect(conn, Ok(granted(only(&["b", "z"], key("narrow", Level::Write)), 0)));
    let revoked = |rig: &Rig, channel| {
        let message = "The key does not open this channel any more";
        let data = json!({"channel": channel, "status": "revoked", "message": message});
        let kind = "unsubscription_success";
        told(rig, "web", json!({"type": kind, "channel": channel, "data": data}))
    };
    let mut expected = Vec::from(success().map(|message| told(&rig, "web", message)));
    expected.extend([revoked(&rig, "a"), revoked(&rig, "c")]);
    assert_eq!(rig.on(conn), expected);
    for (channel, answer) in [("a", "channel_error"), ("b", "chat_message"), ("c", "channel_error")]
    {
        rig.say(conn, chat(channel, "hi"));
        assert_eq!(rig.told(conn)[0], answer, "{channel}");
    }
}

#[test]
fn a_second_bad_key_ends_the_connection() {
    let mut rig = Rig::new();
    let (conn, other) = (rig.member("web", &["a"]), rig.member("other", &["a"]));
    rig.connect(conn, Err(KeyRefusal::Invalid));
    assert_eq!(rig.told(conn), ["invalid_key", "disconnect", "4000 Invalid API key"]);
    rig.say(other, chat("a", "hi"));
    assert_eq!(rig.told(other), ["chat_message", "message_delivered"]);
    assert_eq!(rig.all(), [], "it has left its channels");
}

#[test]
fn one_client_connected_twice_has_two_states() {
    let mut rig = Rig::new();
    let (tab, other) = (rig.member("web", &["a"]), rig.enter("web"));
    rig.on(other);
    rig.say(tab, chat("a", "hi"));
    assert_eq!(rig.told(tab), ["chat_message", "message_delivered"]);
    assert_eq!(rig.all(), [], "the other one has neither authenticated nor joined");
    rig.connect(other, Ok(writer()));
    rig.say(other, join("a"));
    rig.on(other);
    rig.say(tab, chat("a", "hi"));
    assert_eq!(rig.told(other), ["chat_message"]);
    rig.gone(tab);
    rig.all();
    rig.say(other, chat("a", "still here"));
    assert_eq!(rig.told(other), ["chat_message", "message_delivered"]);
}

#[test]
fn a_bug_of_ours_ends_one_connection() {
    let mut rig = Rig::new();
    let (unlucky, other) = (rig.member("web", &["a"]), rig.member("other", &["a"]));
    rig.handle(Event::Failed { conn: unlucky });
    let apology = error(&rig, "web", "server_error", "Internal server error", 500);
    assert_eq!(rig.on(unlucky), [apology, Done::Closed(1011, "internal server error")]);
    rig.gone(unlucky);
    rig.say(other, chat("a", "hi"));
    assert_eq!(rig.told(other), ["chat_message", "message_delivered"]);
    assert_eq!(rig.all(), []);
}

#[test]
fn a_session_and_a_channel_of_one_name_are_strangers() {
    let mut rig = Rig::new();
    let (editor, web) = (rig.join_session("a", "alice", None), rig.member("alice", &["a"]));
    rig.all();
    rig.say(web, chat("a", "hi"));
    assert_eq!(rig.told(web), ["chat_message", "message_delivered"]);
    rig.tell(editor, json!({"type": "chat"}));
    rig.gone(web);
    assert_eq!(rig.all(), []);
}

/// Before `connect` as after it.
#[test]
fn what_cannot_be_read_is_answered_in_its_turn_and_the_last_of_a_row_is_the_end() {
    let mut rig = Rig::new();
    let unreadable = |is_last| ChannelMessage::Unreadable { is_last };
    let conn = rig.enter("web");
    rig.on(conn);
    rig.handle(Event::ChannelMessage { conn, said: unreadable(false) });
    rig.connect(conn, Ok(writer()));
    rig.handle(Event::ChannelMessage { conn, said: unreadable(false) });
    rig.say(conn, join("a"));
    rig.handle(Event::ChannelMessage { conn, said: unreadable(true) });
    rig.say(conn, join("b"));
    rig.handle(Event::ChannelMessage { conn, said: unreadable(true) });
    let told = rig.told(conn);
    let delivered = ["message_delivered", "subscription_success"];
    assert_eq!(
        told,
        [
            &["invalid_format", "connection_success", "message_delivered", "invalid_format"][..],
            &delivered,
            &["invalid_format", "4002 invalid message format"],
        ]
        .concat()
    );
    let early = rig.enter("early");
    rig.on(early);
    rig.handle(Event::ChannelMessage { conn: early, said: unreadable(true) });
    let message = "A message is one JSON object with a string `type`, nested at most 100 deep";
    let error = error(&rig, "early", "invalid_format", message, 400);
    assert_eq!(rig.on(early), [error, Done::Closed(4002, "invalid message format")]);
}
