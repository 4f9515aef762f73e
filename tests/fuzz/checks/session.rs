//! Clients of both protocols that come, talk, wait, leave, and lose their keys, in sessions and
//! channels side by side, as a script says (`script.rs`). They go through the door and the parsers as
//! connections do; whatever the hub then wants done is shown to a witness (`witness.rs`).

use std::sync::Arc;
use std::time::Duration;

use collabd::auth::{Grant, Key, KeySet, Level};
use collabd::hub::{ChannelMessage as HubSaid, ConnId, Effect, Event, Hub, Limits};
use collabd::net::service::{ConnectionHandler, Incoming, Outcome, Reaction, Role};
use collabd::protocol::Frame;
use collabd::routes::Router;

use super::marks::{self, Marks};
use super::rig;
use super::script::{self, Act, SEATS, Switches, Told};
use super::witness::{Cause, Who, Witness};

/// An hour ends everything that was to be kept for a while.
const LONG: u64 = 3_600_000;

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (switches, acts) = script::read(&text);
    let mut world = World::new(input, switches);
    for (seat, act) in acts {
        world.act(seat, act);
    }
    world.finish();
}

/// Somebody's connection.
struct Seat {
    conn: ConnId,
    guest: Box<dyn ConnectionHandler>,
    /// The payload of the Ping it was sent last.
    ping: Vec<u8>,
}

struct World {
    marks: Marks,
    /// All keys there may be.
    secrets: Vec<String>,
    door: Router,
    hub: Hub,
    witness: Witness,
    seats: [Option<Seat>; SEATS],
    elapsed: Duration,
    next_conn: u64,
    /// How many texts were said.
    said: u64,
    /// Keys that the hub is still to hear of.
    news: Option<Arc<KeySet>>,
}

impl World {
    fn new(input: &[u8], switches: Switches) -> Self {
        let marks = Marks::of(input);
        let limits = Limits {
            settle: !switches.no_settle,
            linger: if switches.no_linger { Duration::ZERO } else { rig::limits().linger },
            ..rig::limits()
        };
        let keys = keys(&marks, "wrnxa");
        let mut witness = Witness::new(limits.clone());
        for name in LETTERS.chars() {
            witness.nobody_hears(secret(&marks, name));
            witness.nobody_hears(key_name(&marks, name));
        }
        World {
            door: rig::door(keys, switches.require_key),
            hub: Hub::new(limits, 1),
            witness,
            seats: Default::default(),
            elapsed: Duration::ZERO,
            next_conn: 1,
            said: 0,
            news: None,
            secrets: LETTERS.chars().map(|name| secret(&marks, name)).collect(),
            marks,
        }
    }

