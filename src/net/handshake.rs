//! One client's thread until its connection is a WebSocket: it answers requests, one after the other.

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
use super::hub_thread::{Admission, Input};
use super::service::{
    ConnectionHandler, HubClient, Outcome, Report, Requester, Unanswered, WorkFn, refused, stopping,
};
use crate::http::{self, HeadError, Preferences, Request, Response};
use crate::hub::Event;

/// How long at least a client is given to hang up, where the handshake has used up its time.
const MIN_CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the hub is given to answer what is asked without a WebSocket.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// And to do something about what it is asked, up to the moment when that is on disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection waits to be admitted, where its session has to be read from the disk.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often whoever waits for that looks whether the server is stopping.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long an answer that isn't a refusal may take to be read: it may be large.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests one connection may send.
const MAX_REQUESTS: usize = 1000;

/// A connection that is a WebSocket, and that the hub has admitted.
pub struct Joined {
    /// What handles its messages.
    pub handler: Box<dyn ConnectionHandler>,
    /// What came after the request already.
    pub rest: Vec<u8>,
    /// Where the client is, for the log.
    pub from: String,
}

/// What is known of a request's body when its head has been read.
#[derive(Default)]
struct Body {
    /// How long it is, in bytes.
    length: usize,
    /// Whether the client waits to be told that it may send it.
    is_waiting: bool,
}

/// A request whose head was read.
struct Asked {
    outcome: Outcome,
    /// Where it is worked on.
    body: Body,
    /// The answer to the handshake, where the connection becomes a WebSocket.
    accept: Vec<u8>,
    /// What came after the head already, where that belongs to the request.
    rest: Vec<u8>,
    /// Those that an answer has.
    headers: Vec<String>,
    /// How the answer is wanted.
    preferences: Preferences,
    method: &'static str,
    /// Where the client is, for the log.
    from: String,
    /// Whether nothing may be asked after it.
    is_last: bool,
}

