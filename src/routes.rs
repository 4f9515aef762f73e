//! Routes: checks who may make a request and calls its handler.
//!
//! Runs on the clients' threads. It knows paths, keys and origins; the hub owns all sessions.
//! `table.rs` lists every path, and every request goes through `Router::decide`.

mod admission;
#[cfg(feature = "durable")]
mod archive_api;
mod channel_handler;
mod hosts;
mod live_page;
#[cfg(feature = "durable")]
mod memory_api;
mod openapi;
pub mod origin;
mod path_ids;
mod refusal_log;
mod route;
mod session_handler;
mod sessions_api;
mod table;

#[cfg(feature = "durable")]
use std::io;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "durable")]
use std::time::Instant;

use crate::auth::Authenticator;
use crate::auth::KeyStore;
use crate::http::{Reason, Request, Response};
use crate::hub::{ConnId, Event};
#[cfg(feature = "durable")]
use crate::journal::Journal;
#[cfg(feature = "durable")]
use crate::net::service::Tell;
use crate::net::service::{Outcome, Report, Requester, Service};
#[cfg(feature = "durable")]
use crate::persistence::Persistence;
use crate::protocol::inbound::{self, Since};
use admission::{AccessRequest, Admission};
use channel_handler::ChannelHandler;
pub use hosts::Hosts;
pub use live_page::Page;
use origin::Origins;
use refusal_log::RefusalLog;
use route::{Call, Method, Permission, Route, RouteKind, RouteMatch};
pub use session_handler::TEMPORARY_HEADER;
use session_handler::{SessionHandler, ViewerHandler};

/// The default bound of a canvas from outside a session, in bytes: as large as a document may be by
/// default.
const DEFAULT_MAX_CANVAS_BYTES: usize = 4 << 20;
const WRONG_ORIGIN: &str = "pages of this origin may not connect: the operator of this server can allow it with --allow-origin";
const WRONG_HOST: &str = "this server doesn't serve pages under this host name: use its IP address, or ask \
                          its operator to allow the name with --allow-host";
const OTHER_METHODS: &str =
    "this path doesn't have this method: the Allow header lists those it has";
const BAD_SINCE: &str = "`since` has to be a whole number: the `seq` of the state that you have";
const NO_WEBSOCKET: &str = "this address speaks WebSocket: connect with ws://";

/// All that is served on the port: sessions, the client protocol, the API and a few pages.
pub struct Router {
    pub authenticator: Arc<Authenticator>,
    pub origins: Origins,
    /// The host names under which pages may call the server.
    pub hosts: Hosts,
    /// True where sessions need a key.
    pub require_key: bool,
    /// True where `/debug/client_…` exists.
    pub debug_endpoints: bool,
    pub live: Page,
    /// The largest canvas that is sent from outside a session, in bytes.
    pub largest_canvas: usize,
    /// Logs the pages that were refused.
    pub refusals: RefusalLog,
    /// Stores the sessions; `None` where they are only in memory.
    #[cfg(feature = "durable")]
    pub persistence: Option<Persistence>,
    /// Why sessions are not stored, where nobody has asked for that.
    #[cfg(feature = "durable")]
    pub not_stored: Option<String>,
}

impl Router {
    /// A router with these keys. It needs no key where the protocol needs none, and allows only
    /// pages of its own origin.
    pub fn new(keys: KeyStore) -> Self {
        Router {
            authenticator: Arc::new(Authenticator::new(keys)),
            origins: Origins::default(),
            hosts: Hosts::default(),
            require_key: false,
            debug_endpoints: false,
            live: Page::default(),
            largest_canvas: DEFAULT_MAX_CANVAS_BYTES,
            refusals: RefusalLog::default(),
            #[cfg(feature = "durable")]
            persistence: None,
            #[cfg(feature = "durable")]
            not_stored: None,
        }
    }

