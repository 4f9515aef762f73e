//! All clients of a run on one epoll descriptor.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, clock_gettime};

use crate::client::{self, CLOSE, Client, PING, PONG, Stage};
use crate::histogram::Histogram;
use crate::message::{Mark, frame, masked};
use crate::tally::Tally;

/// How much is read at once; the largest message a client may be sent fits.
const BUFFER: usize = 8 << 20;
/// How many events are taken at once.
const EVENTS: usize = 1024;
/// How long a handshake, or a whole set-up, may take.
const PATIENCE: Duration = Duration::from_secs(60);

const TOO_SLOW: &[u8] = &1008_u16.to_be_bytes();

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// It passes on what it gets.
    Relay,
    /// The session protocol: a client is ready when it has the session's state.
    Session,
}

/// A client was told that its command has been taken.
pub struct Confirmation {
    pub client: usize,
    /// Of which command.
    pub mark: Mark,
    /// As which change.
    pub seq: u64,
    /// When it arrived.
    pub at: u64,
}

/// See the file's first line.
pub struct Swarm {
    pub clients: Vec<Client>,
    pub tally: Tally,
    /// From a client's connecting until it was ready.
    pub joins: Histogram,
    /// From a ping to its answer.
    pub pings: Histogram,
    pub ready: usize,
    /// Confirmations nobody has looked at yet.
    pub confirmed: Vec<Confirmation>,
    /// Bytes and frames that arrived.
    pub bytes: u64,
    pub frames: u64,
    pub protocol: Protocol,
    /// Whether those who send nothing only view their sessions.
    pub viewing: bool,
    /// Whether clients ask for the state as the editor does.
    pub are_editors: bool,
    addr: SocketAddrV4,
    /// Clients whose answer to the handshake is still to come.
    connecting: usize,
    epoll: OwnedFd,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

/// The monotonic clock in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

impl Swarm {
    /// No clients yet.
    pub fn new(addr: SocketAddrV4, protocol: Protocol, size: usize) -> io::Result<Self> {
        Ok(Swarm {
            clients: Vec::new(),
            tally: Tally::new(size, protocol == Protocol::Session),
            joins: Histogram::new(),
            pings: Histogram::new(),
            ready: 0,
            confirmed: Vec::new(),
            bytes: 0,
            frames: 0,
            protocol,
            viewing: false,
            are_editors: false,
            addr,
            connecting: 0,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; BUFFER],
        })
    }

    /// Adds clients, at most `at_once` of them in their handshake at a time, and waits until all
    /// are ready.
    pub fn join(
        &mut self,
        sessions: u32,
        places: u32,
        senders: usize,
        at_once: usize,
    ) -> io::Result<()> {
        let until = now() + PATIENCE.as_nanos() as u64;
        let wanted = self.clients.len() + (sessions * places) as usize;
        for place in 0..places {
            // What is to be viewed has to be there.
            while self.viewing && place == senders as u32 && self.ready < self.clients.len() {
                self.wait(Duration::from_millis(100))?;
                self.check(until)?;
            }
            for session in 0..sessions {
                while self.connecting >= at_once {
                    self.wait(Duration::from_millis(100))?;
                    self.check(until)?;
                }
                self.connect(session, place, senders)?;
            }
        }
        while self.ready < wanted {
            self.wait(Duration::from_millis(100))?;
            self.check(until)?;
        }
        Ok(())
    }

    /// Starts one client.
    pub fn connect(&mut self, session: u32, place: u32, senders: usize) -> io::Result<usize> {
        let nth = self.clients.len();
        let client = Client::connect(self.addr, nth, session, place, senders, now())?;
        epoll::add(&self.epoll, &client.socket, EventData::new_u64(nth as u64), EventFlags::IN)?;
        let request = match self.viewing && place >= senders as u32 {
            true => Client::view(self.addr, session),
            false => Client::request(self.addr, session, place),
        };
        self.clients.push(client);
        self.connecting += 1;
        self.send(nth, &request)?;
        Ok(nth)
    }

