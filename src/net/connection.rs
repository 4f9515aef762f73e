//! One client's thread: after the handshake (`handshake`) it reads until the end.
//!
//! This thread alone reads from the socket; it never writes to it. tungstenite, which wants to answer
//! pings and closes by itself, is given a stream whose writes go into the send queue as whole frames.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tungstenite::WebSocket;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{self, Message, WebSocketConfig};

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
const READ_BUFFER: usize = 4096;
/// A bound that is never reached, and twice which is still a number.
const NO_BOUND: usize = usize::MAX / 2;

/// What a Ping of the server's own carries.
pub(super) const ALIVE: &[u8] = b"alive?";
/// A longer word in a client's reason to close is not logged.
const MAX_WORD_CHARS: usize = 16;

/// What the log and the client are told of a message that is over the limit.
const TOO_BIG: &str = "the message is too big";

/// Close codes that Qt takes for a protocol error: they are answered with 1000.
const UNKNOWN_TO_EDITORS: std::ops::RangeInclusive<u16> = 1012..=1014;

/// How a connection ended.
enum Ending {
    /// The client closed it, with this code and reason.
    Client(u16, String),
    /// We did.
    Server(u16, &'static str),
    /// The network did.
    Lost(String),
}

/// The body of a client's thread.
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
        // It may have been a member; the hub doesn't mind one that wasn't.
        let _ = client.shared.event_queue.send(Input::Gone(conn));
        client.send_queue.close(close::INTERNAL_ERROR, "internal server error");
        client.drain_and_close(Instant::now() + CLOSE_TIMEOUT);
    }
    client.send_queue.abort();
    shared.counters.left(client.stats.role());
    shared.connections.remove(conn);
}

