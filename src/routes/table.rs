//! All routes, with their methods, permissions, handlers and documentation; and the look-up of a
//! path.

use super::Router;
use super::path_ids::{self, BAD_ID, BAD_SESSION, NO_SUCH_API, NO_SUCH_PAGE};
use super::route::{
    Endpoint, EndpointDoc, Handler, Method, Parameter, Permission, Route, RouteKind, RouteMatch,
    Success,
};
use crate::http::percent_decoded;

const JSON: &str = "application/json";

const fn json(about: &'static str, fields: &'static [&'static str]) -> Success {
    Success { status: 200, about, content_type: JSON, fields }
}

const fn query(name: &'static str, kind: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, kind, is_required: false }
}

const fn get(permission: Permission, handle: Handler, about: EndpointDoc) -> Endpoint {
    Endpoint { method: Method::Get, permission, handle, about }
}

/// The only response of a WebSocket's handshake.
const fn about_socket(id: &'static str, summary: &'static str) -> EndpointDoc {
    EndpointDoc {
        id,
        summary,
        parameters: &[],
        body: None,
        answers: &[SWITCHED],
        refusals: &[404, 426],
    }
}

const SWITCHED: Success =
    Success { status: 101, about: "It is a WebSocket.", content_type: "", fields: &[] };

/// The parameter that bounds the length of a list.
const AFTER_AND_LIMIT: &str = "at most so many, and never more than 1000";

/// The name that a session is to have.
const NEW_NAME: Parameter = Parameter {
    name: "to",
    about: "the new name; there must be no session of it",
    kind: "string",
    is_required: true,
};

/// All routes, in the order of the documentation.
pub static ROUTES: &[Route] = &[
    Route {
        path: "/",
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Public,
            Router::live,
            EndpointDoc {
                id: "live",
                summary: "The live page",
                parameters: &[],
                body: None,
                answers: &[Success {
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
        kind: RouteKind::Health,
        endpoints: &[get(
            Permission::Public,
            Router::health,
            EndpointDoc {
                id: "health",
                summary: "Whether the server is well",
                parameters: &[],
                body: None,
                answers: &[Success {
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
        kind: RouteKind::Health,
        endpoints: &[get(
            Permission::Reader,
            Router::metrics,
            EndpointDoc {
                id: "metrics",
                summary: "All that is counted, for Prometheus",
                parameters: &[],
                body: None,
                answers: &[Success {
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
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Public,
            Router::description,
            EndpointDoc {
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
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::server,
            EndpointDoc {
                id: "server",
                summary: "The server: its version, whether it is well, and totals",
                parameters: &[query(
                    "session",
                    "string",
                    "`may_administer` is about this session, and not about all",
                )],
                body: None,
                answers: &[json(
                    "The server.",
                    &[
                        "server",
                        "started_at",
                        "uptime_seconds",
                        "addresses",
                        "may_administer",
                        "durable",
                        "healthy",
                    ],
                )],
                refusals: &[],
            },
        )],
    },
    Route {
        path: "/api/connections",
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::connections,
            EndpointDoc {
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
        path: "/api/connections/{connection}",
        kind: RouteKind::Page,
        endpoints: &[Endpoint {
            method: Method::Delete,
            permission: Permission::Admin,
            handle: Router::end_connection,
            about: EndpointDoc {
                id: "endConnection",
                summary: "Ends the connection of a member, a viewer or a client",
                parameters: &[],
                body: None,
                answers: &[json("It is being closed.", &["connection", "ended"])],
                refusals: &[404],
            },
        }],
    },
    Route {
        path: "/api/sessions",
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::sessions,
            EndpointDoc {
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
        kind: RouteKind::Page,
        endpoints: &[
            get(
                Permission::Reader,
                Router::details,
                EndpointDoc {
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
                permission: Permission::Admin,
                handle: Router::delete,
                about: EndpointDoc {
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
        path: "/api/sessions/{id}/items/{item}",
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::item,
            EndpointDoc {
                id: "item",
                summary: "One item of a session in memory, and who changed it last",
                parameters: &[],
                body: None,
                answers: &[json("The item.", &["item", "changed_by", "changed_at", "timestamp"])],
                refusals: &[404],
            },
        )],
    },
    Route {
        path: "/api/sessions/{id}/state",
        kind: RouteKind::Page,
        endpoints: &[
            get(
                Permission::Reader,
                Router::state,
                EndpointDoc {
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
                        Success {
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
                permission: Permission::Admin,
                handle: Router::put_state,
                about: EndpointDoc {
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
                        Success {
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
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::versions,
            EndpointDoc {
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
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::changes,
            EndpointDoc {
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
        kind: RouteKind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            permission: Permission::Admin,
            handle: Router::restore,
            about: EndpointDoc {
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
        path: "/api/sessions/{id}/items/{item}/restore",
        kind: RouteKind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            permission: Permission::Admin,
            handle: Router::restore_item,
            about: EndpointDoc {
                id: "restoreItem",
                summary: "Brings a removed item back, as it was",
                parameters: &[],
                body: None,
                answers: &[json(
                    "It is on the canvas again.",
                    &["session_id", "item_id", "epoch", "seq", "timestamp"],
                )],
                refusals: &[404, 409, 413],
            },
        }],
    },
    Route {
        path: "/api/sessions/{id}/rename",
        kind: RouteKind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            permission: Permission::Admin,
            handle: Router::rename,
            about: EndpointDoc {
                id: "renameSession",
                summary: "Gives a session without members another name",
                parameters: &[NEW_NAME],
                body: None,
                answers: &[json(
                    "It has the new name, with its versions and its history.",
                    &["session_id", "renamed_from"],
                )],
                refusals: &[400, 404, 409],
            },
        }],
    },
    Route {
        path: "/api/sessions/{id}/copy",
        kind: RouteKind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            permission: Permission::Admin,
            handle: Router::copy,
            about: EndpointDoc {
                id: "copySession",
                summary: "Makes a session with the canvas of another",
                parameters: &[NEW_NAME],
                body: None,
                answers: &[Success {
                    status: 201,
                    about: "There is a new session.",
                    content_type: JSON,
                    fields: &["session_id", "copied_from", "epoch", "seq", "items"],
                }],
                refusals: &[400, 404, 409, 413],
            },
        }],
    },
    Route {
        path: "/api/stored",
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::Reader,
            Router::stored_sessions,
            EndpointDoc {
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
        kind: RouteKind::Page,
        endpoints: &[Endpoint {
            method: Method::Post,
            permission: Permission::Admin,
            handle: Router::compact,
            about: EndpointDoc {
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
        kind: RouteKind::Page,
        endpoints: &[get(
            Permission::KeyHolder,
            Router::threads,
            EndpointDoc {
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
        kind: RouteKind::Socket,
        endpoints: &[get(
            Permission::Reader,
            Router::join,
            about_socket("join", "Joins a session, as editors do"),
        )],
    },
    Route {
        path: "/view/{session}",
        kind: RouteKind::Socket,
        endpoints: &[get(
            Permission::Reader,
            Router::view,
            EndpointDoc {
                parameters: &[
                    query(
                        "epoch",
                        "string",
                        "with `since`: the `epoch` of the state that you have",
                    ),
                    query("since", "integer", "its `seq`: only what came after it is sent"),
                ],
                refusals: &[400, 404, 426],
                ..about_socket("view", "Looks at a session without being in it")
            },
        )],
    },
    Route {
        path: "/client_{client*}",
        kind: RouteKind::Socket,
        endpoints: &[get(
            Permission::Public,
            Router::client,
            about_socket("client", "The client protocol, of front ends and agents"),
        )],
    },
    Route {
        path: "/debug/client_{client*}",
        kind: RouteKind::DebugSocket,
        endpoints: &[get(
            Permission::Public,
            Router::debug_client,
            about_socket("debugClient", "The same, with an echo"),
        )],
    },
];

/// Finds the route of a path, which is as sent and without its query. The editor's users type the
/// part before `/ws`, so extra slashes there are ignored, and so is one at the end of a page's
/// path.
///
/// # Errors
/// The text of the 404.
pub fn find(path: &str) -> Result<RouteMatch, &'static str> {
    let path = path.strip_prefix('/').ok_or(NO_SUCH_PAGE)?.trim_start_matches('/');
    let (key, keyed) = match path.strip_prefix("key/").and_then(|keyed| keyed.split_once('/')) {
        Some((key, rest)) => {
            (Some(percent_decoded(key).unwrap_or_default()), rest.trim_start_matches('/'))
        }
        None => (None, path),
    };
    let found = ROUTES.iter().find_map(|route| {
        let may = key.is_none() || route.takes_key_before();
        // An extra slash at the end is ignored for a page. In a user's id it would name another
        // user.
        let path = if route.is_page() { keyed.trim_end_matches('/') } else { keyed };
        Some((route, route.matches(path).filter(|_| may)?))
    });
    let is_api = keyed == "api" || keyed.starts_with("api/");
    let (no_such_page, bad_id) = match is_api {
        true => (NO_SUCH_API, BAD_SESSION),
        false => (NO_SUCH_PAGE, BAD_ID),
    };
    let (route, parts) = found.ok_or(no_such_page)?;
    let has_item = route.path.contains("{item}");
    let ids = parts.into_iter().enumerate().map(|(place, part)| match place {
        1 if has_item => path_ids::item_of(part),
        _ => path_ids::id_of(part).map_err(|_| bad_id),
    });
    Ok(RouteMatch { route, ids: ids.collect::<Result<_, _>>()?, key })
}
