//! The server in the middle of it all: what it reads, what it is told, and what it wants done.

use collabd::hub::Refusal;
use collabd::protocol::inbound::{self, ClientMessage};

use super::*;
use crate::editor::Told;

impl World {
    /// The server reads something.
    pub fn arrive(&mut self, conn: ConnId, parcel: Parcel) {
        let connection = &self.connections[&conn];
        let person = connection.person;
        match parcel {
            Parcel::End if connection.is_dead => drop(self.connections.remove(&conn)),
            _ if connection.is_dead => {}
            Parcel::Up { text, message, told } => {
                let parsed = match inbound::parse(&text) {
                    Ok(parsed) => parsed,
                    // Nobody can say where it is; its sender is told.
                    Err(_) if text.contains("_mm\":Infinity") => return,
                    Err(rejection) => panic!("{rejection:?}: {text}"),
                };
                if self.people[person].is_viewer() {
                    let ClientMessage::SyncRequest { since, .. } = parsed else {
                        panic!("viewers say nothing else: {text}")
                    };
                    return self.handle(Event::RequestState { conn, since });
                }

                if self.people[person].is_reader {
                    let before = self.hub.document(SESSION).map(disk::items_of);
                    self.handle(Event::Message { conn, message: parsed });
                    let after = self.hub.document(SESSION).map(disk::items_of);
                    assert_eq!(before, after, "a watcher changed it");
                    return;
                }
                // Only the first canvas can be a new design.
                let is_first = message["type"] == "sync:full_state" && !connection.has_shown;
                let before = is_first.then(|| self.document());
                self.handle(Event::Message { conn, message: parsed });
                if self.members.contains(&conn) {
                    self.note(conn, &message, &told, before);
                }
            }
            Parcel::Pong(payload) => self.handle(Event::Pong { conn, payload }),
            Parcel::Down(_) | Parcel::Ping(_) => unreachable!("nobody sends that"),
            Parcel::End => {
                self.members.remove(&conn);
                self.handle(Event::Disconnected { conn });
                self.connections.remove(&conn);
            }
        }
    }

    /// Keeps the record of who chose what.
    fn note(
        &mut self,
        conn: ConnId,
        message: &Value,
        told: &[Told],
        before: Option<BTreeMap<String, Value>>,
    ) {
        let user = self.people[self.connections[&conn].person].user.clone();
        let mut how = Taken::Whole;
        if message["type"] == "sync:full_state" {
            if self.refused == Some(conn) {
                return;
            }
            self.note_listed(conn, message);
            let is_for_itself = message["target_user"] == user.as_str();
            let connection = self.connections.get_mut(&conn).expect("it is there");
            let came_alone = connection.came_alone;
            if is_for_itself && !std::mem::replace(&mut connection.has_shown, true) {
                how = Taken::AsFirstCanvas;
                let before = before.unwrap_or_default();
                if self.is_new_design(&before, &message["state"]["items"]) {
                    assert!(came_alone, "{user} did not come alone");
                    how = Taken::InPlace;
                }
            }
        }
        self.ledger.note(self.seq, self.now, &user, message, told, how);
    }

    /// The server knows now of everything that is in a canvas.
    fn note_listed(&mut self, conn: ConnId, message: &Value) {
        let person = self.connections[&conn].person;
        if let Client::Editor(editor) = &mut self.people[person].client {
            let items = message["state"]["items"].as_array().expect("a list").iter();
            items.filter_map(|data| data["uuid"].as_str()).for_each(|id| editor.is_listed(id));
        }
    }

    /// Whether a canvas has taken the place of everything that was there.
    fn is_new_design(&self, before: &BTreeMap<String, Value>, items: &Value) -> bool {
        let items = items.as_array().expect("a list").iter();
        let shown: BTreeSet<&str> = items.filter_map(|data| data["uuid"].as_str()).collect();
        let after = self.document();
        !before.is_empty()
            && !shown.is_empty()
            && before.keys().all(|id| !shown.contains(id.as_str()) && !after.contains_key(id))
    }

