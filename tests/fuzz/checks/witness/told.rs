//! Who is told what: only members hear, only what concerns them, and only in the server's words what
//! only the server says.

use std::sync::Arc;

use collabd::auth::{Grant, Key, Level};
use collabd::hub::ConnId;
use collabd::protocol::Frame;

use super::super::{json, shape};
use super::*;

impl Witness {
    pub(super) fn see_frame(
        &mut self,
        scene: &Scene<'_>,
        conn: ConnId,
        frame: &Frame,
        supersedes: Option<ConnId>,
    ) {
        let to = self.conns.get(&conn).unwrap_or_else(|| panic!("c{} isn't there", conn.0));
        assert_eq!(to.stage, Stage::In, "c{} was sent something before or after", conn.0);
        assert_eq!(frame.bytes().len() - frame.payload().len(), header(frame), "a frame's header");
        if frame.bytes()[0] == 0x89 {
            assert!(matches!(to.who, Who::Member { .. }), "nobody asks what it has received");
            assert!(frame.payload().len() == 16 && to.texts >= 2);
            return;
        }
        self.check_receiver(scene, conn, to);
        let text = text(frame).expect("a text or a Ping");
        let read = self.read(text, conn);
        let to = &self.conns[&conn];
        match &to.who {
            Who::Member { .. } | Who::Viewer { .. } => {
                self.check_to_member(scene, conn, to, &read, supersedes);
            }
            Who::Client { .. } => self.check_to_client(scene, conn, to, &read),
        }
        self.learn(conn, &read);
        let to = &self.conns[&conn];
        for mark in &read.marks {
            let Some(scope) = self.scopes.get(mark) else { continue };
            let is_theirs = self.may_be_told(scope, scene, conn, to);
            assert!(is_theirs, "c{} {to:?} was told of {scope:?}: {text}", conn.0);
        }
    }

    /// What one connection does reaches nobody but those who are where it is.
    fn check_receiver(&self, scene: &Scene<'_>, conn: ConnId, to: &Conn) {
        let (Some(from), Some(speaker)) = (scene.cause.from, &scene.speaker) else { return };
        if from == conn {
            return;
        }
        let is_together = match (&speaker.who, &to.who) {
            (
                Who::Member { session, .. },
                Who::Member { session: other, .. } | Who::Viewer { session: other },
            ) => session == other,
            (Who::Client { .. }, Who::Client { .. }) => {
                let is_in =
                    |name: &String| speaker.channels.contains(name) && to.channels.contains(name);
                speaker.is_authenticated
                    && matches!(scene.cause.kind, Kind::By)
                    && scene.channel.as_ref().is_some_and(is_in)
            }
            _ => false,
        };
        assert!(is_together, "c{} reached {to:?}", from.0);
        if scene.cause.said.is_some() {
            assert!(
                !scene.is_refused,
                "others were told of what was refused: {:?}",
                scene.cause.said
            );
            let key = speaker.grant.as_ref().and_then(|grant| in_force(grant, &self.keys));
            let may_write = key.is_none_or(|key| key.level > Level::Read);
            assert!(may_write || scene.kind.as_deref() == Some("cursor"), "a reader was heard");
        }
    }

