//! Limits of the operating system: open files, threads and memory.
//!
//! Running out of memory mappings can't be handled: a thread that gets none for its signal stack
//! aborts the whole process. So connections and threads are counted against these limits.

/// Memory mappings of a thread: its stack, its signal stack, and a guard before each.
const MAPPINGS_PER_THREAD: usize = 4;
/// Mappings for everything else: the program, its libraries, its heap.
const OTHER_MAPPINGS: usize = 1024;
/// Files for everything else: the listener, the log, standard streams, refused connections.
const OTHER_FILES: usize = 128;

/// With fewer connections than this the server refuses to start.
const MIN_CONNECTIONS: usize = 16;

/// Checks that the limits are high enough to start the server.
///
/// # Errors
/// A line that names the limit and says what to do.
pub fn check() -> Result<(), String> {
    let needed = OTHER_FILES + MIN_CONNECTIONS;
    if let Some(files) = max_files().filter(|files| *files < needed) {
        return Err(format!(
            "the system permits this process {files} open files, and it needs {needed} at least: \
             raise the limit (ulimit -n, or LimitNOFILE= where systemd starts it)"
        ));
    }
    if let Some(threads) = max_threads().filter(|threads| *threads < MIN_CONNECTIONS) {
        return Err(format!(
            "the system permits a process memory mappings for {threads} threads only: raise sysctl \
             vm.max_map_count"
        ));
    }
    Ok(())
}

/// How many threads the process may have; `None` where no limit is known.
pub fn max_threads() -> Option<usize> {
    let mappings = read_number("/proc/sys/vm/max_map_count")?;
    Some(mappings.saturating_sub(OTHER_MAPPINGS) / MAPPINGS_PER_THREAD)
}

/// How many connections may be open; `None` where no limit is known. Raises the process's limit of
/// open files as far as permitted.
pub fn max_connections() -> Option<usize> {
    let files = max_files().map(|files| files.saturating_sub(OTHER_FILES));
    files.into_iter().chain(max_threads()).min()
}

#[cfg(unix)]
fn max_files() -> Option<usize> {
    usize::try_from(rlimit::increase_nofile_limit(u64::MAX).ok()?).ok()
}

/// Windows has no such limit for sockets.
#[cfg(not(unix))]
fn max_files() -> Option<usize> {
    None
}

/// Only Linux has this file and this limit.
fn read_number(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Half of the memory that the process may use, in bytes; 512 MiB where the system doesn't tell.
pub fn half_of_the_memory() -> usize {
    let memory = crate::os::memory().unwrap_or(1 << 30);
    usize::try_from(memory / 2).unwrap_or(usize::MAX)
}
