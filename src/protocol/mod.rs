//! The types on the wire: frames, close codes, time stamps, and the messages of both directions.
//!
//! This module imports no other module of the crate and does no I/O, so every rule about the shape
//! of a message can be read and tested here.

pub mod client;
pub mod close;
mod fingerprint;
pub mod frame;
pub mod geometry;
pub mod inbound;
pub mod item;
pub mod json;
pub mod kind;
pub mod limits;
pub mod numbers;
pub mod outbound;
pub mod rejection;
pub mod relayed;
mod state;
pub mod timestamp;

pub use frame::Frame;
pub use kind::Kind;
pub use timestamp::Timestamp;

/// The id of a session's user, or of a client of the client protocol, as in the request path: 1 to
/// 128 characters, no control characters. It is shared because every change holds its author.
pub type UserId = std::sync::Arc<str>;
