//! Which catch-ups can be served after a restart.
//!
//! What was relayed shortly before a crash may not have been on disk. Numbers are then given once
//! more, to other changes, and somebody who saw the first ones must not be served what follows the
//! second ones. Nothing in `sync:request` tells the two apart; what else a user asks for does: whoever
//! comes from before the crash says the number it had then first of all, and says it again until it
//! has got a state.

use std::collections::HashMap;

use crate::protocol::UserId;

/// How many users are told apart; of all others nothing is believed that could be from before.
const MOST: usize = 10_000;

/// See the module's text.
#[derive(Debug)]
pub struct Resumed {
    /// The change after which the session went on.
    at: u64,
    /// What each user asked for first since then; `None` for a state.
    first: HashMap<UserId, Option<u64>>,
}

impl Resumed {
    /// A session goes on after change `seq`.
    pub fn after(seq: u64) -> Self {
        Resumed { at: seq, first: HashMap::new() }
    }

    /// A user asks for what followed `since`, or for a state. Whether what it knows is this session's
    /// for sure.
    pub fn knows(&mut self, user: &UserId, since: Option<u64>) -> bool {
        let first = self.first.get(user).copied();
        if first.is_none() && self.first.len() < MOST {
            self.first.insert(user.clone(), since);
        }
        match since {
            Some(since) if since > self.at => first.is_some_and(|first| first != Some(since)),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_from_before_is_not_believed_until_the_user_has_moved_on() {
        let mut resumed = Resumed::after(8);
        let [alice, bob, carol]: [UserId; 3] = ["alice".into(), "bob".into(), "carol".into()];
        assert!(!resumed.knows(&alice, Some(10)));
        assert!(!resumed.knows(&alice, Some(10)), "the state it was sent may not have arrived");
        assert!(resumed.knows(&alice, Some(12)));
        assert!(resumed.knows(&bob, Some(8)));
        assert!(resumed.knows(&bob, Some(9)));
        assert!(resumed.knows(&carol, None));
        assert!(resumed.knows(&carol, Some(9)));
    }

    #[test]
    fn of_too_many_users_nothing_is_believed_that_may_be_from_before() {
        let mut resumed = Resumed::after(8);
        for n in 0..MOST {
            resumed.knows(&n.to_string().into(), None);
        }
        let late: UserId = "late".into();
        assert!(resumed.knows(&late, Some(8)) && resumed.knows(&late, None));
        assert!(!resumed.knows(&late, Some(9)));
        assert!(resumed.knows(&"7".into(), Some(9)));
    }
}
