//! A bare socket: requests and frames byte by byte, right or wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::{SAFETY_NET, Server};

pub const TEXT: u8 = 0x81;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;

/// The editor's handshake: these headers and nothing else.
pub fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A client's frame: `first` is its first byte, final bit and opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&header.1)
    }
}

/// A connection to the server.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    pub fn open(server: &Server) -> Self {
        Self::open_to(server.addr())
    }

    /// To a server that runs in this process.
    pub fn open_to(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).expect("the server accepts"))
    }

    /// On a socket that is connected.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        stream.set_write_timeout(Some(SAFETY_NET)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Wire(BufReader::new(stream))
    }

    /// Sends a request and returns its answer; the connection ends with that.
    pub fn ask(server: &Server, request: &str) -> Response {
        let mut wire = Self::open(server);
        wire.write(request);
        wire.refusal()
    }

    /// Sends a request and returns the answer's status; whatever it began is over then.
    pub fn ask_for(server: &Server, request: &str) -> u16 {
        let mut wire = Self::open(server);
        wire.write(request);
        wire.head().status
    }

    /// Becomes a WebSocket as the editor does.
    pub fn upgrade(server: &Server, path: &str) -> Self {
        let mut wire = Self::open(server);
        wire.write(handshake(path));
        wire.upgraded();
        wire
    }

    /// Becomes a WebSocket and reads up to the Ping of its arrival, whose payload is returned and which is
    /// not answered.
    pub fn arrive(server: &Server, path: &str) -> (Self, Vec<u8>) {
        let mut wire = Self::upgrade(server, path);
        loop {
            match wire.frame() {
                (PING, payload) => return (wire, payload),
                (first, payload) => assert_eq!(first, TEXT, "{payload:?}"),
            }
        }
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends a text message in one frame.
    pub fn send(&mut self, text: impl AsRef<str>) {
        self.write(masked(TEXT, text.as_ref().as_bytes()));
    }

    /// Says that nothing more will be sent, and still reads.
    pub fn hang_up(&self) {
        self.0.get_ref().shutdown(Shutdown::Write).expect("a socket");
    }

    /// The answer to a handshake has to be the right one.
    pub fn upgraded(&mut self) {
        let response = self.head();
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    /// The last answer: one that ends the connection, or after which nothing is asked any more.
    pub fn refusal(&mut self) -> Response {
        let mut response = self.head();
        if response.header("connection").is_none() {
            self.hang_up();
        }
        self.0.read_to_string(&mut response.body).expect("text, and then the end");
        response
    }

    /// An answer to a GET after which there may be another one.
    pub fn answer(&mut self) -> Response {
        let mut response = self.head();
        assert_eq!(response.header("connection"), None, "it ends here: {response:?}");
        let length = response.header("content-length").map_or(0, |n| n.parse().expect("a number"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the whole body");
        response.body = String::from_utf8(body).expect("text");
        response
    }

    /// The next frame: its first byte and its payload.
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        let [first, length] = self.bytes();
        let length = match length {
            126 => u64::from(u16::from_be_bytes(self.bytes())),
            127 => u64::from_be_bytes(self.bytes()),
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).expect("a whole frame");
        (first, payload)
    }

    /// The next text message; Pings before it are answered.
    pub fn next(&mut self) -> serde_json::Value {
        loop {
            let (first, payload) = self.frame();
            match first {
                TEXT => return serde_json::from_slice(&payload).expect("JSON"),
                PING => self.write(masked(PONG, &payload)),
                first => panic!("a frame that begins with {first:#x}: {payload:?}"),
            }
        }
    }

    /// Reads up to the close, its code and reason, after which the server has to say nothing more.
    pub fn closed(&mut self) -> (u16, String) {
        loop {
            let (first, payload) = self.frame();
            if first == CLOSE {
                let code = payload.first_chunk().expect("a code");
                let reason = String::from_utf8(payload[2..].to_vec()).expect("UTF-8");
                return (u16::from_be_bytes(*code), reason);
            }
        }
    }

    /// The server has to hang up without another byte.
    pub fn ended(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("the end");
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// An answer up to its body, which is not read.
    pub fn head(&mut self) -> Response {
        let mut line = || {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a line");
            line.trim_end_matches("\r\n").to_owned()
        };
        let first = line();
        let mut words = first.strip_prefix("HTTP/1.1 ").expect("an answer").splitn(2, ' ');
        let status = words.next().and_then(|status| status.parse().ok()).expect("a status");
        let reason = words.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Response { status, reason, headers, body: String::new() }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("a whole frame");
        bytes
    }
}