    fn check(&self, until: u64) -> io::Result<()> {
        let failed = self.clients.iter().find_map(|client| match client.stage {
            Stage::Refused(status) => Some(format!("a client was refused with {status}")),
            Stage::Ended => Some("a client's connection ended".to_owned()),
            _ => None,
        });
        match failed {
            Some(why) if self.connecting == 0 => Err(io::Error::other(why)),
            _ if now() > until => Err(io::Error::other("the clients can't join")),
            _ => Ok(()),
        }
    }

    /// Waits until the server has said nothing for `span`, at most a minute.
    pub fn wait_for_quiet(&mut self, span: Duration) -> io::Result<()> {
        let until = now() + PATIENCE.as_nanos() as u64;
        let (mut frames, mut since) = (self.frames, now());
        while now() - since < span.as_nanos() as u64 && now() < until {
            self.wait(Duration::from_millis(10))?;
            if frames != self.frames {
                (frames, since) = (self.frames, now());
            }
        }
        Ok(())
    }

    /// Handles what comes for so long.
    pub fn wait_for(&mut self, span: Duration) -> io::Result<()> {
        let until = now() + span.as_nanos() as u64;
        while now() < until {
            self.wait(Duration::from_nanos(until.saturating_sub(now())))?;
        }
        Ok(())
    }

    /// Starts or stops reading from a client's socket.
    pub fn set_reading(&self, nth: usize, reads: bool) -> io::Result<()> {
        let flags = if reads { EventFlags::IN } else { EventFlags::empty() };
        Ok(epoll::modify(
            &self.epoll,
            &self.clients[nth].socket,
            EventData::new_u64(nth as u64),
            flags,
        )?)
    }

