//! What only one operating system needs, each behind one small function with a portable twin: ending
//! a connection on which threads are blocked, hearing of signals and of a closed console, the machine's
//! names and memory, a thread's name, and giving memory back.
//!
//! This is the one file with `unsafe`: each needs a call that nobody wraps.

use std::net::{Shutdown, TcpStream};

/// Ends a connection at once and wakes whoever reads from it or writes to it. Any thread may call it.
///
/// On Unix the shutdown does both. On Windows a thread that is inside a read or a write stays there
/// until the peer does something, so what is pending is cancelled. In this order: a call that begins
/// after the shutdown returns by itself, and one that began before it is there to be cancelled. The
/// cancelled call fails with what std calls `TimedOut`; the next one says `Ok(0)` or another error.
pub fn sever(socket: &TcpStream) {
    // Fails on a socket that has ended already, which is what is wanted.
    let _ = socket.shutdown(Shutdown::Both);
    cancel(socket);
}

/// Gives memory that is free but still the process's own back to the system. Takes milliseconds where
/// there is much of it. Any thread may call it; the hub's has better things to do.
///
/// glibc gives back only what is free at the end of a thread's heap, and there is always something
/// that isn't: after twenty clients that didn't read had filled their queues, 173 of 184 MB stayed,
/// and 8 after this.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_memory_back() {
    // SAFETY: it takes a number and is safe to call from any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other systems' heaps do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_memory_back() {}

/// Names the running thread; of the name the first 15 bytes count. One with a zero byte changes nothing.
#[cfg(target_os = "linux")]
pub fn name_thread(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // SAFETY: the name ends with a zero and is there until the call returns.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// On other systems a thread keeps the name that it began with.
#[cfg(not(target_os = "linux"))]
pub fn name_thread(_name: &str) {}

#[cfg(windows)]
fn cancel(socket: &TcpStream) {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::System::IO::CancelIoEx;

    // SAFETY: the handle is open, as `socket` is borrowed for the call; null asks for every pending
    // operation. It fails where nothing was pending, which is as good.
    unsafe { CancelIoEx(socket.as_raw_socket() as _, std::ptr::null()) };
}

#[cfg(not(windows))]
fn cancel(_socket: &TcpStream) {}

/// How much memory there is for this process, in bytes: the machine's, or what its container may have where
/// that is less. `None` where the system doesn't tell.
pub fn memory() -> Option<u64> {
    memory::of_machine().into_iter().chain(memory::of_container()).min()
}

/// Linux tells by files.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod memory {
    use std::fs::read_to_string;
    use std::path::Path;

    pub fn of_machine() -> Option<u64> {
        in_meminfo(&read_to_string("/proc/meminfo").ok()?)
    }

    /// What a control group may have, also one that this one is in.
    pub fn of_container() -> Option<u64> {
        let groups = read_to_string("/proc/self/cgroup").ok()?;
        of_groups(Path::new("/sys/fs/cgroup"), &groups)
    }

    pub(super) fn in_meminfo(text: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// The least that any of the control groups may have that this process is in. A container often sees its
    /// own group as the uppermost one, whatever that is called outside.
    pub(super) fn of_groups(mounted: &Path, groups: &str) -> Option<u64> {
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
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod memory {
    pub fn of_machine() -> Option<u64> {
        // SAFETY: both take a number and only tell of one.
        let (pages, size) =
            unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        let (pages, size) = (u64::try_from(pages).ok()?, u64::try_from(size).ok()?);
        pages.checked_mul(size).filter(|bytes| *bytes > 0)
    }

    pub fn of_container() -> Option<u64> {
        None
    }
}

#[cfg(windows)]
mod memory {
    use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

    pub fn of_machine() -> Option<u64> {
        // SAFETY: all zeros is a value of the type.
        let mut status: MEMORYSTATUSEX = unsafe { std::mem::zeroed() };
        status.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
        // SAFETY: it is as long as it says.
        let done = unsafe { GlobalMemoryStatusEx(&mut status) };
        (done != 0).then_some(status.ullTotalPhys)
    }

    pub fn of_container() -> Option<u64> {
        None
    }
}

#[cfg(not(any(unix, windows)))]
mod memory {
    pub fn of_machine() -> Option<u64> {
        None
    }

    pub fn of_container() -> Option<u64> {
        None
    }
}

/// This machine's host name, as the system has it.
pub fn host_name() -> Option<String> {
    names::host().filter(|name| !name.is_empty())
}

/// The name with its domain of this machine, whose host name is `own`. May wait for the system's
/// resolver for as long as that takes.
pub fn full_host_name(own: &str) -> Option<String> {
    names::full(own).filter(|name| !name.is_empty())
}

#[cfg(unix)]
mod names {
    use std::ffi::{CStr, CString};

    /// Longer than any: POSIX has 255.
    const LONGEST: usize = 256;

    pub fn host() -> Option<String> {
        let mut name = [0u8; LONGEST];
        // SAFETY: it writes at most as many bytes as it is told; the last one is not its own.
        let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), LONGEST - 1) };
        let name = CStr::from_bytes_until_nul(&name).ok()?.to_str().ok()?;
        (failed == 0).then(|| name.to_owned())
    }

    pub fn full(own: &str) -> Option<String> {
        let own = CString::new(own).ok()?;
        // SAFETY: all zeros is what "no hint" is.
        let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
        hints.ai_flags = libc::AI_CANONNAME;
        hints.ai_socktype = libc::SOCK_STREAM;
        let mut found: *mut libc::addrinfo = std::ptr::null_mut();
        // SAFETY: the name ends with a zero, the hints are whole, and there is room for the answer.
        if unsafe { libc::getaddrinfo(own.as_ptr(), std::ptr::null(), &hints, &mut found) } != 0 {
            return None;
        }
        // SAFETY: where it succeeded there is a list; its first entry has the name, if any has.
        let name = unsafe { found.as_ref() }.map(|first| first.ai_canonname);
        let name = name.filter(|name| !name.is_null());
        // SAFETY: a name ends with a zero, and is there until the list is given back.
        let name = name.map(|name| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
        // SAFETY: it is this call's, and nothing of it is used after it.
        unsafe { libc::freeaddrinfo(found) };
        name
    }
}

#[cfg(windows)]
mod names {
    use windows_sys::Win32::System::SystemInformation::{
        COMPUTER_NAME_FORMAT, ComputerNameDnsFullyQualified, ComputerNameDnsHostname,
        GetComputerNameExW,
    };

    fn named(format: COMPUTER_NAME_FORMAT) -> Option<String> {
        let mut name = [0u16; 1024];
        let mut length = name.len() as u32;
        // SAFETY: there is room for as many characters as `length` says.
        let done = unsafe { GetComputerNameExW(format, name.as_mut_ptr(), &mut length) };
        (done != 0).then(|| String::from_utf16_lossy(&name[..length as usize]))
    }

    pub fn host() -> Option<String> {
        named(ComputerNameDnsHostname)
    }

    pub fn full(_own: &str) -> Option<String> {
        named(ComputerNameDnsFullyQualified)
    }
}

/// What the process is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To stop: Ctrl+C, SIGTERM, a console that is closed.
    Stop,
    /// To open its files again: SIGHUP, where there is one.
    #[cfg_attr(windows, allow(dead_code))]
    Reload,
}

