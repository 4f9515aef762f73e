//! A hub, a clock that only the test moves, and what the hub had done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use collabd::auth::{Grant, Key, KeyHash, KeyRefusal, KeySet, Level};
use collabd::hub::{
    ChannelMessage, ConnId, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits,
    LoadedSession, Refusal, Time,
};
use collabd::journal::JournalEntry;
use collabd::protocol::Timestamp;
use collabd::protocol::client::{Inbound, parse};
use collabd::protocol::inbound::{self, Since};
use serde_json::{Value, json};

use crate::store::{self, ModelStore};

/// The wall clock at the hub's start.
pub const START: u64 = 1_761_658_245_123;

/// What the hub wanted done on one connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    Admitted,
    Refused(Refusal),
    /// A text message.
    Told(Value),
    /// A protocol Ping.
    Pinged(Vec<u8>),
    Answered(Value),
    Deleted,
    /// A session that is to be renamed by the store.
    Renaming,
    Closed(u16, &'static str),
    /// What was to be kept, in short: on no connection.
    Kept(String),
    /// A session that was to be loaded: on no connection.
    Loading(String),
}

/// Where what concerns no connection stands.
pub const NOBODY: ConnId = ConnId(0);

/// See the file's text.
pub struct Rig {
    pub hub: Hub,
    /// Since the hub's start.
    pub elapsed: Duration,
    /// By how many milliseconds the system's clock was set forward since then.
    pub jumped: u64,
    /// What was to be kept is given to it; it commits when a session is loaded.
    pub store: ModelStore,
    next_conn: u64,
    /// What was done and not yet taken, in order.
    done: Vec<(ConnId, Done)>,
    /// The last Ping of each connection that it has not answered.
    pings: HashMap<ConnId, Vec<u8>>,
}

pub fn limits() -> Limits {
    Limits {
        linger: Duration::from_secs(600),
        max_sessions: 0,
        max_channels: 0,
        document: DocumentBounds { item: 1 << 20, document: 1 << 24 },
        documents_memory: 0,
        history: HistoryBounds { changes: 100, bytes: 1 << 20 },
        settle: false,
        durable: false,
    }
}

/// A key that opens everything and never expires.
pub fn key(name: &str, level: Level) -> Key {
    Key { name: name.into(), hash: KeyHash::new(name), level, expires: None, opens: None }
}

/// The same key for these rooms only.
pub fn only(rooms: &[&str], key: Key) -> Key {
    Key { opens: Some(rooms.iter().map(|room| (*room).into()).collect()), ..key }
}

/// The same key until so many milliseconds after the hub's start.
pub fn until(millis: u64, key: Key) -> Key {
    Key { expires: Some(Timestamp::from_millis(START + millis)), ..key }
}

/// What a key is good for, as it stood in the set of this generation.
pub fn granted(key: Key, generation: u64) -> Grant {
    Grant { key: Arc::new(key), generation }
}

pub fn writer() -> Grant {
    granted(key("writer", Level::Write), 0)
}

pub fn reader() -> Grant {
    granted(key("reader", Level::Read), 0)
}

impl Rig {
    pub fn new() -> Self {
        Rig::with(limits())
    }

    pub fn with(limits: Limits) -> Self {
        let hub = Hub::new(limits, 1);
        Rig {
            hub,
            elapsed: Duration::ZERO,
            jumped: 0,
            store: ModelStore::default(),
            next_conn: 1,
            done: Vec::new(),
            pings: HashMap::new(),
        }
    }

    /// The same, and sessions survive.
    pub fn durable() -> Self {
        Rig::with(Limits { durable: true, ..limits() })
    }

    /// Another hub, that knows what is on disk.
    pub fn restart(&mut self, limits: Limits) {
        self.store.crash();
        self.hub = Hub::new(limits, 2).with_stored(self.store.names());
        self.elapsed = Duration::ZERO;
    }

