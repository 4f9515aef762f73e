//! What is refused: a message, or an item of one.

use super::Kind;

/// Why a message was refused. The sender is told; nobody else notices.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// In `snake_case`, for programs.
    pub error_type: &'static str,
    /// For a person; holds nothing of what the client sent.
    pub message: &'static str,
    /// In the manner of HTTP: 4xx.
    pub code: u16,
    /// The type of the refused message, where it had one.
    pub original_type: Option<String>,
    /// The `id` of the refused message, where it had one.
    pub id: Option<Box<str>>,
    /// The id of the item that the refused message is about, where it is about one.
    pub item_id: Option<Box<str>>,
}

impl Rejection {
    /// The type of the refused message, where the protocols know it.
    pub fn kind(&self) -> Kind {
        self.original_type.as_deref().map_or(Kind::Other, Kind::of)
    }
}

/// An item of a canvas that could not be taken. The canvas shows it nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it has one that can be read.
    pub id: Option<Box<str>>,
    /// For a person; holds nothing of what the client sent.
    pub why: &'static str,
}
