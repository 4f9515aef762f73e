//! One client with a thread of its own that reads and throws away what comes, answers Pings and
//! notes answers and errors.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::client::{CLOSE, PING, PONG};
use crate::message::{Mark, frame, masked};
use crate::swarm::now;

/// An opcode.
const TEXT: u8 = 0x1;
/// So much of a message is looked at.
const HEAD: usize = 1024;
const BUFFER: usize = 256 << 10;
/// So many errors are quoted.
const QUOTED: usize = 200;

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Asks for the state, as scripts do.
    Script,
    /// Asks for it as the editor does.
    Editor,
    /// An editor that shares its canvas: the Pings that come before its first message are answered
    /// after that.
    Sharing,
    /// Of the client protocol: joins the channel `all`.
    Channel,
}

impl Mode {
    /// The one of this name.
    pub fn of(name: &str) -> Option<Mode> {
        match name {
            "script" => Some(Mode::Script),
            "editor" => Some(Mode::Editor),
            "sharing" => Some(Mode::Sharing),
            "channel" => Some(Mode::Channel),
            _ => None,
        }
    }
}

/// What all clients together were sent since [`start_over`](Counters::start_over); answers and ended
/// connections since the beginning.
#[derive(Default)]
pub struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
    answers: AtomicU64,
    closed: AtomicU64,
    last: AtomicU64,
    errors: AtomicU64,
    /// The first error, or why a connection was closed.
    error: Mutex<Option<String>>,
}

impl Counters {
    /// Counts from 0 on.
    pub fn start_over(&self) {
        for counter in [&self.frames, &self.bytes, &self.errors] {
            counter.store(0, Relaxed);
        }
        *self.error.lock().unwrap() = None;
    }

    /// How many pings were answered.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// How many connections have ended.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    /// When something came last.
    pub fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// As fields of a JSON object.
    pub fn fields(&self) -> String {
        let error = self.error.lock().unwrap();
        format!(
            "\"frames\":{},\"bytes\":{},\"errors\":{},\"closed\":{},\"error\":{:?}",
            self.frames.load(Relaxed),
            self.bytes.load(Relaxed),
            self.errors.load(Relaxed),
            self.closed(),
            error.as_deref().unwrap_or_default()
        )
    }

    fn note_error(&self, text: &[u8]) {
        self.errors.fetch_add(1, Relaxed);
        // `Debug` has to make JSON of it.
        let plain = |byte: &u8| if matches!(byte, b' '..=b'~') { *byte as char } else { '?' };
        let text = text.iter().take(QUOTED).map(plain).collect();
        self.error.lock().unwrap().get_or_insert(text);
    }
}

/// What a client's thread and whoever has it speak share.
struct Shared {
    socket: Mutex<TcpStream>,
    is_ready: AtomicBool,
    /// Pongs that are held back; `None` once nothing is.
    held: Mutex<Option<Vec<u8>>>,
    counters: Arc<Counters>,
}

/// See the file's first line.
pub struct ScriptedClient(Arc<Shared>);

impl ScriptedClient {
    /// Comes in by this path. It is ready a while later.
    pub fn join(
        addr: SocketAddrV4,
        name: &str,
        path: &str,
        mode: Mode,
        counters: &Arc<Counters>,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(BUFFER, socket.try_clone()?);
        socket.write_all(&crate::client::Client::request_for(addr, path))?;
        let mut line = String::new();
        while line != "\r\n" {
            let is_first = line.is_empty();
            line.clear();
            reader.read_line(&mut line)?;
            if line.is_empty() || (is_first && !line.contains(" 101 ")) {
                return Err(io::Error::other(format!("{name} is refused: {line}")));
            }
        }
        let shared = Arc::new(Shared {
            socket: Mutex::new(socket),
            is_ready: AtomicBool::new(false),
            held: Mutex::new((mode == Mode::Sharing).then(Vec::new)),
            counters: counters.clone(),
        });
        let (its, user) = (shared.clone(), name.to_owned());
        thread::Builder::new().name(name.to_owned()).stack_size(64 << 10).spawn(move || {
            let _ = its.listen(reader, mode, &user);
            its.counters.closed.fetch_add(1, Relaxed);
        })?;
        Ok(ScriptedClient(shared))
    }

