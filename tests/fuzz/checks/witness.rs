//! A witness of all that a hub wants done: knows who is where from what they were told, and who said
//! what, and panics when somebody is told what is none of their business.

mod held;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use collabd::auth::{Grant, KeySet};
use collabd::hub::{ConnId, Effect, Limits, Time};
use collabd::protocol::Frame;

use super::growth::{Growth, Reason};
use super::json::{self, Fields};
use super::marks;
use super::session::{in_force, opens};
use super::shape;
use told::{is_error_to, text};

/// Who a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Member { session: String, user: String },
    Viewer { session: String },
    Client { client: String, debug: bool },
}

/// Why the hub does something.
#[derive(Debug)]
pub struct Cause<'a> {
    kind: Kind,
    /// The connection it comes from.
    from: Option<ConnId>,
    /// A text, and the mark in it.
    said: Option<(&'a str, &'a str)>,
}

#[derive(Debug)]
enum Kind {
    /// A connection came in or said something.
    By,
    Gone,
    Failed,
    Keys,
    Tick,
    Question {
        channel: Option<String>,
        grant: Grant,
    },
    /// About one session, or about all.
    About {
        session: Option<String>,
        grant: Option<Grant>,
    },
}

impl<'a> Cause<'a> {
    pub fn saying(conn: ConnId, said: Option<(&'a str, &'a str)>) -> Self {
        Cause { kind: Kind::By, from: Some(conn), said }
    }
}

impl Cause<'static> {
    fn of(kind: Kind, from: Option<ConnId>) -> Self {
        Cause { kind, from, said: None }
    }

    pub fn by(conn: ConnId) -> Self {
        Cause::of(Kind::By, Some(conn))
    }

    pub fn about(conn: ConnId, session: Option<String>, grant: Option<Grant>) -> Self {
        Cause::of(Kind::About { session, grant }, Some(conn))
    }

    pub fn gone(conn: ConnId) -> Self {
        Cause::of(Kind::Gone, Some(conn))
    }

    pub fn failed(conn: ConnId) -> Self {
        Cause::of(Kind::Failed, Some(conn))
    }

    pub fn keys() -> Self {
        Cause::of(Kind::Keys, None)
    }

    pub fn tick() -> Self {
        Cause::of(Kind::Tick, None)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    In,
    /// Closed by the hub; the client may not know yet.
    Closed,
}

/// A connection as far as it is known.
#[derive(Debug, Clone)]
struct Conn {
    who: Who,
    stage: Stage,
    since: Duration,
    grant: Option<Grant>,
    /// How many texts it was sent.
    texts: usize,
    /// Which life of the session it is in.
    epoch: Option<String>,
    is_authenticated: bool,
    channels: BTreeSet<String>,
}

/// Who may be told of a mark.
#[derive(Debug, Clone)]
enum Scope {
    Nobody,
    Speaker(ConnId),
    /// Members and viewers of a session, in one of its lives or in all.
    Session {
        session: String,
        epoch: Option<String>,
    },
    /// Who was in the channel at that event; afterwards whoever may see its threads.
    Talk {
        by: ConnId,
        channel: Option<String>,
        event: u64,
    },
    /// A client's name: it goes where the client talks.
    Client {
        client: String,
        talked: BTreeSet<String>,
    },
}

/// What is known of the event that is being watched.
struct Scene<'a> {
    cause: &'a Cause<'a>,
    now: Time,
    speaker: Option<Conn>,
    kind: Option<String>,
    channel: Option<String>,
    is_refused: bool,
}

/// A text as those read it that it was sent to.
struct Reading {
    text: String,
    by_editor: bool,
    fields: Fields,
    kind: String,
    marks: Vec<String>,
}

/// See the file's text.
pub struct Witness {
    limits: Limits,
    conns: BTreeMap<ConnId, Conn>,
    scopes: HashMap<String, Scope>,
    keys: Arc<KeySet>,
    key_changes: u64,
    growth: Growth,
    event: u64,
    /// What was read last: the next one is often sent the same.
    last_reading: Option<Rc<Reading>>,
}

impl Witness {
    pub fn new(limits: Limits) -> Self {
        Witness {
            limits,
            conns: BTreeMap::new(),
            scopes: HashMap::new(),
            keys: Arc::default(),
            key_changes: 0,
            growth: Growth::default(),
            event: 0,
            last_reading: None,
        }
    }

    pub fn nobody_hears(&mut self, mark: String) {
        self.scopes.insert(mark, Scope::Nobody);
    }

    /// The marks of these names are for members of a session.
    pub fn only_session_hears(&mut self, session: &str, names: &[&str]) {
        for name in names {
            let scope = Scope::Session { session: session.to_owned(), epoch: None };
            self.scopes.insert(marks::of_name(name).to_owned(), scope);
        }
    }

    pub fn only_by_its_talk(&mut self, client: &str) {
        let scope = Scope::Client { client: client.to_owned(), talked: BTreeSet::new() };
        self.scopes.entry(marks::of_name(client).to_owned()).or_insert(scope);
    }

