//! `collabd serve`: the server itself.

use std::path::PathBuf;
use std::process::ExitCode;

use super::listening::{self, ListenOptions};
use crate::auth::KeyStore;
use crate::hub::{Hub, Limits};
use crate::net::Config;
#[cfg(feature = "durable")]
use crate::persistence::{Persistence, RetentionConfig};
use crate::routes::origin::Origins;
use crate::routes::{Hosts, Router};

/// What `serve` is told.
#[derive(Debug)]
pub struct Options {
    pub listen: ListenOptions,
    pub config: Config,
    pub limits: Limits,
    pub access: AccessOptions,
    /// Where sessions are stored, if they are.
    #[cfg(feature = "durable")]
    pub data: Option<DataOptions>,
}

/// Where sessions are stored, and for how long.
#[cfg(feature = "durable")]
#[derive(Debug)]
pub struct DataOptions {
    pub directory: PathBuf,
    pub keeping: RetentionConfig,
}

/// Which clients may connect.
#[derive(Debug)]
pub struct AccessOptions {
    /// The key file.
    pub keys: Option<PathBuf>,
    pub dev_keys: bool,
    /// Sessions ask for a key.
    pub require_key: bool,
    pub debug_endpoints: bool,
    /// The origins that may connect beside the server's own.
    pub origins: Origins,
    /// The names by which pages may call the server.
    pub hosts: Hosts,
}

/// Serves sessions and the client protocol until it is told to stop.
pub fn run(options: Options) -> ExitCode {
    // Without the system's randomness epochs still differ from one start to the next.
    let clock = || crate::protocol::Timestamp::now().to_string().bytes().map(u64::from).sum();
    let seed = getrandom::u64().unwrap_or_else(|_| clock());
    let Options { listen, config, limits, access, .. } = options;
    // What can be exported can be imported.
    let largest_canvas = config.max_message_bytes.max(limits.document.document);
    listening::run("sessions", &listen, config, || {
        let keys = KeyStore::open(access.keys, access.dev_keys)?;
        let hub = Hub::new(limits, seed);
        #[cfg(feature = "durable")]
        let (hub, persistence) = match options.data {
            Some(data) => {
                let (persistence, names) = Persistence::open(&data.directory, data.keeping)?;
                (hub.with_stored(names), Some(persistence))
            }
            None => (hub, None),
        };
        let router = Router {
            origins: access.origins,
            hosts: access.hosts,
            require_key: access.require_key,
            debug_endpoints: access.debug_endpoints,
            largest_canvas,
            #[cfg(feature = "durable")]
            persistence,
            ..Router::new(keys)
        };
        Ok((Box::new(router), Box::new(hub)))
    })
}
