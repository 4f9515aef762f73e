//! How large documents may become, each by itself and all of them together.

use std::fmt;

/// Bounds of one document, in bytes of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// An item has to fit into one message.
    pub item: usize,
    pub document: usize,
}

impl Bounds {
    /// An item is counted as so many bytes at least where items are counted: it costs as much, however
    /// little it says.
    const MIN_ITEM_BYTES: usize = 200;
    /// So many items are always allowed.
    const MIN_ITEMS: usize = 1000;

    /// How many items a document may have.
    pub fn items(self) -> usize {
        (self.document / Self::MIN_ITEM_BYTES).max(Self::MIN_ITEMS)
    }

    /// No bounds: for what was checked before, or was within them once.
    pub const NONE: Bounds = Bounds { item: usize::MAX, document: usize::MAX };
}

/// What a document may become now: its own bounds, and the memory that is left for all documents.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    pub bounds: Bounds,
    /// By how many bytes of memory it may grow.
    pub left: usize,
    /// How many bytes of memory all documents may take together.
    pub together: usize,
}

impl Allowance {
    /// See [`Bounds::NONE`].
    pub const NONE: Allowance =
        Allowance { bounds: Bounds::NONE, left: usize::MAX, together: usize::MAX };

    /// For a change of an item's place alone: only the item itself is bounded.
    pub fn for_move(self) -> Self {
        let bounds = Bounds { document: usize::MAX, ..self.bounds };
        Allowance { bounds, left: usize::MAX, ..self }
    }

    /// Whether a document may grow by so many bytes of memory. What makes it no larger is always
    /// allowed.
    ///
    /// # Errors
    /// [`TooBig::Together`].
    pub fn check_growth(self, growth: isize) -> Result<(), TooBig> {
        match usize::try_from(growth) {
            Ok(growth) if growth > self.left => Err(TooBig::Together(self.together)),
            _ => Ok(()),
        }
    }
}

/// A change would exceed this bound; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooBig {
    /// The bytes of an item.
    Item(usize),
    /// The bytes of a document.
    Document(usize),
    /// The items of a document.
    Items(usize),
    /// The bytes of memory of all documents together.
    Together(usize),
}

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooBig::Item(most) => write!(f, "an item may have {most} bytes at most"),
            TooBig::Document(most) => write!(f, "a session's canvas may have {most} bytes at most"),
            TooBig::Items(most) => write!(f, "a session's canvas may have {most} items at most"),
            TooBig::Together(most) => write!(
                f,
                "the canvases of all sessions together may take {most} bytes of memory at most: \
                 remove something, or try again later"
            ),
        }
    }
}
