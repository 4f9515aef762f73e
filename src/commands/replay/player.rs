//! A user of a recording on a connection of its own, which never waits.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::commands::check::target::Target;

/// How long the server has to let somebody in.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it has to see somebody off.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many messages are read at most before somebody else's turn comes.
const AT_A_TIME: usize = 1000;

/// See the module's text.
pub struct Player {
    user: String,
    /// What the ids of this run's messages begin with.
    tag: String,
    socket: WebSocket<Quiet>,
}

/// What the server said that matters.
pub enum Heard {
    /// In the session are these, and this one.
    Ack { users: Vec<String> },
    /// The document has items, or it hasn't.
    State { has_items: bool },
    /// The change with this id has been applied: it was relayed, or confirmed.
    Applied(u64),
    /// And written, if the server writes.
    Confirmed(u64),
    /// Something was refused; with its id, if it said so.
    Error { id: Option<u64>, words: String },
}

/// What is read of a message.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    message: Option<String>,
    error_type: Option<String>,
    #[serde(default)]
    users: Vec<Member>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Member {
    user_id: String,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

/// Finds the server.
///
/// # Errors
/// One line.
pub fn addresses(target: &Target) -> Result<Vec<SocketAddr>, String> {
    let found = (target.host.as_str(), target.port).to_socket_addrs();
    let found = found.map_err(|error| format!("can't find {}: {error}", target.host))?;
    Ok(found.collect())
}

impl Player {
    /// Comes into the session.
    ///
    /// # Errors
    /// One line, which shows no key.
    pub fn enter(
        target: &Target,
        addresses: &[SocketAddr],
        session: &str,
        user: &str,
        tag: &str,
    ) -> Result<Self, String> {
        let shown = target.shown();
        let mut failure = format!("{shown} has no address");
        let mut connected = None;
        for address in addresses {
            match TcpStream::connect_timeout(address, PATIENCE) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => {
                    failure = format!("can't reach {shown}: {error}: is a server running there?");
                }
            }
        }
        let stream = connected.ok_or(failure)?;
        let prepared = stream.set_nodelay(true).and_then(|()| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))
        });
        prepared.map_err(|error| format!("can't use a connection to {shown}: {error}"))?;
        let url = format!("ws://{}{}", target.host_header(), target.place(session, user));
        let (socket, _) = tungstenite::client(url, Quiet(stream)).map_err(|error| {
            let why = match error {
                HandshakeError::Failure(Error::Http(answer)) => {
                    let body = answer.body().as_deref().unwrap_or_default();
                    let body = String::from_utf8_lossy(body);
                    format!("{}: {}", answer.status(), body.trim().escape_debug())
                }
                HandshakeError::Failure(error) => error.to_string(),
                HandshakeError::Interrupted(_) => "it doesn't answer".to_owned(),
            };
            format!("{shown} doesn't let {user:?} into session {session:?}: {why}")
        })?;
        let player = Player { user: user.to_owned(), tag: tag.to_owned(), socket };
        player.wait_at_most(None)?;
        Ok(player)
    }

    /// How long a read waits: not at all, unless it is said.
    fn wait_at_most(&self, time: Option<Duration>) -> Result<(), String> {
        let stream = &self.socket.get_ref().0;
        let set = stream
            .set_nonblocking(time.is_none())
            .and_then(|()| time.map_or(Ok(()), |_| stream.set_read_timeout(time)));
        set.map_err(|error| format!("{:?} lost its connection: {error}", self.user))
    }

    /// Sends a message, a JSON object, under a number; as much of it as there is room for, the rest
    /// goes with what follows.
    ///
    /// # Errors
    /// One line, when the connection has ended.
    pub fn send(&mut self, message: &str, number: u64) -> Result<(), String> {
        let fields = message.trim_end().strip_suffix('}').unwrap_or(message);
        // Of two ids the last one counts.
        let text = format!("{fields},\"id\":\"{}-{number}\"}}", self.tag);
        let sent = self.socket.write(Message::text(text)).and_then(|()| self.socket.flush());
        self.unless_it_waits(sent).map(|_| ())
    }

    /// What has come so far.
    ///
    /// # Errors
    /// One line, when the connection has ended.
    pub fn hear(&mut self, heard: &mut Vec<Heard>) -> Result<(), String> {
        let flushed = self.socket.flush();
        self.unless_it_waits(flushed)?;
        for _ in 0..AT_A_TIME {
            let read = self.socket.read();
            match self.unless_it_waits(read)? {
                None => break,
                Some(Message::Text(text)) => heard.extend(understood(&text, &self.tag)),
                Some(Message::Close(close)) => return Err(self.closed(close)),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The same, after having waited for something at most so long.
    ///
    /// # Errors
    /// One line, when the connection has ended.
    pub fn wait(&mut self, time: Duration, heard: &mut Vec<Heard>) -> Result<(), String> {
        self.wait_at_most(Some(time.max(Duration::from_millis(1))))?;
        let read = self.socket.read();
        let read = self.unless_it_waits(read);
        self.wait_at_most(None)?;
        match read? {
            None => return Ok(()),
            Some(Message::Text(text)) => heard.extend(understood(&text, &self.tag)),
            Some(Message::Close(close)) => return Err(self.closed(close)),
            Some(_) => {}
        }
        self.hear(heard)
    }

    /// Leaves in order.
    pub fn leave(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "replay done".into() };
        // Whoever doesn't hear it sees the connection end.
        let _ = self.socket.close(Some(frame)).and_then(|()| self.socket.flush());
    }

    /// Waits until the server has hung up, which is after it has told the session.
    pub fn left(&mut self) {
        let until = Instant::now() + FAREWELL;
        if self.wait_at_most(Some(FAREWELL)).is_err() {
            return;
        }
        while Instant::now() < until && self.socket.read().is_ok() {}
    }

    fn unless_it_waits<T>(&self, done: Result<T, Error>) -> Result<Option<T>, String> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Err(error) => Err(format!("{:?} lost its connection: {error}", self.user)),
        }
    }

    fn closed(&self, close: Option<CloseFrame>) -> String {
        let why = close.map_or("without a code".to_owned(), |close| {
            format!("with {} {:?}", close.code, close.reason.as_str())
        });
        format!("the server closed the connection of {:?} {why}", self.user)
    }
}

