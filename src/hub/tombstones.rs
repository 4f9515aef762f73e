//! The tombstones of a document: the items that were removed, and by whom. Bounded in number; the oldest are
//! dropped first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::old_values::OldValues;
use crate::protocol::UserId;

/// How many tombstones a document has at most.
const MAX_TOMBSTONES: usize = 10_000;
/// How many users a tombstone names at most, those who removed the item first.
const MAX_REMOVERS: usize = 64;

/// The tombstones of a document, by id and by age.
#[derive(Debug, Default)]
pub struct Tombstones {
    by_id: HashMap<Arc<str>, Tombstone>,
    order: BTreeMap<u64, Arc<str>>,
    count: u64,
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

    /// All tombstones, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Tombstone)> {
        self.order.values().filter_map(|id| Some((id, self.get(id)?)))
    }

    /// Adds the tombstone of an item, in the place of an older one. Drops the oldest if there are too many.
    pub fn add(&mut self, id: Arc<str>, users: Vec<UserId>, tick: u64, last: OldValues) {
        self.remove(&id);
        self.count += 1;
        self.order.insert(self.count, id.clone());
        self.by_id.insert(id, Tombstone { users, tick, last, place: self.count });
        if self.by_id.len() > MAX_TOMBSTONES
            && let Some(oldest) = self.order.first_key_value().map(|(_, id)| id.clone())
        {
            self.remove(&oldest);
        }
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
            removed.add(n.to_string().into(), vec!["alice".into()], 1, OldValues::default());
        }
        for _ in 0..3 {
            removed.remove("5");
            removed.add("5".into(), vec!["bob".into()], 2, OldValues::default());
        }
        assert!(removed.get("0").is_some(), "nothing had to be forgotten yet");
        removed.add("one more".into(), vec!["bob".into()], 3, OldValues::default());
        assert!(removed.get("0").is_none() && removed.get("1").is_some());
        assert_eq!(removed.iter().count(), MAX_TOMBSTONES);
        let newest: Vec<&str> =
            removed.iter().skip(MAX_TOMBSTONES - 3).map(|(id, _)| &**id).collect();
        assert_eq!(newest, ["9999", "5", "one more"]);
    }

    #[test]
    fn everybody_who_removed_it_is_named_once() {
        let mut removed = Tombstones::default();
        removed.add("a".into(), vec!["alice".into()], 1, OldValues::default());
        for (user, is_news) in [("bob", true), ("bob", false), ("alice", false)] {
            assert_eq!(removed.add_remover("a", &user.into()), is_news);
        }
        let tombstone = removed.get("a").expect("it is remembered");
        assert!(tombstone.is_by(&"alice".into()) && tombstone.is_by(&"bob".into()));
        assert!(!tombstone.is_by(&"carol".into()) && !removed.add_remover("b", &"bob".into()));
    }
}