    /// Everything that waits is written, and what was to be loaded is.
    pub fn commit(&mut self) {
        for done in self.store.commit(usize::MAX, 100) {
            if let store::Done::Renamed { conn, session, to } = done {
                self.handle(Event::Renamed { conn, session, to, is_done: true });
            } else if let store::Done::Loaded { session, stored } = done {
                let bounds = limits().history;
                let past =
                    stored.map(|stored| LoadedSession::of(stored, bounds).expect("what was kept"));
                self.handle(Event::Loaded { session, past: Ok(past.map(Box::new)) });
            }
        }
    }

    pub fn conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn - 1)
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp::from_millis(START + self.jumped + self.elapsed.as_millis() as u64)
    }

    pub fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        let wall = self.wall();
        self.hub.handle(event, Time { elapsed: self.elapsed, wall }, &mut effects);
        for effect in effects {
            if let Effect::Send { conn, frame, .. } = &effect
                && frame.bytes()[0] == 0x89
            {
                self.pings.insert(*conn, frame.payload().to_vec());
            }
            let (conn, done) = match effect {
                Effect::Persist(keep) => {
                    let kept = Done::Kept(in_short(&keep));
                    self.store.keep(*keep);
                    (NOBODY, kept)
                }
                Effect::Load { session } => {
                    self.store.load(session.clone());
                    (NOBODY, Done::Loading(session.to_string()))
                }
                Effect::Delete { conn, session, .. } => {
                    self.store.delete(session);
                    (conn, Done::Deleted)
                }
                Effect::Rename { conn, session, to } => {
                    self.store.rename(conn, session, to);
                    (conn, Done::Renaming)
                }
                Effect::Admit { conn } => (conn, Done::Admitted),
                Effect::Refuse { conn, why } => (conn, Done::Refused(why)),
                Effect::Close { conn, code, reason } => (conn, Done::Closed(code, reason)),
                Effect::Answer { conn, body } | Effect::AnswerWhenPersisted { conn, body } => {
                    (conn, Done::Answered(serde_json::from_slice(&body).expect("JSON")))
                }
                Effect::Send { conn, frame, .. } | Effect::Confirm { conn, frame } => {
                    match frame.bytes()[0] {
                        0x81 => {
                            // Half a character is passed on as it came, but serde can't read it.
                            let text = String::from_utf8_lossy(frame.payload());
                            let text = text.replace("\\ud800", "\\ufffd");
                            (conn, Done::Told(serde_json::from_str(&text).expect("JSON")))
                        }
                        _ => (conn, Done::Pinged(frame.payload().to_vec())),
                    }
                }
            };
            self.done.push((conn, done));
        }
    }

    /// Lets time pass, with a tick at every deadline.
    pub fn pass(&mut self, millis: u64) {
        let end = self.elapsed + Duration::from_millis(millis);
        while let Some(due) = self.hub.next_deadline().filter(|due| *due <= end) {
            self.elapsed = self.elapsed.max(due);
            self.handle(Event::Tick);
        }
        self.elapsed = end;
    }

    /// Everything that was done on any connection since it was last asked for, but for Pings: they may
    /// come at any time.
    pub fn all(&mut self) -> Vec<(ConnId, Done)> {
        let done = std::mem::take(&mut self.done).into_iter();
        done.filter(|(_, done)| !matches!(done, Done::Pinged(_))).collect()
    }

    /// What was done on this connection, but for Pings; what was done on others stays.
    pub fn on(&mut self, conn: ConnId) -> Vec<Done> {
        let done = self.on_with_pings(conn).into_iter();
        done.filter(|done| !matches!(done, Done::Pinged(_))).collect()
    }

    /// The same, and Pings.
    pub fn on_with_pings(&mut self, conn: ConnId) -> Vec<Done> {
        let (mine, others) =
            std::mem::take(&mut self.done).into_iter().partition(|(on, _)| *on == conn);
        self.done = others;
        let mine: Vec<(ConnId, Done)> = mine;
        mine.into_iter().map(|(_, done)| done).collect()
    }

    /// The texts that this connection was told.
    pub fn texts(&mut self, conn: ConnId) -> Vec<Value> {
        let texts = self.on(conn).into_iter().filter_map(|done| match done {
            Done::Told(told) => Some(told),
            _ => None,
        });
        texts.collect()
    }

    /// The types of what this connection was told; of an error its `error_type`.
    pub fn told(&mut self, conn: ConnId) -> Vec<String> {
        let kind = |done| match done {
            Done::Told(told) if told["type"] == "error" => {
                let data = if told["data"].is_object() { &told["data"] } else { &told };
                data["error_type"].as_str().expect("a string").to_owned()
            }
            Done::Told(told) => told["type"].as_str().expect("a string").to_owned(),
            Done::Closed(code, reason) => format!("{code} {reason}"),
            other => format!("{other:?}"),
        };
        self.on(conn).into_iter().map(kind).collect()
    }

    pub fn enter(&mut self, client: &str) -> ConnId {
        self.enter_by(client, false)
    }

    pub fn enter_by(&mut self, client: &str, debug: bool) -> ConnId {
        let conn = self.conn();
        self.handle(Event::ConnectClient { conn, client: client.into(), debug });
        conn
    }

    pub fn connect(&mut self, conn: ConnId, key: Result<Grant, KeyRefusal>) {
        self.handle(Event::ChannelMessage { conn, said: ChannelMessage::Connect(key) });
    }

    /// A client that has authenticated and read everything so far.
    pub fn client(&mut self, client: &str, grant: Grant) -> ConnId {
        let conn = self.enter(client);
        self.connect(conn, Ok(grant));
        self.on(conn);
        conn
    }

    /// A writing client that has joined these channels and read everything so far.
    pub fn member(&mut self, client: &str, channels: &[&str]) -> ConnId {
        let conn = self.client(client, writer());
        for channel in channels {
            self.say(conn, join(channel));
        }
        self.on(conn);
        conn
    }

    /// Says anything but `connect` and `ping`, as the client's thread would pass it on.
    pub fn say(&mut self, conn: ConnId, message: Value) {
        match parse(&message.to_string()) {
            Ok(Inbound::Request(request)) => {
                self.handle(Event::ChannelMessage { conn, said: ChannelMessage::Request(request) });
            }
            other => panic!("{other:?}"),
        }
    }

    /// The answer to `GET /api/chat/threads`.
    pub fn threads(&mut self, channel: Option<&str>, grant: Grant) -> Value {
        let conn = self.conn();
        self.handle(Event::Threads { conn, channel: channel.map(Into::into), grant });
        match self.on(conn).as_slice() {
            [Done::Answered(threads)] => threads.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub fn keys(&mut self, generation: u64, keys: impl IntoIterator<Item = Key>) {
        let keys = keys.into_iter().map(Arc::new).collect();
        self.handle(Event::Keys(Arc::new(KeySet { generation, keys })));
    }

    /// What was to be kept, in short, and loaded, since it was last asked for; but for notes of who has
    /// been there and the like.
    pub fn kept(&mut self) -> Vec<String> {
        let kept = self.kept_with_notes().into_iter();
        kept.filter(|kept| !kept.starts_with(r#"{"note":"#)).collect()
    }

    /// The same, and notes.
    pub fn kept_with_notes(&mut self) -> Vec<String> {
        let kept = self.on(NOBODY).into_iter().map(|done| match done {
            Done::Kept(kept) => kept,
            other => format!("{other:?}"),
        });
        kept.collect()
    }

    pub fn gone(&mut self, conn: ConnId) {
        self.handle(Event::Disconnected { conn });
    }

    pub fn join_session(&mut self, session: &str, user: &str, grant: Option<Grant>) -> ConnId {
        let conn = self.conn();
        self.handle(Event::Join { conn, session: session.into(), user: user.into(), grant });
        conn
    }

    pub fn view(&mut self, session: &str, grant: Option<Grant>) -> ConnId {
        let conn = self.conn();
        self.handle(Event::View { conn, session: session.into(), grant, since: None });
        conn
    }

    /// A viewer that comes with the document as of this change of this epoch.
    pub fn view_since(&mut self, session: &str, epoch: &str, seq: u64) -> ConnId {
        let conn = self.conn();
        let since = Some(Since { epoch: epoch.into(), seq });
        self.handle(Event::View { conn, session: session.into(), grant: None, since });
        conn
    }

    /// A viewer asks for the document, or for what it has missed.
    pub fn look(&mut self, conn: ConnId, since: Option<(&str, u64)>) {
        let since = since.map(|(epoch, seq)| Since { epoch: epoch.into(), seq });
        self.handle(Event::RequestState { conn, since });
    }

    /// The answer to a question that came without a WebSocket.
    pub fn ask(&mut self, question: impl FnOnce(ConnId) -> Event) -> Result<Value, Refusal> {
        let conn = self.conn();
        self.handle(question(conn));
        match self.on(conn).as_slice() {
            [Done::Answered(answer)] => Ok(answer.clone()),
            [Done::Refused(why)] => Err(*why),
            other => panic!("{other:?}"),
        }
    }

    /// The answer to `GET /api/sessions`.
    pub fn list(&mut self, grant: Option<Grant>) -> Value {
        self.ask(|conn| Event::Sessions { conn, grant }).expect("a list")
    }

    /// The answer to `GET /api/sessions/SESSION`.
    pub fn details(&mut self, session: &str) -> Result<Value, Refusal> {
        self.ask(|conn| Event::Details { conn, session: session.into(), grant: None })
    }

    pub fn tell(&mut self, conn: ConnId, message: Value) {
        let message = inbound::parse(&message.to_string()).expect("what is allowed");
        self.handle(Event::Message { conn, message });
    }

    /// Answers the last Ping that the connection was sent.
    pub fn pong(&mut self, conn: ConnId) {
        let payload = self.pings.remove(&conn).expect("it was sent a Ping");
        self.handle(Event::Pong { conn, payload });
    }

    /// Answers Pings until there are no more: the connection has received everything, as far as the hub
    /// asks.
    pub fn receive(&mut self, conn: ConnId) {
        while self.pings.contains_key(&conn) {
            self.pong(conn);
        }
    }
}

fn in_short(keep: &JournalEntry) -> String {
    let id = |id: &Option<Box<str>>| {
        id.as_ref().map_or(String::new(), |id| format!(" as {}", without_print(id)))
    };
    match keep {
        JournalEntry::Change { seq, user, id: named, .. } => {
            format!("{seq} by {user}{}", id(named))
        }
        JournalEntry::Snapshot { seq, user, frames, id: named, why, .. } => {
            let by = user.as_ref().map_or(String::new(), |user| format!(" by {user}"));
            format!("{}: {} up to {seq}{by}{}", why.name(), frames.len(), id(named))
        }
        JournalEntry::ProcessedId { seq, user, id, .. } => {
            format!("{} of {user} at {seq}", without_print(id))
        }
    }
}

/// An id as it is stored, less the fingerprint of what its message said.
fn without_print(id: &str) -> &str {
    match id.rsplit_once(' ') {
        Some((id, print)) if print.len() == 16 => id,
        _ => id,
    }
}

pub fn join(channel: &str) -> Value {
    json!({"type": "join_channel", "data": {"channel": channel}})
}

pub fn leave(channel: &str) -> Value {
    json!({"type": "leave_channel", "data": {"channel": channel}})
}

pub fn chat(channel: &str, content: &str) -> Value {
    json!({"type": "chat_message", "channel": channel, "data": {"content": content}})
}

pub fn in_thread(channel: &str, thread: &str) -> Value {
    json!({"type": "chat_message", "channel": channel,
           "data": {"content": "hello", "thread_id": thread}})
}

/// A server message of the client protocol as it has to be, now.
pub fn told(rig: &Rig, client: &str, message: Value) -> Done {
    let mut message = message;
    message["timestamp"] = json!(rig.wall().to_string());
    message["client_id"] = json!(client);
    Done::Told(message)
}

/// An `error` as it has to be, now.
pub fn error(rig: &Rig, client: &str, error_type: &str, message: &str, code: u16) -> Done {
    let data = json!({"message": message, "error_type": error_type, "code": code});
    told(rig, client, json!({"type": "error", "data": data}))
}
