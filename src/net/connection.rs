//! A client's thread: after the handshake (`handshake`) it reads messages until the connection
//! ends.
//!
//! This thread alone reads from the socket, and it never writes to it. tungstenite answers pings
//! and closes by itself: its stream pushes whole frames to the send queue.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tungstenite::WebSocket;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{self, CloseFrame, Message, WebSocketConfig};

use super::Shared;
use super::client::{CLOSE_TIMEOUT, Client};
use super::connection_stats::ConnectionStats;
use super::counters::Counters;
use super::handshake::Joined;
use super::hub_thread::Input;
use super::rate_limit::{Pace, Rate};
use super::send_queue::SendQueue;
use super::service::{ConnectionHandler, Incoming, Reaction, Role};
use super::threads::rename_current;
use crate::http;
use crate::hub::ConnId;
use crate::protocol::{Frame, Kind, close};

/// tungstenite's read buffer: every idle connection has one.
const READ_BUFFER_BYTES: usize = 4096;
/// A bound that no send queue reaches. Twice the bound does not overflow.
const NO_BOUND: usize = usize::MAX / 2;

/// The payload of a Ping that asks for a sign of life.
pub(super) const ALIVE: &[u8] = b"alive?";
/// A client's reason to close is not logged where one of its words is longer.
const MAX_WORD_CHARS: usize = 16;

/// The reason to close after a message that is over the limit.
const TOO_BIG: &str = "the message is too big";

/// Close codes that Qt takes for a protocol error. They are answered with 1000.
const UNKNOWN_TO_EDITORS: std::ops::RangeInclusive<u16> = 1012..=1014;

/// How a connection ended.
enum Ending {
    /// The client closed it, with this code and reason.
    Client(u16, String),
    /// The server closes it.
    Server(u16, &'static str),
    /// It broke.
    Lost(String),
}

/// The body of a client's thread. Ends with the connection.
#[inline(never)] // a name in thread dumps
pub fn run(
    conn: ConnId,
    socket: Arc<TcpStream>,
    peer: SocketAddr,
    stats: Arc<ConnectionStats>,
    shared: &Shared,
) {
    let send_queue = SendQueue::new(
        conn,
        socket.clone(),
        shared.threads.clone(),
        shared.config.send_mode,
        shared.config.queue_bytes.unwrap_or(NO_BOUND),
    );
    stats.set_send_queue(send_queue.clone());
    shared.counters.opened(stats.role());
    let client = Client { conn, socket, peer, send_queue, stats, shared };
    let serving = AssertUnwindSafe(|| {
        if let Some(joined) = client.handshake() {
            client.run_session(joined);
        }
    });
    if catch_unwind(serving).is_err() {
        log::error!("c{}: closed, a bug in the server: its thread panicked", conn.0);
        Counters::note(&shared.counters.panics);
        // The hub ignores a connection that it never admitted.
        let _ = client.shared.event_queue.send(Input::Disconnected(conn));
        client.send_queue.close(close::INTERNAL_ERROR, "internal server error");
        client.drain_and_close(Instant::now() + CLOSE_TIMEOUT);
    }
    client.send_queue.abort();
    shared.counters.left(client.stats.role());
    shared.connections.remove(conn);
}

impl Client<'_> {
    /// Runs a WebSocket from its start to its end. Every idle connection has the stack of this
    /// function: what is done before and after reading is in functions of its own.
    #[inline(never)]
    fn run_session(&self, joined: Joined) {
        let Joined { mut handler, rest, from } = joined;
        self.on_joined(&*handler, &from);
        drop(from);
        let reading = AssertUnwindSafe(|| self.read(&mut *handler, rest));
        let ending = catch_unwind(reading).ok();
        self.on_ended(&*handler, ending);
    }

    #[inline(never)]
    fn on_joined(&self, handler: &dyn ConnectionHandler, from: &str) {
        let (user, target) = (handler.user(), handler.target());
        rename_current(&format!("c{} {user}", self.conn.0));
        log::info!("{user:?} joined {target} (c{} from {from})", self.conn.0);
        self.set_role(handler.role());
    }

