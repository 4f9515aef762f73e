//! All flags, a table for each command or several. `--help` lists them in this order.
//!
//! Formatted by hand, two lines a flag, to be read as a list: `--name VALUE [default]` and what it sets,
//! then the help.

use std::time::Duration;

use super::args::Args;
use super::Usage;
use super::flag::{Flag, flag, list, switch};
use super::values::{self, BadValue, FlagValue, set, some};
use crate::auth::Level;

pub(super) const CONFIG: &[Flag] = &[
    flag("config", "FILE", "", |_, _| Ok(()),
        "take options from this file, a line each, like port = 8765; what is typed and the environment \
         count more"),
];

pub(super) const LISTEN: &[Flag] = &[
    flag("host", "ADDRESS", "0.0.0.0", |a, v| set(&mut a.listen.host, Ok(v.text)),
        "listen on this address of this machine; 0.0.0.0 is all of them"),
    flag("port", "NUMBER", "8765", |a, v| set(&mut a.listen.port, v.number()),
        "listen on this port; 0 picks a free one and says which"),
    switch("debug", |a| &mut a.listen.debug,
        "log a line for every message: its type and size, never its content"),
    flag("log-file", "FILE", "", |a, v| some(&mut a.listen.log_file, v),
        "append the log to this file, too"),
    flag("max-connections", "NUMBER", "10000", |a, v| set(&mut a.config.room.connections, v.number()),
        "connections at a time, more get 503; 0 for no limit"),
    flag("max-connections-per-address", "NUMBER", "1000", |a, v| set(&mut a.config.room.per_address, v.number()),
        "connections at a time from one address, more get 503; 0 for no limit"),
    flag("handshake-timeout", "SECONDS", "10", |a, v| set(&mut a.config.handshake_timeout, v.duration().map(not_zero)),
        "a client's time to send its request, all of it; 0 for no limit"),
    switch("writer-threads", |a| &mut a.serve.writer_threads,
        "send to each client from a thread of its own (always so on Windows)"),
];

pub(super) const SERVE: &[Flag] = &[
    flag("linger", "SECONDS", "600", |a, v| set(&mut a.limits.linger, v.duration()),
        "keep a session whose last member has left for so long; 0 removes it at once"),
    flag("max-sessions", "NUMBER", "1000", |a, v| set(&mut a.limits.max_sessions, v.number()),
        "sessions at a time, lingering ones too, more get 503; 0 for no limit"),
    flag("max-message-bytes", "BYTES", "1MiB", max_message_bytes,
        "largest message a client may send but a whole canvas, a larger one is closed with 1009"),
    flag("max-document-bytes", "BYTES", "4MiB", max_document_bytes,
        "largest document of a session, a change beyond it is refused"),
    flag("documents-memory", "BYTES", "", |a, v| set(&mut a.serve.documents_memory, v.bytes().map(Some)),
        "memory that the documents of all sessions may take together; a change that needs more is \
         refused; 0 for no limit [half of what the machine or the container has]"),
    flag("history-changes", "NUMBER", "10000", |a, v| set(&mut a.limits.history.changes, v.number()),
        "changes a session remembers for clients that catch up"),
    flag("history-bytes", "BYTES", "4MiB", |a, v| set(&mut a.limits.history.bytes, v.bytes()),
        "size of the changes a session remembers"),
    flag("queue-bytes", "BYTES", "8MiB", |a, v| set(&mut a.config.queue_bytes, v.bytes().map(not_zero)),
        "what may wait for a client that reads slowly; over it for 10 s, or over twice that, it \
         is closed with 1008; 0 for no limit"),
    flag("rate-messages", "NUMBER", "2000", |a, v| set(&mut a.config.rate.messages, v.number()),
        "messages a second a client may send for long, four seconds' worth at once; faster ones \
         are read more slowly; 0 for no limit"),
    flag("rate-bytes", "BYTES", "4MiB", |a, v| set(&mut a.config.rate.bytes, v.bytes()),
        "the same for bytes a second; 0 for no limit"),
    flag("idle-timeout", "SECONDS", "0", |a, v| set(&mut a.config.idle_timeout, idle_timeout(&v)),
        "close a client with 1008 that says nothing for so long, at least 45; 0 never does; one \
         that answers no Ping for 90 s is closed all the same"),
    flag("data-dir", "DIR", "", |a, v| set(&mut a.stored.data_dir, Ok(Some(v))),
        "store sessions there [$STATE_DIRECTORY, or this user's own: ~/.local/share/collabd, \
         %LOCALAPPDATA%\\collabd]"),
    switch("in-memory", |a| &mut a.serve.in_memory,
        "store no sessions: they are forgotten when the server stops"),
    flag("keep-versions", "NUMBER", "1000", |a, v| set(&mut a.stored.keep_versions, v.number()),
        "versions of each stored session to go back to; 0 for any number; the newest always stays"),
    flag("keep-days", "DAYS", "90", |a, v| set(&mut a.stored.keep_days, v.number()),
        "days a version stays after the next one has taken its place; 0 for ever"),
    flag("keys", "FILE", "", |a, v| some(&mut a.serve.keys, v),
        "who may come in: a file made by collabd key new"),
    switch("require-key", |a| &mut a.serve.require_key,
        "sessions ask for a key, too: the client protocol always does"),
    list("allow-origin", "ORIGIN", |a| &mut a.serve.allow_origin,
        "pages of this origin, like https://lab.example:8443, may connect, too; * is any; \
         repeatable"),
    list("allow-host", "NAME", |a| &mut a.serve.allow_host,
        "pages may call the server by this name, too; its addresses and its own names always \
         work; repeatable"),
    list("trust-proxy", "NETWORK", |a| &mut a.serve.trust_proxy,
        "a reverse proxy whose X-Forwarded-For says where a client comes from, or a network of \
         them like 172.16.0.0/12; repeatable"),
    flag("max-channels", "NUMBER", "10000", |a, v| set(&mut a.limits.max_channels, v.number()),
        "channels of the client protocol at a time, joining more is refused; 0 for no limit"),
    switch("debug-endpoints", |a| &mut a.serve.debug_endpoints,
        "serve /debug/client_…, which echoes what is sent to a channel"),
    switch("dev-keys", |a| &mut a.serve.dev_keys,
        "accept two keys that everybody knows: for development only"),
    switch("open", |a| &mut a.listen.open,
        "open the live page in this machine's browser").typed_only(),
    switch("no-settle", |a| &mut a.serve.no_settle,
        "never send items again once they are still (docs/PROTOCOL.md, Settling)"),
];

