//! Opening a page in the user's browser.

use std::process::{Command, Stdio};

/// Asks the system to open an address in a browser, and doesn't wait for it. Any thread may call it.
///
/// # Errors
/// One line, where the system has no program for it.
pub fn open(address: &str) -> Result<(), String> {
    let mut command = match () {
        _ if cfg!(windows) => {
            let mut command = Command::new("rundll32");
            command.arg("url.dll,FileProtocolHandler");
            command
        }
        _ if cfg!(target_os = "macos") => Command::new("open"),
        _ => Command::new("xdg-open"),
    };
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let cannot = |error| format!("can't open a browser: {error}; the page is {address}");
    command.spawn().map(drop).map_err(cannot)
}
