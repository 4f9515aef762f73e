//! Sessions as whoever asks without a WebSocket is shown them: all, one, or a document.

use std::cmp::{Ordering, Reverse};
use std::io::Write;

use super::member::Member;
use super::pass::Pass;
use super::session::Session;
use super::sessions::Sessions;
use super::{ConnId, Effect, Now, Refusal, Turn};
use crate::auth::Grant;
use crate::protocol::json;
use crate::protocol::outbound::write_key;

/// How many sessions a list has, and how long it is at most, in bytes; the others are only counted.
const MAX_LISTED_SESSIONS: usize = 1000;
const MAX_LIST_BYTES: usize = 4 << 20;
/// How many members of a session are listed where it is one of many, and where it is asked for: the
/// first that joined. The others are only counted.
const MAX_MEMBERS_IN_LIST: usize = 100;
const MAX_MEMBERS_IN_DETAILS: usize = 1000;

impl Sessions {
    /// Answers with the sessions in memory that somebody's key opens.
    pub fn list(&self, conn: ConnId, grant: Option<Grant>, turn: &mut Turn<'_>) {
        let opens = opened_by(grant, turn);
        let mut found: Vec<&Session> =
            self.iter().filter(|session| opens(session.room.name())).collect();
        let total = found.len();
        if total > MAX_LISTED_SESSIONS {
            found.select_nth_unstable_by(MAX_LISTED_SESSIONS, |a, b| in_order(a, b));
            found.truncate(MAX_LISTED_SESSIONS);
        }
        found.sort_unstable_by(|a, b| in_order(a, b));
        let mut body = b"{\"sessions\":[".to_vec();
        for session in found {
            let before = body.len();
            body.extend_from_slice(if body.ends_with(b"[") { b"{" } else { b",{" });
            session.write_summary(&mut body, MAX_MEMBERS_IN_LIST, turn.now);
            body.push(b'}');
            if body.len() > MAX_LIST_BYTES {
                body.truncate(before);
                break;
            }
        }
        let _ = write!(body, "],\"total\":{total},\"timestamp\":\"{}\"}}", turn.now.wall);
        turn.effects.push(Effect::Answer { conn, body });
    }

    /// Answers with what there is to know of a session in memory.
    pub fn describe(&self, conn: ConnId, name: &str, grant: Option<Grant>, turn: &mut Turn<'_>) {
        self.answer_about(conn, name, grant, turn, |session, now| {
            let mut body = b"{".to_vec();
            session.write_summary(&mut body, MAX_MEMBERS_IN_DETAILS, now);
            body.extend_from_slice(b",\"recent\":");
            session.recent.write(&mut body);
            let _ = write!(body, ",\"timestamp\":\"{}\"}}", now.wall);
            Ok(body)
        });
    }

    /// Answers with the document of a session in memory.
    pub fn state(&self, conn: ConnId, name: &str, grant: Option<Grant>, turn: &mut Turn<'_>) {
        self.answer_about(conn, name, grant, turn, |session, now| {
            let mut body = Vec::new();
            session.document.write_file(&mut body, now.wall);
            body.pop();
            write_key(&mut body, "session_id");
            json::write_string(&mut body, session.room.name());
            let (epoch, seq) = (&session.epoch, session.history.seq());
            let _ = write!(body, ",\"epoch\":\"{epoch}\",\"seq\":{seq}}}");
            Ok(body)
        });
    }

    pub(super) fn answer_about(
        &self,
        conn: ConnId,
        name: &str,
        grant: Option<Grant>,
        turn: &mut Turn<'_>,
        body: impl FnOnce(&Session, Now) -> Result<Vec<u8>, Refusal>,
    ) {
        let answer = match self.get(name) {
            _ if !opened_by(grant, turn)(name) => Err(Refusal::KeyRefused),
            None => Err(Refusal::Unknown),
            Some(session) => body(session, turn.now),
        };
        turn.effects.push(match answer {
            Ok(body) => Effect::Answer { conn, body },
            Err(why) => Effect::Refuse { conn, why },
        });
    }
}

/// Which sessions are shown to somebody: those that the key opens, if it is still in force; all where
/// none is asked for.
fn opened_by(grant: Option<Grant>, turn: &Turn<'_>) -> impl Fn(&str) -> bool + use<> {
    let pass = grant.map(|grant| Pass::new(grant, turn.keys, turn.now.wall)).transpose();
    move |name| match &pass {
        Ok(pass) => pass.as_ref().is_none_or(|pass| pass.opens(name)),
        Err(_) => false,
    }
}

/// Those with members first, then those that were changed last.
fn in_order(a: &Session, b: &Session) -> Ordering {
    let order = |session: &Session| (session.room.is_empty(), Reverse(session.recent.changed_at()));
    order(a).cmp(&order(b)).then_with(|| a.room.name().cmp(b.room.name()))
}

impl Session {
    /// Appends what there is to know of the session at a glance, without braces around it. Writing to
    /// memory can't fail.
    fn write_summary(&self, json: &mut Vec<u8>, max_members: usize, now: Now) {
        json.extend_from_slice(b"\"session_id\":");
        json::write_string(json, self.room.name());
        let (epoch, seq) = (&self.epoch, self.history.seq());
        let (items, bytes) = (self.document.len(), self.document.bytes());
        let _ = write!(
            json,
            ",\"epoch\":\"{epoch}\",\"seq\":{seq},\"items\":{items},\"bytes\":{bytes},\
             \"viewers\":{},\"member_count\":{},\"members\":[",
            self.viewers.len(),
            self.room.len(),
        );
        for (place, member) in self.room.iter().take(max_members).enumerate() {
            json.extend_from_slice(if place == 0 { b"{" } else { b",{" });
            member.write(json, self.is_host(place));
        }
        json.extend_from_slice(b"],\"changed_at\":");
        let _ = match self.recent.changed_at() {
            Some(at) => write!(json, "\"{at}\""),
            None => write!(json, "null"),
        };
        json.extend_from_slice(b",\"changes_per_minute\":");
        self.recent.write_minutes(json, now.elapsed);
        let _ = write!(json, ",\"stored\":{}", self.keeping.has_begun);
    }
}

impl Member {
    /// Appends what there is to know of a member, after the opening brace.
    fn write(&self, json: &mut Vec<u8>, is_host: bool) {
        json.extend_from_slice(b"\"user_id\":");
        json::write_string(json, &self.user);
        let read_only = !self.may_write();
        let _ = write!(
            json,
            ",\"is_host\":{is_host},\"connected_at\":\"{}\",\"read_only\":{read_only},\
             \"connection\":{},\"round_trip_ms\":",
            self.connected_at, self.conn.0,
        );
        let _ = match self.round_trip() {
            Some(trip) => write!(json, "{:.1}}}", trip.as_secs_f64() * 1000.0),
            None => write!(json, "null}}"),
        };
    }
}