impl Client<'_> {
    /// Reads requests and answers them, one after the other, until one makes the connection a
    /// WebSocket. `None` where it has ended with an answer, or without.
    pub(super) fn handshake(&self) -> Option<Joined> {
        let mut bytes = Vec::new();
        for left in (0..MAX_REQUESTS).rev() {
            if let ControlFlow::Break(end) = self.take_request(&mut bytes, left == 0) {
                return end;
            }
        }
        None
    }

    /// Reads a request, which begins with these bytes, and answers it. What came after it is in
    /// `bytes` then. Breaks where that was the last one.
    fn take_request(&self, bytes: &mut Vec<u8>, is_last: bool) -> ControlFlow<Option<Joined>> {
        let timeout = self.shared.config.handshake_timeout;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let read = http::read_head(&self.socket, bytes, deadline, |request, rest| {
            let trusted = &self.shared.config.trusted_proxies;
            let forwarded = request.headers("x-forwarded-for");
            let address = forwarded::client_address(self.peer.ip(), forwarded, trusted);
            // Without the header it may be a browser beside the proxy.
            let is_forwarded = request.header("x-forwarded-for").is_some();
            let by_proxy = is_forwarded && forwarded::is_trusted(self.peer.ip(), trusted);
            let method = if request.method == "HEAD" { "HEAD" } else { "GET" };
            let (mut outcome, headers) = self.outcome(request, Requester { address, by_proxy });
            let (mut body, mut accept) = (Body::default(), Vec::new());
            match &outcome {
                Outcome::Work(work) => match http::body_length(request, work.body) {
                    Ok(length) => {
                        body = Body { length, is_waiting: http::expects_continue(request) };
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
            let is_last = is_last || request.is_last();
            let preferences = Preferences::from_request(
                request,
                self.shared.service.is_for_programs(request.path),
            );
            let from = self.shown(address);
            Asked { outcome, body, accept, rest, headers, preferences, method, from, is_last }
        });
        let asked = match read {
            Ok(asked) => asked,
            Err(HeadError::Refuse(page)) => Asked {
                outcome: Outcome::Page(page),
                body: Body::default(),
                accept: Vec::new(),
                rest: Vec::new(),
                headers: Vec::new(),
                preferences: Preferences::unknown(
                    self.shared.service.is_for_programs(http::path_of(bytes)),
                ),
                method: "GET",
                from: self.peer.to_string(),
                is_last: true,
            },
            // A probe that connects and leaves is nobody's business.
            Err(HeadError::Disconnected) => return ControlFlow::Break(None),
        };
        let Asked { outcome, body, accept, rest, headers, preferences, method, from, is_last } =
            asked;
        let asks_hub = matches!(outcome, Outcome::Ask(_) | Outcome::AskState(_) | Outcome::Work(_));
        let is_report = matches!(outcome, Outcome::Report(_));
        let needs_turn = asks_hub || matches!(outcome, Outcome::Report(Report::Connections));
        let turn = match &outcome {
            Outcome::Work(_) => self.shared.work.try_acquire(),
            _ if needs_turn => self.shared.questions.try_acquire(),
            _ => None,
        };
        let page = match outcome {
            _ if needs_turn && turn.is_none() => busy(),
            Outcome::Page(page) => page,
            Outcome::Report(report) => self.shared.report(report),
            Outcome::Ask(event) => self.ask(event, Response::json),
            Outcome::AskState(event) => self.ask(event, Response::state),
            Outcome::Work(work) => self.work(work.act, &body, rest, deadline),
            Outcome::Upgrade(handler) => match self.join(&*handler, accept) {
                Ok(()) => return ControlFlow::Break(Some(Joined { handler, rest, from })),
                Err(page) => page,
            },
        };
        let page = page.for_client(&preferences);
        if asks_hub && turn.is_some() {
            let _ = self.shared.event_queue.send(Input::Gone(self.conn));
        }
        drop(turn);
        // Held until the answer has been taken: until then it takes memory.
        let place = self.shared.spool.add(page.size(), &self.send_queue);
        let page = if place.is_some() { page } else { busy().for_client(&preferences) };
        match page.reason() {
            Some(reason) if !is_report => self.shared.counters.refused(reason),
            _ => Counters::note(&self.shared.counters.pages),
        }
        let page = headers.into_iter().fold(page, Response::with);
        log::debug!("c{}: answered {from} with {}", self.conn.0, page.status());
        // Whoever was refused something has to come again: it may not even have meant this server.
        let is_last = is_last || page.reason().is_some() || self.shared.stopping.has_begun();
        let has_ended = match is_last {
            true => {
                self.answer(&page, method, deadline);
                true
            }
            false => !self.answer_and_go_on(&page, method),
        };
        match has_ended {
            true => ControlFlow::Break(None),
            false => ControlFlow::Continue(()),
        }
    }

    /// Sends a page after which another may be asked for. Whether all of it was taken.
    fn answer_and_go_on(&self, page: &Response, method: &str) -> bool {
        self.send_queue.replace_all(page.parts_kept_alive(method));
        self.send_queue.flush();
        self.send_queue.wait_until_empty(Instant::now() + READ_TIMEOUT)
    }

    /// Sends a page and waits for the client to hang up.
    fn answer(&self, page: &Response, method: &str, deadline: Option<Instant>) {
        self.send_queue.replace_all(page.parts(method));
        self.send_queue.flush();
        if page.reason().is_none() {
            self.send_queue.wait_until_empty(Instant::now() + READ_TIMEOUT);
        }
        // One that won't hang up keeps its place for as long as one that won't finish its request.
        let now = Instant::now();
        let (least, most) = (now + MIN_CLOSE_TIMEOUT, now + CLOSE_TIMEOUT);
        self.drain_and_close(deadline.map_or(most, |deadline| deadline.clamp(least, most)));
    }

    /// What is done about a request from this address, and which headers an answer has.
    fn outcome(&self, request: &Request<'_>, from: Requester) -> (Outcome, Vec<String>) {
        if let Err(LimitReached(why)) =
            self.shared.connections.set_client_address(self.conn, from.address)
        {
            log::warn!("refused {}: {why}", self.shown(from.address));
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

    /// The client's address for the log: with its port, unless a proxy stands between.
    fn shown(&self, from: IpAddr) -> String {
        match from == self.peer.ip() {
            true => self.peer.to_string(),
            false => from.to_string(),
        }
    }

    /// Reads the body, which has `begun`, and has the work done.
    #[inline(never)] // a name in thread dumps
    fn work(
        &self,
        act: Box<WorkFn>,
        body: &Body,
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

    /// Asks the hub, which is not waited for longer than it takes to lose patience.
    fn ask(&self, event: Event, make: fn(Vec<u8>) -> Response) -> Response {
        match self.reply(event, ANSWER_TIMEOUT) {
            Ok(body) => make(body),
            Err(Unanswered::Lost) => failed(),
            Err(Unanswered::Busy) => busy(),
            Err(why) => why.page(),
        }
    }

    /// The hub's reply, for which it has so much time.
    fn reply(&self, event: Event, patience: Duration) -> Result<Vec<u8>, Unanswered> {
        let until = Instant::now() + patience;
        let (reply, answered) = crossbeam_channel::bounded(1);
        let ask = Input::Ask { conn: self.conn, reply, until, event };
        let is_stopping = || self.shared.stopping.has_begun();
        if self.shared.event_queue.send_within(ask, patience.min(ANSWER_TIMEOUT))
            == Err(event_queue::HubEnded)
        {
            return Err(if is_stopping() { Unanswered::Stopping } else { Unanswered::Busy });
        }
        // What was done shortly before the server stops may still be written.
        let mut looks_left = 3;
        let why = loop {
            match answered.recv_deadline(until.min(Instant::now() + POLL_INTERVAL)) {
                Ok(reply) => return reply.map_err(Unanswered::Refused),
                Err(why) if why == RecvTimeoutError::Disconnected || Instant::now() >= until => {
                    break why;
                }
                Err(_) if !is_stopping() => {}
                Err(why) if looks_left == 0 => break why,
                Err(_) => looks_left -= 1,
            }
        };
        Err(match why {
            _ if is_stopping() => Unanswered::Stopping,
            RecvTimeoutError::Disconnected if Instant::now() < until => Unanswered::Lost,
            _ => Unanswered::Busy,
        })
    }

    /// Asks the hub to admit the connection; the answer to the handshake goes out together with
    /// what the hub has to say to a newcomer.
    fn join(&self, handler: &dyn ConnectionHandler, accept: Vec<u8>) -> Result<(), Response> {
        let not_now = || Response::text(503, "the server could not take you in: try again later");
        self.socket.set_read_timeout(self.shared.config.idle_timeout).map_err(|_| not_now())?;
        self.send_queue.replace_all([accept.into()]);
        let (admission, decided) = crossbeam_channel::bounded(1);
        let event = handler.join(self.conn);
        let send_queue = self.send_queue.clone();
        let join = Input::Join { conn: self.conn, send_queue, admission, event };
        // From here on a stopping server must not cut it: the client may have the answer to its
        // handshake before this thread knows, and then it is to get a close.
        self.shared.connections.set_known_to_hub(self.conn, true);
        let until = Instant::now() + ADMISSION_TIMEOUT;
        let refusal = match self.say_until(join, until).map(|()| decided.recv_deadline(until)) {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(why))) => refused(why),
            _ if self.shared.stopping.has_begun() => stopping(),
            Err(event_queue::HubEnded) if Instant::now() < until => not_now(),
            Ok(Err(RecvTimeoutError::Disconnected)) => not_now(),
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

    /// Says something to the hub, which waits for what makes changes durable and for the hub until then.
    fn say_until(&self, input: Input, until: Instant) -> Result<(), event_queue::HubEnded> {
        if !self.shared.wait_for_room(until) {
            return Err(event_queue::HubEnded);
        }
        let left = until.saturating_duration_since(Instant::now());
        self.shared.event_queue.send_within(input, left)
    }

    /// Asks to be admitted no longer. Where the hub has just admitted it all the same, what it was sent
    /// is not to be followed by a refusal: the connection is cut.
    fn withdraw(&self, decided: &Receiver<Admission>) {
        let _ = self.shared.event_queue.send(Input::Gone(self.conn));
        // The hub has dropped the other end when it has heard of it.
        if let Ok(Ok(())) = decided.recv() {
            self.send_queue.abort();
        }
    }
}

impl HubClient for Client<'_> {
    fn ask(&self, event: Event) -> Result<Vec<u8>, Unanswered> {
        self.reply(event, ANSWER_TIMEOUT)
    }

    fn change(&self, event: Event) -> Result<Vec<u8>, Unanswered> {
        let until = Instant::now() + CHANGE_TIMEOUT;
        if !self.shared.wait_for_room(until) {
            return Err(Unanswered::Busy);
        }
        self.reply(event, until.saturating_duration_since(Instant::now()))
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.has_begun()
    }
}

/// What a client is told when its request met a bug of ours.
fn failed() -> Response {
    Response::text(500, "internal server error: this is a bug in the server")
}

/// What a client is told that asks while too many others do, or too much is going on.
fn busy() -> Response {
    Response::text(503, "the server is busy: try again")
}
