//! `collabd serve`: the server itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
#[cfg(feature = "durable")]
use std::sync::Arc;
#[cfg(feature = "durable")]
use std::time::Duration;

use super::announcement::Announcement;
use super::listening::{self, ListenOptions, Made};
use crate::auth::KeyStore;
use crate::hub::{Hub, Limits};
use crate::net::Config;
use crate::net::service::Service;
#[cfg(feature = "durable")]
use crate::persistence::{Persistence, RetentionConfig};
use crate::routes::origin::Origins;
use crate::routes::{Hosts, Router};

/// How long a server waits for the one before it to leave the data directory. That one may be waiting
/// for slow clients.
#[cfg(feature = "durable")]
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the default directory, which may be in use for good. An editor that starts a server takes
/// it for one that failed when it doesn't listen after 1.5 s.
#[cfg(feature = "durable")]
const DEFAULT_TAKEOVER_TIMEOUT: Duration = Duration::from_millis(500);

/// What `serve` is told.
#[derive(Debug)]
pub struct Options {
    pub listen: ListenOptions,
    pub config: Config,
    pub limits: Limits,
    pub access: AccessOptions,
    #[cfg(feature = "durable")]
    pub storage: StorageOptions,
}

impl Options {
    /// The directory in which sessions are stored where nobody has named one.
    pub fn default_directory(&self) -> Option<&Path> {
        #[cfg(feature = "durable")]
        if let Storage::Default(Some(directory)) = &self.storage.place {
            return Some(directory);
        }
        None
    }
}

/// Where sessions are stored, and for how long.
#[cfg(feature = "durable")]
#[derive(Debug)]
pub struct StorageOptions {
    pub place: Storage,
    pub keeping: RetentionConfig,
}

/// Where sessions are stored.
#[cfg(feature = "durable")]
#[derive(Debug, PartialEq, Eq)]
pub enum Storage {
    /// Nowhere: the operator wants it so.
    InMemory,
    /// In this directory, which the operator has named. Where it can't be used, nothing is served.
    Chosen(PathBuf),
    /// In the user's or the service's own directory. Where it can't be used, or where there is none
    /// (`None`), sessions are kept in memory, and the server says so.
    Default(Option<PathBuf>),
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
    listening::run(&listen, config, || {
        let keys = KeyStore::open(access.keys, access.dev_keys)?;
        #[cfg(feature = "durable")]
        let (hub, persistence, not_stored) = {
            let (store, not_stored) = open_store(options.storage)?;
            let limits = Limits { durable: store.is_some(), ..limits };
            let hub = Hub::new(limits, seed);
            match store {
                Some((persistence, names)) => (hub.with_stored(names), Some(persistence), None),
                None => (hub, None, not_stored),
            }
        };
        #[cfg(not(feature = "durable"))]
        let hub = Hub::new(limits, seed);
        let router = Router {
            origins: access.origins,
            hosts: access.hosts,
            require_key: access.require_key,
            debug_endpoints: access.debug_endpoints,
            largest_canvas,
            #[cfg(feature = "durable")]
            persistence,
            #[cfg(feature = "durable")]
            not_stored,
            ..Router::new(keys)
        };
        let tables = match router.directory() {
            Some(directory) => format!("tables are stored in {}", directory.display()),
            None => match router.not_stored() {
                Some(why) => {
                    format!("tables are in memory only, and forgotten when it stops: {why}")
                }
                None => "tables are in memory only, and forgotten when it stops".into(),
            },
        };
        let announcement = Announcement { what: "sessions", tables: Some(tables) };
        Ok(Made { service: Box::new(router), machine: Box::new(hub), announcement })
    })
}

/// The opened store with the names of its sessions, or why there is none though nobody has asked for
/// that. Blocks on the disk.
///
/// # Errors
/// One line where a directory that was chosen can't be used.
#[cfg(feature = "durable")]
#[expect(clippy::type_complexity, reason = "it is taken apart at once")]
fn open_store(
    options: StorageOptions,
) -> Result<(Option<(Persistence, Vec<Arc<str>>)>, Option<String>), String> {
    let StorageOptions { place, keeping } = options;
    match place {
        Storage::InMemory => Ok((None, None)),
        Storage::Chosen(directory) => Persistence::open(&directory, keeping, TAKEOVER_TIMEOUT)
            .map(|store| (Some(store), None)),
        Storage::Default(None) => {
            let why = "there is neither a home directory nor STATE_DIRECTORY: name a directory with \
                       --data-dir DIR";
            Ok((None, Some(why.into())))
        }
        Storage::Default(Some(directory)) => {
            match Persistence::open(&directory, keeping, DEFAULT_TAKEOVER_TIMEOUT) {
                Ok(store) => Ok((Some(store), None)),
                Err(why) => Ok((None, Some(why))),
            }
        }
    }
}
