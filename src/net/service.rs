//! What is served on the sockets, as the server's threads see it: who answers a request, who handles a
//! connection's messages, and who keeps what has to survive.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::http::{Reason, Request, Response};
use crate::hub::{ConnId, Event, Refusal};
use crate::kept::Journal;
use crate::protocol::{Frame, Kind};

/// What is served: which requests there are, and who answers them. Shared by all clients' threads.
pub trait Service: Send + Sync + 'static {
    /// Answers a request: with a page, by asking the hub, or by becoming a WebSocket. Runs on the
    /// client's thread, which it may block; a panic is answered with 500.
    fn answer(&self, request: &Request<'_>, from: Requester, conn: ConnId) -> Outcome;

    /// Begins what the service does on threads of its own, before anybody connects. `tell` takes
    /// events to the hub; it waits while the hub has too much to do, and drops them when it has ended. Where changes are made durable, the journal is returned.
    ///
    /// # Errors
    /// When the system has no thread for it.
    fn begin(&self, _tell: Tell) -> io::Result<Option<Arc<dyn Journal>>> {
        Ok(None)
    }

    /// What whoever runs the server is to know when it has started, a line each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends what was begun, until `deadline` at the latest. The hub has ended by then.
    fn end(&self, _deadline: Instant) {}

    /// The headers that every answer to this request has which is no WebSocket, be it a page, a refusal
    /// or the hub's: whole lines, without their ends. Runs on the client's thread.
    fn headers(&self, _request: &Request<'_>, _from: Requester) -> Vec<String> {
        Vec::new()
    }

    /// Whether programs read what is under this path, as sent and without its query: refusals are JSON
    /// there, and a line of text elsewhere.
    fn is_for_programs(&self, _path: &str) -> bool {
        false
    }

    /// Looks whether anything outside has changed that the hub has to hear of.
    ///
    /// Called when the server starts and then about once a second, on a thread of its own named
    /// `watch`, which it may block for as long as a file takes: only stopping has to wait for it.
    fn watch(&self) -> Option<Event> {
        None
    }

    /// The same because somebody asked for it, who reads in the log what came of it. Not called where
    /// nothing [`can_reload`](Self::can_reload).
    fn reload(&self) -> Option<Event> {
        self.watch()
    }

    /// Whether there is anything outside to read again.
    fn can_reload(&self) -> bool {
        false
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// The client's address, IPv4 as IPv4: what a trusted proxy says it is, where there is one.
    pub address: IpAddr,
    /// Whether a trusted proxy has sent it.
    pub by_proxy: bool,
}

/// Takes what happens outside to the hub thread.
pub type Tell = Box<dyn Fn(External) + Send + Sync>;

/// What happens outside of every connection.
pub enum External {
    /// The hub handles it.
    Event(Event),
    /// Of what was confirmed to the [`Journal`], everything up to this number is on disk.
    Persisted { up_to: u64 },
    /// What these confirmations, from the first number to the last, are about never will be.
    Lost { first: u64, last: u64 },
    /// Whether the session was removed that was to be deleted under this number.
    Deleted { number: u64, is_done: bool },
}

/// What is done about a request.
pub enum Outcome {
    /// A page, or a refusal.
    Page(Response),
    /// The server says how it is itself; the hub isn't asked.
    Report(Report),
    /// The hub is told of this, and its [`Effect::Answer`](crate::hub::Effect::Answer) for this connection
    /// is sent as JSON; 503 where none comes within a second.
    Ask(Event),
    /// The same of a session's state, which is sent with a tag.
    AskState(Event),
    /// Something is worked on, on the client's thread.
    Work(Work),
    /// The connection becomes a WebSocket, and this handles its messages.
    Upgrade(Box<dyn ConnectionHandler>),
}

/// A request that takes a while: a disk, several questions, or what comes after its head. A few are
/// worked on at a time, until their answers have been read; more get 503.
pub struct Work {
    /// How long the request's body may be, in bytes; 0 where it is to have none. It is read before
    /// anything is done, and has to be there in the time that a request may take.
    pub body: usize,
    /// Does it, with the body. Runs on the client's thread, which it may block; a panic is answered
    /// with 500.
    pub act: Box<Act>,
}

/// See [`Work`].
pub type Act = dyn FnOnce(Vec<u8>, &dyn HubClient) -> Response + Send;

/// The way to the hub for a request that is worked on.
pub trait HubClient {
    /// Asks the hub something, and waits for its [`Effect::Answer`](crate::hub::Effect::Answer) for this
    /// connection: 1 s at most.
    ///
    /// # Errors
    /// Why there is none.
    fn ask(&self, event: Event) -> Result<Vec<u8>, Unanswered>;

    /// Has the hub change something, and waits until the change is on disk (its
    /// [`Effect::AnswerKept`](crate::hub::Effect::AnswerKept)), or until what was asked for is deleted: 10 s
    /// at most. Waits before that while too much waits for the disk.
    ///
    /// # Errors
    /// Why there is none.
    fn have_done(&self, event: Event) -> Result<Vec<u8>, Unanswered>;

    /// Whether the server is stopping: whoever waits for something else is to give up.
    fn is_stopping(&self) -> bool;
}

/// Why the hub has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// It doesn't do it.
    Refused(Refusal),
    /// It has too much to do, or what it did takes too long to be written: it may be done or not.
    Busy,
    /// What it did can't be written, or it failed: it may be done or not.
    Lost,
    /// The server is stopping: likewise.
    Stopping,
}

