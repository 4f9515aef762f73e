//! All state of sessions and channels, as a pure machine: an [`Event`] and the time go in,
//! [`Effect`]s come out.
//!
//! A session (`session.rs`) and a channel (`channels.rs`) are both rooms (`room.rs`) with members who
//! are sent one frame. A session has a document, a host and a history besides, and outlives its
//! members for a while; a channel has nothing but the counts of its threads. Whoever is in a session
//! is in that one alone; a client (`clients.rs`) may be in many channels. Whoever views a
//! session (`viewers.rs`) is sent what its members are, and is nobody to them.
//!
//! Where sessions survive, the hub says what is to be kept ([`Effect::Keep`], `keeping.rs`) and is
//! given what was ([`Past`]); a session in memory is then no more than one that somebody needs at
//! present.
//!
//! Nothing here knows a socket, a file or a clock. One thread calls [`Hub::handle`]; tests call it
//! too and run hours of a session in milliseconds.

mod bounds;
pub mod channels;
mod clients;
mod conn;
mod document;
mod exchange;
mod footprint;
mod held;
mod history;
mod item;
mod item_frames;
mod keeping;
mod listing;
mod loading;
mod member;
mod merge;
mod notes;
mod old_values;
mod pass;
mod past;
mod publish;
mod recent;
mod removed;
mod roles;
mod room;
mod session;
mod sessions;
mod settle;
mod snapshot;
mod stored;
mod threads;
mod timers;
mod told;
mod versions;
mod viewers;
mod viewing;
mod writing;

use std::sync::Arc;
use std::time::Duration;

pub use bounds::{Bounds as DocumentBounds, TooBig};
pub use channels::Said;
pub use conn::{ConnId, ConnMap, NumberHasher};
pub use document::Document;
pub use footprint::{ChannelsFootprint, Footprint, Holdings, SessionFootprint};
pub use history::Bounds as HistoryBounds;
pub use loading::NotLoaded;
pub use past::{Past, replay};
pub use stored::Damaged;

use crate::auth::{Grant, KeySet};
use crate::kept::{Keep, PointInTime};
use crate::protocol::inbound::{ClientMessage, Since, State};
use crate::protocol::{Frame, Timestamp, UserId};
use bounds::Allowance;
use clients::Clients;
use member::Request;
use pass::KeyIndex;
use sessions::Sessions;
use timers::{Timer, Timers};

/// How many timers fire at one moment: each item of a canvas that was moved as a whole has one.
const TIMERS_AT_ONCE: usize = 200;

/// The time as the hub is told it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since the hub's start; never goes back.
    pub elapsed: Duration,
    /// The system's clock, for what clients are shown.
    pub wall: Timestamp,
}

