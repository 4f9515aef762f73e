//! What `sessions` prints, in the same words whether a directory or a running server is asked.

use std::io::Write as _;
use std::path::Path;

use crate::archive::{Listing, SessionInfo, Versions};
use crate::commands::archive::ChangeResult;
use crate::commands::table::{print, printable, table, tell};
use crate::commands::whole_file::{OutFile, write_file};
use crate::protocol::inbound::{LeftOut, Renamed};

/// How many items of a file that could not be taken are named.
const MAX_LEFT_OUT_LINES: usize = 20;

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
fn items(session: &SessionInfo) -> Option<usize> {
    session.items.flatten()
}

/// A moment for a person, or that there was none.
fn moment(at: Option<&str>) -> String {
    at.map_or("never".into(), printable)
}

/// Writes a canvas to a file, or to stdout where none is named.
pub fn write_canvas(json: &[u8], out: Option<&OutFile>) -> Result<(), String> {
    match out {
        None => print(json),
        Some(file) => write_file(file, |writer| {
            writer.write_all(json).map_err(|error| format!("{}: {error}", file.path.display()))
        }),
    }
}

/// What an import has done.
pub fn imported(
    session: &str,
    file: &Path,
    done: &ChangeResult,
    left_out: &[LeftOut],
    renamed: &[Renamed],
) -> String {
    let ChangeResult { seq, items, .. } = done;
    let s = if *items == 1 { "" } else { "s" };
    let mut lines =
        format!("{session:?} has {items} item{s} from {} as of change {seq}", file.display());
    for LeftOut { id, why } in left_out.iter().take(MAX_LEFT_OUT_LINES) {
        let item = id.as_ref().map_or("an item without an id".into(), |id| format!("item {id:?}"));
        lines.push_str(&format!("\n{item} was left out: {why}"));
    }
    if let Some(more @ 1..) = left_out.len().checked_sub(MAX_LEFT_OUT_LINES) {
        lines.push_str(&format!("\n{more} more were left out"));
    }
    for Renamed { id, new } in renamed.iter().take(MAX_LEFT_OUT_LINES) {
        lines.push_str(&format!("\nseveral items are called {id:?}: one of them is now {new:?}"));
    }
    if let Some(more @ 1..) = renamed.len().checked_sub(MAX_LEFT_OUT_LINES) {
        lines.push_str(&format!("\n{more} more have another id now"));
    }
    lines
}

/// What a restore has done.
pub fn restored(session: &str, done: &ChangeResult) -> String {
    let ChangeResult { seq, items, restored_to, was_damaged } = done;
    let before = match was_damaged {
        false => "what it was before is a version",
        true => "what it was before could not be read",
    };
    format!(
        "{session:?} is what it was after change {restored_to}, with {items} items; that is change \
         {seq}, and {before}"
    )
}

/// A size for a person.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1 << 20)),
    }
}

/// Prints a line.
pub fn say(line: &str) -> Result<(), String> {
    tell(&format!("{line}\n"))
}