/// What a message says that matters.
fn understood(text: &str, tag: &str) -> Option<Heard> {
    let said: Said<'_> = serde_json::from_str(text).ok()?;
    let id = said.id.and_then(|id| own_id(id.get(), tag));
    match &*said.kind {
        "message_delivered" => id.map(Heard::Confirmed),
        "command" => id.map(Heard::Applied),
        "connection:ack" => {
            Some(Heard::Ack { users: said.users.into_iter().map(|user| user.user_id).collect() })
        }
        "sync:state" => {
            let state = said.state.and_then(|state| serde_json::from_str(state.get()).ok());
            let has_items = state.is_some_and(|state: State<'_>| !state.items.is_empty());
            Some(Heard::State { has_items })
        }
        "error" => {
            let kind = said.error_type.unwrap_or_default();
            let message = said.message.unwrap_or_default();
            // Anything may be in it.
            let words = format!("{kind}: {message}").escape_debug().to_string();
            Some(Heard::Error { id, words })
        }
        _ => None,
    }
}

/// The number of a message of this run.
fn own_id(json: &str, tag: &str) -> Option<u64> {
    let id: String = serde_json::from_str(json).ok()?;
    id.strip_prefix(tag)?.strip_prefix('-')?.parse().ok()
}

/// A socket on which a signal interrupts nothing.
struct Quiet(TcpStream);

impl Read for Quiet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Quiet {
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

/// What has been sent and not yet been answered, by number.
#[derive(Default)]
pub struct Open {
    /// Not yet seen to be applied.
    pub applied: HashSet<u64>,
    /// Not yet confirmed.
    pub confirmed: HashSet<u64>,
}

impl Open {
    pub fn sent(&mut self, id: u64) {
        self.applied.insert(id);
        self.confirmed.insert(id);
    }

    pub fn applied(&mut self, id: u64) {
        self.applied.remove(&id);
    }

    pub fn answered(&mut self, id: u64) {
        self.applied.remove(&id);
        self.confirmed.remove(&id);
    }
}
