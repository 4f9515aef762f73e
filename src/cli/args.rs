//! What the flags of a command are set to.

use std::path::PathBuf;
use std::time::Duration;

use super::values::FlagValue;
use crate::auth::Level;
use crate::commands::ListenOptions;
use crate::hub::{DocumentBounds, HistoryBounds, Limits};
use crate::net::{Config, ConnectionLimits, RateLimits, SILENCE, SendMode};
use crate::protocol::Timestamp;

/// The values of all flags. One that the command doesn't have leaves its field as [`Args::empty`] makes it.
#[derive(Debug)]
pub(super) struct Args {
    /// Of serve and echo.
    pub listen: ListenOptions,
    pub config: Config,
    pub limits: Limits,
    pub serve: ServeArgs,
    /// Of check.
    pub seconds: Duration,
    pub key: KeyArgs,
    /// Of install-shim.
    pub removes: bool,
    pub stored: StoredArgs,
}

/// What `serve` and `echo` have beside their limits.
#[derive(Debug, Default)]
pub(super) struct ServeArgs {
    pub writer_threads: bool,
    pub documents_memory: Option<usize>,
    pub keys: Option<PathBuf>,
    pub require_key: bool,
    pub dev_keys: bool,
    pub debug_endpoints: bool,
    pub no_settle: bool,
    pub in_memory: bool,
    pub allow_origin: Vec<String>,
    pub allow_host: Vec<String>,
    pub trust_proxy: Vec<String>,
}

/// Of `key`.
#[derive(Debug, Default)]
pub(super) struct KeyArgs {
    pub file: PathBuf,
    pub name: Option<String>,
    pub level: Option<Level>,
    pub expires: Option<Timestamp>,
    pub sessions: Option<Vec<Box<str>>>,
}

/// Of `sessions`, `record` and `replay`; the first three of `serve`, and the key of `forward`, too.
#[derive(Debug, Default)]
pub(super) struct StoredArgs {
    pub data_dir: Option<FlagValue>,
    pub keep_versions: usize,
    pub keep_days: u32,
    pub server: Option<FlagValue>,
    pub key: Option<String>,
    pub key_file: Option<FlagValue>,
    pub json: bool,
    pub at: Option<String>,
    pub to: Option<String>,
    pub out: Option<PathBuf>,
    pub force: bool,
    /// Where backups are made, and how many stay there; 0 for all.
    pub into: Option<PathBuf>,
    pub keep: usize,
    pub replace: bool,
    /// The bounds of a canvas were typed, and are not the default's or the environment's.
    pub has_typed_bounds: bool,
    pub yes: bool,
    /// `None` for as fast as it goes.
    pub speed: Option<f64>,
    pub session: Option<String>,
}

impl Args {
    /// No flag is set, and no limit.
    pub fn empty() -> Self {
        let config = Config {
            room: ConnectionLimits { connections: 0, per_address: 0 },
            trusted_proxies: Vec::new(),
            handshake_timeout: None,
            max_message_bytes: 0,
            queue_bytes: None,
            rate: RateLimits { messages: 0, bytes: 0 },
            idle_timeout: None,
            silence: SILENCE,
            send_mode: SendMode::NonBlocking,
        };
        let limits = Limits {
            linger: Duration::ZERO,
            max_sessions: 0,
            max_channels: 0,
            document: DocumentBounds { item: 0, document: 0 },
            documents_memory: 0,
            history: HistoryBounds { changes: 0, bytes: 0 },
            settle: true,
            durable: false,
        };
        Args {
            listen: ListenOptions::default(),
            config,
            limits,
            serve: ServeArgs::default(),
            seconds: Duration::ZERO,
            key: KeyArgs::default(),
            removes: false,
            stored: StoredArgs::default(),
        }
    }
}
