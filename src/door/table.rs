//! The route table: every path, its methods, who may, what answers, and what programs are told of it.
//! 404, 405, `Allow`, the answers to `OPTIONS` and the OpenAPI description come from it.

use super::route::{self, BAD_ID, NO_SUCH_PAGE};
use super::{Door, Guest};
use crate::hub::ConnId;
use crate::keys::Grant;
use crate::server::http::{Request, Response, percent_decoded};
use crate::server::service::Answer;

use std::net::IpAddr;

/// One path and what can be done with it.
pub struct Route {
    /// As it is documented. `{id}` is one segment, percent-encoded; `{id*}` all that is left.
    pub path: &'static str,
    pub kind: Kind,
    /// In the order in which `Allow` lists them.
    pub endpoints: &'static [Endpoint],
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something to be read or done.
    Page,
    /// The same under any name of the server's: it tells no more than how the server is.
    Health,
    /// A WebSocket. A key may stand before its path: `/key/{key}`.
    Socket,
    /// One that is there only where the operator asked for it.
    DebugSocket,
}

/// A method of a path.
pub struct Endpoint {
    pub method: Method,
    pub who: Who,
    pub handle: Handler,
    pub about: About,
}

/// The methods that are known. `HEAD` goes wherever `GET` of a page does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// Whom a request is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Anybody,
    /// Anybody where sessions ask for no key; else a key that opens the session that the path names,
    /// or any key where it names none.
    Reader,
    /// Any key that is in force.
    KeyHolder,
    /// An admin key that opens the session; where there are no keys, a program on this machine.
    Admin,
}

/// Answers a request of somebody who may.
pub type Handler = fn(&Door, Call<'_>) -> Result<Answer<Guest>, Response>;

/// A request that is to be answered.
pub struct Call<'a> {
    pub request: &'a Request<'a>,
    pub conn: ConnId,
    /// The client's address.
    pub from: IpAddr,
    /// What stands for the names in braces, decoded.
    pub ids: Vec<String>,
    /// What the key permits that was asked for; nothing where none is.
    pub grant: Option<Grant>,
    /// Who it is, for the log; empty where nothing is changed.
    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    pub by: String,
}

impl Call<'_> {
    /// The first name in braces, as a name of a session.
    pub fn session(&self) -> std::sync::Arc<str> {
        self.ids.first().map_or("", String::as_str).into()
    }
}

/// What programs are told of an endpoint.
pub struct About {
    /// A name for it that is nobody else's.
    pub id: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// What the body is, where there is one.
    pub body: Option<&'static str>,
    /// What it answers where all is well.
    pub answers: &'static [Promise],
    /// The refusals that are its own, beside those of [`Who`] and of a server that is busy.
    pub refusals: &'static [u16],
}

/// A parameter of the query.
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    /// As JSON Schema calls it.
    pub kind: &'static str,
    pub is_required: bool,
}

/// An answer that is no refusal.
pub struct Promise {
    pub status: u16,
    pub about: &'static str,
    /// Empty where there is no body.
    pub content_type: &'static str,
    /// The fields that a JSON object has at least.
    pub fields: &'static [&'static str],
}

/// What a path asks for.
pub struct Found {
    pub route: &'static Route,
    /// What stands for the names in braces, decoded.
    pub ids: Vec<String>,
    /// The key that stands before the path; empty where it can't be read.
    pub key: Option<String>,
}

impl Method {
    /// As it is sent.
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
    /// Whether it is something to be read or done, and no WebSocket.
    pub fn is_page(&self) -> bool {
        matches!(self.kind, Kind::Page | Kind::Health)
    }

    /// What does a method; `None` where there is nothing.
    pub fn endpoint(&self, method: &str) -> Option<&'static Endpoint> {
        let method = if method == "HEAD" && self.is_page() { "GET" } else { method };
        self.endpoints.iter().find(|endpoint| endpoint.method.name() == method)
    }

    /// The methods it knows beside `OPTIONS`, as `Allow` lists them.
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

/// What a path, as sent and without its query, asks for. The editor's user typed the part before `/ws`,
/// so more slashes than needed do no harm there; nor does one behind the path of a page.
///
/// # Errors
/// What a 404 says.
pub fn find(path: &str) -> Result<Found, &'static str> {
    let path = path.strip_prefix('/').ok_or(NO_SUCH_PAGE)?.trim_start_matches('/');
    let (key, keyed) = match path.strip_prefix("key/").and_then(|keyed| keyed.split_once('/')) {
        Some((key, rest)) => {
            (Some(percent_decoded(key).unwrap_or_default()), rest.trim_start_matches('/'))
        }
        None => (None, path),
    };
    let found = ROUTES.iter().find_map(|route| {
        let may = key.is_none() || route.takes_key_before();
        // A page with a slash too many is the same page; in a user's id one more is another user.
        let path = if route.is_page() { keyed.trim_end_matches('/') } else { keyed };
        Some((route, route.matches(path).filter(|_| may)?))
    });
    let (route, parts) = found.ok_or(NO_SUCH_PAGE)?;
    let ids = parts.into_iter().map(route::id_of).collect::<Result<Vec<_>, _>>();
    Ok(Found { route, ids: ids.map_err(|_| BAD_ID)?, key })
}

