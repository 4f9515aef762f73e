//! How large a document may become, and all documents together.

use std::fmt;

/// Bounds of one document, in bytes of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The largest item. An item has to fit into one message.
    pub item: usize,
    /// The largest document.
    pub document: usize,
}

impl Bounds {
    /// The smallest size that an item is counted with when the number of items is bounded: an item costs
    /// about this much of memory, however small its JSON.
    const MIN_ITEM_BYTES: usize = 200;
    /// A document may always have this many items.
    const MIN_ITEMS: usize = 1000;

    /// The largest number of items of a document.
    pub fn items(self) -> usize {
        (self.document / Self::MIN_ITEM_BYTES).max(Self::MIN_ITEMS)
    }

    /// No bounds: for changes that were checked before, and for changes that are replayed.
    pub const NONE: Bounds = Bounds { item: usize::MAX, document: usize::MAX };
}

/// What a change of a document may take: the document's bounds, and the memory left for all documents.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    pub bounds: Bounds,
    /// By how many bytes of memory the document may grow.
    pub left: usize,
    /// How many bytes of memory all documents may take together.
    pub together: usize,
}

impl Allowance {
    /// No bounds, like [`Bounds::NONE`].
    pub const NONE: Allowance =
        Allowance { bounds: Bounds::NONE, left: usize::MAX, together: usize::MAX };

    /// For a change of an item's place alone: a drag must not fail, so only the item's size is bounded.
    pub fn for_move(self) -> Self {
        let bounds = Bounds { document: usize::MAX, ..self.bounds };
        Allowance { bounds, left: usize::MAX, ..self }
    }

    /// Checks that a document may grow by `growth` bytes of memory. It may always shrink.
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

/// A change would exceed this bound, and was not made.
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