impl Client<'_> {
    /// Reads until the connection ends, and says why it did. What stands on the stack while it reads is
    /// memory that every idle connection has: the rest is done by others.
    #[inline(never)]
    fn run_session(&self, joined: Joined) {
        let Joined { mut handler, rest, from } = joined;
        self.begins(&*handler, &from);
        drop(from);
        let reading = AssertUnwindSafe(|| self.read(&mut *handler, rest));
        let ending = catch_unwind(reading).ok();
        self.ends(&*handler, ending);
    }

    #[inline(never)]
    fn begins(&self, handler: &dyn ConnectionHandler, from: &str) {
        let (user, place) = (handler.user(), handler.target());
        rename_current(&format!("c{} {user}", self.conn.0));
        log::info!("{user:?} joined {place} (c{} from {from})", self.conn.0);
        self.becomes(handler.role());
    }

    /// It has ended like this; `None` where its thread has panicked.
    #[inline(never)]
    fn ends(&self, handler: &dyn ConnectionHandler, ending: Option<Ending>) {
        let (user, place) = (handler.user(), handler.target());
        let ending = ending.unwrap_or_else(|| {
            Counters::note(&self.shared.counters.panics);
            if let Some(apology) = handler.internal_error() {
                // Too slow to hear it is too slow to hear it.
                let _ = self.send_queue.push(apology.bytes().clone(), None);
            }
            Ending::Server(close::INTERNAL_ERROR, "internal server error")
        });
        // The hub's own close, where there was one, came first.
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
        log::info!("{user:?} left {place}: {how} (c{})", self.conn.0);
        let _ = self.shared.event_queue.send(Input::Gone(self.conn));
        match ending {
            Ending::Lost(_) => {}
            Ending::Client(..) => self.drain_and_close(Instant::now() + CLOSE_TIMEOUT),
            Ending::Server(code, reason) => {
                self.send_queue.close(code, reason);
                self.drain_and_close(Instant::now() + CLOSE_TIMEOUT);
            }
        }
    }

    /// It is open as this from now on.
    fn becomes(&self, role: Role) {
        self.shared.counters.left(self.stats.role());
        self.stats.set_role(role);
        self.shared.counters.opened(role);
    }

    /// Reads until the connection ends.
    #[inline(never)] // a name in thread dumps
    fn read(&self, handler: &mut dyn ConnectionHandler, rest: Vec<u8>) -> Ending {
        let most = self.shared.config.max_message_bytes;
        let limit_for = |handler: &dyn ConnectionHandler| {
            handler.max_message_bytes().map_or(most, |own| own.min(most))
        };
        let mut limit = limit_for(handler);
        // What is larger than `limit` is read before its type is known, and then closed for or taken.
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
            // Back-pressure: what is not read stays with the sender.
            let mut arrived = Instant::now();
            let Pace { pause, is_overrun } = rate.take(message.len(), arrived);
            if is_overrun && let Some((code, reason)) = handler.overrun_close() {
                Counters::note(&self.shared.counters.overrun);
                return Ending::Server(code, reason);
            }
            if !pause.is_zero() {
                Counters::note(&self.shared.counters.slowed);
                self.send_queue.wait_until_closing(arrived + pause);
                // What it was made to wait is not what its way takes.
                arrived = Instant::now();
            }
            let heard = match &message {
                Message::Text(text) => Incoming::Text(text),
                Message::Binary(bytes) => Incoming::Binary(bytes),
                // The server's own question, and nobody else's business.
                Message::Pong(payload) if *payload == *ALIVE => continue,
                Message::Pong(payload) => Incoming::Pong(payload),
                Message::Close(frame) => {
                    if let Some(frame) = frame
                        && UNKNOWN_TO_EDITORS.contains(&u16::from(frame.code))
                    {
                        self.send_queue.close_with(Frame::close(close::NORMAL, "").bytes().clone());
                    }
                    // Reading on sends the answer.
                    ending = Some(match frame {
                        Some(frame) => Ending::Client(frame.code.into(), frame.reason.to_string()),
                        None => Ending::Client(1005, String::new()),
                    });
                    continue;
                }
                Message::Ping(_) | Message::Frame(_) => continue,
            };
            let said = handler.on_message(self.conn, heard);
            self.count(&message, handler);
            match said {
                Reaction::Event(event) => {
                    let event = Input::Event { conn: self.conn, arrived, event };
                    if self.shared.send(event).is_err() {
                        return Ending::Server(close::GOING_AWAY, "server shutting down");
                    }
                }
                Reaction::Reply(frame) => {
                    self.shared.counters.count_sent(self.conn, &frame);
                    if self.send_queue.push(frame.into_bytes(), None).is_err() {
                        Counters::note(&self.shared.counters.too_slow);
                        return Ending::Server(close::POLICY, "too slow");
                    }
                    self.send_queue.flush();
                }
                Reaction::Close(code, reason) => return Ending::Server(code, reason),
                Reaction::Nothing => {}
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

    /// Counts a message that was heard.
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

/// How a client's frames are read: from `rest`, which came with its request, and then from `stream`;
/// messages of at most `limit` bytes. What tungstenite answers by itself is written to `stream`.
pub fn web_socket<S: Read + Write>(stream: S, rest: Vec<u8>, limit: usize) -> WebSocket<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    WebSocket::from_partially_read(stream, rest, protocol::Role::Server, Some(config))
}

/// Whether a message is over its sender's limit, and none of those that may be.
fn is_too_large(message: &Message, limit: usize, handler: &dyn ConnectionHandler) -> bool {
    let may_be_large = || match message {
        Message::Text(text) => handler.may_be_large(text),
        _ => false,
    };
    message.len() > limit && !may_be_large()
}

/// What an error of tungstenite's means for the connection.
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

/// A client's reason to close, as the log has it: a few plain words, or how long it is. It may be
/// anything, a key too.
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

/// The stream tungstenite is given: it reads from the socket and writes into the send queue.
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
    /// tungstenite writes its whole buffer at once, and whole frames into that.
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

/// Whether a frame is a close: final, opcode 8.
pub fn is_close(frames: &[u8]) -> bool {
    frames.first() == Some(&0x88)
}
