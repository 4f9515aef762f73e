//! Everything that goes into the hub ([`Event`]) and comes out of it ([`Effect`]), and its bounds
//! ([`Limits`]).

use std::sync::Arc;
use std::time::Duration;

use super::bounds::{Bounds as DocumentBounds, TooBig};
use super::conn::ConnId;
use super::history::Bounds as HistoryBounds;
use super::loading::NotLoaded;
use super::past::Past;
use crate::auth::{Grant, KeyRefusal, KeySet};
use crate::kept::{Keep, PointInTime};
use crate::protocol::client::Request;
use crate::protocol::inbound::{ClientMessage, Since, State};
use crate::protocol::{Frame, UserId};

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

/// A message of the client protocol, as the client's thread has read it.
#[derive(Debug)]
pub enum Said {
    /// `connect`, with what the thread found out about its key.
    Connect(Result<Grant, KeyRefusal>),
    /// Any other valid message; the thread answers a `ping` itself.
    Request(Request),
    /// Not a valid message; `is_last` when as many came in a row as end a connection.
    Unreadable { is_last: bool },
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
