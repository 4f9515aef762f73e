//! The items that were removed, and by whom; the oldest are forgotten first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::protocol::UserId;

/// How many are remembered, the most recent ones.
const MOST: usize = 10_000;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Removed {
    by: HashMap<Arc<str>, (UserId, u64)>,
    order: BTreeMap<u64, Arc<str>>,
    count: u64,
}

impl Removed {
    /// Who removed it, if it is remembered.
    pub fn by(&self, id: &str) -> Option<&UserId> {
        self.by.get(id).map(|(user, _)| user)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.order.len().max(self.by.len())
    }

    /// All that are remembered, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &UserId)> {
        self.order.values().filter_map(|id| Some((id, self.by(id)?)))
    }

    /// Notes that an item was removed just now.
    pub fn remember(&mut self, id: Arc<str>, user: UserId) {
        self.forget(&id);
        self.count += 1;
        self.order.insert(self.count, id.clone());
        self.by.insert(id, (user, self.count));
        if self.by.len() > MOST
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by.remove(&oldest);
        }
    }

    /// The item is there again. Whether it was remembered.
    pub fn forget(&mut self, id: &str) -> bool {
        let known = self.by.remove(id);
        known.is_some_and(|(_, count)| self.order.remove(&count).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_one_that_came_back_takes_no_room() {
        let mut removed = Removed::default();
        for n in 0..MOST {
            removed.remember(n.to_string().into(), "alice".into());
        }
        for _ in 0..3 {
            assert!(removed.forget("5"));
            removed.remember("5".into(), "bob".into());
        }
        assert!(removed.by("0").is_some(), "nothing had to be forgotten yet");
        removed.remember("one more".into(), "bob".into());
        assert_eq!((removed.by("0"), removed.by("1").is_some()), (None, true));
        assert_eq!(removed.iter().count(), MOST);
        let newest: Vec<&str> = removed.iter().skip(MOST - 3).map(|(id, _)| &**id).collect();
        assert_eq!(newest, ["9999", "5", "one more"]);
        assert!(!removed.forget("0"));
    }
}
