//! What a server is for: the three parts of whatever is served on its sockets.

use std::time::Duration;

use super::http::{Request, Response};
use crate::hub::{ConnId, Effect, Now};
use crate::protocol::Frame;

/// What is served: which requests there are, and who answers them. Shared by all clients' threads.
pub trait Service: Send + Sync + 'static {
    /// What happens to the machine.
    type Event: Send + 'static;
    /// Runs on the hub thread and owns all state.
    type Machine: Machine<Event = Self::Event>;
    /// Runs on a client's thread.
    type Speaker: Speaker<Event = Self::Event>;

    /// Answers a request: with a page, or by becoming a WebSocket.
    fn answer(&self, request: &Request<'_>) -> Answer<Self::Speaker>;
}

/// What becomes of a request.
pub enum Answer<S> {
    /// A page, or a refusal.
    Page(Response),
    /// The connection becomes a WebSocket on which this speaks.
    Upgrade(S),
}

/// One connection's part of the protocol, on the client's own thread.
pub trait Speaker {
    type Event;

    /// The event that asks the machine to admit the connection.
    fn join(&self, conn: ConnId) -> Self::Event;

    /// Makes an event or an answer of what the client said.
    fn hear(&mut self, conn: ConnId, heard: Heard<'_>) -> Said<Self::Event>;

    /// What a client is told before its connection ends by a bug of ours.
    fn apology(&self) -> Option<Frame>;

    /// The user's name, for the thread's name and the log.
    fn user(&self) -> &str;

    /// What it is a member of, for the log, with everything a client chose escaped.
    fn place(&self) -> String;
}

/// What a client said.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Pong(&'a [u8]),
}

/// What is done about it.
pub enum Said<E> {
    /// The machine hears of it.
    Event(E),
    /// Answered at once.
    Reply(Frame),
    /// The connection is closed.
    Close(u16, &'static str),
    Nothing,
}

/// The state behind a service, as a pure machine on the hub thread.
pub trait Machine: Send + 'static {
    type Event: Send + 'static;

    /// Handles one event. `now` never goes back.
    fn handle(&mut self, event: Self::Event, now: Now, effects: &mut Vec<Effect>);

    /// When it wants its next [`tick`](Self::tick), since its start.
    fn next_deadline(&self) -> Option<Duration>;

    /// The event for a deadline that has come.
    fn tick() -> Self::Event;

    /// The event for a connection that has ended.
    fn gone(conn: ConnId) -> Self::Event;

    /// The event for a connection whose last event made [`handle`](Self::handle) panic.
    fn failed(conn: ConnId) -> Self::Event;
}
