//! What only one operating system needs, each behind one small function with a portable twin: ending
//! a connection on which threads are blocked, hearing that the console is closed, and giving memory
//! back.
//!
//! This is the one file with `unsafe`: each needs a call that nobody wraps.

use std::net::{Shutdown, TcpStream};

pub use console::stop_on_console_close;

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

/// Windows tells a process of Ctrl+C, a closed window or a shutdown by calling its handlers, the last
/// one registered first. After Ctrl+C the process lives on; after the others Windows ends it as soon
/// as the handler returns, and 5 s later if it doesn't. `ctrlc`'s handler wakes a thread and returns,
/// which is fatal for the others: not one close frame goes out. So this handler stands in front of
/// it, asks for the stop itself and never returns; the end of `main` ends the process.
#[cfg(windows)]
mod console {
    use std::io;
    use std::sync::OnceLock;
    use std::thread;

    use windows_sys::Win32::System::Console::{
        CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    /// What asks for the stop: a static, as Windows hands a handler no argument of ours.
    static STOP: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

    /// Has `stop` called when the console window is closed or Windows shuts down, and from then on keeps the process alive until `main` returns.
    ///
    /// Call it once, after `ctrlc::set_handler`, whose handler would otherwise be asked first.
    /// `stop` runs on a thread of the system's and must neither block nor panic.
    ///
    /// # Errors
    /// `AlreadyExists` on a second call; otherwise the system's own reason for refusing.
    pub fn stop_on_console_close(stop: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
        STOP.set(Box::new(stop)).map_err(|_| io::ErrorKind::AlreadyExists)?;
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

#[cfg(not(windows))]
mod console {
    /// A closed terminal is a SIGHUP here, which `ctrlc` hears like Ctrl+C: there is nothing to add.
    ///
    /// # Errors
    /// None on this system.
    pub fn stop_on_console_close(_stop: impl Fn() + Send + Sync + 'static) -> std::io::Result<()> {
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