    /// Whether it has come in.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Relaxed)
    }

    /// Sends this message, and a ping, the answer to which is counted.
    pub fn say(&self, text: &[u8]) -> io::Result<()> {
        // A server that doesn't want the message may have closed the connection by now.
        let _ = self.0.send(&masked(text));
        if let Some(pongs) = self.0.held.lock().unwrap().take() {
            let _ = self.0.send(&pongs);
        }
        let _ = self.0.send(&masked(br#"{"type":"ping"}"#));
        Ok(())
    }
}

impl Shared {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.lock().unwrap().write_all(bytes)
    }

    fn listen(&self, mut reader: impl BufRead, mode: Mode, user: &str) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD);
        loop {
            let (opcode, length) = header(&mut reader)?;
            head.clear();
            reader.by_ref().take(length.min(HEAD as u64)).read_to_end(&mut head)?;
            skip(&mut reader, length - head.len() as u64)?;
            if opcode == TEXT && Mark::of(&head).is_some() {
                continue; // a pair's
            }
            self.counters.frames.fetch_add(1, Relaxed);
            self.counters.bytes.fetch_add(length, Relaxed);
            self.counters.last.store(now(), Relaxed);
            match opcode {
                PING => {
                    let pong = frame(PONG, &head);
                    let mut held = self.held.lock().unwrap();
                    match &mut *held {
                        Some(pongs) => pongs.extend(pong),
                        None => self.send(&pong)?,
                    }
                }
                CLOSE => {
                    let code =
                        head.get(..2).map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
                    let reason =
                        String::from_utf8_lossy(head.get(2..).unwrap_or_default()).into_owned();
                    self.counters.note_error(format!("closed with {code} {reason}").as_bytes());
                    return Ok(());
                }
                _ => self.hear(&head, mode, user)?,
            }
        }
    }

    fn hear(&self, head: &[u8], mode: Mode, user: &str) -> io::Result<()> {
        match kind(head) {
            b"connection:ack" => {
                let request = match mode {
                    Mode::Script => r#"{"type":"sync:request"}"#.to_owned(),
                    _ => format!(r#"{{"type":"sync:request","user_id":"{user}"}}"#),
                };
                self.send(&masked(request.as_bytes()))?;
            }
            b"user:joined" if mode == Mode::Sharing => self.is_ready.store(true, Relaxed),
            b"sync:state" if mode != Mode::Sharing => self.is_ready.store(true, Relaxed),
            b"connection_established" => self.send(&masked(
                br#"{"type":"connect","data":{"api_key":"development","connection_type":"chat","domain":"d","workspace":"w"}}"#,
            ))?,
            b"connection_success" => {
                self.send(&masked(br#"{"type":"join_channel","data":{"channel":"all"}}"#))?;
            }
            b"subscription_success" => self.is_ready.store(true, Relaxed),
            b"pong" => drop(self.counters.answers.fetch_add(1, Relaxed)),
            b"error" => self.counters.note_error(head),
            _ => {}
        }
        Ok(())
    }
}

/// The opcode of the next frame and the length of its payload.
fn header(reader: &mut impl Read) -> io::Result<(u8, u64)> {
    let mut start = [0; 2];
    reader.read_exact(&mut start)?;
    let mut long = [0; 8];
    let size = match start[1] {
        126 => 2,
        127 => 8,
        short => return Ok((start[0] & 0xf, short.into())),
    };
    reader.read_exact(&mut long[8 - size..])?;
    Ok((start[0] & 0xf, u64::from_be_bytes(long)))
}

fn skip(reader: &mut impl BufRead, mut length: u64) -> io::Result<()> {
    while length > 0 {
        let there = reader.fill_buf()?.len() as u64;
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let skipped = there.min(length);
        reader.consume(skipped as usize);
        length -= skipped;
    }
    Ok(())
}

/// The type of a server's message, which is its first field in either protocol.
fn kind(head: &[u8]) -> &[u8] {
    let rest = head.strip_prefix(br#"{"type":""#).unwrap_or_default();
    &rest[..rest.iter().position(|byte| *byte == b'"').unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read() {
        for (bytes, expected) in [
            (&[0x81, 5][..], (1, 5)),
            (&[0x89, 126, 1, 2], (9, 258)),
            (&[0x81, 127, 0, 0, 0, 0, 0, 16, 0, 1], (1, (1 << 20) + 1)),
        ] {
            assert_eq!(header(&mut &*bytes).unwrap(), expected);
        }
    }

    #[test]
    fn a_message_is_known_by_its_first_field() {
        assert_eq!(kind(br#"{"type":"sync:state","state":{}}"#), b"sync:state");
        assert_eq!(kind(br#"{"typ":"x"}"#), b"");
    }
}
