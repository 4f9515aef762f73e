//! The witness has to be able to notice: each of these shows it a hub that does one thing wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use collabd::auth::{Grant, Key, KeySet, Level};
use collabd::hub::{ChannelMessage, ConnId, Effect, Event, Hub};
use collabd::protocol::client::{self, Inbound};
use collabd::protocol::{Frame, inbound};

use crate::checks::rig;
use crate::checks::witness::{Cause, Who, Witness};

const MARK: &str = "Q0123456789abcde";
/// Alice and Bob are in one session, Carol in another, Ann and Ben in a channel, Cid has authenticated
/// only, and Dan has come in only.
const ALICE: ConnId = ConnId(1);
const BOB: ConnId = ConnId(2);
const CAROL: ConnId = ConnId(3);
const ANN: ConnId = ConnId(4);
const BEN: ConnId = ConnId(5);
const CID: ConnId = ConnId(6);
const DAN: ConnId = ConnId(7);
/// Somebody who asks to come in.
const NEW: ConnId = ConnId(8);
/// Views the session that Alice and Bob are in.
const VERA: ConnId = ConnId(9);

struct Scene {
    hub: Hub,
    witness: Witness,
}

fn key(level: Level) -> Arc<Key> {
    rig::key("key", "key", level, None, None)
}

fn grant(level: Level) -> Grant {
    Grant { key: key(level), generation: 0 }
}