pub(super) const ECHO: &[Flag] = &[
    flag("max-message-bytes", "BYTES", "16MiB", |a, v| set(&mut a.config.max_message_bytes, v.bytes()),
        "largest message a client may send, a larger one is closed with 1009"),
    flag("queue-bytes", "BYTES", "64MiB", |a, v| set(&mut a.config.queue_bytes, v.bytes().map(not_zero)),
        "what may wait for a client that reads slowly; 0 for no limit"),
];

pub(super) const CHECK: &[Flag] = &[
    flag("seconds", "SECONDS", "15", |a, v| set(&mut a.seconds, v.duration()),
        "stay connected for so long before leaving"),
];

pub(super) const FORWARD: &[Flag] = &[
    flag("port", "NUMBER", "8765", |a, v| set(&mut a.listen.port, v.number()),
        "listen on this port of localhost; 0 picks a free one and says which").typed_only(),
    flag("key", "KEY", "", |a, v| some(&mut a.stored.key, v),
        "what opens the sessions there; every program on this machine may use it then"),
    flag("key-file", "FILE", "", |a, v| set(&mut a.stored.key_file, Ok(Some(v))),
        "a file with that key in it, which other users of the machine don't see then"),
];

pub(super) const INSTALL_SHIM: &[Flag] = &[
    switch("remove", |a| &mut a.removes,
        "put the editor's own server back").typed_only(),
];

pub(super) const KEY: &[Flag] = &[
    flag("file", "FILE", "keys.json", |a, v| set(&mut a.key.file, Ok(v.text.into())),
        "the key file; key new makes one where there is none").set_by("COLLABD_KEYS"),
];

pub(super) const KEY_NEW: &[Flag] = &[
    flag("name", "NAME", "", |a, v| set(&mut a.key.name, values::key_name(&v.text).map(Some)),
        "what people call the key: at most 64 characters").typed_only(),
    flag("level", "LEVEL", "write", level,
        "what it permits: read, write or admin").typed_only(),
    flag("expires", "TIME", "", |a, v| set(&mut a.key.expires, values::expires(&v.text).map(Some)),
        "when it ends: like 2h, 30d or 2026-12-20T00:00:00Z").typed_only(),
    flag("sessions", "A,B", "", |a, v| set(&mut a.key.sessions, values::sessions(&v.text).map(Some)),
        "the sessions and channels it opens; without it, all").typed_only(),
];

pub(super) const PLACE: &[Flag] = &[
    flag("data-dir", "DIR", "", |a, v| set(&mut a.stored.data_dir, Ok(Some(v))),
        "the directory that a server was given with --data-dir [the one that serve takes by default]"),
    flag("server", "URL", "", |a, v| set(&mut a.stored.server, Ok(Some(v))),
        "or a server that runs, like http://localhost:8765"),
    flag("key", "KEY", "", |a, v| some(&mut a.stored.key, v),
        "what opens it: changing something needs an admin key where there are keys"),
    flag("key-file", "FILE", "", |a, v| set(&mut a.stored.key_file, Ok(Some(v))),
        "a file with that key in it, which other users of the machine don't see then"),
];

pub(super) const LIST: &[Flag] =
    &[switch("json", |a| &mut a.stored.json, "print JSON").typed_only()];

