//! What every service can count on, whatever it serves: questions for the hub, a watch on the
//! outside, an end for who is too fast, and the client's address behind a proxy.
//!
//! The server is run in this process with a service and a hub that do each of them on request.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use collabd::http::{Request, Response as Page};
use collabd::hub::{ConnId, Effect, Event, Time};
use collabd::net::service::{
    ConnectionHandler, HubClient, Incoming, Outcome, Reaction, Report, Requester, Service, Work,
    WorkFn,
};
use collabd::net::{
    Config, ConnectionLimits, RateLimits, SendMode, ServerHandle, StateMachine, bind, start,
};
use collabd::protocol::Frame;
use tungstenite::{Message, WebSocket};

use crate::support::{Response, SAFETY_NET, Wire, reading_slowly_from};

/// Answers by the path it is asked for.
struct Probe {
    is_watching: bool,
    looks: AtomicU32,
}

/// The question of a request.
fn question(conn: ConnId, path: &str) -> Event {
    Event::Details { conn, session: path.into(), grant: None }
}

struct Voice {
    is_limited: bool,
}

impl Service for Probe {
    fn answer(&self, request: &Request<'_>, from: Requester, conn: ConnId) -> Outcome {
        match request.path {
            "/from" => Outcome::Page(Page::page("text/plain", from.address.to_string())),
            "/large" => Outcome::Page(Page::page("text/plain", vec![b'x'; 32 << 20])),
            "/looks" => {
                let looks = self.looks.load(Ordering::Relaxed);
                Outcome::Page(Page::page("text/plain", looks.to_string()))
            }
            "/healthz" => Outcome::Report(Report::Health),
            "/metrics" => Outcome::Report(Report::Metrics),
            "/connections" => Outcome::Report(Report::Connections),
            "/bug" => panic!("on purpose"),
            path if path.starts_with("/work/") => {
                let path = path["/work".len()..].to_owned();
                let act: Box<WorkFn> =
                    Box::new(move |body, inside| work(conn, &path, body, inside));
                Outcome::Work(Work { body: if request.method == "PUT" { 100 } else { 0 }, act })
            }
            "/limited" => Outcome::Upgrade(Box::new(Voice { is_limited: true })),
            "/free" => Outcome::Upgrade(Box::new(Voice { is_limited: false })),
            path => Outcome::Ask(question(conn, path)),
        }
    }

    /// Sees something at every look but the second, which fails.
    fn watch(&self) -> Option<Event> {
        if !self.is_watching {
            return None;
        }
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        assert!(look != 1, "on purpose");
        Some(Event::SnapshotRequested { session: format!("look {look}").into() })
    }
}

/// What is worked on, by the path it is asked for.
fn work(conn: ConnId, path: &str, body: Vec<u8>, inside: &dyn HubClient) -> Page {
    match path {
        "/bug" => panic!("on purpose"),
        "/huge" => Page::page("text/plain", vec![b'x'; 8 << 20]),
        "/endless" => {
            while !inside.is_stopping() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Page::text(503, "it was cut short")
        }
        path => match inside.change(question(conn, path)) {
            Ok(told) => Page::page("text/plain", [body, told].concat()),
            Err(why) => why.page(),
        },
    }
}

impl ConnectionHandler for Voice {
    fn join(&self, conn: ConnId) -> Option<Event> {
        Some(Event::ConnectClient { conn, client: "somebody".into(), debug: false })
    }

    fn on_message(&mut self, conn: ConnId, heard: Incoming<'_>) -> Reaction {
        match heard {
            Incoming::Text(text) => Reaction::Event(Event::Pong { conn, payload: text.into() }),
            _ => Reaction::Nothing,
        }
    }

    fn overrun_close(&self) -> Option<(u16, &'static str)> {
        self.is_limited.then_some((4001, "rate limit exceeded"))
    }

    fn internal_error(&self) -> Option<Frame> {
        None
    }

    fn user(&self) -> &str {
        "somebody"
    }

    fn target(&self) -> String {
        "here".into()
    }
}

/// In the hub's place: what is said goes to everyone.
struct Desk {
    members: Vec<ConnId>,
    gone: Vec<ConnId>,
    unanswered: Vec<ConnId>,
    /// Told when it is stuck, and by whom it is freed.
    stuck: Sender<()>,
    freed: Receiver<()>,
}

