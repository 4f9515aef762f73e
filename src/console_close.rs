//! On Windows: a closed console window must not end the process before its clients have heard of it.
//!
//! Windows tells a process of Ctrl+C, a closed window or a shutdown by calling its handlers, the last
//! one registered first. After Ctrl+C the process lives on; after the others Windows ends it as soon
//! as the handler returns, and 5 s later if it doesn't. `ctrlc`'s handler wakes a thread and returns,
//! which is fatal for the others: not one close frame goes out. So this handler stands in front of it,
//! asks for the stop itself and never returns; the end of `main` ends the process.
//!
//! This is the one place with `unsafe`: there is no safe way to register such a handler.

pub use system::stop_on_console_close;

#[cfg(windows)]
mod system {
    use std::io;
    use std::sync::OnceLock;
    use std::thread;

    use windows_sys::Win32::System::Console::{
        CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    /// What asks for the stop: a static, as Windows hands a handler no argument of ours.
    static STOP: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

    /// Has `stop` called when the console window is closed, the user logs off or Windows shuts
    /// down, and from then on keeps the process alive until `main` returns.
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
        if !matches!(event, CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT) {
            // Ctrl+C and Ctrl+Break are for the next handler, which is ctrlc's.
            return 0;
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
mod system {
    /// A closed terminal is a SIGHUP here, which `ctrlc` hears like Ctrl+C: there is nothing to add.
    ///
    /// # Errors
    /// None on this system.
    pub fn stop_on_console_close(_stop: impl Fn() + Send + Sync + 'static) -> std::io::Result<()> {
        Ok(())
    }
}
