//! What the system permits: how many files may be open, how many threads may run; and how much memory
//! it has given.
//!
//! Running out of either is not an error one could handle: a thread that finds no memory mapping
//! for its signal stack aborts the whole process. Counting is the only defence.

/// Memory mappings a thread takes: its stack, its signal stack, and a guard before each.
const MAPPINGS_A_THREAD: usize = 4;
/// Mappings for everything else: the program, its libraries, its heap.
const OTHER_MAPPINGS: usize = 1024;
/// Files for everything else: the listener, the log, standard streams, refused connections.
const OTHER_FILES: usize = 128;

/// A server that can take fewer connections than this at a time is not worth starting.
const FEWEST: usize = 16;

/// Whether the system permits enough to serve anybody.
///
/// # Errors
/// A line that says which limit is in the way, and what to do.
pub fn check() -> Result<(), String> {
    let needed = OTHER_FILES + FEWEST;
    if let Some(files) = most_files().filter(|files| *files < needed) {
        return Err(format!(
            "the system permits this process {files} open files, and it needs {needed} at least: \
             raise the limit (ulimit -n, or LimitNOFILE= where systemd starts it)"
        ));
    }
    if let Some(threads) = most_threads().filter(|threads| *threads < FEWEST) {
        return Err(format!(
            "the system permits a process memory mappings for {threads} threads only: raise sysctl \
             vm.max_map_count"
        ));
    }
    Ok(())
}

/// How many threads may run, where there is a bound to know of.
pub fn most_threads() -> Option<usize> {
    let mappings = read_number("/proc/sys/vm/max_map_count")?;
    Some(mappings.saturating_sub(OTHER_MAPPINGS) / MAPPINGS_A_THREAD)
}

/// How many connections may be open, where there is a bound to know of. Raises the process's limit
/// of open files as far as it may.
pub fn most_connections() -> Option<usize> {
    let files = most_files().map(|files| files.saturating_sub(OTHER_FILES));
    files.into_iter().chain(most_threads()).min()
}

#[cfg(unix)]
fn most_files() -> Option<usize> {
    usize::try_from(rlimit::increase_nofile_limit(u64::MAX).ok()?).ok()
}

/// Windows has no such limit on sockets.
#[cfg(not(unix))]
fn most_files() -> Option<usize> {
    None
}

/// Other systems than Linux have no such file, and no such bound.
fn read_number(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// How much memory the process has, in bytes, where the system tells: without what is swapped out.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Half of the memory that there is for this process, in bytes; of 1 GiB where the system doesn't tell.
pub fn half_of_the_memory() -> usize {
    let memory = crate::os::memory().unwrap_or(1 << 30);
    usize::try_from(memory / 2).unwrap_or(usize::MAX)
}
