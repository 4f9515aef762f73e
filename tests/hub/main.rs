//! The hub as the pure machine it is: events and the time go in, and what comes out is compared to
//! the letter. The client protocol, keys, readers in sessions, what survives of them; no socket, no thread, no waiting.

mod authentication;
mod bounds;
mod channels;
mod copies;
mod editors;
mod histories;
mod keeping;
mod keys;
#[cfg(count_steps)] // make linear
mod linear;
mod listing;
mod loading;
mod managing;
mod memory;
mod parsers;
mod properties;
mod readers;
mod restoring;
mod rig;
#[path = "../journal/mod.rs"]
mod store;
mod threads;
mod versions;
mod viewed;
mod viewers;