    /// Logs and counts the end, tells the hub, and closes the connection. `ending` is `None` after
    /// a panic.
    #[inline(never)]
    fn on_ended(&self, handler: &dyn ConnectionHandler, ending: Option<Ending>) {
        let (user, target) = (handler.user(), handler.target());
        let ending = ending.unwrap_or_else(|| {
            Counters::note(&self.shared.counters.panics);
            if let Some(frame) = handler.internal_error() {
                // Best effort: the queue may be full.
                let _ = self.send_queue.push(frame.bytes().clone(), None);
            }
            Ending::Server(close::INTERNAL_ERROR, "internal server error")
        });
        // A close of the hub came first.
        let ending = match self.send_queue.closed_with() {
            Some((code, reason)) => Ending::Server(code, reason),
            None => ending,
        };
        self.shared.counters.closed(match &ending {
            Ending::Client(code, _) | Ending::Server(code, _) => *code,
            Ending::Lost(_) => 1006,
        });
        let how = match &ending {
            Ending::Client(code, reason) if reason.is_empty() => describe(*code),
            Ending::Client(code, reason) => format!("{}, {}", describe(*code), shown(reason)),
            Ending::Server(code, reason) => format!("{}, {reason}", describe(*code)),
            Ending::Lost(why) => format!("{}, {why}", describe(1006)),
        };
        log::info!("{user:?} left {target}: {how} (c{})", self.conn.0);
        let _ = self.shared.event_queue.send(Input::Disconnected(self.conn));
        match ending {
            Ending::Lost(_) => {}
            Ending::Client(..) => self.drain_and_close(Instant::now() + CLOSE_TIMEOUT),
            Ending::Server(code, reason) => {
                self.send_queue.close(code, reason);
                self.drain_and_close(Instant::now() + CLOSE_TIMEOUT);
            }
        }
    }

    /// Sets what the connection is, in its stats and in the counters.
    fn set_role(&self, role: Role) {
        self.shared.counters.left(self.stats.role());
        self.stats.set_role(role);
        self.shared.counters.opened(role);
    }

    /// Reads messages until the connection ends, and has `handler` handle each. `rest` was read
    /// with the request.
    #[inline(never)] // a name in thread dumps
    fn read(&self, handler: &mut dyn ConnectionHandler, rest: Vec<u8>) -> Ending {
        let max = self.shared.config.max_message_bytes;
        let limit_for = |handler: &dyn ConnectionHandler| {
            handler.max_message_bytes().map_or(max, |own| own.min(max))
        };
        let mut limit = limit_for(handler);
        // A message up to this size is read even over the limit: its type decides whether it is
        // taken.
        let large = handler.max_large_bytes().unwrap_or_default();
        let (socket, send_queue) = (self.socket.clone(), self.send_queue.clone());
        let stream = Stream { socket, send_queue, stats: self.stats.clone() };
        let mut socket = web_socket(stream, rest, limit.max(large));
        let mut rate = Rate::new(self.shared.config.rate, Instant::now());
        let mut ending = None;
        loop {
            let message = match socket.read() {
                Ok(message) => message,
                Err(Error::Io(error)) if http::is_timeout(&error) => {
                    return Ending::Server(close::POLICY, "silent for too long");
                }
                Err(error) => return ending.unwrap_or_else(|| ending_of(&error)),
            };
            if is_too_large(&message, limit, handler) {
                return Ending::Server(close::TOO_BIG, TOO_BIG);
            }
            let arrived = match self.throttle(&mut rate, message.len(), handler) {
                Ok(arrived) => arrived,
                Err(ending) => return ending,
            };
            let incoming = match &message {
                Message::Text(text) => Incoming::Text(text),
                Message::Binary(bytes) => Incoming::Binary(bytes),
                // The answer to a Ping of `housekeeping`.
                Message::Pong(payload) if *payload == *ALIVE => continue,
                Message::Pong(payload) => Incoming::Pong(payload),
                Message::Close(frame) => {
                    // The next read sends the answer.
                    ending = Some(self.closed_by_client(frame.as_ref()));
                    continue;
                }
                Message::Ping(_) | Message::Frame(_) => continue,
            };
            let reaction = handler.on_message(self.conn, incoming);
            self.count(&message, handler);
            if let Err(ending) = self.react(reaction, arrived) {
                return ending;
            }
            let limit_now = limit_for(handler);
            if limit_now != limit {
                limit = limit_now;
                socket.set_config(|config| {
                    config.max_message_size = Some(limit.max(large));
                    config.max_frame_size = Some(limit.max(large));
                });
            }
        }
    }

    /// Pauses reading from a client that is over its rate: back-pressure, as unread bytes stay with
    /// the sender. Returns the time from which the message's delay is measured: after the pause.
    fn throttle(
        &self,
        rate: &mut Rate,
        bytes: usize,
        handler: &dyn ConnectionHandler,
    ) -> Result<Instant, Ending> {
        let arrived = Instant::now();
        let Pace { pause, is_overrun } = rate.take(bytes, arrived);
        if is_overrun && let Some((code, reason)) = handler.overrun_close() {
            Counters::note(&self.shared.counters.overrun);
            return Err(Ending::Server(code, reason));
        }
        if pause.is_zero() {
            return Ok(arrived);
        }
        Counters::note(&self.shared.counters.slowed);
        self.send_queue.wait_until_closing(arrived + pause);
        Ok(Instant::now())
    }

