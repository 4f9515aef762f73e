//! The API as an OpenAPI 3.1 description. It is generated from the route table, so both always
//! agree.

use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::route::{Endpoint, Parameter, Permission, Route, RouteKind, Success};
use super::table::ROUTES;
use crate::http::Response;

/// The statuses with which any request may be refused, before its path is looked up: it is
/// malformed, comes from a page that is not allowed, arrives too slowly, has a body without a
/// length or a body that doesn't belong there, is too large, names another host, or the server is
/// busy.
const COMMON_REFUSALS: [u16; 8] = [400, 403, 408, 411, 413, 421, 431, 503];

/// The response with the description. It is generated once.
pub fn answer() -> Response {
    static WRITTEN: OnceLock<(String, String)> = OnceLock::new();
    let (text, tag) = WRITTEN.get_or_init(|| {
        let text = description().to_string();
        let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&text)[..16]));
        (text, tag)
    });
    Response::json(text.as_str()).tagged(tag)
}

/// The description of all routes that are no WebSockets.
fn description() -> Value {
    let pages = ROUTES.iter().filter(|route| route.is_page());
    let paths: Map<String, Value> =
        pages.map(|route| (route.path.to_owned(), path_item(route))).collect();
    let sockets = ROUTES.iter().filter(|route| route.kind == RouteKind::Socket);
    let sockets: Vec<String> = sockets
        .map(|route| {
            let about = route.endpoints.first().map_or("", |endpoint| endpoint.about.summary);
            format!("`{}`: {about}.", route.path.replace('*', ""))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "collabd",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": format!(
                "What collabd answers without a WebSocket. Its WebSockets: {}",
                sockets.join(" ")
            ),
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that the server's operator has made. Without --require-key \
                                    only what changes something, and the threads of channels, ask \
                                    for one; where there are no keys at all, programs on the \
                                    server's own machine may change things.",
                },
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["code", "type", "message"],
                            "properties": {
                                "code": {"type": "integer"},
                                "type": {"type": "string"},
                                "message": {"type": "string"},
                            },
                        },
                    },
                },
            },
        },
    })
}

fn path_item(route: &Route) -> Value {
    let mut item = Map::new();
    let parameters: Vec<Value> = names(route.path).map(path_parameter).collect();
    if !parameters.is_empty() {
        item.insert("parameters".into(), parameters.into());
    }
    for endpoint in route.endpoints {
        item.insert(endpoint.method.name().to_ascii_lowercase(), operation(route, endpoint));
    }
    item.into()
}

/// The names in braces of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn path_parameter(name: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true,
        "description": "1 to 128 characters, percent-encoded",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    })
}

fn operation(route: &Route, endpoint: &Endpoint) -> Value {
    let about = &endpoint.about;
    let is_api = route.path.starts_with("/api/");
    let mut responses: Map<String, Value> =
        about.answers.iter().map(|one| (one.status.to_string(), answered(one))).collect();
    let mut refusals = about.refusals.to_vec();
    if endpoint.permission != Permission::Public {
        refusals.extend([if is_api { 401 } else { 403 }, 429]);
    }
    refusals.extend(COMMON_REFUSALS);
    for status in refusals {
        responses.insert(status.to_string(), refused(status, is_api));
    }
    let mut operation = json!({
        "operationId": about.id, "summary": about.summary, "responses": responses,
    });
    if !about.parameters.is_empty() {
        operation["parameters"] = about.parameters.iter().map(query_parameter).collect();
    }
    if let Some(body) = about.body {
        operation["requestBody"] = json!({
            "required": true, "description": body,
            "content": {"application/json": {"schema": {"type": "object"}}},
        });
    }
    // An empty requirement: the request may come without a key.
    operation["security"] = match endpoint.permission {
        Permission::Public => json!([]),
        Permission::KeyHolder => json!([{"key": []}]),
        Permission::Reader | Permission::Admin => json!([{}, {"key": []}]),
    };
    operation
}

fn query_parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name, "in": "query", "required": parameter.is_required,
        "description": parameter.about, "schema": {"type": parameter.kind},
    })
}

fn answered(success: &Success) -> Value {
    let mut answer = json!({"description": success.about});
    if !success.content_type.is_empty() {
        let mut schema = json!({"type": "string"});
        if success.content_type == "application/json" {
            schema = json!({"type": "object", "required": success.fields});
        }
        answer["content"] = json!({success.content_type: {"schema": schema}});
    }
    answer
}

fn refused(status: u16, is_api: bool) -> Value {
    let about = match status {
        400 => "The request is malformed.",
        401 => "The key is missing or not valid.",
        403 => "The key, the page's origin or the client's address doesn't permit it.",
        404 => "It doesn't exist.",
        408 => "The request took too long to arrive.",
        409 => "It conflicts with the server's state.",
        411 => "The body needs a Content-Length.",
        413 => "The body is too large, or there must be none.",
        421 => "The server doesn't serve pages under the name in `Host`.",
        431 => "The request's head is too large.",
        429 => "Too many wrong keys came from this address.",
        _ => "The server is busy, can't do it now, or is stopping.",
    };
    let mut answer = json!({"description": about});
    answer["content"] = match is_api {
        true => json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}),
        false => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    if status == 401 {
        answer["headers"] = json!({"WWW-Authenticate": {"schema": {"type": "string"}}});
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_and_method_of_the_table_is_described_and_nothing_else() {
        let description = description();
        let paths = description["paths"].as_object().expect("paths");
        let pages: Vec<&Route> = ROUTES.iter().filter(|route| route.is_page()).collect();
        assert_eq!(paths.len(), pages.len());
        for route in pages {
            let item = paths[route.path].as_object().expect("a path");
            let methods = item.keys().filter(|key| *key != "parameters").count();
            assert_eq!(methods, route.endpoints.len(), "{}", route.path);
            for endpoint in route.endpoints {
                let operation = &item[&endpoint.method.name().to_ascii_lowercase()];
                let responses = operation["responses"].as_object().expect("responses");
                assert!(responses.keys().any(|status| status.starts_with('2')), "{}", route.path);
            }
        }
    }
}