/// What happens to the hub.
#[derive(Debug)]
pub enum Event {
    /// A connection asks to be a member of a session. Answered with [`Effect::Admit`] or
    /// [`Effect::Refuse`]. `grant` is what its key permits, where keys are asked for.
    Join { conn: ConnId, session: Arc<str>, user: UserId, grant: Option<Grant> },
    /// The same, but where a session begins with it, nothing of that is kept until somebody joins with
    /// [`Join`](Self::Join).
    JoinForNow { conn: ConnId, session: Arc<str>, user: UserId, grant: Option<Grant> },
    /// A connection asks to view a session that is there, in memory or stored: to be sent what its
    /// members are, without being one. Answered with [`Effect::Admit`] or [`Effect::Refuse`].
    View { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// A viewer asks for the document, or for what came after `since`.
    Look { conn: ConnId, since: Option<Since> },
    /// A connection of the client protocol comes in; `debug` is whether it came by the debug endpoint.
    /// Answered with [`Effect::Admit`].
    Enter { conn: ConnId, client: UserId, debug: bool },
    /// A connection of the client protocol said something.
    Said { conn: ConnId, said: Said },
    /// Somebody asks, without a WebSocket, for the threads of a channel, or of all that its key opens.
    /// Answered with [`Effect::Answer`].
    Threads { conn: ConnId, channel: Option<String>, grant: Grant },
    /// Somebody asks, without a WebSocket, which sessions are in memory, of those that its key opens.
    /// Answered with [`Effect::Answer`].
    Sessions { conn: ConnId, grant: Option<Grant> },
    /// The same about one session. Answered with [`Effect::Answer`], or with [`Effect::Refuse`] where
    /// it isn't in memory.
    Details { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// The same about its document.
    State { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// Somebody asks, without a WebSocket, for the versions of a session in memory, where sessions are
    /// not stored. Answered with [`Effect::Answer`] or [`Effect::Refuse`].
    Versions { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// The same about its document as it was: the newest version at or before `at`, or the document as
    /// it is.
    Version { conn: ConnId, session: Arc<str>, at: PointInTime, grant: Option<Grant> },
    /// A member of a session said something.
    Message { conn: ConnId, message: ClientMessage },
    /// A member answered a protocol Ping with this payload.
    Pong { conn: ConnId, payload: Vec<u8> },
    /// A connection has ended.
    Gone { conn: ConnId },
    /// Handling an event of this connection failed half-way: it ends, and whoever shares its
    /// session is told the whole state, because nobody knows which effects were lost.
    Failed { conn: ConnId },
    /// Another set of keys is in force.
    Keys(Arc<KeySet>),
    /// A session was to be loaded: [`Effect::Load`]. `None` where nothing of it is stored.
    Loaded { session: Arc<str>, past: Result<Option<Box<Past>>, NotLoaded> },
    /// Whether what is to be kept is being written; at the start it is.
    Durable(bool),
    /// Something that was to be kept of this session could not be written and is lost: its whole
    /// document is needed.
    Wanted { session: Arc<str> },
    /// Puts an earlier document, or one from elsewhere, in the place of a session's own; where there
    /// is no such session it begins with it. Answered with [`Effect::AnswerKept`] or
    /// [`Effect::Refuse`].
    Restore { conn: ConnId, session: Arc<str>, state: Box<State>, by: UserId },
    /// The same, but only where there is no such session yet.
    Import { conn: ConnId, session: Arc<str>, state: Box<State>, by: UserId },
    /// Removes a session and all that is stored of it. Answered with [`Effect::Delete`], or with
    /// [`Effect::Refuse`] while somebody is in it.
    Delete { conn: ConnId, session: Arc<str> },
    /// The moment of [`Hub::next_deadline`] has come.
    Tick,
}

/// What the hub wants done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// The connection is let in; what is sent to it follows.
    Admit { conn: ConnId },
    /// The connection can't become a member or viewer, or have done what it asked for.
    Refuse { conn: ConnId, why: Refusal },
    /// Queue a frame. With `supersedes`, an older frame with the same key that is still queued for
    /// this receiver may be replaced by it.
    Send { conn: ConnId, frame: Frame, supersedes: Option<ConnId> },
    /// Something that has to survive, where sessions are durable. What is sent of it follows.
    Keep(Box<Keep>),
    /// A session is to be loaded, after everything that was to be kept of it: [`Event::Loaded`].
    Load { session: Arc<str> },
    /// All that is stored of a session is to be removed, before anything that is to be kept from now
    /// on: the next one of this name is another. When it is, `conn` is answered with this page of JSON.
    Delete { conn: ConnId, session: Arc<str>, body: Vec<u8> },
    /// Tell a sender that its change was taken. A store that makes changes durable holds this back
    /// until everything before it is written.
    Confirm { conn: ConnId, frame: Frame },
    /// Answer a question that came without a WebSocket, with a page of JSON.
    Answer { conn: ConnId, body: Vec<u8> },
    /// The same, when everything that was to be kept before it is written.
    AnswerKept { conn: ConnId, body: Vec<u8> },
    /// Close the connection; the hub has forgotten it already.
    Close { conn: ConnId, code: u16, reason: &'static str },
}

/// Why a connection can't become a member of a session, or change it from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are too many sessions.
    Full,
    /// The documents in memory leave no room for this one.
    NoMemory,
    /// Its key doesn't open this one, or opens nothing any more.
    KeyRefused,
    /// The session is stored, but can't be read.
    NotLoaded,
    /// There is no room for what was to be restored.
    TooBig(TooBig),
    /// What was to be deleted is in use.
    InUse,
    /// What was to begin is there already.
    Exists,
    /// There is no such session.
    Unknown,
    /// What it was like then is not kept, or not any more.
    NotKept,
    /// It can't be written: the disk fails.
    NotWritten,
}

/// What the hub keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a session without members is kept.
    pub linger: Duration,
    /// How many sessions there may be, lingering ones included; 0 for any number.
    pub max_sessions: usize,
    /// How many channels there may be, those included that nobody is in but that have threads; 0 for
    /// any number.
    pub max_channels: usize,
    pub document: DocumentBounds,
    /// How many bytes of memory all documents may take together, and their earlier versions; 0 for any
    /// number.
    pub documents_memory: usize,
    pub history: HistoryBounds,
    /// Whether items are settled (docs/PROTOCOL.md, "Settling").
    pub settle: bool,
    /// Whether sessions survive: what happens in them is kept, and one that has lingered can be
    /// loaded again.
    pub durable: bool,
}

/// What the code of a session or of a client works with while it handles one event.
struct Turn<'a> {
    now: Now,
    limits: &'a Limits,
    keys: &'a KeySet,
    effects: &'a mut Vec<Effect>,
    timers: &'a mut Timers,
    /// Whether what is to be kept can't be written.
    disk_fails: bool,
    /// By how many bytes of memory the document may grow that is being changed.
    left: usize,
}

impl Turn<'_> {
    fn allowance(&self) -> Allowance {
        let together = self.limits.documents_memory;
        Allowance { bounds: self.limits.document, left: self.left, together }
    }

    fn send(&mut self, conn: ConnId, frame: &Frame) {
        self.effects.push(Effect::Send { conn, frame: frame.clone(), supersedes: None });
    }

    fn elapsed(&self) -> Duration {
        self.now.elapsed
    }
}

