//! The interface between the server's threads and what is served: who answers a request, who
//! handles the messages of a connection, and who makes changes durable.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::http::{Reason, Request, Response};
use crate::hub::{ConnId, Event, Refusal};
use crate::journal::Journal;
use crate::protocol::{Frame, Kind};

/// What is served: which requests there are, and who answers them. All clients' threads share it.
pub trait Service: Send + Sync + 'static {
    /// Decides how a request is answered. Runs on the client's thread, which it may block. A panic
    /// is answered with 500.
    fn answer(&self, request: &Request<'_>, from: Requester, conn: ConnId) -> Outcome;

    /// Starts the service's own threads, before the first client connects. `tell` sends to the hub
    /// thread: it waits while the event queue is full, and drops events after the hub thread has
    /// ended. Returns the journal, where changes are made durable.
    ///
    /// # Errors
    /// When the system refuses a thread.
    fn begin(&self, _tell: Tell) -> io::Result<Option<Arc<dyn Journal>>> {
        Ok(None)
    }

    /// What the operator is to know when the server has started, a line each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why sessions are not stored, where nobody has asked for that: a line that says what to do.
    fn not_stored(&self) -> Option<&str> {
        None
    }

    /// Ends the service's own threads, until `deadline` at the latest. Called after the hub thread
    /// has ended.
    fn end(&self, _deadline: Instant) {}

    /// Headers for every answer to this request that is not a WebSocket: whole lines, without line
    /// ends. Runs on the client's thread.
    fn headers(&self, _request: &Request<'_>, _from: Requester) -> Vec<String> {
        Vec::new()
    }

    /// Is true for the paths that programs read: refusals are JSON there, and a line of text
    /// elsewhere. The path is as sent, without its query.
    fn is_for_programs(&self, _path: &str) -> bool {
        false
    }

    /// The paths of all routes as they are documented, for the metrics. Called once.
    fn routes(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The place in [`routes`](Self::routes) of the route that a path has; `None` where it has none. The path is
    /// as sent, without its query.
    fn route_of(&self, _path: &str) -> Option<usize> {
        None
    }

    /// Looks for changes outside that the hub must know, in the key file.
    ///
    /// Called at the start and then about once a second, on the thread `watch`. It may block that
    /// thread for as long as reading a file takes; only stopping waits for it.
    fn watch(&self) -> Option<Event> {
        None
    }

    /// Like [`watch`](Self::watch), because the operator asked for it: the result is logged. Called
    /// only where [`can_reload`](Self::can_reload) is true.
    fn reload(&self) -> Option<Event> {
        self.watch()
    }

    /// Is true where there is anything outside to read again.
    fn can_reload(&self) -> bool {
        false
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// The client's address, as a trusted proxy gives it where there is one. IPv4 is never mapped
    /// to IPv6.
    pub address: IpAddr,
    /// Is true where a trusted proxy has sent the request.
    pub by_proxy: bool,
}

/// Sends to the hub thread what happens outside of every connection.
pub type Tell = Box<dyn Fn(External) + Send + Sync>;

/// What happens outside of every connection.
#[expect(clippy::large_enum_variant, reason = "the input of the hub thread is as large anyway")]
pub enum External {
    /// An event for the hub.
    Event(Event),
    /// The [`Journal`] has everything before the confirmations up to this number on disk.
    Persisted { up_to: u64 },
    /// The confirmations from `first` to `last` are never to be sent.
    Lost { first: u64, last: u64 },
    /// The session of this number was deleted, or could not be.
    Deleted { number: u64, is_done: bool },
}

/// How a request is answered.
pub enum Outcome {
    /// With this page or refusal.
    Page(Response),
    /// With a report of the server's own state. The hub is not asked.
    Report(Report),
    /// With the hub's [`Effect::Answer`](crate::hub::Effect::Answer) to this event, as JSON; with
    /// 503 where none comes within a second.
    Ask(Event),
    /// With the hub's answer, which is a session's state and gets an `ETag`.
    AskState(Event),
    /// With the response of a function that runs on the client's thread.
    Work(Work),
    /// The connection becomes a WebSocket, and this handles its messages.
    Upgrade(Box<dyn ConnectionHandler>),
}

/// A request that reads a body, waits for a disk, or asks the hub several times. Eight run at a
/// time; more get 503.
pub struct Work {
    /// How long the request's body may be, in bytes; 0 where it must have none. It is read first,
    /// in the time that a request may take.
    pub body: usize,
    /// Makes the response. Runs on the client's thread, which it may block. A panic is answered
    /// with 500.
    pub act: Box<WorkFn>,
}

/// Makes the response from the request's body.
pub type WorkFn = dyn FnOnce(Vec<u8>, &dyn HubClient) -> Response + Send;

/// Access to the hub for [`Work`]. For the client's thread alone.
pub trait HubClient {
    /// Asks the hub, and waits for its [`Effect::Answer`](crate::hub::Effect::Answer) for this
    /// connection: 1 s at most.
    ///
    /// # Errors
    /// Why there is no answer.
    fn ask(&self, event: Event) -> Result<Vec<u8>, Unanswered>;

    /// Has the hub change something, and waits until the change is on disk
    /// ([`Effect::AnswerWhenPersisted`](crate::hub::Effect::AnswerWhenPersisted)) or the session is deleted: 10 s at
    /// most, with the time it waits for room in the journal.
    ///
    /// # Errors
    /// Why there is no answer.
    fn change(&self, event: Event) -> Result<Vec<u8>, Unanswered>;

    /// Is true where the server is stopping: the function must not wait any longer.
    fn is_stopping(&self) -> bool;
}

/// Why the hub has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The hub refuses.
    Refused(Refusal),
    /// The hub or the disk takes too long. The change may be made or not.
    Busy,
    /// The change can't be written, or the hub failed. The change may be made or not.
    Lost,
    /// The server is stopping. The change may be made or not.
    Stopping,
}

impl Unanswered {
    /// The refusal that is sent to the client.
    pub fn page(self) -> Response {
        let (status, line) = match self {
            Unanswered::Refused(why) => return refused(why),
            Unanswered::Busy => {
                (503, "it takes too long: check whether it was done before you try again")
            }
            Unanswered::Lost => (
                503,
                "it could not be written to the disk: check whether it was done before you try again",
            ),
            Unanswered::Stopping => return stopping(),
        };
        Response::text(status, line)
    }
}

/// The refusal while the server stops.
pub(super) fn stopping() -> Response {
    Response::text(503, "the server is shutting down: try again later")
        .with_reason(Reason::Stopping)
}

/// The refusal for a connection or a request that the hub refuses.
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
        Refusal::NotLoaded => {
            (503, "this session is stored but can't be read now: the server's log says why")
        }
        Refusal::InUse => {
            (409, "this session has members: it can be deleted or renamed when they have left")
        }
        Refusal::NameTaken => (409, "there is a session of this name already: choose another name"),
        Refusal::ItemNotKept => (
            404,
            "no such item was removed from this session, or it is not kept any more: an earlier \
             version of the session may have it",
        ),
        Refusal::ItemExists => (409, "this item is on the canvas: there is nothing to bring back"),
        Refusal::NoSuchConnection => (
            404,
            "there is no such connection of a member, a viewer or a client: it may have ended",
        ),
        Refusal::Exists => (
            409,
            "there is such a session already: with replace=1 this canvas replaces its own, which \
             stays as a version",
        ),
        Refusal::Unknown => (404, "there is no such session"),
        Refusal::NoItem => (404, "the session's document has no such item"),
        Refusal::NotKept => (
            404,
            "this state of the session is not stored, or not any more: its versions say how far \
             back it goes",
        ),
        Refusal::NotWritten => (503, "the server can't write to its disk: nothing was changed"),
    };
    Response::text(status, line)
}

