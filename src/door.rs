//! The front door: who may come in, and where a request goes.

pub mod forwarded;
pub mod origin;