    /// How the connection ends after the client's close frame. tungstenite answers it with the same
    /// code, except for codes that Qt does not know: they are answered here.
    fn closed_by_client(&self, frame: Option<&CloseFrame>) -> Ending {
        let Some(frame) = frame else { return Ending::Client(1005, String::new()) };
        let code = u16::from(frame.code);
        if UNKNOWN_TO_EDITORS.contains(&code) {
            self.send_queue.close_with(Frame::close(close::NORMAL, "").bytes().clone());
        }
        Ending::Client(code, frame.reason.to_string())
    }

    /// Does what the handler wants done about a message.
    fn react(&self, reaction: Reaction, arrived: Instant) -> Result<(), Ending> {
        match reaction {
            Reaction::Event(event) => {
                let input = Input::Event { conn: self.conn, arrived, event };
                let sent = self.shared.send(input);
                sent.map_err(|_| Ending::Server(close::GOING_AWAY, "server shutting down"))
            }
            Reaction::Reply(frame) => {
                self.shared.counters.count_sent(self.conn, &frame);
                if self.send_queue.push(frame.into_bytes(), None).is_err() {
                    Counters::note(&self.shared.counters.too_slow);
                    return Err(Ending::Server(close::POLICY, "too slow"));
                }
                self.send_queue.flush();
                Ok(())
            }
            Reaction::Close(code, reason) => Err(Ending::Server(code, reason)),
            Reaction::Nothing => Ok(()),
        }
    }

    /// Counts a message that was read.
    fn count(&self, message: &Message, handler: &dyn ConnectionHandler) {
        let kind = match message {
            Message::Text(_) => handler.last_kind(),
            Message::Binary(_) => Kind::Other,
            _ => return,
        };
        self.stats.count_message();
        self.shared.counters.count_received(self.conn, kind, message.len());
    }
}

/// A WebSocket that reads frames from `rest`, which was read with the request, and then from
/// `stream`. Its messages have at most `limit` bytes. tungstenite writes its own answers to
/// `stream`.
pub fn web_socket<S: Read + Write>(stream: S, rest: Vec<u8>, limit: usize) -> WebSocket<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    WebSocket::from_partially_read(stream, rest, protocol::Role::Server, Some(config))
}

/// Is true for a message that is over its sender's limit, and not of a type that may be.
fn is_too_large(message: &Message, limit: usize, handler: &dyn ConnectionHandler) -> bool {
    let may_be_large = || match message {
        Message::Text(text) => handler.may_be_large(text),
        _ => false,
    };
    message.len() > limit && !may_be_large()
}

/// How an error of tungstenite ends the connection.
fn ending_of(error: &Error) -> Ending {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ending::Lost("closed".into()),
        Error::Io(error) => Ending::Lost(error.kind().to_string()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Ending::Lost("without a close frame".into())
        }
        Error::Capacity(_) => Ending::Server(close::TOO_BIG, TOO_BIG),
        Error::Utf8(_) => Ending::Server(close::INVALID_PAYLOAD, "a text message has to be UTF-8"),
        _ => Ending::Server(close::PROTOCOL_ERROR, "broken WebSocket framing"),
    }
}

/// A client's reason to close, for the log: the reason where it is a few plain words, else its
/// length. It may hold anything, even a key.
fn shown(reason: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " .,:;'!()-".contains(c);
    let has_short_words = reason.split(' ').all(|word| word.len() < MAX_WORD_CHARS);
    match reason.chars().all(is_plain) && has_short_words {
        true => format!("{reason:?}"),
        false => format!("a reason of {} bytes", reason.len()),
    }
}

fn describe(code: u16) -> String {
    format!("{code} {}", close::meaning(code))
}

/// tungstenite's stream: reads from the socket and pushes to the send queue.
struct Stream {
    socket: Arc<TcpStream>,
    send_queue: Arc<SendQueue>,
    stats: Arc<ConnectionStats>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stats.mark_waiting();
            let read = { &*self.socket }.read(buffer);
            self.stats.mark_reading();
            match read {
                // A debugger was attached.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Stream {
    /// Pushes a buffer. tungstenite writes its whole buffer at once, which holds whole frames.
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let bytes = Bytes::copy_from_slice(frames);
        match is_close(frames) {
            true => self.send_queue.close_with(bytes),
            false if self.send_queue.push(bytes, None).is_err() => {
                self.send_queue.close_instead(close::POLICY, "too slow");
                return Err(ErrorKind::WriteZero.into());
            }
            false => {}
        }
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_queue.flush();
        Ok(())
    }
}

/// Is true for a close frame: final, opcode 8.
pub fn is_close(frames: &[u8]) -> bool {
    frames.first() == Some(&0x88)
}
