//! Keys that change, end or run out while somebody is in with them.

use collabd::auth::{Key, Level};
use collabd::hub::{ConnId, Refusal};
use serde_json::json;

use crate::rig::*;

const MINUTE: u64 = 60_000;

fn alive(rig: &mut Rig, conn: ConnId) -> bool {
    rig.all();
    rig.say(conn, json!({"type": "echo"}));
    rig.told(conn) == ["echo", "message_delivered"]
}

/// A client, a member of a session, and what becomes of both.
struct Two {
    rig: Rig,
    client: ConnId,
    member: ConnId,
}

impl Two {
    fn with(key: Key) -> Self {
        let mut rig = Rig::new();
        rig.keys(1, [key.clone()]);
        let client = rig.client("web", granted(key.clone(), 1));
        rig.say(client, join("a"));
        let member = rig.join_session("a", "alice", Some(granted(key, 1)));
        rig.all();
        Two { rig, client, member }
    }

    fn assert_are_in(&mut self) {
        assert_eq!(self.rig.all(), []);
        self.rig.tell(self.member, json!({"type": "sync:request", "epoch": "x", "since": 0}));
        self.rig.say(self.client, json!({"type": "echo"}));
        assert_eq!(self.rig.told(self.client), ["echo", "message_delivered"]);
        self.rig.all();
    }

    fn assert_are_out(&mut self, error_type: &str, message: &str, reason: &str) {
        let Two { rig, client, member } = self;
        let expected = error(rig, "web", error_type, message, 403);
        let closed = match message {
            "Token expired" => Done::Closed(4000, "Token expired"),
            _ => Done::Closed(4000, "Invalid API key"),
        };
        assert_eq!(rig.on(*client), [expected, closed], "no `disconnect`");
        assert_eq!(rig.told(*member), [error_type.to_owned(), format!("1008 {reason}")]);
        rig.say(*client, json!({"type": "echo"}));
        rig.tell(*member, json!({"type": "chat"}));
        rig.pass(10 * MINUTE);
        assert_eq!(rig.all(), [], "they are out");
    }
}

#[test]
fn a_revoked_key_ends_its_connections() {
    let mut two = Two::with(key("k", Level::Write));
    two.rig.keys(2, [key("k", Level::Write), key("another", Level::Write)]);
    two.assert_are_in();
    two.rig.keys(3, [key("another", Level::Write)]);
    two.assert_are_out("invalid_key", "Invalid API key", "key revoked");
}

#[test]
fn a_key_with_the_same_name_but_another_hash_is_another_key() {
    let mut two = Two::with(key("k", Level::Write));
    let hash = key("another", Level::Write).hash;
    two.rig.keys(2, [Key { hash, ..key("k", Level::Write) }]);
    two.assert_are_out("invalid_key", "Invalid API key", "key revoked");
}

#[test]
fn an_older_set_changes_nothing() {
    let mut two = Two::with(key("k", Level::Write));
    two.rig.keys(3, [key("k", Level::Write)]);
    two.rig.keys(2, []);
    two.assert_are_in();
    let conn = two.rig.client("web", granted(key("k", Level::Write), 1));
    assert!(alive(&mut two.rig, conn));
}

#[test]
fn a_key_expires_while_connected() {
    let mut two = Two::with(until(150_000, key("k", Level::Write)));
    two.rig.pass(149_999);
    two.assert_are_in();
    two.rig.pass(1);
    two.assert_are_out("token_expired", "Token expired", "key expired");
}

#[test]
fn the_clock_is_set_forward_past_a_keys_expiry() {
    let mut two = Two::with(until(1000 * MINUTE, key("k", Level::Write)));
    two.rig.pass(MINUTE / 2);
    two.rig.jumped = 1000 * MINUTE;
    two.rig.pass(MINUTE / 2);
    two.assert_are_out("token_expired", "Token expired", "key expired");
}

