//! What changes a data directory that no server uses: it is held as a server would hold it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{document, size, stored, told, unknown};
use crate::commands::table::print;
use crate::hub::{
    ConnId, Document, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits, NotLoaded, Now,
    Past,
};
use crate::kept::{Keep, Reach, Why};
use crate::protocol::inbound::State;
use crate::protocol::{Timestamp, UserId};
use crate::store::{Point, Reader, Retention, Store, Trouble};

/// Who is said to have made the change.
const BY: &str = "collabd";
/// Nobody is there to catch up.
const NO_HISTORY: HistoryBounds = HistoryBounds { changes: 0, bytes: 0 };
const UNBOUNDED: DocumentBounds = DocumentBounds { item: usize::MAX, document: usize::MAX };
/// How much is removed at a time.
const ROWS: usize = 10_000;
const PAGES: u32 = 10_000;

/// Makes a session of a canvas as an editor saves it, or puts it in the place of a session's own.
pub fn import(
    directory: &Path,
    session: &str,
    file: &Path,
    replace: bool,
    bounds: DocumentBounds,
) -> Result<(), String> {
    let shown = file.display();
    let bytes = fs::read(file).map_err(|error| {
        format!("can't read {shown}: {error}: name a file that an editor saved")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is no canvas: not UTF-8"))?;
    let state = State::parse(text.trim_start_matches('\u{feff}')).map_err(|why| {
        format!(
            "{shown} is no canvas: {why}: it has to be like {{\"items\":[…],\"version\":1,\
             \"timestamp\":…}}"
        )
    })?;
    let mut store = Store::open(directory)?;
    if store.names().any(|name| **name == *session) && !replace {
        return Err(format!(
            "there is a session {session:?} already: with --replace the canvas takes its place, \
             and what was there stays as a version"
        ));
    }
    let items = state.items.len();
    let seq = put(&mut store, directory, session, state, bounds)?;
    store.close().map_err(told(directory))?;
    say(&format!("{session:?} has {items} items from {shown} as of change {seq}"))
}

/// Puts a session back to what it was.
pub fn restore(directory: &Path, session: &str, to: Point) -> Result<(), String> {
    let mut store = Store::open_again(directory)?;
    let reader = Reader::open(directory)?;
    let earlier = stored(&reader, directory, session, Some(to))?;
    let (from, earlier) = (earlier.seq, document(session, &earlier)?);
    let items = earlier.items().count();
    let can_be_read = match store.load(session, Reach { changes: 0, bytes: 0 }) {
        Ok(now) => now.is_some_and(|now| Past::of(now, NO_HISTORY).is_ok()),
        Err(Trouble::Damaged(_)) => false,
        Err(trouble) => return Err(told(directory)(trouble)),
    };
    let (seq, before) = match can_be_read {
        true => {
            let state = earlier.into_state();
            let seq = put(&mut store, directory, session, state, UNBOUNDED)?;
            (seq, "what it was before is a version")
        }
        false => {
            let seq = put_over_damaged(&mut store, &reader, directory, session, earlier)?;
            (seq, "what it was before could not be read")
        }
    };
    drop(reader);
    store.close().map_err(told(directory))?;
    say(&format!(
        "{session:?} is what it was after change {from}, with {items} items; that is change {seq}, \
         and {before}"
    ))
}

/// Removes a session for good.
pub fn delete(directory: &Path, session: &str) -> Result<(), String> {
    let mut store = Store::open_again(directory)?;
    if !store.delete(session).map_err(told(directory))? {
        return Err(unknown(directory, session));
    }
    store.close().map_err(told(directory))?;
    say(&format!(
        "{session:?} and all its versions are gone; collabd sessions compact gives the room back"
    ))
}

/// Has sessions opened without replaying anything, removes what is not to be kept, and gives the
/// room back to the file system.
pub fn compact(
    directory: &Path,
    session: Option<&str>,
    retention: &Retention,
) -> Result<(), String> {
    let told = told(directory);
    let mut store = Store::open_again(directory)?;
    let file = store.file();
    let length = || fs::metadata(&file).map_or(0, |found| found.len());
    let names: Vec<Arc<str>> = match session {
        None => store.names().cloned().collect(),
        Some(session) => {
            let name = store.names().find(|name| ***name == *session).cloned();
            vec![name.ok_or_else(|| unknown(directory, session))?]
        }
    };
    // What is left of an earlier run's journal belongs to the file.
    let before = length();
    let mut damaged = Vec::new();
    for name in &names {
        match keep_whole(&mut store, name) {
            Ok(()) => {}
            Err(Trouble::Damaged(why)) => {
                damaged.push(format!("session {name:?} is left as it is: {why}"));
                continue;
            }
            Err(trouble) => return Err(told(trouble)),
        }
        while store.prune(name, retention, Timestamp::now(), ROWS).map_err(&told)? {}
    }
    while store.shrink(PAGES).map_err(&told)? {}
    store.close().map_err(&told)?;
    say(&format!(
        "{} of {} sessions are compact; the file had {} and has {}",
        names.len() - damaged.len(),
        names.len(),
        size(before),
        size(length())
    ))?;
    match damaged.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "{first}: restore it to one of the versions that collabd sessions show lists"
        )),
    }
}

