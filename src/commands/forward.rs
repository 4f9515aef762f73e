//! `collabd forward`: lets an editor on this machine host on a collabd on another one.
//!
//! It listens on the loopback alone and passes each WebSocket of the session protocol on, with a key if it was given
//! one. After the handshake it copies bytes, so it knows nothing of what is said. Two threads serve a connection,
//! `f1 out` to the server and `f1 back`. Each waits for its own two sockets only.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::listening;
use crate::client::api::authorization;
use crate::client::{Target, Wire, key_file, shown_up_to};
use crate::http::{self, HeadError, Request, Response};
use crate::net::{self, SILENCE};
use crate::os::{hold_signals, sever};
use crate::{http::percent_decoded, logging};

/// How many connections are passed on at a time; more get 503. An editor has one.
const MAX_CONNECTIONS: usize = 64;
/// How long a client on this machine may take to send its request, and to take an answer.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may take to answer the handshake: it may have to read the session from its disk first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one direction may go on after the other has ended.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer to the handshake that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// How many bytes are copied at once. A connection holds twice as many at most.
const COPY_BYTES: usize = 64 << 10;
const STACK_BYTES: usize = 256 << 10;
/// How many characters of a server's refusal are repeated.
const MAX_LINE_CHARS: usize = 600;

/// The headers of a client that are passed on; no other is, so that a client can't speak for somebody else.
const PASSED_HEADERS: [&str; 8] = [
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
    "User-Agent",
    "X-Collabd-Temporary",
];

const ONLY_SESSIONS: &str = "collabd forward passes on nothing but sessions, /ws/SESSION/USER: the server's page \
                             is at the server's own address";
const ONLY_GET: &str = "collabd forward passes on nothing but WebSockets, which begin with GET";
const NO_WEBSOCKET: &str = "this address speaks WebSocket: connect with ws://";
const NO_PAGES: &str =
    "collabd forward passes nothing on for pages: it may have a key, which is not theirs";
const FULL: &str = "collabd forward passes on 64 connections already";

/// What `forward` is told.
pub struct Options {
    /// The server. Not checked yet.
    pub url: String,
    pub key: Option<String>,
    /// A file with the key in it, where there is no `key`.
    pub key_file: Option<PathBuf>,
    /// The port on this machine.
    pub port: u16,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Options(port {})", self.port)
    }
}

/// The server that connections are passed on to. All threads share it.
struct Forwarder {
    target: Target,
    /// The header with the key.
    authorization: Option<String>,
    /// How many connections there are.
    open: AtomicUsize,
    /// The number of the last one.
    accepted: AtomicU64,
    /// The log says already that there are too many.
    has_told_of_full: AtomicBool,
    /// The log says already that pages were refused.
    has_told_of_pages: AtomicBool,
}

/// Passes connections on until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    super::exit_code(forward(options))
}

fn forward(options: &Options) -> Result<(), String> {
    let forwarder = Arc::new(Forwarder::new(options)?);
    let held = hold_signals();
    let logging = logging::start(false, None).map_err(|error| format!("can't log: {error}"))?;
    let listeners = net::bind_loopback(options.port).map_err(|error| error.0)?;
    let signals = listening::signals(held);
    let addresses: Vec<SocketAddr> =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    for (number, listener) in (1..).zip(listeners) {
        let forwarder = forwarder.clone();
        let name = if number == 1 { "accept".into() } else { format!("accept{number}") };
        let thread = thread::Builder::new().name(name);
        let started = thread.spawn(move || accept(&listener, &forwarder));
        started.map_err(|error| format!("can't start: {error}"))?;
    }
    announce(&forwarder.target, &addresses);
    // The handler holds the sender as long as the process lives. The end of the process ends all threads.
    let _ = signals.stop.recv();
    log::info!("SHUTTING DOWN");
    drop(logging);
    Ok(())
}

