//! Which path is what, and where a key may stand.

use std::sync::Arc;

use data_encoding::BASE64;

use super::api::Api;
use crate::protocol::UserId;
use crate::server::http::{Request, percent_decoded};
use crate::server::service::Report;

/// The longest session, user or client id, in characters.
const LONGEST_ID: usize = 128;
/// What a refused path is told.
pub const NO_SUCH_PAGE: &str = "there is nothing here: connect with a WebSocket to \
                                /ws/SESSION/USER or /client_CLIENT";
const BAD_ID: &str = "bad id: connect to /ws/SESSION/USER or /client_CLIENT, each id 1 to 128 \
                      characters of percent-encoded UTF-8 without control characters";

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `[/key/KEY]/ws/SESSION/USER`
    Session { session: Arc<str>, user: UserId, key: Option<String> },
    /// `[/key/KEY]/view/SESSION`
    View { session: Arc<str>, key: Option<String> },
    /// `/api/sessions`
    Sessions,
    /// `[/debug]/client_CLIENT`
    Client { id: UserId, debug: bool },
    /// `/api/chat/threads`
    Threads,
    /// `/api/sessions/…` and what is stored.
    Api(Api),
    /// `/`
    Live,
    /// `/healthz`, `/metrics`, `/api/server`, `/api/connections`
    Report(Report),
}

impl Route {
    /// What a path, as sent and without its query, asks for. The editor's user typed the part before
    /// `/ws`, so more slashes than needed do no harm there.
    ///
    /// # Errors
    /// What a 404 says.
    pub fn of(path: &str) -> Result<Route, &'static str> {
        let path = path.strip_prefix('/').ok_or(NO_SUCH_PAGE)?.trim_start_matches('/');
        if let Some(id) = path.strip_prefix("client_") {
            return Ok(Route::Client { id: id_of(id)?.into(), debug: false });
        }
        if let Some(id) = path.strip_prefix("debug/client_") {
            return Ok(Route::Client { id: id_of(id)?.into(), debug: true });
        }
        match path {
            "" => return Ok(Route::Live),
            "healthz" => return Ok(Route::Report(Report::Health)),
            "metrics" => return Ok(Route::Report(Report::Metrics)),
            "api/server" => return Ok(Route::Report(Report::Server)),
            "api/connections" => return Ok(Route::Report(Report::Connections)),
            "api/chat/threads" => return Ok(Route::Threads),
            "api/sessions" => return Ok(Route::Sessions),
            _ => {}
        }
        if let Some(page) = path.strip_prefix("api/") {
            return Api::of(page)?.map(Route::Api).ok_or(NO_SUCH_PAGE);
        }
        let (key, path) = match path.strip_prefix("key/") {
            Some(keyed) => {
                let (key, rest) = keyed.split_once('/').ok_or(NO_SUCH_PAGE)?;
                (Some(percent_decoded(key).unwrap_or_default()), rest.trim_start_matches('/'))
            }
            None => (None, path),
        };
        if let Some(session) = path.strip_prefix("view/") {
            let session = session_of(session)?;
            return Ok(Route::View { session, key });
        }
        let (session, user) =
            path.strip_prefix("ws/").ok_or(NO_SUCH_PAGE)?.split_once('/').ok_or(NO_SUCH_PAGE)?;
        Ok(Route::Session { session: id_of(session)?.into(), user: id_of(user)?.into(), key })
    }
}

impl Route {
    /// Whether it is something to be read or done, and no WebSocket.
    pub fn is_page(&self) -> bool {
        match self {
            Route::Session { .. } | Route::View { .. } | Route::Client { .. } => false,
            Route::Live | Route::Report(_) | Route::Sessions | Route::Api(_) | Route::Threads => {
                true
            }
        }
    }
}

/// The key a request carries beside its path: `Authorization: Bearer`, `Basic` (the password), or
/// `?key=`, in this order.
pub fn key_of(request: &Request<'_>) -> Option<String> {
    let authorization = request.header("authorization").and_then(|value| {
        let (scheme, credentials) = value.trim().split_once(' ')?;
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(credentials.to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(credentials.as_bytes()).ok()?).ok()?;
        Some(decoded.split_once(':')?.1.to_owned())
    });
    // A key has no spaces, but may have been put there with a plus as it is.
    authorization.or_else(|| Some(request.query_value("key")?.replace(" ", "+")))
}

/// The id of a session that nothing may follow.
fn session_of(encoded: &str) -> Result<Arc<str>, &'static str> {
    match encoded.contains('/') {
        true => Err(NO_SUCH_PAGE),
        false => Ok(id_of(encoded)?.into()),
    }
}

