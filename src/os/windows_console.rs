//! Windows tells a process of Ctrl+C, a closed window or a shutdown by calling its handlers, the last
//! one registered first. After Ctrl+C the process lives on; after the others Windows ends it as soon
//! as the handler returns, and 5 s later if it doesn't. `ctrlc`'s handler wakes a thread and returns,
//! which is fatal for the others: not one close frame goes out. So this handler stands in front of
//! it, asks for the stop itself and never returns; the end of `main` ends the process.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use windows_sys::Win32::System::Console::{
    CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
};
use windows_sys::core::BOOL;

use super::{Signal, add_console_handler};

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
    STOP.set(Box::new(move || closed(Signal::Stop))).map_err(|_| io::ErrorKind::AlreadyExists)?;
    add_console_handler(on_event)
}

/// Run by a thread that Windows makes for each event.
extern "system" fn on_event(event: u32) -> BOOL {
    match event {
        CTRL_CLOSE_EVENT | CTRL_SHUTDOWN_EVENT => {}
        // Only services are told of it, of any user's logging off: they go on.
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