    fn act(&mut self, seat: usize, act: Act<'_>) {
        match act {
            Act::Join { session, user, key } => {
                let session = room_name(&self.marks, session);
                let user = short(user);
                let user = format!("{user}{}", self.marks.mark((&session, &user)));
                self.witness.only_session_hears(&session, &[&session, &user]);
                let path = ["ws", &session, &user].map(rig::percent_encoded);
                let path = format!("/ws/{}/{}", path[1], path[2]);
                self.come(seat, &path, key, Who::Member { session, user });
            }
            Act::View { session, key } => {
                let session = room_name(&self.marks, session);
                self.witness.only_session_hears(&session, &[&session]);
                let path = format!("/view/{}", rig::percent_encoded(&session));
                self.come(seat, &path, key, Who::Viewer { session });
            }
            Act::Enter { client, debug } => {
                let client = short(client);
                let client = format!("{client}{}", self.marks.mark(("client", &client)));
                self.witness.only_by_its_talk(&client);
                let prefix = if debug { "/debug/client_" } else { "/client_" };
                let path = format!("{prefix}{}", rig::percent_encoded(&client));
                self.come(seat, &path, None, Who::Client { client, debug });
            }
            Act::Text(text) => self.say(seat, text),
            Act::Binary => self.hear(seat, Incoming::Binary(b"\0"), None),
            Act::Pong(payload) => {
                let Some(Seat { ping, .. }) = &self.seats[seat] else { return };
                let payload = if payload == "!" { ping.clone() } else { payload.into() };
                self.hear(seat, Incoming::Pong(&payload), None);
            }
            Act::Connect(name) => {
                // In a session it would be one more thing to relay.
                let role = self.seats[seat].as_ref().map(|seat| seat.guest.role());
                if role != Some(Role::Client) {
                    return;
                }
                let key = secret(&self.marks, name);
                self.say(seat, &format!(r#"{{"type":"connect","data":{{"api_key":"{key}"}}}}"#));
            }
            Act::Gone => self.leave(seat),
            Act::Failed => {
                if let Some(Seat { conn, .. }) = self.seats[seat] {
                    self.handle(Cause::failed(conn), Event::Failed { conn });
                }
            }
            Act::Wait { millis, late: false } => self.pass(millis),
            Act::Wait { millis, late: true } => {
                let passed = Duration::from_millis(millis);
                self.elapsed += passed;
                self.witness.hub_is_late(passed);
                self.tick();
            }
            Act::Keys { names, told } => {
                let keys = keys(&self.marks, names);
                if let Some(newer) = self.door.authenticator.keys().put_in_force(keys) {
                    self.news = Some(newer);
                }
                if told == Told::Everybody {
                    self.tell_keys();
                }
            }
            Act::HubHears => self.tell_keys(),
            Act::Threads { key, channel } => self.ask_for_threads(key, channel),
            Act::Sessions { key, session, state } => self.ask_about_sessions(key, session, state),
        }
    }

    /// Asks the door to come in, and takes a seat. Whoever had it is gone.
    fn come(&mut self, seat: usize, path: &str, key: Option<char>, who: Who) {
        self.leave(seat);
        let conn = self.conn();
        let key = key.map(|name| secret(&self.marks, name));
        let from = [192, 0, 2, seat as u8].into();
        match rig::ask(&self.door, path, key.as_deref(), from, conn) {
            Outcome::Page(page) => assert!(matches!(page.status(), 403 | 404 | 429)),
            Outcome::Ask(_) | Outcome::AskState(_) | Outcome::Report(_) | Outcome::Work(_) => {
                panic!("a page at {path}")
            }
            Outcome::Upgrade(guest) => {
                let event = guest.join(conn).expect("the hub admits it");
                let grant = match &event {
                    Event::Join { grant, .. } | Event::View { grant, .. } => grant.clone(),
                    _ => None,
                };
                self.seats[seat] = Some(Seat { conn, guest, ping: Vec::new() });
                self.witness.comes(conn, who, grant, self.elapsed);
                self.handle(Cause::by(conn), event);
                if !self.witness.is_known(conn) {
                    self.seats[seat] = None;
                }
            }
        }
    }

    fn conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn - 1)
    }

    fn say(&mut self, seat: usize, text: &str) {
        if self.seats[seat].is_none() {
            return;
        }
        self.said += 1;
        let mark = self.marks.mark(self.said);
        let text = script::said(text, &mark, |other| self.neighbour(seat, other));
        self.hear(seat, Incoming::Text(&text), Some((&text, &mark)));
    }

    /// The name of whoever is at another seat, or at this one, if they are in one session.
    fn neighbour(&self, seat: usize, other: usize) -> Option<&str> {
        let (here, there) = (&self.seats[seat].as_ref()?.guest, &self.seats[other].as_ref()?.guest);
        let are_members = here.role() == Role::Member && there.role() == Role::Member;
        (are_members && here.target() == there.target()).then(|| there.user())
    }

