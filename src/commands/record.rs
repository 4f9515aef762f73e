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
//! the server adds (`user_id`, `timestamp`, `seq`) and without the sender's `id`. Changes that
//! were made together by a `sync:update`, a snapshot or a restore are one `sync:update`: commands can't
//! take away a field. An `update_item` or `move_item` lacks its data's `_type`, so that all of its fields
//! are taken and not only what an editor's user would have changed.

use std::io::Write;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::archive::{Archive, Place};
use super::table::tell;
use super::whole_file::{OutFile, write_file};
use crate::archive::ChangeInfo;
use crate::journal::SnapshotReason;
use crate::protocol::Timestamp;
use crate::protocol::json::{Object, as_string, write_object};

/// The one format there is.
pub const FORMAT: u64 = 1;
/// How many changes are read at a time.
const MAX_CHANGES_AT_A_TIME: usize = 1000;
/// What a change carries that its sender did not write, or that is of no use a second time.
const SERVERS_FIELDS: [&str; 5] = ["user_id", "timestamp", "seq", "settled", "id"];
/// The user of a change whose user is not known.
const UNKNOWN_USER: &str = "collabd";

/// What `record` is told.
#[derive(Debug)]
pub struct Options {
    pub place: Place,
    pub session: String,
    pub out: OutFile,
}

/// The first line of a recording. What has a default is for people.
#[derive(Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub collabd_recording: u64,
    pub session: String,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    from_seq: u64,
    #[serde(default)]
    to_seq: u64,
    #[serde(default)]
    started: String,
    /// The canvas before the first change: an object.
    pub document: Box<RawValue>,
}

/// Any other line: a change, as its sender sends it.
#[derive(Serialize, Deserialize)]
pub struct ChangeLine {
    /// Since the first change.
    pub offset_ms: u64,
    pub user: String,
    /// An object.
    pub message: Box<RawValue>,
}

/// Does it.
pub fn run(options: &Options) -> ExitCode {
    super::exit_code(record(options))
}

fn record(options: &Options) -> Result<(), String> {
    let Options { place, session, out } = options;
    let archive = place.open()?;
    let recorder = Recorder::new(&*archive, session)?;
    let mut changes = 0;
    write_file(out, |file| {
        changes = recorder.write(file)?;
        Ok(())
    })?;
    tell(&format!(
        "{} has {changes} changes of session {session:?}: collabd replay plays it\n",
        out.path.display()
    ))
}

/// What is to be recorded.
struct Recorder<'a> {
    archive: &'a dyn Archive,
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
    /// It was stored because several changes were made together, of which it is the last.
    is_replacement: bool,
}

impl<'a> Recorder<'a> {
    fn new(archive: &'a dyn Archive, session: &'a str) -> Result<Self, String> {
        let found = archive.versions(session)?;
        let versions = found.versions.into_iter().map(|version| Version {
            seq: version.seq,
            at: Timestamp::parse(&version.at).unwrap_or(Timestamp::from_millis(0)),
            user: version.user_id.unwrap_or_default(),
            is_replacement: version.why != SnapshotReason::Regular.name(),
        });
        let versions: Vec<Version> = versions.collect();
        // From the beginning, or from the oldest state that can still be brought back. What is missing
        // between is bridged.
        let stored = archive.changes_after(session, 0, 1)?;
        let from = match (stored.changes.first().map(|change| change.seq), versions.first()) {
            (Some(1), _) => 0,
            (_, Some(oldest)) => oldest.seq.min(found.first_seq),
            (_, None) => found.first_seq,
        };
        let (epoch, to, complete_from) =
            (found.session.epoch, found.seq, stored.first_seq.unwrap_or(u64::MAX));
        Ok(Recorder { archive, session, epoch, from, to, complete_from, versions })
    }