impl Desk {
    fn tell_all(&self, text: &str, effects: &mut Vec<Effect>) {
        let frame = Frame::text(text);
        let send = |&conn| Effect::Send { conn, frame: frame.clone(), supersedes: None };
        effects.extend(self.members.iter().map(send));
    }
}

impl StateMachine for Desk {
    fn handle(&mut self, event: Event, _now: Time, effects: &mut Vec<Effect>) {
        match event {
            Event::ConnectClient { conn, .. } => {
                effects.push(Effect::Admit { conn });
                self.members.push(conn);
            }
            Event::Details { conn, session: path, .. } => match &*path {
                "/never" => self.unanswered.push(conn),
                "/late" => {
                    let late = self.unanswered.drain(..).chain([conn]);
                    effects.extend(late.map(|conn| Effect::Answer { conn, body: b"{}".into() }));
                }
                "/stuck" => {
                    let _ = self.stuck.send(());
                    let _ = self.freed.recv();
                }
                "/huge" => effects.push(Effect::Answer { conn, body: vec![b' '; 8 << 20] }),
                "/panic" => panic!("on purpose"),
                "/gone" => {
                    let body = format!(r#"{{"gone":{}}}"#, self.gone.len()).into_bytes();
                    effects.push(Effect::Answer { conn, body });
                }
                _ => effects.push(Effect::Answer { conn, body: br#"{"answer":42}"#.into() }),
            },
            Event::Pong { payload, .. } => {
                self.tell_all(&String::from_utf8_lossy(&payload), effects);
            }
            Event::SnapshotRequested { session: seen } => self.tell_all(&seen, effects),
            Event::Disconnected { conn } => {
                self.members.retain(|member| *member != conn);
                self.gone.push(conn);
            }
            Event::Failed { conn } => {
                let reason = "internal server error";
                effects.push(Effect::Close { conn, code: 1011, reason });
            }
            _ => {}
        }
    }
}

struct Running {
    server: ServerHandle,
    stuck: Receiver<()>,
    free: Sender<()>,
}

impl Running {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::watching(false, change)
    }

    fn watching(is_watching: bool, change: impl FnOnce(&mut Config)) -> Self {
        let writer_threads = std::env::var("STORIES_WITH_WRITER_THREADS").is_ok_and(|on| on == "1");
        let mut config = Config {
            room: ConnectionLimits { connections: 0, per_address: 0 },
            trusted_proxies: Vec::new(),
            silence: Duration::from_secs(90),
            rate: RateLimits { messages: 0, bytes: 0 },
            idle_timeout: None,
            handshake_timeout: Some(Duration::from_secs(10)),
            max_message_bytes: 1 << 20,
            queue_bytes: Some(8 << 20),
            send_mode: if writer_threads { SendMode::WriterThread } else { SendMode::NonBlocking },
        };
        change(&mut config);
        let (tell, stuck) = channel();
        let (free, freed) = channel();
        let (members, gone, unanswered) = (Vec::new(), Vec::new(), Vec::new());
        let desk = Desk { members, gone, unanswered, stuck: tell, freed };
        let probe = Probe { is_watching, looks: AtomicU32::new(0) };
        let listener = bind("127.0.0.1", 0).expect("a free port");
        let server = start(listener, config, Box::new(probe), Box::new(desk)).expect("threads");
        Running { server, stuck, free }
    }

    fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "")
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> Response {
        let mut wire = self.asking(method, path, headers);
        wire.refusal()
    }

    /// Asks and doesn't wait for the answer.
    fn asking(&self, method: &str, path: &str, headers: &str) -> Wire {
        let mut wire = Wire::open_to(self.addr());
        wire.write(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        wire
    }

    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.addr()).expect("it listens");
        stream.set_read_timeout(Some(SAFETY_NET)).expect("a socket");
        let url = format!("ws://{}{path}", self.addr());
        tungstenite::client(url, stream).expect("it is a WebSocket").0
    }

    fn stop(self) {
        assert!(self.server.stop().is_empty(), "every thread has ended");
    }
}

fn text(socket: &mut WebSocket<TcpStream>) -> String {
    match socket.read().expect("a message") {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?} instead of a text"),
    }
}

fn close(message: Message) -> (u16, String) {
    match message {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("{other:?} instead of a close"),
    }
}

