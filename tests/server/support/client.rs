//! A client of the session protocol, through a WebSocket library.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

use super::messages::{full_state, with_id};
use super::{SAFETY_NET, Server};

/// A member of a session. It answers protocol Pings when it reads, as the editor does.
pub struct Client {
    socket: WebSocket<Steady>,
    name: String,
    /// What it was sent until the server had recognised it.
    pub greeting: Vec<Value>,
}

impl Client {
    /// Connects and reads nothing yet. The ids are encoded as they have to be.
    pub fn knock(server: &Server, session: &str, user: &str) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        Self::knock_on(stream, server, session, user)
    }

    /// The same on a socket that was prepared for the test.
    pub fn knock_on(stream: TcpStream, server: &Server, session: &str, user: &str) -> Self {
        Self::upgrade(stream, server, &format!("/ws/{}/{}", encoded(session), encoded(user)), user)
    }

    /// Somebody who views a session, perhaps with a key before the path, and has been shown it.
    pub fn view(server: &Server, prefix: &str, session: &str) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        let path = format!("{prefix}/view/{}", encoded(session));
        let mut viewer = Self::upgrade(stream, server, &path, "viewer");
        viewer.greeting = vec![viewer.expect("connection:ack"), viewer.expect("sync:state")];
        viewer
    }

    /// A viewer that has the document as of this change of this epoch, with what it is sent until it knows that it
    /// has all.
    pub fn view_since(server: &Server, session: &str, epoch: &str, since: u64) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        let path = format!("/view/{}?epoch={}&since={since}", encoded(session), encoded(epoch));
        let mut viewer = Self::upgrade(stream, server, &path, "viewer");
        viewer.greeting = vec![viewer.expect("connection:ack")];
        while !matches!(
            viewer.greeting.last().and_then(|last| last["type"].as_str()),
            Some("sync:done" | "sync:state")
        ) {
            let next = viewer.next();
            viewer.greeting.push(next);
        }
        viewer
    }

    fn upgrade(stream: TcpStream, server: &Server, path: &str, name: &str) -> Self {
        stream.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        stream.set_write_timeout(Some(SAFETY_NET)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let url = format!("ws://{}{path}", server.addr());
        let (socket, _) =
            tungstenite::client(url, Steady(stream)).expect("the handshake is accepted");
        Client { socket, name: name.into(), greeting: Vec::new() }
    }

    /// A script: connects, answers the Ping of its arrival, and has been sent the document if there is one.
    pub fn join(server: &Server, session: &str, user: &str) -> Self {
        let stream = TcpStream::connect(server.addr()).expect("the server accepts");
        Self::join_on(stream, server, session, user)
    }

    /// The same on a socket that was prepared for the test.
    pub fn join_on(stream: TcpStream, server: &Server, session: &str, user: &str) -> Self {
        let mut client = Self::knock_on(stream, server, session, user);
        client.arrive();
        let told = client.told();
        client.greeting.extend(told);
        client
    }

    /// The editor, as a guest: its first message is a `sync:request` with its name. It has been sent the
    /// document and has said so.
    pub fn editor(server: &Server, session: &str, user: &str) -> Self {
        let mut editor = Self::knock(server, session, user);
        let ack = editor.expect("connection:ack");
        editor.greeting.push(ack);
        editor.send(json!({"type": "sync:request", "user_id": user}));
        editor.arrive();
        let told = editor.told();
        editor.greeting.extend(told);
        editor
    }

    /// Everything that is on its way to it: sends something that passes through the hub and is refused
    /// there, which changes nothing. A `ping` would prove less: it doesn't get as far as that.
    pub fn told(&mut self) -> Vec<Value> {
        self.send(json!({"type": "sync:full_state", "state": "none"}));
        let mut told = Vec::new();
        loop {
            match self.next() {
                error if error["error_type"] == "bad_state" => return told,
                message => told.push(message),
            }
        }
    }

    /// The same of commands: action and item. There has to be nothing else.
    pub fn told_commands(&mut self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let command = |message: Value| {
            assert_eq!(message["type"], "command", "{message}");
            (text(&message["command"]["action"]), text(&message["command"]["item_id"]))
        };
        self.told().into_iter().map(command).collect()
    }

    /// Several who join one after the other, with nothing left to read for any of them.
    pub fn join_all<const N: usize>(server: &Server, session: &str, users: [&str; N]) -> [Self; N] {
        let mut joined: Vec<Client> = Vec::new();
        for user in users {
            let newcomer = Self::join(server, session, user);
            for earlier in &mut joined {
                assert_eq!(earlier.expect("user:joined")["user_id"], user);
            }
            joined.push(newcomer);
        }
        joined.try_into().ok().expect("as many as were named")
    }

    /// An editor that shares its canvas: it asks on the ack, and answers its own `user:joined` with its
    /// items before the Ping. What comes next is the answer to its request, and what it is told of them.
    pub fn host(server: &Server, session: &str, user: &str, items: Value) -> Self {
        let mut host = Self::knock(server, session, user);
        let ack = host.expect("connection:ack");
        host.send(json!({"type": "sync:request", "user_id": user}));
        let joined = host.expect("user:joined");
        host.send(full_state(items, Some(user)));
        host.greeting = vec![ack, joined];
        host.arrive();
        host
    }

    /// Reads up to the Ping, and answers it.
    pub fn arrive(&mut self) {
        loop {
            match self.read("the Ping") {
                Message::Text(text) => self.greeting.push(parsed(&text)),
                Message::Ping(_) => return self.socket.flush().expect("the server reads"),
                other => panic!("{}: {other:?} instead of the Ping", self.name),
            }
        }
    }

    /// The `connection:ack` it was greeted with.
    pub fn ack(&self) -> &Value {
        let ack = self.greeting.first().expect("a greeting");
        assert_eq!(ack["type"], "connection:ack");
        ack
    }

    pub fn send(&mut self, message: Value) {
        self.send_text(&message.to_string());
    }

    /// Sends a text that has to arrive as it is written here.
    pub fn send_text(&mut self, text: &str) {
        self.send_frame(Message::text(text));
    }

    pub fn send_frame(&mut self, message: Message) {
        self.socket.send(message).expect("the server reads");
    }

    /// The next message as it was written.
    pub fn next_text(&mut self) -> String {
        loop {
            match self.read("a message") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) => {}
                other => panic!("{}: {other:?} instead of a message", self.name),
            }
        }
    }

    /// The next message.
    pub fn next(&mut self) -> Value {
        parsed(&self.next_text())
    }

    /// The next message, which has to be of this type.
    pub fn expect(&mut self, kind: &str) -> Value {
        let message = self.next();
        assert_eq!(message["type"], kind, "{}: {message}", self.name);
        message
    }

    /// The next message, which has to be a command; returns it and its inner `command`.
    pub fn expect_command(&mut self, action: &str, item: &str) -> Value {
        let message = self.expect("command");
        let command = &message["command"];
        assert_eq!(
            (&command["action"], &command["item_id"]),
            (&json!(action), &json!(item)),
            "{}: {message}",
            self.name
        );
        message
    }

    /// The next message, which has to be an error of this kind.
    pub fn expect_error(&mut self, error_type: &str) -> Value {
        let message = self.expect("error");
        assert_eq!(message["error_type"], error_type, "{}: {message}", self.name);
        message
    }

    /// Asks for the document and returns the `state` of the answer. For servers that don't settle.
    pub fn document(&mut self) -> Value {
        self.send(json!({"type": "sync:request"}));
        self.expect("sync:state")["state"].take()
    }

    /// The same where other messages come before and after.
    pub fn told_document(&mut self) -> Value {
        self.told();
        self.send(json!({"type": "sync:request"}));
        let mut told = self.told();
        let state = told.iter_mut().find(|message| message["type"] == "sync:state");
        state.expect("an answer")["state"].take()
    }

    /// The document's items.
    pub fn items(&mut self) -> Vec<Value> {
        let mut document = self.document();
        serde_json::from_value(document["items"].take()).expect("a list of items")
    }

    /// The next frame has to be a close; answers it and waits for the connection's end.
    pub fn closed(&mut self) -> (u16, String) {
        let close = loop {
            match self.read("a close") {
                Message::Close(Some(close)) => break (close.code.into(), close.reason.to_string()),
                Message::Ping(_) => {}
                other => panic!("{}: {other:?} instead of a close", self.name),
            }
        };
        match self.socket.read() {
            Err(Error::ConnectionClosed) => close,
            other => panic!("{}: {other:?} after the close", self.name),
        }
    }

    /// Reads and forgets messages up to the close.
    pub fn closed_after_all(&mut self) -> (u16, String) {
        loop {
            match self.read("a close") {
                Message::Close(close) => {
                    let close = close.expect("a code");
                    return (close.code.into(), close.reason.to_string());
                }
                Message::Text(_) | Message::Ping(_) => {}
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }

    /// Closes with this code and reason and returns the server's answer.
    pub fn close(&mut self, code: u16, reason: &str) -> (u16, String) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.socket.close(Some(frame)).expect("the server reads");
        self.closed()
    }

    /// Leaves in order. The server hangs up after it has told the session, so that whoever joins
    /// next doesn't find this member there.
    pub fn leave(mut self) {
        assert_eq!(self.close(1000, "").0, 1000);
    }

    /// Loses the connection without a word.
    pub fn vanish(self) {}

    fn read(&mut self, wanted: &str) -> Message {
        match self.socket.read() {
            Ok(message) => message,
            Err(error) => panic!("{}: {error} instead of {wanted}", self.name),
        }
    }
}

