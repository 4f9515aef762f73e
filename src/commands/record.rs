//! `collabd record`: what happened in a stored session, as a file that `collabd replay` plays.
//!
//! A recording is JSON, a line each. The first says what it is and what the canvas was like before:
//!
//! ```json
//! {"collabd_recording":1,"session":"table","epoch":"…","from_seq":0,"to_seq":2,"started":"…","document":{"items":[],…}}
//! {"offset_ms":0,"user":"alice","message":{"type":"command","command":{…}}}
//! {"offset_ms":850,"user":"bob","message":{"type":"sync:update","state":{…}}}
//! ```
//!
//! The others are the changes in their order, as their senders could have sent them: without what
//! the server adds (`user_id`, `timestamp`, `seq`) and without the `id` of whoever sent them. Changes that
//! were made together by a `sync:update`, a snapshot or a restore are one `sync:update`: commands can't
//! take away a field. An `update_item` or `move_item` lacks its data's `_type`, so that all of its fields
//! are taken and not only what an editor's user would have changed.

mod source;

use std::io::Write;
use std::process::ExitCode;

use serde_json::value::RawValue;

use super::sessions::Place;
use super::table::tell;
use super::whole_file::{OutFile, write_file};
use crate::kept::Why;
use crate::protocol::Timestamp;
use crate::protocol::json::write_object;
use crate::protocol::json::{Object, as_string, write_string};
use source::{Change, Source};

/// The one format there is.
pub const FORMAT: u64 = 1;
/// How many changes are read at a time.
const AT_A_TIME: usize = 1000;
/// What a change carries that its sender did not write, or that is of no use a second time.
const SERVERS_FIELDS: [&str; 5] = ["user_id", "timestamp", "seq", "settled", "id"];
/// Who is said to have made a change that nobody is known to have made.
const NOBODY: &str = "collabd";

/// What `record` is told.
#[derive(Debug)]
pub struct Options {
    pub place: Place,
    pub session: String,
    pub out: OutFile,
}

/// Does it.
pub fn run(options: &Options) -> ExitCode {
    match record(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            crate::logging::say(&format!("collabd: {line}"));
            ExitCode::FAILURE
        }
    }
}

fn record(options: &Options) -> Result<(), String> {
    let Options { place, session, out } = options;
    let source = source::of(place, session)?;
    let tape = Tape::of(&*source, session)?;
    let mut changes = 0;
    write_file(out, |file| {
        changes = tape.write(file)?;
        Ok(())
    })?;
    let text = format!(
        "{} has {changes} changes of session {session:?}: collabd replay plays it\n",
        out.path.display()
    );
    tell(&text)
}

/// What is to be recorded.
struct Tape<'a> {
    source: &'a dyn Source,
    session: &'a str,
    epoch: String,
    /// The change it begins after, and the one it ends with.
    from: u64,
    to: u64,
    /// From here on every change is stored.
    complete_from: u64,
    versions: Vec<Version>,
}

/// A whole document that is stored.
struct Version {
    seq: u64,
    at: Timestamp,
    user: String,
    /// Whether it was stored because several changes were made together, of which it is the last.
    is_replacement: bool,
}

impl<'a> Tape<'a> {
    fn of(source: &'a dyn Source, session: &'a str) -> Result<Self, String> {
        let found = source.versions()?;
        let versions = found.versions.into_iter().map(|version| Version {
            seq: version.seq,
            at: Timestamp::parse(&version.at).unwrap_or(Timestamp::from_millis(0)),
            user: version.user_id.unwrap_or_default(),
            is_replacement: version.why != Why::Regular.name(),
        });
        let versions: Vec<Version> = versions.collect();
        // From the beginning, or from the oldest state that can still be brought back. What is missing
        // between is bridged.
        let first = source.changes_after(0, 1)?.first().map(|change| change.seq);
        let from = match (first, versions.first()) {
            (Some(1), _) => 0,
            (_, Some(oldest)) => oldest.seq.min(found.first_seq),
            (_, None) => found.first_seq,
        };
        let (epoch, to, complete_from) = (found.session.epoch, found.seq, source.complete_from()?);
        Ok(Tape { source, session, epoch, from, to, complete_from, versions })
    }

    /// How many changes were written.
    fn write(&self, file: &mut impl Write) -> Result<u64, String> {
        let mut lines = Lines { tape: self, file, started: None, written: 0, last: self.from };
        while lines.last < self.to {
            let changes = self.source.changes_after(lines.last, AT_A_TIME)?;
            let before = lines.last;
            // What comes while it is being read belongs to the next recording.
            for change in changes.iter().take_while(|change| change.seq <= self.to) {
                if change.seq <= lines.last {
                    continue;
                }
                if let Some(version) = self.made_with(change) {
                    lines.bridge(version.seq)?;
                    continue;
                }
                lines.cross(change.seq - 1)?;
                lines.write(change.seq, change.at, &change.user, &message(change)?)?;
            }
            if lines.last == before {
                lines.bridge(self.to)?;
            }
        }
        if lines.started.is_none() {
            lines.begin(Timestamp::now())?;
        }
        Ok(lines.written)
    }

    /// The document that this change was made for, together with others.
    fn made_with(&self, change: &Change) -> Option<&Version> {
        let place = self.versions.partition_point(|version| version.seq < change.seq);
        let version = self.versions.get(place)?;
        let is_its = version.at == change.at && version.user == change.user;
        Some(version).filter(|version| version.is_replacement && is_its)
    }

