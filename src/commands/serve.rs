//! `collabd serve`: the server itself.

use std::process::ExitCode;

use super::listening;
use crate::cli::Listen;
use crate::hub::{Hub, Limits};
use crate::server::Config;
use crate::sessions::Sessions;

/// What `serve` is told.
#[derive(Debug)]
pub struct Options {
    pub listen: Listen,
    pub config: Config,
    pub limits: Limits,
}

/// Serves sessions until it is told to stop.
pub fn run(options: Options) -> ExitCode {
    // Without the system's randomness epochs still differ from one start to the next.
    let clock = || crate::protocol::Timestamp::now().to_string().bytes().map(u64::from).sum();
    let seed = getrandom::u64().unwrap_or_else(|_| clock());
    let hub = Hub::new(options.limits, seed);
    listening::run("sessions", &options.listen, options.config, Sessions, hub)
}
