//! The hub as the pure machine it is: events and the time go in, and what comes out is compared to
//! the letter. The client protocol, keys, and readers in sessions; no socket, no thread, no waiting.

mod authentication;
mod bounds;
mod channels;
mod keys;
mod properties;
mod readers;
mod rig;
mod threads;