#[test]
fn a_keys_time_is_changed() {
    // Prolonged.
    let mut two = Two::with(until(MINUTE, key("k", Level::Write)));
    two.rig.pass(1000);
    two.rig.keys(2, [until(3 * MINUTE, key("k", Level::Write))]);
    two.rig.pass(2 * MINUTE);
    two.assert_are_in();
    // For good.
    two.rig.keys(3, [key("k", Level::Write)]);
    two.rig.pass(60 * MINUTE);
    two.assert_are_in();
    // Shortened, to be noticed at the moment.
    let end = two.rig.elapsed.as_millis() as u64 + 5000;
    two.rig.keys(4, [until(end, key("k", Level::Write))]);
    two.rig.pass(4999);
    two.assert_are_in();
    two.rig.pass(1);
    two.assert_are_out("token_expired", "Token expired", "key expired");
    // Over already.
    let mut two = Two::with(key("k", Level::Write));
    two.rig.keys(2, [until(0, key("k", Level::Write))]);
    two.assert_are_out("token_expired", "Token expired", "key expired");
}

#[test]
fn timers_do_not_pile_up() {
    let mut rig = Rig::new();
    let conn = rig.client("web", writer());
    rig.pass(10_000);
    assert_eq!(rig.hub.next_deadline(), None, "authenticated in time");
    for _ in 0..1000 {
        rig.connect(conn, Ok(granted(until(1000 * MINUTE, key("k", Level::Write)), 0)));
        rig.pass(1);
    }
    rig.all();
    let mut ticks = 0;
    for _ in 0..MINUTE {
        let due = rig.hub.next_deadline();
        rig.pass(1);
        ticks += usize::from(due.is_some_and(|due| due <= rig.elapsed));
    }
    assert_eq!(ticks, 1, "one look a minute");
    rig.connect(conn, Ok(writer()));
    rig.pass(2 * MINUTE);
    assert_eq!(rig.hub.next_deadline(), None, "this one never expires");
}

