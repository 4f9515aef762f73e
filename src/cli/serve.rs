//! What `serve` and `echo` are told by their flags.

#[cfg(feature = "durable")]
use std::path::PathBuf;

use super::args::{Args, ServeArgs};
#[cfg(feature = "durable")]
use super::data_directory::default_directory;
use super::echoed::shown;
use super::{Line, Usage};
#[cfg(feature = "durable")]
use super::{flag::Origin, flags};
use crate::commands::{echo, serve};
use crate::net::{Config, Network, SendMode, half_of_the_memory};
#[cfg(feature = "durable")]
use crate::persistence::RetentionConfig;
use crate::routes::Hosts;
use crate::routes::origin::Origins;

/// What `echo` is told.
pub(super) fn echo(args: Args) -> Result<echo::Options, Usage> {
    Ok(echo::Options { config: config(&args)?, listen: args.listen })
}

/// What `serve` is told.
pub(super) fn serve(args: Args, line: &Line<'_>) -> Result<serve::Options, Usage> {
    if cfg!(not(feature = "durable")) && args.stored.data_dir.is_some() {
        let why = "--data-dir needs a collabd that was built with the feature `durable`";
        return Err(Usage(why.into()));
    }
    let config = config(&args)?;
    #[cfg(feature = "durable")]
    let place = storage(&args, line)?;
    #[cfg(not(feature = "durable"))]
    let _ = line;
    let mut limits = args.limits;
    if config.queue_bytes.is_some_and(|bytes| bytes < 2 * limits.document.document) {
        return Err(Usage(
            "--queue-bytes has to be at least twice --max-document-bytes, or 0: a newcomer is \
             sent the document, and then each of its items"
                .into(),
        ));
    }
    limits.documents_memory = args.serve.documents_memory.unwrap_or_else(half_of_the_memory);
    limits.settle = !args.serve.no_settle;
    #[cfg(feature = "durable")]
    let keeping = RetentionConfig {
        versions: args.stored.keep_versions,
        age: super::days(args.stored.keep_days),
        history: limits.history,
    };
    Ok(serve::Options {
        listen: args.listen,
        config,
        access: access(args.serve)?,
        #[cfg(feature = "durable")]
        storage: serve::StorageOptions { place, keeping },
        limits,
    })
}

/// Where sessions are stored: as what was typed says, else the environment, else the file.
#[cfg(feature = "durable")]
fn storage(args: &Args, line: &Line<'_>) -> Result<serve::Storage, Usage> {
    let chosen = args.stored.data_dir.as_ref();
    if args.serve.in_memory {
        if chosen.is_none() {
            return Ok(serve::Storage::InMemory);
        }
        let said_by = |name: &str| {
            let flag = flags::SERVE.iter().find(|flag| flag.name == name);
            flag.map_or(Ok(Origin::Default), |flag| flag.given(line).map(|(_, origin)| origin))
        };
        let (directory, memory) = (said_by("data-dir")?, said_by("in-memory")?);
        if memory < directory {
            return Ok(serve::Storage::InMemory);
        }
        if memory == directory {
            let names = match memory {
                Origin::Typed => "--data-dir or --in-memory",
                Origin::Environment => "COLLABD_DATA_DIR or COLLABD_IN_MEMORY",
                Origin::File | Origin::Default => "data-dir or in-memory in the configuration file",
            };
            return Err(Usage(format!("{names}? sessions are stored, or not")));
        }
    }
    Ok(match chosen {
        Some(directory) => serve::Storage::Chosen(PathBuf::from(&directory.text)),
        None => serve::Storage::Default(default_directory(line.environment)),
    })
}

/// Which clients the server lets in.
fn access(args: ServeArgs) -> Result<serve::AccessOptions, Usage> {
    if args.require_key && args.keys.is_none() && !args.dev_keys {
        return Err(Usage(
            "--require-key needs --keys FILE: make one with collabd key new --name NAME".into(),
        ));
    }
    let origins = Origins::new(&args.allow_origin);
    let hosts = Hosts::new(&args.allow_host);
    Ok(serve::AccessOptions {
        keys: args.keys,
        dev_keys: args.dev_keys,
        require_key: args.require_key,
        debug_endpoints: args.debug_endpoints,
        origins: origins.map_err(|why| Usage(format!("--allow-origin: {why}")))?,
        hosts: hosts.map_err(|why| Usage(format!("--allow-host: {why}")))?,
    })
}

/// The limits of connections.
fn config(args: &Args) -> Result<Config, Usage> {
    let mut config = args.config.clone();
    config.trusted_proxies =
        args.serve.trust_proxy.iter().map(|typed| network(typed)).collect::<Result<_, _>>()?;
    if args.serve.writer_threads {
        config.send_mode = SendMode::WriterThread;
    }
    if config.max_message_bytes < 1024 {
        return Err(Usage("--max-message-bytes has to be at least 1024".into()));
    }
    if config.queue_bytes.is_some_and(|bytes| bytes < 1024) {
        return Err(Usage("--queue-bytes has to be at least 1024, or 0 for no limit".into()));
    }
    Ok(config)
}

fn network(typed: &str) -> Result<Network, Usage> {
    typed.parse().map_err(|_| {
        Usage(format!(
            "--trust-proxy has to be an IP address or a network like 172.16.0.0/12, not {}",
            shown(typed)
        ))
    })
}
