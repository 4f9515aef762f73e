//! What collabd can be told to do, one file a command.

pub mod check;
pub mod echo;
pub mod key;
mod listening;
#[cfg(feature = "durable")]
mod progress;
pub mod serve;
#[cfg(feature = "durable")]
pub mod sessions;
mod table;
