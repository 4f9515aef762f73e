//! A client's thread before its connection is a WebSocket: it reads requests and answers them.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::client::{CLOSE_TIMEOUT, Client};
use super::connections::{self, LimitReached};
use super::counters::Counters;
use super::event_queue;
use super::forwarded;
use super::http_counters::BegunRequest;
use super::hub_thread::{Admission, Input};
use super::service::{
    ConnectionHandler, HubClient, Outcome, Report, Requester, Unanswered, WorkFn, refused, stopping,
};
use crate::http::{self, HeadError, Preferences, Request, Response};
use crate::hub::Event;

/// How long a client may take at least to close the connection after an answer.
const MIN_CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the hub may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a change may take, until it is on disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may wait to be admitted while its session is read from the disk.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a thread that waits for an answer looks whether the server is stopping.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a client may take to read an answer that is no refusal: it may be large.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The status of a handshake's answer.
const SWITCHED: u16 = 101;
/// How many requests one connection may send.
const MAX_REQUESTS: usize = 1000;

/// A WebSocket that the hub has admitted.
pub struct Joined {
    /// Handles its messages.
    pub handler: Box<dyn ConnectionHandler>,
    /// Bytes that were read with the request and follow it.
    pub rest: Vec<u8>,
    /// The client's address, for the log.
    pub from: String,
}

/// The body of a request, as its head describes it.
#[derive(Default)]
struct BodyHead {
    /// In bytes.
    length: usize,
    /// Is true where the client waits for `100 Continue`.
    is_waiting: bool,
}

/// A request whose head was read.
struct ParsedRequest {
    outcome: Outcome,
    /// For [`Outcome::Work`].
    body: BodyHead,
    /// The answer to the handshake, for [`Outcome::Upgrade`].
    accept: Vec<u8>,
    /// Bytes that were read with the head and belong to the request.
    rest: Vec<u8>,
    answer_format: AnswerFormat,
}

/// How the answer to a request is sent.
struct AnswerFormat {
    /// Whole lines, without line ends.
    headers: Vec<String>,
    preferences: Preferences,
    method: &'static str,
    /// The client's address, for the log.
    from: String,
    /// Is true where the connection ends after the answer.
    is_last: bool,
    /// For the metrics.
    begun: BegunRequest,
}

/// What came of a request.
enum Handled {
    Page(Response),
    /// The connection is a WebSocket now. The bytes are those that follow the request.
    Joined(Box<dyn ConnectionHandler>, Vec<u8>),
}

