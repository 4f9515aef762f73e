//! Confirmations: each message with an `id` is confirmed once it is handled, and again if it is repeated. The
//! hub thread sends a confirmation when the store has written everything that was given to it before.

use super::bounds::TooBig;
use super::history::Repeat;
use super::incoming::Sender;
use super::message_name::MessageName;
use super::session::Session;
use super::{Context, Effect};
use crate::protocol::UserId;
use crate::protocol::inbound::MessageId;
use crate::protocol::outbound;

impl Session {
    /// Answers a message whose `id` is known already, and returns `true`: it is confirmed again if it says what
    /// the first one said, and refused if it says something else. Returns `false` if the message is new.
    pub(super) fn answer_repeated(
        &mut self,
        place: usize,
        name: &MessageName,
        original_type: &str,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(id) = &name.id else { return false };
        let member = &self.room[place];
        match self.history.repeats(&member.user, id.get(), name.content) {
            Repeat::New => return false,
            Repeat::Same(seq) => {
                let frame = outbound::delivered(id, seq, original_type, true, cx.now.wall);
                cx.effects.push(Effect::Confirm { conn: member.conn, frame });
            }
            Repeat::Other => {
                let message = "another message was sent with this `id` before";
                let kind = Some(original_type);
                let error =
                    outbound::error("duplicate_id", message, 409, kind, Some(id.get()), None);
                cx.send(member.conn, &error);
            }
        }
        true
    }

    /// Gives the name of a message to the store that changed nothing.
    pub(super) fn journal_name(&mut self, user: &UserId, name: &MessageName, cx: &mut Context<'_>) {
        if let Some(id) = name.stored() {
            self.journal_id(user.clone(), id, cx);
        }
    }

    /// Remembers a message and confirms it to its sender, if it has an `id`.
    pub(super) fn confirm(
        &mut self,
        place: usize,
        name: MessageName,
        original_type: &str,
        cx: &mut Context<'_>,
    ) {
        let (Some(id), Some(stored)) = (&name.id, name.stored()) else { return };
        let Sender { conn, user } = self.sender(place);
        self.history.confirm(&user, &stored, cx.limits.history);
        let seq = self.history.seq();
        let frame = outbound::delivered(id, seq, original_type, false, cx.now.wall);
        cx.effects.push(Effect::Confirm { conn, frame });
    }

    /// Tells the member at `place` that there is no room for its change.
    pub fn refuse_as_too_big(
        &self,
        place: usize,
        why: TooBig,
        original_type: &str,
        id: Option<&MessageId>,
        item_id: Option<&str>,
        cx: &mut Context<'_>,
    ) {
        let message = format!("there is no room for this change: {why}");
        let (kind, id) = (Some(original_type), id.map(|id| id.get()));
        let error = outbound::error("document_full", &message, 413, kind, id, item_id);
        cx.send(self.room[place].conn, &error);
    }
}
