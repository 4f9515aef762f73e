//! One user's connection: sends, waits for what must come, listens for what must not.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Error, Message};

use super::received::Received;
use super::report::{Outcome, StepError, fault};
use crate::client::{TIMEOUT, WebSocket, shown};

/// How long a client listens for what must not come, after everything that must has come.
pub(super) const LISTEN_TIME: Duration = Duration::from_millis(150);

/// What a wait makes of a message.
pub(super) enum Pick<T> {
    /// It is what was waited for.
    Take(T),
    /// It belongs to it; the wait goes on.
    More,
    /// It has nothing to do with it. Anything may come in between, except an `error`.
    Other,
}

/// How the server closed a connection.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Closed {
    pub(super) code: Option<u16>,
    pub(super) reason: String,
}

impl Closed {
    /// For a person: `code 1008 "replaced by a newer connection"`.
    pub(super) fn words(&self) -> String {
        match self.code {
            None => "no close code".to_owned(),
            Some(code) if self.reason.is_empty() => format!("close code {code}"),
            Some(code) => format!("close code {code} {}", shown(&self.reason)),
        }
    }
}

/// What can come next on a connection.
pub(super) enum Event {
    Message(Received),
    Pong(Bytes),
    Closed(Closed),
    /// Nothing came in time.
    Silence,
}

/// A user's connection.
pub(super) struct Client {
    pub(super) user: String,
    /// As the server last told this user.
    pub(super) is_host: bool,
    socket: WebSocket,
    /// Read, but left for the next wait.
    put_back: VecDeque<Received>,
    /// How it ended, once it has.
    end: Option<String>,
}

impl Client {
    pub(super) fn new(user: &str, socket: WebSocket) -> Client {
        let user = user.to_owned();
        Client { user, is_host: false, socket, put_back: VecDeque::new(), end: None }
    }

    /// Whether the connection is known to have ended.
    pub(super) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// How it ended, if it has: `the server closed it with …`.
    pub(super) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Sends one message.
    pub(super) fn send(&mut self, message: &Value) -> Outcome<()> {
        self.send_text(&message.to_string())
    }

    /// Sends one text frame, whatever is in it.
    pub(super) fn send_text(&mut self, text: &str) -> Outcome<()> {
        self.transmit(Message::text(text))
    }

    /// Sends one frame of any kind.
    pub(super) fn transmit(&mut self, message: Message) -> Outcome<()> {
        self.socket.wire().wait_until(Instant::now() + TIMEOUT);
        match self.socket.send(message) {
            Ok(()) => Ok(()),
            Err(e) => Err(self.why_not_sent(&e.to_string())),
        }
    }