    fn check_to_member(
        &self,
        scene: &Scene<'_>,
        conn: ConnId,
        to: &Conn,
        read: &Reading,
        supersedes: Option<ConnId>,
    ) {
        let Reading { fields: message, kind, .. } = read;
        match (to.texts, &to.who) {
            (0, Who::Member { session, user }) => {
                assert_eq!(kind, "connection:ack");
                assert_eq!(message.string("session_id").as_ref(), Some(session));
                assert_eq!(message.string("user_id").as_ref(), Some(user));
            }
            (0, Who::Viewer { session }) => {
                assert_eq!(kind, "connection:ack");
                assert_eq!(message.string("session_id").as_ref(), Some(session));
                let is = ["user_id", "viewer", "is_host"].map(|name| message.get(name));
                assert_eq!(is, [Some("null"), Some("true"), Some("false")]);
            }
            (1, Who::Member { user, .. }) => {
                assert_eq!(kind, "user:joined");
                assert_eq!(message.string("user_id").as_ref(), Some(user));
            }
            (1, Who::Viewer { .. }) => assert_eq!(kind, "sync:state"),
            // An editor is greeted again, so that it looks through its canvas.
            (_, Who::Member { session, .. }) if kind == "connection:ack" => {
                assert_eq!(message.string("session_id").as_ref(), Some(session));
                assert_eq!(scene.cause.from, Some(conn));
            }
            _ => assert_ne!(kind, "connection:ack"),
        }
        let is_servers =
            |kind: &str| matches!(kind, "command" | "sync:state") || shape::SERVERS.contains(&kind);
        if scene.cause.from == Some(conn) {
            assert!(is_servers(kind), "what it said came back: {kind}");
        }
        let by_other = scene.cause.said.is_some() && scene.cause.from != Some(conn);
        assert_eq!(supersedes.is_some(), by_other && kind == "cursor");
        assert!(supersedes.is_none() || supersedes == scene.cause.from);
        if by_other {
            let is_settled = message.get("settled").is_some();
            match scene.kind.as_deref().expect("a type") {
                // Members are told of changes, viewers are shown what has become of them.
                "sync:update" => assert!(kind == "command" || matches!(to.who, Who::Viewer { .. })),
                "sync:full_state" => assert_eq!(kind, "command"),
                said => {
                    assert!(kind == said && !shape::SERVERS.contains(&said), "{said} became {kind}")
                }
            }
            let Some(Conn { who: Who::Member { user: speaker, .. }, .. }) = &scene.speaker else {
                unreachable!()
            };
            if !is_settled && kind != "sync:state" {
                assert_eq!(message.string("user_id").as_ref(), Some(speaker));
            }
        }
    }

    fn check_to_client(&self, scene: &Scene<'_>, conn: ConnId, to: &Conn, read: &Reading) {
        const TO_ITSELF: [&str; 8] = [
            "connection_established",
            "connection_success",
            "message_delivered",
            "subscription_success",
            "unsubscription_success",
            "disconnect",
            "pong",
            "error",
        ];
        let Reading { fields: message, kind, .. } = read;
        assert_eq!(message.string("timestamp"), Some(scene.now.wall.to_string()));
        assert_eq!(kind == "connection_established", to.texts == 0);
        let is_other = scene.cause.said.is_some() && scene.cause.from != Some(conn);
        let named = match &scene.speaker {
            Some(speaker) if is_other => {
                assert!(Some(kind) == scene.kind.as_ref() && !TO_ITSELF.contains(&&**kind));
                &speaker.who
            }
            _ => &to.who,
        };
        let Who::Client { client, .. } = named else { panic!("{named:?} spoke to a client") };
        assert_eq!(message.string("client_id").as_ref(), Some(client));
        if kind == "connection_success" {
            assert!(scene.kind.as_deref() == Some("connect") && to.grant.is_some());
        }
    }

    fn may_be_told(&self, scope: &Scope, scene: &Scene<'_>, conn: ConnId, to: &Conn) -> bool {
        match scope {
            Scope::Nobody => false,
            Scope::Speaker(speaker) => *speaker == conn,
            Scope::Session { session, epoch } => {
                let is_there = match &to.who {
                    Who::Member { session: own, .. } | Who::Viewer { session: own } => {
                        own == session
                    }
                    Who::Client { .. } => false,
                };
                is_there && (epoch.is_none() || *epoch == to.epoch)
            }
            Scope::Talk { by, channel, event } => {
                let hears = |channel| to.channels.contains(channel);
                *by == conn || (*event == self.event && channel.as_ref().is_some_and(hears))
            }
            Scope::Client { client, .. } => {
                let is_it =
                    |who: &Who| matches!(who, Who::Client { client: own, .. } if own == client);
                is_it(&to.who) || scene.speaker.as_ref().is_some_and(|speaker| is_it(&speaker.who))
            }
        }
    }