impl Client<'_> {
    /// Reads requests and answers them, one after the other, until one makes the connection a
    /// WebSocket. Returns `None` where the connection has ended.
    pub(super) fn handshake(&self) -> Option<Joined> {
        let mut bytes = Vec::new();
        for left in (0..MAX_REQUESTS).rev() {
            if let ControlFlow::Break(end) = self.take_request(&mut bytes, left == 0) {
                return end;
            }
        }
        None
    }

    /// Reads a request and answers it. `bytes` is what was read of it before, and what follows it
    /// afterwards. Breaks where the connection ends or is a WebSocket.
    fn take_request(&self, bytes: &mut Vec<u8>, is_last: bool) -> ControlFlow<Option<Joined>> {
        let timeout = self.shared.config.handshake_timeout;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let read = http::read_head(&self.socket, bytes, deadline, |request, rest| {
            self.parse_request(request, rest, is_last)
        });
        let request = match read {
            Ok(request) => request,
            Err(HeadError::Refuse(page)) => self.refused_request(page, bytes),
            // Port probes are not logged.
            Err(HeadError::Disconnected) => return ControlFlow::Break(None),
        };
        let ParsedRequest { outcome, body, accept, rest, answer_format } = request;
        let is_report = matches!(outcome, Outcome::Report(_));
        let preferences = &answer_format.preferences;
        match self.handle(outcome, &body, accept, rest, preferences, deadline) {
            Handled::Page(page) => self.send_page(page, answer_format, is_report, deadline),
            Handled::Joined(handler, rest) => {
                self.shared.http.answered(answer_format.begun, SWITCHED);
                let from = answer_format.from;
                ControlFlow::Break(Some(Joined { handler, rest, from }))
            }
        }
    }

    /// Has the service decide about a request, and checks what its head says of its body or
    /// handshake. `rest` is what was read after the head.
    fn parse_request(&self, request: &Request<'_>, rest: &[u8], is_last: bool) -> ParsedRequest {
        let route = self.shared.service.route_of(request.path);
        let begun = BegunRequest { route, at: Instant::now() };
        let trusted = &self.shared.config.trusted_proxies;
        let forwarded = request.headers("x-forwarded-for");
        let address = forwarded::client_address(self.peer.ip(), forwarded, trusted);
        // Without the header, it may come from a browser on the proxy's machine.
        let is_forwarded = request.header("x-forwarded-for").is_some();
        let by_proxy = is_forwarded && forwarded::is_trusted(self.peer.ip(), trusted);
        let (mut outcome, headers) = self.outcome(request, Requester { address, by_proxy });
        let (mut body, mut accept) = (BodyHead::default(), Vec::new());
        match &outcome {
            Outcome::Work(work) => match http::body_length(request, work.body) {
                Ok(length) => {
                    body = BodyHead { length, is_waiting: http::expects_continue(request) };
                }
                Err(refusal) => outcome = Outcome::Page(refusal),
            },
            Outcome::Upgrade(_) => match http::accept(request) {
                Ok(answer) => accept = answer,
                Err(refusal) => outcome = Outcome::Page(refusal),
            },
            _ => {}
        }
        let rest = match &outcome {
            Outcome::Work(_) => rest[..body.length.min(rest.len())].to_vec(),
            Outcome::Upgrade(_) => rest.to_vec(),
            _ => Vec::new(),
        };
        let is_for_programs = self.shared.service.is_for_programs(request.path);
        let answer_format = AnswerFormat {
            headers,
            preferences: Preferences::from_request(request, is_for_programs),
            method: if request.method == "HEAD" { "HEAD" } else { "GET" },
            from: self.describe_address(address),
            is_last: is_last || request.is_last(),
            begun,
        };
        ParsedRequest { outcome, body, accept, rest, answer_format }
    }

    /// A request whose head was refused with this page; `bytes` is what was read of it.
    fn refused_request(&self, page: Response, bytes: &[u8]) -> ParsedRequest {
        let is_for_programs = self.shared.service.is_for_programs(http::path_of(bytes));
        ParsedRequest {
            outcome: Outcome::Page(page),
            body: BodyHead::default(),
            accept: Vec::new(),
            rest: Vec::new(),
            answer_format: AnswerFormat {
                headers: Vec::new(),
                preferences: Preferences::unknown(is_for_programs),
                method: "GET",
                from: self.peer.to_string(),
                is_last: true,
                begun: BegunRequest { route: None, at: Instant::now() },
            },
        }
    }

    /// Makes the page for a request, or joins. Requests to the hub, work and the list of
    /// connections need a permit: 503 where there is none.
    fn handle(
        &self,
        outcome: Outcome,
        body: &BodyHead,
        accept: Vec<u8>,
        rest: Vec<u8>,
        preferences: &Preferences,
        deadline: Option<Instant>,
    ) -> Handled {
        let asks_hub = matches!(outcome, Outcome::Ask(_) | Outcome::AskState(_) | Outcome::Work(_));
        let needs_permit = asks_hub || matches!(outcome, Outcome::Report(Report::Connections));
        let permit = match &outcome {
            Outcome::Work(_) => self.shared.work.try_acquire(),
            _ if needs_permit => self.shared.questions.try_acquire(),
            _ => None,
        };
        if needs_permit && permit.is_none() {
            return Handled::Page(busy().for_client(preferences));
        }
        let page = match outcome {
            Outcome::Page(page) => page,
            Outcome::Report(report) => self.shared.report(report),
            Outcome::Ask(event) => self.ask(event, Response::json),
            Outcome::AskState(event) => self.ask(event, Response::state),
            Outcome::Work(work) => self.work(work.act, body, rest, deadline),
            Outcome::Upgrade(handler) => match self.join(&*handler, accept) {
                Ok(()) => return Handled::Joined(handler, rest),
                Err(page) => page,
            },
        };
        let page = page.for_client(preferences);
        if asks_hub {
            let _ = self.shared.event_queue.send(Input::Disconnected(self.conn));
        }
        Handled::Page(page)
    }

    /// Sends a page, or 503 where too many answers are not read yet. Breaks where the connection
    /// ends with it.
    fn send_page(
        &self,
        page: Response,
        format: AnswerFormat,
        is_report: bool,
        deadline: Option<Instant>,
    ) -> ControlFlow<Option<Joined>> {
        let AnswerFormat { headers, preferences, method, from, is_last, begun } = format;
        // Counted until the client has read the answer, which takes memory until then.
        let spooled = self.shared.spool.add(page.size(), &self.send_queue);
        let page = if spooled.is_some() { page } else { busy().for_client(&preferences) };
        match page.reason() {
            Some(reason) if !is_report => self.shared.counters.refused(reason),
            _ => Counters::note(&self.shared.counters.pages),
        }
        self.shared.http.answered(begun, page.status());
        let page = headers.into_iter().fold(page, Response::with);
        log::debug!("c{}: answered {from} with {}", self.conn.0, page.status());
        // A refused client may not have meant this server: it has to connect again.
        let is_last = is_last || page.reason().is_some() || self.shared.stopping.has_begun();
        if is_last {
            self.answer_and_close(&page, method, deadline);
            return ControlFlow::Break(None);
        }
        match self.answer_and_go_on(&page, method) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(None),
        }
    }

    /// Sends a page after which the client may send another request. Returns false where the client
    /// didn't read all of it in time.
    fn answer_and_go_on(&self, page: &Response, method: &str) -> bool {
        self.send_queue.replace_all(page.parts_kept_alive(method));
        self.send_queue.flush();
        self.send_queue.wait_until_empty(Instant::now() + READ_TIMEOUT)
    }

    /// Sends a page and waits for the client to close the connection.
    fn answer_and_close(&self, page: &Response, method: &str, deadline: Option<Instant>) {
        self.send_queue.replace_all(page.parts(method));
        self.send_queue.flush();
        if page.reason().is_none() {
            self.send_queue.wait_until_empty(Instant::now() + READ_TIMEOUT);
        }
        // The time of the request bounds the closing, too, so that no client keeps its place for
        // longer.
        let now = Instant::now();
        let (min, max) = (now + MIN_CLOSE_TIMEOUT, now + CLOSE_TIMEOUT);
        self.drain_and_close(deadline.map_or(max, |deadline| deadline.clamp(min, max)));
    }

    /// Has the service decide about a request; returns the headers of its answer, too.
    fn outcome(&self, request: &Request<'_>, from: Requester) -> (Outcome, Vec<String>) {
        if let Err(LimitReached(why)) =
            self.shared.connections.set_client_address(self.conn, from.address)
        {
            log::warn!("refused {}: {why}", self.describe_address(from.address));
            return (Outcome::Page(connections::full()), Vec::new());
        }
        let service = &self.shared.service;
        let answering = AssertUnwindSafe(|| {
            (service.answer(request, from, self.conn), service.headers(request, from))
        });
        catch_unwind(answering).unwrap_or_else(|_| {
            log::error!("c{}: a bug in the server: no answer to its request", self.conn.0);
            Counters::note(&self.shared.counters.panics);
            (Outcome::Page(failed()), Vec::new())
        })
    }

    /// The client's address for the log: with its port, unless a proxy gives it.
    fn describe_address(&self, from: IpAddr) -> String {
        match from == self.peer.ip() {
            true => self.peer.to_string(),
            false => from.to_string(),
        }
    }

    /// Reads the body, of which `begun` was read with the head, and calls the function.
    #[inline(never)] // a name in thread dumps
    fn work(
        &self,
        act: Box<WorkFn>,
        body: &BodyHead,
        begun: Vec<u8>,
        deadline: Option<Instant>,
    ) -> Response {
        if body.is_waiting && begun.len() < body.length {
            self.send_queue.replace_all([http::CONTINUE.into()]);
            self.send_queue.flush();
        }
        let body = match http::read_body(&self.socket, begun, body.length, deadline) {
            Ok(body) => body,
            Err(HeadError::Refuse(page)) => return page,
            Err(HeadError::Disconnected) => {
                return Response::text(400, "the request ended too early");
            }
        };
        let working = AssertUnwindSafe(|| act(body, self));
        catch_unwind(working).unwrap_or_else(|_| {
            log::error!("c{}: a bug in the server: no answer to its request", self.conn.0);
            Counters::note(&self.shared.counters.panics);
            failed()
        })
    }

    /// Asks the hub and makes a page from its answer, or a refusal.
    fn ask(&self, event: Event, make: fn(Vec<u8>) -> Response) -> Response {
        match self.answer_from_hub(event, ANSWER_TIMEOUT) {
            Ok(body) => make(body),
            Err(Unanswered::Lost) => failed(),
            Err(Unanswered::Busy) => busy(),
            Err(why) => why.page(),
        }
    }

    /// Sends an event to the hub and waits for its answer, for `timeout` at most.
    fn answer_from_hub(&self, event: Event, timeout: Duration) -> Result<Vec<u8>, Unanswered> {
        let until = Instant::now() + timeout;
        let (reply, answered) = crossbeam_channel::bounded(1);
        let ask = Input::Ask { conn: self.conn, reply, until, event };
        let is_stopping = || self.shared.stopping.has_begun();
        if self.shared.event_queue.send_within(ask, timeout.min(ANSWER_TIMEOUT))
            == Err(event_queue::HubEnded)
        {
            return Err(if is_stopping() { Unanswered::Stopping } else { Unanswered::Busy });
        }
        // A change from just before the server stops may still be written: waits a few intervals
        // more.
        let mut polls_left = 3;
        let why = loop {
            match answered.recv_deadline(until.min(Instant::now() + POLL_INTERVAL)) {
                Ok(reply) => return reply.map_err(Unanswered::Refused),
                Err(why) if why == RecvTimeoutError::Disconnected || Instant::now() >= until => {
                    break why;
                }
                Err(_) if !is_stopping() => {}
                Err(why) if polls_left == 0 => break why,
                Err(_) => polls_left -= 1,
            }
        };
        Err(match why {
            _ if is_stopping() => Unanswered::Stopping,
            RecvTimeoutError::Disconnected if Instant::now() < until => Unanswered::Lost,
            _ => Unanswered::Busy,
        })
    }

    /// Asks the hub to admit the connection. The answer to the handshake is sent together with the
    /// hub's first frames.
    fn join(&self, handler: &dyn ConnectionHandler, accept: Vec<u8>) -> Result<(), Response> {
        let unavailable = || Response::text(503, "the server is unavailable: try again later");
        self.socket.set_read_timeout(self.shared.config.idle_timeout).map_err(|_| unavailable())?;
        self.send_queue.replace_all([accept.into()]);
        let (admission, decided) = crossbeam_channel::bounded(1);
        let event = handler.join(self.conn);
        let send_queue = self.send_queue.clone();
        let join = Input::Join { conn: self.conn, send_queue, admission, event };
        // From here on a stopping server leaves the connection to the hub: the client may have the
        // answer to its handshake before this thread knows, and then it must get a close.
        self.shared.connections.set_known_to_hub(self.conn, true);
        let until = Instant::now() + ADMISSION_TIMEOUT;
        let refusal = match self.send_until(join, until).map(|()| decided.recv_deadline(until)) {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(why))) => refused(why),
            _ if self.shared.stopping.has_begun() => stopping(),
            Err(event_queue::HubEnded) if Instant::now() < until => unavailable(),
            Ok(Err(RecvTimeoutError::Disconnected)) => unavailable(),
            _ => {
                log::error!(
                    "c{}: refused, its session could not be read within {} s: the disk doesn't answer",
                    self.conn.0,
                    ADMISSION_TIMEOUT.as_secs()
                );
                self.withdraw(&decided);
                Response::text(503, "the server's disk doesn't answer: try again later")
            }
        };
        self.shared.connections.set_known_to_hub(self.conn, false);
        Err(refusal)
    }

    /// Sends an input to the hub thread. Waits for room in the journal and in the event queue,
    /// until `until` at most.
    fn send_until(&self, input: Input, until: Instant) -> Result<(), event_queue::HubEnded> {
        if !self.shared.wait_for_room(until) {
            return Err(event_queue::HubEnded);
        }
        let left = until.saturating_duration_since(Instant::now());
        self.shared.event_queue.send_within(input, left)
    }

    /// Withdraws the request to be admitted. Where the hub has just admitted the connection, it is
    /// aborted: a refusal must not follow the hub's frames.
    fn withdraw(&self, decided: &Receiver<Admission>) {
        let _ = self.shared.event_queue.send(Input::Disconnected(self.conn));
        // Disconnected once the hub thread has handled the input.
        if let Ok(Ok(())) = decided.recv() {
            self.send_queue.abort();
        }
    }
}

impl HubClient for Client<'_> {
    fn ask(&self, event: Event) -> Result<Vec<u8>, Unanswered> {
        self.answer_from_hub(event, ANSWER_TIMEOUT)
    }

    fn change(&self, event: Event) -> Result<Vec<u8>, Unanswered> {
        let until = Instant::now() + CHANGE_TIMEOUT;
        if !self.shared.wait_for_room(until) {
            return Err(Unanswered::Busy);
        }
        self.answer_from_hub(event, until.saturating_duration_since(Instant::now()))
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.has_begun()
    }
}

/// The answer where a bug in the server was met.
fn failed() -> Response {
    Response::text(500, "internal server error: this is a bug in the server")
}

/// The answer where too many requests run, or the hub takes too long.
fn busy() -> Response {
    Response::text(503, "the server is busy: try again")
}
