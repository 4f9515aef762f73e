//! The connection of one user of a recording.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Error, Message};

use crate::client::websocket::is_not_ready;
use crate::client::{Target, WebSocket, Wire};

/// How long a read that doesn't wait may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server has to end a connection that has been closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many messages are read from one connection before the next one's turn comes.
const MAX_MESSAGES_AT_A_TIME: usize = 1000;

/// A user's connection. Sending never waits for the server to read.
pub struct ReplayClient {
    user: String,
    /// What the ids of this run's messages begin with.
    tag: String,
    socket: WebSocket,
}

/// A message of the server that matters here.
pub enum Reply {
    /// These users were in the session before this one.
    Ack { users: Vec<String> },
    /// The state of the document.
    State { has_items: bool },
    /// The change with this id has been applied: it was relayed, or confirmed.
    Applied(u64),
    /// The change is confirmed, which is after it was written where the server writes.
    Confirmed(u64),
    /// A message was refused; with its id, where the server names it.
    Error { id: Option<u64>, words: String },
}

/// What is read of a message.
#[derive(Deserialize)]
struct ServerMessage<'a> {
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

impl ReplayClient {
    /// Joins the session.
    pub fn join(
        target: &Target,
        addresses: &[SocketAddr],
        session: &str,
        user: &str,
        tag: &str,
    ) -> Result<Self, String> {
        let shown = target.shown();
        let (wire, _) =
            Wire::open(addresses).map_err(|why| format!("can't reach {shown}: {why}"))?;
        let socket = WebSocket::open(wire, target, &target.place(session, user), &[]);
        let socket = socket
            .map_err(|why| format!("{user:?} can't join session {session:?} of {shown}: {why}"))?;
        Ok(ReplayClient { user: user.to_owned(), tag: tag.to_owned(), socket })
    }

    /// Sends a message, a JSON object, under a number; as much of it as there is room for, the rest
    /// goes with what follows.
    pub fn send(&mut self, message: &str, number: u64) -> Result<(), String> {
        let fields = message.trim_end().strip_suffix('}').unwrap_or(message);
        // Of two ids the last one counts.
        let text = format!("{fields},\"id\":\"{}-{number}\"}}", self.tag);
        self.never_wait();
        let sent = self.socket.send(Message::text(text));
        self.unless_not_ready(sent)
    }

