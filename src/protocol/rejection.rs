//! Refused messages, and refused items of a message.

use super::Kind;

/// A refused message. Only its sender is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A name for programs, in `snake_case`.
    pub error_type: &'static str,
    /// A sentence for people. It quotes nothing of what the client sent.
    pub message: &'static str,
    /// A status code as in HTTP: 4xx.
    pub code: u16,
    /// The type of the refused message, if it had one.
    pub original_type: Option<String>,
    /// The `id` of the refused message as JSON, if it had one.
    pub id: Option<Box<str>>,
    /// The id of the item that the refused message was about, if any.
    pub item_id: Option<Box<str>>,
}

impl Rejection {
    /// The type of the refused message, [`Kind::Other`] where the protocols don't define it.
    pub fn kind(&self) -> Kind {
        self.original_type.as_deref().map_or(Kind::Other, Kind::from_name)
    }
}

/// An item that was left out of a canvas. The sender's canvas still has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The item's id, if it has one that can be read.
    pub id: Option<Box<str>>,
    /// The reason, for people. It quotes nothing of what the client sent.
    pub why: &'static str,
}
