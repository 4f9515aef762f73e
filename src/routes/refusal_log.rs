//! Pages that were turned away, for the log: who, how often, and for what, without flooding it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// How many addresses are counted. At this bound counting begins anew.
const ADDRESSES: usize = 1000;

/// How often each address was turned away. Any thread may count; nobody waits for longer than a look-up.
#[derive(Debug, Default)]
pub struct RefusalLog(Mutex<HashMap<IpAddr, u64>>);

impl RefusalLog {
    /// Counts one more, and logs the first, the tenth, the hundredth and so on: `why` has to be free of
    /// anything that a client could have put there unescaped.
    pub fn note(&self, from: IpAddr, why: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES && !counts.contains_key(&from) {
            counts.clear();
        }
        let count = counts.entry(from).or_default();
        *count += 1;
        let count = *count;
        drop(counts);
        if is_told(count) {
            log::warn!("refused {from}: {why} ({count} from there so far)");
        }
    }
}

/// Whether it is a power of ten.
fn is_told(count: u64) -> bool {
    count > 0 && 10u64.pow(count.ilog10()) == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_every_tenfold_is_told_and_few_are_remembered() {
        let told: Vec<u64> = (0..=100_000).filter(|count| is_told(*count)).collect();
        assert_eq!(told, [1, 10, 100, 1000, 10_000, 100_000]);
        let refusals = RefusalLog::default();
        for n in 0..5000u32 {
            refusals.note(IpAddr::V4(n.into()), "a page");
        }
        assert!(refusals.0.lock().expect("it").len() <= ADDRESSES);
    }
}
