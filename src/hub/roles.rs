//! Who may do what in a session: readers, writers and the host; and what becomes of its members
//! when keys change.

use super::pass::KeyIndex;
use super::session::{Session, host_changed};
use super::timers::SessionTimer;
use super::{ConnId, Effect, Turn};
use crate::keys::KeyRefusal;
use crate::protocol::inbound::{Action, ClientMessage, Command, Rejection};
use crate::protocol::{UserId, close, outbound};

impl Session {
    /// Whether a user is present with a key that permits to write, or where none is asked for.
    pub fn has_writer(&self, user: &UserId) -> bool {
        self.room.iter().any(|member| member.user == *user && member.may_write())
    }

    /// Whether the member at `place` is the host.
    pub fn is_host(&self, place: usize) -> bool {
        self.host.as_ref() == Some(&self.room[place].user)
    }

    /// Makes the member present longest who may write the host, where there is none or it has left
    /// or may not write any more. Returns a new host.
    pub(super) fn elect(&mut self) -> Option<UserId> {
        let writers = || self.room.iter().filter(|member| member.may_write());
        if writers().any(|member| self.host.as_ref() == Some(&member.user)) {
            return None;
        }
        self.host = writers().next().map(|member| member.user.clone());
        self.host.clone()
    }

    /// The same, and everyone is told.
    pub(super) fn hold_election(&mut self, turn: &mut Turn<'_>) {
        if let Some(host) = self.elect() {
            self.room.send(&host_changed(&host, turn.now.wall), turn);
        }
    }

    /// Shows a watcher, whose canvas has done it already, what the item looks like all the same.
    fn undo(&mut self, place: usize, command: &Command, turn: &mut Turn<'_>) {
        match command.action {
            Action::Other => {}
            // An editor can't be told of an item it doesn't have any more in any other way.
            Action::Remove
                if turn.limits.settle && self.document.get(&command.item_id).is_some() =>
            {
                self.send_state(&[place], turn);
            }
            Action::Remove => {}
            Action::Add | Action::Update | Action::Move => {
                self.correct(place, &command.item_id, turn);
            }
        }
    }

    /// Refuses what somebody who may only watch may not say. Whether it had to.
    pub(super) fn refuse_reader(
        &mut self,
        place: usize,
        message: &ClientMessage,
        turn: &mut Turn<'_>,
    ) -> bool {
        let (kind, id) = match message {
            ClientMessage::Ping { .. }
            | ClientMessage::Relay { is_cursor: true, .. }
            | ClientMessage::SyncRequest { .. }
            | ClientMessage::RefusedFullState(_) => return false,
            ClientMessage::Relay { body, is_cursor: false } => body.named(),
            ClientMessage::Command(command) => {
                (Some("command".into()), command.id.as_ref().map(|id| id.get()))
            }
            ClientMessage::SyncUpdate { id, .. } => {
                (Some("sync:update".into()), id.as_ref().map(|id| id.get()))
            }
            ClientMessage::FullState { .. } => (Some("sync:full_state".into()), None),
        };
        let rejection = Rejection {
            error_type: "read_only",
            message: "the key permits to watch, not to change",
            code: 403,
            original_type: kind,
            id: id.map(Into::into),
        };
        turn.send(self.room[place].conn, &outbound::rejected(&rejection));
        match message {
            ClientMessage::FullState { .. } => self.leave_canvas_alone(place, turn),
            ClientMessage::Command(command) => self.undo(place, command, turn),
            _ => {}
        }
        true
    }

    /// Another set of keys is in force. Returns the members that may not stay, and why.
    pub fn renew_passes(
        &mut self,
        keys: &KeyIndex<'_>,
        turn: &mut Turn<'_>,
    ) -> Vec<(ConnId, KeyRefusal)> {
        let mut refused = Vec::new();
        for place in 0..self.room.len() {
            let name = self.room.name().clone();
            let member = &mut self.room[place];
            let Some(pass) = &mut member.pass else { continue };
            match pass.renew(keys, turn.now.wall) {
                Ok(()) if pass.opens(&name) => self.watch_expiry(place, turn),
                Ok(()) => refused.push((member.conn, KeyRefusal::Invalid)),
                Err(why) => refused.push((member.conn, why)),
            }
        }
        refused
    }

    /// Ends the memberships of those whose keys don't open the session any more.
    pub fn dismiss(&mut self, refused: &[(ConnId, KeyRefusal)], turn: &mut Turn<'_>) {
        for (conn, why) in refused {
            let (error_type, message, reason) = match why {
                KeyRefusal::Expired => ("token_expired", "the key has expired", "key expired"),
                _ => ("invalid_key", "the key was revoked or changed", "key revoked"),
            };
            turn.send(*conn, &outbound::error(error_type, message, 403, None, None));
            turn.effects.push(Effect::Close { conn: *conn, code: close::POLICY, reason });
        }
        let conns: Vec<ConnId> = refused.iter().map(|(conn, _)| *conn).collect();
        self.leave_together(&conns, turn);
    }

    /// Sets a timer for the moment at which a member's key may be over.
    pub(super) fn watch_expiry(&mut self, place: usize, turn: &mut Turn<'_>) {
        let member = &mut self.room[place];
        if let Some(at) = member.pass.as_mut().and_then(|pass| pass.timer_to_set(turn.now)) {
            let timer = SessionTimer::Expiry(member.conn);
            turn.timers.set_in_session(at, self.room.name(), timer);
        }
    }

    /// The timer has fired. Whether the member's key is over.
    pub fn has_expired(&mut self, conn: ConnId, turn: &mut Turn<'_>) -> bool {
        let Some(place) = self.room.place(conn) else { return false };
        let Some(pass) = &mut self.room[place].pass else { return false };
        if !pass.timer_fired(turn.elapsed()) {
            return false;
        }
        let is_over = pass.has_expired(turn.now.wall);
        if !is_over {
            self.watch_expiry(place, turn);
        }
        is_over
    }
}
