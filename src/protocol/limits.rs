//! Bounds of the parts of a message.

/// The longest `id` of a message, in bytes of its JSON text.
pub const MAX_MESSAGE_ID_BYTES: usize = 256;

/// The longest item id, in bytes. Bounded because ids of removed items stay in memory.
pub const MAX_ITEM_ID_BYTES: usize = 1024;

/// The largest version number that every client can count up to: 2^53 − 1.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// True where an item may have this id.
pub fn is_item_id(id: &str) -> bool {
    (1..=MAX_ITEM_ID_BYTES).contains(&id.len())
}
