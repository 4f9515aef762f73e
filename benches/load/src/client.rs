//! One client: its socket, how far it has come, and what is left of a read or a write.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// The key of RFC 6455's own example and its answer, so that nobody has to compute one.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// So many clients come from one address: a server may limit them, and ports run out.
const PER_ADDRESS: usize = 900;

/// Opcodes.
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
pub const CLOSE: u8 = 0x8;

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its request is on its way.
    Handshake,
    /// It is to be told the session's state.
    Joining,
    Ready,
    /// Its request was answered with this status instead.
    Refused(u16),
    Ended,
}

/// See the file's first line.
pub struct Client {
    pub socket: TcpStream,
    pub session: u32,
    /// Its place in the session; its number as a sender.
    pub place: u32,
    pub stage: Stage,
    pub began: u64,
    /// What was received of a frame whose end is not there yet.
    pub received: Vec<u8>,
    /// What the socket has not taken yet.
    pub unsent: Vec<u8>,
    /// The next number from each sender of its session.
    pub expected: Vec<u32>,
    /// When the ping it waits for was sent.
    pub pinged: Option<u64>,
}

impl Client {
    /// Connects from the `nth` of the run's clients; sends nothing yet.
    pub fn connect(
        addr: SocketAddrV4,
        nth: usize,
        session: u32,
        place: u32,
        senders: usize,
        now: u64,
    ) -> io::Result<Self> {
        let own = Ipv4Addr::new(127, 0, 0, (1 + nth / PER_ADDRESS % 200) as u8);
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrV4::new(own, 0))?;
        connect(&socket, &addr)?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Client {
            socket,
            session,
            place,
            stage: Stage::Handshake,
            began: now,
            received: Vec::new(),
            unsent: Vec::new(),
            expected: vec![0; senders],
            pinged: None,
        })
    }

    /// The request of whoever wants this place in this session.
    pub fn request(addr: SocketAddrV4, session: u32, place: u32) -> Vec<u8> {
        Self::request_for(addr, &format!("/ws/s{session}/u{place}"))
    }

    /// The request of whoever wants to view it.
    pub fn view(addr: SocketAddrV4, session: u32) -> Vec<u8> {
        Self::request_for(addr, &format!("/view/s{session}"))
    }

    /// The request for any path.
    pub fn request_for(addr: SocketAddrV4, path: &str) -> Vec<u8> {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes()
    }
}

/// The length of a response's head and its status, 0 where a 101 doesn't accept the key; `None`
/// while its end is missing.
pub fn response(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..length]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let is_accepted = status != 101 || head.contains(ACCEPT);
    Some((length, if is_accepted { status } else { 0 }))
}

/// Opcode, header length and payload length of the server's frame at the start of `bytes`; `None`
/// while its end is missing.
pub fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (opcode, length) = (bytes.first()? & 0xf, usize::from(*bytes.get(1)?));
    let (header, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        _ => (2, length),
    };
    (bytes.len() - header >= length).then_some((opcode, header, length))
}