    /// Puts bytes on the wire that are no frame tungstenite would send.
    ///
    /// # Errors
    /// The write's. The server may have closed before it read all of them, which is its right; what
    /// it said can still be read.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wire = self.socket.wire();
        wire.wait_until(Instant::now() + TIMEOUT);
        wire.write_all(bytes)
    }

    /// A send that fails usually means that the server closed; its close frame says more than the
    /// error.
    fn why_not_sent(&mut self, error: &str) -> StepError {
        let deadline = Instant::now() + LISTEN_TIME;
        loop {
            match self.event(deadline) {
                Ok(Event::Silence | Event::Closed(_)) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let end = self.end.get_or_insert_with(|| error.to_owned());
        StepError::Fault(format!("{} could not send: {end}", self.user))
    }

    /// What comes next before `deadline`. Protocol pings are answered on the way.
    ///
    /// # Errors
    /// The connection has ended without a close frame, or what came breaks the protocol.
    pub(super) fn event(&mut self, deadline: Instant) -> Outcome<Event> {
        if let Some(message) = self.put_back.pop_front() {
            return Ok(Event::Message(message));
        }
        if let Some(end) = &self.end {
            return fault(format!("{}'s connection has ended: {end}", self.user));
        }
        self.socket.wire().wait_until(deadline);
        self.read()
    }

    /// What comes next before the deadline that is set.
    fn read(&mut self) -> Outcome<Event> {
        match self.socket.read() {
            Ok(None) => Ok(Event::Silence),
            Ok(Some(Message::Text(text))) => {
                let message = Received::parse(text.as_str())?;
                if message.is("host:changed") {
                    self.is_host = message.by(&self.user);
                }
                Ok(Event::Message(message))
            }
            Ok(Some(Message::Pong(payload))) => Ok(Event::Pong(payload)),
            Ok(Some(Message::Close(frame))) => Ok(Event::Closed(self.closed(frame))),
            Ok(Some(other)) => {
                fault(format!("the server sent a binary frame of {} bytes", other.len()))
            }
            Err(e) => {
                let words = broken_words(&e);
                self.end = Some(words.clone());
                fault(format!("{}'s connection: {words}", self.user))
            }
        }
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Closed {
        let closed = match frame {
            None => Closed { code: None, reason: String::new() },
            Some(frame) => {
                Closed { code: Some(frame.code.into()), reason: frame.reason.as_str().to_owned() }
            }
        };
        self.end = Some(format!("the server closed it with {}", closed.words()));
        closed
    }

    /// Leaves `messages`, in this order, for the next wait.
    pub(super) fn put_back(&mut self, messages: Vec<Received>) {
        messages.into_iter().rev().for_each(|message| self.put_back.push_front(message));
    }

    /// Reads away what has come so far: what an earlier step did not wait for is not the next
    /// one's.
    ///
    /// # Errors
    /// The connection has ended, and no step has said so yet.
    pub(super) fn skim(&mut self) -> Outcome<()> {
        self.put_back.clear();
        self.socket.wire().never_wait(Instant::now() + LISTEN_TIME);
        while !self.ended() {
            // What breaks the protocol without ending the connection was sent to an earlier step.
            if let Ok(Event::Silence) = self.read() {
                return Ok(());
            }
        }
        let end = self.end().unwrap_or_default();
        let words = format!("{}'s connection ended after the step before: {end}", self.user);
        fault(words)
    }

    /// Waits for the message that `is` what the step is after; `what` names it for the reader.
    pub(super) fn hear(&mut self, what: &str, is: impl Fn(&Received) -> bool) -> Outcome<Received> {
        self.wait_for(what, |m| Ok(if is(m) { Pick::Take(m.clone()) } else { Pick::Other }))
    }

    /// Waits until `pick` takes a message; `what` names it for the reader.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        pick: impl FnMut(&Received) -> Result<Pick<T>, String>,
    ) -> Outcome<T> {
        self.wait_within(TIMEOUT, what, pick)
    }

    /// [`wait_for`](Self::wait_for) with a deadline of its own.
    pub(super) fn wait_within<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut pick: impl FnMut(&Received) -> Result<Pick<T>, String>,
    ) -> Outcome<T> {
        let deadline = Instant::now() + patience;
        let expected = format!("{} expected {what}", self.user);
        let mut last_other = None;
        loop {
            let message = match self.event(deadline)? {
                Event::Message(message) => message,
                Event::Pong(_) => continue,
                Event::Closed(closed) => {
                    let words = format!(
                        "{expected}; the server closed the connection with {}",
                        closed.words()
                    );
                    return fault(words);
                }
                Event::Silence => {
                    let came = match last_other {
                        None => "nothing came".to_owned(),
                        Some(other) => format!("only other messages came, the last one {other}"),
                    };
                    let time = patience.as_secs_f64();
                    return fault(format!("{expected} within {time} s; {came}"));
                }
            };
            match pick(&message)? {
                Pick::Take(found) => return Ok(found),
                Pick::More => {}
                Pick::Other if message.is("error") => {
                    return fault(format!("{expected}; the server answered {}", message.shown()));
                }
                Pick::Other => last_other = Some(message.shown()),
            }
        }
    }

    /// Listens for `time`; `judge` refuses what must not come.
    pub(super) fn listen(
        &mut self,
        time: Duration,
        mut judge: impl FnMut(&Received) -> Result<(), String>,
    ) -> Outcome<()> {
        let deadline = Instant::now() + time;
        loop {
            match self.event(deadline)? {
                Event::Silence => return Ok(()),
                Event::Pong(_) => {}
                Event::Message(message) if message.is("error") => {
                    return fault(format!(
                        "{} was sent {} for nothing",
                        self.user,
                        message.shown()
                    ));
                }
                Event::Message(message) => judge(&message)?,
                Event::Closed(closed) => {
                    let words =
                        format!("{}'s connection was closed with {}", self.user, closed.words());
                    return fault(words);
                }
            }
        }
    }

    /// Waits until the server closes, whatever it says before.
    pub(super) fn wait_close(&mut self) -> Outcome<Closed> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.event(deadline)? {
                Event::Closed(closed) => return Ok(closed),
                Event::Silence => {
                    let time = TIMEOUT.as_secs();
                    let words =
                        format!("{} expected to be closed, but was not within {time} s", self.user);
                    return fault(words);
                }
                Event::Message(_) | Event::Pong(_) => {}
            }
        }
    }

    /// After a close frame: waits until the server ends the TCP connection too.
    pub(super) fn wait_tcp_end(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.socket.wire().wait_until(deadline);
            match self.socket.read() {
                Ok(None) => {
                    let time = TIMEOUT.as_secs();
                    let words = format!(
                        "after the close the server left the TCP connection open for {time} s"
                    );
                    return fault(words);
                }
                // Whatever else it has to say, it is the end that is waited for.
                Ok(Some(_)) | Err(Error::Protocol(ProtocolError::ReceivedAfterClosing)) => {}
                // However it ends, it has ended: a reset is the usual answer to bytes that were not read.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Begins the close handshake with code 1000.
    pub(super) fn send_close(&mut self) -> Outcome<()> {
        self.socket.wire().wait_until(Instant::now() + TIMEOUT);
        match self.socket.close("check done") {
            Ok(()) => Ok(()),
            Err(e) => Err(self.why_not_sent(&e.to_string())),
        }
    }
}

/// What an error on the connection means to a person.
fn broken_words(error: &Error) -> String {
    match error {
        Error::Io(e) => format!("it broke: {e}"),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the server ended it without a close frame".to_owned()
        }
        Error::Protocol(e) => format!("the server sent a frame that breaks RFC 6455: {e}"),
        Error::Utf8(_) => "the server sent text that is not UTF-8".to_owned(),
        e => format!("the server sent what cannot be read: {e}"),
    }
}