    pub fn handle(&mut self, event: Event) {
        let wall = Timestamp::from_millis(1_700_000_000_000 + self.now.as_millis() as u64);
        let mut effects = std::mem::take(&mut self.effects);
        let now = Time { elapsed: self.now - self.started, wall };
        self.hub.handle(event, now, &mut effects);
        self.refused = None;
        let mut kept = None;
        // What the hub sends at one time arrives at one time, as a rule: nobody acts in between.
        let mut arrivals: HashMap<ConnId, Duration> = HashMap::new();
        let mut last: Option<(Frame, Rc<Value>)> = None;
        // A greeting is one piece.
        let greets = effects.iter().any(|effect| matches!(effect, Effect::Admit { .. }));
        for effect in effects.drain(..) {
            let effect = match effect {
                Effect::Confirm { conn, frame } => match self.hold_back(conn, frame) {
                    Some((conn, frame)) => Effect::Send { conn, frame, supersedes: None },
                    None => continue,
                },
                effect => effect,
            };
            let (conn, parcel) = match effect {
                Effect::Send { conn, frame, .. } | Effect::Confirm { conn, frame } => {
                    (conn, self.parcel(conn, frame, &mut last))
                }
                Effect::Close { conn, .. } => {
                    self.members.remove(&conn);
                    (conn, Parcel::End)
                }
                Effect::Admit { conn } => {
                    let others = self.members.iter().filter(|member| **member != conn);
                    let person = self.connections[&conn].person;
                    let mut others = others.map(|member| self.connections[member].person);
                    let came_alone = others.all(|other| other == person);
                    let connection = self.connections.get_mut(&conn).expect("it asked");
                    (connection.is_admitted, connection.came_alone) = (true, came_alone);
                    let person = &self.people[connection.person];
                    if !person.is_reader && !person.is_viewer() {
                        self.members.insert(conn);
                    }
                    continue;
                }
                Effect::Persist(keep) => {
                    kept = kept.max(Some(keep.seq()));
                    self.keep(*keep);
                    continue;
                }
                Effect::Load { session } => {
                    self.load(session);
                    continue;
                }
                // Of a document that was restored.
                Effect::AnswerWhenPersisted { .. } => continue,
                Effect::Refuse { why: Refusal::NotWritten, .. } => continue,
                Effect::Refuse { conn, why: Refusal::Unknown } => {
                    let connection = self.connections.remove(&conn).expect("it asked");
                    let person = &mut self.people[connection.person];
                    assert!(person.is_viewer(), "others begin a session");
                    // Unless it has left meanwhile.
                    person.conn.take_if(|current| *current == conn);
                    continue;
                }
                effect => panic!("{effect:?}"),
            };
            let at = match arrivals.get(&conn) {
                Some(at) if greets || !(self.has_splits && self.random.chance(10)) => *at,
                _ => self.delay(),
            };
            arrivals.insert(conn, at);
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.down.send(at, parcel);
            }
        }
        self.effects = effects;
        self.seq = kept.unwrap_or(self.seq).max(self.seq);
        self.note_moment(kept);
    }

    /// What a frame carries; what goes to several is parsed once.
    fn parcel(
        &mut self,
        conn: ConnId,
        frame: Frame,
        last: &mut Option<(Frame, Rc<Value>)>,
    ) -> Parcel {
        if frame.bytes()[0] != 0x81 {
            return Parcel::Ping(frame.payload().to_vec());
        }
        let is_same =
            |last: &&(Frame, Rc<Value>)| last.0.bytes().as_ptr() == frame.bytes().as_ptr();
        let message = match last.as_ref().filter(is_same) {
            Some((_, message)) => message.clone(),
            None => {
                let message = Rc::new(python::loads(frame.payload()));
                self.check_form(&message);
                message
            }
        };
        self.check_frame(conn, &message);
        // While the disk fails nothing is kept, and numbers go on.
        self.seq = message["seq"].as_u64().map_or(self.seq, |seq| seq.max(self.seq));
        *last = Some((frame, message.clone()));
        Parcel::Down(message)
    }

    /// A client reads something.
    pub fn hear(&mut self, conn: ConnId, parcel: Parcel) {
        let Some(connection) = self.connections.get(&conn).filter(|c| c.is_current) else { return };
        let person = connection.person;
        match parcel {
            Parcel::Down(message) => {
                self.log(|| format!("{} hears {}", self.people[person].user, brief::of(&message)));
                match &mut self.people[person].client {
                    Client::Editor(editor) => {
                        let answers = editor.hear(&message);
                        self.send_all(person, answers);
                    }
                    Client::Script(script) => {
                        let answers = script.hear(&message);
                        answers
                            .into_iter()
                            .for_each(|answer| self.send(person, answer, Vec::new()));
                    }
                }
            }
            Parcel::Ping(payload) => {
                assert!(!self.people[person].is_viewer(), "nobody asks whether it is a host");
                let at = self.delay();
                let connection = self.connections.get_mut(&conn).expect("it is current");
                connection.up.send(at, Parcel::Pong(payload));
            }
            Parcel::End => self.lose(person),
            Parcel::Up { .. } | Parcel::Pong(_) => unreachable!("the server doesn't send that"),
        }
    }
}