#[test]
fn a_key_loses_and_wins_channels() {
    let mut rig = Rig::new();
    rig.keys(1, [key("k", Level::Write), key("w", Level::Write)]);
    let conn = rig.client("web", granted(key("k", Level::Write), 1));
    let other = rig.client("other", granted(key("w", Level::Write), 1));
    for channel in ["c", "b", "a"] {
        rig.say(conn, join(channel));
        rig.say(other, join(channel));
    }
    rig.all();
    rig.keys(2, [only(&["b", "new"], key("k", Level::Write)), key("w", Level::Write)]);
    let left = rig.all();
    let left: Vec<_> = left
        .iter()
        .map(|(on, done)| match done {
            Done::Told(told) => {
                assert_eq!((*on, &told["type"]), (conn, &json!("unsubscription_success")));
                assert_eq!(told["data"]["status"], "revoked");
                told["channel"].as_str().unwrap()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(left, ["a", "c"], "nobody leaves a channel unknowingly");
    rig.say(other, chat("a", "hi"));
    rig.say(other, chat("b", "hi"));
    assert_eq!(rig.told(conn), ["chat_message"]);
    for (channel, answer) in [("a", "channel_error"), ("new", "message_delivered")] {
        rig.say(conn, join(channel));
        assert_eq!(rig.told(conn)[0], answer);
    }
    rig.keys(3, [key("k", Level::Write), key("w", Level::Write)]);
    rig.say(conn, join("a"));
    assert_eq!(rig.told(conn)[0], "message_delivered");
}

#[test]
fn a_keys_level_is_changed() {
    let mut rig = Rig::new();
    let set = |level| [key("k", level)];
    rig.keys(1, set(Level::Write));
    let conn = rig.client("web", granted(key("k", Level::Write), 1));
    rig.say(conn, join("a"));
    for (generation, level, answer) in [
        (2, Level::Read, "read_only"),
        (3, Level::Admin, "chat_message"),
        (4, Level::Read, "read_only"),
    ] {
        rig.keys(generation, set(level));
        rig.on(conn);
        rig.say(conn, chat("a", "hi"));
        assert_eq!(rig.told(conn)[0], answer);
    }
}

#[test]
fn a_key_loses_a_session() {
    let mut rig = Rig::new();
    rig.keys(1, [key("k", Level::Write), key("w", Level::Write)]);
    let narrowed = rig.join_session("a", "alice", Some(granted(key("k", Level::Write), 1)));
    let stays = rig.join_session("a", "bob", Some(granted(key("w", Level::Write), 1)));
    let elsewhere = rig.join_session("b", "alice", Some(granted(key("k", Level::Write), 1)));
    let open = rig.join_session("a", "carol", None);
    rig.all();
    rig.keys(2, [only(&["b"], key("k", Level::Write)), key("w", Level::Write)]);
    assert_eq!(rig.told(narrowed), ["invalid_key", "1008 key revoked"]);
    assert_eq!(rig.told(stays), ["user:left", "host:changed"]);
    assert_eq!(rig.told(open), ["user:left", "host:changed"]);
    assert_eq!(rig.on(elsewhere), []);
}

#[test]
fn members_that_are_dismissed_together_do_not_hand_on_the_host() {
    let mut rig = Rig::new();
    rig.keys(1, [key("k", Level::Write), key("w", Level::Write)]);
    let grant = |name| Some(granted(key(name, Level::Write), 1));
    for user in ["alice", "bob"] {
        rig.join_session("a", user, grant("k"));
    }
    let carol = rig.join_session("a", "carol", grant("w"));
    rig.all();
    rig.keys(2, [key("w", Level::Write)]);
    let told: Vec<_> = rig
        .on(carol)
        .into_iter()
        .map(|done| match done {
            Done::Told(told) => format!("{} {}", told["type"], told["user_id"]).replace('"', ""),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["user:left alice", "user:left bob", "host:changed carol"]);
}

#[test]
fn a_grant_older_than_the_hubs_keys_is_looked_up_again() {
    let mut rig = Rig::new();
    rig.keys(5, [only(&["a"], key("k", Level::Read)), until(0, key("old", Level::Write))]);
    let stale = |name| granted(key(name, Level::Admin), 4);
    // Gone.
    let conn = rig.enter("web");
    rig.connect(conn, Ok(stale("gone")));
    assert_eq!(rig.told(conn)[2..], ["invalid_key", "disconnect", "4000 Invalid API key"]);
    // Expired.
    let conn = rig.enter("web");
    rig.connect(conn, Ok(stale("old")));
    assert_eq!(rig.told(conn)[2..], ["token_expired", "disconnect", "4000 Token expired"]);
    // Another level and scope.
    let conn = rig.client("web", stale("k"));
    for (message, answer) in [
        (join("b"), "channel_error"),
        (join("a"), "message_delivered"),
        (chat("a", "hi"), "read_only"),
    ] {
        rig.say(conn, message);
        assert_eq!(rig.told(conn)[0], answer);
    }
    // A newer one knows better than the hub.
    let conn = rig.client("web", granted(key("newest", Level::Write), 6));
    assert!(alive(&mut rig, conn));
    rig.keys(6, [key("newest", Level::Write)]);
    assert!(alive(&mut rig, conn));
}

#[test]
fn a_session_refuses_a_key_that_does_not_open_it() {
    let mut rig = Rig::new();
    rig.keys(2, [key("k", Level::Write)]);
    for grant in [
        granted(only(&["b"], key("k", Level::Write)), 2),
        granted(until(0, key("k", Level::Write)), 2),
        granted(key("gone", Level::Write), 1),
    ] {
        let conn = rig.join_session("a", "alice", Some(grant));
        assert_eq!(rig.all(), [(conn, Done::Refused(Refusal::KeyRefused))]);
        assert!(rig.hub.document("a").is_none(), "no session comes of it");
    }
    let mut full = Rig::with(collabd::hub::Limits { max_sessions: 1, ..limits() });
    full.join_session("a", "alice", None);
    full.all();
    let conn = full.join_session("b", "alice", None);
    assert_eq!(full.all(), [(conn, Done::Refused(Refusal::Full))]);
}
