//! Of what the system does for us.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn wakes_a_blocked_read_and_a_blocked_write() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = Arc::new(listener.accept().unwrap().0);
    let (told, ended) = crossbeam_channel::unbounded();
    let (reading, read) = (socket.clone(), told.clone());
    let reader = std::thread::spawn(move || {
        let _ = { &*reading }.read(&mut [0]);
        read.send(()).unwrap();
    });
    let (writing, progress) = (socket.clone(), crossbeam_channel::unbounded());
    let writer = std::thread::spawn(move || {
        while { &*writing }.write(&[0; 65536]).is_ok() {
            progress.0.send(()).unwrap();
        }
        told.send(()).unwrap();
    });
    // Blocked is a writer that has stopped making progress.
    while progress.1.recv_timeout(Duration::from_millis(300)).is_ok() {}
    assert!(ended.is_empty());
    sever(&socket);
    for _ in 0..2 {
        ended.recv_timeout(Duration::from_secs(20)).expect("woken");
    }
    reader.join().unwrap();
    writer.join().unwrap();
}

#[test]
fn there_is_memory() {
    let memory = memory().expect("every system that this is tested on tells");
    assert!(memory > 64 << 20, "{memory}");
}

/// Windows and Linux tell all of it but Windows a limit of handles; other systems some.
#[test]
fn a_process_knows_what_it_uses() {
    let before = process_use();
    if cfg!(any(target_os = "linux", windows)) {
        assert!(before.processor.is_some() && before.open_files.is_some(), "{before:?}");
        assert!(before.memory.expect("told") > 1 << 20, "{before:?}");
    }
    assert_eq!(before.max_files.is_some(), cfg!(unix));
    let held: Vec<_> = (0..50).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    // Until the processor's time has grown, however coarse its clock is.
    let worked = || process_use().processor;
    while before.processor.is_some() && worked() <= before.processor {
        std::hint::black_box((0..100_000u64).sum::<u64>());
    }
    let now = process_use();
    // Other tests of this process open and close some, too.
    if let (Some(open), Some(most)) = (now.open_files, now.max_files) {
        assert!(open > held.len() as u64 && open <= most, "{now:?}");
    }
}

#[cfg(not(windows))]
#[test]
fn resident_memory_stands_in_a_line() {
    use super::process::in_status;

    assert_eq!(in_status("VmHWM:\t  99 kB\nVmRSS:\t    3120 kB\n"), Some(3120 << 10));
    for unknown in ["", "VmRSS: many kB", "VmRSS: 1", "VmRSS: 99999999999999999999 kB"] {
        assert_eq!(in_status(unknown), None, "{unknown}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_least_that_a_container_may_have_counts() {
    use super::linux_memory::{in_meminfo, of_groups};

    assert_eq!(in_meminfo("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
    for unknown in ["", "MemTotal: many kB", "MemTotal: 1", "MemTotal: 99999999999999999999 kB"] {
        assert_eq!(in_meminfo(unknown), None, "{unknown}");
    }
    let root = std::env::temp_dir().join(format!("collabd-groups-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("a/b/memory.max", "max\n");
    write("a/memory.max", "3000\n");
    write("c/memory.max", "100\n");
    write("memory/d/memory.limit_in_bytes", "2000\n");
    write("memory/memory.limit_in_bytes", "9223372036854771712\n");
    for (groups, least) in [
        ("", None),
        ("0::/", None),
        ("0::/a/b", Some(3000)),
        ("0::/c", Some(100)),
        ("0::/gone/b", None),
        ("3:cpu,cpuacct:/c\n2:memory:/d\n0::/a", Some(2000)),
        ("2:memory:/", Some(9_223_372_036_854_771_712)),
        ("nonsense", None),
    ] {
        assert_eq!(of_groups(&root, groups), least, "{groups:?}");
    }
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn leaves_no_moment_for_a_read_to_slip_in() {
    for spins in 0..300 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Arc::new(listener.accept().unwrap().0);
        let (told, ended) = crossbeam_channel::bounded(1);
        let reading = socket.clone();
        std::thread::spawn(move || {
            let _ = { &*reading }.read(&mut [0]);
            told.send(()).unwrap();
        });
        for _ in 0..spins * 300 {
            std::hint::spin_loop();
        }
        sever(&socket);
        ended.recv_timeout(Duration::from_secs(20)).expect("woken");
    }
}
