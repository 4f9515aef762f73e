//! A small session server with one fault built in, or none: what `check` is tried on. One thread a
//! connection, one lock around everything; it keeps the protocol only as far as `check` looks.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::session::{Session, Sessions};

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Not a fault: an operator may raise the limit.
    RaisedLimit,
    NoAck,
    AckAfterJoined,
    UsersAsStrings,
    NoOwnJoined,
    OthersNotTold,
    NullForEmpty,
    NoPong,
    PongWithoutId,
    BinaryPong,
    LocalTime,
    Echoes,
    TrustsUserId,
    NoSeq,
    DropsSome,
    Reorders,
    FloatsEverything,
    GuestsUnnumbered,
    RelaysParts,
    NamesEncoded,
    DropsCursors,
    DropsUnknown,
    LowLimit,
    NoConfirmation,
    AppliesRepeats,
    RepeatsUnsaid,
    TakesOtherWithSameId,
    NoLateState,
    ItemsLackUuid,
    MoveTakesAll,
    RemovedComesBack,
    ForgetsHistory,
    KeepsOldCanvas,
    SendsNewCanvas,
    NoLeft,
    NoNewHost,
    TakeoverWrongCode,
    TakeoverKeepsOld,
    TakeoverTold,
    OldEndRemovesNew,
    CrossSession,
    WipesHost,
    TakesAnySnapshot,
    ClosesOnBadJson,
    IgnoresBadJson,
    RelaysMalformed,
    AppliesHalf,
    RelaysReserved,
    AcceptsBinary,
    WrongCloseCode,
    AcceptsUnmasked,
    SwallowsTooBig,
    UpgradesAnything,
    BadRequestWithoutUpgrade,
    DropsTheSilent,
    CloseUnanswered,
    KeepsTcpOpen,
}

/// The writing end of one connection; whole frames only, so that any thread may write.
#[derive(Clone)]
pub struct Peer {
    stream: Arc<Mutex<TcpStream>>,
    closed: Arc<AtomicBool>,
}

impl Peer {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.stream).write_all(bytes)
    }

    fn frame(&self, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => bytes.push(length as u8),
            length @ 126..=0xFFFF => {
                bytes.push(126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        // Who is gone is noticed by the thread that reads from there.
        let _ = self.write(&bytes);
    }

    pub fn text(&self, text: &str) {
        self.frame(0x1, text.as_bytes());
    }

    pub fn binary(&self, text: &str) {
        self.frame(0x2, text.as_bytes());
    }

    pub fn ping(&self) {
        self.frame(0x9, b"who is it");
    }

    /// Says goodbye; the thread that reads from there ends the connection.
    pub fn close(&self, code: u16, reason: &str) {
        self.closed.store(true, Ordering::Relaxed);
        self.frame(0x8, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    }

    fn end(&self, how: Shutdown) {
        let _ = lock(&self.stream).shutdown(how);
    }
}

/// What the reading thread's WebSocket works on.
struct Half {
    read: TcpStream,
    peer: Peer,
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read.read(buffer)
    }
}

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.peer.write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A lock whose holder panicked fails the test that made it panic, not every other thread too.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Starts a server on a port of its own. Its threads end with the test.
pub fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let sessions = Arc::new(Mutex::new(HashMap::new()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || serve(stream, fault, &sessions));
        }
    });
    address
}

