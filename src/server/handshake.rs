//! One client's thread until its connection is a WebSocket: it answers requests, one after the other.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::accept;
use super::connection::{Client, FAREWELL};
use super::connections::Full;
use super::counters::Counters;
use super::dispatch::Input;
use super::forwarded;
use super::http::{self, HeadError, Reason, Request, Response};
use super::inbox;
use super::service::{Answer, Report, Service, Speaker};
use crate::hub::Refusal;

/// How long at least a client is given to hang up, where the handshake has used up its time.
const SHORT_FAREWELL: Duration = Duration::from_millis(250);
/// How long the hub is given to answer what is asked without a WebSocket.
const ANSWER: Duration = Duration::from_secs(1);
/// How long an answer that isn't a refusal may take to be read: it may be large.
const READING: Duration = Duration::from_secs(10);
/// How many requests one connection may send.
const MOST_REQUESTS: usize = 1000;

const STOPPING: &str = "the server is shutting down: try again later";

/// A connection that is a WebSocket, and that the hub has admitted.
pub struct Joined<S> {
    /// Who speaks on it.
    pub speaker: S,
    /// What came after the request already.
    pub rest: Vec<u8>,
    /// Where the client is, for the log.
    pub from: String,
}

/// What becomes of a request.
enum Course<S: Speaker> {
    /// It is answered with this.
    Answered(Response),
    /// The server says how it is.
    Report(Report),
    /// The hub is asked.
    Ask(S::Event),
    /// The connection becomes a WebSocket: who speaks on it, the answer to the handshake, and what
    /// came after the request already.
    Join(S, Vec<u8>, Vec<u8>),
}

/// A request that was read.
struct Asked<S: Speaker> {
    course: Course<S>,
    /// Those that an answer has.
    headers: Vec<String>,
    method: &'static str,
    /// Where the client is, for the log.
    from: String,
    /// Whether nothing may be asked after it.
    is_last: bool,
}

