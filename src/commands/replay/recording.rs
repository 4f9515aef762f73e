//! A recording as `collabd record` writes it, read line by line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::commands::record::{ChangeLine, FORMAT, Head};

/// The longest line that is read, in bytes: a document of a gigabyte would be.
const MAX_LINE_BYTES: usize = 1 << 30;

/// A recording that makes sense.
pub struct Recording {
    pub session: String,
    /// The canvas before the first change: JSON, an object.
    pub document: Box<RawValue>,
    /// In their order.
    pub changes: Vec<Change>,
}

/// One change, as its sender sends it.
pub struct Change {
    /// Since the first change.
    pub offset_ms: u64,
    /// The index of its user.
    pub user: usize,
    /// JSON, an object.
    pub message: Box<RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

impl Recording {
    /// Reads a recording, and the names of its users by their index.
    ///
    /// # Errors
    /// One line that says where it is wrong, and nothing of what it says.
    pub fn read(file: &Path) -> Result<(Self, Vec<String>), String> {
        let shown = file.display();
        let wrong = |line: usize, why: &str| format!("{shown} is no recording: line {line} {why}");
        let opened = File::open(file).map_err(|error| {
            format!("can't read {shown}: {error}: name a file that collabd record made")
        })?;
        let mut head = None;
        let (mut users, mut changes) = (Vec::<String>::new(), Vec::new());
        for (place, line) in BufReader::new(opened).lines().enumerate() {
            let number = place + 1;
            let line = line.map_err(|error| wrong(number, &format!("can't be read: {error}")))?;
            if line.len() > MAX_LINE_BYTES {
                return Err(wrong(number, "is too long"));
            }
            if head.is_none() {
                let read: Head = serde_json::from_str(&line)
                    .map_err(|_| wrong(number, "is not the head of one"))?;
                if read.collabd_recording != FORMAT {
                    return Err(wrong(number, "says that a newer collabd made it"));
                }
                head = Some(read);
                continue;
            }
            let ChangeLine { offset_ms, user, message } =
                serde_json::from_str(&line).map_err(|_| wrong(number, "is not a change"))?;
            // What else there is would not be confirmed.
            let is_change = serde_json::from_str::<Kind>(message.get())
                .is_ok_and(|Kind { kind }| matches!(&*kind, "command" | "sync:update"));
            if !is_change || user.is_empty() {
                return Err(wrong(number, "is not a change"));
            }
            let user = users.iter().position(|known| *known == user).unwrap_or_else(|| {
                users.push(user);
                users.len() - 1
            });
            changes.push(Change { offset_ms, user, message });
        }
        let head = head.ok_or_else(|| wrong(1, "is missing"))?;
        let Head { session, document, .. } = head;
        Ok((Recording { session, document, changes }, users))
    }
}