    /// Sends a client's bytes, what the socket doesn't take as soon as it does.
    pub fn send(&mut self, nth: usize, bytes: &[u8]) -> io::Result<()> {
        let client = &mut self.clients[nth];
        if client.stage == Stage::Ended {
            return Ok(());
        }
        let mut sent = 0;
        if client.unsent.is_empty() {
            sent = match client.socket.write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return self.end(nth),
            };
            if sent == bytes.len() {
                return Ok(());
            }
            let data = EventData::new_u64(nth as u64);
            epoll::modify(&self.epoll, &client.socket, data, EventFlags::IN | EventFlags::OUT)?;
        }
        client.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends a ping of the protocol's, the answer to which goes into `pings`.
    pub fn ping(&mut self, nth: usize) -> io::Result<()> {
        if self.clients[nth].pinged.is_some() {
            return Ok(());
        }
        self.clients[nth].pinged = Some(now());
        match self.protocol {
            Protocol::Relay => self.send(nth, &frame(PING, b"probe")),
            Protocol::Session => self.send(nth, &masked(br#"{"type":"ping"}"#)),
        }
    }

    /// Waits for events for at most `timeout` and handles them.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        for event in events.drain(..) {
            let nth = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                self.send_rest(nth)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(nth)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn send_rest(&mut self, nth: usize) -> io::Result<()> {
        let client = &mut self.clients[nth];
        match client.socket.write(&client.unsent) {
            Ok(sent) => drop(client.unsent.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.end(nth),
        }
        if self.clients[nth].unsent.is_empty() {
            self.set_reading(nth, true)?;
        }
        Ok(())
    }

    /// Reads once: where there is more, epoll says so again.
    fn read(&mut self, nth: usize) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_into(nth, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn read_into(&mut self, nth: usize, buffer: &mut [u8]) -> io::Result<()> {
        let client = &mut self.clients[nth];
        let kept = client.received.len();
        buffer[..kept].copy_from_slice(&client.received);
        client.received.clear();
        let filled = match client.socket.read(&mut buffer[kept..]) {
            Ok(0) => return self.end(nth),
            Ok(size) => kept + size,
            Err(error) if error.kind() == ErrorKind::WouldBlock => kept,
            Err(_) => return self.end(nth),
        };
        let now = now();
        self.bytes += (filled - kept) as u64;
        let mut rest = &buffer[..filled];
        if self.clients[nth].stage == Stage::Handshake
            && let Some((length, status)) = client::response(rest)
        {
            rest = &rest[length..];
            self.connecting -= 1;
            self.clients[nth].stage = match (status, self.protocol) {
                (101, Protocol::Relay) => self.is_ready(nth, now),
                (101, Protocol::Session) => Stage::Joining,
                (status, _) => Stage::Refused(status),
            };
        }
        if matches!(self.clients[nth].stage, Stage::Joining | Stage::Ready) {
            while let Some((opcode, header, length)) = client::frame(rest) {
                let (payload, after) = rest[header..].split_at(length);
                self.hear(nth, opcode, payload, now)?;
                rest = after;
            }
        }
        if self.clients[nth].stage != Stage::Ended {
            self.clients[nth].received.extend_from_slice(rest);
        }
        Ok(())
    }

    fn is_ready(&mut self, nth: usize, now: u64) -> Stage {
        self.ready += 1;
        self.joins.add(now - self.clients[nth].began);
        Stage::Ready
    }

    fn hear(&mut self, nth: usize, opcode: u8, payload: &[u8], now: u64) -> io::Result<()> {
        self.frames += 1;
        match opcode {
            PING => return self.send(nth, &frame(PONG, payload)),
            PONG => return self.answered(nth, now),
            CLOSE => {
                self.tally.too_slow += u64::from(payload.starts_with(TOO_SLOW));
                return self.end(nth);
            }
            _ => {}
        }
        if let Some(mark) = Mark::of(payload) {
            let Client { session, place, expected, .. } = &mut self.clients[nth];
            self.tally.count(mark, payload.len(), now, *session, *place, expected);
            return Ok(());
        }
        let is = |kind: &[u8]| payload.get(9..).is_some_and(|rest| rest.starts_with(kind));
        if self.protocol == Protocol::Relay {
            self.tally.other += 1;
        } else if let Some((mark, seq)) = Mark::confirmed(payload) {
            self.confirmed.push(Confirmation { client: nth, mark, seq, at: now });
        } else if payload.ends_with(b"\"settled\":true}") {
            self.tally.settled += 1;
        } else if is(b"pong\"") {
            return self.answered(nth, now);
        } else if is(b"connection:ack\"") {
            // The editor asks for the state at once.
            let request: &[u8] = match self.are_editors {
                true => br#"{"type":"sync:request","user_id":"u"}"#,
                false => br#"{"type":"sync:request"}"#,
            };
            return self.send(nth, &masked(request));
        } else if is(b"sync:state\"") && self.clients[nth].stage == Stage::Joining {
            self.clients[nth].stage = self.is_ready(nth, now);
        } else if is(b"error\"") {
            self.tally.misshapen += 1;
        } else {
            self.tally.other += 1;
        }
        Ok(())
    }

    fn answered(&mut self, nth: usize, now: u64) -> io::Result<()> {
        if let Some(pinged) = self.clients[nth].pinged.take() {
            self.pings.add(now - pinged);
        }
        Ok(())
    }

    fn end(&mut self, nth: usize) -> io::Result<()> {
        let client = &mut self.clients[nth];
        match client.stage {
            Stage::Ended => return Ok(()),
            Stage::Handshake => self.connecting -= 1,
            _ => {}
        }
        if !matches!(client.stage, Stage::Refused(_)) {
            client.stage = Stage::Ended;
            self.tally.closed += 1;
        }
        epoll::modify(
            &self.epoll,
            &client.socket,
            EventData::new_u64(nth as u64),
            EventFlags::empty(),
        )?;
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
        epoll::delete(&self.epoll, &client.socket)?;
        Ok(())
    }
}
