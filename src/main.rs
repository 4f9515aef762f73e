//! collabd: parse, run one command, exit code. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;

use collabd::cli::{self, Command};
use collabd::commands::{check, echo, forward, install_shim, key, serve};
#[cfg(feature = "durable")]
use collabd::commands::{record, replay, sessions};

/// What was typed makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = cli::parse(std::env::args_os().skip(1), |name| std::env::var_os(name));
    let remarks = cli::remarks(std::env::vars_os());
    // A server logs them; a refusal is one line.
    if !matches!(command, Err(_) | Ok(Command::Serve(_) | Command::Echo(_) | Command::Print(_))) {
        remarks.iter().for_each(|remark| collabd::logging::say(&format!("collabd: {remark}")));
    }
    match command {
        Ok(Command::Serve(mut options)) => {
            options.listen.remarks = remarks;
            serve::run(*options)
        }
        Ok(Command::Echo(mut options)) => {
            options.listen.remarks = remarks;
            echo::run(options)
        }
        Ok(Command::Check(options)) => check::run(&options),
        Ok(Command::Forward(options)) => forward::run(&options),
        Ok(Command::InstallShim(options)) => install_shim::run(&options),
        Ok(Command::Key(options)) => key::run(options),
        #[cfg(feature = "durable")]
        Ok(Command::Record(options)) => record::run(&options),
        #[cfg(feature = "durable")]
        Ok(Command::Replay(options)) => replay::run(&options),
        #[cfg(feature = "durable")]
        Ok(Command::Sessions(options)) => sessions::run(options),
        Ok(Command::Print(text)) => {
            // A reader that has seen enough, like `head`, is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(cli::Usage(line)) => {
            collabd::logging::say(&format!("collabd: {line}"));
            ExitCode::from(USAGE)
        }
    }
}
