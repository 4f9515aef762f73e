//! collabd: people edit one optical table together, and this is the server between them.
//!
//! # Where a message goes
//!
//! ```text
//!  client A                                                              client B
//!     │                                                                     ▲
//!     ▼ socket                                                              │ socket
//!  thread "c1 alice"            thread "hub"                                │
//!  server::connection           server::dispatch                            │
//!  tungstenite reads a frame,   one event after the other:                  │
//!  sessions::Member parses it ─► hub::Hub changes the session ─► effects ─► server::outbox of B
//!  (protocol::inbound)  inbox   (no I/O, time is an argument)               (flushed once a batch)
//! ```
//!
//! What the socket of B doesn't take at once is left to a thread of B's own, `w2`; the hub goes on.
//! A `ping`, and a message that is refused, is answered by A's thread and never reaches the hub.
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | what can be typed |
//! | [`commands`] | one file a subcommand |
//! | [`server`] | sockets and threads; knows frames, not what is in them |
//! | [`sessions`] | the session protocol as something a server serves |
//! | [`hub`] | all session state: events in, effects out |
//! | [`keys`] | who may come in |
//! | [`protocol`] | the types on the wire |
//! | `os` | what one operating system needs, and the portable twins |
//! | [`logging`] | the log, which never makes anyone wait |
//!
//! # Invariants
//!
//! They stand in `docs/ARCHITECTURE.md`; the ones to know before changing a line: the hub imports no
//! socket, no file and no clock; one thread owns all session state, so there is no lock around it;
//! exactly one place writes to a client's socket; nothing the hub does can block.

pub mod cli;
pub mod commands;
pub mod hub;
pub mod kept;
pub mod keys;
pub mod logging;
mod os;
pub mod protocol;
pub mod server;
pub mod sessions;
#[cfg(feature = "durable")]
pub mod store;
