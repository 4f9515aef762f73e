//! The front door: what a request asks for, and whether it may come in.
//!
//! Runs on the clients' threads. Knows paths, keys and origins; what happens inside is the hub's.

#[cfg(feature = "durable")]
mod access;
mod api;
mod gate;
#[cfg(feature = "durable")]
mod memory;
pub mod origin;
mod page;
mod route;
#[cfg(feature = "durable")]
mod stored;

#[cfg(feature = "durable")]
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
#[cfg(feature = "durable")]
use std::time::Instant;

use crate::clients::Client;
use crate::hub::{ConnId, Event, Hub};
use crate::keys::{Grant, KeyRefusal, KeyRing};
use crate::protocol::{Frame, Kind, inbound};
use crate::server::http::{Reason, Request, Response};
use crate::server::service::{Answer, Heard, Report, Role, Said, Service, Speaker};
#[cfg(feature = "durable")]
use crate::server::service::{Keeper, Tell};
use crate::sessions::{Member, Viewer};
#[cfg(feature = "durable")]
use crate::shelf::Shelf;
use api::Api;
pub use gate::Gate;
use origin::Origins;
pub use page::Page;
use route::Route;

/// What a key that opens nothing is told, whatever is wrong with it.
const NOT_WITH_THIS_KEY: &str = "a key that is in force is needed: ask whoever runs this server";
const TOO_MANY_KEYS: &str = "too many wrong keys came from this address: try again in a minute";
/// As large as a document may be by default.
const LARGEST_CANVAS: usize = 4 << 20;
const WRONG_ORIGIN: &str =
    "pages of this origin may not connect: whoever runs this server can allow it";

/// What is served on the port: sessions, the client protocol, and a few pages.
pub struct Door {
    pub gate: Arc<Gate>,
    pub origins: Origins,
    /// Whether sessions ask for a key.
    pub require_key: bool,
    /// Whether there is `/debug/client_…`.
    pub debug_endpoints: bool,
    /// What `/` is.
    pub live: Page,
    /// How long a canvas may be that is sent from outside a session, in bytes.
    pub largest_canvas: usize,
    /// What makes sessions durable, where they are.
    #[cfg(feature = "durable")]
    pub shelf: Option<Shelf>,
}

impl Door {
    /// A door with these keys that asks for none where the protocol doesn't, and is open to pages
    /// of its own origin alone.
    pub fn new(ring: KeyRing) -> Self {
        Door {
            gate: Arc::new(Gate::new(ring)),
            origins: Origins::default(),
            require_key: false,
            debug_endpoints: false,
            live: Page::default(),
            largest_canvas: LARGEST_CANVAS,
            #[cfg(feature = "durable")]
            shelf: None,
        }
    }

    /// What a key permits that was shown for a session; nothing where sessions ask for none.
    ///
    /// # Errors
    /// The answer to whoever may not come in.
    fn grant(
        &self,
        session: Option<&str>,
        key: Option<&str>,
        from: IpAddr,
    ) -> Result<Option<Grant>, Response> {
        if !self.require_key {
            return Ok(None);
        }
        match self.gate.check(key, from) {
            Ok(grant) if session.is_none_or(|session| grant.key.opens(session)) => Ok(Some(grant)),
            Ok(_) => Err(Response::text(403, NOT_WITH_THIS_KEY)),
            Err(refusal) => Err(refused(refusal)),
        }
    }

    /// The session a request wants to join, with what its key permits.
    fn session(&self, member: Member, key: Option<&str>, from: IpAddr) -> Answer<Guest> {
        match self.grant(Some(member.session()), key, from) {
            Ok(None) => Answer::Upgrade(Guest::Member(member)),
            Ok(Some(grant)) => Answer::Upgrade(Guest::Member(member.with(grant))),
            Err(refusal) => Answer::Page(refusal),
        }
    }

    /// The session a request wants to view.
    fn view(&self, session: Arc<str>, key: Option<&str>, from: IpAddr) -> Answer<Guest> {
        match self.grant(Some(&session), key, from) {
            Ok(grant) => Answer::Upgrade(Guest::Viewer(Viewer::new(session, grant))),
            Err(refusal) => Answer::Page(refusal),
        }
    }

    /// A question about sessions, or about one.
    fn ask(
        &self,
        session: Option<&str>,
        request: &Request<'_>,
        from: IpAddr,
        question: impl FnOnce(Option<Grant>) -> Event,
    ) -> Answer<Guest> {
        let key = route::key_of(request);
        match self.grant(session, key.as_deref(), from) {
            Ok(grant) => Answer::Ask(question(grant)),
            Err(refusal) => Answer::Page(refusal),
        }
    }