const FORCE: Flag =
    switch("force", |a| &mut a.stored.force, "replace the file if it is there already").typed_only();

pub(super) const EXPORT: &[Flag] = &[
    flag("at", "SEQ|TIME", "", |a, v| some(&mut a.stored.at, v),
        "the canvas as it was after a change, or at a moment").typed_only(),
    flag("out", "FILE", "", |a, v| some(&mut a.stored.out, v),
        "write it there; without it, to stdout").typed_only(),
    FORCE,
];

pub(super) const BACKUP: &[Flag] = &[
    flag("into", "DIR", "", |a, v| some(&mut a.stored.into, v),
        "write a copy there whose name says when it was made").typed_only(),
    flag("keep", "NUMBER", "0", |a, v| set(&mut a.stored.keep, v.number()),
        "with --into: remove older copies there than so many; 0 for none").typed_only(),
];

pub(super) const IMPORT: &[Flag] = &[
    switch("replace", |a| &mut a.stored.replace,
        "put it in the place of what the session has, which becomes a version").typed_only(),
    flag("max-document-bytes", "BYTES", "4MiB", max_document_bytes,
        "largest document of a session"),
    flag("max-message-bytes", "BYTES", "1MiB", max_message_bytes,
        "largest item of it"),
];

pub(super) const RESTORE: &[Flag] = &[
    flag("to", "SEQ|TIME", "", |a, v| some(&mut a.stored.to, v),
        "as it was after this change, or at a moment").typed_only(),
];

pub(super) const DELETE: &[Flag] = &[
    switch("yes", |a| &mut a.stored.yes,
        "really: neither it nor its versions come back").typed_only(),
];

pub(super) const COMPACT: &[Flag] = &[
    flag("keep-versions", "NUMBER", "0", |a, v| set(&mut a.stored.keep_versions, v.number()),
        "remove older versions than so many; 0 for none"),
    flag("keep-days", "DAYS", "0", |a, v| set(&mut a.stored.keep_days, v.number()),
        "remove versions that were replaced so long ago; 0 for none"),
];

pub(super) const RECORD: &[Flag] = &[
    flag("out", "FILE", "", |a, v| some(&mut a.stored.out, v),
        "write it there").typed_only(),
    FORCE,
];

pub(super) const REPLAY: &[Flag] = &[
    flag("speed", "NUMBER", "1", |a, v| set(&mut a.stored.speed, speed(&v)),
        "so many times as fast; max is as fast as it goes").typed_only(),
    flag("session", "NAME", "", |a, v| set(&mut a.stored.session, session_name(&v.text).map(Some).map_err(BadValue::from)),
        "the session to play it into; without it, the one that was recorded").typed_only(),
    switch("replace", |a| &mut a.stored.replace,
        "also where that session has items, which are replaced").typed_only(),
];

fn max_message_bytes(a: &mut Args, v: FlagValue) -> Result<(), BadValue> {
    a.config.max_message_bytes = v.bytes()?;
    a.limits.document.item = a.config.max_message_bytes;
    a.stored.has_typed_bounds |= v.is_typed;
    Ok(())
}

fn max_document_bytes(a: &mut Args, v: FlagValue) -> Result<(), BadValue> {
    a.stored.has_typed_bounds |= v.is_typed;
    set(&mut a.limits.document.document, v.bytes())
}

fn level(a: &mut Args, v: FlagValue) -> Result<(), BadValue> {
    a.key.level = Some(Level::from_name(&v.text).ok_or(BadValue::Wanted("read, write or admin"))?);
    Ok(())
}

/// `None` never closes a client.
fn idle_timeout(given: &FlagValue) -> Result<Option<Duration>, BadValue> {
    /// An editor says something every 30 s.
    const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(45);
    match given.duration()? {
        Duration::ZERO => Ok(None),
        timeout if timeout < MIN_IDLE_TIMEOUT => Err(BadValue::Line(
            "--idle-timeout has to be at least 45: an editor speaks every 30 seconds".into(),
        )),
        timeout => Ok(Some(timeout)),
    }
}

/// 0 is no limit.
fn not_zero<T: Default + PartialEq>(value: T) -> Option<T> {
    Some(value).filter(|value| *value != T::default())
}

/// How many times as fast a recording is played; `None` for as fast as it goes.
fn speed(given: &FlagValue) -> Result<Option<f64>, BadValue> {
    if matches!(&*given.text, "max" | "0") {
        return Ok(None);
    }
    let number = given.text.parse().ok().filter(|number| (0.001..=1000.0).contains(number));
    number.map(Some).ok_or(BadValue::Wanted("a number from 0.001 to 1000, or max"))
}

/// The name of a session that can be joined.
pub(super) fn session_name(name: &str) -> Result<String, Usage> {
    match values::is_place(name) {
        true => Ok(name.to_owned()),
        false => Err(Usage(
            "a session's name has to be 1 to 128 characters long, without control characters"
                .into(),
        )),
    }
}
