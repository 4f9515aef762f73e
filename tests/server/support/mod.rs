//! What the stories are told with: a server that runs, clients of it, and bare sockets to it.

mod client;
mod folder;
mod messages;
#[cfg(all(unix, feature = "durable"))]
mod place;
mod server;
mod wire;

pub use client::{Client, nothing_more, reading_slowly, reading_slowly_from};
pub use folder::Folder;
pub use messages::{add, command, full_state, item, move_to, remove, update, with_id};
#[cfg(all(unix, feature = "durable"))]
pub use place::{Place, canvas_items, confirmed, kill, number, stop, story};
pub use server::{Ended, Run, Server, collabd, free_port};
pub use wire::{PING, PONG, Response, TEXT, Wire, handshake, masked};

use std::time::Duration;

/// How long anything is waited for before a test fails. Only a broken server is ever this slow.
pub const SAFETY_NET: Duration = Duration::from_secs(20);
