//! What only one operating system needs, each behind one small function with a portable twin: ending
//! a connection on which threads are blocked, hearing of signals and of a closed console, the machine's
//! names and memory, a thread's name, what the process has used, and giving memory back.
//!
//! This is the one file with `unsafe`: each needs a call for which there is no safe wrapper.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_memory;
mod process;
#[cfg(test)]
mod tests;
#[cfg(windows)]
mod windows_console;

use std::net::{Shutdown, TcpStream};
use std::time::Duration;

pub use process::{ProcessUse, process_use, resident_memory};

/// Ends a connection at once and wakes the threads that read from it or write to it. Any thread may call it.
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
/// there is much of it, so the hub's thread doesn't call it. Any other thread may.
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
    memory::memory()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
use linux_memory as memory;

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod memory {
    pub fn memory() -> Option<u64> {
        // SAFETY: both take a number and only tell of one.
        let (pages, size) =
            unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        let (pages, size) = (u64::try_from(pages).ok()?, u64::try_from(size).ok()?);
        pages.checked_mul(size).filter(|bytes| *bytes > 0)
    }
}

#[cfg(windows)]
mod memory {
    use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

    pub fn memory() -> Option<u64> {
        // SAFETY: all zeros is a value of the type.
        let mut status: MEMORYSTATUSEX = unsafe { std::mem::zeroed() };
        status.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
        // SAFETY: it is as long as it says.
        let done = unsafe { GlobalMemoryStatusEx(&mut status) };
        (done != 0).then_some(status.ullTotalPhys)
    }
}

#[cfg(not(any(unix, windows)))]
mod memory {
    pub fn memory() -> Option<u64> {
        None
    }
}

/// The processor time of all threads of the process, the system's work for them included.
#[cfg(unix)]
fn processor_time() -> Option<Duration> {
    // SAFETY: all zeros is a value of the type.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for what it tells of this process.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut used) } != 0 {
        return None;
    }
    let time = |of: libc::timeval| {
        let seconds = u64::try_from(of.tv_sec).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_micros(of.tv_usec.max(0) as u64)
    };
    Some(time(used.ru_utime) + time(used.ru_stime))
}

#[cfg(windows)]
fn processor_time() -> Option<Duration> {
    use windows_sys::Win32::Foundation::FILETIME;
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessTimes};

    let mut times = [FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 }; 4];
    let [began, ended, system, user] = &mut times;
    // SAFETY: the handle is this process's and needs no closing; there is room for all four times.
    let done = unsafe { GetProcessTimes(GetCurrentProcess(), began, ended, system, user) };
    // In steps of 100 ns.
    let time = |of: &FILETIME| {
        let steps = u64::from(of.dwHighDateTime) << 32 | u64::from(of.dwLowDateTime);
        Duration::from_micros(steps / 10)
    };
    (done != 0).then(|| time(&times[2]) + time(&times[3]))
}

#[cfg(not(any(unix, windows)))]
fn processor_time() -> Option<Duration> {
    None
}

/// How many handles the process has open.
#[cfg(windows)]
fn open_handles() -> Option<u64> {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

    let mut count = 0;
    // SAFETY: the handle is this process's and needs no closing; there is room for the number.
    let done = unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) };
    (done != 0).then_some(count.into())
}

#[cfg(not(any(unix, windows)))]
fn open_handles() -> Option<u64> {
    None
}

/// The resident memory of the process in bytes.
#[cfg(windows)]
pub fn resident_bytes() -> Option<u64> {
    use windows_sys::Win32::System::ProcessStatus::{
        K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS,
    };
    use windows_sys::Win32::System::Threading::GetCurrentProcess;

    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: all zeros is a value of the type.
    let mut held: PROCESS_MEMORY_COUNTERS = unsafe { std::mem::zeroed() };
    // SAFETY: the handle is this process's and needs no closing; there is as much room as is said.
    let done = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &mut held, size) };
    (done != 0).then_some(held.WorkingSetSize as u64)
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
    const MAX_NAME_BYTES: usize = 256;

    pub fn host() -> Option<String> {
        let mut name = [0u8; MAX_NAME_BYTES];
        // SAFETY: it writes at most as many bytes as it is told; the last one is not its own.
        let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), MAX_NAME_BYTES - 1) };
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

    fn name(format: COMPUTER_NAME_FORMAT) -> Option<String> {
        let mut name = [0u16; 1024];
        let mut length = name.len() as u32;
        // SAFETY: there is room for as many characters as `length` says.
        let done = unsafe { GetComputerNameExW(format, name.as_mut_ptr(), &mut length) };
        (done != 0).then(|| String::from_utf16_lossy(&name[..length as usize]))
    }

    pub fn host() -> Option<String> {
        name(ComputerNameDnsHostname)
    }

    pub fn full(_own: &str) -> Option<String> {
        name(ComputerNameDnsFullyQualified)
    }
}

/// What the process is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To stop: Ctrl+C, SIGTERM, a console that is closed.
    Stop,
    /// To open its files again: SIGHUP. Windows has no such signal.
    #[cfg_attr(windows, allow(dead_code, reason = "Windows has no SIGHUP"))]
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

#[cfg(windows)]
use windows_console as signals;

/// Has Windows call this function first at an event of the console.
#[cfg(windows)]
fn add_console_handler(
    handler: extern "system" fn(u32) -> windows_sys::core::BOOL,
) -> std::io::Result<()> {
    use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;

    // SAFETY: it has the signature asked for and, being a plain function, lives as long as the process.
    match unsafe { SetConsoleCtrlHandler(Some(handler), 1) } {
        0 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// That a file or directory belongs to another user than the one this runs as, in words; `None` where it
/// doesn't, or where the system doesn't tell.
#[cfg(unix)]
pub fn of_another_user(path: &std::path::Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;

    // SAFETY: it takes nothing and can't fail.
    let own = unsafe { libc::geteuid() };
    let owner = std::fs::metadata(path).ok()?.uid();
    (owner != own && own != 0).then(|| {
        format!("it belongs to the user number {owner}, and this runs as the user number {own}")
    })
}

/// Windows names no user by a number.
#[cfg(not(unix))]
pub fn of_another_user(_path: &std::path::Path) -> Option<String> {
    None
}

/// Has the system end a connection whose other end has acknowledged nothing for so long of what was sent
/// to it. Without it that takes a quarter of an hour where something is always on its way: TCP's
/// keep-alive asks only while nothing is. Where a system has nothing of the kind, nothing happens.
pub fn give_up_after(socket: &TcpStream, silence: Duration) {
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