    /// What the server says of itself. Whether it is well is nobody's secret; the rest is as open as
    /// the sessions are.
    fn report(&self, report: Report, request: &Request<'_>, from: IpAddr) -> Answer<Guest> {
        if self.require_key
            && report != Report::Health
            && let Err(refusal) = self.gate.check(route::key_of(request).as_deref(), from)
        {
            return Answer::Page(refused(refusal));
        }
        Answer::Report(report)
    }

    fn threads(&self, request: &Request<'_>, from: IpAddr, conn: ConnId) -> Answer<Guest> {
        let key = route::key_of(request);
        match self.gate.check(key.as_deref(), from) {
            Ok(grant) => {
                let channel = request.query_value("channel");
                Answer::Ask(Event::Threads { conn, channel, grant })
            }
            Err(refusal) => Answer::Page(refused(refusal)),
        }
    }
}

impl Door {
    /// What is in memory is asked of the hub; what is stored is another matter.
    fn api(&self, page: Api, request: &Request<'_>, from: IpAddr, conn: ConnId) -> Answer<Guest> {
        let looks = matches!(request.method, "GET" | "HEAD");
        match page {
            Api::Session(session) if looks => {
                self.ask(Some(&session.clone()), request, from, |grant| Event::Details {
                    conn,
                    session,
                    grant,
                })
            }
            Api::State(session)
                if looks && !self.stores() && request.query_value("at").is_none() =>
            {
                self.ask(Some(&session.clone()), request, from, |grant| Event::State {
                    conn,
                    session,
                    grant,
                })
            }
            #[cfg(feature = "durable")]
            page => self.stored(page, request, from, conn),
            #[cfg(not(feature = "durable"))]
            _ => Answer::Page(Response::text(404, api::NOTHING_STORED)),
        }
    }

    /// Whether sessions are stored.
    fn stores(&self) -> bool {
        #[cfg(feature = "durable")]
        return self.shelf.is_some();
        #[cfg(not(feature = "durable"))]
        false
    }
}

fn refused(refusal: KeyRefusal) -> Response {
    match refusal {
        KeyRefusal::TooMany => Response::too_many(TOO_MANY_KEYS),
        KeyRefusal::Invalid | KeyRefusal::Expired => Response::text(403, NOT_WITH_THIS_KEY),
    }
}

impl Service for Door {
    type Event = Event;
    type Machine = Hub;
    type Speaker = Guest;

    fn answer(&self, request: &Request<'_>, from: IpAddr, conn: ConnId) -> Answer<Guest> {
        let route = match Route::of(request.path) {
            Ok(Route::Client { debug: true, .. }) if !self.debug_endpoints => {
                return Answer::Page(Response::text(404, route::NO_SUCH_PAGE));
            }
            // Whoever connects there with a WebSocket has forgotten the rest of the path.
            Ok(Route::Live) if request.wants_websocket() => {
                return Answer::Page(Response::text(404, route::NO_SUCH_PAGE));
            }
            Ok(route) => route,
            Err(why) => return Answer::Page(Response::text(404, why)),
        };
        let is_page = route.is_page();
        match (request.method, &route) {
            // A browser asks beforehand whether a page may send its key along.
            ("OPTIONS", _) if is_page && request.header("origin").is_some() => {}
            (method, Route::Api(page)) if page.allows(method) => {}
            (_, Route::Api(page)) => {
                let line = "this page knows other methods: its Allow header says which";
                return Answer::Page(Response::not_allowed(line, page.methods().0));
            }
            ("GET", _) => {}
            ("HEAD", _) if is_page => {}
            _ if is_page => return Answer::Page(Response::only_get_and_head("ask with GET")),
            _ => return Answer::Page(Response::only_get("a WebSocket begins with GET")),
        }
        if !self.origins.permits(request.header("origin"), request.header("host"), from) {
            return Answer::Page(Response::text(403, WRONG_ORIGIN).because(Reason::Origin));
        }
        if request.method == "OPTIONS" {
            let (methods, headers) = match &route {
                Route::Api(page) => {
                    (page.methods().1, "Access-Control-Allow-Headers: authorization, content-type")
                }
                _ => (
                    "Access-Control-Allow-Methods: GET",
                    "Access-Control-Allow-Headers: authorization",
                ),
            };
            return Answer::Page(Response::empty().with(methods).with(headers));
        }
        match route {
            Route::Session { session, user, key } => {
                let key = key.or_else(|| route::key_of(request));
                let member = Member::new(session, user, self.largest_canvas);
                self.session(member, key.as_deref(), from)
            }
            Route::Client { id, debug } => {
                let client = Client::new(id, debug, from, self.gate.clone());
                Answer::Upgrade(Guest::Client(client))
            }
            Route::View { session, key } => {
                let key = key.or_else(|| route::key_of(request));
                self.view(session, key.as_deref(), from)
            }
            Route::Sessions => {
                self.ask(None, request, from, |grant| Event::Sessions { conn, grant })
            }
            Route::Threads => self.threads(request, from, conn),
            Route::Api(page) => self.api(page, request, from, conn),
            Route::Live => Answer::Page(self.live.answer(request)),
            Route::Report(report) => self.report(report, request, from),
        }
    }