/// Signals that wait until there is a handler for them; made by [`hold_signals`].
#[must_use]
pub struct HeldSignals(signals::Held);

/// Holds back SIGHUP, and those signals to stop that are ignored, until [`on_signals`] is called. Call it
/// before there is another thread: one that was there before still takes them.
pub fn hold_signals() -> HeldSignals {
    HeldSignals(signals::hold())
}

/// Has `told` called, on one of two threads or on the system's, whenever the process is told something.
/// A signal that was ignored when the process started stays ignored: `nohup` has done so with SIGHUP, a
/// shell that is no terminal's with the SIGINT of what it runs in the background. A SIGHUP that was held
/// back is told of now. Call it once, on the thread that held the signals.
///
/// `told` must neither block nor panic.
///
/// # Errors
/// The system's own reason for refusing. Signals then do what they did before.
pub fn on_signals(
    held: HeldSignals,
    told: impl Fn(Signal) + Send + Sync + 'static,
) -> std::io::Result<()> {
    signals::listen(held.0, told)
}

/// `ctrlc` handles SIGINT and SIGTERM, and takes SIGHUP for one more signal to stop. It asks for no
/// signal's action first, so what was ignored is no longer. Both are put right after it is installed. In
/// the moment between, no thread takes these signals: they are held back.
#[cfg(unix)]
mod signals {
    use std::io::{self, Read};
    use std::os::fd::IntoRawFd;
    use std::ptr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::Signal;

    /// Where the handler of SIGHUP writes to.
    static PIPE: AtomicI32 = AtomicI32::new(-1);

    /// Those `ctrlc` installs its handler for.
    const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

    /// What this thread held back before.
    pub type Held = libc::sigset_t;

