//! The tombstones of a document: the items that were removed, by whom, and what they were last. Bounded in number,
//! and in the bytes of those items; the oldest are dropped first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::old_values::OldValues;
use crate::protocol::UserId;

/// How many tombstones a document has at most.
const MAX_TOMBSTONES: usize = 10_000;
/// How many users a tombstone names at most, those who removed the item first.
const MAX_REMOVERS: usize = 64;
/// How many bytes of JSON all removed items may have that are kept to be brought back. An item of the editor has
/// one to five thousand.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// The tombstones of a document, by id and by age.
#[derive(Debug, Default)]
pub struct Tombstones {
    by_id: HashMap<Arc<str>, Tombstone>,
    order: BTreeMap<u64, Arc<str>>,
    count: u64,
    /// The bytes of all [`Tombstone::item`].
    bytes: usize,
    /// No tombstone at a lower place has its item.
    first_kept: u64,
}

/// What is remembered of a removed item.
#[derive(Debug)]
pub struct Tombstone {
    /// The users who removed it, in order.
    pub users: Vec<UserId>,
    /// The session's tick at which it was removed; 0 if it was loaded.
    pub tick: u64,
    /// Marks of the values that a copy may show.
    pub last: OldValues,
    /// The item as it was, as JSON; `None` if it isn't kept.
    pub item: Option<Box<str>>,
    place: u64,
}

impl Tombstone {
    /// Whether this user removed it.
    pub fn is_by(&self, user: &UserId) -> bool {
        self.users.contains(user)
    }
}

impl Tombstones {
    /// The tombstone of an item.
    pub fn get(&self, id: &str) -> Option<&Tombstone> {
        self.by_id.get(id)
    }

    /// The number of tombstones.
    pub fn len(&self) -> usize {
        self.order.len().max(self.by_id.len())
    }

    /// The memory of the removed items that are kept, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the removed items that are kept; the tombstones stay.
    pub fn forget_items(&mut self) {
        self.by_id.values_mut().for_each(|stone| stone.item = None);
        self.bytes = 0;
    }

    #[cfg(test)]
    fn computed_bytes(&self) -> usize {
        self.by_id.values().filter_map(|stone| stone.item.as_ref()).map(|item| item.len()).sum()
    }