/// Says where it listens and how to use that.
fn announce(target: &Target, addresses: &[SocketAddr]) {
    let port = addresses.first().map_or(0, SocketAddr::port);
    let mut text =
        format!("collabd {} forwards to {}\n", env!("CARGO_PKG_VERSION"), target.shown());
    for address in addresses {
        text.push_str(&format!("listening on {address}\n"));
    }
    text.push_str(&format!(
        "in the editor on this machine: Collaboration → Connect/Host Session…, Host server, Port {port}, \
         Connect (not Start Server)\nCtrl+C stops it\n"
    ));
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The loop of an accept thread.
fn accept(listener: &TcpListener, forwarder: &Arc<Forwarder>) {
    loop {
        let Ok((socket, _)) = listener.accept() else {
            // Too many files are open, or the client has gone already.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let number = forwarder.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(place) = Place::take(forwarder) else {
            if !forwarder.has_told_of_full.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "f{number}: refused: {FULL}; others are refused without a word until one ends"
                );
            }
            answer_at_once(&socket, &Response::text(503, FULL));
            continue;
        };
        let thread = thread::Builder::new().name(format!("f{number} out")).stack_size(STACK_BYTES);
        let started = thread.spawn(move || place.0.serve(number, socket));
        if let Err(error) = started {
            log::error!("f{number}: refused: the system has no thread for it: {error}");
        }
    }
}

/// A place among [`MAX_CONNECTIONS`], until it is dropped.
struct Place(Arc<Forwarder>);

impl Place {
    fn take(forwarder: &Arc<Forwarder>) -> Option<Place> {
        let take = |open| (open < MAX_CONNECTIONS).then_some(open + 1);
        let taken = forwarder.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok().then(|| Place(forwarder.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.has_told_of_full.store(false, Ordering::Relaxed);
    }
}

/// The server's answer to a handshake.
struct Answer {
    /// All that was read: the head, and what came after it.
    bytes: Vec<u8>,
    head: usize,
    status: u16,
    /// The length of the body, as far as the head says it.
    length: usize,
}

impl Forwarder {
    fn new(options: &Options) -> Result<Self, String> {
        Target::parse(&options.url).map_err(|why| match why.contains("wss://") {
            true => format!("{why}, or use ssh -N -L 8765:localhost:8765 HOST instead"),
            false => why,
        })?;
        let (target, in_address) = Target::parse_api(&options.url)?;
        let in_file = match &options.key_file {
            Some(file) if options.key.is_none() => Some(key_file::read(file)?),
            _ => None,
        };
        let key = options.key.clone().or(in_file).or(in_address).filter(|key| !key.is_empty());
        Ok(Forwarder {
            target,
            authorization: key.as_deref().map(authorization),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            has_told_of_full: AtomicBool::new(false),
            has_told_of_pages: AtomicBool::new(false),
        })
    }

    /// Serves a connection until it ends. Runs on its thread `out`.
    fn serve(&self, number: u64, local: TcpStream) {
        net::find_dead_peer(&local, SILENCE);
        let _ = local.set_write_timeout(Some(LOCAL_TIMEOUT));
        let mut begun = Vec::new();
        let deadline = Some(Instant::now() + LOCAL_TIMEOUT);
        let read = http::read_head(&local, &mut begun, deadline, |request, _| {
            let path = shown_up_to(MAX_LINE_CHARS, request.path);
            self.head_of(request).map(|head| (head, path))
        });
        let (head, path) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(page)) | Err(HeadError::Refuse(page)) => {
                self.tell_of_page(number, &page);
                return answer(&local, &page);
            }
            Err(HeadError::Disconnected) => return,
        };
        let (mut wire, mut found) = match self.handshake(&head) {
            Ok(found) => found,
            Err(why) => {
                log::error!("f{number}: {path} is not passed on: {why}");
                return answer(&local, &Response::text(502, why));
            }
        };
        if found.status != 101 {
            self.hide_key(&mut found.bytes);
            log::error!("f{number}: {path} is refused: {}", self.refusal(&found));
            let _ = (&local).write_all(&found.bytes);
            return drain(&local);
        }
        // What the client has sent already. Before the server agreed it could have been another request.
        wire.wait_until(Instant::now() + ANSWER_TIMEOUT);
        match wire.write_all(&begun).and_then(|()| wire.into_socket()) {
            Ok(far) => self.copy(number, &path, local, far, &found.bytes),
            Err(error) => log::error!("f{number}: {path} is not passed on: {error}"),
        }
    }