/// A report of the server's own state, from its counters. None of them waits for the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// 200 where the server works, else 503 and the reason.
    Health,
    /// All counters, in Prometheus' format.
    Metrics,
    /// An overview, as JSON; `may_administer` says whether the client may use the API's requests for
    /// operators.
    Server { may_administer: bool },
    /// Every open connection, as JSON.
    Connections,
}

/// What a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Not a WebSocket, or not yet.
    Page,
    /// A member of a session.
    Member,
    /// A viewer of a session.
    Viewer,
    /// A front end or an agent.
    Client,
}

impl Role {
    /// All roles, in the order of their numbers.
    pub const ALL: [Role; 4] = [Role::Page, Role::Member, Role::Viewer, Role::Client];

    /// The role's name in metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Page => "page",
            Role::Member => "member",
            Role::Viewer => "viewer",
            Role::Client => "client",
        }
    }
}

/// The protocol of one WebSocket. The client's thread owns it and calls it.
pub trait ConnectionHandler: Send {
    /// The event that asks the hub to admit the connection; `None` where the hub is not involved.
    fn join(&self, conn: ConnId) -> Option<Event>;

    /// Makes an event or a reply of a message.
    fn on_message(&mut self, conn: ConnId, message: Incoming<'_>) -> Reaction;

    /// The close code and reason for a client that has been over its rate for five seconds without
    /// a break. Before that, and for ever where this is `None`, it is only read more slowly.
    fn overrun_close(&self) -> Option<(u16, &'static str)> {
        None
    }

    /// The largest message this client may send now, in bytes, where that is less than
    /// [`Config::max_message_bytes`](super::Config::max_message_bytes).
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }

    /// The largest text, in bytes, for which [`may_be_large`](Self::may_be_large) is true; `None`
    /// where one limit holds for all messages.
    fn max_large_bytes(&self) -> Option<usize> {
        None
    }

    /// Is true for a text that may be larger than other messages. Called only for one that is.
    /// Takes time linear in its length at most.
    fn may_be_large(&self, _text: &str) -> bool {
        false
    }

    /// The type of the last text message, for the counters.
    fn last_kind(&self) -> Kind {
        Kind::Other
    }

    /// What the connection is.
    fn role(&self) -> Role {
        Role::Member
    }

    /// The message a client is sent before a bug in the server ends its connection.
    fn internal_error(&self) -> Option<Frame>;

    /// The user's name, for the thread's name and the log.
    fn user(&self) -> &str;

    /// What the connection has joined, for the log. Everything a client chose is escaped.
    fn target(&self) -> String;
}

/// A message of a client.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Pong(&'a [u8]),
}

/// What is done about a message.
pub enum Reaction {
    /// This event is sent to the hub.
    Event(Event),
    /// This frame is sent to the client at once.
    Reply(Frame),
    /// The connection is closed with this code and reason.
    Close(u16, &'static str),
    Nothing,
}
