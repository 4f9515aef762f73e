//! A request's body, whose length has to be known.
//!
//! Chunked bodies are refused: a proxy in front of the server may count the chunks in another way.

use std::net::TcpStream;
use std::time::Instant;

use super::head::{read_some, too_slow};
use super::{HeadError, Request, Response};

/// Sent to a client that asks before it sends its body (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How many bytes of a body are read at once.
const READ_BYTES: usize = 64 * 1024;

/// The length of a request's body, in bytes, at most `most`; 0 where it has none.
///
/// # Errors
/// The refusal: 411 where a body has no length, or a length is missing and `most` is not 0; 413
/// where the body is too long.
pub fn body_length(request: &Request<'_>, most: usize) -> Result<usize, Response> {
    let length = request.header("content-length");
    if request.header("transfer-encoding").is_some() || (length.is_none() && most > 0) {
        return Err(Response::text(
            411,
            "a body needs a Content-Length header; chunked bodies are not accepted",
        ));
    }
    // The value has only digits, so it fails to parse only where it is too large.
    let length = length.map_or(0, |length| length.parse().unwrap_or(usize::MAX));
    match (length, most) {
        (1.., 0) => Err(Response::text(413, "this request must not have a body")),
        _ if length > most => Err(Response::text(
            413,
            "the canvas is too large: the server's options --max-document-bytes and \
             --max-message-bytes set the limit",
        )),
        _ => Ok(length),
    }
}

/// True where the sender waits for [`CONTINUE`] before it sends the body. HTTP/1.0 has no such
/// header.
pub fn expects_continue(request: &Request<'_>) -> bool {
    !request.is_old
        && request.headers("expect").any(|value| value.trim().eq_ignore_ascii_case("100-continue"))
}

/// Reads a body of `length` bytes, of which `body` came with the head. Bytes after it are dropped:
/// the connection ends with the response.
///
/// The whole body has to arrive before `deadline`; a client that sends one byte at a time gets no
/// more time.
///
/// # Errors
/// [`HeadError::Refuse`] with 408 when the time is over, [`HeadError::Disconnected`] when the
/// client has left.
pub fn read_body(
    socket: &TcpStream,
    mut body: Vec<u8>,
    length: usize,
    deadline: Option<Instant>,
) -> Result<Vec<u8>, HeadError> {
    while body.len() < length {
        // Memory is reserved for bytes that have come, not for the length that was announced.
        let missing = (length - body.len()).min(READ_BYTES);
        match read_some(socket, &mut body, missing, deadline) {
            Ok(true) => {}
            // The head has come, so the client gets a response even where no byte of the body has.
            Err(HeadError::Disconnected)
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) =>
            {
                return Err(HeadError::Refuse(too_slow()));
            }
            Ok(false) => return Err(HeadError::Disconnected),
            Err(error) => return Err(error),
        }
    }
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::super::parse_head;
    use super::*;

    fn status(headers: &str, most: usize) -> Result<usize, u16> {
        let head = format!("PUT / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let head = parse_head(head.as_bytes()).expect("a head").expect("a whole one");
        body_length(&head.request, most).map_err(|refusal| refusal.status())
    }

    #[test]
    fn a_body_has_a_length_and_a_bound() {
        for (headers, most, expected) in [
            ("Content-Length: 5\r\n", 5, Ok(5)),
            ("Content-Length: 005\r\n", 5, Ok(5)),
            ("Content-Length: 0\r\n", 5, Ok(0)),
            ("Content-Length: 6\r\n", 5, Err(413)),
            ("Content-Length: 99999999999999999999999999\r\n", 5, Err(413)),
            ("Transfer-Encoding: chunked\r\n", 5, Err(411)),
            ("Transfer-Encoding: chunked\r\n", 0, Err(411)),
            ("", 5, Err(411)),
            ("", 0, Ok(0)),
            ("Content-Length: 0\r\n", 0, Ok(0)),
            ("Content-Length: 1\r\n", 0, Err(413)),
        ] {
            assert_eq!(status(headers, most), expected, "{headers:?} {most}");
        }
    }

    #[test]
    fn it_is_read_to_its_end_and_no_further() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("it")).expect("accepted");
        let (server, _) = listener.accept().expect("a client");
        client.write_all(b"cdefgh").expect("sent");
        let soon = Some(Instant::now() + Duration::from_secs(20));
        let read =
            |body: &[u8], length, deadline| read_body(&server, body.to_vec(), length, deadline);
        assert_eq!(read(b"abxyz", 2, soon).expect("it is there"), b"ab");
        assert_eq!(read(b"ab", 6, soon).expect("it comes"), b"abcdef");
        let late = read(b"", 9, Some(Instant::now() + Duration::from_millis(20)));
        assert!(matches!(late, Err(HeadError::Refuse(page)) if page.status() == 408));
        drop(client);
        assert!(matches!(read(b"", 1, soon), Err(HeadError::Disconnected)));
    }
}
