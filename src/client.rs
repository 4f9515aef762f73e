//! A blocking client of one server, HTTP and WebSocket: what `check`, `replay`, `record` and
//! `sessions --server` use.
//!
//! It shares no code with the server, so that a misunderstanding in the server's own code can't hide
//! itself in `check`. An error is one line for the user, which repeats no part of an address that may
//! hold a key.

pub mod api;
pub mod http;
pub mod key_file;
pub mod target;
pub mod websocket;
mod wire;

pub use target::Target;
pub use websocket::WebSocket;
pub use wire::{TIMEOUT, Wire};

/// Text from a server, escaped and cut after 160 characters: it may hold anything, and be of any length.
pub fn shown(text: &str) -> String {
    shown_up_to(160, text)
}

/// Text from a server, escaped and cut after so many characters.
pub fn shown_up_to(max_chars: usize, text: &str) -> String {
    match text.char_indices().nth(max_chars) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
