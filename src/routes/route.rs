//! The types of the route table (`table.rs`): each path has its methods, who may call them, their
//! handlers and their documentation. 404, 405, `Allow`, the responses to `OPTIONS` and the OpenAPI
//! description come from it.

use super::Router;
use crate::auth::Grant;
use crate::http::{Request, Response};
use crate::hub::ConnId;
use crate::net::service::Outcome;

use std::net::IpAddr;

pub struct Route {
    /// As it is documented. `{id}` is one segment, percent-encoded; `{id*}` is the rest of the
    /// path.
    pub path: &'static str,
    pub kind: RouteKind,
    /// The methods in the order in which `Allow` lists them.
    pub endpoints: &'static [Endpoint],
}

/// What kind of resource a path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// A response without a WebSocket.
    Page,
    /// A page that tells only whether the server is well, under any host name.
    Health,
    /// A WebSocket. A key may stand before its path: `/key/{key}`.
    Socket,
    /// A WebSocket that exists only where the operator asked for it.
    DebugSocket,
}

pub struct Endpoint {
    pub method: Method,
    pub permission: Permission,
    pub handle: Handler,
    pub about: EndpointDoc,
}

/// The methods that exist. `HEAD` is permitted wherever `GET` of a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// Who may make a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Public,
    /// Everyone, where sessions need no key. Otherwise a key is needed that opens the session in
    /// the path, or any key where the path has no session.
    Reader,
    /// Any key that is in force.
    KeyHolder,
    /// An admin key that opens the session; where there are no keys, a program on this machine.
    Admin,
}

/// Answers a request that is permitted.
pub type Handler = fn(&Router, Call<'_>) -> Result<Outcome, Response>;

/// A permitted request, as its handler gets it.
pub struct Call<'a> {
    pub request: &'a Request<'a>,
    pub conn: ConnId,
    pub from: IpAddr,
    /// The decoded values of the names in braces.
    pub ids: Vec<String>,
    /// What the request's key permits; `None` where no key was needed.
    pub grant: Option<Grant>,
    /// Who makes the request, for the log; empty where nothing is changed.
    #[cfg_attr(
        not(feature = "durable"),
        allow(dead_code, reason = "only stored sessions are changed")
    )]
    pub by: String,
}

impl Call<'_> {
    /// The value of the first name in braces: a session.
    pub fn session(&self) -> std::sync::Arc<str> {
        self.ids.first().map_or("", String::as_str).into()
    }
}

/// The documentation of an endpoint, for the OpenAPI description.
pub struct EndpointDoc {
    /// The `operationId`, which is unique.
    pub id: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// What the body is; `None` where there is none.
    pub body: Option<&'static str>,
    pub answers: &'static [Success],
    /// The statuses of its own refusals, besides those of [`Permission`] and those of any request.
    pub refusals: &'static [u16],
}

pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    /// The type in JSON Schema.
    pub kind: &'static str,
    pub is_required: bool,
}

/// A response that is no refusal.
pub struct Success {
    pub status: u16,
    pub about: &'static str,
    /// Empty where there is no body.
    pub content_type: &'static str,
    /// The fields that a JSON object has in any case.
    pub fields: &'static [&'static str],
}

/// The route of a path, and the values in the path.
pub struct RouteMatch {
    pub route: &'static Route,
    /// The decoded values of the names in braces.
    pub ids: Vec<String>,
    /// The key before the path; empty where it can't be decoded.
    pub key: Option<String>,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

impl Route {
    /// True where the route is not a WebSocket.
    pub fn is_page(&self) -> bool {
        matches!(self.kind, RouteKind::Page | RouteKind::Health)
    }

    /// The endpoint of a method; `None` where the path doesn't have it.
    pub fn endpoint(&self, method: &str) -> Option<&'static Endpoint> {
        let method = if method == "HEAD" && self.is_page() { "GET" } else { method };
        self.endpoints.iter().find(|endpoint| endpoint.method.name() == method)
    }

    /// The session that a request is about, of the values in its path.
    pub fn session_of<'i>(&self, ids: &'i [String]) -> Option<&'i str> {
        let names_session = self.path.contains("{id}") || self.path.contains("{session}");
        ids.first().filter(|_| names_session).map(String::as_str)
    }

    /// The path's methods without `OPTIONS`, as `Allow` lists them.
    pub fn methods(&self) -> String {
        let mut methods = Vec::new();
        for endpoint in self.endpoints {
            methods.push(endpoint.method.name());
            if endpoint.method == Method::Get && self.is_page() {
                methods.push("HEAD");
            }
        }
        methods.join(", ")
    }
}

