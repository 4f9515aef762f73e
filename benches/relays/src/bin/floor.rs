//! The floor: what a relay costs that does nothing but relay. One thread, epoll, one `send()` a
//! recipient, and no more of WebSocket than a client needs to take it for one.
//!
//! `floor` sends each message by itself; `floor batching` sends what one round of epoll has brought
//! for a client at once.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// How much is read at once.
const BUFFER: usize = 256 * 1024;
/// How many events are taken at once.
const EVENTS: usize = 256;
/// The listener's number among the events.
const LISTENER: u64 = u64::MAX;
/// The benchmark's clients all send RFC 6455's own example of a key; this is the answer to it.
const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;

struct Client {
    socket: TcpStream,
    /// Its session's number, once it has asked for one.
    session: Option<usize>,
    /// What was received of a frame whose end is not there yet.
    received: Vec<u8>,
    /// What the socket has not taken yet, or what waits for the end of the round.
    unsent: Vec<u8>,
    is_touched: bool,
    /// epoll says when the socket takes more.
    is_full: bool,
}

struct Relay {
    epoll: OwnedFd,
    is_batching: bool,
    clients: Vec<Option<Client>>,
    sessions: Vec<Vec<usize>>,
    numbers: HashMap<Vec<u8>, usize>,
    touched: Vec<usize>,
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // The standard library's backlog of 128 would have the joining clients wait.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    println!("listening on {}", listener.local_addr()?);
    let mut relay = Relay {
        epoll,
        is_batching: std::env::args().nth(1).is_some_and(|argument| argument == "batching"),
        clients: Vec::new(),
        sessions: Vec::new(),
        numbers: HashMap::new(),
        touched: Vec::new(),
    };
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER];
    loop {
        match epoll::wait(&relay.epoll, spare_capacity(&mut events), None) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        for event in events.drain(..) {
            let (number, flags) = (event.data.u64(), event.flags);
            if number == LISTENER {
                relay.accept(&listener)?;
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                relay.send(number as usize);
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                relay.read(number as usize, &mut buffer);
            }
        }
        for number in std::mem::take(&mut relay.touched) {
            relay.send(number);
        }
    }
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let number = self.clients.len();
            let data = EventData::new_u64(number as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            self.clients.push(Some(Client {
                socket,
                session: None,
                received: Vec::new(),
                unsent: Vec::new(),
                is_touched: false,
                is_full: false,
            }));
        }
        Ok(())
    }

    /// Reads once: where there is more, epoll says so again.
    fn read(&mut self, number: usize, buffer: &mut [u8]) {
        let Some(client) = &mut self.clients[number] else { return };
        let kept = client.received.len();
        buffer[..kept].copy_from_slice(&client.received);
        client.received.clear();
        let filled = match client.socket.read(&mut buffer[kept..]) {
            Ok(0) => return self.drop(number),
            Ok(size) => kept + size,
            Err(error) if error.kind() == ErrorKind::WouldBlock => kept,
            Err(_) => return self.drop(number),
        };
        let mut start = 0;
        if client.session.is_none() {
            let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else {
                client.received.extend_from_slice(&buffer[..filled]);
                return;
            };
            // GET /ws/SESSION/USER
            let session = buffer[..end].split(|byte| *byte == b'/').nth(2).unwrap_or_default();
            let sessions = &mut self.sessions;
            let session = *self.numbers.entry(session.to_vec()).or_insert_with(|| {
                sessions.push(Vec::new());
                sessions.len() - 1
            });
            sessions[session].push(number);
            client.session = Some(session);
            self.say(number, ACCEPTED);
            start = end + 4;
        }
        while let Some((end, payload)) = unmask(&mut buffer[start..filled]) {
            // The room in front of the payload, which was a header and a mask, holds the new header.
            let frame = &mut buffer[start..start + end];
            let opcode = frame[0];
            match opcode {
                TEXT => {
                    let from = reheaded(frame, payload, TEXT);
                    self.relay(number, &buffer[start + from..start + end]);
                }
                PING => {
                    let from = reheaded(frame, payload, PONG);
                    self.say(number, &buffer[start + from..start + end]);
                }
                CLOSE => return self.drop(number),
                _ => {}
            }
            start += end;
        }
        if let Some(client) = &mut self.clients[number] {
            client.received.extend_from_slice(&buffer[start..filled]);
        }
    }

    fn relay(&mut self, from: usize, frame: &[u8]) {
        let Some(session) = self.clients[from].as_ref().and_then(|client| client.session) else {
            return;
        };
        for place in 0..self.sessions[session].len() {
            let number = self.sessions[session][place];
            if number != from {
                self.say(number, frame);
            }
        }
    }

    fn say(&mut self, number: usize, frame: &[u8]) {
        let Some(client) = &mut self.clients[number] else { return };
        if self.is_batching {
            client.unsent.extend_from_slice(frame);
            if !client.is_touched {
                client.is_touched = true;
                self.touched.push(number);
            }
            return;
        }
        let sent = match client.unsent.is_empty() {
            // An error shows when it is read from.
            true => (&client.socket).write(frame).unwrap_or(0),
            false => 0,
        };
        if sent < frame.len() {
            client.unsent.extend_from_slice(&frame[sent..]);
            self.watch(number, true);
        }
    }

    /// Sends what waits; the rest when the socket takes it.
    fn send(&mut self, number: usize) {
        let Some(client) = &mut self.clients[number] else { return };
        client.is_touched = false;
        let sent = (&client.socket).write(&client.unsent).unwrap_or(0);
        if sent == client.unsent.len() {
            client.unsent.clear();
            self.watch(number, false);
        } else {
            client.unsent.drain(..sent);
            self.watch(number, true);
        }
    }

    fn watch(&mut self, number: usize, is_full: bool) {
        let Some(client) = &mut self.clients[number] else { return };
        if client.is_full == is_full {
            return;
        }
        client.is_full = is_full;
        let flags = if is_full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        let _ =
            epoll::modify(&self.epoll, &client.socket, EventData::new_u64(number as u64), flags);
    }

    fn drop(&mut self, number: usize) {
        let session = self.clients[number].take().and_then(|client| client.session);
        if let Some(session) = session {
            self.sessions[session].retain(|member| *member != number);
        }
    }
}

/// Unmasks the frame at the start of `bytes` in place. Its length and where its payload begins;
/// `None` while its end is missing.
fn unmask(bytes: &mut [u8]) -> Option<(usize, usize)> {
    let (header, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    let payload = header + 4;
    let end = payload + length;
    let mask: [u8; 4] = bytes.get(header..payload)?.try_into().ok()?;
    for (byte, mask) in bytes.get_mut(payload..end)?.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some((end, payload))
}

/// Writes a server's header before the payload of a frame. Where it begins.
fn reheaded(frame: &mut [u8], payload: usize, opcode: u8) -> usize {
    // The client's header less its mask.
    let header = payload - 4;
    let from = payload - header;
    frame.copy_within(0..header, from);
    frame[from] = opcode;
    frame[from + 1] &= 0x7f;
    from
}
