//! The client protocol's types on the wire: what browsers and agents send, what they are sent, and
//! why a message is refused.

pub mod inbound;
pub mod outbound;
pub mod refusal;

pub use inbound::{Inbound, Publication, Request, Subscription, Unreadable, parse};
pub use refusal::ClientError;
