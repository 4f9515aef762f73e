//! How much memory Linux has for this process: files say it.

use std::fs::read_to_string;
use std::path::Path;

/// The machine's memory, or what the process's control group may have where that is less.
pub fn memory() -> Option<u64> {
    let of_machine = read_to_string("/proc/meminfo").ok().and_then(|text| in_meminfo(&text));
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_container = of_groups(Path::new("/sys/fs/cgroup"), &groups);
    of_machine.into_iter().chain(of_container).min()
}

pub fn in_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least that any of the control groups may have that this process is in. A container often sees its
/// own group as the uppermost one, whatever that is called outside.
pub fn of_groups(mounted: &Path, groups: &str) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => (mounted.to_owned(), "memory.max"),
            some if some.split(',').any(|name| name == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(group.trim_start_matches('/')).ancestors() {
            let limit = read_to_string(root.join(group).join(file)).ok();
            // "max", or a number beyond all memory, is none.
            let limit = limit.and_then(|limit| limit.trim().parse::<u64>().ok());
            least = least.into_iter().chain(limit).min();
        }
    }
    least
}
