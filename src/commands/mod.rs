//! What collabd can be told to do, one file a command.

pub mod check;
pub mod echo;
pub mod key;
mod listening;
#[cfg(feature = "durable")]
mod progress;
#[cfg(feature = "durable")]
pub mod record;
#[cfg(feature = "durable")]
pub mod replay;
pub mod serve;
#[cfg(feature = "durable")]
pub mod sessions;
mod table;
#[cfg(feature = "durable")]
pub mod whole_file;

pub use listening::ListenOptions;
