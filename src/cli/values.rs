//! What the options say, once defaults, environment and command line are put together.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::echoed::shown;
use super::environment::{is_of_kubernetes, variable};
use super::{Opt, Usage, text};
use crate::commands::{ListenOptions, serve};
use crate::hub::{DocumentBounds, HistoryBounds, Limits};
use crate::net::{
    Config, ConnectionLimits, Network, RateLimits, SILENCE, SendMode, half_of_the_memory,
};
#[cfg(feature = "durable")]
use crate::persistence::RetentionConfig;
use crate::routes::Hosts;
use crate::routes::origin::Origins;

/// The options' values, as text.
pub(super) struct Values(HashMap<&'static str, String>);

impl Values {
    /// Defaults, then the environment, then what was typed.
    pub(super) fn gather(
        command: &str,
        tables: &[&'static [Opt]],
        typed: Vec<(String, Option<String>)>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Usage> {
        let mut values = HashMap::new();
        for option in tables.iter().copied().flatten() {
            let set = match option.variable() {
                Some(variable) => {
                    environment(&variable).map(text).transpose()?.map(|set| (variable, set))
                }
                None => None,
            };
            let set = set.filter(|(variable, set)| !is_of_kubernetes(variable, set));
            match (set, option.value.is_empty()) {
                (Some((variable, set)), true) if is_on(&variable, &set)? => {
                    values.insert(option.name, String::new());
                }
                (Some((_, set)), false) if !set.is_empty() => {
                    values.insert(option.name, set);
                }
                (_, false) if !option.default.is_empty() => {
                    values.insert(option.name, option.default.to_owned());
                }
                _ => {}
            }
        }
        // Lists that were typed: what is typed replaces the environment's, but adds to itself.
        let mut listed = Vec::new();
        for (name, value) in typed {
            let option = tables.iter().copied().flatten().find(|option| option.name == name);
            let Some(option) = option else {
                return Err(Usage(format!("{command} has no option --{name}: see collabd --help")));
            };
            let value = value.unwrap_or_default();
            let before = listed.contains(&option.name).then(|| values.get(option.name)).flatten();
            let value = match before {
                Some(before) => format!("{before},{value}"),
                None => value,
            };
            values.insert(option.name, value);
            if option.is_list {
                listed.push(option.name);
            }
        }
        Ok(Values(values))
    }

    /// What `serve` is told.
    pub(super) fn serve(&self) -> Result<serve::Options, Usage> {
        if cfg!(not(feature = "durable")) && self.is_set("data-dir") {
            let why = "--data-dir needs a collabd that was built with the feature `durable`";
            return Err(Usage(why.into()));
        }
        let config = self.config()?;
        let document = self.bytes("max-document-bytes")?;
        if config.queue_bytes.is_some_and(|bytes| bytes < 2 * document) {
            return Err(Usage(
                "--queue-bytes has to be at least twice --max-document-bytes, or 0: a newcomer is \
                 sent the document, and then each of its items"
                    .into(),
            ));
        }
        let limits = Limits {
            linger: self.duration("linger")?,
            max_sessions: self.number("max-sessions")?,
            max_channels: self.number("max-channels")?,
            document: DocumentBounds { item: config.max_message_bytes, document },
            documents_memory: self.documents_memory()?,
            history: HistoryBounds {
                changes: self.number("history-changes")?,
                bytes: self.bytes("history-bytes")?,
            },
            settle: !self.is_set("no-settle"),
            durable: self.is_set("data-dir"),
        };
        Ok(serve::Options {
            listen: self.listen()?,
            config,
            access: self.access()?,
            #[cfg(feature = "durable")]
            data: self.data(limits.history)?,
            limits,
        })
    }

    /// Where sessions are stored.
    #[cfg(feature = "durable")]
    fn data(&self, history: HistoryBounds) -> Result<Option<serve::DataOptions>, Usage> {
        let Some(directory) = self.0.get("data-dir").map(PathBuf::from) else { return Ok(None) };
        let days: u32 = self.number("keep-days")?;
        let age = Duration::from_secs(u64::from(days) * 24 * 3600);
        let keeping = RetentionConfig { versions: self.number("keep-versions")?, age, history };
        Ok(Some(serve::DataOptions { directory, keeping }))
    }

    /// Who may come in.
    fn access(&self) -> Result<serve::AccessOptions, Usage> {
        let origins = Origins::new(&self.list("allow-origin"));
        let hosts = Hosts::new(&self.list("allow-host"));
        let access = serve::AccessOptions {
            keys: self.0.get("keys").map(PathBuf::from),
            dev_keys: self.is_set("dev-keys"),
            require_key: self.is_set("require-key"),
            debug_endpoints: self.is_set("debug-endpoints"),
            origins: origins.map_err(|why| Usage(format!("--allow-origin: {why}")))?,
            hosts: hosts.map_err(|why| Usage(format!("--allow-host: {why}")))?,
        };
        match access.require_key && access.keys.is_none() && !access.dev_keys {
            true => Err(Usage(
                "--require-key needs --keys FILE: make one with collabd key new --name NAME".into(),
            )),
            false => Ok(access),
        }
    }

    fn trusted_proxies(&self) -> Result<Vec<Network>, Usage> {
        let parse = |network: &String| {
            network.parse().map_err(|_| {
                Usage(format!(
                    "--trust-proxy has to be an IP address or a network like 172.16.0.0/12, not {}",
                    shown(network)
                ))
            })
        };
        self.list("trust-proxy").iter().map(parse).collect()
    }

    /// What stands between the commas of a list.
    fn list(&self, name: &str) -> Vec<String> {
        let parts = self.get(name).split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Where to listen and what to log.
    pub(super) fn listen(&self) -> Result<ListenOptions, Usage> {
        Ok(ListenOptions {
            host: self.get("host").to_owned(),
            port: self.number("port")?,
            debug: self.is_set("debug"),
            log_file: self.0.get("log-file").map(PathBuf::from),
            remarks: Vec::new(),
        })
    }

    /// What the server keeps to.
    pub(super) fn config(&self) -> Result<Config, Usage> {
        let handshake_timeout = self.duration("handshake-timeout")?;
        let queue_bytes = self.bytes("queue-bytes")?;
        let writer_threads = self.is_set("writer-threads");
        let config = Config {
            room: ConnectionLimits {
                connections: self.number("max-connections")?,
                per_address: self.number("max-connections-per-address")?,
            },
            handshake_timeout: Some(handshake_timeout).filter(|timeout| !timeout.is_zero()),
            max_message_bytes: self.bytes("max-message-bytes")?,
            queue_bytes: Some(queue_bytes).filter(|bytes| *bytes > 0),
            rate: self.rate()?,
            idle_timeout: self.idle_timeout()?,
            trusted_proxies: self.trusted_proxies()?,
            silence: SILENCE,
            send_mode: if writer_threads { SendMode::WriterThread } else { SendMode::NonBlocking },
        };
        if config.max_message_bytes < 1024 {
            return Err(Usage("--max-message-bytes has to be at least 1024".into()));
        }
        if config.queue_bytes.is_some_and(|bytes| bytes < 1024) {
            return Err(Usage("--queue-bytes has to be at least 1024, or 0 for no limit".into()));
        }
        Ok(config)
    }

    /// The echo knows no such limits.
    fn rate(&self) -> Result<RateLimits, Usage> {
        if !self.is_set("rate-messages") {
            return Ok(RateLimits { messages: 0, bytes: 0 });
        }
        Ok(RateLimits { messages: self.number("rate-messages")?, bytes: self.bytes("rate-bytes")? })
    }

    fn idle_timeout(&self) -> Result<Option<Duration>, Usage> {
        /// An editor says something every 30 s.
        const SHORTEST: Duration = Duration::from_secs(45);
        if !self.is_set("idle-timeout") {
            return Ok(None);
        }
        match self.duration("idle-timeout")? {
            Duration::ZERO => Ok(None),
            timeout if timeout < SHORTEST => {
                let why = "--idle-timeout has to be at least 45: an editor speaks every 30 seconds";
                Err(Usage(why.into()))
            }
            timeout => Ok(Some(timeout)),
        }
    }

    /// Its text; empty where it is neither set nor has a default.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What documents may take of memory: half of what there is, where nothing else is said.
    fn documents_memory(&self) -> Result<usize, Usage> {
        match self.is_set("documents-memory") {
            true => self.bytes("documents-memory"),
            false => Ok(half_of_the_memory()),
        }
    }

    /// How large an item and a document may be.
    #[cfg(feature = "durable")]
    pub(super) fn document_bounds(&self) -> Result<DocumentBounds, Usage> {
        let (item, document) =
            (self.bytes("max-message-bytes")?, self.bytes("max-document-bytes")?);
        Ok(DocumentBounds { item, document })
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Usage> {
        let value = self.get(name);
        value.parse().map_err(|_| bad_value(name, value, "a whole number in its range"))
    }

    fn bytes(&self, name: &str) -> Result<usize, Usage> {
        let value = self.get(name);
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let unit = units.iter().find_map(|(unit, shift)| Some((value.strip_suffix(unit)?, *shift)));
        let (digits, shift) = unit.unwrap_or((value, 0));
        let bytes: Option<u32> = digits.trim().parse().ok();
        let bytes = bytes.and_then(|bytes| usize::try_from(u64::from(bytes) << shift).ok());
        // Twice a bound still has to be a number.
        bytes
            .filter(|bytes| *bytes <= 1 << 40)
            .ok_or_else(|| bad_value(name, value, "a number of bytes, like 65536, 64KiB or 8MiB"))
    }

    /// A time, in seconds or with a unit.
    pub(super) fn duration(&self, name: &str) -> Result<Duration, Usage> {
        const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
        let value = self.get(name);
        let seconds = value.parse::<f64>().ok().map(Duration::try_from_secs_f64);
        let duration = match seconds {
            Some(seconds) => seconds.ok(),
            None => humantime::parse_duration(value).ok(),
        };
        duration.filter(|duration| *duration <= LONGEST).ok_or_else(|| {
            bad_value(name, value, "a time of at most ten years, like 30, 0.5, 500ms or 10m")
        })
    }
}

fn is_on(variable: &str, value: &str) -> Result<bool, Usage> {
    match value.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Usage(format!("{variable} has to be 1 or 0, not {}", shown(value)))),
    }
}

fn bad_value(name: &str, value: &str, wanted: &str) -> Usage {
    let variable = variable(name);
    Usage(format!("--{name} (or {variable}) has to be {wanted}, not {}", shown(value)))
}