    pub fn hold() -> Held {
        // SAFETY: sets are made whole by `sigemptyset`, and all that is pointed to lives as long as the
        // calls. None of them can fail: the signals and the first argument of the last are valid.
        unsafe {
            let (mut held, mut before): (Held, Held) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&mut held);
            libc::sigemptyset(&mut before);
            for signal in SIGNALS {
                let is_ignored = action(signal).is_ok_and(|action| is_ignored(&action));
                if signal == libc::SIGHUP || is_ignored {
                    libc::sigaddset(&mut held, signal);
                }
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &held, &mut before);
            before
        }
    }

    pub fn listen(held: Held, told: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
        let installed = install(Arc::new(told));
        // SAFETY: it is a whole set, this thread's own from before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &held, ptr::null_mut()) };
        installed
    }

    fn install(told: Arc<impl Fn(Signal) + Send + Sync + 'static>) -> io::Result<()> {
        let [int, term, hup] = SIGNALS.map(action);
        let before = [int?, term?, hup?];
        read_hang_ups(told.clone())?;
        let installed = ctrlc::set_handler(move || told(Signal::Stop))
            .map_err(io::Error::other)
            .and_then(|()| put_right(&before));
        if installed.is_err() {
            // A handler without its thread would swallow what it is called for.
            for (signal, action) in SIGNALS.iter().zip(&before) {
                let _ = set_action(*signal, action);
            }
        }
        installed
    }

    /// Has those ignored again that were, which drops those held back, and SIGHUP handled here.
    fn put_right(before: &[libc::sigaction; 3]) -> io::Result<()> {
        for (&signal, before) in SIGNALS.iter().zip(before) {
            if is_ignored(before) {
                set_action(signal, before)?;
            } else if signal == libc::SIGHUP {
                // SAFETY: all zeros is an action without flags that blocks no other signal.
                let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
                let handler: extern "C" fn(libc::c_int) = on_signal;
                action.sa_sigaction = handler as libc::sighandler_t;
                action.sa_flags = libc::SA_RESTART;
                set_action(signal, &action)?;
            }
        }
        Ok(())
    }

    /// A handler may do next to nothing: it writes a byte into a pipe, which a thread reads.
    fn read_hang_ups(told: Arc<impl Fn(Signal) + Send + Sync + 'static>) -> io::Result<()> {
        let (mut signals, pipe) = io::pipe()?;
        let pipe = pipe.into_raw_fd();
        // SAFETY: it is this process's descriptor, and stays open as long as the process lives. A full
        // pipe must not stop a thread inside a handler.
        if unsafe { libc::fcntl(pipe, libc::F_SETFL, libc::O_NONBLOCK) } == -1 {
            return Err(io::Error::last_os_error());
        }
        PIPE.store(pipe, Ordering::SeqCst);
        let read = move || {
            loop {
                match signals.read(&mut [0]) {
                    Ok(1) => told(Signal::Reload),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => return,
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(read)?;
        Ok(())
    }

    /// What the process does at a signal.
    fn action(signal: libc::c_int) -> io::Result<libc::sigaction> {
        // SAFETY: all zeros is a value of the type.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action it only tells of the one there is, for which there is room.
        match unsafe { libc::sigaction(signal, ptr::null(), &mut action) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(action),
        }
    }

    fn is_ignored(action: &libc::sigaction) -> bool {
        action.sa_sigaction == libc::SIG_IGN
    }

    /// `action` is one that [`action`] told of, or has [`on_signal`] as its handler.
    fn set_action(signal: libc::c_int, action: &libc::sigaction) -> io::Result<()> {
        // SAFETY: the action is whole; a handler that was installed before may be again; `on_signal` has
        // the signature asked for, lives as long as the process, and does only what a handler may do.
        match unsafe { libc::sigaction(signal, action, ptr::null_mut()) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    extern "C" fn on_signal(_signal: libc::c_int) {
        let byte = 0u8;
        // The thread that was interrupted may be about to look at its error.
        let kept = io::Error::last_os_error().raw_os_error();
        // SAFETY: `write` may be called in a handler; the byte lives as long as the call takes.
        unsafe { libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
        if let Some(kept) = kept {
            set_error(kept);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "l4re"))]
    fn set_error(error: i32) {
        // SAFETY: it is this thread's own.
        unsafe { *libc::__errno_location() = error };
    }

    #[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
    fn set_error(error: i32) {
        // SAFETY: it is this thread's own.
        unsafe { *libc::__error() = error };
    }

    #[cfg(not(any(
        target_os = "linux",
        target_os = "l4re",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    )))]
    fn set_error(_error: i32) {}
}

/// Windows tells a process of Ctrl+C, a closed window or a shutdown by calling its handlers, the last
/// one registered first. After Ctrl+C the process lives on; after the others Windows ends it as soon
/// as the handler returns, and 5 s later if it doesn't. `ctrlc`'s handler wakes a thread and returns,
/// which is fatal for the others: not one close frame goes out. So this handler stands in front of
/// it, asks for the stop itself and never returns; the end of `main` ends the process.
#[cfg(windows)]
mod signals {
    use std::io;
    use std::sync::{Arc, OnceLock};
    use std::thread;

