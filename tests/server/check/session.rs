//! The sessions of the small faulty server: who is in them, what is passed on to whom.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::canvas::{Canvas, malformed};
use super::faulty::{Fault, Peer};

/// All sessions by name.
pub type Sessions = Mutex<HashMap<String, Session>>;

struct Member {
    user: String,
    connection: u64,
    peer: Peer,
    since: String,
    /// Whether it is known if it shares a canvas: it did, or it answered the ping without.
    told_apart: bool,
    /// Its `sync:request` waits for that.
    asked: bool,
}

/// One session.
#[derive(Default)]
pub struct Session {
    name: String,
    members: Vec<Member>,
    canvas: Canvas,
    seq: u64,
    history: Vec<(u64, Value)>,
    confirmed: HashMap<(String, String), (u64, Value)>,
    /// For the fault that reorders: kept until its sender's next one has gone out.
    held: Option<(String, Value)>,
}

const OWN_TYPES: [&str; 7] =
    ["user:joined", "user:left", "host:changed", "connection:ack", "sync:state", "pong", "error"];

impl Session {
    /// The session `name`, new if it has to be.
    pub fn of<'a>(sessions: &'a mut HashMap<String, Session>, name: &str) -> &'a mut Session {
        let fresh = || Session { name: name.to_owned(), ..Session::default() };
        sessions.entry(name.to_owned()).or_insert_with(fresh)
    }

    fn now(fault: Fault) -> String {
        match fault {
            Fault::LocalTime => "2025-10-28 13:30:45".to_owned(),
            _ => humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        }
    }

    fn member(&mut self, user: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.user == user)
    }

    fn tell(&self, message: &Value, to: impl Fn(&str) -> bool) {
        let text = message.to_string();
        self.members
            .iter()
            .filter(|member| to(&member.user))
            .for_each(|member| member.peer.text(&text));
    }

    /// For the fault that lets one session hear the other.
    pub fn overhear(&self, text: &str) {
        self.members.iter().for_each(|member| member.peer.text(text));
    }

    pub fn join(&mut self, fault: Fault, user: &str, connection: u64, peer: &Peer) {
        let since = Session::now(fault);
        let known = self.members.iter().position(|member| member.user == user);
        let member = Member {
            user: user.to_owned(),
            connection,
            peer: peer.clone(),
            since: since.clone(),
            told_apart: false,
            asked: false,
        };
        match known {
            Some(place) => {
                let old = std::mem::replace(&mut self.members[place], member);
                match fault {
                    Fault::TakeoverKeepsOld => {}
                    Fault::TakeoverWrongCode => old.peer.close(1000, "bye"),
                    _ => old.peer.close(1008, "replaced by a newer connection"),
                }
            }
            None => self.members.push(member),
        }
        let host = self.members[0].user.clone();
        let users = self.members.iter().map(|member| match fault {
            Fault::UsersAsStrings => json!(member.user),
            _ => json!({
                "user_id": member.user, "connected_at": member.since,
                "is_host": member.user == host,
            }),
        });
        let users: Vec<Value> = users.collect();
        let ack = json!({
            "type": "connection:ack", "session_id": self.name, "user_id": user,
            "is_host": host == user, "users": users, "epoch": "e1", "seq": self.seq,
            "server": {"name": "faulty", "version": "0"}, "timestamp": since,
        });
        let joined = json!({"type": "user:joined", "user_id": user, "timestamp": since});
        let to_others = match fault {
            Fault::OthersNotTold => false,
            Fault::TakeoverTold => true,
            _ => known.is_none(),
        };
        let mut greeting = vec![ack, joined.clone()];
        match fault {
            Fault::NoAck => drop(greeting.remove(0)),
            Fault::NoOwnJoined => drop(greeting.pop()),
            Fault::AckAfterJoined => greeting.reverse(),
            _ => {}
        }
        greeting.iter().for_each(|message| peer.text(&message.to_string()));
        if to_others {
            self.tell(&joined, |other| other != user);
        }
        peer.ping();
    }

    pub fn leave(&mut self, fault: Fault, user: &str, connection: u64) {
        let sure = fault == Fault::OldEndRemovesNew;
        let gone =
            |member: &Member| member.user == user && (sure || member.connection == connection);
        let Some(place) = self.members.iter().position(gone) else {
            return;
        };
        self.members.remove(place);
        if fault != Fault::NoLeft {
            self.tell(
                &json!({"type": "user:left", "user_id": user, "timestamp": Session::now(fault)}),
                |_| true,
            );
        }
        if place == 0
            && fault != Fault::NoNewHost
            && let Some(host) = self.members.first()
        {
            self.tell(&json!({"type": "host:changed", "user_id": host.user}), |_| true);
        }
    }

    /// The member has answered the ping, so it has no canvas to share: it starts from the document.
    pub fn told_apart(&mut self, fault: Fault, user: &str) {
        let Some(member) = self.member(user) else {
            return;
        };
        let (first, asked) = (!member.told_apart, member.asked);
        let peer = member.peer.clone();
        member.told_apart = true;
        let unasked = self.seq > 0 && fault != Fault::NoLateState;
        if first && (asked || unasked) {
            self.send_state(fault, &peer);
        }
    }

    fn send_state(&self, fault: Fault, peer: &Peer) {
        self.send_state_text(peer, &self.canvas.state(fault, &Session::now(fault)));
        self.canvas.settled(None).iter().for_each(|message| peer.text(message));
    }

    fn send_state_text(&self, peer: &Peer, state: &str) {
        let seq = self.seq;
        peer.text(&format!(
            r#"{{"type":"sync:state","state":{state},"from_server":true,"epoch":"e1","seq":{seq},"conflict_resolution":"host_wins"}}"#,
        ));
    }

    /// One message from `user`; `false` ends the connection.
    pub fn handle(&mut self, fault: Fault, user: &str, peer: &Peer, text: &str) -> bool {
        let mut message: Value = serde_json::from_str(text).unwrap_or_default();
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        if kind.is_empty() {
            match fault {
                Fault::ClosesOnBadJson => return false,
                Fault::IgnoresBadJson => {}
                _ => peer.text(&error("bad_json", &kind)),
            }
            return true;
        }
        let reserved = OWN_TYPES.contains(&kind.as_str()) && fault != Fault::RelaysReserved;
        if reserved || (fault != Fault::RelaysMalformed && malformed(&message)) {
            if fault == Fault::AppliesHalf && kind == "command" {
                self.canvas.apply(fault, text, &message);
            }
            peer.text(&error(if reserved { "reserved_type" } else { "bad_shape" }, &kind));
            return true;
        }
        if fault != Fault::TrustsUserId || message["user_id"].is_null() {
            message["user_id"] = json!(user);
        }
        message["timestamp"] = json!(Session::now(fault));
        match kind.as_str() {
            "ping" => self.pong(fault, peer, &message),
            "command" | "sync:update" => self.change(fault, user, peer, text, message),
            "sync:request" => self.answer(fault, user, peer, &message),
            "sync:full_state" => self.snapshot(fault, user, peer, text, &message),
            "cursor" if fault == Fault::DropsCursors => {}
            _ if fault == Fault::DropsUnknown && kind != "cursor" => {}
            _ => self.pass_on(fault, user, &message),
        }
        true
    }

    fn pong(&self, fault: Fault, peer: &Peer, ping: &Value) {
        let id = if fault == Fault::PongWithoutId { &Value::Null } else { &ping["id"] };
        let pong =
            json!({"type": "pong", "id": id, "t": ping["t"], "timestamp": ping["timestamp"]});
        match fault {
            Fault::NoPong => {}
            Fault::BinaryPong => peer.binary(&pong.to_string()),
            _ => peer.text(&pong.to_string()),
        }
    }

    fn pass_on(&self, fault: Fault, user: &str, message: &Value) {
        self.tell(message, |other| other != user || fault == Fault::Echoes);
    }

    fn change(&mut self, fault: Fault, user: &str, peer: &Peer, text: &str, mut message: Value) {
        let id = message["id"].as_str().map(|id| (user.to_owned(), id.to_owned()));
        let content = message["command"].clone();
        let known = id.as_ref().and_then(|id| self.confirmed.get(id)).cloned();
        let known = known.filter(|_| fault != Fault::AppliesRepeats);
        if let Some((_, before)) = &known
            && *before != content
            && fault != Fault::TakesOtherWithSameId
        {
            return peer.text(&error("duplicate_id", "command"));
        }
        let item = message["command"]["item_id"].as_str().unwrap_or_default().to_owned();
        let action = message["command"]["action"].as_str().unwrap_or_default().to_owned();
        if ["update_item", "move_item", "remove_item"].contains(&&*action)
            && !self.canvas.has(&item)
            && fault != Fault::RemovedComesBack
        {
            if self.canvas.remover(&item).is_some_and(|remover| remover != user) {
                let command = json!({"action": "remove_item", "item_id": item, "data": {}});
                peer.text(
                    &json!({"type": "command", "user_id": user, "command": command}).to_string(),
                );
            }
            return;
        }
        let before = self.canvas.ids();
        if known.is_none() {
            let is_host = self.members.first().is_some_and(|host| host.user == user);
            self.seq += u64::from(is_host || fault != Fault::GuestsUnnumbered);
            if fault != Fault::NoSeq {
                message["seq"] = json!(self.seq);
            }
            self.canvas.apply(fault, text, &message);
            if action == "update_item"
                && fault != Fault::RelaysParts
                && let Some(data) = self.canvas.data(&item)
            {
                message["command"]["data"] = data;
            }
            if fault != Fault::ForgetsHistory {
                self.history.push((self.seq, message.clone()));
            }
        }
        if let Some(id) = id.filter(|_| fault != Fault::NoConfirmation) {
            let seq = known.as_ref().map_or(self.seq, |(seq, _)| *seq);
            let mut confirmation = json!({
                "type": "message_delivered", "id": id.1, "seq": seq,
                "original_type": message["type"], "status": "success",
            });
            if known.is_some() && fault != Fault::RepeatsUnsaid {
                confirmation["repeated"] = json!(true);
            }
            peer.text(&confirmation.to_string());
            self.confirmed.insert(id, (seq, content));
        }
        if known.is_some() {
            return;
        }
        if message["type"] == "sync:update" {
            let others = self.members.iter().filter(|member| member.user != user);
            if fault == Fault::SendsNewCanvas {
                others.for_each(|member| self.send_state(fault, &member.peer));
                return;
            }
            let after = self.canvas.ids();
            let gone = before.iter().filter(|id| !after.contains(id));
            let added = after.iter().filter(|id| !before.contains(id));
            let gone = gone.map(|id| json!({"action": "remove_item", "item_id": id, "data": {}}));
            let added = added.map(
                |id| json!({"action": "add_item", "item_id": id, "data": self.canvas.data(id)}),
            );
            for command in gone.chain(added) {
                let message = json!({"type": "command", "user_id": user, "command": command});
                self.pass_on(fault, user, &message);
            }
            return;
        }
        match fault {
            Fault::DropsSome if message["command"]["data"]["x_mm"] == 50 => return,
            Fault::Reorders if message["command"]["data"]["x_mm"] == 50 => {
                self.held = Some((user.to_owned(), message));
                return;
            }
            Fault::FloatsEverything if message["command"]["data"]["check_number"].is_u64() => {
                message["command"]["data"]["check_number"] =
                    json!(9_007_199_254_740_993_u64 as f64);
            }
            _ => {}
        }
        self.pass_on(fault, user, &message);
        if let Some((_, held)) = self.held.take_if(|(holder, _)| holder == user) {
            self.pass_on(fault, user, &held);
        }
        if message["command"]["action"] == "add_item" {
            let settled = self.canvas.settled(message["command"]["item_id"].as_str());
            for member in self.members.iter().filter(|member| member.user != user) {
                settled.iter().for_each(|message| member.peer.text(message));
            }
        }
    }

    fn answer(&mut self, fault: Fault, user: &str, peer: &Peer, request: &Value) {
        let since = request["since"].as_u64().filter(|_| request["epoch"] == "e1");
        if let Some(since) = since.filter(|_| !self.history.is_empty()) {
            for (_, message) in self.history.iter().filter(|(seq, _)| *seq > since) {
                peer.text(&message.to_string());
            }
            return peer.text(&json!({"type": "sync:done", "seq": self.seq}).to_string());
        }
        match self.member(user) {
            Some(member) if !member.told_apart && fault != Fault::WipesHost => member.asked = true,
            _ => self.send_state(fault, peer),
        }
    }

    fn snapshot(&mut self, fault: Fault, user: &str, peer: &Peer, text: &str, message: &Value) {
        let is_host = self.members.first().is_some_and(|host| host.user == user);
        if !is_host && fault != Fault::TakesAnySnapshot {
            return peer.text(&error("not_host", "sync:full_state"));
        }
        self.canvas.replace(text, message);
        let Some(member) = self.member(user) else {
            return;
        };
        member.told_apart = true;
        if std::mem::take(&mut member.asked) {
            self.send_state_text(peer, "null");
        }
    }
}

fn error(error_type: &str, original: &str) -> String {
    let original = Some(original).filter(|original| !original.is_empty());
    let error = json!({
        "type": "error", "error_type": error_type, "message": "that was wrong", "code": 400,
        "original_type": original,
    });
    error.to_string()
}