    /// Decides on a request: first its path, then its method, its origin and its key.
    ///
    /// # Errors
    /// The refusal.
    fn decide(
        &self,
        request: &Request<'_>,
        from: Requester,
        conn: ConnId,
    ) -> Result<Outcome, Response> {
        // Some load balancers ask this of the server as a whole.
        if (request.method, request.path) == ("OPTIONS", "*") {
            return Ok(Outcome::Page(
                Response::empty().with("Allow: GET, HEAD, PUT, POST, DELETE"),
            ));
        }
        let RouteMatch { route, ids, key } =
            table::find(request.path).map_err(|why| Response::text(404, why))?;
        let wants_websocket = request.wants_websocket();
        let is_nothing = match route.kind {
            RouteKind::DebugSocket => !self.debug_endpoints,
            // A client that connects to `/` with a WebSocket has left out the rest of the path.
            RouteKind::Page => route.path == "/" && wants_websocket,
            _ => false,
        };
        if is_nothing {
            return Err(Response::text(404, path_ids::NO_SUCH_PAGE));
        }
        // Browsers ask by `OPTIONS` whether a page may send a key; load balancers ask whether the
        // server runs.
        let is_question = request.method == "OPTIONS" && route.is_page();
        let endpoint = route.endpoint(request.method);
        if endpoint.is_none() && !is_question {
            return Err(Response::text(405, OTHER_METHODS).with(allow(route)));
        }
        let is_handshake = wants_websocket && !route.is_page();
        self.check_page(request, from, route)?;
        let Some(endpoint) = endpoint.filter(|_| !is_question) else {
            return Ok(Outcome::Page(answer_to_options(route)));
        };
        // A key before the path is ignored unless the request is a handshake: any page can make its
        // visitor's browser send such a request.
        if !route.is_page() && !is_handshake {
            return Err(Response::upgrade_required(NO_WEBSOCKET));
        }
        let of_query = match endpoint.permission {
            Permission::Admin if route.session_of(&ids).is_none() => {
                request.query_value("session").filter(|_| ids.is_empty())
            }
            _ => None,
        };
        let session = route.session_of(&ids).or(of_query.as_deref());
        let key = admission::key_of(key, is_handshake, request);
        let is_for_programs = self.is_for_programs(request.path);
        let from = from.address;
        let access = AccessRequest { request, from, is_for_programs, key, session };
        let Admission { grant, by } = self.admit(endpoint.permission, &access)?;
        (endpoint.handle)(self, Call { request, conn, from, ids, grant, by })
    }

    /// Refuses a request that may come from a page which is not allowed.
    fn check_page(
        &self,
        request: &Request<'_>,
        from: Requester,
        route: &Route,
    ) -> Result<(), Response> {
        let (origin, host) = (request.header("origin"), request.header("host"));
        // A trusted proxy checks the name itself. On the path of a WebSocket a request without an
        // origin can't come from a page, or it gets no more than a refusal.
        let is_asked = origin.is_some() || route.kind == RouteKind::Page;
        if is_asked && !from.by_proxy && !self.hosts.permits(host) {
            let why = "a request to another name than this server's: --allow-host";
            self.refusals.count(from.address, why);
            return Err(Response::text(421, WRONG_HOST));
        }
        if !self.origins.permits(origin, host, from.address) {
            let shown = origin.map(origin::shown).unwrap_or_default();
            self.refusals.count(from.address, &format!("a page of {shown}: --allow-origin"));
            return Err(Response::text(403, WRONG_ORIGIN).with_reason(Reason::Origin));
        }
        Ok(())
    }

    /// The directory in which sessions are stored; `None` where they are not.
    pub fn directory(&self) -> Option<&Path> {
        #[cfg(feature = "durable")]
        return self.persistence.as_ref().map(|persistence| persistence.archive().directory());
        #[cfg(not(feature = "durable"))]
        None
    }

    /// True where sessions are stored.
    fn stores(&self) -> bool {
        #[cfg(feature = "durable")]
        return self.persistence.is_some();
        #[cfg(not(feature = "durable"))]
        false
    }
}

fn allow(route: &Route) -> String {
    format!("Allow: {}", route.methods())
}

/// The response to `OPTIONS`: what a browser needs before it sends a page's request.
fn answer_to_options(route: &Route) -> Response {
    let has_body = route.endpoints.iter().any(|endpoint| endpoint.method != Method::Get);
    let headers = match has_body {
        true => "Access-Control-Allow-Headers: authorization, content-type",
        false => "Access-Control-Allow-Headers: authorization",
    };
    let methods = format!("Access-Control-Allow-Methods: {}", route.methods());
    Response::empty().with(allow(route)).with(methods).with(headers)
}

