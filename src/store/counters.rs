//! What the thread `store` counts for the metrics. Any thread reads it without waiting, and without
//! a look at the disk.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::StoreError;
use crate::histogram::Histogram;
use crate::journal::{COMMIT_BOUNDS, StoreStats, StoreTrouble};

/// Written by the thread `store` alone.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// How long transactions took that are on disk, in microseconds.
    commits: Histogram<{ COMMIT_BOUNDS.len() }>,
    /// The size of the database and of its journal, in bytes.
    database_bytes: AtomicU64,
    wal_bytes: AtomicU64,
    /// The place of what is wrong in [`StoreTrouble::ALL`], plus one; 0 while changes are written.
    trouble: AtomicU8,
}

impl StoreCounters {
    /// Counts a transaction that is on disk.
    pub fn committed(&self, took: Duration) {
        self.commits.add(took.as_micros() as u64, &COMMIT_BOUNDS);
    }

    /// Notes the size of the database and of its journal, in bytes.
    pub fn set_sizes(&self, [database, wal]: [u64; 2]) {
        self.database_bytes.store(database, Relaxed);
        self.wal_bytes.store(wal, Relaxed);
    }

    /// Notes why nothing can be written; `None` where changes are written.
    pub fn set_trouble(&self, trouble: Option<StoreTrouble>) {
        let place = trouble.and_then(|what| StoreTrouble::ALL.iter().position(|one| *one == what));
        self.trouble.store(place.map_or(0, |place| place as u8 + 1), Relaxed);
    }

    pub fn read(&self) -> StoreStats {
        let trouble = usize::from(self.trouble.load(Relaxed)).checked_sub(1);
        StoreStats {
            commits: self.commits.read(),
            database_bytes: self.database_bytes.load(Relaxed),
            wal_bytes: self.wal_bytes.load(Relaxed),
            trouble: trouble.and_then(|place| StoreTrouble::ALL.get(place).copied()),
        }
    }
}

impl From<&StoreError> for StoreTrouble {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Full(_) => StoreTrouble::Full,
            StoreError::Busy(_) => StoreTrouble::Locked,
            StoreError::Io(_) => StoreTrouble::Unreachable,
            StoreError::Corrupt(_) | StoreError::SessionCorrupt(_) => StoreTrouble::Damaged,
            StoreError::Overwritten(_) => StoreTrouble::Overwritten,
            StoreError::Internal(_) => StoreTrouble::Bug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read() {
        let counters = StoreCounters::default();
        assert_eq!(counters.read().trouble, None);
        for what in StoreTrouble::ALL {
            counters.set_trouble(Some(what));
            assert_eq!(counters.read().trouble, Some(what));
        }
        counters.set_trouble(None);
        counters.set_sizes([8192, 4152]);
        counters.committed(Duration::from_millis(3));
        counters.committed(Duration::from_secs(60));
        let stats = counters.read();
        assert_eq!((stats.database_bytes, stats.wal_bytes, stats.trouble), (8192, 4152, None));
        assert_eq!((stats.commits.total(), stats.commits.sum), (2, 60_003_000));
        assert_eq!(stats.commits.counts.last(), Some(&1), "a minute is beyond every bound");
    }
}
