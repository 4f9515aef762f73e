//! The API of what is stored: which path is what, and who may do what.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Door, NOT_WITH_THIS_KEY, refused, route};
use crate::keys::{Grant, Level};
use crate::server::http::{Request, Response};

/// What is told whoever may not change anything where there are no keys.
const ONLY_FROM_HERE: &str = "without keys only programs on the server's own machine may do this, \
                              not through a proxy: start the server with --keys, and use an admin \
                              key";
const NOT_AN_ADMIN: &str =
    "this needs an admin key that opens this session: ask whoever runs this server";
/// What such a path is told where nothing is stored.
pub const NOTHING_STORED: &str = match cfg!(feature = "durable") {
    true => "this server stores no sessions: whoever runs it can start it with --data-dir",
    false => "this collabd stores no sessions: it was built without the feature `durable`",
};

/// A page of the API. Ids are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// `/api/stored`: which sessions are stored.
    Stored,
    /// `/api/sessions/ID`
    Session(Arc<str>),
    /// `/api/sessions/ID/state`: its canvas, as it is or was.
    State(Arc<str>),
    /// `/api/sessions/ID/versions`: what it can be brought back to.
    Versions(Arc<str>),
    /// `/api/sessions/ID/changes`: what was done in it.
    Changes(Arc<str>),
    /// `/api/sessions/ID/restore`
    Restore(Arc<str>),
    /// `/api/compact`
    Compact,
}

impl Api {
    /// What a path, as sent and without `/api/` and its query, asks for; `None` where there is no
    /// such page.
    ///
    /// # Errors
    /// What a 404 says where it is a page, but of no session.
    pub fn of(path: &str) -> Result<Option<Api>, &'static str> {
        let Some(rest) = path.strip_prefix("sessions/") else {
            return Ok(match path {
                "stored" => Some(Api::Stored),
                "compact" => Some(Api::Compact),
                _ => None,
            });
        };
        let (session, page) =
            rest.split_once('/').map_or((rest, None), |(s, page)| (s, Some(page)));
        let page: fn(Arc<str>) -> Api = match page {
            None => Api::Session,
            Some("state") => Api::State,
            Some("versions") => Api::Versions,
            Some("changes") => Api::Changes,
            Some("restore") => Api::Restore,
            Some(_) => return Ok(None),
        };
        Ok(Some(page(route::id_of(session)?.into())))
    }

    /// The methods it knows beside `OPTIONS`, as an `Allow` header and the one of CORS say it.
    pub fn methods(&self) -> (&'static str, &'static str) {
        match self {
            Api::Stored | Api::Versions(_) | Api::Changes(_) => {
                ("Allow: GET, HEAD", "Access-Control-Allow-Methods: GET, HEAD")
            }
            Api::State(_) => {
                ("Allow: GET, HEAD, PUT", "Access-Control-Allow-Methods: GET, HEAD, PUT")
            }
            Api::Session(_) => ("Allow: DELETE", "Access-Control-Allow-Methods: DELETE"),
            Api::Restore(_) | Api::Compact => ("Allow: POST", "Access-Control-Allow-Methods: POST"),
        }
    }

    /// Whether it knows this method.
    pub fn allows(&self, method: &str) -> bool {
        let (allowed, _) = self.methods();
        allowed.trim_start_matches("Allow: ").split(", ").any(|known| known == method)
    }

    /// The session it is about, if it is about one.
    pub fn session(&self) -> Option<&Arc<str>> {
        match self {
            Api::Stored | Api::Compact => None,
            Api::Session(session)
            | Api::State(session)
            | Api::Versions(session)
            | Api::Changes(session)
            | Api::Restore(session) => Some(session),
        }
    }
}

