//! What is different where sessions survive: a store that commits late, a disk that fails now and
//! then, and a server that crashes.

use std::collections::BTreeMap;

use collabd::hub::{Document, LoadedSession, replay};
use collabd::journal::{JournalEntry, StoredSession};

use super::*;
use crate::journal::{Done, ModelStore};

/// How far back a session is loaded.
const REACH: usize = 50;

/// See the file's text.
#[derive(Debug, Default)]
pub struct Disk {
    store: ModelStore,
    /// When something is committed next.
    due: Option<Duration>,
    slowest: u64,
    fails: bool,
    /// It has failed for so long that something of what waited was dropped.
    has_dropped: bool,
    /// Something is restored once the session is loaded.
    restores_then: bool,
    /// The items of the document after each change, as they are stored.
    moments: BTreeMap<u64, Vec<String>>,
    /// The last change that somebody was told is safe.
    confirmed: u64,
    crashes: u64,
}

impl World {
    /// The same world with a store.
    pub fn with_disk(mut self) -> Self {
        let slowest = if self.random.chance(50) { 30 } else { 2000 };
        self.limits.durable = true;
        self.hub = Hub::new(self.limits.clone(), self.random.below(1 << 40));
        self.disk = Some(Disk { slowest, ..Disk::default() });
        // Somebody who changes nothing, and asks for what was missed instead of for everything.
        self.add_script("follower", Purpose::Follow, false);
        self
    }

    fn disk(&mut self) -> &mut Disk {
        self.disk.as_mut().expect("sessions survive here")
    }

    pub fn next_commit(&self) -> Option<Duration> {
        self.disk.as_ref()?.due.filter(|_| self.disk.as_ref().is_some_and(|disk| !disk.fails))
    }

    /// Something waits for the disk.
    fn schedule(&mut self) {
        let slowest = self.disk().slowest;
        let at = self.now + Duration::from_millis(self.random.below(slowest));
        self.disk().due.get_or_insert(at);
    }

    pub fn keep(&mut self, keep: JournalEntry) {
        self.disk().store.keep(keep);
        self.schedule();
    }

    pub fn load(&mut self, session: Arc<str>) {
        self.disk().store.load(session);
        self.schedule();
    }

    /// Holds a confirmation back; without a store it goes out at once.
    pub fn hold_back(&mut self, conn: ConnId, frame: Frame) -> Option<(ConnId, Frame)> {
        let Some(disk) = &mut self.disk else { return Some((conn, frame)) };
        disk.store.confirm(conn, frame);
        self.schedule();
        None
    }

    /// Commits some of what waits, if it is time.
    pub fn commit(&mut self) {
        if self.next_commit().is_none_or(|due| due > self.now) {
            return;
        }
        let most = 1 + self.random.below(20) as usize;
        let disk = self.disk();
        disk.due = None;
        let done = disk.store.commit(most, REACH);
        for done in done {
            match done {
                Done::Confirmed { conn, frame } => self.confirmed(conn, &frame),
                Done::Loaded { session, stored } => self.loaded(session, stored),
                Done::Renamed { .. } => unreachable!("nobody renames a session here"),
            }
        }
        for session in self.disk().store.wanted() {
            self.handle(Event::SnapshotRequested { session });
        }
        if self.disk().store.waiting() > 0 {
            self.schedule();
        }
    }

    fn confirmed(&mut self, conn: ConnId, frame: &Frame) {
        let message: Value = serde_json::from_slice(frame.payload()).expect("JSON");
        let (id, seq) = (message["id"].to_string(), message["seq"].as_u64().expect("a number"));
        let at = self.delay();
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let user = self.people[connection.person].user.clone();
        connection.down.send(at, Parcel::Down(Rc::new(message)));
        let disk = self.disk();
        disk.confirmed = disk.confirmed.max(seq);
        let kept = disk.store.kept(SESSION).expect("what is confirmed is stored");
        assert!(kept.seq >= seq, "{user} was told that {seq} is safe");
        // What was dropped is made up for by the whole document, and the ids follow it.
        assert!(disk.has_dropped || kept.has_taken(&user, &id), "{user}'s {id} is not stored");
    }

    fn loaded(&mut self, session: Arc<str>, stored: Option<StoredSession>) {
        self.log(|| format!("loaded as of {:?}", stored.as_ref().map(|stored| stored.seq)));
        let seq = stored.as_ref().map(|stored| stored.seq);
        let bounds = self.limits.history;
        let past =
            stored.map(|stored| LoadedSession::of(stored, bounds).expect("what a hub wanted kept"));
        let newest = self.disk().moments.last_key_value().map(|(seq, _)| *seq);
        self.handle(Event::Loaded { session, past: Ok(past.map(Box::new)) });
        if std::mem::take(&mut self.disk().restores_then) {
            self.note_restored();
        }
        // Unless somebody has waited to restore something.
        if self.disk().moments.last_key_value().map(|(seq, _)| *seq) == newest {
            let now = self.hub.document(SESSION).map(items_of);
            if let (Some(now), Some(seq)) = (now, seq) {
                assert_eq!(self.disk().moments.get(&seq), Some(&now), "{seq} was different");
            }
        }
    }