    /// Copies bytes both ways until both directions have ended. `answer` goes to the client first.
    fn copy(&self, number: u64, path: &str, local: TcpStream, far: TcpStream, answer: &[u8]) {
        net::find_dead_peer(&far, SILENCE);
        if (&local).write_all(answer).is_err()
            || local.set_read_timeout(None).is_err()
            || local.set_write_timeout(None).is_err()
        {
            return;
        }
        log::info!("f{number}: {path} is passed on to {}", self.target.shown());
        let (local, far) = (Arc::new(local), Arc::new(far));
        let ((out, out_ended), (back, back_ended)) = (bounded(0), bounded(0));
        let sockets = (far.clone(), local.clone());
        let thread = thread::Builder::new().name(format!("f{number} back")).stack_size(STACK_BYTES);
        let started = thread.spawn(move || pump(&sockets.0, &sockets.1, back, &out_ended));
        match started {
            Ok(thread) => {
                pump(&local, &far, out, &back_ended);
                // A panic was logged when it happened.
                let _ = thread.join();
                log::info!("f{number}: {path} has ended");
            }
            Err(error) => log::error!("f{number}: the system has no thread for it: {error}"),
        }
    }

    /// The head of the request to the server.
    ///
    /// # Errors
    /// The refusal of a request that is not passed on.
    fn head_of(&self, request: &Request<'_>) -> Result<Vec<u8>, Response> {
        // A browser sends one of these with every request that a page makes, and no page can take it away.
        let is_of_browser = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == "origin" || name.starts_with("sec-fetch-")
        };
        if request.names().any(is_of_browser) {
            return Err(Response::text(403, NO_PAGES));
        }
        if !request.path.starts_with("/ws/") || may_lead_out(request.path) {
            return Err(Response::text(404, ONLY_SESSIONS));
        }
        if request.method != "GET" {
            return Err(Response::only_get(ONLY_GET));
        }
        if !request.wants_websocket() {
            return Err(Response::upgrade_required(NO_WEBSOCKET));
        }
        let query = if request.query.is_empty() { "" } else { "?" };
        let path = self.target.under_prefix(request.path);
        let mut head = format!("GET {path}{query}{} HTTP/1.1\r\n", request.query);
        head.push_str(&format!("Host: {}\r\n", self.target.host_header()));
        for name in PASSED_HEADERS {
            for value in request.headers(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("{authorization}\r\n"));
        }
        head.push_str("\r\n");
        Ok(head.into_bytes())
    }

    /// Connects to the server, sends it the request, and reads the answer.
    ///
    /// # Errors
    /// One line: the server can't be reached, or its answer is none.
    fn handshake(&self, head: &[u8]) -> Result<(Wire, Answer), String> {
        let named = |why: String| format!("{}: {why}", self.target.shown());
        let (mut wire, _) =
            self.target.addresses().and_then(|all| Wire::open(&all)).map_err(named)?;
        wire.wait_until(Instant::now() + ANSWER_TIMEOUT);
        wire.write_all(head)
            .map_err(|error| named(format!("the request could not be sent: {error}")))?;
        let answer = read_answer(&mut wire).map_err(named)?;
        Ok((wire, answer))
    }

    /// What the server says of a refusal, and what can be done.
    fn refusal(&self, answer: &Answer) -> String {
        let body = String::from_utf8_lossy(&answer.bytes[answer.head..]);
        let line = body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let said = shown_up_to(MAX_LINE_CHARS, line);
        let advice = match (answer.status, &self.authorization) {
            (401 | 403, None) => ": give a key with --key-file",
            (401 | 403, Some(_)) => ": the key that was given is not the right one",
            // A collabd says itself what its paths are.
            (404, _) if !line.contains("/ws/") => ": a collabd has to run there",
            _ => "",
        };
        format!(
            "{} says {}, {}{advice}",
            self.target.shown(),
            answer.status,
            said.trim_matches('"')
        )
    }

    /// A server that repeats what it was sent would tell the client the key.
    fn hide_key(&self, answer: &mut [u8]) {
        let given = self.authorization.as_deref().and_then(|header| header.rsplit(' ').next());
        let Some(given) = given.filter(|given| !given.is_empty()) else { return };
        let mut from = 0;
        while let Some(part) = answer.get_mut(from..from + given.len()) {
            if part == given.as_bytes() {
                part.fill(b'*');
            }
            from += 1;
        }
    }

    /// Logs that a page was refused: once, as a page can ask without end.
    fn tell_of_page(&self, number: u64, page: &Response) {
        if page.status() == 403 && !self.has_told_of_pages.swap(true, Ordering::Relaxed) {
            log::warn!(
                "f{number}: refused a page in a browser on this machine, which may not use what is passed \
                 on; others are refused without a word"
            );
        }
    }
}

