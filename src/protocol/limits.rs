//! How large the parts of a message may be.

/// The longest `id` a message may carry, in bytes of its JSON text.
pub const LONGEST_ID: usize = 256;

/// The longest item id, in bytes: ids of removed items are remembered.
pub const LONGEST_ITEM_ID: usize = 1024;

/// The largest version number that every client can count from: 2^53 − 1.
pub const LARGEST_VERSION: u64 = (1 << 53) - 1;

pub fn is_item_id(id: &str) -> bool {
    (1..=LONGEST_ITEM_ID).contains(&id.len())
}