    /// Reads what has come so far.
    pub fn read_all(&mut self, replies: &mut Vec<Reply>) -> Result<(), String> {
        self.flush()?;
        for _ in 0..MAX_MESSAGES_AT_A_TIME {
            if !self.read(replies)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads what has come, after having waited for something at most so long.
    pub fn wait(&mut self, time: Duration, replies: &mut Vec<Reply>) -> Result<(), String> {
        // What there was no room for is what the server is to answer.
        self.flush()?;
        self.socket.wire().wait_until(Instant::now() + time.max(Duration::from_millis(1)));
        match self.read(replies)? {
            true => self.read_all(replies),
            false => Ok(()),
        }
    }

    /// Sends what there was no room for, as far as there is now.
    fn flush(&mut self) -> Result<(), String> {
        self.never_wait();
        let flushed = self.socket.flush();
        self.unless_not_ready(flushed)
    }

    fn unless_not_ready(&self, done: Result<(), Error>) -> Result<(), String> {
        match done {
            Err(error) if !is_not_ready(&error) => Err(self.lost(&error)),
            _ => Ok(()),
        }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.never_wait();
        // A server that doesn't read it sees the connection end.
        let _ = self.socket.close("replay done");
    }

    /// Waits until the server has ended the connection, which is after it has told the session.
    pub fn wait_for_end(&mut self) {
        self.socket.drain(Instant::now() + CLOSE_TIMEOUT);
    }

    fn never_wait(&mut self) {
        self.socket.wire().never_wait(Instant::now() + TIMEOUT);
    }

    /// Reads one message; `false` where there is none.
    fn read(&mut self, replies: &mut Vec<Reply>) -> Result<bool, String> {
        match self.socket.read() {
            Ok(None) => return Ok(false),
            Ok(Some(Message::Text(text))) => replies.extend(reply_in(&text, &self.tag)),
            Ok(Some(Message::Close(close))) => return Err(self.closed(close)),
            Ok(Some(_)) => {}
            Err(error) => return Err(self.lost(&error)),
        }
        Ok(true)
    }

    fn lost(&self, error: &Error) -> String {
        format!("{:?} lost its connection: {error}", self.user)
    }

    fn closed(&self, close: Option<CloseFrame>) -> String {
        let why = close.map_or("without a code".to_owned(), |close| {
            format!("with {} {:?}", close.code, close.reason.as_str())
        });
        format!("the server closed the connection of {:?} {why}", self.user)
    }
}

/// What a message says that matters.
fn reply_in(text: &str, tag: &str) -> Option<Reply> {
    let message: ServerMessage<'_> = serde_json::from_str(text).ok()?;
    let id = message.id.and_then(|id| own_id(id.get(), tag));
    match &*message.kind {
        "message_delivered" => id.map(Reply::Confirmed),
        "command" => id.map(Reply::Applied),
        "connection:ack" => {
            Some(Reply::Ack { users: message.users.into_iter().map(|user| user.user_id).collect() })
        }
        "sync:state" => {
            let state = message.state.and_then(|state| serde_json::from_str(state.get()).ok());
            let has_items = state.is_some_and(|state: State<'_>| !state.items.is_empty());
            Some(Reply::State { has_items })
        }
        "error" => {
            let kind = message.error_type.unwrap_or_default();
            let text = message.message.unwrap_or_default();
            // Anything may be in it.
            let words = format!("{kind}: {text}").escape_debug().to_string();
            Some(Reply::Error { id, words })
        }
        _ => None,
    }
}

/// The number of a message of this run.
fn own_id(json: &str, tag: &str) -> Option<u64> {
    let id: String = serde_json::from_str(json).ok()?;
    id.strip_prefix(tag)?.strip_prefix('-')?.parse().ok()
}

/// What has been sent and not yet been answered, by number.
#[derive(Default)]
pub struct PendingChanges {
    /// Not yet seen to be applied.
    pub not_applied: HashSet<u64>,
    /// Not yet confirmed.
    pub not_confirmed: HashSet<u64>,
}

impl PendingChanges {
    pub fn sent(&mut self, id: u64) {
        self.not_applied.insert(id);
        self.not_confirmed.insert(id);
    }

    pub fn applied(&mut self, id: u64) {
        self.not_applied.remove(&id);
    }

    pub fn answered(&mut self, id: u64) {
        self.not_applied.remove(&id);
        self.not_confirmed.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use super::*;

    /// A message that doesn't fit into the socket arrives whole from a client that only waits for its answer.
    #[test]
    fn a_message_larger_than_the_socket_takes_is_sent_while_its_answer_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sent, is_sent) = channel();
        let server = std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a client");
            let mut socket = tungstenite::accept(socket).expect("a WebSocket");
            is_sent.recv().expect("it was sent");
            let length = socket.read().expect("the message").len();
            let answer = r#"{"type":"message_delivered","id":"tag-1"}"#;
            socket.send(Message::text(answer)).expect("answered");
            // It stays open until the client has read the answer.
            (length, socket)
        });
        let target = Target::parse(&address.to_string()).expect("a server");
        let joined = ReplayClient::join(&target, &[address], "table", "alice", "tag");
        let mut client = joined.expect("joined");
        let message = format!("{{\"type\":\"command\",\"text\":\"{}\"}}", "x".repeat(12 << 20));
        client.send(&message, 1).expect("sent");
        sent.send(()).expect("the server waits");
        let mut replies = Vec::new();
        let until = Instant::now() + TIMEOUT;
        while replies.is_empty() && Instant::now() < until {
            client.wait(Duration::from_millis(5), &mut replies).expect("connected");
        }
        assert!(matches!(replies[..], [Reply::Confirmed(1)]));
        let (length, _socket) = server.join().expect("no panic");
        assert!(length > message.len());
    }
}
