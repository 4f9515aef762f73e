//! Answers to HTTP requests about sessions in memory: the list, one session, its document.

use std::cmp::{Ordering, Reverse};
use std::io::Write;

use super::access::Access;
use super::member::Member;
use super::registry::Registry;
use super::session::Session;
use super::{ConnId, Context, Effect, Refusal, Time};
use crate::auth::Grant;
use crate::protocol::json;
use crate::protocol::outbound::write_key;

/// How many sessions a list has at most. The others are only counted.
const MAX_LISTED_SESSIONS: usize = 1000;
/// The largest list, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;
/// How many members of each session a list has, those that joined first. The others are only counted.
const MAX_MEMBERS_IN_LIST: usize = 100;
/// How many members the answer about one session has.
const MAX_MEMBERS_IN_DETAILS: usize = 1000;

impl Registry {
    /// Answers with the sessions in memory that a key opens.
    pub fn list(&self, conn: ConnId, grant: Option<Grant>, cx: &mut Context<'_>) {
        let opens = opened_by(grant, cx);
        let mut found: Vec<&Session> =
            self.iter().filter(|session| opens(session.room.name())).collect();
        let total = found.len();
        if total > MAX_LISTED_SESSIONS {
            found.select_nth_unstable_by(MAX_LISTED_SESSIONS, |a, b| compare_for_list(a, b));
            found.truncate(MAX_LISTED_SESSIONS);
        }
        found.sort_unstable_by(|a, b| compare_for_list(a, b));
        let mut body = b"{\"sessions\":[".to_vec();
        for session in found {
            let before = body.len();
            body.extend_from_slice(if body.ends_with(b"[") { b"{" } else { b",{" });
            session.write_summary(&mut body, MAX_MEMBERS_IN_LIST, cx.now);
            body.push(b'}');
            if body.len() > MAX_LIST_BYTES {
                body.truncate(before);
                break;
            }
        }
        let _ = write!(body, "],\"total\":{total},\"timestamp\":\"{}\"}}", cx.now.wall);
        cx.effects.push(Effect::Answer { conn, body });
    }

    /// Answers with a session's summary and its last changes.
    pub fn describe(&self, conn: ConnId, name: &str, grant: Option<Grant>, cx: &mut Context<'_>) {
        self.answer_about(conn, name, grant, cx, |session, now| {
            let mut body = b"{".to_vec();
            session.write_summary(&mut body, MAX_MEMBERS_IN_DETAILS, now);
            body.extend_from_slice(b",\"recent\":");
            session.activity.write(&mut body);
            let _ = write!(body, ",\"timestamp\":\"{}\"}}", now.wall);
            Ok(body)
        });
    }

    /// Answers with one item of a session, and who changed it last.
    pub fn item(
        &self,
        conn: ConnId,
        name: &str,
        id: &str,
        grant: Option<Grant>,
        cx: &mut Context<'_>,
    ) {
        self.answer_about(conn, name, grant, cx, |session, now| {
            let item = session.document.get(id).ok_or(Refusal::NoItem)?;
            let mut body = b"{\"item\":".to_vec();
            item.write(&mut body);
            write_key(&mut body, "changed_by");
            json::write_string(&mut body, &item.writer);
            let _ = match item.changed_at {
                Some(at) => write!(body, ",\"changed_at\":\"{at}\""),
                None => write!(body, ",\"changed_at\":null"),
            };
            let _ = write!(body, ",\"timestamp\":\"{}\"}}", now.wall);
            Ok(body)
        });
    }

    /// Answers with a session's document.
    pub fn state(&self, conn: ConnId, name: &str, grant: Option<Grant>, cx: &mut Context<'_>) {
        self.answer_about(conn, name, grant, cx, |session, now| {
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

    /// Answers with `body` of a session, or refuses: the key doesn't open it, or it isn't in memory.
    pub(super) fn answer_about(
        &self,
        conn: ConnId,
        name: &str,
        grant: Option<Grant>,
        cx: &mut Context<'_>,
        body: impl FnOnce(&Session, Time) -> Result<Vec<u8>, Refusal>,
    ) {
        let answer = match self.get(name) {
            _ if !opened_by(grant, cx)(name) => Err(Refusal::KeyRefused),
            None => Err(Refusal::Unknown),
            Some(session) => body(session, cx.now),
        };
        cx.effects.push(match answer {
            Ok(body) => Effect::Answer { conn, body },
            Err(why) => Effect::Refuse { conn, why },
        });
    }
}

/// Whether a key opens a session: a predicate over names. It is `true` where no key is asked for, and
/// `false` for a key that is not valid any more.
fn opened_by(grant: Option<Grant>, cx: &Context<'_>) -> impl Fn(&str) -> bool + use<> {
    let access = grant.map(|grant| Access::new(grant, cx.keys, cx.now.wall)).transpose();
    move |name| match &access {
        Ok(access) => access.as_ref().is_none_or(|access| access.opens(name)),
        Err(_) => false,
    }
}

/// Sessions with members first, then by the time of the last change, then by name.
fn compare_for_list(a: &Session, b: &Session) -> Ordering {
    let order =
        |session: &Session| (session.room.is_empty(), Reverse(session.activity.changed_at()));
    order(a).cmp(&order(b)).then_with(|| a.room.name().cmp(b.room.name()))
}

impl Session {
    /// Appends the summary of a session as JSON, without braces. Writing to memory can't fail.
    fn write_summary(&self, json: &mut Vec<u8>, max_members: usize, now: Time) {
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
            member.write(json, self.is_host(place), now);
        }
        json.extend_from_slice(b"],\"changed_at\":");
        let _ = match self.activity.changed_at() {
            Some(at) => write!(json, "\"{at}\""),
            None => write!(json, "null"),
        };
        json.extend_from_slice(b",\"changes_per_minute\":");
        self.activity.write_minutes(json, now.elapsed);
        let _ = write!(json, ",\"stored\":{}", self.journal.has_begun);
    }
}

impl Member {
    /// Appends a member as JSON, after the opening brace.
    fn write(&self, json: &mut Vec<u8>, is_host: bool, now: Time) {
        json.extend_from_slice(b"\"user_id\":");
        json::write_string(json, &self.user);
        let read_only = !self.may_write();
        let _ = write!(
            json,
            ",\"is_host\":{is_host},\"connected_at\":\"{}\",\"read_only\":{read_only},\
             \"connection\":{},\"takeovers\":{},\"round_trip_ms\":",
            self.connected_at,
            self.conn.0,
            self.takeovers(now.elapsed),
        );
        let _ = match self.round_trip() {
            Some(trip) => write!(json, "{:.1}}}", trip.as_secs_f64() * 1000.0),
            None => write!(json, "null}}"),
        };
    }
}
