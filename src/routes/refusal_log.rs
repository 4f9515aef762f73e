//! Logs the pages that were refused: the address, the count and the reason, without flooding the
//! log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// How many addresses are counted. At this bound all counts are forgotten.
const MAX_ADDRESSES: usize = 1000;

/// How often each address was refused. Any thread may count; it waits at most for another thread's
/// look-up.
#[derive(Debug, Default)]
pub struct RefusalLog(Mutex<HashMap<IpAddr, u64>>);

impl RefusalLog {
    /// Counts a refusal, and logs an address's first, tenth, hundredth and so on. `why` must not
    /// quote what a client sent unescaped.
    pub fn count(&self, from: IpAddr, why: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_ADDRESSES && !counts.contains_key(&from) {
            counts.clear();
        }
        let count = counts.entry(from).or_default();
        *count += 1;
        let count = *count;
        drop(counts);
        if is_logged(count) {
            log::warn!("refused {from}: {why} ({count} from there so far)");
        }
    }
}

/// True for powers of ten.
fn is_logged(count: u64) -> bool {
    count > 0 && 10u64.pow(count.ilog10()) == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_every_tenfold_is_told_and_few_are_remembered() {
        let told: Vec<u64> = (0..=100_000).filter(|count| is_logged(*count)).collect();
        assert_eq!(told, [1, 10, 100, 1000, 10_000, 100_000]);
        let refusals = RefusalLog::default();
        for n in 0..5000u32 {
            refusals.count(IpAddr::V4(n.into()), "a page");
        }
        assert!(refusals.0.lock().expect("it").len() <= MAX_ADDRESSES);
    }
}
