//! The client protocol's types on the wire: what browsers and agents may say, what they are told,
//! and why they are refused.

pub mod inbound;
pub mod outbound;
pub mod refusal;

pub use inbound::{Heard, Request, Subscription, Talk, Unreadable, parse};
pub use refusal::Refusal;