impl<S: Service> Client<'_, S> {
    /// Reads requests and answers them, one after the other, until one makes the connection a
    /// WebSocket. `None` where it has ended with an answer, or without.
    pub(super) fn shake_hands(&self) -> Option<Joined<S::Speaker>> {
        let mut bytes = Vec::new();
        for left in (0..MOST_REQUESTS).rev() {
            if let ControlFlow::Break(end) = self.take_request(&mut bytes, left == 0) {
                return end;
            }
        }
        None
    }

    /// Reads a request, which begins with these bytes, and answers it. What came after it is in
    /// `bytes` then. Breaks where that was the last one.
    fn take_request(
        &self,
        bytes: &mut Vec<u8>,
        is_last: bool,
    ) -> ControlFlow<Option<Joined<S::Speaker>>> {
        let timeout = self.shared.config.handshake_timeout;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let read = http::read_head(&self.socket, bytes, deadline, |request, rest| {
            let trusted = &self.shared.config.trusted_proxies;
            let forwarded = request.headers("x-forwarded-for");
            let from = forwarded::client_address(self.peer.ip(), forwarded, trusted);
            let method = if request.method == "HEAD" { "HEAD" } else { "GET" };
            let (course, headers) = self.course(request, rest, from);
            let is_last = is_last || request.is_last();
            Asked { course, headers, method, from: self.shown(from), is_last }
        });
        let Asked { course, headers, method, from, is_last } = match read {
            Ok(asked) => asked,
            Err(HeadError::Refuse(page)) => Asked {
                course: Course::Answered(page),
                headers: Vec::new(),
                method: "GET",
                from: self.peer.to_string(),
                is_last: true,
            },
            // A probe that connects and leaves is nobody's business.
            Err(HeadError::Gone) => return ControlFlow::Break(None),
        };
        let asks_hub = matches!(course, Course::Ask(_));
        let is_report = matches!(course, Course::Report(_));
        let needs_turn = asks_hub || matches!(course, Course::Report(Report::Connections));
        // Held until the answer has been taken: until then it takes memory.
        let turn = if needs_turn { self.shared.questions.ask() } else { None };
        let page = match course {
            _ if needs_turn && turn.is_none() => busy(),
            Course::Answered(page) => page,
            Course::Report(report) => self.shared.report(report),
            Course::Ask(event) => self.ask(event),
            Course::Join(speaker, accept, rest) => match self.join(&speaker, accept) {
                Ok(()) => return ControlFlow::Break(Some(Joined { speaker, rest, from })),
                Err(page) => page,
            },
        };
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
        if asks_hub && turn.is_some() {
            let _ = self.shared.inbox.send(Input::Gone(self.conn));
        }
        match has_ended {
            true => ControlFlow::Break(None),
            false => ControlFlow::Continue(()),
        }
    }

    /// Sends a page after which another may be asked for. Whether all of it was taken.
    fn answer_and_go_on(&self, page: &Response, method: &str) -> bool {
        self.outbox.replace_all(page.parts_kept_alive(method));
        self.outbox.flush();
        self.outbox.wait_until_empty(Instant::now() + READING)
    }

    /// Sends a page and waits for the client to hang up.
    fn answer(&self, page: &Response, method: &str, deadline: Option<Instant>) {
        self.outbox.replace_all(page.parts(method));
        self.outbox.flush();
        if page.status() == 200 {
            self.outbox.wait_until_empty(Instant::now() + READING);
        }
        // One that won't hang up keeps its place for as long as one that won't finish its request.
        let now = Instant::now();
        let (least, most) = (now + SHORT_FAREWELL, now + FAREWELL);
        self.say_farewell(deadline.map_or(most, |deadline| deadline.clamp(least, most)));
    }

    /// Decides what becomes of a request from this address, and which headers an answer has.
    fn course(
        &self,
        request: &Request<'_>,
        rest: &[u8],
        from: IpAddr,
    ) -> (Course<S::Speaker>, Vec<String>) {
        if let Err(Full(why)) = self.shared.connections.locate(self.conn, from) {
            log::warn!("refused {}: {why}", self.shown(from));
            return (Course::Answered(accept::full()), Vec::new());
        }
        let service = &self.shared.service;
        let answering = AssertUnwindSafe(|| {
            (service.answer(request, from, self.conn), service.headers(request, from))
        });
        let Ok((answer, headers)) = catch_unwind(answering) else {
            log::error!("c{}: a bug in the server: no answer to its request", self.conn.0);
            Counters::note(&self.shared.counters.panics);
            return (Course::Answered(failed()), Vec::new());
        };
        let course = match answer {
            Answer::Page(page) => Course::Answered(page),
            Answer::Report(report) => Course::Report(report),
            Answer::Ask(event) => Course::Ask(event),
            Answer::Upgrade(speaker) => match request.accept() {
                Ok(accept) => Course::Join(speaker, accept, rest.to_vec()),
                Err(refusal) => Course::Answered(refusal),
            },
        };
        (course, headers)
    }

    /// The client's address for the log: with its port, unless a proxy stands between.
    fn shown(&self, from: IpAddr) -> String {
        match from == self.peer.ip() {
            true => self.peer.to_string(),
            false => from.to_string(),
        }
    }

    /// Asks the hub, which is not waited for longer than it takes to lose patience.
    fn ask(&self, event: S::Event) -> Response {
        let until = Instant::now() + ANSWER;
        let (reply, answered) = crossbeam_channel::bounded(1);
        let ask = Input::Ask { conn: self.conn, reply, until, event };
        let answer = match self.shared.inbox.send_within(ask, ANSWER) {
            Ok(()) => answered.recv_deadline(until),
            Err(inbox::Gone) => Err(RecvTimeoutError::Timeout),
        };
        match answer {
            Ok(Ok(body)) => Response::json(body),
            Ok(Err(why)) => refused(why),
            Err(_) if self.shared.stopping.has_begun() => stopping(),
            Err(RecvTimeoutError::Disconnected) if Instant::now() < until => failed(),
            Err(_) => busy(),
        }
    }

    /// Asks the hub to admit the connection; the answer to the handshake goes out together with
    /// what the hub has to say to a newcomer.
    fn join(&self, speaker: &S::Speaker, accept: Vec<u8>) -> Result<(), Response> {
        let not_now = || Response::text(503, "the server could not take you in: try again later");
        self.socket.set_read_timeout(self.shared.config.idle_timeout).map_err(|_| not_now())?;
        self.outbox.replace_all([accept.into()]);
        let (verdict, decided) = crossbeam_channel::bounded(1);
        let event = speaker.join(self.conn);
        let outbox = self.outbox.clone();
        let join = Input::Join { conn: self.conn, outbox, verdict, event };
        // From here on a stopping server must not cut it: the client may have the answer to its
        // handshake before this thread knows, and then it is to get a close.
        self.shared.connections.entrust(self.conn, true);
        let refusal = match self.shared.say(join).map(|()| decided.recv()) {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(why))) => refused(why),
            _ if self.shared.stopping.has_begun() => stopping(),
            _ => not_now(),
        };
        self.shared.connections.entrust(self.conn, false);
        Err(refusal)
    }
}

/// What a client is told that the hub doesn't let in, or do what it asked for.
fn refused(why: Refusal) -> Response {
    let (status, line) = match why {
        Refusal::Full => (503, "there are too many sessions: try again later"),
        Refusal::KeyRefused => (403, "this key does not open this session for this user"),
        Refusal::NotLoaded => (
            503,
            "this session is stored but can't be read now: whoever runs this server finds the \
             reason in its log",
        ),
        Refusal::TooBig => (413, "this canvas is larger than a session's may be"),
        Refusal::InUse => {
            (409, "somebody is in this session: it can be deleted when they have left")
        }
        Refusal::Unknown => (404, "there is no such session"),
        Refusal::NotWritten => (503, "the server can't write to its disk: nothing was changed"),
    };
    Response::text(status, line)
}

/// What a client is told when its request met a bug of ours.
fn failed() -> Response {
    Response::text(500, "internal server error: this is a bug in the server")
}

/// What a client is told that comes too late.
fn stopping() -> Response {
    Response::text(503, STOPPING).because(Reason::Stopping)
}

/// What a client is told that asks while too many others do, or too much is going on.
fn busy() -> Response {
    Response::text(503, "the server is busy: try again")
}