    fn gap(&self, seq: u64) -> String {
        format!(
            "change {seq} of session {:?} is not stored: a recording would not be true",
            self.session
        )
    }

    fn write_head(&self, file: &mut impl Write, started: Timestamp) -> Result<(), String> {
        let mut head = format!("{{\"collabd_recording\":{FORMAT},\"session\":").into_bytes();
        write_string(&mut head, self.session);
        head.extend_from_slice(b",\"epoch\":");
        write_string(&mut head, &self.epoch);
        let place = format!(
            ",\"from_seq\":{},\"to_seq\":{},\"started\":\"{started}\",\"document\":",
            self.from, self.to
        );
        head.extend_from_slice(place.as_bytes());
        head.extend_from_slice(&self.state(self.from, started)?);
        head.extend_from_slice(b"}\n");
        file.write_all(&head).map_err(|error| format!("can't write it: {error}"))
    }

    /// The canvas as it was after a change.
    fn state(&self, seq: u64, now: Timestamp) -> Result<Vec<u8>, String> {
        self.source.state(seq, now)?.ok_or_else(|| self.gap(seq))
    }
}

/// A recording that is being written.
struct Lines<'a, W> {
    tape: &'a Tape<'a>,
    file: &'a mut W,
    /// When its first change was.
    started: Option<Timestamp>,
    written: u64,
    /// The change that was written last.
    last: u64,
}

impl<W: Write> Lines<'_, W> {
    fn begin(&mut self, at: Timestamp) -> Result<Timestamp, String> {
        if let Some(started) = self.started {
            return Ok(started);
        }
        self.tape.write_head(self.file, at)?;
        self.started = Some(at);
        Ok(at)
    }

    /// Goes on after `seq`: numbers that no change has, because a crash came before it, or that are not
    /// stored.
    fn cross(&mut self, seq: u64) -> Result<(), String> {
        match self.last + 1 >= self.tape.complete_from {
            true => self.last = self.last.max(seq),
            false => self.bridge(seq)?,
        }
        Ok(())
    }

    /// Where changes up to `seq` are not stored, because the disk had failed, there is the whole
    /// document that they had led to.
    fn bridge(&mut self, seq: u64) -> Result<(), String> {
        if seq <= self.last {
            return Ok(());
        }
        let version = self.tape.versions.iter().find(|version| version.seq == seq);
        let version = version.ok_or_else(|| self.tape.gap(self.last + 1))?;
        let mut message = b"{\"type\":\"sync:update\",\"state\":".to_vec();
        message.extend_from_slice(&self.tape.state(seq, version.at)?);
        message.push(b'}');
        self.write(seq, version.at, &version.user, &message)
    }

    fn write(&mut self, seq: u64, at: Timestamp, user: &str, message: &[u8]) -> Result<(), String> {
        let started = self.begin(at)?;
        // A clock that was put back doesn't make it negative.
        let offset = at.millis().saturating_sub(started.millis());
        let mut line = format!("{{\"offset_ms\":{offset},\"user\":").into_bytes();
        write_string(&mut line, if user.is_empty() { NOBODY } else { user });
        line.extend_from_slice(b",\"message\":");
        // Line breaks, which JSON allows between its tokens, would end the line.
        line.extend(message.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }));
        line.extend_from_slice(b"}\n");
        self.file.write_all(&line).map_err(|error| format!("can't write it: {error}"))?;
        self.written += 1;
        self.last = seq;
        Ok(())
    }
}

/// A change as its sender could have sent it.
fn message(change: &Change) -> Result<Vec<u8>, String> {
    let damaged = || format!("change {} is not JSON", change.seq);
    let text = std::str::from_utf8(&change.frame).map_err(|_| damaged())?;
    let relayed = Object::parse(text).map_err(|_| damaged())?;
    let mut message = Vec::with_capacity(text.len());
    if relayed.get("type").and_then(as_string).as_deref() == Some("sync:state") {
        let state = relayed.get("state").ok_or_else(damaged)?;
        message.extend_from_slice(b"{\"type\":\"sync:update\",\"state\":");
        message.extend_from_slice(state.get().as_bytes());
        message.push(b'}');
        return Ok(message);
    }
    let command = relayed.get("command").and_then(without_type);
    let own = relayed.iter().filter(|(key, _)| !SERVERS_FIELDS.contains(key));
    let own = own.map(|(key, value)| match &command {
        Some(command) if key == "command" => (key, &**command),
        _ => (key, value),
    });
    write_object(&mut message, own);
    Ok(message)
}

/// An `update_item` or `move_item` without its data's `_type`; `None` for everything else.
fn without_type(command: &RawValue) -> Option<Box<RawValue>> {
    let command = Object::parse(command.get()).ok()?;
    let action = command.get("action").and_then(as_string)?;
    if !["update_item", "move_item"].contains(&&*action) {
        return None;
    }
    let data = Object::parse(command.get("data")?.get()).ok()?;
    let data = raw_object(data.iter().filter(|(key, _)| *key != "_type"))?;
    raw_object(command.iter().map(|(key, value)| match key {
        "data" => (key, &*data),
        _ => (key, value),
    }))
}

fn raw_object<'a>(fields: impl Iterator<Item = (&'a str, &'a RawValue)>) -> Option<Box<RawValue>> {
    let mut json = Vec::new();
    write_object(&mut json, fields);
    RawValue::from_string(String::from_utf8(json).ok()?).ok()
}