/// Whether a proxy in between could find a segment of dots in a path, which leads out of `/ws/`: many decode a path first,
/// some take `\\` for `/`, some leave out what stands behind `;`. What can't be decoded is taken for such a path.
fn may_lead_out(path: &str) -> bool {
    let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    percent_decoded(path).is_none_or(|path| path.split(['/', '\\']).any(is_dots))
}

/// Reads the answer to a handshake: of a refusal all of it, otherwise at least the head.
fn read_answer(wire: &mut Wire) -> Result<Answer, String> {
    let mut bytes = Vec::new();
    let mut answer = loop {
        if !read_more(wire, &mut bytes)? {
            return Err("it closed the connection without an HTTP answer".into());
        }
        if let Some((head, status, length)) = parse(&bytes)? {
            break Answer { bytes, head, status, length };
        }
    };
    while answer.status != 101 && answer.bytes.len() < answer.head + answer.length {
        // A part of its words is better than none.
        if !matches!(read_more(wire, &mut answer.bytes), Ok(true)) {
            break;
        }
    }
    Ok(answer)
}

/// Appends what comes next; false at the end of the connection.
fn read_more(wire: &mut Wire, bytes: &mut Vec<u8>) -> Result<bool, String> {
    let mut chunk = [0; 4096];
    match wire.read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(count) if bytes.len() + count > MAX_ANSWER_BYTES => {
            Err("its answer is too long for one of HTTP".into())
        }
        Ok(count) => {
            bytes.extend_from_slice(&chunk[..count]);
            Ok(true)
        }
        Err(error) if http::is_timeout(&error) => {
            Err("it took the connection and did not answer".into())
        }
        Err(error) => Err(format!("the connection broke before an answer came: {error}")),
    }
}

/// The length of the head, the status and the length of the body, once the head is complete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, u16, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let body = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
            let body = body.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse().ok());
            // Without a length the body goes on until the end.
            let body = body.unwrap_or(MAX_ANSWER_BYTES);
            Ok(Some((length, head.code.unwrap_or_default(), body)))
        }
        Err(_) => Err("what answers there does not speak HTTP".into()),
    }
}

/// Copies what one socket sends to the other until that ends, and passes the end on. Then waits a while for the
/// other direction, which holds the sender of `other`, and ends both sockets.
fn pump(from: &TcpStream, to: &TcpStream, ended: Sender<()>, other: &Receiver<()>) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match { from }.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if { to }.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Fails where that end has gone already.
    let _ = to.shutdown(Shutdown::Write);
    drop(ended);
    if other.recv_timeout(END_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
        sever(from);
        sever(to);
    }
}

/// Answers a client and waits for it to hang up.
fn answer(local: &TcpStream, page: &Response) {
    for part in page.parts("GET") {
        if { local }.write_all(&part).is_err() {
            return;
        }
    }
    drain(local);
}

/// Hangs up, and reads what the client still sends: a socket that is closed before that takes its answer away.
fn drain(local: &TcpStream) {
    let _ = local.shutdown(Shutdown::Write);
    let until = Instant::now() + Duration::from_secs(1);
    let mut rest = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || local.set_read_timeout(Some(left)).is_err() {
            return;
        }
        if !matches!({ local }.read(&mut rest), Ok(1..)) {
            return;
        }
    }
}

/// Answers a client without waiting for it.
fn answer_at_once(local: &TcpStream, page: &Response) {
    if local.set_nonblocking(true).is_ok() {
        for part in page.parts("GET") {
            let _ = { local }.write_all(&part);
        }
        let _ = local.shutdown(Shutdown::Write);
        let _ = { local }.read(&mut [0; 4096]);
    }
}