/// The handlers of routes that are neither about one session nor about stored data.
impl Router {
    fn live(&self, _: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Page(self.live.answer()))
    }

    fn health(&self, _: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Report(Report::Health))
    }

    fn metrics(&self, _: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Report(Report::Metrics))
    }

    fn server(&self, call: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Report(Report::Server { may_administer: self.may_administer(&call) }))
    }

    fn connections(&self, _: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Report(Report::Connections))
    }

    fn description(&self, _: Call<'_>) -> Result<Outcome, Response> {
        Ok(Outcome::Page(openapi::answer()))
    }

    fn threads(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let channel = call.request.query_value("channel");
        match call.grant {
            Some(grant) => Ok(Outcome::Ask(Event::Threads { conn: call.conn, channel, grant })),
            None => Err(Response::text(404, path_ids::NO_SUCH_API)),
        }
    }

    fn join(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let [session, user] = &call.ids[..] else {
            return Err(Response::text(404, path_ids::BAD_ID));
        };
        let member =
            SessionHandler::new(session.as_str().into(), user.as_str().into(), self.largest_canvas);
        let member = member.with_temporary(call.request.header(TEMPORARY_HEADER) == Some("1"));
        Ok(Outcome::Upgrade(Box::new(match call.grant {
            Some(grant) => member.with_grant(grant),
            None => member,
        })))
    }

    fn view(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let given = |name| call.request.query_value(name);
        let since = match (given("epoch"), given("since")) {
            (Some(epoch), Some(seq)) => {
                let seq = seq.parse().map_err(|_| Response::text(400, BAD_SINCE))?;
                Some(Since { epoch, seq })
            }
            _ => None,
        };
        Ok(Outcome::Upgrade(Box::new(ViewerHandler::new(call.session(), call.grant, since))))
    }

    fn client(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let id = call.session();
        let client =
            ChannelHandler::new((&*id).into(), false, call.from, self.authenticator.clone());
        Ok(Outcome::Upgrade(Box::new(client)))
    }

    fn debug_client(&self, call: Call<'_>) -> Result<Outcome, Response> {
        let id = call.session();
        let client =
            ChannelHandler::new((&*id).into(), true, call.from, self.authenticator.clone());
        Ok(Outcome::Upgrade(Box::new(client)))
    }
}

impl Service for Router {
    fn answer(&self, request: &Request<'_>, from: Requester, conn: ConnId) -> Outcome {
        self.decide(request, from, conn).unwrap_or_else(Outcome::Page)
    }

    #[cfg(feature = "durable")]
    fn begin(&self, tell: Tell) -> io::Result<Option<Arc<dyn Journal>>> {
        self.persistence.as_ref().map_or(Ok(None), |persistence| persistence.begin(tell))
    }

    #[cfg(feature = "durable")]
    fn end(&self, deadline: Instant) {
        if let Some(persistence) = &self.persistence {
            persistence.end(deadline);
        }
    }

    fn notes(&self) -> Vec<String> {
        let in_memory = "sessions are kept in memory only, and are forgotten when the server stops";
        match self.not_stored() {
            Some(why) => vec![format!("{in_memory}: {why}")],
            None if self.stores() => Vec::new(),
            None => vec![in_memory.into()],
        }
    }

    #[cfg(feature = "durable")]
    fn not_stored(&self) -> Option<&str> {
        self.not_stored.as_deref()
    }

    /// Lets a page read the API's response where its origin is allowed.
    fn headers(&self, request: &Request<'_>, from: Requester) -> Vec<String> {
        let origin = request
            .header("origin")
            .filter(|_| table::find(request.path).is_ok_and(|found| found.route.is_page()));
        let host = request.header("host");
        if !from.by_proxy && !self.hosts.permits(host) {
            return Vec::new();
        }
        let permitted =
            origin.and_then(|origin| self.origins.permitted(origin, host, from.address));
        let lines = permitted.map(|origin| {
            [format!("Access-Control-Allow-Origin: {origin}"), "Vary: Origin".to_owned()]
        });
        lines.into_iter().flatten().collect()
    }

    fn is_for_programs(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        path.strip_prefix("api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn routes(&self) -> Vec<&'static str> {
        table::ROUTES.iter().map(|route| route.path).collect()
    }

    fn route_of(&self, path: &str) -> Option<usize> {
        let found = table::find(path).ok()?.route;
        table::ROUTES.iter().position(|route| std::ptr::eq(route, found))
    }

    /// Reloads the key file if it has changed.
    fn watch(&self) -> Option<Event> {
        self.authenticator.keys().reload(false).map(Event::Keys)
    }

    fn reload(&self) -> Option<Event> {
        self.authenticator.keys().reload(true).map(Event::Keys)
    }

    fn can_reload(&self) -> bool {
        self.authenticator.keys().has_file()
    }
}

/// Logs, at level debug, the type and size of a message that a connection has sent.
fn log_message(conn: ConnId, text: &str) {
    if log::log_enabled!(log::Level::Debug) {
        let kind: Option<String> =
            inbound::type_of(text).map(|kind| kind.chars().take(64).collect());
        log::debug!("c{}: {kind:?}, {} bytes", conn.0, text.len());
    }
}