impl Unanswered {
    /// What a client is told.
    pub fn page(self) -> Response {
        let (status, line) = match self {
            Unanswered::Refused(why) => return refused(why),
            Unanswered::Busy => {
                (503, "it takes too long: look whether it was done before you try again")
            }
            Unanswered::Lost => (
                503,
                "it could not be written to the disk: look whether it was done before you try again",
            ),
            Unanswered::Stopping => return stopping(),
        };
        Response::text(status, line)
    }
}

/// What a client is told that comes too late.
pub(super) fn stopping() -> Response {
    Response::text(503, "the server is shutting down: try again later").because(Reason::Stopping)
}

/// What a client is told whom the hub doesn't admit, or for whom it doesn't do what was asked.
pub(super) fn refused(why: Refusal) -> Response {
    let (status, line) = match why {
        Refusal::TooBig(why) => {
            return Response::text(413, format!("there is no room for this canvas: {why}"));
        }
        Refusal::NoMemory => {
            (503, "the sessions that are open leave no memory for this one: try again later")
        }
        Refusal::Full => (503, "there are too many sessions: try again later"),
        Refusal::KeyRefused => (403, "this key does not open this session for this user"),
        Refusal::NotLoaded => (
            503,
            "this session is stored but can't be read now: whoever runs this server finds the \
             reason in its log",
        ),
        Refusal::InUse => {
            (409, "somebody is in this session: it can be deleted when they have left")
        }
        Refusal::Exists => (
            409,
            "there is such a session already: with replace=1 this takes the place of its canvas, \
             which stays as a version",
        ),
        Refusal::Unknown => (404, "there is no such session"),
        Refusal::NotKept => (
            404,
            "what this session was like then isn't kept, or not any more: its versions say how far \
             back it goes",
        ),
        Refusal::NotWritten => (503, "the server can't write to its disk: nothing was changed"),
    };
    Response::text(status, line)
}

/// What the server says of itself, from what it counts: none of these waits for the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Whether it is well: 200, or 503 and why not.
    Health,
    /// All it counts, as Prometheus reads it.
    Metrics,
    /// What a person wants to know of it, as JSON.
    Server,
    /// Every open connection, as JSON.
    Connections,
}

/// As what a connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Not a WebSocket, or not yet.
    Page,
    /// A member of a session.
    Member,
    /// Somebody who looks at one.
    Viewer,
    /// A front end or an agent.
    Client,
}

impl Role {
    /// All of them, in the order of their numbers.
    pub const ALL: [Role; 4] = [Role::Page, Role::Member, Role::Viewer, Role::Client];

    /// What it is called where connections are counted.
    pub fn name(self) -> &'static str {
        match self {
            Role::Page => "page",
            Role::Member => "member",
            Role::Viewer => "viewer",
            Role::Client => "client",
        }
    }
}

/// One connection's part of the protocol, on the client's own thread.
pub trait ConnectionHandler: Send {
    /// The event that asks the hub to admit the connection; `None` where the hub has nothing to do with it.
    fn join(&self, conn: ConnId) -> Option<Event>;

    /// Makes an event or an answer of what the client said.
    fn hear(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction;

    /// The close code and reason for a client that has been over its rate for five seconds without
    /// a break. Until then, and for ever where there is none, it is only read more slowly.
    fn overrun(&self) -> Option<(u16, &'static str)> {
        None
    }

    /// The largest message that is taken from it now, in bytes, where that is less than from others.
    fn largest(&self) -> Option<usize> {
        None
    }

    /// The largest text that is taken from it, in bytes, if [`may_be_large`](Self::may_be_large) says so;
    /// `None` where every message is held to the same limit.
    fn largest_of_large(&self) -> Option<usize> {
        None
    }

    /// Whether a text may be larger than other messages. Asked only of one that is; takes time linear
    /// in it at most.
    fn may_be_large(&self, _text: &str) -> bool {
        false
    }

    /// The type of the text message it heard last, for whoever counts.
    fn last_kind(&self) -> Kind {
        Kind::Other
    }

    /// As what its connection is open.
    fn role(&self) -> Role {
        Role::Member
    }

    /// What a client is told before its connection ends by a bug of ours.
    fn apology(&self) -> Option<Frame>;

    /// The user's name, for the thread's name and the log.
    fn user(&self) -> &str;

    /// What it is a member of, for the log, with everything a client chose escaped.
    fn place(&self) -> String;
}

/// What a client said.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Pong(&'a [u8]),
}

/// What is done about it.
pub enum Reaction {
    /// The hub hears of it.
    Event(Event),
    /// Answered at once.
    Reply(Frame),
    /// The connection is closed.
    Close(u16, &'static str),
    Nothing,
}
