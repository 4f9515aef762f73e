//! What the server's process has used: processor time, memory, threads.

use std::io;
use std::time::Duration;

/// The processor time of all threads of a process, those that have ended included.
///
/// `/proc/PID/stat` has the same sum in hundredths of a second, which is a quarter of what the
/// smallest workload uses in all; the process's clock has it in nanoseconds.
pub fn processor_time(pid: i32) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only write to the variable they are given, which outlives them.
    let error = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: as above.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
}

/// What `/proc/PID/status` says.
pub struct Status {
    pub rss_kib: u64,
    pub peak_kib: u64,
    pub threads: u64,
}

/// Reads the status of a process.
pub fn status(pid: i32) -> io::Result<Status> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    Ok(Status { rss_kib: field("VmRSS"), peak_kib: field("VmHWM"), threads: field("Threads") })
}
