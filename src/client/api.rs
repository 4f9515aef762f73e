//! The API of a running server.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde::de::DeserializeOwned;

use super::http::{self, Request, Response};
use super::{Target, Wire, key_file, shown_up_to};

/// How long an answer may be, in bytes: a canvas, or a page of changes.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// Of what a server says of a refusal so many characters are repeated: all that a collabd says.
const MAX_LINE_CHARS: usize = 600;
/// How long a server is given to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which server, and what opens it. Not checked yet. `Debug` shows neither: an address may have a key
/// in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub url: String,
    pub key: Option<String>,
    /// A file with the key in it, where there is no `key`.
    pub key_file: Option<PathBuf>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server(…)")
    }
}

/// A server that was found.
pub struct Api {
    target: Target,
    addresses: Vec<SocketAddr>,
    key: Option<String>,
}

/// What a server says that doesn't do what it is asked.
pub struct ApiError {
    pub status: u16,
    /// For the user: who says what, and what can be done.
    pub line: String,
}

impl From<ApiError> for String {
    fn from(refused: ApiError) -> String {
        refused.line
    }
}

impl Server {
    /// Takes the address apart.
    ///
    /// # Errors
    /// One line, which repeats no part of it that may hold a key.
    pub fn check(&self) -> Result<(), String> {
        Target::parse_api(&self.url).map(|_| ())
    }
}

impl Api {
    /// Finds the server.
    pub fn find(server: &Server) -> Result<Self, String> {
        let (target, in_address) = Target::parse_api(&server.url)?;
        let addresses = target.addresses()?;
        let in_file = match &server.key_file {
            Some(file) if server.key.is_none() => Some(key_file::read(file)?),
            _ => None,
        };
        let key = server.key.clone().or(in_file).or(in_address).filter(|key| !key.is_empty());
        Ok(Api { target, addresses, key })
    }

    /// The address as it may be printed.
    pub fn shown(&self) -> String {
        self.target.shown_api()
    }

    /// Asks for a page, and gives what it says. The error is of status 0 where there is no answer.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, ApiError> {
        self.ask("GET", path, None, TIMEOUT)
    }

    /// Asks for a page, and reads it as JSON.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.read(&self.get(path)?)
    }

    /// Reads what a server says.
    pub fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(body).map_err(|error| ApiError {
            status: 0,
            line: format!(
                "what {} answers can't be understood ({error}): is a collabd of this version \
                 running there?",
                self.shown()
            ),
        })
    }

    /// Sends a request, for which the server has so much time.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Vec<u8>, ApiError> {
        let path = self.target.under_prefix(path);
        let headers: Vec<String> = self.key.as_deref().map(authorization).into_iter().collect();
        let request =
            Request { method, path: &path, headers: &headers, body, longest: MAX_ANSWER_BYTES };
        let unanswered =
            |why: String| ApiError { status: 0, line: format!("{}: {why}", self.shown()) };
        let (mut wire, _) = Wire::open(&self.addresses).map_err(unanswered)?;
        wire.wait_until(Instant::now() + timeout);
        let response = http::send(&mut wire, &self.target, &request).map_err(unanswered)?;
        match response.status {
            200 | 201 if response.is_whole() => Ok(response.rest),
            200 | 201 => Err(unanswered("the connection broke in the middle of the answer".into())),
            _ => Err(self.refused(&response)),
        }
    }

    fn refused(&self, response: &Response) -> ApiError {
        let status = response.status;
        let said = match response.body_line() {
            line if line.is_empty() => format!("{status}, and nothing more"),
            // Escaped: it may be any server.
            line => format!("{status}, {}", shown_up_to(MAX_LINE_CHARS, &line).trim_matches('"')),
        };
        let advice = match (status, &self.key) {
            // It has said so itself.
            (403, _) if said.contains("without keys") => "",
            (401 | 403, None) => ": give a key with --key-file, --key or COLLABD_KEY",
            (401 | 403, Some(_)) => ": the key that was given is not the right one",
            (404, _) if said.contains("there is nothing here") => {
                ": it has no such page, and may be an older collabd"
            }
            (405, _) => ": it may be an older collabd",
            _ => "",
        };
        ApiError { status, line: format!("{} says {said}{advice}", self.shown()) }
    }
}

/// The header that shows a key. One of another kind than `collabd key new` makes may hold anything.
pub fn authorization(key: &str) -> String {
    match key.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => format!("Authorization: Bearer {key}"),
        false => {
            let basic = BASE64.encode(format!("collabd:{key}").as_bytes());
            format!("Authorization: Basic {basic}")
        }
    }
}

/// The page of a session.
pub fn page_of(session: &str, page: &str) -> String {
    format!("/api/sessions/{}{page}", encoded(session))
}

/// Percent-encodes all that could mean something in a path or a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_arrive_as_they_are() {
        assert_eq!(page_of("a/b ü.", "/state"), "/api/sessions/a%2Fb%20%C3%BC%2E/state");
        assert_eq!(authorization("k-1_x"), "Authorization: Bearer k-1_x");
        assert_eq!(authorization("a\r\nb: ü"), "Authorization: Basic Y29sbGFiZDphDQpiOiDDvA==");
    }

    #[test]
    fn debug_shows_no_key() {
        let server = Server {
            url: "http://a/key/SECRET".into(),
            key: Some("SECRET".into()),
            key_file: None,
        };
        assert!(!format!("{server:?}").contains("SECRET"));
    }
}
