//! Refused keys, counted by address. An address with too many is locked out for a while.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// This many refused keys lock an address …
pub const MAX_REFUSALS: usize = 10;
/// … when they come within this time, and until the first of them is this old.
const WINDOW: Duration = Duration::from_secs(60);
/// How many addresses are counted. One takes about 300 bytes.
const MAX_ADDRESSES: usize = 10_000;

/// The refused keys of the last minute, by address. Any thread may ask; it waits at most for
/// another thread's look-up.
///
/// At the bound of memory the address whose last refusal is oldest is forgotten. It can only gain
/// by that.
#[derive(Debug)]
pub struct Lockout {
    refusals: Mutex<Refusals>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Refusals {
    by_block: HashMap<AddressBlock, AddressRefusals>,
    /// The addresses by when their last key was refused, the oldest first.
    by_turn: BTreeMap<u64, AddressBlock>,
    turns: u64,
}

#[derive(Debug)]
struct AddressRefusals {
    /// When they were refused, in order, at most [`MAX_REFUSALS`].
    at: VecDeque<Instant>,
    /// The address's key in `by_turn`.
    turn: u64,
}

/// The unit that is counted: an IPv4 address, or with IPv6 a /64, all of which one client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AddressBlock {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl AddressBlock {
    fn new(addr: IpAddr) -> Self {
        // A socket for both families shows an IPv4 client as ::ffff:a.b.c.d.
        match addr.to_canonical() {
            IpAddr::V4(v4) => AddressBlock::V4(v4),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                AddressBlock::V6([a, b, c, d])
            }
        }
    }
}

impl Lockout {
    pub fn new() -> Self {
        Self::with_capacity(MAX_ADDRESSES)
    }

    fn with_capacity(capacity: usize) -> Self {
        Lockout { refusals: Mutex::default(), capacity }
    }

    /// True where so many keys of this address were refused that no further one is checked.
    pub fn is_locked(&self, addr: IpAddr, now: Instant) -> bool {
        self.lock()
            .by_block
            .get(&AddressBlock::new(addr))
            .is_some_and(|refused| refused.is_locked(now))
    }

    /// Counts a refused key and returns the count of the last minute: at [`MAX_REFUSALS`] the
    /// address is locked. Returns `None`, and counts nothing, where the address is locked already,
    /// so trying on doesn't prolong the lock. The caller must not say then whether the key was
    /// good: keys that are checked at the same moment would otherwise exceed the limit.
    pub fn count_refusal(&self, addr: IpAddr, now: Instant) -> Option<usize> {
        let source = AddressBlock::new(addr);
        let mut refusals = self.lock();
        let Refusals { by_block, by_turn, turns } = &mut *refusals;
        let refused = by_block.entry(source);
        let refused = refused.or_insert_with(|| AddressRefusals {
            at: VecDeque::with_capacity(MAX_REFUSALS),
            turn: 0,
        });
        if refused.is_locked(now) {
            return None;
        }
        if refused.at.len() == MAX_REFUSALS {
            refused.at.pop_front();
        }
        refused.at.push_back(now);
        let count = refused.at.iter().filter(|then| !is_over(**then, now)).count();
        *turns += 1;
        by_turn.remove(&std::mem::replace(&mut refused.turn, *turns));
        by_turn.insert(*turns, source);
        refusals.forget(now, self.capacity);
        Some(count)
    }

    fn lock(&self) -> MutexGuard<'_, Refusals> {
        // No code under this lock panics half-way.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Lockout {
    fn default() -> Self {
        Self::new()
    }
}

impl AddressRefusals {
    fn is_locked(&self, now: Instant) -> bool {
        self.at.len() == MAX_REFUSALS && self.at.front().is_some_and(|first| !is_over(*first, now))
    }
}

impl Refusals {
    /// Forgets addresses without a refusal in the last minute, and above `capacity` those whose
    /// last refusal is oldest. Takes time linear in how many are forgotten.
    fn forget(&mut self, now: Instant, capacity: usize) {
        while let Some(entry) = self.by_turn.first_entry() {
            let refused = self.by_block.get(entry.get());
            let last = refused.and_then(|refused| refused.at.back());
            if self.by_block.len() <= capacity && last.is_some_and(|last| !is_over(*last, now)) {
                return;
            }
            self.by_block.remove(&entry.remove());
        }
    }
}