/// The state of every session and every channel. Owned by one thread; see the module's text.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    /// The keys in force, as far as the hub was told.
    keys: Arc<KeySet>,
    sessions: Sessions,
    clients: Clients,
    timers: Timers,
    /// Whether what is to be kept can't be written.
    disk_fails: bool,
}

impl Hub {
    /// A hub without sessions. `seed` makes the epochs: random in the server, fixed in a test.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Hub {
            limits,
            keys: Arc::default(),
            sessions: Sessions::new(seed),
            clients: Clients::default(),
            timers: Timers::default(),
            disk_fails: false,
        }
    }

    /// The same hub, knowing that these sessions are stored.
    pub fn with_stored(mut self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.sessions.add_stored(names);
        self
    }

    /// Handles one event and appends what is to be done about it.
    ///
    /// `now` must not go back between calls. Events of connections that are no members (any more)
    /// have no effect.
    #[inline(never)] // a name in thread dumps
    pub fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        if let Event::Keys(keys) = &event
            && keys.generation >= self.keys.generation
        {
            self.keys = keys.clone();
        }
        let was_failing = self.disk_fails;
        if let Event::Durable(works) = event {
            self.disk_fails = self.limits.durable && !works;
        }
        let Hub { limits, keys, sessions, clients, timers, disk_fails } = self;
        let disk_fails = *disk_fails;
        let turn = &mut Turn { now, limits, keys, effects, timers, disk_fails, left: 0 };
        match event {
            Event::Join { conn, session, user, grant } => {
                sessions.join(conn, session, user, grant, false, turn);
            }
            Event::JoinForNow { conn, session, user, grant } => {
                sessions.join(conn, session, user, grant, true, turn);
            }
            Event::View { conn, session, grant } => sessions.view(conn, session, grant, turn),
            Event::Look { conn, since } => sessions.request_state(conn, &Request { since }, turn),
            Event::Message { conn, message } => {
                sessions.with_session_of(conn, turn, |session, turn| {
                    session.message(conn, message, turn)
                });
            }
            Event::Pong { conn, payload } => {
                sessions.with_session_of(conn, turn, |session, turn| {
                    session.pong(conn, &payload, turn)
                });
            }
            Event::Enter { conn, client, debug } => clients.connected(conn, client, debug, turn),
            Event::Said { conn, said } => clients.message(conn, said, turn),
            Event::Threads { conn, channel, grant } => {
                let body = clients.threads(channel.as_deref(), grant, turn);
                turn.effects.push(Effect::Answer { conn, body });
            }
            Event::Sessions { conn, grant } => sessions.list(conn, grant, turn),
            Event::Details { conn, session, grant } => {
                sessions.describe(conn, &session, grant, turn);
            }
            Event::State { conn, session, grant } => sessions.state(conn, &session, grant, turn),
            Event::Versions { conn, session, grant } => {
                sessions.versions(conn, &session, grant, turn);
            }
            Event::Version { conn, session, at, grant } => {
                sessions.version(conn, &session, at, grant, turn);
            }
            Event::Gone { conn } => {
                clients.disconnected(conn);
                sessions.disconnected(conn, turn);
            }
            Event::Failed { conn } if clients.has(conn) => clients.failed(conn, turn),
            Event::Failed { conn } => sessions.failed(conn, turn),
            Event::Keys(_) => {
                let keys = KeyIndex::new(turn.keys);
                clients.renew_passes(&keys, turn);
                sessions.renew_passes(&keys, turn);
            }
            Event::Loaded { session, past } => sessions.loaded(&session, past, turn),
            Event::Durable(_) if turn.disk_fails != was_failing => sessions.disk_changed(turn),
            Event::Durable(_) => {}
            Event::Wanted { session } => sessions.snapshot_requested(&session, turn),
            Event::Restore { conn, session, state, by } => {
                sessions.restore(conn, session, state, by, turn);
            }
            Event::Import { conn, session, state, by } => {
                sessions.import(conn, session, state, by, turn);
            }
            Event::Delete { conn, session } => sessions.delete(conn, session, turn),
            Event::Tick => {
                // What is left is due at once, behind what others have said meanwhile.
                for _ in 0..TIMERS_AT_ONCE {
                    let Some(timer) = turn.timers.pop_due(now.elapsed) else { break };
                    match timer {
                        Timer::Session(name, timer) => sessions.timer_fired(&name, timer, turn),
                        Timer::Client(conn, timer) => clients.timer_fired(conn, timer, turn),
                    }
                }
            }
        }
        sessions.free_memory(turn);
    }

    /// When the hub wants its next [`Event::Tick`], since its start.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// How much it holds, from counts: takes no time.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            sessions: self.sessions.len(),
            members: self.sessions.members(),
            channels: self.clients.channels().len(),
            documents_memory: self.sessions.memory(),
            most_documents_memory: self.limits.documents_memory,
        }
    }

    /// The document of a session, for tests and for whoever stores it.
    pub fn document(&self, session: &str) -> Option<&Document> {
        Some(&self.sessions.get(session)?.document)
    }
}
