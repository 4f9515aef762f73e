//! What only looks, also while a server goes on: the sessions there are, one of them, its canvas, and
//! a copy of everything.

use std::io::Write as _;
use std::path::Path;

use super::{document, moment, size, stored, summary, told};
use crate::commands::progress::Progress;
use crate::commands::table::{print, printable, table};
use crate::commands::whole_file::write_file;
use crate::protocol::Timestamp;
use crate::store::{Point, Reader, Summary};

/// A table of all sessions.
pub fn list(directory: &Path) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let sessions = reader.sessions().map_err(told(directory))?;
    let head = ["NAME", "ITEMS", "SIZE", "CHANGES", "LAST CHANGE", "BY", "VERSIONS"];
    let rows = sessions.iter().map(|session| {
        [
            printable(&session.name),
            items(&reader, session).map_or("damaged".into(), |items| items.to_string()),
            size(session.bytes),
            session.seq.to_string(),
            moment(session.changed),
            last_user(&reader, session).map_or("-".into(), |user| printable(&user)),
            session.versions.to_string(),
        ]
    });
    let text = table([head.map(str::to_owned)].into_iter().chain(rows));
    print(text.as_bytes())
}

/// How many items are on its canvas; `None` where it can't be read.
fn items(reader: &Reader, session: &Summary) -> Option<usize> {
    let stored = reader.document_at(&session.name, Point::Seq(session.seq)).ok()??;
    Some(document(&session.name, &stored).ok()?.items().count())
}

/// Who made its last change.
fn last_user(reader: &Reader, session: &Summary) -> Option<String> {
    let last = reader.changes_after(&session.name, session.seq.saturating_sub(1), 1).ok()?;
    let user = last.into_iter().find(|change| change.seq == session.seq)?.user;
    Some(user.to_string()).filter(|user| !user.is_empty())
}

/// What there is to know of a session, and its versions.
pub fn show(directory: &Path, name: &str) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let session = summary(&reader, directory, name)?;
    let versions = reader.versions(name).map_err(told(directory))?.unwrap_or_default();
    let items = items(&reader, &session);
    let items = items.map_or("damaged: restore a version".to_owned(), |items| items.to_string());
    let by = last_user(&reader, &session);
    let by = by.map_or(String::new(), |user| format!(" by {}", printable(&user)));
    let about = [
        ("session", printable(&session.name)),
        ("epoch", printable(&session.epoch)),
        ("seq", session.seq.to_string()),
        ("created", moment(session.created)),
        ("last change", format!("{}{by}", moment(session.changed))),
        ("items", items),
        ("changes stored", session.changes.to_string()),
        ("size", size(session.bytes)),
        ("versions", session.versions.to_string()),
    ];
    let mut text = table(about.map(|(what, value)| [what.to_owned(), value]));
    if !versions.is_empty() {
        let head = ["SEQ", "TIME", "WHO", "WHY", "BYTES"].map(str::to_owned);
        let rows = versions.iter().map(|version| {
            [
                version.seq.to_string(),
                version.at.to_string(),
                version.user.as_deref().map_or("-".into(), printable),
                version.why.name().to_owned(),
                version.bytes.to_string(),
            ]
        });
        text.push('\n');
        text.push_str(&table([head].into_iter().chain(rows)));
    }
    print(text.as_bytes())
}

/// A canvas as an editor would save it.
pub fn export(
    directory: &Path,
    session: &str,
    at: Option<Point>,
    out: Option<&Path>,
) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let stored = stored(&reader, directory, session, at)?;
    let mut json = Vec::new();
    document(session, &stored)?.write_state(&mut json, Timestamp::now());
    json.push(b'\n');
    match out {
        None => print(&json),
        Some(file) => write_file(file, |writer| {
            writer.write_all(&json).map_err(|error| format!("{}: {error}", file.display()))
        }),
    }
}

/// A copy of everything as it is at this moment.
pub fn backup(directory: &Path, to: &Path) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let mut progress = Progress::new("copying".into(), "pages");
    let mut last = (0, 0);
    let copied = reader.backup(to, |done, total| {
        last = (done, total);
        progress.at(done, total);
    });
    progress.end(last.0, last.1);
    copied?;
    let text = format!(
        "{} is a copy of the sessions in {}: to use it, stop the server, put it in the place of \
         collabd.db and remove collabd.db-wal and collabd.lock\n",
        to.display(),
        directory.display()
    );
    print(text.as_bytes())
}