/// True where a minute has passed. The moments of several threads may be slightly out of order.
fn is_over(then: Instant, now: Instant) -> bool {
    now.saturating_duration_since(then) >= WINDOW
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn ten_within_a_minute_lock_until_the_first_is_a_minute_old() {
        let (attempts, start, mallory) = (Lockout::new(), Instant::now(), ip("192.0.2.1"));
        for n in 0..10 {
            assert!(!attempts.is_locked(mallory, after(start, n * 1000)));
            let count = attempts.count_refusal(mallory, after(start, n * 1000));
            assert_eq!(count, Some(n as usize + 1));
        }
        assert!(attempts.is_locked(mallory, after(start, 9000)));
        for n in 0..1000 {
            assert_eq!(attempts.count_refusal(mallory, after(start, 9000 + n)), None);
        }
        assert!(attempts.is_locked(mallory, after(start, 59_999)));
        assert!(!attempts.is_locked(mallory, after(start, 60_000)));
        // Nine of that minute are left: one more makes ten, until the second is a minute old.
        attempts.count_refusal(mallory, after(start, 60_000));
        assert!(attempts.is_locked(mallory, after(start, 60_999)));
        assert!(!attempts.is_locked(mallory, after(start, 61_000)));
    }

    #[test]
    fn ten_in_more_than_a_minute_lock_nothing() {
        let (attempts, start, addr) = (Lockout::new(), Instant::now(), ip("192.0.2.1"));
        for n in 0..100 {
            attempts.count_refusal(addr, after(start, n * 6667));
            assert!(!attempts.is_locked(addr, after(start, n * 6667)), "{n}");
        }
    }

    #[test]
    fn an_address_is_not_locked_for_another() {
        let (attempts, start) = (Lockout::new(), Instant::now());
        for addr in ["192.0.2.1", "2001:db8:0:1::1"] {
            for _ in 0..10 {
                attempts.count_refusal(ip(addr), start);
            }
            assert!(attempts.is_locked(ip(addr), start));
        }
        for addr in ["192.0.2.2", "2001:db8:0:2::1", "::1", "127.0.0.1"] {
            assert!(!attempts.is_locked(ip(addr), start), "{addr}");
        }
    }

    #[test]
    fn an_ipv4_client_is_one_however_the_socket_shows_it_and_an_ipv6_one_is_its_64() {
        let (attempts, start) = (Lockout::new(), Instant::now());
        for n in 0..10 {
            attempts.count_refusal(
                ip(if n % 2 == 0 { "192.0.2.1" } else { "::ffff:192.0.2.1" }),
                start,
            );
            attempts.count_refusal(ip(&format!("2001:db8:0:1:{n}::{n}")), start);
        }
        for addr in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:0:1:ffff::"] {
            assert!(attempts.is_locked(ip(addr), start), "{addr}");
        }
        assert!(!attempts.is_locked(ip("::ffff:192.0.2.2"), start));
    }

    #[test]
    fn at_its_bound_it_forgets_who_was_refused_longest_ago() {
        let (attempts, start) = (Lockout::with_capacity(3), Instant::now());
        let addr = |n: u8| IpAddr::from([192, 0, 2, n]);
        for n in 1..=3 {
            for _ in 0..10 {
                attempts.count_refusal(addr(n), after(start, u64::from(n)));
            }
        }
        attempts.count_refusal(addr(4), after(start, 10));
        let locked: Vec<u8> =
            (1..=4).filter(|n| attempts.is_locked(addr(*n), after(start, 10))).collect();
        assert_eq!(locked, [2, 3]);
    }

    #[test]
    fn memory_has_a_bound_and_is_given_back() {
        let (attempts, start) = (Lockout::new(), Instant::now());
        let size = || {
            let refusals = attempts.lock();
            assert_eq!(refusals.by_block.len(), refusals.by_turn.len());
            refusals.by_block.len()
        };
        for n in 0..30_000u32 {
            attempts.count_refusal(IpAddr::V4(Ipv4Addr::from_bits(n)), after(start, 1));
        }
        assert_eq!(size(), MAX_ADDRESSES);
        attempts.count_refusal(ip("192.0.2.1"), after(start, 60_001));
        assert_eq!(size(), 1);
    }

    proptest! {
        /// Compares each answer with one computed from the list of all refusals.
        #[test]
        fn it_is_as_if_everything_were_remembered(
            steps in prop::collection::vec((0u8..2, 0u64..3000, prop::bool::weighted(0.8)), 0..400),
        ) {
            let (attempts, start) = (Lockout::new(), Instant::now());
            let mut model: HashMap<u8, Vec<u64>> = HashMap::new();
            let mut now = 0;
            for (who, pause, tries) in steps {
                now += pause;
                let refusals = model.entry(who).or_default();
                let recent = refusals.iter().filter(|&&then| now - then < 60_000).count();
                let addr = IpAddr::from([192, 0, 2, who]);
                prop_assert_eq!(attempts.is_locked(addr, after(start, now)), recent >= 10);
                if tries {
                    attempts.count_refusal(addr, after(start, now));
                    if recent < 10 {
                        refusals.push(now);
                    }
                }
            }
        }
    }
}
