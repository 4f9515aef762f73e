//! The session protocol as a service: which path is a session, and what a message becomes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::hub::{ConnId, Effect, Event, Hub, Now};
use crate::protocol::inbound::{self, ClientMessage};
use crate::protocol::{Frame, Timestamp, UserId, close, outbound};
use crate::server::http::{Request, Response};
use crate::server::service::{Answer, Heard, Machine, Said, Service, Speaker};

/// The longest session or user id, in characters.
const LONGEST_ID: usize = 128;
/// What a refused path is told.
const NO_SUCH_PAGE: &str = "there is nothing here: connect with a WebSocket to /ws/SESSION/USER";
const BAD_ID: &str = "bad id: connect to /ws/SESSION/USER, each 1 to 128 characters of \
                      percent-encoded UTF-8 without control characters";

/// Serves sessions. Has no state of its own: that is the hub's.
#[derive(Debug)]
pub struct Sessions;

impl Service for Sessions {
    type Event = Event;
    type Machine = Hub;
    type Speaker = Member;

    fn answer(&self, request: &Request<'_>, _from: IpAddr, _conn: ConnId) -> Answer<Member> {
        let member = match member_at(request.path) {
            Ok(member) => member,
            Err(why) => return Answer::Page(Response::text(404, why)),
        };
        if request.method != "GET" {
            return Answer::Page(Response::only_get("a session is joined with GET"));
        }
        Answer::Upgrade(member)
    }
}

/// A client's part of the session protocol, on its own thread.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    session: Arc<str>,
    user: UserId,
}

impl Speaker for Member {
    type Event = Event;

    fn join(&self, conn: ConnId) -> Event {
        Event::Join { conn, session: self.session.clone(), user: self.user.clone(), grant: None }
    }

    fn hear(&mut self, conn: ConnId, heard: Heard<'_>) -> Said<Event> {
        match heard {
            Heard::Text(text) => {
                if log::log_enabled!(log::Level::Debug) {
                    let kind = inbound::type_of(text);
                    let kind: Option<String> = kind.map(|kind| kind.chars().take(64).collect());
                    log::debug!("c{}: {kind:?}, {} bytes", conn.0, text.len());
                }
                match inbound::parse(text) {
                    // Answered here it costs a third of what it would cost through the hub.
                    Ok(ClientMessage::Ping { echo }) => {
                        Said::Reply(outbound::pong(&echo, Timestamp::now()))
                    }
                    Ok(message) => Said::Event(Event::Message { conn, message }),
                    Err(rejection) => Said::Reply(outbound::rejected(&rejection)),
                }
            }
            Heard::Binary(_) => {
                Said::Close(close::UNSUPPORTED, "only text messages are understood")
            }
            Heard::Pong(payload) => Said::Event(Event::Pong { conn, payload: payload.to_vec() }),
        }
    }

    fn apology(&self) -> Option<Frame> {
        Some(outbound::server_error())
    }

    fn user(&self) -> &str {
        &self.user
    }

    fn place(&self) -> String {
        format!("session {:?}", self.session)
    }
}

impl Machine for Hub {
    type Event = Event;

    fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        Hub::handle(self, event, now, effects);
    }

    fn next_deadline(&self) -> Option<Duration> {
        Hub::next_deadline(self)
    }

    fn tick() -> Event {
        Event::Tick
    }

    fn gone(conn: ConnId) -> Event {
        Event::Gone { conn }
    }

    fn failed(conn: ConnId) -> Event {
        Event::Failed { conn }
    }
}

/// Whom a path names: `[/key/KEY]/ws/SESSION/USER`. The user typed the part before `/ws`, so more
/// slashes than needed do no harm there.
fn member_at(path: &str) -> Result<Member, &'static str> {
    let path = path.strip_prefix('/').ok_or(NO_SUCH_PAGE)?.trim_start_matches('/');
    let path = match path.strip_prefix("key/") {
        Some(keyed) => keyed.split_once('/').ok_or(NO_SUCH_PAGE)?.1.trim_start_matches('/'),
        None => path,
    };
    let (session, user) =
        path.strip_prefix("ws/").ok_or(NO_SUCH_PAGE)?.split_once('/').ok_or(NO_SUCH_PAGE)?;
    let id = |encoded| percent_decoded(encoded).filter(|id| is_id(id)).ok_or(BAD_ID);
    Ok(Member { session: id(session)?.into(), user: id(user)?.into() })
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

/// `None` where a `%` isn't followed by two digits, or the result isn't UTF-8.
fn percent_decoded(encoded: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Option<(String, String)> {
        let member = member_at(path).ok()?;
        Some((member.session.to_string(), member.user.to_string()))
    }

    #[test]
    fn paths_name_a_session_and_a_user() {
        for (path, session, user) in [
            ("/ws/default/alice", "default", "alice"),
            ("/ws/a%20b/m%C3%BCller%25", "a b", "müller%"),
            ("/ws/../b/c/d", "..", "b/c/d"),
            ("/ws/a%2Fb/c", "a/b", "c"),
            ("/key/SECRET/ws/a/b", "a", "b"),
            ("//ws/a/b", "a", "b"),
            ("/key/SECRET//ws/a/b", "a", "b"),
            ("/ws/key/ws", "key", "ws"),
        ] {
            assert_eq!(named(path), Some((session.into(), user.into())), "{path}");
        }
        let longest = "ü".repeat(128);
        assert!(named(&format!("/ws/{longest}/{longest}")).is_some());
    }

    #[test]
    fn other_paths_name_nobody() {
        let too_long = format!("/ws/a/{}", "x".repeat(129));
        for path in [
            "",
            "/",
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
        ] {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