    /// So much time passes before the hub looks at its timers.
    pub fn hub_is_late(&mut self, by: Duration) {
        self.growth.delay(by);
    }

    /// A connection asks to come in.
    pub fn comes(&mut self, conn: ConnId, who: Who, grant: Option<Grant>, now: Duration) {
        let conn_ = Conn {
            who,
            stage: Stage::Asked,
            since: now,
            grant,
            texts: 0,
            epoch: None,
            is_authenticated: false,
            channels: BTreeSet::new(),
        };
        self.conns.insert(conn, conn_);
        self.growth.allow(Reason::Arrival(conn), now, Duration::from_secs(10));
    }

    /// A connection's key was found good by its thread.
    pub fn shows_key(&mut self, conn: ConnId, grant: &Grant) {
        if let Some(known) = self.conns.get_mut(&conn)
            && known.stage == Stage::In
            && in_force(grant, &self.keys).is_some()
        {
            known.grant = Some(grant.clone());
            self.key_changes += 1;
        }
    }

    pub fn keys_change(&mut self, keys: Arc<KeySet>) {
        self.keys = keys;
        self.key_changes += 1;
    }

    pub fn expect_answer(
        &mut self,
        conn: ConnId,
        channel: Option<String>,
        grant: Grant,
    ) -> Cause<'static> {
        Cause::of(Kind::Question { channel, grant }, Some(conn))
    }

    pub fn is_known(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// A client's own thread has answered it.
    pub fn answered(&mut self, conn: ConnId, frame: &Frame, said: Option<(&str, &str)>) {
        if let Some((_, mark)) = said {
            self.scopes.insert(mark.to_owned(), Scope::Speaker(conn));
        }
        let text = text(frame).expect("a text");
        let read = self.read(text, conn);
        let to = &self.conns[&conn];
        assert!(matches!(&*read.kind, "pong" | "error"), "{} from a client's thread", read.kind);
        for mark in &read.marks {
            let is_own = match self.scopes.get(mark) {
                Some(Scope::Speaker(speaker)) => *speaker == conn,
                Some(Scope::Client { client, .. }) => {
                    matches!(&to.who, Who::Client { client: own, .. } if own == client)
                }
                Some(_) => false,
                None => true,
            };
            assert!(is_own, "c{} was answered with what somebody else said: {text}", conn.0);
        }
    }

    /// Watches all that one event led to.
    pub fn sees(&mut self, cause: &Cause<'_>, effects: &[Effect], now: Time) {
        self.event += 1;
        let speaker = cause.from.and_then(|from| self.conns.get(&from)).cloned();
        let is_late = speaker.as_ref().is_some_and(|speaker| speaker.stage == Stage::Closed);
        if is_late && matches!(cause.kind, Kind::By | Kind::Gone) {
            assert!(effects.is_empty(), "what came after a close had effects: {effects:?}");
        }
        let sent = cause.said.and_then(|(text, _)| Fields::sent_by_member(text));
        let channel = |sent: &Fields| sent.string("channel");
        let scene = Scene {
            cause,
            now,
            kind: sent.as_ref().and_then(|sent| sent.string("type")),
            channel: sent.as_ref().and_then(channel),
            is_refused: effects.iter().any(|effect| is_error_to(effect, cause.from)),
            speaker,
        };
        self.note_what_was_said(&scene, sent.as_ref());
        for effect in effects {
            self.see(&scene, effect);
        }
        if matches!(cause.kind, Kind::Gone)
            && let Some(conn) = cause.from
            && let Some(gone) = self.conns.remove(&conn)
        {
            self.note_departure(conn, &gone, now.elapsed);
        }
        self.check_who_is_in(cause, now);
    }

    /// Who may be told of what was said now.
    fn note_what_was_said(&mut self, scene: &Scene<'_>, sent: Option<&Fields>) {
        let (Some((_, mark)), Some(from), Some(speaker)) =
            (scene.cause.said, scene.cause.from, &scene.speaker)
        else {
            return;
        };
        let scope = match &speaker.who {
            // Of what a viewer says nobody is told anything.
            Who::Viewer { .. } => Scope::Speaker(from),
            _ if scene.is_refused => Scope::Speaker(from),
            Who::Member { session, .. } => {
                let session = session.clone();
                let command = sent.and_then(|sent| sent.object("command"));
                if let Some(id) = command.and_then(|command| command.string("item_id")) {
                    let reason = Reason::Settle(session.clone(), id);
                    self.growth.allow(reason, scene.now.elapsed, Duration::from_secs(5));
                }
                // What a canvas shows although it was not taken is told in a moment.
                let state = sent.and_then(|sent| sent.object("state"));
                let items = state.as_ref().and_then(|state| state.get("items"));
                for item in items.and_then(json::list).unwrap_or_default() {
                    let item = Fields::sent(item);
                    let name = |key| item.as_ref().and_then(|item| item.string(key));
                    if let Some(id) = name("uuid").or_else(|| name("item_uuid")) {
                        let reason = Reason::Settle(session.clone(), id);
                        self.growth.allow(reason, scene.now.elapsed, Duration::from_secs(5));
                    }
                }
                Scope::Session { session, epoch: speaker.epoch.clone() }
            }
            Who::Client { client, .. } => {
                let is_in = |name: &String| speaker.channels.contains(name);
                let talks = scene.channel.clone().filter(is_in);
                let name = self.scopes.get_mut(marks::of_name(client));
                if let Some(Scope::Client { talked, .. }) = name {
                    talked.extend(talks.clone());
                }
                Scope::Talk { by: from, channel: talks, event: self.event }
            }
        };
        self.scopes.insert(mark.to_owned(), scope);
    }

    fn see(&mut self, scene: &Scene<'_>, effect: &Effect) {
        let cause = scene.cause;
        match effect {
            Effect::Persist(_)
            | Effect::Load { .. }
            | Effect::Delete { .. }
            | Effect::Rename { .. }
            | Effect::AnswerWhenPersisted { .. } => {
                panic!("no session is durable here")
            }
            Effect::Admit { conn } => {
                let known = self.conns.get_mut(conn).expect("it has asked");
                assert!(known.stage == Stage::Asked && cause.from == Some(*conn));
                known.stage = Stage::In;
            }
            Effect::Refuse { conn, .. } if matches!(cause.kind, Kind::About { .. }) => {
                assert_eq!(cause.from, Some(*conn));
            }
            Effect::Refuse { conn, .. } => {
                let refused = self.conns.remove(conn).expect("it has asked");
                assert!(refused.stage == Stage::Asked && cause.from == Some(*conn));
            }
            Effect::Close { conn, .. } => {
                let known = self.conns.get_mut(conn).expect("it is open");
                let was_open = std::mem::replace(&mut known.stage, Stage::Closed) != Stage::Closed;
                assert!(was_open || matches!(cause.kind, Kind::Failed), "closed twice");
                let closed = known.clone();
                known.channels.clear();
                self.note_departure(*conn, &closed, scene.now.elapsed);
            }
            Effect::Answer { conn, body } => {
                assert_eq!(cause.from, Some(*conn));
                match &cause.kind {
                    Kind::Question { channel, grant } => {
                        self.check_answer(body, channel.as_deref(), grant);
                    }
                    Kind::About { session, grant } => {
                        self.check_answer_about(body, session.as_deref(), grant.as_ref());
                    }
                    _ => panic!("no question"),
                }
            }
            Effect::Confirm { conn, frame } => {
                assert_eq!(Some(*conn), cause.from, "somebody else's confirmation");
                self.see_frame(scene, *conn, frame, None);
            }
            Effect::Send { conn, frame, supersedes } => {
                self.see_frame(scene, *conn, frame, *supersedes);
            }
        }
    }

    /// Reads a text as the one does whom it is sent to; panics where an editor would abort.
    fn read(&mut self, text: &str, to: ConnId) -> Rc<Reading> {
        let by_editor = !matches!(self.conns[&to].who, Who::Client { .. });
        if let Some(last) = &self.last_reading
            && last.by_editor == by_editor
            && last.text == text
        {
            return last.clone();
        }
        let fields = match by_editor {
            true => shape::to_editor(text),
            false => Fields::read(text).unwrap_or_else(|| panic!("no object: {text}")),
        };
        let reading = Rc::new(Reading {
            kind: fields.string("type").expect("a type"),
            marks: marks::find(text.as_bytes()).map(str::to_owned).collect(),
            text: text.to_owned(),
            by_editor,
            fields,
        });
        self.last_reading = Some(reading.clone());
        reading
    }

    /// What a connection is told says where it is.
    fn learn(&mut self, conn: ConnId, Reading { fields: message, kind, .. }: &Reading) {
        let to = self.conns.get_mut(&conn).expect("it is there");
        to.texts += 1;
        match (&to.who, &**kind) {
            (Who::Member { .. } | Who::Viewer { .. }, "connection:ack") => {
                to.epoch = message.string("epoch");
            }
            (Who::Member { .. } | Who::Viewer { .. }, "sync:state" | "sync:done") => {
                assert_eq!(message.string("epoch"), to.epoch, "a state of another session");
            }
            (Who::Client { .. }, "connection_success") => to.is_authenticated = true,
            (Who::Client { .. }, "subscription_success") => {
                assert!(to.is_authenticated);
                to.channels.insert(message.string("channel").expect("a channel"));
            }
            (Who::Client { .. }, "unsubscription_success") => {
                assert!(to.channels.remove(&message.string("channel").expect("a channel")));
            }
            _ => {}
        }
    }

    /// Timers are never cancelled: some go on for a while.
    fn note_departure(&mut self, conn: ConnId, gone: &Conn, now: Duration) {
        if gone.grant.is_some() {
            let reason = Reason::Expiry(conn, u64::MAX);
            self.growth.allow(reason, now, Duration::from_secs(60));
        }
        if let Who::Member { session, .. } = &gone.who
            && let Some(epoch) = &gone.epoch
        {
            let reason = Reason::Linger(session.clone(), epoch.clone());
            self.growth.allow(reason, now, self.limits.linger);
        }
    }
}