impl Door {
    /// Whether somebody may look: the sessions of this key alone, where there is one. As with the
    /// sessions themselves, none is needed unless sessions ask for one.
    pub(super) fn may_look(
        &self,
        request: &Request<'_>,
        from: IpAddr,
    ) -> Result<Option<Grant>, Response> {
        if !self.require_key {
            return Ok(None);
        }
        let key = route::key_of(request);
        self.gate.check(key.as_deref(), from).map(Some).map_err(refused)
    }

    /// Whether somebody may change what is stored of a session, or of all. Who it is, for the log.
    ///
    /// Where there are keys, whoever has an admin key may. Where there are none, whoever is on the
    /// server's own machine: not through a proxy there, which stands for somebody else, and not by a
    /// page of another machine whose name leads to this one.
    pub(super) fn may_change(
        &self,
        request: &Request<'_>,
        from: IpAddr,
        session: Option<&str>,
    ) -> Result<String, Response> {
        if self.gate.ring().asks() {
            let key = route::key_of(request);
            let Grant { key, .. } = self.gate.check(key.as_deref(), from).map_err(refused)?;
            let opens = match session {
                Some(session) => key.opens(session),
                None => key.opens.is_none(),
            };
            return match key.level == Level::Admin && opens {
                true => Ok(format!("key {:?}", key.name)),
                false => Err(Response::text(403, NOT_AN_ADMIN)),
            };
        }
        const BY_A_PROXY: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];
        let is_forwarded = BY_A_PROXY.iter().any(|name| request.header(name).is_some());
        let is_from_here = from.to_canonical().is_loopback()
            && request.header("origin").is_none_or(super::origin::is_of_this_machine);
        match is_from_here && !is_forwarded {
            true => Ok("somebody on this machine".into()),
            false => Err(Response::text(403, ONLY_FROM_HERE)),
        }
    }

    /// Whether a key that may look, may look at this session.
    pub(super) fn opens(grant: Option<&Grant>, session: &str) -> Result<(), Response> {
        match grant.is_none_or(|grant| grant.key.opens(session)) {
            true => Ok(()),
            false => Err(Response::text(403, NOT_WITH_THIS_KEY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_page_and_a_session() {
        let session = |page: fn(Arc<str>) -> Api, id: &str| Ok(Some(page(id.into())));
        for (path, expected) in [
            ("stored", Ok(Some(Api::Stored))),
            ("compact", Ok(Some(Api::Compact))),
            ("sessions/a", session(Api::Session, "a")),
            ("sessions/a%2Fb%20%C3%BC/state", session(Api::State, "a/b ü")),
            ("sessions/../versions", session(Api::Versions, "..")),
            ("sessions/state/state", session(Api::State, "state")),
            ("sessions/a/changes", session(Api::Changes, "a")),
            ("sessions/a/restore", session(Api::Restore, "a")),
            ("sessions", Ok(None)),
            ("sessions/a/", Ok(None)),
            ("sessions/a/b", Ok(None)),
            ("sessions/a/state/", Ok(None)),
            ("sessions/a/b/state", Ok(None)),
            ("stored/", Ok(None)),
            ("", Ok(None)),
        ] {
            assert_eq!(Api::of(path), expected, "{path}");
        }
        for path in ["sessions/", "sessions//state", "sessions/%", "sessions/%00", "sessions/%ff"] {
            assert!(Api::of(path).is_err(), "{path}");
        }
        assert!(Api::of(&format!("sessions/{}", "x".repeat(129))).is_err());
    }

    #[test]
    fn what_is_allowed_is_what_is_said_to_be() {
        let session: Arc<str> = "a".into();
        assert!(Api::Session(session.clone()).allows("DELETE"));
        assert!(Api::State(session.clone()).allows("PUT") && Api::State(session).allows("HEAD"));
        assert!(Api::Compact.allows("POST") && Api::Stored.allows("GET"));
        for method in ["", "get", "POST", "GET, HEAD", "TRACE", "PATCH", "DELETE"] {
            assert!(!Api::Stored.allows(method), "{method}");
        }
    }
}
