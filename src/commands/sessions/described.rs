//! What is said of sessions, in the same words whether a directory or a running server is asked.

use std::fs;
use std::path::Path;

use crate::protocol::inbound::{LeftOut, Renamed, State};
use crate::store::PointInTime;

/// How many items of a file that could not be taken are named.
const MAX_LEFT_OUT_LINES: usize = 20;

/// A moment or a change, as it is typed.
pub fn point(point: PointInTime) -> String {
    match point {
        PointInTime::Seq(seq) => seq.to_string(),
        PointInTime::Time(time) => time.to_string(),
    }
}

/// The text of a file that an editor saved.
///
/// # Errors
/// One line.
pub fn read_canvas(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let bytes = fs::read(file).map_err(|error| {
        format!("can't read {shown}: {error}: name a file that an editor saved")
    })?;
    String::from_utf8(bytes).map_err(|_| format!("{shown} is no canvas: not UTF-8"))
}

/// The canvas in it.
///
/// # Errors
/// One line, which repeats nothing of it.
pub fn parse_canvas(file: &Path, text: &str) -> Result<State, String> {
    State::parse(text.trim_start_matches('\u{feff}')).map_err(|why| {
        format!(
            "{} is no canvas: {why}: it has to be like {{\"items\":[…],\"version\":1,\
             \"timestamp\":…}}",
            file.display()
        )
    })
}

pub fn exists(session: &str) -> String {
    format!(
        "there is a session {session:?} already: with --replace the canvas takes its place, and \
         what was there stays as a version"
    )
}

pub fn imported(
    session: &str,
    file: &Path,
    items: usize,
    seq: u64,
    left_out: &[LeftOut],
    renamed: &[Renamed],
) -> String {
    let mut lines =
        format!("{session:?} has {items} items from {} as of change {seq}", file.display());
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

pub fn restored(session: &str, from: u64, items: usize, seq: u64, was_readable: bool) -> String {
    let before = match was_readable {
        true => "what it was before is a version",
        false => "what it was before could not be read",
    };
    format!(
        "{session:?} is what it was after change {from}, with {items} items; that is change {seq}, \
         and {before}"
    )
}

pub fn deleted(session: &str, compact: &str) -> String {
    format!("{session:?} and all its versions are gone; {compact} gives the room back")
}