    /// The threads that a key may know of, and nothing of any other.
    pub(super) fn check_answer(&self, body: &[u8], only: Option<&str>, grant: &Grant) {
        let body = std::str::from_utf8(body).expect("UTF-8");
        let answer = Fields::read(body).expect("an object");
        let threads = answer.get("threads").and_then(json::list).expect("a list");
        assert_eq!(answer.get("total"), Some(&*threads.len().to_string()));
        let key = in_force(grant, &self.keys);
        let opens = |name: &str| key.is_some_and(|key| opens(key, name));
        for thread in threads {
            let thread = Fields::read(thread).expect("an object");
            let channel = thread.string("channel").expect("a channel");
            assert!(opens(&channel) && only.is_none_or(|only| only == channel), "{body}");
            assert!(thread.string("thread_id").is_some());
        }
        for mark in marks::find(body.as_bytes()) {
            let is_theirs = match self.scopes.get(mark) {
                None => true,
                Some(Scope::Talk { channel: Some(channel), .. }) => opens(channel),
                Some(Scope::Client { talked, .. }) => talked.iter().any(|name| opens(name)),
                // A channel may be called by a mark of the one who joined it first.
                Some(_) => false,
            };
            assert!(
                is_theirs,
                "{:?} was answered with: {body}",
                key.map(|key: &Arc<Key>| &key.name)
            );
        }
    }
}

impl Witness {
    /// The sessions that a key may know of, what was said and done in them, and nothing of any other.
    pub(super) fn check_answer_about(
        &self,
        body: &[u8],
        only: Option<&str>,
        grant: Option<&Grant>,
    ) {
        let body = std::str::from_utf8(body).expect("UTF-8");
        let answer = Fields::read(body).expect("an object");
        let may_know = |session: &str| {
            let opened = grant.is_none_or(|grant| {
                in_force(grant, &self.keys).is_some_and(|key| opens(key, session))
            });
            opened && only.is_none_or(|only| only == session)
        };
        let sessions = match answer.get("sessions").and_then(json::list) {
            Some(sessions) => {
                assert_eq!(answer.get("total"), Some(&*sessions.len().to_string()));
                sessions.into_iter().map(|session| Fields::read(session).expect("one")).collect()
            }
            None => vec![answer],
        };
        for session in &sessions {
            let name = session.string("session_id").expect("a name");
            assert!(may_know(&name), "{body}");
            let viewers = self.conns.values().filter(|conn| {
                let is_it = matches!(&conn.who, Who::Viewer { session } if *session == name);
                is_it && conn.stage == Stage::In
            });
            let counted = session.get("viewers").map(str::to_owned);
            assert!(counted.is_none_or(|counted| counted == viewers.count().to_string()));
        }
        for mark in marks::find(body.as_bytes()) {
            let is_theirs = match self.scopes.get(mark) {
                None => true,
                Some(Scope::Session { session, .. }) => may_know(session),
                Some(_) => false,
            };
            assert!(is_theirs, "answered with: {body}");
        }
    }
}

/// The length of the header that a frame with this payload has to have.
fn header(frame: &Frame) -> usize {
    match frame.payload().len() {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// The text of a text frame.
pub(super) fn text(frame: &Frame) -> Option<&str> {
    let is_text = frame.bytes()[0] == 0x81;
    is_text.then(|| std::str::from_utf8(frame.payload()).expect("text is UTF-8"))
}

/// Whether an effect tells this connection that what it said was refused. A canvas of which an item is
/// left out is taken.
pub(super) fn is_error_to(effect: &Effect, from: Option<ConnId>) -> bool {
    let Effect::Send { conn, frame, .. } = effect else { return false };
    let is_error = frame.payload().starts_with(br#"{"type":"error","#);
    let left_out = br#"{"type":"error","error_type":"bad_item","#;
    Some(*conn) == from && is_error && !frame.payload().starts_with(left_out)
}