impl Scene {
    /// Everybody has come in, and nobody has noticed anything.
    fn new() -> Self {
        let mut scene =
            Scene { hub: Hub::new(rig::limits(), 1), witness: Witness::new(rig::limits()) };
        for (conn, session, user) in
            [(ALICE, "a", "alice"), (BOB, "a", "bob"), (CAROL, "b", "carol")]
        {
            let who = Who::Member { session: session.into(), user: user.into() };
            scene.witness.comes(conn, who, None, Duration::ZERO);
            let event =
                Event::Join { conn, session: session.into(), user: user.into(), grant: None };
            scene.handle(Cause::by(conn), event);
        }
        scene.witness.comes(VERA, Who::Viewer { session: "a".into() }, None, Duration::ZERO);
        let view = Event::View { conn: VERA, session: "a".into(), grant: None, since: None };
        scene.handle(Cause::by(VERA), view);
        for (conn, client) in [(ANN, "ann"), (BEN, "ben"), (CID, "cid"), (DAN, "dan")] {
            let who = Who::Client { client: client.into(), debug: false };
            scene.witness.comes(conn, who, None, Duration::ZERO);
            scene.handle(
                Cause::by(conn),
                Event::ConnectClient { conn, client: client.into(), debug: false },
            );
            if conn != DAN {
                let grant = grant(Level::Write);
                scene.witness.shows_key(conn, &grant);
                let cause = Cause::saying(conn, Some((r#"{"type":"connect"}"#, "")));
                scene.handle(
                    cause,
                    Event::ChannelMessage { conn, said: ChannelMessage::Connect(Ok(grant)) },
                );
            }
        }
        let join = r#"{"type":"join_channel","data":{"channel":"c"}}"#;
        scene.says(ANN, join);
        scene.says(BEN, join);
        scene
    }

    fn handle(&mut self, cause: Cause<'_>, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.hub.handle(event, rig::now(Duration::ZERO), &mut effects);
        self.witness.sees(&cause, &effects, rig::now(Duration::ZERO));
        self.witness.counts(&cause, &self.hub, Duration::ZERO);
        effects
    }

    /// What the hub makes of a text.
    fn says(&mut self, conn: ConnId, text: &str) {
        let event = match conn {
            ALICE | BOB | CAROL => {
                Event::Message { conn, message: inbound::parse(text).expect("a message") }
            }
            _ => match client::parse(text) {
                Ok(Inbound::Request(request)) => {
                    Event::ChannelMessage { conn, said: ChannelMessage::Request(request) }
                }
                other => panic!("{other:?}"),
            },
        };
        self.handle(Cause::saying(conn, Some((text, MARK))), event);
    }

    /// Whether the witness accepts these effects of a text.
    fn accepts(&mut self, from: ConnId, said: &str, effects: &[Effect]) -> bool {
        let cause = Cause::saying(from, Some((said, MARK)));
        self.sees(cause, effects)
    }

    fn sees(&mut self, cause: Cause<'_>, effects: &[Effect]) -> bool {
        let now = rig::now(Duration::ZERO);
        let seeing = AssertUnwindSafe(|| self.witness.sees(&cause, effects, now));
        catch_unwind(seeing).is_ok()
    }

    fn counts(&mut self, hub: &Hub) -> bool {
        let witness = &mut self.witness;
        let counting = AssertUnwindSafe(|| witness.counts(&Cause::tick(), hub, Duration::ZERO));
        catch_unwind(counting).is_ok()
    }
}

fn send(conn: ConnId, text: &str) -> Effect {
    let now = rig::now(Duration::ZERO).wall;
    let text = text.replace("NOW", &format!(r#""timestamp":"{now}""#));
    Effect::Send { conn, frame: Frame::text(&text), supersedes: None }
}

fn close(conn: ConnId) -> Effect {
    Effect::Close { conn, code: 1008, reason: "" }
}

const CHAT: &str = r#"{"type":"chat","text":"Q0123456789abcde"}"#;
const CHAT_TOLD: &str = r#"{"type":"chat","text":"Q0123456789abcde","user_id":"alice",NOW}"#;
const TALK: &str = r#"{"type":"x","channel":"c","n":"Q0123456789abcde"}"#;
const TALK_TOLD: &str =
    r#"{"type":"x","channel":"c","n":"Q0123456789abcde",NOW,"client_id":"ann"}"#;
const DELIVERED: &str = r#"{"type":"message_delivered",NOW,"client_id":"ann"}"#;
const ERROR: &str = r#"{"type":"error","error_type":"x"}"#;

#[test]
fn what_the_hub_does_is_accepted() {
    assert!(Scene::new().accepts(ALICE, CHAT, &[send(BOB, CHAT_TOLD)]));
    let all = [send(ANN, TALK_TOLD), send(BEN, TALK_TOLD), send(ANN, DELIVERED)];
    assert!(Scene::new().accepts(ANN, TALK, &all));
    assert!(Scene::new().accepts(ALICE, CHAT, &[send(ALICE, ERROR)]));
}

#[test]
fn who_is_elsewhere_is_told_nothing() {
    assert!(!Scene::new().accepts(ALICE, CHAT, &[send(CAROL, CHAT_TOLD)]));
    assert!(!Scene::new().accepts(ANN, TALK, &[send(CID, TALK_TOLD)]));
    assert!(!Scene::new().accepts(ALICE, CHAT, &[send(BEN, CHAT_TOLD)]));
    assert!(!Scene::new().accepts(ANN, TALK, &[send(ALICE, TALK_TOLD)]));
    // Nor later, by a timer.
    let mut scene = Scene::new();
    assert!(scene.accepts(ALICE, CHAT, &[send(BOB, CHAT_TOLD)]));
    assert!(scene.sees(Cause::tick(), &[send(BOB, CHAT_TOLD)]));
    assert!(!scene.sees(Cause::tick(), &[send(CAROL, CHAT_TOLD)]));
    let mut scene = Scene::new();
    assert!(scene.accepts(ANN, TALK, &[send(BEN, TALK_TOLD)]));
    let told = TALK_TOLD.replace("ann", "ben");
    assert!(!scene.sees(Cause::tick(), &[send(BEN, &told)]), "a channel forgets what was said");
}

#[test]
fn viewers_hear_and_are_not_heard() {
    assert!(Scene::new().accepts(ALICE, CHAT, &[send(BOB, CHAT_TOLD), send(VERA, CHAT_TOLD)]));
    assert!(!Scene::new().accepts(
        CAROL,
        CHAT,
        &[send(VERA, &CHAT_TOLD.replace("alice", "carol"))]
    ));
    let told = CHAT_TOLD.replace("alice", "viewer");
    assert!(!Scene::new().accepts(VERA, CHAT, &[send(BOB, &told)]));
    assert!(!Scene::new().sees(Cause::gone(VERA), &[send(BOB, r#"{"type":"user:left",NOW}"#)]));
    let ping = Effect::Send { conn: VERA, frame: Frame::ping(&[0; 16]), supersedes: None };
    assert!(!Scene::new().sees(Cause::by(VERA), &[ping]));
    let mut scene = Scene::new();
    scene.witness.comes(NEW, Who::Viewer { session: "a".into() }, None, Duration::ZERO);
    let ack = r#"{"type":"connection:ack","session_id":"a","user_id":null,"viewer":true,"is_host":false,NOW}"#;
    let member = ack.replace("null", "\"new\"");
    assert!(scene.sees(Cause::by(NEW), &[Effect::Admit { conn: NEW }, send(NEW, ack)]));
    scene.witness.comes(NEW, Who::Viewer { session: "a".into() }, None, Duration::ZERO);
    assert!(!scene.sees(Cause::by(NEW), &[Effect::Admit { conn: NEW }, send(NEW, &member)]));
    let answer = |conn, sessions: &str| Effect::Answer {
        conn,
        body: format!(r#"{{"sessions":[{sessions}],"total":1}}"#).into(),
    };
    let asks = |viewers: u32, only: Option<&str>| {
        let mut scene = Scene::new();
        let cause = Cause::about(NEW, only.map(Into::into), None);
        let session = format!(r#"{{"session_id":"a","viewers":{viewers}}}"#);
        scene.sees(cause, &[answer(NEW, &session)])
    };
    assert!(asks(1, None) && asks(1, Some("a")));
    assert!(!asks(2, None) && !asks(1, Some("b")));
}

#[test]
fn what_was_refused_is_told_to_nobody_else() {
    assert!(!Scene::new().accepts(ALICE, CHAT, &[send(ALICE, ERROR), send(BOB, CHAT_TOLD)]));
    let mut scene = Scene::new();
    assert!(scene.accepts(ALICE, CHAT, &[send(ALICE, ERROR)]));
    assert!(!scene.sees(Cause::tick(), &[send(BOB, CHAT_TOLD)]));
}

#[test]
fn who_has_shown_no_key_or_may_only_watch_reaches_nobody() {
    let told = TALK_TOLD.replace("ann", "dan");
    assert!(!Scene::new().accepts(DAN, TALK, &[send(ANN, &told)]));
    let mut scene = Scene::new();
    let keys = KeySet { generation: 1, keys: vec![key(Level::Read)] };
    scene.witness.keys_change(Arc::new(keys));
    assert!(!scene.accepts(ANN, TALK, &[send(BEN, TALK_TOLD)]));
    let (cursor, told) =
        (TALK.replace("\"x\"", "\"cursor\""), TALK_TOLD.replace("\"x\"", "\"cursor\""));
    assert!(scene.accepts(ANN, &cursor, &[send(BEN, &told)]));
}

#[test]
fn nobody_speaks_for_others_or_for_the_server() {
    let as_bob = CHAT_TOLD.replace("alice", "carol");
    assert!(!Scene::new().accepts(ALICE, CHAT, &[send(BOB, &as_bob)]));
    let as_ben = TALK_TOLD.replace("ann", "cid");
    assert!(!Scene::new().accepts(ANN, TALK, &[send(BEN, &as_ben)]));
    for kind in ["user:left", "error", "sync:state", "sync:full_state", "connection:ack"] {
        let (said, told) = (CHAT.replace("chat", kind), CHAT_TOLD.replace("chat", kind));
        assert!(!Scene::new().accepts(ALICE, &said, &[send(BOB, &told)]), "{kind}");
    }
    for kind in ["pong", "subscription_success", "connection_success"] {
        let (said, told) = (
            TALK.replace("\"x\"", &format!("\"{kind}\"")),
            TALK_TOLD.replace("\"x\"", &format!("\"{kind}\"")),
        );
        assert!(!Scene::new().accepts(ANN, &said, &[send(BEN, &told)]), "{kind}");
    }
}

#[test]
fn nothing_is_sent_before_or_after() {
    let new = || {
        let mut scene = Scene::new();
        let who = Who::Client { client: "new".into(), debug: false };
        scene.witness.comes(NEW, who, None, Duration::ZERO);
        scene
    };
    let hello = send(NEW, r#"{"type":"connection_established",NOW,"client_id":"new"}"#);
    assert!(new().sees(Cause::by(NEW), &[Effect::Admit { conn: NEW }, hello]));
    let hello = send(NEW, r#"{"type":"connection_established",NOW,"client_id":"new"}"#);
    assert!(!new().sees(Cause::by(NEW), &[hello, Effect::Admit { conn: NEW }]));
    let first = send(NEW, r#"{"type":"x",NOW,"client_id":"new"}"#);
    assert!(!new().sees(Cause::by(NEW), &[Effect::Admit { conn: NEW }, first]));
    assert!(!Scene::new().accepts(ALICE, CHAT, &[close(BOB), send(BOB, CHAT_TOLD)]));
    assert!(!Scene::new().sees(Cause::tick(), &[close(BOB), close(BOB)]));
    let mut scene = Scene::new();
    assert!(scene.sees(Cause::tick(), &[close(ALICE)]));
    assert!(!scene.accepts(ALICE, CHAT, &[send(BOB, CHAT_TOLD)]), "it was closed");
    let mut scene = Scene::new();
    assert!(scene.sees(Cause::gone(BOB), &[]));
    assert!(!scene.accepts(ALICE, CHAT, &[send(BOB, CHAT_TOLD)]), "it is gone");
}

#[test]
fn what_would_make_an_editor_abort_is_noticed() {
    let mut scene = Scene::new();
    for told in [
        "chat".to_owned(),
        "[]".into(),
        CHAT_TOLD.replace("NOW", r#""timestamp":"soon""#),
        CHAT_TOLD.replace("\"chat\"", "7"),
        CHAT_TOLD.replace("\"text\"", "\"type\""),
        CHAT_TOLD.replace('}', ""),
    ] {
        assert!(!scene.sees(Cause::tick(), &[send(BOB, &told)]), "{told}");
    }
    let command = r#"{"type":"command","command":COMMAND,"user_id":"alice",NOW}"#;
    for (inner, is_good) in [
        (r#"{"action":"move_item","item_id":"i","data":{"x_mm":1}}"#, true),
        (r#"{"action":"move_item","item_id":"i","data":{"x_mm":"1"}}"#, false),
        (r#"{"action":"move_item","item_id":"i","data":{"x_mm":1e999}}"#, false),
        (r#"{"action":"move_item","item_id":"i","data":[]}"#, false),
        (r#"{"action":"move_item","item_id":7,"data":{}}"#, false),
        (
            r#"{"action":"add_item","item_id":"i","item_type":"component","data":{"uuid":"j"}}"#,
            false,
        ),
    ] {
        let told = command.replace("COMMAND", inner);
        assert_eq!(scene.sees(Cause::tick(), &[send(BOB, &told)]), is_good, "{told}");
    }
}

#[test]
fn keys_that_are_over_are_noticed() {
    let mut scene = Scene::new();
    scene.witness.keys_change(Arc::new(KeySet { generation: 1, keys: Vec::new() }));
    assert!(!scene.sees(Cause::keys(), &[close(ANN), close(BEN)]), "Cid's key is gone, too");
    let mut scene = Scene::new();
    let late = rig::now(Duration::from_secs(11));
    let tick = AssertUnwindSafe(|| scene.witness.sees(&Cause::tick(), &[], late));
    assert!(catch_unwind(tick).is_err(), "Dan has shown none in time");
}

#[test]
fn what_grows_is_noticed() {
    let mut scene = Scene::new();
    let mut hub = Hub::new(rig::limits(), 1);
    assert!(!scene.counts(&hub), "it has forgotten everybody");
    std::mem::swap(&mut hub, &mut scene.hub);
    assert!(scene.counts(&hub));
    let event = Event::ConnectClient { conn: NEW, client: "new".into(), debug: false };
    hub.handle(event, rig::now(Duration::ZERO), &mut Vec::new());
    assert!(!scene.counts(&hub), "it has somebody nobody knows of");
    // One after the other comes and goes, and leaves a timer behind.
    let mut scene = Scene::new();
    for n in 100..200 {
        let (conn, user) = (ConnId(n), "eve".into());
        let mut effects = Vec::new();
        let join = Event::Join { conn, session: "b".into(), user, grant: None };
        scene.hub.handle(join, rig::now(Duration::ZERO), &mut effects);
        scene.hub.handle(Event::Disconnected { conn }, rig::now(Duration::ZERO), &mut effects);
    }
    let Scene { hub, .. } = std::mem::replace(&mut scene, Scene::new());
    assert!(!scene.counts(&hub));
}
