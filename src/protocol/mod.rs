//! The types on the wire: frames, close codes, time stamps, what clients may say and what they are told.
//!
//! Imports nothing else of ours and does no I/O, so that every rule about the shape of a message
//! can be read, and tested, here.

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

/// A user of a session, or a client of the client protocol, as it stands in the request path: 1–128 characters, no control characters.
/// Shared, because every change remembers who made it.
pub type UserId = std::sync::Arc<str>;
