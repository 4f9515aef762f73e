//! What changes a data directory that no server uses: it is held as a server would hold it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{described, document, size, stored, told, unknown};
use crate::archive::compact::Compaction;
use crate::archive::{BY, over_damaged};
use crate::commands::table::tell;
use crate::hub::{
    ConnId, Document, DocumentBounds, Effect, Event, HistoryBounds, Hub, Limits, NotLoaded, Now,
    Past,
};
use crate::kept::{Keep, Reach};
use crate::protocol::inbound::State;
use crate::protocol::{Timestamp, UserId};
use crate::store::{PointInTime, Reader, Retention, Store, StoreError};

/// Nobody is there to catch up.
const NO_HISTORY: HistoryBounds = HistoryBounds { changes: 0, bytes: 0 };
const UNBOUNDED: DocumentBounds = DocumentBounds { item: usize::MAX, document: usize::MAX };

/// Makes a session of a canvas as an editor saves it, or puts it in the place of a session's own.
pub fn import(
    directory: &Path,
    session: &str,
    file: &Path,
    replace: bool,
    bounds: DocumentBounds,
) -> Result<(), String> {
    let state = described::parse_canvas(file, &described::read_canvas(file)?)?;
    // The file has these, too: what there is of them stays as it is.
    let (left_out, renamed) = (state.left_out.clone(), state.renamed.clone());
    let mut store = Store::open(directory)?;
    if store.names().any(|name| **name == *session) && !replace {
        return Err(described::exists(session));
    }
    let items = state.items.len();
    store.begin_use(session).map_err(told(directory))?;
    let seq = put(&mut store, directory, session, state, bounds)?;
    store.close().map_err(told(directory))?;
    say(&described::imported(session, file, items, seq, &left_out, &renamed))
}

/// Puts a session back to what it was.
pub fn restore(directory: &Path, session: &str, to: PointInTime) -> Result<(), String> {
    let mut store = Store::open_existing(directory)?;
    let reader = Reader::open(directory)?;
    let earlier = stored(&reader, directory, session, Some(to))?;
    let (from, earlier) = (earlier.seq, document(session, &earlier)?);
    let items = earlier.items().count();
    let can_be_read = match store.load(session, Reach { changes: 0, bytes: 0 }) {
        Ok(now) => now.is_some_and(|now| Past::of(now, NO_HISTORY).is_ok()),
        Err(StoreError::SessionCorrupt(_)) => false,
        Err(trouble) => return Err(told(directory)(trouble)),
    };
    store.begin_use(session).map_err(told(directory))?;
    let seq = match can_be_read {
        true => put(&mut store, directory, session, earlier.into_state(), UNBOUNDED)?,
        false => put_over_damaged(&mut store, &reader, directory, session, earlier)?,
    };
    drop(reader);
    store.close().map_err(told(directory))?;
    say(&described::restored(session, from, items, seq, can_be_read))
}

/// Removes a session for good.
pub fn delete(directory: &Path, session: &str) -> Result<(), String> {
    let mut store = Store::open_existing(directory)?;
    if !store.delete(session).map_err(told(directory))? {
        return Err(unknown(directory, session));
    }
    store.close().map_err(told(directory))?;
    say(&described::deleted(session, "collabd sessions compact"))
}

/// Has sessions opened without replaying anything, removes what is not to be kept, and gives the
/// room back to the file system.
pub fn compact(
    directory: &Path,
    session: Option<&str>,
    retention: Retention,
) -> Result<(), String> {
    let told = told(directory);
    let mut store = Store::open_existing(directory)?;
    let compaction = Compaction::begin(&mut store, session, retention);
    let mut compaction =
        compaction.ok_or_else(|| unknown(directory, session.unwrap_or_default()))?;
    let done = loop {
        if let Some(done) = compaction.go_on(&mut store).map_err(&told)? {
            break done;
        }
    };
    let file = store.file();
    store.close().map_err(&told)?;
    let after = fs::metadata(&file).map_or(done.after, |found| found.len());
    say(&format!(
        "{} of {} sessions are compact; the file had {} and has {}",
        done.sessions - done.damaged.len(),
        done.sessions,
        size(done.before),
        size(after)
    ))?;
    match done.damaged.first() {
        None => Ok(()),
        Some((name, why)) => Err(format!(
            "session {name:?} is left as it is: {why}: restore it to one of the versions that \
             collabd sessions show lists"
        )),
    }
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
        documents_memory: 0,
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
                    crate::hub::Refusal::TooBig(why) => format!(
                        "the canvas is too large: {why}; --max-document-bytes and \
                         --max-message-bytes allow more"
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
    document: Document,
) -> Result<u64, String> {
    let keep = over_damaged(super::summary(reader, directory, session)?, document);
    store.commit([&keep]).map_err(told(directory))?;
    Ok(keep.seq())
}

fn say(line: &str) -> Result<(), String> {
    tell(&format!("{line}\n"))
}
