//! collabd: people edit one optical table together, and this is the server between them.
//!
//! # Where a message goes
//!
//! ```text
//!  client A                                                                 client B
//!     │                                                                        ▲
//!     ▼ socket                                                                 │ socket
//!  thread "c1 alice"             thread "hub"                                  │
//!  net::connection               net::hub_thread                               │
//!  tungstenite reads a frame,    one event after the other:                    │
//!  routes::session_handler ────► hub::Hub changes the session ───► effects ──► net::send_queue of B
//!  parses it          event      (no I/O, time is an argument)                 (flushed once a batch)
//!  (protocol::inbound) queue
//! ```
//!
//! What the socket of B doesn't take at once is left to a thread of B's own, `w2`; the hub goes on.
//! A `ping`, and a message that is refused, is answered by A's thread and never reaches the hub.
//!
//! # The map
//!
//! From the top down: a module uses those below it and none above (`tests/layers`).
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | what can be typed |
//! | [`commands`] | one file a subcommand |
//! | [`routes`] | where a request goes, and who may send it; the handlers of the two protocols |
//! | [`persistence`] | starts the store's thread in a server |
//! | [`net`] | sockets and threads; knows frames, not what is in them |
//! | [`archive`] | what is stored, as it is shown |
//! | [`store`] | what survives a crash, and the thread that writes it |
//! | [`hub`] | all state of sessions and channels: events in, effects out |
//! | [`journal`] | what the hub gives to the store and gets back |
//! | [`auth`] | keys, the file they are in, and checking them |
//! | [`logging`] | the log, which never makes anyone wait |
//! | [`http`] | requests before a WebSocket, and their answers |
//! | [`protocol`] | the types on the wire |
//! | [`client`] | a client of a server, HTTP and WebSocket, for the commands |
//! | `histogram` | counts by size, for the metrics |
//! | `files` | files that are their owner's alone, and replaced whole |
//! | `os` | what one operating system needs, and the portable twins |
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
pub mod client;
pub mod commands;
mod files;
mod histogram;
pub mod http;
pub mod hub;
pub mod journal;
pub mod logging;
pub mod net;
mod os;
#[cfg(feature = "durable")]
pub mod persistence;
pub mod protocol;
pub mod routes;
#[cfg(feature = "durable")]
pub mod store;
