//! Readers, writers and the host of a session; what happens to members and viewers when keys change.

use std::sync::Arc;

use super::access::{Access, KeyIndex};
use super::item_frames::{UpdateFrames, settled_add};
use super::reconcile::send_settled;
use super::session::{Session, host_changed};
use super::timers::SessionTimer;
use super::{ConnId, Context, Effect};
use crate::auth::KeyRefusal;
use crate::protocol::inbound::{Action, ClientMessage, Command};
use crate::protocol::{UserId, close, outbound};

impl Session {
    /// Whether this user is a member who may write.
    pub fn has_writer(&self, user: &UserId) -> bool {
        self.room.iter().any(|member| member.user == *user && member.may_write())
    }

    /// Whether the member at `place` is the host.
    pub fn is_host(&self, place: usize) -> bool {
        self.host.as_ref() == Some(&self.room[place].user)
    }

    /// Elects a host if there is none, or if it has left or may not write any more: the writer who has been a
    /// member for longest. Returns a new host.
    pub(super) fn elect_host(&mut self) -> Option<UserId> {
        let writers = || self.room.iter().filter(|member| member.may_write());
        if writers().any(|member| self.host.as_ref() == Some(&member.user)) {
            return None;
        }
        self.host = writers().next().map(|member| member.user.clone());
        self.host.clone()
    }

    /// Elects a host if one is needed, and tells everyone.
    pub(super) fn elect_and_announce(&mut self, cx: &mut Context<'_>) {
        if let Some(host) = self.elect_host() {
            self.tell_all(&host_changed(&host, cx.now.wall), cx);
        }
    }

    /// Sends a reader the item that its refused command is about, because its canvas has changed already.
    fn correct_reader(&mut self, place: usize, command: &Command, cx: &mut Context<'_>) {
        match (command.action, self.document.get(&command.item_id)) {
            (Action::Remove, Some(item)) if cx.limits.settle => {
                let (id, tick) = (item.id.clone(), self.tick);
                let member = &mut self.room[place];
                let user = member.user.clone();
                self.document.note_builder(&id, &user, false);
                let Some(item) = self.document.get(&id) else { return };
                cx.send(member.conn, &settled_add(item, cx.now.wall));
                let update = UpdateFrames::settled(item, cx.now.wall);
                member.on_item_sent(&id, tick);
                send_settled(member, &update, cx);
                self.needs_pings = true;
            }
            // An item of its own that the session never had: its copy is gone.
            (Action::Remove, None) => self.room[place].forget_copy(&command.item_id),
            (Action::Other | Action::Remove, _) => {}
            // An item of its own that the session never had stays on its canvas.
            (_, None) if self.room[place].listed_at(&command.item_id).is_some() => {}
            (Action::Add | Action::Update | Action::Move, _) => {
                self.correct_now(place, &command.item_id, cx);
            }
        }
    }

    /// Handles a message of a reader. Everything that would change the session is refused.
    pub(super) fn handle_readers_message(
        &mut self,
        place: usize,
        message: ClientMessage,
        cx: &mut Context<'_>,
    ) {
        if let ClientMessage::Ping { .. }
        | ClientMessage::Relay { is_cursor: true, .. }
        | ClientMessage::SyncRequest { .. }
        | ClientMessage::RefusedFullState(_) = message
        {
            return self.dispatch_message(place, message, cx);
        }
        let rejection = message.read_only("the key permits to watch, not to change");
        cx.send(self.room[place].conn, &outbound::rejected(&rejection));
        match message {
            ClientMessage::FullState { state, target } => {
                let names_itself = target.as_deref() == Some(&*self.room[place].user);
                match names_itself && !self.room[place].has_shown_canvas {
                    true => self.show_differences(place, state, cx),
                    false => self.note_origins(place, &state, cx),
                }
            }
            ClientMessage::Command(command) => self.correct_reader(place, &command, cx),
            _ => {}
        }
    }

    /// Applies a new set of keys. Returns the members and viewers whose keys don't open the session any more.
    pub fn renew_access(
        &mut self,
        keys: &KeyIndex<'_>,
        cx: &mut Context<'_>,
    ) -> Vec<(ConnId, KeyRefusal)> {
        let mut refused = Vec::new();
        let name = self.room.name().clone();
        let members = self.room.iter_mut().map(|member| (member.conn, &mut member.access));
        let viewers = self.viewers.iter_mut().map(|viewer| (viewer.conn, &mut viewer.access));
        for (conn, access) in members.chain(viewers) {
            let Some(access) = access else { continue };
            match access.renew(keys, cx.now.wall) {
                Ok(()) if access.opens(&name) => set_timer(access, conn, &name, cx),
                Ok(()) => refused.push((conn, KeyRefusal::Invalid)),
                Err(why) => refused.push((conn, why)),
            }
        }
        refused
    }

    /// Closes members and viewers whose keys don't open the session any more.
    pub fn disconnect_revoked(&mut self, refused: &[(ConnId, KeyRefusal)], cx: &mut Context<'_>) {
        for (conn, why) in refused {
            let (error_type, message, reason) = match why {
                KeyRefusal::Expired => ("token_expired", "the key has expired", "key expired"),
                _ => ("invalid_key", "the key was revoked or changed", "key revoked"),
            };
            cx.send(*conn, &outbound::error(error_type, message, 403, None, None, None));
            cx.effects.push(Effect::Close { conn: *conn, code: close::POLICY, reason });
        }
        let conns: Vec<ConnId> = refused.iter().map(|(conn, _)| *conn).collect();
        conns.iter().for_each(|conn| self.remove_viewer(*conn));
        self.leave_together(&conns, cx);
    }

    /// Sets a timer for the next check of a member's or viewer's key, unless an earlier one is set.
    pub(super) fn set_expiry_timer(&mut self, conn: ConnId, cx: &mut Context<'_>) {
        let name = self.room.name().clone();
        if let Some(access) = self.pass_mut(conn) {
            set_timer(access, conn, &name, cx);
        }
    }

    /// Handles the timer of a member's or viewer's key. `true` if the key has expired.
    pub fn has_expired(&mut self, conn: ConnId, cx: &mut Context<'_>) -> bool {
        let Some(access) = self.pass_mut(conn) else { return false };
        if !access.timer_fired(cx.elapsed()) {
            return false;
        }
        let is_over = access.has_expired(cx.now.wall);
        if !is_over {
            self.set_expiry_timer(conn, cx);
        }
        is_over
    }

    /// The access of a member or viewer; `None` where no key is asked for.
    fn pass_mut(&mut self, conn: ConnId) -> Option<&mut Access> {
        match self.room.place(conn) {
            Some(place) => self.room[place].access.as_mut(),
            None => {
                let place = self.viewers.place(conn)?;
                self.viewers[place].access.as_mut()
            }
        }
    }
}

/// Sets a timer for the next check of a key, unless an earlier one is set.
fn set_timer(access: &mut Access, conn: ConnId, session: &Arc<str>, cx: &mut Context<'_>) {
    if let Some(at) = access.next_timer(cx.now) {
        cx.timers.set_in_session(at, session, SessionTimer::Expiry(conn));
    }
}
