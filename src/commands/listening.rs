//! What every command that listens does: start logging, bind, say where, serve, stop when told.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded};

use crate::cli::Listen;
use crate::logging;
use crate::os::stop_on_console_close;
use crate::server::service::Service;
use crate::server::{self, Config};

/// What a shell reports for a process that Ctrl+C ended.
const INTERRUPTED: i32 = 130;

/// Serves until it is told to stop, and stops in order. What is served is made once there is a log;
/// where it can't be, a line says why.
#[inline(never)] // a name in thread dumps
pub fn run<S: Service>(
    what: &str,
    listen: &Listen,
    config: Config,
    make: impl FnOnce() -> Result<(S, S::Machine), String>,
) -> ExitCode {
    let logging = match logging::start(listen.debug, listen.log_file.as_deref()) {
        Ok(logging) => logging,
        Err(error) => {
            let file = listen.log_file.as_deref().unwrap_or("the log".as_ref());
            return fail(&format!("can't write {}: {error}", file.display()));
        }
    };
    let (service, machine) = match make() {
        Ok(made) => made,
        Err(why) => return fail(&why),
    };
    let listener = match server::bind(&listen.host, listen.port) {
        Ok(listener) => listener,
        Err(error) => return fail(&error.0),
    };
    // Told to stop before it is up, it still stops in order.
    let stop = stop_signal();
    let server = match server::start(listener, config, service, machine) {
        Ok(server) => server,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    announce(what, server.addr());
    // The handler holds the sender as long as the process lives.
    let _ = stop.recv();
    log::info!("SHUTTING DOWN");
    let left = server.stop();
    if left.is_empty() {
        log::info!("Server closed");
    } else {
        log::warn!("Server closed, without waiting any longer for: {}", left.join(", "));
    }
    log::info!("Port released");
    drop(logging);
    ExitCode::SUCCESS
}

/// Receives when the process is told to stop. Told twice, it ends at once.
fn stop_signal() -> Receiver<()> {
    let (told, stop) = bounded(1);
    let is_stopping = AtomicBool::new(false);
    let closed = told.clone();
    let handler = move || {
        if is_stopping.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        let _ = told.try_send(());
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        log::warn!("Ctrl+C will end the server without a farewell to its clients: {error}");
    }
    let on_close = move || {
        let _ = closed.try_send(());
    };
    if let Err(error) = stop_on_console_close(on_close) {
        log::warn!("closing the console will end the server without a farewell: {error}");
    }
    stop
}

/// Says on stdout where the server is. Nobody may be reading it: that is no reason to end.
fn announce(what: &str, addr: SocketAddr) {
    log::info!("serving {what} on {addr}");
    let mut text =
        format!("collabd {} serves {what}\nlistening on {addr}\n", env!("CARGO_PKG_VERSION"));
    text.push_str("others connect to:\n");
    for ip in reachable(addr.ip()) {
        text.push_str(&format!("  ws://{}\n", SocketAddr::new(ip, addr.port())));
    }
    text.push_str("Ctrl+C stops it\n");
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The addresses others can type in: those of this machine where the server listens on all of
/// them, the ones other machines can reach first.
fn reachable(ip: IpAddr) -> Vec<IpAddr> {
    if !ip.is_unspecified() {
        return vec![ip];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = interfaces
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|found| found.is_ipv4() || ip.is_ipv6())
        .filter(|found| !matches!(found, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    ips.dedup();
    ips
}

/// Says in one line why nothing can be served.
fn fail(why: &str) -> ExitCode {
    eprintln!("collabd: {why}");
    ExitCode::FAILURE
}
