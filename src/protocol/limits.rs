//! Bounds of the parts of a message.

/// The longest `id` of a message, in bytes of its JSON text.
pub const LONGEST_ID: usize = 256;

/// The longest item id, in bytes. Bounded because ids of removed items stay in memory.
pub const LONGEST_ITEM_ID: usize = 1024;

/// The largest version number that every client can count up to: 2^53 − 1.
pub const LARGEST_VERSION: u64 = (1 << 53) - 1;

/// True where an item may have this id.
pub fn is_item_id(id: &str) -> bool {
    (1..=LONGEST_ITEM_ID).contains(&id.len())
}