    /// Writes the recording. How many changes it has.
    fn write(&self, file: &mut impl Write) -> Result<u64, String> {
        let mut lines =
            RecordingWriter { recorder: self, file, started: None, written: 0, last: self.from };
        while lines.last < self.to {
            let max = MAX_CHANGES_AT_A_TIME;
            let changes = self.archive.changes_after(self.session, lines.last, max)?.changes;
            let before = lines.last;
            // What comes while it is being read belongs to the next recording.
            for change in changes.iter().take_while(|change| change.seq <= self.to) {
                if change.seq <= lines.last {
                    continue;
                }
                let at = Timestamp::parse(&change.at)
                    .ok_or_else(|| format!("change {} has no time", change.seq))?;
                let user = change.user_id.as_deref().unwrap_or_default();
                if let Some(version) = self.made_with(change.seq, at, user) {
                    lines.bridge(version.seq)?;
                    continue;
                }
                lines.cross(change.seq - 1)?;
                lines.write(change.seq, at, user, message(change)?)?;
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

    /// The document that a change was made for, together with others.
    fn made_with(&self, seq: u64, at: Timestamp, user: &str) -> Option<&Version> {
        let place = self.versions.partition_point(|version| version.seq < seq);
        let version = self.versions.get(place)?;
        let is_its = version.at == at && version.user == user;
        Some(version).filter(|version| version.is_replacement && is_its)
    }

    fn write_head(&self, file: &mut impl Write, started: Timestamp) -> Result<(), String> {
        let head = Head {
            collabd_recording: FORMAT,
            session: self.session.to_owned(),
            epoch: self.epoch.clone(),
            from_seq: self.from,
            to_seq: self.to,
            started: started.to_string(),
            document: self.state(self.from, started)?,
        };
        write_line(file, &head)
    }

    /// The canvas as it was after a change.
    fn state(&self, seq: u64, now: Timestamp) -> Result<Box<RawValue>, String> {
        raw(self.archive.state(self.session, seq, now)?)
    }
}

fn raw(json: Vec<u8>) -> Result<Box<RawValue>, String> {
    let raw = String::from_utf8(json).ok().and_then(|json| RawValue::from_string(json).ok());
    raw.ok_or_else(|| "what is stored is not JSON".into())
}

fn write_line(file: &mut impl Write, line: &impl Serialize) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("can't write it: {error}");
    let mut json = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
    // Line breaks, which JSON allows between its tokens, would end the line.
    json.iter_mut().filter(|byte| b"\r\n".contains(byte)).for_each(|byte| *byte = b' ');
    json.push(b'\n');
    file.write_all(&json).map_err(failed)
}

/// A recording that is being written.
struct RecordingWriter<'a, W> {
    recorder: &'a Recorder<'a>,
    file: &'a mut W,
    /// When its first change was.
    started: Option<Timestamp>,
    written: u64,
    /// The change that was written last.
    last: u64,
}

impl<W: Write> RecordingWriter<'_, W> {
    fn begin(&mut self, at: Timestamp) -> Result<Timestamp, String> {
        if let Some(started) = self.started {
            return Ok(started);
        }
        self.recorder.write_head(self.file, at)?;
        self.started = Some(at);
        Ok(at)
    }

    /// Goes on after `seq`: numbers that no change has, because a crash came before it, or that are not
    /// stored.
    fn cross(&mut self, seq: u64) -> Result<(), String> {
        match self.last + 1 >= self.recorder.complete_from {
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
        let version = self.recorder.versions.iter().find(|version| version.seq == seq);
        let version = version.ok_or_else(|| {
            format!(
                "change {} of session {:?} is not stored: a recording would not be true",
                self.last + 1,
                self.recorder.session
            )
        })?;
        let state = self.recorder.state(seq, version.at)?;
        self.write(seq, version.at, &version.user, sync_update(&state)?)
    }

    fn write(
        &mut self,
        seq: u64,
        at: Timestamp,
        user: &str,
        message: Box<RawValue>,
    ) -> Result<(), String> {
        let started = self.begin(at)?;
        // A clock that was put back doesn't make it negative.
        let offset_ms = at.millis().saturating_sub(started.millis());
        let user = if user.is_empty() { UNKNOWN_USER } else { user }.to_owned();
        write_line(self.file, &ChangeLine { offset_ms, user, message })?;
        self.written += 1;
        self.last = seq;
        Ok(())
    }
}

/// The message that replaces a canvas.
fn sync_update(state: &RawValue) -> Result<Box<RawValue>, String> {
    raw(format!("{{\"type\":\"sync:update\",\"state\":{state}}}").into_bytes())
}

/// A change as its sender could have sent it.
fn message(change: &ChangeInfo) -> Result<Box<RawValue>, String> {
    let damaged = || format!("change {} is not JSON", change.seq);
    let relayed = Object::parse(change.message.get()).map_err(|_| damaged())?;
    if relayed.get("type").and_then(as_string).as_deref() == Some("sync:state") {
        let state = relayed.get("state").ok_or_else(damaged)?;
        return sync_update(state);
    }
    let command = relayed.get("command").and_then(without_type);
    let own = relayed.iter().filter(|(key, _)| !SERVERS_FIELDS.contains(key));
    let own = own.map(|(key, value)| match &command {
        Some(command) if key == "command" => (key, &**command),
        _ => (key, value),
    });
    raw_object(own).ok_or_else(damaged)
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
