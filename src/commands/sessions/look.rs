//! What only looks, also while a server goes on: the sessions there are, one of them, its canvas, and
//! a copy of everything.

use std::io::Write as _;
use std::path::Path;

use super::{document, known, size, stored, told};
use crate::archive::{About, Listing, Versions};
use crate::commands::progress::Progress;
use crate::commands::table::{print, printable, table, tell};
use crate::commands::whole_file::{OutFile, write_file};
use crate::protocol::Timestamp;
use crate::store::{PointInTime, Reader};

/// A table of all sessions, or JSON.
pub fn list(directory: &Path, json: bool) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let listing = Listing::of(&reader, |_| true, None, usize::MAX, true);
    print_listing(&listing.map_err(told(directory))?, json)
}

/// What there is to know of a session, and its versions.
pub fn show(directory: &Path, name: &str, json: bool) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let versions = Versions::of(&reader, name).map_err(told(directory))?;
    print_versions(&known(versions, directory, name)?, json)
}

/// Prints sessions for people, or as JSON.
pub fn print_listing(listing: &Listing, json: bool) -> Result<(), String> {
    if json {
        return print_json(listing);
    }
    let head = ["NAME", "ITEMS", "SIZE", "CHANGES", "LAST CHANGE", "BY", "VERSIONS", "MEMBERS"];
    let rows = listing.sessions.iter().map(|session| {
        [
            printable(&session.session_id),
            items(session).map_or("damaged".into(), |items| items.to_string()),
            size(session.bytes),
            session.seq.to_string(),
            moment(session.changed_at.as_deref()),
            session.changed_by.as_deref().map_or("-".into(), printable),
            session.versions.to_string(),
            session.members.map_or("-".into(), |members| members.to_string()),
        ]
    });
    tell(&table([head.map(str::to_owned)].into_iter().chain(rows)))
}

/// Prints what there is to know of a session for people, or as JSON.
pub fn print_versions(versions: &Versions, json: bool) -> Result<(), String> {
    if json {
        return print_json(versions);
    }
    let session = &versions.session;
    let items = items(session);
    let items = items.map_or("damaged: restore a version".to_owned(), |items| items.to_string());
    let by = session.changed_by.as_deref();
    let by = by.map_or(String::new(), |user| format!(" by {}", printable(user)));
    let about = [
        ("session", printable(&session.session_id)),
        ("epoch", printable(&session.epoch)),
        ("seq", session.seq.to_string()),
        ("created", session.created_at.as_deref().map_or("-".into(), printable)),
        ("last change", format!("{}{by}", moment(session.changed_at.as_deref()))),
        ("items", items),
        ("changes stored", session.changes.to_string()),
        ("size", size(session.bytes)),
        ("versions", session.versions.to_string()),
    ];
    let mut text = table(about.map(|(what, value)| [what.to_owned(), value]));
    if !versions.versions.is_empty() {
        let is_stored = versions.versions.iter().all(|version| version.items.is_none());
        let head = match is_stored {
            true => ["SEQ", "TIME", "WHO", "WHY", "BYTES"],
            false => ["SEQ", "TIME", "REPLACED BY", "WHY", "ITEMS"],
        };
        let rows = versions.versions.iter().map(|version| {
            [
                version.seq.to_string(),
                printable(&version.at),
                version.user_id.as_deref().map_or("-".into(), printable),
                printable(&version.why),
                version.items.map_or(version.bytes.to_string(), |items| items.to_string()),
            ]
        });
        text.push('\n');
        text.push_str(&table([head.map(str::to_owned)].into_iter().chain(rows)));
    }
    tell(&text)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let mut json = serde_json::to_vec(value).map_err(|error| format!("can't print it: {error}"))?;
    json.push(b'\n');
    print(&json)
}

/// How many items are on its canvas; `None` where it can't be read.
fn items(session: &About) -> Option<usize> {
    session.items.flatten()
}

/// A moment for a person, or that there was none.
fn moment(at: Option<&str>) -> String {
    at.map_or("never".into(), printable)
}

/// A canvas as an editor would save it.
pub fn export(
    directory: &Path,
    session: &str,
    at: Option<PointInTime>,
    out: Option<&OutFile>,
) -> Result<(), String> {
    let reader = Reader::open(directory)?;
    let stored = stored(&reader, directory, session, at)?;
    let mut json = Vec::new();
    document(session, &stored)?.write_file(&mut json, Timestamp::now());
    json.push(b'\n');
    write_canvas(&json, out)
}

/// To a file, or to stdout where none is named.
pub fn write_canvas(json: &[u8], out: Option<&OutFile>) -> Result<(), String> {
    match out {
        None => print(json),
        Some(file) => write_file(file, |writer| {
            writer.write_all(json).map_err(|error| format!("{}: {error}", file.path.display()))
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
        "{} is a copy of the sessions in {}: to use it, stop the server, move its directory away, and \
         put the copy as collabd.db into a new, empty one\n",
        to.display(),
        directory.display()
    );
    tell(&text)
}
