//! What every command that listens does: start logging, bind, say where, serve, stop when told.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded};

use super::announcement::{self, Announcement};
use super::browser;
use super::service_manager::ServiceManager;
use crate::logging;
use crate::net::StateMachine;
use crate::net::service::Service;
use crate::net::{self, Config};
use crate::os::{HeldSignals, Signal, hold_signals, of_another_user, on_signals};

/// Where to listen and what to log.
#[derive(Debug, Default)]
pub struct ListenOptions {
    pub host: String,
    pub port: u16,
    pub debug: bool,
    pub log_file: Option<PathBuf>,
    /// Opens the live page in a browser.
    pub open: bool,
    /// Lines about the environment, for the log.
    pub remarks: Vec<String>,
}

/// What is served.
pub struct Made {
    pub service: Box<dyn Service>,
    pub machine: Box<dyn StateMachine>,
    pub announcement: Announcement,
}

/// What a shell reports for a process that Ctrl+C ended.
const INTERRUPTED: i32 = 130;

/// Serves until it is told to stop, and stops in order. What is served is made once there is a log;
/// where it can't be, a line says why.
#[inline(never)] // a name in thread dumps
pub fn run(
    listen: &ListenOptions,
    config: Config,
    make: impl FnOnce() -> Result<Made, String>,
) -> ExitCode {
    // The log's thread must hold them, too.
    let held = hold_signals();
    let logging = match logging::start(listen.debug, listen.log_file.as_deref()) {
        Ok(logging) => logging,
        Err(error) => return fail(&no_log(listen.log_file.as_deref(), &error)),
    };
    for remark in &listen.remarks {
        log::warn!("{remark}");
    }
    if let Err(why) = net::check_system() {
        return fail(&why);
    }
    let Made { service, machine, announcement } = match make() {
        Ok(made) => made,
        Err(why) => return fail(&why),
    };
    let listeners = match net::bind(&listen.host, listen.port) {
        Ok(listeners) => listeners,
        Err(error) => return fail(&error.0),
    };
    // Told to stop before it is up, it still stops in order.
    let signals = signals(held);
    let notes = service.notes();
    let server = match net::start(listeners, config, service, machine) {
        Ok(server) => server,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    for addr in server.addrs() {
        log::info!("serving {} on {addr}", announcement.what);
    }
    announcement.say(server.addrs());
    if let Some(page) = announcement::own_page(server.addrs()).filter(|_| listen.open) {
        browser::open(&page).unwrap_or_else(|why| log::warn!("{why}"));
    }
    for note in notes {
        log::info!("{note}");
    }
    let manager = ServiceManager::from_environment();
    manager.tell("READY=1");
    let pulse = manager.sign_of_life.map_or(crossbeam_channel::never(), crossbeam_channel::tick);
    loop {
        // The handler holds the senders as long as the process lives.
        crossbeam_channel::select! {
            recv(signals.stop) -> _ => break,
            recv(pulse) -> _ => {
                if server.hub_works() {
                    manager.tell("WATCHDOG=1");
                }
            }
            recv(signals.reload) -> _ => {
                // The log and the key file say themselves what has come of it.
                log::info!("SIGHUP");
                let has_log = logging.reopen();
                let has_keys = server.reload();
                if !has_log && !has_keys {
                    log::info!("there is neither a log file to open again nor a key file to read again");
                }
            }
        }
    }
    manager.tell("STOPPING=1");
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

/// Why there is no log, in a line.
fn no_log(file: Option<&Path>, error: &std::io::Error) -> String {
    let Some(file) = file else { return format!("can't write the log: {error}") };
    let owner = of_another_user(file);
    // Of a file that isn't there the directory's owner counts.
    let owner = owner.or_else(|| {
        let directory = file.parent().filter(|_| !file.exists())?;
        of_another_user(directory).map(|why| why.replacen("it", "its directory", 1))
    });
    let owner = owner.map_or(String::new(), |why| format!(": {why}"));
    format!("can't write {}: {error}{owner}", file.display())
}

/// What the process is told by signals.
pub(super) struct Signals {
    pub stop: Receiver<()>,
    reload: Receiver<()>,
}

/// Handles signals. At the second one that says stop the process ends at once.
pub(super) fn signals(held: HeldSignals) -> Signals {
    let (stopping, stop) = bounded(1);
    let (reloading, reload) = bounded(1);
    let is_stopping = AtomicBool::new(false);
    let handler = move |signal| match signal {
        Signal::Stop => {
            if is_stopping.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED);
            }
            let _ = stopping.try_send(());
        }
        // Where one waits already, it comes after this.
        Signal::Reload => {
            let _ = reloading.try_send(());
        }
    };
    if let Err(error) = on_signals(held, handler) {
        log::warn!("Ctrl+C will end the server without a farewell to its clients: {error}");
    }
    Signals { stop, reload }
}

/// Says in one line why nothing can be served.
fn fail(why: &str) -> ExitCode {
    crate::logging::say(&format!("collabd: {why}"));
    ExitCode::FAILURE
}
