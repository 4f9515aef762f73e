//! The lives of a session: from one start of the server to the next; and which catch-ups can be
//! served after a restart.
//!
//! What was relayed shortly before a crash may not have been on disk. Its numbers are then given once
//! more, to other changes, and somebody who saw the first ones must not be served what follows the
//! second ones. Nothing in `sync:request` tells the two apart. But whoever comes from an earlier life
//! says the number it had there first of all, and again until it has got something newer. So a number
//! is believed to be of the life in which it was given in the end if its user has asked for something
//! else in that life before.
//!
//! What is needed for that is kept with the ids that were taken ([`Keep::Taken`]), as lists, which no
//! id of a client's is: the server's own, `[]`, where a life begins, and `[75]` or `[null]` for what a
//! user asked for first in it.
//!
//! [`Keep::Taken`]: crate::kept::Keep::Taken

use std::collections::HashMap;

use crate::kept::StoredId;
use crate::protocol::UserId;

/// How many users a life tells apart; of all others nothing is believed that may be of an earlier one.
const MOST: usize = 10_000;

/// See the module's text. Empty where a session was never resumed.
#[derive(Debug, Default)]
pub struct Lives(Vec<Life>);

#[derive(Debug)]
struct Life {
    /// The change after which it began.
    after: u64,
    /// What each user asked for first; `None` for a state.
    first: HashMap<UserId, Option<u64>>,
}

impl Lives {
    /// Takes note of what was kept. Whether it was something about lives.
    pub fn remember(&mut self, kept: &StoredId) -> bool {
        let Ok(list) = serde_json::from_str::<Vec<Option<u64>>>(&kept.id) else { return false };
        match (list.first(), self.0.last_mut()) {
            (None, _) => self.0.push(Life { after: kept.seq, first: HashMap::new() }),
            (Some(first), Some(life)) => drop(life.first.insert(kept.user.clone(), *first)),
            // Its beginning is longer ago than the history reaches back.
            (Some(_), None) => {}
        }
        true
    }

    /// Another life begins after change `seq`.
    pub fn begin(&mut self, seq: u64) {
        self.0.push(Life { after: seq, first: HashMap::new() });
    }

    /// What is to be kept of the beginning of this life, and as of which change.
    pub fn beginning(&self) -> Option<(u64, Box<str>)> {
        self.0.last().map(|life| (life.after, "[]".into()))
    }

    /// A user asks for what followed `since`, or for a state. What is to be kept of that.
    pub fn meet(&mut self, user: &UserId, since: Option<u64>) -> Option<Box<str>> {
        let life = self.0.last_mut()?;
        if life.first.len() >= MOST || life.first.contains_key(user) {
            return None;
        }
        life.first.insert(user.clone(), since);
        let since = since.map_or("null".to_owned(), |since| since.to_string());
        Some(format!("[{since}]").into())
    }

    /// Whether the change that a user saw last is for sure the one that has its number now.
    pub fn trust(&self, user: &UserId, since: u64) -> bool {
        let given_in = self.0.iter().rfind(|life| life.after < since);
        given_in.is_none_or(|life| life.first.get(user).is_some_and(|first| *first != Some(since)))
    }

    /// Whether a change's number was given once only, whoever asks.
    pub fn is_beyond_doubt(&self, since: u64) -> bool {
        !self.0.iter().any(|life| life.after < since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a user who asks for what followed `since` gets it; what was to be kept is.
    fn asks(lives: &mut Lives, kept: &mut Vec<StoredId>, user: &str, since: Option<u64>) -> bool {
        let user: UserId = user.into();
        let seq = lives.0.last().map_or(0, |life| life.after);
        if let Some(id) = lives.meet(&user, since) {
            kept.push(StoredId { seq, user: user.clone(), id });
        }
        since.is_some_and(|since| lives.trust(&user, since))
    }

    fn resume(kept: &mut Vec<StoredId>, seq: u64) -> Lives {
        let mut lives = Lives::default();
        assert!(kept.iter().all(|id| lives.remember(id)));
        lives.begin(seq);
        let (seq, id) = lives.beginning().expect("it has just begun");
        kept.push(StoredId { seq, user: "".into(), id });
        lives
    }

    #[test]
    fn what_may_be_of_an_earlier_life_is_not_believed_until_the_user_has_moved_on() {
        let mut kept = Vec::new();
        let lives = &mut resume(&mut kept, 8);
        assert!(!asks(lives, &mut kept, "alice", Some(10)));
        assert!(!asks(lives, &mut kept, "alice", Some(10)), "the state may not have arrived");
        assert!(asks(lives, &mut kept, "alice", Some(12)));
        assert!(asks(lives, &mut kept, "bob", Some(8)));
        assert!(asks(lives, &mut kept, "bob", Some(9)));
        assert!(!asks(lives, &mut kept, "carol", None));
        assert!(asks(lives, &mut kept, "carol", Some(9)));
    }

    #[test]
    fn who_missed_a_whole_life_is_not_believed_in_the_next() {
        let mut kept = Vec::new();
        let lives = &mut resume(&mut kept, 8);
        asks(lives, &mut kept, "alice", Some(10));
        asks(lives, &mut kept, "bob", Some(7));
        let lives = &mut resume(&mut kept, 20);
        assert!(asks(lives, &mut kept, "bob", Some(19)), "it was there");
        assert!(!asks(lives, &mut kept, "carol", Some(10)), "nobody saw her there");
        assert!(asks(lives, &mut kept, "carol", Some(8)));
        assert!(!asks(lives, &mut kept, "alice", Some(10)));
        assert!(asks(lives, &mut kept, "alice", Some(12)));
        assert!(!asks(lives, &mut kept, "dora", Some(21)));
        assert!(lives.is_beyond_doubt(8) && !lives.is_beyond_doubt(9));
    }

    #[test]
    fn two_lives_can_begin_after_one_change() {
        let mut kept = Vec::new();
        let lives = &mut resume(&mut kept, 8);
        assert!(asks(lives, &mut kept, "alice", Some(8)));
        let lives = &mut resume(&mut kept, 8);
        assert!(!asks(lives, &mut kept, "alice", Some(9)), "that one was lost");
    }

    #[test]
    fn of_too_many_users_nothing_is_believed_that_may_be_of_an_earlier_life() {
        let mut kept = Vec::new();
        let lives = &mut resume(&mut kept, 8);
        for n in 0..MOST {
            asks(lives, &mut kept, &n.to_string(), None);
        }
        assert!(asks(lives, &mut kept, "late", Some(8)));
        assert!(!asks(lives, &mut kept, "late", Some(9)));
        assert!(!asks(lives, &mut kept, "late", Some(10)));
        assert!(asks(lives, &mut kept, "7", Some(9)));
    }

    #[test]
    fn a_clients_id_is_not_about_lives() {
        let mut lives = Lives::default();
        for id in ["7", "\"[]\"", "\"a\"", "-1e3"] {
            let kept = StoredId { seq: 8, user: "alice".into(), id: id.into() };
            assert!(!lives.remember(&kept), "{id}");
        }
        let kept = StoredId { seq: 8, user: "alice".into(), id: "[7]".into() };
        assert!(lives.remember(&kept) && lives.trust(&"alice".into(), 9), "it has no beginning");
    }
}