    /// What a document has become in one event that had this kept of it last.
    pub fn note_moment(&mut self, kept: Option<u64>) {
        let (Some(disk), Some(document)) = (&mut self.disk, self.hub.document(SESSION)) else {
            return;
        };
        self.events += 1;
        // It takes long: what should not have changed anything is looked at now and then.
        if kept.is_none() && !self.events.is_multiple_of(8) {
            return;
        }
        let items = items_of(document);
        match kept {
            None => {
                let last = disk.moments.last_key_value().map(|(_, items)| items);
                assert!(last.is_none_or(|last| *last == items), "changed and not kept");
            }
            Some(seq) => {
                let known = disk.moments.entry(seq).or_insert_with(|| items.clone());
                assert_eq!(*known, items, "changed without a number");
            }
        }
    }

    /// Something happens to the server. Whether it did.
    pub fn have_an_accident(&mut self) -> bool {
        if self.disk.is_none() {
            return false;
        }
        match self.random.below(100) {
            0..=1 => self.crash(),
            2 => self.fail(),
            3..=9 if self.disk().fails => self.work_again(),
            10..=11 => self.restore(),
            _ => return false,
        }
        true
    }

    fn fail(&mut self) {
        if !std::mem::replace(&mut self.disk().fails, true) {
            self.log(|| "the disk fails".into());
            self.handle(Event::Durable(false));
        }
    }

    pub fn work_again(&mut self) {
        if self.random.chance(50) {
            self.disk().store.drop_keeps();
            self.disk().has_dropped = true;
        }
        self.disk().fails = false;
        self.log(|| "the disk works again".into());
        self.handle(Event::Durable(true));
        self.schedule();
    }

    /// The power goes and comes back.
    fn crash(&mut self) {
        let disk = self.disk.as_mut().expect("sessions survive here");
        disk.store.crash();
        (disk.fails, disk.due, disk.restores_then) = (false, None, false);
        disk.crashes += 1;
        let kept = disk.store.kept(SESSION);
        let seq = kept.map_or(0, |kept| kept.seq);
        assert!(seq >= disk.confirmed, "{} was confirmed, {seq} is stored", disk.confirmed);
        drop(disk.moments.split_off(&(seq + 1)));
        if kept.is_none() {
            disk.moments.clear();
        }
        let knows =
            |user: &str, id: u64| kept.is_some_and(|kept| kept.has_taken(user, &id.to_string()));
        self.ledger.forget_after(seq, kept.map_or(0, |kept| kept.skipped), knows);
        self.seq = seq;
        self.members.clear();
        self.relayed.retain(|relayed, _| *relayed <= seq);
        let names: Vec<Arc<str>> = disk.store.names().collect();
        self.hub = Hub::new(self.limits.clone(), self.random.below(1 << 40)).with_stored(names);
        self.started = self.now;
        self.log(|| format!("the server crashes; {seq} is stored"));
        let conns: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in conns {
            let at = self.delay();
            let takes_with_it = self.random.chance(50);
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            connection.is_dead = true;
            connection.up.parcels.clear();
            if takes_with_it {
                connection.down.parcels.clear();
            }
            match connection.is_current {
                true => connection.down.send(at, Parcel::End),
                false => drop(self.connections.remove(&conn)),
            }
        }
    }

    /// Somebody brings back what was once.
    fn restore(&mut self) {
        let seqs: Vec<u64> = self.disk().moments.keys().copied().collect();
        let Some(&seq) = self.random.pick(&seqs) else { return };
        let Some(stored) = self.disk().store.kept(SESSION).and_then(|kept| kept.at(seq)) else {
            return;
        };
        self.log(|| format!("somebody restores {seq}"));
        let state = replay(&stored.document, &stored.changes).expect("it is stored").into_state();
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let (session, by) = (SESSION.into(), "operator".into());
        self.handle(Event::Restore { conn, session, state: Box::new(state), by });
        match self.hub.document(SESSION) {
            Some(_) => self.note_restored(),
            None => self.disk().restores_then = true,
        }
    }

    fn note_restored(&mut self) {
        let items: Vec<Value> = self.document().into_values().collect();
        self.ledger.replace(self.seq, self.now, "operator", &items.into());
    }

    /// Every document that can be brought back is what it was.
    pub fn check_the_past(&self) {
        let Some(disk) = &self.disk else { return };
        let Some(kept) = disk.store.kept(SESSION) else { return };
        for (seq, items) in disk.moments.range(..=kept.seq) {
            let Some(stored) = kept.at(*seq) else { continue };
            let document = replay(&stored.document, &stored.changes).expect("it is stored");
            assert_eq!(items_of(&document), *items, "{seq} was different");
        }
    }
}

/// What is on the canvas, to the letter. The order may change without a number: nobody sees it.
pub fn items_of(document: &Document) -> Vec<String> {
    let stored = String::from_utf8(document.to_stored()).expect("UTF-8");
    let (_, items) = stored.split_once("\"items\":[").expect("a stored document");
    let (items, _) = items.split_once("],\n\"users\":").expect("a stored document");
    let mut items: Vec<String> =
        items.split('\n').map(|item| item.trim_end_matches(',').to_owned()).collect();
    items.sort_unstable();
    items
}