#[test]
fn a_question_is_answered_by_the_hub() {
    let running = Running::start(|_| {});
    for _ in 0..3 {
        let answer = running.get("/ask");
        assert_eq!((answer.status, &*answer.body), (200, r#"{"answer":42}"#));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("content-length"), Some("13"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let head = running.ask("HEAD", "/ask", "");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(head.header("content-length"), Some("13"));
    assert_eq!(running.get("/looks").body, "0", "nobody asked for a watch");
    running.stop();
}

#[test]
fn a_question_without_an_answer_is_503_and_then_forgotten() {
    let running = Running::start(|_| {});
    let refused = running.get("/never");
    assert_eq!(
        (refused.status, &*refused.body),
        (503, "the server is busy: try again\n"),
        "and it comes at all"
    );
    // Whoever asked has ended for the hub, too; an answer that comes now is nobody's.
    let began = Instant::now();
    while running.get("/gone").body == r#"{"gone":0}"# {
        assert!(began.elapsed() < SAFETY_NET, "it is told");
    }
    assert_eq!(running.get("/late").status, 200);
    running.stop();
}

/// Whoever reads slowly is in nobody's way: small answers find room, and a large one takes that of the
/// slowest.
#[test]
fn forty_slow_readers_starve_nobody() {
    for path in ["/huge", "/work/huge"] {
        let running = Running::start(|_| {});
        let mut slow: Vec<Wire> =
            (0..40).map(|_| Wire::on(reading_slowly_from(running.addr()))).collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut taken = 0;
        for wire in &mut slow {
            wire.write(&request);
            taken += usize::from(wire.head().status == 200);
        }
        assert!(taken >= 8, "{taken} of 40: what there is room for in memory");
        for small in ["/ask", "/work/ask", "/connections", "/metrics"] {
            assert_eq!(running.get(small).status, 200, "{small} while {path} is not read");
        }
        let began = Instant::now();
        while running.get(path).status != 200 {
            assert!(began.elapsed() < SAFETY_NET, "one of them makes way");
        }
        running.stop();
    }
}

#[test]
fn what_is_worked_on_has_its_body_and_may_ask_the_hub() {
    let running = Running::start(|_| {});
    let mut wire = running.asking("PUT", "/work/ask", "Content-Length: 5\r\n");
    wire.write("he");
    wire.write("llo and more");
    let answer = wire.refusal();
    assert_eq!((answer.status, &*answer.body), (200, r#"hello{"answer":42}"#));
    assert_eq!(running.get("/work/ask").body, r#"{"answer":42}"#);
    assert_eq!(running.get("/work/bug").status, 500);
    for (headers, status) in [("", 411), ("Content-Length: 101\r\n", 413)] {
        assert_eq!(running.ask("PUT", "/work/ask", headers).status, status);
    }
    // The hub is told that whoever asked is gone.
    let began = Instant::now();
    while running.get("/gone").body == r#"{"gone":0}"# {
        assert!(began.elapsed() < SAFETY_NET, "it is told");
    }
    running.stop();
}

/// Whoever has something worked on is in nobody's way who asks the hub.
#[test]
fn a_few_are_worked_on_at_a_time() {
    let running = Running::start(|_| {});
    let mut begun: Vec<Wire> = (0..8)
        .map(|_| {
            let headers = "Content-Length: 1\r\nExpect: 100-continue\r\n";
            running.asking("PUT", "/work/ask", headers)
        })
        .collect();
    // Whoever is asked for its body has its turn.
    begun.iter_mut().for_each(|wire| assert_eq!(wire.head().status, 100));
    let refused = running.get("/work/ask");
    assert_eq!((refused.status, &*refused.body), (503, "the server is busy: try again\n"));
    assert_eq!(running.get("/ask").status, 200);
    for wire in &mut begun {
        wire.write("x");
        assert_eq!(wire.refusal().status, 200);
    }
    assert_eq!(running.get("/work/ask").status, 200, "there is room again");
    running.stop();
}

#[test]
fn what_is_worked_on_ends_when_the_server_stops() {
    let running = Running::start(|_| {});
    let begun = ["/work/never", "/work/endless"].map(|path| {
        let mut wire = running.asking("PUT", path, "Content-Length: 1\r\nExpect: 100-continue\r\n");
        assert_eq!(wire.head().status, 100);
        wire.write("x");
        wire
    });
    running.stop();
    drop(begun);
}

#[test]
fn a_stuck_hub_holds_up_nobody_who_asks() {
    let running = Running::start(|_| {});
    let mut first = running.asking("GET", "/stuck", "");
    running.stuck.recv_timeout(SAFETY_NET).expect("it is stuck");
    // More than the hub's event queue holds.
    let mut others: Vec<Wire> = (0..300).map(|_| running.asking("GET", "/ask", "")).collect();
    for wire in [&mut first].into_iter().chain(&mut others) {
        let refused = wire.refusal();
        assert_eq!((refused.status, &*refused.body), (503, "the server is busy: try again\n"));
    }
    drop(others);
    running.free.send(()).expect("it waits for this");
    let began = Instant::now();
    while running.get("/ask").status != 200 {
        assert!(began.elapsed() < SAFETY_NET, "it answers again");
    }
    running.stop();
}

#[test]
fn the_server_reports_on_itself_while_the_hub_is_stuck() {
    let running = Running::start(|_| {});
    assert_eq!((running.get("/healthz").status, &*running.get("/healthz").body), (200, "ok\n"));
    let mut first = running.asking("GET", "/stuck", "");
    running.stuck.recv_timeout(SAFETY_NET).expect("it is stuck");
    let began = Instant::now();
    let unwell = loop {
        let health = running.get("/healthz");
        if health.status != 200 {
            break health;
        }
        assert!(began.elapsed() < SAFETY_NET, "it is noticed");
    };
    assert_eq!((unwell.status, unwell.body.lines().count()), (503, 1), "{unwell:?}");
    assert!(unwell.body.contains("the hub has not finished"), "{unwell:?}");
    for path in ["/metrics", "/connections"] {
        assert_eq!(running.get(path).status, 200, "{path}");
    }
    assert_eq!(first.refusal().status, 503);
    running.free.send(()).expect("it waits for this");
    while running.get("/healthz").status != 200 {
        assert!(began.elapsed() < SAFETY_NET, "it is well again");
    }
    running.stop();
}

/// A kept connection's questions are told apart, whatever became of the one before.
#[test]
fn one_connection_asks_question_after_question() {
    let running = Running::start(|_| {});
    let mut wire = running.asking("GET", "/ask", "");
    for _ in 0..50 {
        assert_eq!(wire.answer().body, r#"{"answer":42}"#);
        wire.write("GET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    assert_eq!(wire.answer().body, r#"{"answer":42}"#);
    wire.write(
        "GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(wire.answer().body.len(), 8 << 20);
    assert_eq!(wire.answer().body, r#"{"answer":42}"#);
    // One that isn't answered in time is the last.
    wire.write("GET /never HTTP/1.1\r\nHost: localhost\r\n\r\nGET /late HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let refused = wire.refusal();
    assert_eq!((refused.status, &*refused.body), (503, "the server is busy: try again\n"));
    running.stop();
}

#[test]
fn a_bug_is_500_for_whoever_asked_and_nobody_else() {
    let running = Running::start(|_| {});
    for path in ["/panic", "/bug", "/panic"] {
        let failed = running.get(path);
        assert_eq!((failed.status, &*failed.reason), (500, "Internal Server Error"), "{path}");
        assert!(failed.body.contains("bug in the server"), "{failed:?}");
        assert_eq!(running.get("/ask").status, 200);
    }
    running.stop();
}

#[test]
fn a_large_page_arrives_whole_though_it_is_read_late() {
    let running =
        Running::start(|config| config.handshake_timeout = Some(Duration::from_millis(200)));
    let mut wire = running.asking("GET", "/large", "");
    // Later than the reader of a refusal would be waited for.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(wire.refusal().body.len(), 32 << 20);
    running.stop();
}

#[test]
fn what_the_watch_sees_reaches_the_hub_and_a_bug_does_not_end_it() {
    let running = Running::watching(true, |_| {});
    let mut member = running.connect("/free");
    // The first look may have been before anybody was there; the second fails.
    let mut seen = text(&mut member);
    if seen == "look 0" {
        seen = text(&mut member);
    }
    assert_eq!(seen, "look 2");
    assert_eq!(text(&mut member), "look 3");
    running.stop();
}

#[test]
fn five_seconds_over_the_rate_are_the_end_where_the_protocol_says_so() {
    let running = Running::start(|config| config.rate = RateLimits { messages: 10, bytes: 0 });
    let mut limited = running.connect("/limited");
    let mut free = running.connect("/free");
    let began = Instant::now();
    for n in 0..120 {
        limited.send(Message::text(format!("limited {n}"))).expect("it is sent");
    }
    for n in 0..60 {
        free.send(Message::text(format!("free {n}"))).expect("it is sent");
    }
    let mut heard = 0;
    let end = loop {
        match limited.read().expect("a close comes before the end") {
            Message::Text(text) => heard += u32::from(text.starts_with("limited")),
            other => break other,
        }
    };
    assert_eq!(close(end), (4001, "rate limit exceeded".into()));
    assert!(began.elapsed() >= Duration::from_secs(5), "not before its five seconds are over");
    // Four seconds' worth at once, and five more seconds'.
    assert!((80..=95).contains(&heard), "{heard} were heard");
    // The other one was over its rate for two seconds, and is where it was.
    free.send(Message::text("still here")).expect("it is sent");
    while text(&mut free) != "still here" {}
    running.stop();
}

fn forwarded(chain: &str) -> String {
    format!("X-Forwarded-For: {chain}\r\n")
}

#[test]
fn behind_a_trusted_proxy_a_client_has_the_address_the_proxy_names() {
    let proxy = IpAddr::from([127, 0, 0, 1]).into();
    let running = Running::start(|config| config.trusted_proxies = vec![proxy]);
    for (headers, address) in [
        (forwarded("192.0.2.1"), "192.0.2.1"),
        (forwarded("203.0.113.9, 192.0.2.1"), "192.0.2.1"),
        (forwarded("203.0.113.9") + &forwarded("[2001:db8::1]:80, 127.0.0.1"), "2001:db8::1"),
        (forwarded("junk"), "127.0.0.1"),
        (String::new(), "127.0.0.1"),
    ] {
        assert_eq!(running.ask("GET", "/from", &headers).body, address, "{headers:?}");
    }
    running.stop();
    let running =
        Running::start(|config| config.trusted_proxies = vec![IpAddr::from([10, 0, 0, 1]).into()]);
    assert_eq!(running.ask("GET", "/from", &forwarded("192.0.2.1")).body, "127.0.0.1");
    running.stop();
}

#[test]
fn behind_a_trusted_proxy_each_client_has_room_of_its_own() {
    let running = Running::start(|config| {
        config.trusted_proxies = vec![IpAddr::from([127, 0, 0, 1]).into()];
        config.room = ConnectionLimits { connections: 9, per_address: 1 };
    });
    let upgrade = |address: &str| {
        let headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut wire = running.asking("GET", "/free", &(headers.to_owned() + &forwarded(address)));
        wire.upgraded();
        wire
    };
    // The proxy's own connections are no client's until they have said whose they are.
    let (silent, alice) = (Wire::open_to(running.addr()), upgrade("192.0.2.1"));
    let _bob = upgrade("192.0.2.2");
    let refused = running.ask("GET", "/from", &forwarded("192.0.2.1"));
    assert_eq!((refused.status, &*refused.body), (503, "the server is full: try again later\n"));
    assert_eq!(running.ask("GET", "/from", &forwarded("192.0.2.3")).status, 200);
    // On one connection it may speak for one after the other; each is counted while it is spoken for.
    let from = |address: &str| {
        let headers = forwarded(address);
        format!("GET /from HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    };
    let mut shared = Wire::open_to(running.addr());
    for address in ["192.0.2.4", "192.0.2.5", "192.0.2.4"] {
        shared.write(from(address));
        assert_eq!(shared.answer().body, address);
    }
    assert_eq!(running.ask("GET", "/from", &forwarded("192.0.2.4")).status, 503);
    assert_eq!(running.ask("GET", "/from", &forwarded("192.0.2.5")).status, 200);
    shared.write(from("192.0.2.1"));
    assert_eq!(shared.refusal().status, 503, "alice is there already");
    // Whom it speaks for is counted out again.
    drop(alice);
    let began = Instant::now();
    while running.ask("GET", "/from", &forwarded("192.0.2.1")).status != 200 {
        assert!(began.elapsed() < SAFETY_NET, "there is room again");
    }
    drop(silent);
    running.stop();
}
