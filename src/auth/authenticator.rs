//! Checks the keys of requests and counts the wrong ones by address.

use std::net::IpAddr;
use std::time::Instant;

use super::lockout::MAX_REFUSALS;
use super::{Grant, KeyRefusal, KeyStore, Lockout};
use crate::protocol::Timestamp;

/// Checks keys and counts the wrong ones by address. All clients' threads share it.
pub struct Authenticator {
    keys: KeyStore,
    attempts: Lockout,
    /// The wrong keys of requests that pages of other sites made. They are counted apart, so that
    /// such a page locks out only its own requests.
    by_pages: Lockout,
}

/// Who may have made a request that carries a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// A program, a person, or a page that is allowed to connect.
    Client,
    /// A page of another site, in its visitor's browser.
    OtherSite,
}

impl Authenticator {
    /// An authenticator for these keys. No wrong key has been counted yet.
    pub fn new(keys: KeyStore) -> Self {
        Authenticator { keys, attempts: Lockout::default(), by_pages: Lockout::default() }
    }

    pub fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// Checks the key of a request that came from this address.
    ///
    /// # Errors
    /// The reason why the key opens nothing. A wrong or expired key counts against the address and
    /// is logged without the key. A missing key is not counted.
    pub fn check(
        &self,
        key: Option<&str>,
        from: IpAddr,
        source: KeySource,
    ) -> Result<Grant, KeyRefusal> {
        let now = Instant::now();
        let (attempts, by) = match source {
            KeySource::Client => (&self.attempts, ""),
            KeySource::OtherSite => (&self.by_pages, ", shown by a page of another site"),
        };
        if attempts.is_locked(from, now) {
            return Err(KeyRefusal::TooMany);
        }
        let checked = self.keys.check(key, Timestamp::now());
        if let Err(why) = checked
            && key.is_some()
        {
            // Other threads may have counted ten wrong keys since: an eleventh is refused unseen.
            let count = attempts.count_refusal(from, now).ok_or(KeyRefusal::TooMany)?;
            let what = if why == KeyRefusal::Expired { "an expired key" } else { "a wrong key" };
            log::warn!("refused {from}: {what}{by}, {count} within a minute");
            if count == MAX_REFUSALS {
                log::warn!(
                    "{from} is locked out: no key from there is checked until the first of its \
                     {MAX_REFUSALS} wrong ones is a minute old{by}"
                );
            }
        }
        checked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Repeated, because the two threads have to meet.
    #[test]
    fn of_wrong_keys_at_one_moment_ten_are_looked_at() {
        let authenticator = Authenticator::new(KeyStore::open(None, true).expect("no file"));
        for round in 0..200 {
            let from = IpAddr::from([192, 0, 2, round]);
            let all_at_once = Barrier::new(16);
            let try_one = || {
                all_at_once.wait();
                authenticator.check(Some("wrong"), from, KeySource::Client).err()
            };
            let told: Vec<Option<KeyRefusal>> = thread::scope(|scope| {
                let threads: Vec<_> = (0..16).map(|_| scope.spawn(try_one)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            let count = |why| told.iter().filter(|told| **told == Some(why)).count();
            assert_eq!((count(KeyRefusal::Invalid), count(KeyRefusal::TooMany)), (10, 6));
        }
    }

    #[test]
    fn what_pages_of_other_sites_try_locks_out_such_pages_alone() {
        let authenticator = Authenticator::new(KeyStore::open(None, true).expect("no file"));
        let from = IpAddr::from([192, 0, 2, 1]);
        let check = |key, source| authenticator.check(Some(key), from, source).err();
        for _ in 0..10 {
            assert_eq!(check("wrong", KeySource::OtherSite), Some(KeyRefusal::Invalid));
        }
        assert_eq!(check("development", KeySource::OtherSite), Some(KeyRefusal::TooMany));
        assert_eq!(check("development", KeySource::Client), None);
    }
}
