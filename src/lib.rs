//! collabd: people edit one optical table together, and this is the server between them.
//!
//! # Where a message goes
//!
//! ```text
//!  client A                                                              client B
//!     │                                                                     ▲
//!     ▼ socket                                                              │ socket
//!  thread "c1 alice"            thread "hub"                                │
//!  net::connection           net::hub_thread                            │
//!  tungstenite reads a frame,   one event after the other:                  │
//!  sessions::Member parses it ─► hub::Hub changes the session ─► effects ─► net::send_queue of B
//!  (protocol::inbound)  event queue   (no I/O, time is an argument)               (flushed once a batch)
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
//! | [`net`] | sockets and threads; knows frames, not what is in them |
//! | [`routes`] | who may come in, as what, and where a request goes |
//! | [`auth`] | keys, and the file they are in |
//! | [`store`], [`shelf`] | what survives a crash, and the thread that writes it |
//! | [`archive`] | what is stored, as it is shown |
//! | `sessions`, `clients` | the two protocols, on a client's own thread |
//! | [`hub`] | all state of sessions and channels: events in, effects out |
//! | [`protocol`] | the types on the wire |
//! | `os` | what one operating system needs, and the portable twins |
//! | `files` | files that are their owner's alone, and replaced whole |
//! | [`logging`] | the log, which never makes anyone wait |
//!
//! # Invariants
//!
//! They stand in `docs/ARCHITECTURE.md`; the ones to know before changing a line: the hub imports no
//! socket, no file and no clock; one thread owns all session state, so there is no lock around it;
//! exactly one place writes to a client's socket; nothing the hub does can block.

#[cfg(feature = "durable")]
pub mod archive;
pub mod auth;
pub mod cli;
pub mod commands;
mod files;
pub mod http;
pub mod hub;
pub mod kept;
pub mod logging;
pub mod net;
mod os;
pub mod protocol;
pub mod routes;
#[cfg(feature = "durable")]
pub mod shelf;
#[cfg(feature = "durable")]
pub mod store;
