//! What the process has used and holds: files say it, a few system calls, or nothing does.

use std::time::Duration;

/// What the process has used and holds at one moment; `None` where the system doesn't tell.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUse {
    /// Processor time of all threads, the system's work for them included.
    pub processor: Option<Duration>,
    /// Open descriptors; on Windows handles.
    pub open_files: Option<u64>,
    /// How many descriptors may be open.
    pub max_files: Option<u64>,
    /// Resident memory in bytes.
    pub memory: Option<u64>,
}

/// What the process has used and holds now. Takes time linear in its open descriptors: a
/// millisecond or so for ten thousand.
pub fn process_use() -> ProcessUse {
    let max_files = max_files();
    ProcessUse {
        processor: super::processor_time(),
        open_files: open_files(max_files),
        max_files,
        memory: resident_memory(),
    }
}

#[cfg(unix)]
fn max_files() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// Windows has no such limit for sockets.
#[cfg(not(unix))]
fn max_files() -> Option<u64> {
    None
}

/// Each open descriptor has an entry in a directory. Where none is free to read that directory, as
/// many are open as may be.
#[cfg(unix)]
fn open_files(max_files: Option<u64>) -> Option<u64> {
    let directory = if cfg!(target_os = "macos") { "/dev/fd" } else { "/proc/self/fd" };
    match std::fs::read_dir(directory) {
        // One is the directory itself.
        Ok(entries) => Some(entries.count().saturating_sub(1) as u64),
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => max_files,
        Err(_) => None,
    }
}

#[cfg(not(unix))]
fn open_files(_max_files: Option<u64>) -> Option<u64> {
    super::open_handles()
}

/// The process's resident memory in bytes, where the system tells it.
#[cfg(not(windows))]
pub fn resident_memory() -> Option<u64> {
    in_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

#[cfg(windows)]
pub use super::resident_bytes as resident_memory;

#[cfg(not(windows))]
pub(super) fn in_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
