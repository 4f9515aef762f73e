//! One client's thread until its connection is a WebSocket, or is answered in another way.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::accept;
use super::connection::{Client, FAREWELL};
use super::connections::Full;
use super::dispatch::Input;
use super::forwarded;
use super::http::{self, HeadError, Request, Response};
use super::inbox;
use super::service::{Act, Answer, Inside, STOPPING, Service, Speaker, Unanswered, Work, refused};

/// How long at least a client is given to hang up, where the handshake has used up its time.
const SHORT_FAREWELL: Duration = Duration::from_millis(250);
/// How long the hub is given to answer what is asked without a WebSocket.
const ANSWER: Duration = Duration::from_secs(1);
/// And to do something about what it is asked, up to the moment when that is on disk.
const DONE: Duration = Duration::from_secs(10);
/// How often whoever waits for that looks whether the server is stopping.
const LOOK: Duration = Duration::from_millis(100);
/// How long an answer that isn't a refusal may take to be read: it may be large.
const READING: Duration = Duration::from_secs(10);

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
    /// The hub is asked.
    Ask(S::Event),
    /// It is worked on.
    Work(Order<S::Event>),
    /// The connection becomes a WebSocket: who speaks on it, the answer to the handshake, and what
    /// came after the request already.
    Join(S, Vec<u8>, Vec<u8>),
}

/// Something to be worked on, and what is known of its body.
struct Order<E> {
    act: Box<Act<E>>,
    /// How long the body is, and what of it is there already.
    length: usize,
    begun: Vec<u8>,
    /// Whether the client waits to be told that it may send it.
    is_waiting: bool,
}

impl<S: Service> Client<'_, S> {
    /// Reads the request and answers it. `None` where the connection has ended with that.
    pub(super) fn shake_hands(&self) -> Option<Joined<S::Speaker>> {
        let timeout = self.shared.config.handshake_timeout;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let read = http::read_head(&self.socket, deadline, |request, rest| {
            let trusted = &self.shared.config.trusted_proxies;
            let forwarded = request.headers("x-forwarded-for");
            let from = forwarded::client_address(self.peer.ip(), forwarded, trusted);
            let method = if request.method == "HEAD" { "HEAD" } else { "GET" };
            let (course, headers) = self.course(request, rest, from);
            (course, headers, method, self.shown(from))
        });
        let (course, headers, method, from) = match read {
            Ok(course) => course,
            Err(HeadError::Refuse(page)) => {
                (Course::Answered(page), Vec::new(), "GET", self.peer.to_string())
            }
            // A probe that connects and leaves is nobody's business.
            Err(HeadError::Gone) => return None,
        };
        // Held until the answer has been read: until then it takes memory.
        let mut turn = None;
        let page = match course {
            Course::Answered(page) => page,
            Course::Ask(event) => {
                turn = self.shared.questions.ask();
                if turn.is_some() { self.ask(event) } else { busy() }
            }
            Course::Work(order) => {
                turn = self.shared.work.ask();
                if turn.is_some() { self.work(order, deadline) } else { busy() }
            }
            Course::Join(speaker, accept, rest) => match self.join(&speaker, accept) {
                Ok(()) => return Some(Joined { speaker, rest, from }),
                Err(page) => page,
            },
        };
        let page = headers.into_iter().fold(page, Response::with);
        log::debug!("c{}: answered {from} with {}", self.conn.0, page.status());
        self.answer(&page, method, deadline);
        if turn.is_some() {
            let _ = self.shared.inbox.send(Input::Gone(self.conn));
        }
        None
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
            return (Course::Answered(failed()), Vec::new());
        };
        let course = match answer {
            Answer::Page(page) => Course::Answered(page),
            Answer::Ask(event) => Course::Ask(event),
            Answer::Work(Work { body, act }) => match http::body_length(request, body) {
                Ok(length) => Course::Work(Order {
                    act,
                    length,
                    begun: rest.to_vec(),
                    is_waiting: http::expects_continue(request),
                }),
                Err(refusal) => Course::Answered(refusal),
            },
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

    /// Reads what comes after the head, and has the work done.
    #[inline(never)] // a name in thread dumps
    fn work(&self, order: Order<S::Event>, deadline: Option<Instant>) -> Response {
        let Order { act, length, begun, is_waiting } = order;
        if is_waiting && begun.len() < length {
            self.outbox.replace_all([http::CONTINUE.into()]);
            self.outbox.flush();
        }
        let body = match http::read_body(&self.socket, begun, length, deadline) {
            Ok(body) => body,
            Err(HeadError::Refuse(page)) => return page,
            Err(HeadError::Gone) => return Response::text(400, "the request ended too early"),
        };
        let working = AssertUnwindSafe(|| act(body, self));
        catch_unwind(working).unwrap_or_else(|_| {
            log::error!("c{}: a bug in the server: no answer to its request", self.conn.0);
            failed()
        })
    }

    /// Asks the hub, which is not waited for longer than it takes to lose patience.
    fn ask(&self, event: S::Event) -> Response {
        match self.reply(event, ANSWER) {
            Ok(body) => Response::json(body),
            Err(Unanswered::Lost) => failed(),
            Err(Unanswered::Busy) => busy(),
            Err(why) => why.page(),
        }
    }

    /// The hub's reply, for which it has so much time.
    fn reply(&self, event: S::Event, patience: Duration) -> Result<Vec<u8>, Unanswered> {
        let until = Instant::now() + patience;
        let (reply, answered) = crossbeam_channel::bounded(1);
        let ask = Input::Ask { conn: self.conn, reply, until, event };
        let is_stopping = || self.shared.stopping.has_begun();
        if self.shared.inbox.send_within(ask, patience.min(ANSWER)) == Err(inbox::Gone) {
            return Err(if is_stopping() { Unanswered::Stopping } else { Unanswered::Busy });
        }
        // What was done shortly before the server stops may still be written.
        let mut looks_left = 3;
        let why = loop {
            match answered.recv_deadline(until.min(Instant::now() + LOOK)) {
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
            _ if self.shared.stopping.has_begun() => Response::text(503, STOPPING),
            _ => not_now(),
        };
        self.shared.connections.entrust(self.conn, false);
        Err(refusal)
    }
}

impl<S: Service> Inside<S::Event> for Client<'_, S> {
    fn ask(&self, event: S::Event) -> Result<Vec<u8>, Unanswered> {
        if let Some(keeper) = &self.shared.keeper {
            keeper.wait_for_room();
        }
        self.reply(event, DONE)
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
