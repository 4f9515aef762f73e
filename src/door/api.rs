//! The API about sessions: which path is what, and which methods it knows.

use std::sync::Arc;

use super::route;

/// What a path is told that is about what is stored, where nothing is.
pub const NOTHING_STORED: &str = match cfg!(feature = "durable") {
    true => {
        "this server stores no sessions: /api/sessions lists those in memory; whoever runs it can \
         start it with --data-dir"
    }
    false => "this collabd stores no sessions: it was built without the feature `durable`",
};

/// A page of the API. Ids are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// `/api/stored`: which sessions are stored.
    Stored,
    /// `/api/sessions/ID`: what there is to know of it while it is in memory.
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
            Api::Session(_) => {
                ("Allow: GET, HEAD, DELETE", "Access-Control-Allow-Methods: GET, HEAD, DELETE")
            }
            Api::Restore(_) | Api::Compact => ("Allow: POST", "Access-Control-Allow-Methods: POST"),
        }
    }

    /// Whether it knows this method.
    pub fn allows(&self, method: &str) -> bool {
        let (allowed, _) = self.methods();
        allowed.trim_start_matches("Allow: ").split(", ").any(|known| known == method)
    }

    /// The session it is about, if it is about one.
    #[cfg(feature = "durable")]
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