/// One connection, from its request to its end.
fn serve(mut stream: TcpStream, fault: Fault, sessions: &Sessions) -> Option<()> {
    let head = read_head(&mut stream)?;
    let path = head.split(' ').nth(1)?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let anything = || (fault == Fault::UpgradesAnything).then(|| ("x".to_owned(), "y".to_owned()));
    let Some((session, user)) = place(path, fault).or_else(anything) else {
        return refuse(&mut stream, "404 Not Found");
    };
    let (session, user) = (session.as_str(), user.as_str());
    let Some(key) = header("Sec-WebSocket-Key") else {
        return refuse(
            &mut stream,
            if fault == Fault::BadRequestWithoutUpgrade {
                "400 Bad Request"
            } else {
                "426 Upgrade Required"
            },
        );
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(answer.as_bytes()).ok()?;
    stream.set_nodelay(true).ok()?;
    let peer =
        Peer { stream: Arc::new(Mutex::new(stream.try_clone().ok()?)), closed: Arc::default() };
    if fault == Fault::DropsTheSilent {
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    }
    let limit = match fault {
        Fault::RaisedLimit | Fault::SwallowsTooBig => 1 << 24,
        Fault::LowLimit => 1 << 18,
        _ => 1 << 20,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
        .accept_unmasked_frames(fault == Fault::AcceptsUnmasked);
    let half = Half { read: stream.try_clone().ok()?, peer: peer.clone() };
    let mut socket = WebSocket::from_raw_socket(half, Role::Server, Some(config));

    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    Session::of(&mut lock(sessions), session).join(fault, user, connection, &peer);
    read_all(&mut socket, &peer, fault, sessions, (session, user));
    Session::of(&mut lock(sessions), session).leave(fault, user, connection);

    if fault == Fault::KeepsTcpOpen && !peer.closed.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_secs(20));
    }
    peer.end(Shutdown::Write);
    // What nobody read would turn the end into a reset, and that may overtake the close frame.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut rest = [0; 4096];
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
    Some(())
}

/// Reads until the connection ends, and says the last word on it.
fn read_all(
    socket: &mut WebSocket<Half>,
    peer: &Peer,
    fault: Fault,
    sessions: &Sessions,
    (session, user): (&str, &str),
) {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                if fault == Fault::SwallowsTooBig && text.len() > 1 << 20 {
                    continue;
                }
                let mut sessions = lock(sessions);
                if !Session::of(&mut sessions, session).handle(fault, user, peer, text.as_str()) {
                    return peer.close(1008, "bad message");
                }
                if fault == Fault::CrossSession {
                    sessions
                        .iter()
                        .filter(|(name, _)| *name != session)
                        .for_each(|(_, other)| other.overhear(&text));
                }
            }
            Ok(Message::Binary(_)) if fault == Fault::AcceptsBinary => {}
            Ok(Message::Binary(_)) if fault == Fault::WrongCloseCode => {
                return peer.close(1008, "binary");
            }
            Ok(Message::Binary(_)) => return peer.close(1003, "text only"),
            Ok(Message::Pong(_)) => {
                Session::of(&mut lock(sessions), session).told_apart(fault, user)
            }
            Ok(Message::Close(_)) if fault == Fault::CloseUnanswered => {
                return peer.end(Shutdown::Both);
            }
            // The answer to a close of ours; another close is what tungstenite would send next.
            Ok(Message::Close(_)) if peer.closed.load(Ordering::Relaxed) => return,
            Ok(_) => {}
            Err(Error::Utf8(_)) => return peer.close(1007, "not UTF-8"),
            Err(Error::Capacity(_)) => return peer.close(1009, "too big"),
            Err(Error::Protocol(_)) => return peer.close(1002, "broken frame"),
            Err(_) => return,
        }
    }
}

/// Session and user of a path like `/key/k/ws/s/u`.
fn place(path: &str, fault: Fault) -> Option<(String, String)> {
    let after_key =
        path.strip_prefix("/key/").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    let (session, user) = after_key.unwrap_or(path).strip_prefix("/ws/")?.split_once('/')?;
    let fits = |id: &str| (1..=128).contains(&id.len()) && !id.contains(char::is_control);
    let names = [session, user].map(decoded);
    match names.iter().all(|id| fits(id)) {
        true if fault == Fault::NamesEncoded => Some((session.to_owned(), user.to_owned())),
        true => Some(names.into()),
        false => None,
    }
}

fn decoded(id: &str) -> String {
    let mut parts = id.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).expect("check encodes rightly"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("check sends UTF-8")
}

fn refuse(stream: &mut TcpStream, status: &str) -> Option<()> {
    let body = "this server takes WebSockets at /ws/{session}/{user}\n";
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).ok()
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