/// An id as it was meant.
///
/// # Errors
/// What a 404 says.
pub fn id_of(encoded: &str) -> Result<String, &'static str> {
    percent_decoded(encoded).filter(|id| is_id(id)).ok_or(BAD_ID)
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Option<(String, String, Option<String>)> {
        match Route::of(path) {
            Ok(Route::Session { session, user, key }) => {
                Some((session.to_string(), user.to_string(), key))
            }
            _ => None,
        }
    }

    #[test]
    fn paths_name_a_session_and_a_user() {
        for (path, session, user, key) in [
            ("/ws/default/alice", "default", "alice", None),
            ("/ws/a%20b/m%C3%BCller%25", "a b", "müller%", None),
            ("/ws/../b/c/d", "..", "b/c/d", None),
            ("/ws/a%2Fb/c", "a/b", "c", None),
            ("/key/SECRET/ws/a/b", "a", "b", Some("SECRET")),
            ("//ws/a/b", "a", "b", None),
            ("/key/S%2FT//ws/a/b", "a", "b", Some("S/T")),
            ("/key/%zz/ws/a/b", "a", "b", Some("")),
            ("/ws/key/ws", "key", "ws", None),
            ("/ws/client_a/b", "client_a", "b", None),
        ] {
            let expected = (session.into(), user.into(), key.map(Into::into));
            assert_eq!(named(path), Some(expected), "{path}");
        }
        let longest = "ü".repeat(128);
        assert!(named(&format!("/ws/{longest}/{longest}")).is_some());
    }

    #[test]
    fn paths_name_a_client() {
        for (path, id, debug) in [
            ("/client_ui", "ui", false),
            ("/client_a%20b", "a b", false),
            ("/client_a/b", "a/b", false),
            ("/debug/client_x", "x", true),
            ("//client_x", "x", false),
        ] {
            assert_eq!(Route::of(path), Ok(Route::Client { id: id.into(), debug }), "{path}");
        }
    }

    #[test]
    fn paths_name_pages() {
        for (path, route) in [
            ("/", Route::Live),
            ("//", Route::Live),
            ("/healthz", Route::Report(Report::Health)),
            ("/metrics", Route::Report(Report::Metrics)),
            ("/api/server", Route::Report(Report::Server)),
            ("/api/connections", Route::Report(Report::Connections)),
            ("/api/chat/threads", Route::Threads),
        ] {
            assert!(route.is_page(), "{path}");
            assert_eq!(Route::of(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn paths_name_a_session_to_be_viewed_or_asked_about() {
        let view = |path: &str| match Route::of(path) {
            Ok(Route::View { session, key }) => Some((session.to_string(), key)),
            _ => None,
        };
        assert_eq!(view("/view/a%20b"), Some(("a b".into(), None)));
        assert_eq!(view("//view/a%2Fb"), Some(("a/b".into(), None)));
        assert_eq!(view("/key/S/view/view"), Some(("view".into(), Some("S".into()))));
        let session = |name: &str| Arc::from(name);
        for (path, route) in [
            ("/api/sessions", Route::Sessions),
            ("/api/sessions/a%2fb", Route::Api(Api::Session(session("a/b")))),
            ("/api/sessions/state", Route::Api(Api::Session(session("state")))),
            ("/api/sessions/%20/state", Route::Api(Api::State(session(" ")))),
        ] {
            assert_eq!(Route::of(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nobody() {
        let too_long = format!("/ws/a/{}", "x".repeat(129));
        let too_long_client = format!("/client_{}", "x".repeat(129));
        for path in [
            "",
            "/metrics/",
            "/Metrics",
            "/index.html",
            "/api",
            "ws/a/b",
            "/ws",
            "/ws/",
            "/ws/a",
            "/ws/a/",
            "/ws//b",
            "/wss/a/b",
            "/x/ws/a/b",
            "/key/ws/a/b",
            "/ws/a/%",
            "/ws/a/%4",
            "/ws/a/%zz",
            "/ws/a/%ff",
            "/ws/a/b%00",
            "/ws/a%0Ab/c",
            "/ws/a/%C2%85",
            &too_long,
            "/client",
            "/client_",
            "/client_%00",
            "/debug/client_",
            "/debug/ws/a/b",
            "/key/k/client_a",
            "/api/chat/threads/",
            "/view",
            "/view/",
            "/view/a/b",
            "/view/a/",
            "/view/%00",
            "/api/sessions/",
            "/api/sessions/a/",
            "/api/sessions/a/states",
            "/api/sessions/a/state/",
            "/api/sessions//state",
            "/api/sessions/%ff",
            "/key/k/api/sessions",
            &too_long_client,
        ] {
            assert!(Route::of(path).is_err(), "{path}");
        }
    }
}
