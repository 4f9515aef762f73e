//! A bug of ours ends the connection it is met on, with an apology, and nothing else: the other
//! members go on with a canvas that is right.
//!
//! The server is run in this process with a hub and a client's thread that panic when they hear
//! certain words, because the real ones don't.

use std::net::TcpStream;
use std::time::Duration;

use collabd::auth::KeyStore;
use collabd::http::Request;
use collabd::hub::{ConnId, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits, Time};
use collabd::net::service::{ConnectionHandler, Incoming, Outcome, Reaction, Requester, Service};
use collabd::net::{
    Config, ConnectionLimits, RateLimits, SendMode, ServerHandle, StateMachine, bind, start,
};
use collabd::protocol::Frame;
use collabd::protocol::inbound::ClientMessage;
use collabd::routes::Router;
use serde_json::Value;
use tungstenite::{Message, WebSocket};

struct FragileService(Router);
struct FragileHandler(Box<dyn ConnectionHandler>);
struct FragileHub(Hub);

impl Service for FragileService {
    fn answer(&self, request: &Request<'_>, from: Requester, conn: ConnId) -> Outcome {
        match self.0.answer(request, from, conn) {
            Outcome::Upgrade(guest) => Outcome::Upgrade(Box::new(FragileHandler(guest))),
            other => other,
        }
    }
}

impl ConnectionHandler for FragileHandler {
    fn join(&self, conn: ConnId) -> Option<Event> {
        self.0.join(conn)
    }

    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        let is_trap = matches!(heard, Incoming::Text(text) if text.contains("trap for the thread"));
        assert!(!is_trap, "on purpose");
        self.0.on_message(conn, heard)
    }

    fn internal_error(&self) -> Option<Frame> {
        self.0.internal_error()
    }

    fn user(&self) -> &str {
        self.0.user()
    }

    fn target(&self) -> String {
        self.0.target()
    }
}

impl StateMachine for FragileHub {
    /// Handles the event whole before it panics, and loses the effects: the worst case.
    fn handle(&mut self, event: Event, now: Time, effects: &mut Vec<Effect>) {
        let is_trap = match &event {
            Event::Message { message: ClientMessage::Command(command), .. } => {
                command.body.head().windows(4).any(|window| window == b"trap")
            }
            _ => false,
        };
        self.0.handle(event, now, effects);
        assert!(!is_trap, "on purpose");
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.0.next_deadline()
    }
}

fn serve() -> ServerHandle {
    let config = Config {
        room: ConnectionLimits { connections: 0, per_address: 0 },
        rate: RateLimits { messages: 0, bytes: 0 },
        idle_timeout: None,
        trusted_proxies: Vec::new(),
        silence: Duration::from_secs(90),
        handshake_timeout: Some(Duration::from_secs(10)),
        max_message_bytes: 1 << 20,
        queue_bytes: Some(8 << 20),
        send_mode: SendMode::NonBlocking,
    };
    let limits = Limits {
        linger: Duration::from_secs(600),
        max_sessions: 0,
        max_channels: 0,
        document: DocumentBounds { item: 1 << 20, document: 1 << 22 },
        documents_memory: 0,
        history: HistoryBounds { changes: 100, bytes: 1 << 20 },
        settle: false,
        durable: false,
    };
    let listener = bind("127.0.0.1", 0).expect("a free port");
    let router = Router::new(KeyStore::open(None, false).expect("no file"));
    let hub = FragileHub(Hub::new(limits, 1));
    start(listener, config, Box::new(FragileService(router)), Box::new(hub)).expect("threads")
}

type Client = WebSocket<TcpStream>;

fn join(server: &ServerHandle, user: &str) -> Client {
    let stream = TcpStream::connect(server.addr()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let url = format!("ws://{}/ws/bench/{user}", server.addr());
    tungstenite::client(url, stream).expect("it is a session").0
}

fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).expect("the server reads");
}

/// Reads up to a message of this type.
fn hear(client: &mut Client, kind: &str) -> Value {
    loop {
        if let Message::Text(text) = client.read().expect("the connection lives") {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["type"] == kind {
                return message;
            }
        }
    }
}

fn close_code(client: &mut Client) -> u16 {
    match client.read().expect("a close comes first") {
        Message::Close(Some(frame)) => frame.code.into(),
        other => panic!("{other:?} instead of a close"),
    }
}

#[test]
fn a_panic_in_a_clients_thread_ends_that_connection_alone() {
    let server = serve();
    let (mut alice, mut bob) = (join(&server, "alice"), join(&server, "bob"));
    hear(&mut alice, "user:joined");
    hear(&mut bob, "user:joined");
    say(&mut bob, r#"{"type":"chat","text":"trap for the thread"}"#);
    let apology = hear(&mut bob, "error");
    assert_eq!((&apology["error_type"], &apology["code"]), (&"server_error".into(), &500.into()));
    assert_eq!(close_code(&mut bob), 1011);
    assert_eq!(hear(&mut alice, "user:left")["user_id"], "bob");
    let mut carol = join(&server, "carol");
    say(&mut alice, r#"{"type":"chat","text":"still here"}"#);
    assert_eq!(hear(&mut carol, "chat")["text"], "still here");
    assert!(server.stop().is_empty());
}

#[test]
fn a_panic_in_the_hub_ends_the_sender_and_the_others_are_told_the_state() {
    let server = serve();
    let (mut alice, mut bob) = (join(&server, "alice"), join(&server, "bob"));
    // It is heard behind what has made the server know her.
    say(&mut alice, r#"{"type":"chat"}"#);
    hear(&mut bob, "chat");
    let add = r#"{"type":"command","command":{"action":"add_item","item_id":"trap","data":{}}}"#;
    say(&mut bob, add);
    assert_eq!(hear(&mut bob, "error")["error_type"], "server_error");
    assert_eq!(close_code(&mut bob), 1011);
    // The command was applied before the panic, and its relay was lost with it.
    let state = hear(&mut alice, "sync:state");
    assert_eq!(state["state"]["items"][0]["uuid"], "trap");
    assert_eq!(hear(&mut alice, "user:left")["user_id"], "bob");
    let mut carol = join(&server, "carol");
    assert_eq!(hear(&mut carol, "sync:state")["state"]["items"][0]["uuid"], "trap");
    assert!(server.stop().is_empty());
}