/// Stores the whole document, if there are changes after the one that is stored.
fn keep_whole(store: &mut Store, session: &Arc<str>) -> Result<(), Trouble> {
    let Some(stored) = store.load(session, Reach { changes: 0, bytes: 0 })? else { return Ok(()) };
    let Some(last) = stored.changes.last() else { return Ok(()) };
    let at = last.at;
    let document = document(session, &stored).map_err(Trouble::Damaged)?.to_stored();
    let keep = Keep::Whole {
        session: session.clone(),
        epoch: stored.epoch,
        seq: stored.seq,
        at,
        user: None,
        document,
        frames: Vec::new(),
        id: None,
        why: Why::Regular,
    };
    store.commit([&keep]).map(|_| ())
}

/// Puts a canvas in the place of a session's document just as a server would, which makes a version
/// of what was there. As which change.
fn put(
    store: &mut Store,
    directory: &Path,
    session: &str,
    state: State,
    bounds: DocumentBounds,
) -> Result<u64, String> {
    let limits = Limits {
        linger: Duration::ZERO,
        max_sessions: 0,
        max_channels: 0,
        document: bounds,
        history: NO_HISTORY,
        settle: false,
        durable: true,
    };
    let seed =
        getrandom::u64().map_err(|error| format!("the system has no randomness: {error}"))?;
    let mut hub = Hub::new(limits, seed).with_stored(store.names().cloned());
    let now = Now { elapsed: Duration::ZERO, wall: Timestamp::now() };
    let (name, by): (Arc<str>, UserId) = (session.into(), BY.into());
    let conn = ConnId(0);
    let mut effects = Vec::new();
    let restore = Event::Restore { conn, session: name.clone(), state: Box::new(state), by };
    hub.handle(restore, now, &mut effects);
    if effects.iter().any(|effect| matches!(effect, Effect::Load { .. })) {
        let stored =
            store.load(session, Reach { changes: 0, bytes: 0 }).map_err(told(directory))?;
        let past = stored.map(|stored| Past::of(stored, NO_HISTORY).map(Box::new)).transpose();
        let past = past.map_err(|_| NotLoaded);
        hub.handle(Event::Loaded { session: name, past }, now, &mut effects);
    }
    let mut keeps = Vec::new();
    for effect in effects {
        match effect {
            Effect::Keep(keep) => keeps.push(*keep),
            Effect::Refuse { why, .. } => {
                return Err(match why {
                    crate::hub::Refusal::TooBig => format!(
                        "the canvas is larger than a session may be ({}), or one of its items is: \
                         --max-document-bytes and --max-message-bytes allow more",
                        size(bounds.document as u64)
                    ),
                    _ => format!(
                        "session {session:?} is damaged: restore it to one of the versions that \
                         collabd sessions show lists"
                    ),
                });
            }
            _ => {}
        }
    }
    let seq = keeps.last().map_or(0, Keep::seq);
    store.commit(&keeps).map_err(told(directory))?;
    Ok(seq)
}

/// The same where what is there can't be read: the document takes its place as it is.
fn put_over_damaged(
    store: &mut Store,
    reader: &Reader,
    directory: &Path,
    session: &str,
    mut document: Document,
) -> Result<u64, String> {
    let now = super::summary(reader, directory, session)?;
    document.advance(document.version() + 1);
    let seq = now.seq + 1;
    let keep = Keep::Whole {
        session: now.name,
        epoch: now.epoch,
        seq,
        at: Timestamp::now(),
        user: Some(BY.into()),
        document: document.to_stored(),
        frames: Vec::new(),
        id: None,
        why: Why::Restored,
    };
    store.commit([&keep]).map_err(told(directory))?;
    Ok(seq)
}

fn say(line: &str) -> Result<(), String> {
    print(format!("{line}\n").as_bytes())
}