    /// All tombstones, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Tombstone)> {
        self.order.values().filter_map(|id| Some((id, self.get(id)?)))
    }

    /// Adds the tombstone of an item, in the place of an older one. Drops the oldest if there are too many.
    /// `item` is the item as it was, as JSON, if that is known; it is kept as long as there is room.
    pub fn add(
        &mut self,
        id: Arc<str>,
        users: Vec<UserId>,
        tick: u64,
        last: OldValues,
        item: Option<Box<str>>,
    ) {
        self.remove(&id);
        self.count += 1;
        self.order.insert(self.count, id.clone());
        let item = item.filter(|item| item.len() <= MAX_KEPT_BYTES);
        self.bytes += item.as_ref().map_or(0, |item| item.len());
        self.by_id.insert(id, Tombstone { users, tick, last, item, place: self.count });
        while self.bytes > MAX_KEPT_BYTES {
            self.drop_oldest_item();
        }
        if self.by_id.len() > MAX_TOMBSTONES
            && let Some(oldest) = self.order.first_key_value().map(|(_, id)| id.clone())
        {
            self.remove(&oldest);
        }
    }

    /// Drops the oldest item that is kept; its tombstone stays.
    fn drop_oldest_item(&mut self) {
        let Some((&place, id)) = self.order.range(self.first_kept..).next() else { return };
        if let Some(item) = self.by_id.get_mut(id).and_then(|stone| stone.item.take()) {
            self.bytes -= item.len();
        }
        self.first_kept = place + 1;
    }

    /// Records that one more user removed the item before it learned that it was gone. `true` if that changes the
    /// tombstone.
    pub fn add_remover(&mut self, id: &str, user: &UserId) -> bool {
        let Some(tombstone) = self.by_id.get_mut(id) else { return false };
        let is_news = !tombstone.is_by(user) && tombstone.users.len() < MAX_REMOVERS;
        if is_news {
            tombstone.users.push(user.clone());
        }
        is_news
    }

    /// Records that a copy of the removed item shows this value.
    pub fn add_value(&mut self, id: &str, key: &str, print: u64) {
        if let Some(tombstone) = self.by_id.get_mut(id) {
            tombstone.last.remember_at_rest(key, print);
        }
    }

    /// Drops the tombstone of an item that was added again.
    pub fn remove(&mut self, id: &str) {
        if let Some(tombstone) = self.by_id.remove(id) {
            self.order.remove(&tombstone.place);
            self.bytes -= tombstone.item.map_or(0, |item| item.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_one_that_came_back_takes_no_room() {
        let mut removed = Tombstones::default();
        for n in 0..MAX_TOMBSTONES {
            removed.add(n.to_string().into(), vec!["alice".into()], 1, OldValues::default(), None);
        }
        for _ in 0..3 {
            removed.remove("5");
            removed.add("5".into(), vec!["bob".into()], 2, OldValues::default(), None);
        }
        assert!(removed.get("0").is_some(), "nothing had to be forgotten yet");
        removed.add("one more".into(), vec!["bob".into()], 3, OldValues::default(), None);
        assert!(removed.get("0").is_none() && removed.get("1").is_some());
        assert_eq!(removed.iter().count(), MAX_TOMBSTONES);
        let newest: Vec<&str> =
            removed.iter().skip(MAX_TOMBSTONES - 3).map(|(id, _)| &**id).collect();
        assert_eq!(newest, ["9999", "5", "one more"]);
    }

    #[test]
    fn everybody_who_removed_it_is_named_once() {
        let mut removed = Tombstones::default();
        removed.add("a".into(), vec!["alice".into()], 1, OldValues::default(), None);
        for (user, is_news) in [("bob", true), ("bob", false), ("alice", false)] {
            assert_eq!(removed.add_remover("a", &user.into()), is_news);
        }
        let tombstone = removed.get("a").expect("it is remembered");
        assert!(tombstone.is_by(&"alice".into()) && tombstone.is_by(&"bob".into()));
        assert!(!tombstone.is_by(&"carol".into()) && !removed.add_remover("b", &"bob".into()));
    }
    #[test]
    fn the_newest_items_are_kept_within_a_bound() {
        let item = |letter: &str, bytes: usize| Some(Box::<str>::from(letter.repeat(bytes)));
        let mut removed = Tombstones::default();
        let mut add = |id: &str, item: Option<Box<str>>| {
            removed.add(id.into(), vec!["alice".into()], 1, OldValues::default(), item);
            assert_eq!(removed.bytes(), removed.computed_bytes());
            let kept = removed.iter().filter(|(_, stone)| stone.item.is_some());
            kept.map(|(id, _)| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(add("a", item("a", MAX_KEPT_BYTES / 2)), ["a"]);
        assert_eq!(add("b", item("b", MAX_KEPT_BYTES / 2)), ["a", "b"]);
        assert_eq!(add("c", item("c", 1)), ["b", "c"]);
        assert_eq!(add("d", item("d", MAX_KEPT_BYTES + 1)), ["b", "c"], "it is too large");
        assert_eq!(add("b", item("b", 2)), ["c", "b"], "removed a second time");
        assert_eq!(add("e", None), ["c", "b"]);
        assert_eq!(add("f", item("f", MAX_KEPT_BYTES)), ["f"]);
        removed.remove("f");
        assert_eq!((removed.bytes(), removed.len()), (0, 5));
        removed.add("g".into(), vec!["alice".into()], 1, OldValues::default(), item("g", 9));
        assert_eq!(removed.bytes(), 9);
        removed.forget_items();
        assert_eq!((removed.bytes(), removed.computed_bytes(), removed.len()), (0, 0, 6));
    }
}