impl Route {
    /// True where a key may stand before the path: on the session protocol. The client protocol has
    /// it in its first message.
    pub fn takes_key_before(&self) -> bool {
        self.kind == RouteKind::Socket && !self.path.starts_with("/client_")
    }

    /// Matches a path, without its first slash, and returns the values of the names in braces as
    /// sent; `None` where it doesn't match.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let (mut pattern, mut path) = (self.path.strip_prefix('/')?, path);
        let mut parts = Vec::new();
        while let Some((before, rest)) = pattern.split_once('{') {
            path = path.strip_prefix(before)?;
            let (name, after) = rest.split_once('}')?;
            let end = match name.ends_with('*') {
                true => path.len(),
                false => path.find('/').unwrap_or(path.len()),
            };
            let (part, left) = path.split_at(end);
            parts.push(part);
            (pattern, path) = (after, left);
        }
        (pattern == path).then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{ROUTES, find};
    use super::*;

    /// The pattern of the route that a path matches, the values in it, and the key before it.
    fn found(path: &str) -> Option<(&'static str, Vec<String>, Option<String>)> {
        find(path).ok().map(|RouteMatch { route, ids, key }| (route.path, ids, key))
    }

    #[test]
    fn paths_lead_to_what_is_documented() {
        let longest = "ü".repeat(128);
        let long = format!("/ws/{longest}/{longest}");
        for (path, route, ids, key) in [
            ("/", "/", &[][..], None),
            ("//", "/", &[], None),
            ("/healthz", "/healthz", &[], None),
            ("/healthz/", "/healthz", &[], None),
            ("/metrics", "/metrics", &[], None),
            ("/api/server//", "/api/server", &[], None),
            ("/api/openapi.json", "/api/openapi.json", &[], None),
            ("/api/chat/threads", "/api/chat/threads", &[], None),
            ("/api/chat/threads/", "/api/chat/threads", &[], None),
            ("/api/sessions", "/api/sessions", &[], None),
            ("/api/sessions/", "/api/sessions", &[], None),
            ("/api/sessions/a%2fb", "/api/sessions/{id}", &["a/b"], None),
            ("/api/sessions/a/", "/api/sessions/{id}", &["a"], None),
            ("/api/sessions/state", "/api/sessions/{id}", &["state"], None),
            ("/api/sessions/%20/state", "/api/sessions/{id}/state", &[" "], None),
            ("/api/sessions/state/state/", "/api/sessions/{id}/state", &["state"], None),
            ("/api/sessions/../versions", "/api/sessions/{id}/versions", &[".."], None),
            ("/api/sessions/a/changes", "/api/sessions/{id}/changes", &["a"], None),
            ("/api/sessions/a/restore", "/api/sessions/{id}/restore", &["a"], None),
            ("/api/sessions/a/rename", "/api/sessions/{id}/rename", &["a"], None),
            ("/api/sessions/a/copy/", "/api/sessions/{id}/copy", &["a"], None),
            (
                "/api/sessions/a/items/b%2Fc/restore",
                "/api/sessions/{id}/items/{item}/restore",
                &["a", "b/c"],
                None,
            ),
            ("/api/connections/12", "/api/connections/{connection}", &["12"], None),
            ("/api/stored", "/api/stored", &[], None),
            ("/api/compact/", "/api/compact", &[], None),
            ("/ws/default/alice", "/ws/{session}/{user*}", &["default", "alice"], None),
            ("/ws/a%20b/m%C3%BCller%25", "/ws/{session}/{user*}", &["a b", "müller%"], None),
            ("/ws/../b/c/d", "/ws/{session}/{user*}", &["..", "b/c/d"], None),
            ("/ws/a/b/", "/ws/{session}/{user*}", &["a", "b/"], None),
            ("/ws/a%2Fb/c", "/ws/{session}/{user*}", &["a/b", "c"], None),
            ("/key/SECRET/ws/a/b", "/ws/{session}/{user*}", &["a", "b"], Some("SECRET")),
            ("/key/S%2FT//ws/a/b", "/ws/{session}/{user*}", &["a", "b"], Some("S/T")),
            ("/key/%zz/ws/a/b", "/ws/{session}/{user*}", &["a", "b"], Some("")),
            ("//ws/a/b", "/ws/{session}/{user*}", &["a", "b"], None),
            ("/ws/key/ws", "/ws/{session}/{user*}", &["key", "ws"], None),
            ("/ws/client_a/b", "/ws/{session}/{user*}", &["client_a", "b"], None),
            (&long, "/ws/{session}/{user*}", &[&longest, &longest], None),
            ("/view/a%20b", "/view/{session}", &["a b"], None),
            ("//view/a%2Fb", "/view/{session}", &["a/b"], None),
            ("/key/S/view/view", "/view/{session}", &["view"], Some("S")),
            ("/client_ui", "/client_{client*}", &["ui"], None),
            ("/client_a/b", "/client_{client*}", &["a/b"], None),
            ("//client_x", "/client_{client*}", &["x"], None),
            ("/debug/client_x", "/debug/client_{client*}", &["x"], None),
        ] {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(found(path), Some((route, ids, key.map(str::to_owned))), "{path}");
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        let too_long = format!("/ws/a/{}", "x".repeat(129));
        let too_long_client = format!("/client_{}", "x".repeat(129));
        let too_long_session = format!("/api/sessions/{}", "x".repeat(129));
        for path in [
            "",
            "*",
            "/Metrics",
            "/index.html",
            "/api",
            "/api/",
            "ws/a/b",
            "/ws",
            "/ws/",
            "/ws/a",
            "/ws/a/",
            "/ws//b",
            "/wss/a/b",
            "/x/ws/a/b",
            "/key/ws/a/b",
            "/key/k/",
            "/key/k",
            "/ws/a/%",
            "/ws/a/%4",
            "/ws/a/%zz",
            "/ws/a/%ff",
            "/ws/a/b%00",
            "/ws/a%0Ab/c",
            "/ws/a/%C2%85",
            "/client",
            "/client_",
            "/client_%00",
            "/debug/client_",
            "/debug/ws/a/b",
            "/key/k/client_a",
            "/key/k/debug/client_a",
            "/key/k/healthz",
            "/key/k/api/sessions",
            "/view",
            "/view/",
            "/view/a/b",
            "/view/a/",
            "/view/%00",
            "/api/sessions/a/states",
            "/api/sessions/a/b/state",
            "/api/sessions//state",
            "/api/sessions/%ff",
            "/api/sessions/%00",
            "/api/nothing",
            &too_long,
            &too_long_client,
            &too_long_session,
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn the_api_says_nothing_of_websockets() {
        for path in ["/api", "/api/", "/api/nothing", "/api/sessions/a/states", "/api/sessions/%ff"]
        {
            let why = find(path).err().expect("nothing");
            assert!(!why.contains("/ws/") && !why.contains("WebSocket"), "{path}: {why}");
        }
        for path in ["/apis", "/ws/a", "/"] {
            let why = find(path).err();
            assert!(why.is_none_or(|why| why.contains("WebSocket")), "{path}");
        }
    }

    #[test]
    fn a_page_knows_its_methods_and_a_websocket_begins_with_get() {
        let methods = |path: &str| find(path).map(|found| found.route.methods()).ok();
        for (path, allowed) in [
            ("/", "GET, HEAD"),
            ("/api/sessions/a", "GET, HEAD, DELETE"),
            ("/api/sessions/a/state", "GET, HEAD, PUT"),
            ("/api/sessions/a/restore", "POST"),
            ("/ws/a/b", "GET"),
        ] {
            assert_eq!(methods(path).as_deref(), Some(allowed), "{path}");
            let route = find(path).unwrap_or_else(|why| panic!("{path}: {why}")).route;
            for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "get", "", "TRACE"] {
                let is_known = route.endpoint(method).is_some();
                assert_eq!(is_known, allowed.split(", ").any(|one| one == method), "{method}");
            }
        }
    }

    /// The metrics count by them.
    #[test]
    fn every_documented_status_is_one_that_is_counted() {
        for endpoint in ROUTES.iter().flat_map(|route| route.endpoints) {
            let answers = endpoint.about.answers.iter().map(|answer| answer.status);
            for status in answers.chain(endpoint.about.refusals.iter().copied()) {
                let is_known = crate::http::STATUSES.iter().any(|(known, _)| *known == status);
                assert!(is_known, "{} {status}", endpoint.about.id);
            }
        }
    }

    #[test]
    fn each_endpoint_has_a_name_of_its_own() {
        let mut ids: Vec<&str> =
            ROUTES.iter().flat_map(|route| route.endpoints).map(|one| one.about.id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
