//! What collabd can be told to do, one file or folder a command. An error is one line for the user.

mod announcement;
#[cfg(feature = "durable")]
pub mod archive;
mod browser;
pub mod check;
pub mod echo;
pub mod forward;
pub mod install_shim;
pub mod key;
mod listening;
#[cfg(feature = "durable")]
mod progress;
#[cfg(feature = "durable")]
pub mod record;
#[cfg(feature = "durable")]
pub mod replay;
pub mod serve;
mod service_manager;
#[cfg(feature = "durable")]
pub mod sessions;
mod table;
#[cfg(feature = "durable")]
pub mod whole_file;

pub use listening::ListenOptions;

/// The exit code of a command; its error is a line on stderr.
fn exit_code(done: Result<(), String>) -> std::process::ExitCode {
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(line) => {
            crate::logging::say(&format!("collabd: {line}"));
            std::process::ExitCode::FAILURE
        }
    }
}
