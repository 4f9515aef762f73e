//! The client protocol's types on the wire: what browsers and agents send, what they are sent, and
//! why a message is refused.

pub mod inbound;
pub mod outbound;
pub mod refusal;

pub use inbound::{Heard, Request, Subscription, Talk, Unreadable, parse};
pub use refusal::Refusal;