    /// What a client's thread does with what it has read.
    fn hear(&mut self, seat: usize, heard: Incoming<'_>, said: Option<(&str, &str)>) {
        let Some(Seat { conn, guest, .. }) = &mut self.seats[seat] else { return };
        let conn = *conn;
        match guest.on_message(conn, heard) {
            Reaction::Event(event) => {
                let shown = format!("{event:?}");
                let is_secret = |mark: &str| self.secrets.iter().any(|secret| secret == mark);
                assert!(!marks::find(shown.as_bytes()).any(is_secret), "{shown}");
                if let Event::ChannelMessage { said: HubSaid::Connect(Ok(grant)), .. } = &event {
                    self.witness.shows_key(conn, grant);
                }
                let cause = Cause::saying(conn, said);
                self.handle(cause, event);
            }
            Reaction::Reply(frame) => self.witness.answered(conn, &frame, said),
            Reaction::Close(..) => self.leave(seat),
            Reaction::Nothing => {}
        }
    }

    fn leave(&mut self, seat: usize) {
        if let Some(Seat { conn, .. }) = self.seats[seat].take() {
            self.handle(Cause::gone(conn), Event::Disconnected { conn });
        }
    }

    fn tell_keys(&mut self) {
        if let Some(keys) = self.news.take() {
            self.witness.keys_change(keys.clone());
            self.handle(Cause::keys(), Event::Keys(keys));
        }
    }

    fn ask_for_threads(&mut self, key: char, channel: Option<&str>) {
        let query = channel.map(|channel| format!("?channel={}", rig::percent_encoded(channel)));
        let path = format!("/api/chat/threads{}", query.unwrap_or_default());
        let conn = self.conn();
        let key = secret(&self.marks, key);
        // From somewhere else each time: who guesses there locks out nobody here.
        let from = std::net::Ipv4Addr::from(0x0a00_0000 + conn.0 as u32).into();
        match rig::ask(&self.door, &path, Some(&key), from, conn) {
            Outcome::Ask(event) => {
                let Event::Threads { channel, grant, .. } = &event else { panic!("{event:?}") };
                let (channel, grant) = (channel.clone(), grant.clone());
                let before = self.witness.expect_answer(conn, channel, grant);
                self.handle(before, event);
            }
            page => assert_eq!(rig::status(&page), Some(401)),
        }
    }

    fn ask_about_sessions(&mut self, key: char, session: Option<&str>, state: bool) {
        let session = session.map(|name| room_name(&self.marks, name));
        if let Some(session) = &session {
            self.witness.only_session_hears(session, &[session]);
        }
        let name = session.as_deref().map(|name| format!("/{}", rig::percent_encoded(name)));
        let path = format!("/api/sessions{}", name.unwrap_or_default());
        let path = if state { format!("{path}/state") } else { path };
        let (conn, key) = (self.conn(), secret(&self.marks, key));
        let from = std::net::Ipv4Addr::from(0x0a00_0000 + conn.0 as u32).into();
        match rig::ask(&self.door, &path, Some(&key), from, conn) {
            Outcome::Ask(event) | Outcome::AskState(event) => {
                let (Event::Sessions { grant, .. }
                | Event::Details { grant, .. }
                | Event::State { grant, .. }) = &event
                else {
                    panic!("{event:?}")
                };
                let cause = Cause::about(conn, session, grant.clone());
                self.handle(cause, event);
            }
            page => assert!(matches!(rig::status(&page), Some(401 | 403))),
        }
    }

    /// Lets time pass, with a tick at every deadline.
    fn pass(&mut self, millis: u64) {
        let end = self.elapsed + Duration::from_millis(millis);
        while let Some(due) = self.hub.next_deadline().filter(|due| *due <= end) {
            self.elapsed = self.elapsed.max(due);
            self.tick();
        }
        self.elapsed = end;
    }

    fn tick(&mut self) {
        self.handle(Cause::tick(), Event::Tick);
        // Otherwise the hub's thread would spin.
        assert!(
            self.hub.next_deadline().is_none_or(|due| due > self.elapsed),
            "overdue after a tick"
        );
    }