/// A socket on which a signal, like the end of a server that was started elsewhere, interrupts
/// nothing.
struct Steady(TcpStream);

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A socket that takes little before somebody reads from it.
pub fn reading_slowly(server: &Server) -> TcpStream {
    reading_slowly_from(server.addr())
}

/// The same, of a server that runs in this process.
pub fn reading_slowly_from(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("a socket");
    socket.connect(&addr.into()).expect("the server accepts");
    socket.into()
}

/// Proves that nothing waits for any of a session's members, who are all of `members`: the first
/// one sends something that passes through the hub behind everything else, and it's the next that
/// each of them receives. A pong would prove less, for it doesn't pass through the hub.
pub fn nothing_more<const N: usize>(members: [&mut Client; N]) {
    static FENCES: AtomicU64 = AtomicU64::new(1);
    let id = format!("fence-{}", FENCES.fetch_add(1, Ordering::Relaxed));
    let fence = with_id(json!({"type": "command", "command": {"action": "fence"}}), id.as_str());
    for (place, member) in members.into_iter().enumerate() {
        if place == 0 {
            member.send(fence.clone());
        }
        let next = member.next();
        let kind = if place == 0 { "message_delivered" } else { "command" };
        assert_eq!(
            (&next["type"], &next["id"]),
            (&json!(kind), &json!(id)),
            "{}: {next}",
            member.name
        );
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Percent-encodes what may not stand in a path.
fn encoded(id: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    id.bytes()
        .map(
            |byte| {
                if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}
