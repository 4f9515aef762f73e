//! The `id` that a client gives to a message, by which a repeated one is recognised.

use crate::protocol::inbound::MessageId;

/// The `id` of a message, and the fingerprint of what the message says.
pub(super) struct MessageName {
    pub id: Option<MessageId>,
    pub content: Option<u64>,
}

impl MessageName {
    /// The name of a message without an `id`: it is neither remembered nor confirmed.
    pub const NONE: MessageName = MessageName { id: None, content: None };

    /// The name in stored form ([`stored_id`](super::history::stored_id)).
    pub fn stored(&self) -> Option<Box<str>> {
        let id = self.id.as_ref()?;
        Some(super::history::stored_id(id.get(), self.content))
    }
}