    fn handle(&mut self, cause: Cause<'_>, event: Event) {
        let mut effects = Vec::new();
        self.hub.handle(event, rig::now(self.elapsed), &mut effects);
        for effect in &effects {
            if let Effect::Send { conn, frame, .. } = effect
                && let Some(payload) = ping(frame)
            {
                let seat = self.seats.iter_mut().flatten().find(|seat| seat.conn == *conn);
                if let Some(seat) = seat {
                    seat.ping = payload.to_vec();
                }
            }
        }
        self.witness.sees(&cause, &effects, rig::now(self.elapsed));
        self.witness.counts(&cause, &self.hub, self.elapsed);
    }

    /// Everybody leaves; an hour later nothing is left of them but the threads.
    fn finish(&mut self) {
        (0..SEATS).for_each(|seat| self.leave(seat));
        self.pass(LONG);
        let left = self.hub.footprint();
        assert_eq!((left.timers, left.members, left.clients, left.joined), (0, 0, 0, 0));
        assert_eq!(left.viewers, 0);
        assert!(left.sessions.is_empty(), "{:?}", left.sessions);
        assert_eq!(left.channels.channels, left.channels.deserted, "{:?}", left.channels);
        assert!(left.channels.channels <= left.channels.threads);
    }
}

/// The payload of a Ping.
fn ping(frame: &Frame) -> Option<&[u8]> {
    (frame.bytes()[0] == 0x89).then(|| frame.payload())
}

/// The names of all keys there may be.
const LETTERS: &str = "wrnxa";

fn secret(marks: &Marks, name: char) -> String {
    marks.mark(("secret", name.to_ascii_lowercase()))
}

fn key_name(marks: &Marks, name: char) -> String {
    marks.mark(("key", name.to_ascii_lowercase()))
}

/// A session's name: what the script calls it, and a mark.
fn room_name(marks: &Marks, name: &str) -> String {
    let name = short(name);
    format!("{name}{}", marks.mark(("session", &name)))
}

/// Leaves room for a mark in what has its longest, and nothing that is refused anyway.
fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(112).collect()
}

/// The keys with these names; a capital one is another key for the same secret.
fn keys(marks: &Marks, names: &str) -> Vec<Arc<Key>> {
    let (a, b) = (room_name(marks, "a"), room_name(marks, "b"));
    let (in_a, in_b) = ([&*a, "a", "general"], [&*b, "b"]);
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for name in names.chars() {
        let (level, opens, expires) = match name {
            'w' => (Level::Write, None, None),
            'W' => (Level::Read, None, None),
            'r' => (Level::Read, None, None),
            'R' => (Level::Write, None, None),
            'n' => (Level::Write, Some(&in_a[..]), None),
            'N' => (Level::Write, Some(&in_b[..]), None),
            'x' => (Level::Write, None, Some(5_000)),
            'X' => (Level::Read, None, Some(200_000)),
            'a' => (Level::Admin, None, None),
            'A' => (Level::Admin, Some(&[][..]), None),
            _ => continue,
        };
        let key = rig::key(&key_name(marks, name), &secret(marks, name), level, opens, expires);
        if keys.iter().all(|known| known.hash != key.hash) {
            keys.push(key);
        }
    }
    keys
}

/// Whether a key is good for a room, asked of its list alone.
pub fn opens(key: &Key, room: &str) -> bool {
    key.opens.as_ref().is_none_or(|rooms| rooms.iter().any(|name| **name == *room))
}

/// What a grant is worth once the hub knows these keys; `None` where it is worth nothing.
pub fn in_force<'a>(grant: &'a Grant, keys: &'a KeySet) -> Option<&'a Arc<Key>> {
    match grant.generation < keys.generation {
        true => keys.find(&grant.key.hash),
        false => Some(&grant.key),
    }
}