    use windows_sys::Win32::System::Console::{
        CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    use super::Signal;

    /// What asks for the stop: a static, as Windows hands a handler no argument of ours.
    static STOP: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

    /// Windows has nothing to hold back.
    pub type Held = ();

    pub fn hold() -> Held {}

    /// From then on the process is kept alive, when the console is closed, until `main` returns.
    pub fn listen(_held: Held, told: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
        let told = Arc::new(told);
        let closed = told.clone();
        ctrlc::set_handler(move || told(Signal::Stop)).map_err(io::Error::other)?;
        STOP.set(Box::new(move || closed(Signal::Stop)))
            .map_err(|_| io::ErrorKind::AlreadyExists)?;
        // SAFETY: `on_event` has the signature asked for and, being a plain function, lives as long
        // as the process.
        match unsafe { SetConsoleCtrlHandler(Some(on_event), 1) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Run by a thread that Windows makes for each event.
    extern "system" fn on_event(event: u32) -> BOOL {
        match event {
            CTRL_CLOSE_EVENT | CTRL_SHUTDOWN_EVENT => {}
            // Only services hear of it, whoever it is that logs off: nothing to them.
            CTRL_LOGOFF_EVENT => return 1,
            // Ctrl+C and Ctrl+Break are for the next handler, which is ctrlc's.
            _ => return 0,
        }
        if let Some(stop) = STOP.get() {
            stop();
        }
        loop {
            thread::park();
        }
    }
}

/// That a file or directory belongs to another user than the one this runs as, in words; `None` where it
/// doesn't, or nobody can tell.
pub fn of_another_user(path: &std::path::Path) -> Option<String> {
    let (owner, own) = users::owner_and_own(path)?;
    (owner != own && own != 0).then(|| {
        format!("it belongs to the user number {owner}, and this runs as the user number {own}")
    })
}

#[cfg(unix)]
mod users {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    pub fn owner_and_own(path: &Path) -> Option<(u32, u32)> {
        // SAFETY: it takes nothing and can't fail.
        let own = unsafe { libc::geteuid() };
        Some((std::fs::metadata(path).ok()?.uid(), own))
    }
}

#[cfg(not(unix))]
mod users {
    use std::path::Path;

    pub fn owner_and_own(_path: &Path) -> Option<(u32, u32)> {
        None
    }
}

/// Has the system end a connection whose other end has acknowledged nothing for so long of what was sent
/// to it. Without it that takes a quarter of an hour where something is always on its way: TCP's
/// keep-alive asks only while nothing is. Where a system has nothing of the kind, nothing happens.
pub fn give_up_after(socket: &TcpStream, silence: std::time::Duration) {
    // Refused for a socket whose client has gone already, which reading finds out.
    let _ = unacknowledged::limit(socket, silence);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod unacknowledged {
    use std::io;
    use std::net::TcpStream;
    use std::time::Duration;

    pub fn limit(socket: &TcpStream, silence: Duration) -> io::Result<()> {
        socket2::SockRef::from(socket).set_tcp_user_timeout(Some(silence))
    }
}

#[cfg(any(target_os = "macos", target_os = "ios"))]
mod unacknowledged {
    use std::io;
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    /// In seconds, from `netinet/tcp.h`.
    const TCP_RXT_CONNDROPTIME: libc::c_int = 0x80;

    pub fn limit(socket: &TcpStream, silence: Duration) -> io::Result<()> {
        let seconds = silence.as_secs() as libc::c_int;
        // SAFETY: the socket is open, as it is borrowed, and the value is as long as is said.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                TCP_RXT_CONNDROPTIME,
                (&raw const seconds).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(windows)]
mod unacknowledged {
    use std::io;
    use std::net::TcpStream;
    use std::os::windows::io::AsRawSocket;
    use std::time::Duration;

    use windows_sys::Win32::Networking::WinSock::{IPPROTO_TCP, TCP_MAXRT, setsockopt};

    pub fn limit(socket: &TcpStream, silence: Duration) -> io::Result<()> {
        let seconds = (silence.as_secs() as u32).to_ne_bytes();
        let socket = socket.as_raw_socket() as _;
        // SAFETY: the socket is open, as it is borrowed, and the value is as long as is said.
        let done = unsafe { setsockopt(socket, IPPROTO_TCP, TCP_MAXRT, seconds.as_ptr(), 4) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    windows
)))]
mod unacknowledged {
    use std::io;
    use std::net::TcpStream;
    use std::time::Duration;

    pub fn limit(_socket: &TcpStream, _silence: Duration) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_least_that_a_container_may_have_counts() {
        use super::memory::{in_meminfo, of_groups};

        assert_eq!(in_meminfo("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        for unknown in ["", "MemTotal: many kB", "MemTotal: 1", "MemTotal: 99999999999999999999 kB"]
        {
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
}
