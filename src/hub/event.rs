//! What goes into the hub ([`Event`]), what comes out ([`Effect`]), and the hub's bounds ([`Limits`]).

use std::sync::Arc;
use std::time::Duration;

use super::bounds::{Bounds as DocumentBounds, TooBig};
use super::connection::ConnId;
use super::history::Bounds as HistoryBounds;
use super::loaded::LoadedSession;
use super::pending_requests::NotLoaded;
use crate::auth::{Grant, KeyRefusal, KeySet};
use crate::journal::{JournalEntry, PointInTime};
use crate::protocol::client::Request;
use crate::protocol::inbound::{ClientMessage, Since, State};
use crate::protocol::{Frame, UserId};

/// Something that happened, for [`Hub::handle`](super::Hub::handle). `grant` is what a connection's key
/// permits; `None` where no key is asked for.
#[derive(Debug)]
pub enum Event {
    /// A connection asks to be a member of a session. Answered with [`Effect::Admit`] or
    /// [`Effect::Refuse`].
    Join { conn: ConnId, session: Arc<str>, user: UserId, grant: Option<Grant> },
    /// Like [`Join`](Self::Join), but a session that begins with it is not stored until a connection
    /// joins with [`Join`](Self::Join).
    JoinTemporary { conn: ConnId, session: Arc<str>, user: UserId, grant: Option<Grant> },
    /// A connection asks to view a session that exists, in memory or stored: to be sent what members
    /// are sent. It has the document as of `since` already, if that is given. Answered with [`Effect::Admit`] or
    /// [`Effect::Refuse`].
    View { conn: ConnId, session: Arc<str>, grant: Option<Grant>, since: Option<Since> },
    /// A viewer asks for the document, or for the changes after `since`.
    RequestState { conn: ConnId, since: Option<Since> },
    /// A connection of the client protocol was opened, with `debug` at the debug endpoint. Answered with
    /// [`Effect::Admit`].
    ConnectClient { conn: ConnId, client: UserId, debug: bool },
    /// A message of the client protocol.
    ChannelMessage { conn: ConnId, said: ChannelMessage },
    /// An HTTP request for the threads of a channel, or of all channels that its key opens. Answered with
    /// [`Effect::Answer`].
    Threads { conn: ConnId, channel: Option<String>, grant: Grant },
    /// An HTTP request for the list of the sessions in memory that its key opens. Answered with
    /// [`Effect::Answer`].
    Sessions { conn: ConnId, grant: Option<Grant> },
    /// An HTTP request about one session. Answered with [`Effect::Answer`], or with [`Effect::Refuse`]
    /// if it isn't in memory.
    Details { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// An HTTP request for one item: its fields, and who changed it last. Answered like
    /// [`Details`](Self::Details); [`Refusal::NoItem`] where the document doesn't have it.
    Item { conn: ConnId, session: Arc<str>, item: Box<str>, grant: Option<Grant> },
    /// An HTTP request for a session's document. Answered like [`Details`](Self::Details).
    State { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// An HTTP request for the list of a session's versions in memory, where sessions are not stored.
    /// Answered like [`Details`](Self::Details).
    Versions { conn: ConnId, session: Arc<str>, grant: Option<Grant> },
    /// An HTTP request for the newest version at or before `at`, or for the document if that is older.
    /// Answered like [`Details`](Self::Details).
    Version { conn: ConnId, session: Arc<str>, at: PointInTime, grant: Option<Grant> },
    /// A message of a member.
    Message { conn: ConnId, message: ClientMessage },
    /// A member answered a protocol Ping with this payload.
    Pong { conn: ConnId, payload: Vec<u8> },
    /// A connection has ended.
    Disconnected { conn: ConnId },
    /// Handling an event of this connection panicked. The connection is closed, and the others in its
    /// session are sent the whole document, because it isn't known which effects were lost.
    Failed { conn: ConnId },
    /// A new set of keys is in force.
    Keys(Arc<KeySet>),
    /// The answer to [`Effect::Load`]; `None` if nothing of the session is stored.
    Loaded { session: Arc<str>, past: Result<Option<Box<LoadedSession>>, NotLoaded> },
    /// Whether the store can write. The hub begins with `true`.
    Durable(bool),
    /// The store lost entries of this session and needs its whole document.
    SnapshotRequested { session: Arc<str> },
    /// Replaces a session's document with `state`; creates the session if it doesn't exist. Answered
    /// with [`Effect::AnswerWhenPersisted`] or [`Effect::Refuse`].
    Restore { conn: ConnId, session: Arc<str>, state: Box<State>, by: UserId },
    /// Creates a session with the document `state`. Answered with [`Effect::AnswerWhenPersisted`], or with
    /// [`Effect::Refuse`] if the session exists.
    Import { conn: ConnId, session: Arc<str>, state: Box<State>, by: UserId },
    /// Removes a session and all that is stored of it. Answered with [`Effect::Delete`], or with
    /// [`Effect::Refuse`] while it has members.
    Delete { conn: ConnId, session: Arc<str> },
    /// Gives a session without members another name. Answered with [`Effect::Rename`] and then
    /// [`Effect::Answer`], or with [`Effect::Refuse`].
    Rename { conn: ConnId, session: Arc<str>, to: Arc<str> },
    /// The store has renamed the session of an [`Effect::Rename`], or could not.
    Renamed { conn: ConnId, session: Arc<str>, to: Arc<str>, is_done: bool },
    /// Adds a removed item to a session's document again, as it was. Answered with
    /// [`Effect::AnswerWhenPersisted`] or [`Effect::Refuse`].
    RestoreItem { conn: ConnId, session: Arc<str>, item: Arc<str>, by: UserId },
    /// Closes the connection `target` of a member, a viewer or a client. Answered with [`Effect::Answer`],
    /// or with [`Effect::Refuse`] if there is no such connection.
    EndConnection { conn: ConnId, target: ConnId },
    /// The moment of [`Hub::next_deadline`](super::Hub::next_deadline) has come.
    Tick,
}

/// A message of the client protocol, as the client's thread has read it.
#[derive(Debug)]
pub enum ChannelMessage {
    /// `connect`, with what the thread found out about its key.
    Connect(Result<Grant, KeyRefusal>),
    /// Any other valid message; the thread answers a `ping` itself.
    Request(Request),
    /// Not a valid message; `is_last` when as many came in a row as end a connection.
    Unreadable { is_last: bool },
}

/// Something the hub thread has to do. Effects are carried out in the order in which they are given.
#[derive(Debug)]
pub enum Effect {
    /// Complete the handshake of this connection. Frames for it follow.
    Admit { conn: ConnId },
    /// Refuse the connection, or the HTTP request.
    Refuse { conn: ConnId, why: Refusal },
    /// Queue a frame. It may replace an older one for this receiver that is still queued and has the
    /// same `supersedes`, if that is not `None`.
    Send { conn: ConnId, frame: Frame, supersedes: Option<ConnId> },
    /// Give an entry to the store. The frames that tell of it follow. Only with [`Limits::durable`].
    Persist(Box<JournalEntry>),
    /// Load a session, after everything that was given to the store. Answered with [`Event::Loaded`].
    Load { session: Arc<str> },
    /// Remove all that is stored of a session, before any later entry: the next session of this name
    /// is another one. Then answer the HTTP request of `conn` with `body`, a page of JSON.
    Delete { conn: ConnId, session: Arc<str>, body: Vec<u8> },
    /// Rename all that is stored of a session. Answered with [`Event::Renamed`], before which the hub uses
    /// neither name. Only with [`Limits::durable`].
    Rename { conn: ConnId, session: Arc<str>, to: Arc<str> },
    /// Queue a confirmation. With a store it is held back until everything before it is on disk.
    Confirm { conn: ConnId, frame: Frame },
    /// Answer an HTTP request with a page of JSON.
    Answer { conn: ConnId, body: Vec<u8> },
    /// Answer an HTTP request with a page of JSON once everything before it is on disk.
    AnswerWhenPersisted { conn: ConnId, body: Vec<u8> },
    /// Close the connection. The hub has removed it already.
    Close { conn: ConnId, code: u16, reason: &'static str },
}

/// Why a connection or an HTTP request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`Limits::max_sessions`] is reached, and no session can be evicted.
    Full,
    /// [`Limits::documents_memory`] leaves no room for this document.
    NoMemory,
    /// The key doesn't open this session, is gone, or has expired.
    KeyRefused,
    /// The session is stored, but can't be read.
    NotLoaded,
    /// The document to be restored or imported exceeds a bound.
    TooBig(TooBig),
    /// The session to be deleted or renamed has members, or is being loaded for one.
    InUse,
    /// The session to be imported exists.
    Exists,
    /// There is a session of the new name.
    NameTaken,
    /// There is no such session.
    Unknown,
    /// The document doesn't have this item.
    NoItem,
    /// The item to be restored was never removed, or isn't kept any more.
    ItemNotKept,
    /// The item to be restored is there.
    ItemExists,
    /// The connection to be ended is none of a member, a viewer or a client.
    NoSuchConnection,
    /// There is no version of that time.
    NotKept,
    /// The disk fails, so the change can't be written.
    NotWritten,
}

/// The hub's bounds and options.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a session without members stays in memory.
    pub linger: Duration,
    /// How many sessions may be in memory, those without members included; 0 for any number.
    pub max_sessions: usize,
    /// How many channels there may be, those without members included that have threads; 0 for any
    /// number.
    pub max_channels: usize,
    pub document: DocumentBounds,
    /// How many bytes of memory all documents and their versions may take together; 0 for any number.
    pub documents_memory: usize,
    pub history: HistoryBounds,
    /// Send each item again once it is still (docs/PROTOCOL.md, "Settling").
    pub settle: bool,
    /// Give changes to the store, and load sessions from it.
    pub durable: bool,
}
