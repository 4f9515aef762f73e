//! The response to a WebSocket handshake.

use data_encoding::BASE64;
use tungstenite::handshake::derive_accept_key;

use super::{Request, Response, date};

/// The head of the response that makes the connection a WebSocket (RFC 6455 §4.2).
///
/// # Errors
/// The refusal of a request that is no valid handshake.
pub fn accept(request: &Request<'_>) -> Result<Vec<u8>, Response> {
    if !request.wants_websocket() {
        return Err(Response::upgrade_required(
            "this address speaks WebSocket: connect with ws://",
        ));
    }
    if request.header("sec-websocket-version").map(str::trim) != Some("13") {
        return Err(Response::upgrade_required("Sec-WebSocket-Version has to be 13"));
    }
    let key = request.header("sec-websocket-key").map(str::trim).unwrap_or_default();
    if BASE64.decode(key.as_bytes()).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(Response::text(400, "Sec-WebSocket-Key has to be 16 bytes in base64"));
    }
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nDate: {}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        date::now()
    );
    Ok(answer.into_bytes())
}
