//! collabd
pub mod cli;
pub mod commands;
pub mod hub;
pub mod logging;
pub mod protocol;
pub mod server;
pub mod sessions;