impl Route {
    /// Those of the session protocol: the client protocol has its key in its first message.
    fn takes_key_before(&self) -> bool {
        self.kind == Kind::Socket && !self.path.starts_with("/client_")
    }

    /// What stands for the names in braces, as sent, where a path without its first slash is this one.
    fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
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

const JSON: &str = "application/json";

const fn json(about: &'static str, fields: &'static [&'static str]) -> Promise {
    Promise { status: 200, about, content_type: JSON, fields }
}

const fn query(name: &'static str, kind: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind, is_required: false }
}

const fn get(who: Who, handle: Handler, about: About) -> Endpoint {
    Endpoint { method: Method::Get, who, handle, about }
}

/// Of a WebSocket.
const fn about_socket(id: &'static str, summary: &'static str) -> About {
    About { id, summary, parameters: &[], body: None, answers: &[SWITCHED], refusals: &[404, 426] }
}

const SWITCHED: Promise =
    Promise { status: 101, about: "It is a WebSocket.", content_type: "", fields: &[] };

/// A list has at most so many entries.
const AFTER_AND_LIMIT: &str = "at most so many, and never more than 1000";

/// All there is, in the order in which the documentation has it.
pub static ROUTES: &[Route] = &[
    Route {
        path: "/",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Anybody,
            Door::live,
            About {
                id: "live",
                summary: "The live page",
                parameters: &[],
                body: None,
                answers: &[Promise {
                    status: 200,
                    about: "The page.",
                    content_type: "text/html",
                    fields: &[],
                }],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/healthz",
        kind: Kind::Health,
        endpoints: &[get(
            Who::Anybody,
            Door::health,
            About {
                id: "health",
                summary: "Whether the server is well",
                parameters: &[],
                body: None,
                answers: &[Promise {
                    status: 200,
                    about: "It is: `ok`.",
                    content_type: "text/plain",
                    fields: &[],
                }],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/metrics",
        kind: Kind::Health,
        endpoints: &[get(
            Who::Reader,
            Door::metrics,
            About {
                id: "metrics",
                summary: "All that is counted, for Prometheus",
                parameters: &[],
                body: None,
                answers: &[Promise {
                    status: 200,
                    about: "Samples.",
                    content_type: "text/plain",
                    fields: &[],
                }],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/api/openapi.json",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Anybody,
            Door::description,
            About {
                id: "description",
                summary: "This description",
                parameters: &[],
                body: None,
                answers: &[json("OpenAPI 3.1.", &["openapi", "info", "paths"])],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/api/server",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Reader,
            Door::server,
            About {
                id: "server",
                summary: "The server: its version, whether it is well, and totals",
                parameters: &[],
                body: None,
                answers: &[json(
                    "The server.",
                    &["server", "started_at", "uptime_seconds", "durable", "healthy"],
                )],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/api/connections",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Reader,
            Door::connections,
            About {
                id: "connections",
                summary: "How each connection is",
                parameters: &[],
                body: None,
                answers: &[json("All open connections.", &["connections"])],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/api/sessions",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Reader,
            Door::sessions,
            About {
                id: "sessions",
                summary: "The sessions in memory",
                parameters: &[],
                body: None,
                answers: &[json("At most 1000, of `total`.", &["sessions", "total", "timestamp"])],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/api/sessions/{id}",
        kind: Kind::Page,
        endpoints: &[
            get(
                Who::Reader,
                Door::details,
                About {
                    id: "session",
                    summary: "What there is to know of a session in memory",
                    parameters: &[],
                    body: None,
                    answers: &[json(
                        "The session.",
                        &["session_id", "epoch", "seq", "items", "members", "recent"],
                    )],
                    refusals: &[404],
                },
            ),
            Endpoint {
                method: Method::Delete,
                who: Who::Admin,
                handle: Door::delete,
                about: About {
                    id: "deleteSession",
                    summary: "Removes a session and its versions",
                    parameters: &[],
                    body: None,
                    answers: &[json("It is gone.", &["session_id", "deleted"])],
                    refusals: &[404, 409],
                },
            },
        ],
    },
    Route {
        path: "/api/sessions/{id}/state",
        kind: Kind::Page,
        endpoints: &[
            get(
                Who::Reader,
                Door::state,
                About {
                    id: "state",
                    summary: "A session's canvas, as it is or was",
                    parameters: &[query(
                        "at",
                        "string",
                        "as of this change, a number, or this moment, RFC 3339",
                    )],
                    body: None,
                    answers: &[
                        json(
                            "A file that the editor opens. `ETag` changes with the canvas.",
                            &["items", "version", "timestamp", "session_id", "epoch", "seq"],
                        ),
                        Promise {
                            status: 304,
                            about: "It is still the one that `If-None-Match` names.",
                            content_type: "",
                            fields: &[],
                        },
                    ],
                    refusals: &[400, 404],
                },
            ),
            Endpoint {
                method: Method::Put,
                who: Who::Admin,
                handle: Door::put_state,
                about: About {
                    id: "putState",
                    summary: "Makes a canvas a session's document",
                    parameters: &[query(
                        "replace",
                        "string",
                        "1: also where there is such a session, whose canvas stays as a version",
                    )],
                    body: Some("A canvas, as the editor saves it."),
                    answers: &[
                        json(
                            "It is the document of a session that was there.",
                            &["session_id", "epoch", "seq", "items"],
                        ),
                        Promise {
                            status: 201,
                            about: "It is the document of a new session.",
                            content_type: JSON,
                            fields: &["session_id", "epoch", "seq", "items"],
                        },
                    ],
                    refusals: &[400, 404, 408, 409, 411, 413],
                },
            },
        ],
    },
    Route {
        path: "/api/sessions/{id}/versions",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Reader,
            Door::versions,
            About {
                id: "versions",
                summary: "What a session can be brought back to",
                parameters: &[],
                body: None,
                answers: &[json(
                    "Oldest first; it reaches back to `first_seq`.",
                    &["versions", "first_seq", "seq", "session", "timestamp"],
                )],
                refusals: &[404],
            },
        )],
    },
    Route {
        path: "/api/sessions/{id}/changes",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Reader,
            Door::changes,
            About {
                id: "changes",
                summary: "What was done in a stored session",
                parameters: &[
                    query("after", "integer", "only those after this change"),
                    query("limit", "integer", AFTER_AND_LIMIT),
                ],
                body: None,
                answers: &[json("In order.", &["changes", "seq", "timestamp"])],
                refusals: &[400, 404],
            },
        )],
    },
    Route {
        path: "/api/sessions/{id}/restore",
        kind: Kind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            who: Who::Admin,
            handle: Door::restore,
            about: About {
                id: "restore",
                summary: "Brings a session's document back to what it was",
                parameters: &[Parameter {
                    name: "to",
                    about: "a change, a number, or a moment, RFC 3339",
                    kind: "string",
                    is_required: true,
                }],
                body: None,
                answers: &[json(
                    "It is what it was then; what it was before is a version.",
                    &["session_id", "epoch", "seq", "items", "restored_to", "timestamp"],
                )],
                refusals: &[400, 404],
            },
        }],
    },
    Route {
        path: "/api/stored",
        kind: Kind::Page,
        endpoints: &[get(
            Who::Reader,
            Door::stored_sessions,
            About {
                id: "stored",
                summary: "The sessions that are stored, by name",
                parameters: &[
                    query("after", "string", "only those after this name"),
                    query("limit", "integer", AFTER_AND_LIMIT),
                    query("items", "string", "1: count their items, too"),
                ],
                body: None,
                answers: &[json("At most 1000, of `total`.", &["sessions", "total", "timestamp"])],
                refusals: &[400, 404],
            },
        )],
    },
    Route {
        path: "/api/compact",
        kind: Kind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            who: Who::Admin,
            handle: Door::compact,
            about: About {
                id: "compact",
                summary: "Removes what is not to be kept",
                parameters: &[
                    query("session", "string", "of this session alone"),
                    query("keep_versions", "integer", "so many versions of each"),
                    query("keep_days", "integer", "those of so many days"),
                ],
                body: None,
                answers: &[json(
                    "It is done.",
                    &["sessions", "damaged", "bytes_before", "bytes_after", "timestamp"],
                )],
                refusals: &[400, 404, 409],
            },
        }],
    },
    Route {
        path: "/api/chat/threads",
        kind: Kind::Page,
        endpoints: &[get(
            Who::KeyHolder,
            Door::threads,
            About {
                id: "threads",
                summary: "What is talked about in the channels",
                parameters: &[query("channel", "string", "in this channel alone")],
                body: None,
                answers: &[json("Newest first.", &["threads", "total", "timestamp"])],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/ws/{session}/{user*}",
        kind: Kind::Socket,
        endpoints: &[get(
            Who::Reader,
            Door::join,
            about_socket("join", "Joins a session, as editors do"),
        )],
    },
    Route {
        path: "/view/{session}",
        kind: Kind::Socket,
        endpoints: &[get(
            Who::Reader,
            Door::view,
            about_socket("view", "Looks at a session without being in it"),
        )],
    },
    Route {
        path: "/client_{client*}",
        kind: Kind::Socket,
        endpoints: &[get(
            Who::Anybody,
            Door::client,
            about_socket("client", "The client protocol, of front ends and agents"),
        )],
    },
    Route {
        path: "/debug/client_{client*}",
        kind: Kind::DebugSocket,
        endpoints: &[get(
            Who::Anybody,
            Door::debug_client,
            about_socket("debugClient", "The same, with an echo"),
        )],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented path that a path leads to, what stands in it, and the key before it.
    fn found(path: &str) -> Option<(&'static str, Vec<String>, Option<String>)> {
        find(path).ok().map(|Found { route, ids, key }| (route.path, ids, key))
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