    #[cfg(feature = "durable")]
    fn begin(&self, tell: Tell<Event>) -> io::Result<Option<Arc<dyn Keeper>>> {
        self.shelf.as_ref().map_or(Ok(None), |shelf| shelf.begin(tell))
    }

    #[cfg(feature = "durable")]
    fn end(&self, deadline: Instant) {
        if let Some(shelf) = &self.shelf {
            shelf.end(deadline);
        }
    }

    /// A page whose origin is permitted may read what the API answers.
    fn headers(&self, request: &Request<'_>, from: IpAddr) -> Vec<String> {
        let origin = request
            .header("origin")
            .filter(|_| Route::of(request.path).is_ok_and(|route| route.is_page()));
        let host = request.header("host");
        let permitted = origin.and_then(|origin| self.origins.permitted(origin, host, from));
        let lines = permitted.map(|origin| {
            [format!("Access-Control-Allow-Origin: {origin}"), "Vary: Origin".to_owned()]
        });
        lines.into_iter().flatten().collect()
    }

    /// Looks whether the key file has changed.
    fn watch(&self) -> Option<Event> {
        self.gate.ring().reload().map(Event::Keys)
    }
}

/// Whoever speaks one of the two protocols.
pub enum Guest {
    /// The session protocol.
    Member(Member),
    /// The session protocol, without being a member.
    Viewer(Viewer),
    /// The client protocol.
    Client(Client),
}

impl Speaker for Guest {
    type Event = Event;

    fn join(&self, conn: ConnId) -> Event {
        match self {
            Guest::Member(member) => member.join(conn),
            Guest::Viewer(viewer) => viewer.join(conn),
            Guest::Client(client) => client.join(conn),
        }
    }

    fn hear(&mut self, conn: ConnId, heard: Heard<'_>) -> Said<Event> {
        if let Heard::Text(text) = heard
            && log::log_enabled!(log::Level::Debug)
        {
            let kind = inbound::type_of(text);
            let kind: Option<String> = kind.map(|kind| kind.chars().take(64).collect());
            log::debug!("c{}: {kind:?}, {} bytes", conn.0, text.len());
        }
        match self {
            Guest::Member(member) => member.hear(conn, heard),
            Guest::Viewer(viewer) => viewer.hear(conn, heard),
            Guest::Client(client) => client.hear(conn, heard),
        }
    }

    fn last_kind(&self) -> Kind {
        match self {
            Guest::Member(member) => member.last_kind(),
            Guest::Viewer(viewer) => viewer.last_kind(),
            Guest::Client(client) => client.last_kind(),
        }
    }

    fn role(&self) -> Role {
        match self {
            Guest::Member(member) => member.role(),
            Guest::Viewer(viewer) => viewer.role(),
            Guest::Client(client) => client.role(),
        }
    }

    fn largest(&self) -> Option<usize> {
        match self {
            Guest::Member(member) => member.largest(),
            Guest::Viewer(viewer) => viewer.largest(),
            Guest::Client(client) => client.largest(),
        }
    }

    fn largest_of_large(&self) -> Option<usize> {
        match self {
            Guest::Member(member) => member.largest_of_large(),
            Guest::Viewer(viewer) => viewer.largest_of_large(),
            Guest::Client(client) => client.largest_of_large(),
        }
    }

    fn may_be_large(&self, text: &str) -> bool {
        match self {
            Guest::Member(member) => member.may_be_large(text),
            Guest::Viewer(viewer) => viewer.may_be_large(text),
            Guest::Client(client) => client.may_be_large(text),
        }
    }

    fn apology(&self) -> Option<Frame> {
        match self {
            Guest::Member(member) => member.apology(),
            Guest::Viewer(viewer) => viewer.apology(),
            Guest::Client(client) => client.apology(),
        }
    }

    fn user(&self) -> &str {
        match self {
            Guest::Member(member) => member.user(),
            Guest::Viewer(viewer) => viewer.user(),
            Guest::Client(client) => client.user(),
        }
    }

    fn place(&self) -> String {
        match self {
            Guest::Member(member) => member.place(),
            Guest::Viewer(viewer) => viewer.place(),
            Guest::Client(client) => client.place(),
        }
    }

    fn overrun(&self) -> Option<(u16, &'static str)> {
        match self {
            Guest::Member(member) => member.overrun(),
            Guest::Viewer(viewer) => viewer.overrun(),
            Guest::Client(client) => client.overrun(),
        }
    }
}
