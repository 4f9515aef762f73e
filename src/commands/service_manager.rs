//! What systemd is told of a service of `Type=notify`, and how often it wants a sign of life.

use std::time::Duration;

/// The service manager that has started this process, if it wants to be told anything.
#[derive(Debug)]
pub struct ServiceManager {
    #[cfg(unix)]
    socket: Option<(std::os::unix::net::UnixDatagram, std::os::unix::net::SocketAddr)>,
    /// How often a sign of life is to be sent; half of the time after which the manager ends the
    /// service. `None` where it wants none.
    pub sign_of_life: Option<Duration>,
}

#[cfg(unix)]
impl ServiceManager {
    /// The manager that the environment names, in `NOTIFY_SOCKET`.
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
            // A manager that doesn't read must not hold anything up.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address(&name)?))
        });
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse::<u64>().ok());
        // It may be meant for another process.
        let own = std::process::id().to_string();
        let is_ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == own);
        let micros = micros.filter(|micros| *micros > 1 && is_ours && socket.is_some());
        ServiceManager { socket, sign_of_life: micros.map(|us| Duration::from_micros(us / 2)) }
    }

    /// Tells it, like `READY=1`. What it doesn't take is lost.
    pub fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

/// A path, or the name of an abstract socket with `@` before it.
#[cfg(unix)]
fn address(name: &std::ffi::OsStr) -> Option<std::os::unix::net::SocketAddr> {
    use std::os::unix::ffi::OsStrExt;
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name).ok()
        }
        [b'/', ..] => std::os::unix::net::SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

#[cfg(not(unix))]
impl ServiceManager {
    /// No manager here wants to be told.
    pub fn from_environment() -> Self {
        ServiceManager { sign_of_life: None }
    }

    pub fn tell(&self, _state: &str) {}
}
