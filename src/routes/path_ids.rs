//! Ids in paths, and the places where a request may carry its key.

use data_encoding::BASE64;

use crate::http::{Request, percent_decoded};
use crate::protocol::inbound::is_item_id;

/// The longest session, user or client id, in characters.
const MAX_ID_CHARS: usize = 128;
/// The 404 of a path that doesn't exist.
pub const NO_SUCH_PAGE: &str = "there is nothing here: connect with a WebSocket to \
                                /ws/SESSION/USER or /client_CLIENT";
/// The 404 of a path under `/api`, where a hint at WebSockets would not help.
pub const NO_SUCH_API: &str =
    "there is nothing here: /api/openapi.json lists all that there is under /api";
/// The 404 of a path whose session id is not valid.
pub const BAD_SESSION: &str = "bad id: a session's name is 1 to 128 characters of percent-encoded UTF-8 \
                               without control characters";
pub const BAD_ID: &str = "bad id: connect to /ws/SESSION/USER or /client_CLIENT, each id 1 to 128 \
                          characters of percent-encoded UTF-8 without control characters";

/// The key in the header of any request: `Authorization: Bearer`, or `Basic` with the key as the
/// password.
pub fn key_in_header(request: &Request<'_>) -> Option<String> {
    let (scheme, credentials) = request.header("authorization")?.trim().split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(credentials.as_bytes()).ok()?).ok()?;
    Some(decoded.split_once(':')?.1.to_owned())
}

/// The key that a handshake carries beside its path: in a header, or as `?key=`. Other requests may
/// not have it in the query, which any page can choose: `<img src="…?key=x">`.
pub fn key_of_handshake(request: &Request<'_>) -> Option<String> {
    // A key has no spaces, but its plus may have been sent unencoded, which decodes to a space.
    key_in_header(request).or_else(|| Some(request.query_value("key")?.replace(' ', "+")))
}

/// Decodes and checks an id of a path.
///
/// # Errors
/// The text of the 404.
pub fn id_of(encoded: &str) -> Result<String, &'static str> {
    percent_decoded(encoded).filter(|id| is_id(id)).ok_or(BAD_ID)
}

/// Decodes and checks the id of an item.
///
/// # Errors
/// The text of the 404.
pub fn item_of(encoded: &str) -> Result<String, &'static str> {
    percent_decoded(encoded).filter(|id| is_item_id(id)).ok_or(BAD_ITEM)
}

const BAD_ITEM: &str = "bad id: an item's id is 1 to 1024 bytes of percent-encoded UTF-8";

/// The text of the 400 for a name that a session can't have.
pub const BAD_NAME: &str =
    "`to` has to be a session's name: 1 to 128 characters without control characters";

/// Whether a session can have this name.
pub fn is_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}
