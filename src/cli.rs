//! What can be typed: commands, options, their defaults and units, and the help that lists them.

mod args;
mod echoed;
mod environment;
mod flag;
#[rustfmt::skip]
mod flags;
mod key;
mod serve;
#[cfg(feature = "durable")]
mod sessions;
#[cfg(test)]
mod tests;
mod values;
mod variables;

use std::ffi::OsString;

use lexopt::Arg;

use crate::commands;
use echoed::nearest;
pub use environment::remarks;

/// One thing to do.
#[derive(Debug)]
pub enum Command {
    Serve(Box<commands::serve::Options>),
    Echo(commands::echo::Options),
    Check(commands::check::Options),
    Forward(commands::forward::Options),
    InstallShim(commands::install_shim::Options),
    Key(commands::key::Options),
    #[cfg(feature = "durable")]
    Sessions(commands::sessions::Options),
    #[cfg(feature = "durable")]
    Record(commands::record::Options),
    #[cfg(feature = "durable")]
    Replay(commands::replay::Options),
    /// Print this text.
    Print(String),
}

/// What was typed can't be done: one line that says what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

/// The first words that there are.
const COMMANDS: [&str; 10] = [
    "serve",
    "echo",
    "check",
    "forward",
    "install-shim",
    "key",
    "sessions",
    "record",
    "replay",
    "help",
];

const INTRODUCTION: &str = "\
collabd: people edit one optical table together; this is the server between them.

  collabd [serve] [OPTIONS]     serve sessions: editors connect to ws://THIS-MACHINE:PORT
  collabd echo [OPTIONS]        echo every message: the first thing to try when nothing connects
  collabd check URL [OPTIONS]   walk through the protocol against any server and say what is wrong
  collabd forward URL [OPTIONS] let an editor here host on the collabd at URL: it listens on
                                ws://localhost:8765, where *Host server* connects
  collabd install-shim CHECKOUT [--remove]
                                have the editor's *Start Server* start this collabd
  collabd key new --name NAME [OPTIONS]
                                make a key and print it once; the key file keeps only its hash
  collabd key list [OPTIONS]    the names of the keys, and what each opens
  collabd key revoke NAME [OPTIONS]
                                have a key open nothing any more
  collabd sessions list [--json] --data-dir DIR | --server URL
                                the sessions that are stored in a directory, or by a running server
  collabd sessions show SESSION [--json] …
                                one of them, and the versions it can be brought back to
  collabd sessions export SESSION [OPTIONS] …
                                a canvas as an editor saves it, as it is or as it was
  collabd sessions backup FILE --data-dir DIR
                                a copy of everything, also while a server runs
  collabd sessions import SESSION FILE [OPTIONS] …
  collabd sessions restore SESSION --to SEQ|TIME …
  collabd sessions delete SESSION --yes …
  collabd sessions compact [SESSION] [OPTIONS] …
                                change what is stored: in a directory that no server uses, or
                                through the running server
  collabd record SESSION --out FILE …
                                what happened in a session, as a file
  collabd replay FILE URL [OPTIONS]
                                play it into a session of a running server
  collabd --help | --version

Every option is also an environment variable: --log-file FILE is COLLABD_LOG_FILE=FILE, a switch is
on with 1. (Of key's, only --file is one: COLLABD_KEYS, the file that a server reads.)
Times are in seconds, or like 500ms, 10m, 1h; sizes in bytes, or like 64KiB, 8MiB.
";

/// What was typed, taken apart, and the environment.
struct Line<'a> {
    words: std::vec::IntoIter<String>,
    /// Each flag with its value, in order; a switch with none.
    typed: Vec<(&'static str, String)>,
    environment: &'a dyn Fn(&str) -> Option<OsString>,
}

/// Makes a command of the arguments (without the program's name) and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Usage> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut typed, mut words) = (Vec::new(), Vec::new());
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Print(help())),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Print(version())),
            Arg::Short(letter) => return Err(unknown(&format!("-{letter}"))),
            Arg::Value(word) => words.push(text(word)?),
            Arg::Long(name) => {
                let flag = flags::all().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| unknown(&format!("--{name}")))?;
                let value = match flag.is_switch() {
                    true => String::new(),
                    false => text(parser.value().map_err(usage)?)?,
                };
                typed.push((flag.name, value));
            }
        }
    }
    command(Line { words: words.into_iter(), typed, environment: &environment })
}

fn command(mut line: Line<'_>) -> Result<Command, Usage> {
    let command = line.words.next().unwrap_or_else(|| "serve".into());
    match command.as_str() {
        "serve" => {
            let args = flag::read(&mut line, "serve", &[flags::LISTEN, flags::SERVE])?;
            Ok(Command::Serve(Box::new(serve::serve(args)?)))
        }
        "echo" => {
            let args = flag::read(&mut line, "echo", &[flags::LISTEN, flags::ECHO])?;
            Ok(Command::Echo(serve::echo(args)?))
        }
        "check" => {
            let needed = "check needs a server's address, like: collabd check ws://localhost:8765";
            let url = line.words.next().ok_or_else(|| Usage(needed.into()))?;
            let seconds = flag::read(&mut line, "check", &[flags::CHECK])?.seconds;
            Ok(Command::Check(commands::check::Options { url, seconds }))
        }
        "forward" => forward(line).map(Command::Forward),
        "install-shim" => install_shim(line).map(Command::InstallShim),
        "key" => key::parse(line).map(Command::Key),
        #[cfg(feature = "durable")]
        "sessions" => sessions::sessions(line).map(Command::Sessions),
        #[cfg(feature = "durable")]
        "record" => sessions::record(line).map(Command::Record),
        #[cfg(feature = "durable")]
        "replay" => sessions::replay(line).map(Command::Replay),
        #[cfg(not(feature = "durable"))]
        "sessions" | "record" | "replay" => {
            let why = "needs a collabd that was built with the feature `durable`";
            Err(Usage(format!("{command} {why}")))
        }
        "help" => Ok(Command::Print(help())),
        // Not repeated: it may be a key.
        other => {
            let meant = nearest(other, COMMANDS.into_iter());
            let meant = meant.map_or(String::new(), |meant| format!(", perhaps {meant} was meant"));
            Err(Usage(format!("there is no such command{meant}: see collabd --help")))
        }
    }
}

/// What `forward` is told.
fn forward(mut line: Line<'_>) -> Result<commands::forward::Options, Usage> {
    let needed = "forward needs a server's address, like: collabd forward ws://lab-pc:8765";
    let url = line.words.next().ok_or_else(|| Usage(needed.into()))?;
    let args = flag::read(&mut line, "forward", &[flags::FORWARD])?;
    let port = args.listen.port;
    let typed_file = args.stored.key_file.as_ref().is_some_and(|file| file.is_typed);
    let key = args.stored.key.filter(|key| !key.is_empty() && !typed_file);
    let key_file = args.stored.key_file.map(|file| file.text).filter(|file| !file.is_empty());
    Ok(commands::forward::Options { url, key, key_file: key_file.map(Into::into), port })
}

/// What `install-shim` is told.
fn install_shim(mut line: Line<'_>) -> Result<commands::install_shim::Options, Usage> {
    let needed = "install-shim needs the folder of the editor's checkout, like: collabd install-shim \
                  ~/optiverse";
    let checkout = line.words.next().filter(|word| !word.is_empty());
    let checkout = checkout.ok_or_else(|| Usage(needed.into()))?.into();
    let args = flag::read(&mut line, "install-shim", &[flags::INSTALL_SHIM])?;
    Ok(commands::install_shim::Options { checkout, removes: args.removes })
}

/// The name is not repeated where it may be a key.
fn unknown(option: &str) -> Usage {
    let name = option.trim_start_matches('-');
    let meant = nearest(name, flags::all().map(|flag| flag.name));
    let meant = meant.map_or(String::new(), |meant| format!(", perhaps --{meant} was meant"));
    match echoed::may_be_key(name) {
        true => Usage(format!("there is no such option{meant}: see collabd --help")),
        false => Usage(format!("there is no option {option}{meant}: see collabd --help")),
    }
}

/// Of the parser's errors one has a value in it, which may be a key.
fn usage(error: lexopt::Error) -> Usage {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => {
            Usage(format!("{option} takes no value: see collabd --help"))
        }
        error => Usage(format!("{error}: see collabd --help")),
    }
}

/// So many days.
#[cfg(feature = "durable")]
fn days(days: u32) -> std::time::Duration {
    std::time::Duration::from_secs(u64::from(days) * 24 * 3600)
}

fn text(value: OsString) -> Result<String, Usage> {
    value.into_string().map_err(|_| Usage("something that was typed is not UTF-8".into()))
}

fn version() -> String {
    format!("collabd {}\n", env!("CARGO_PKG_VERSION"))
}

/// The text of `--help`.
pub fn help() -> String {
    let mut help = INTRODUCTION.to_owned();
    for (title, table) in flags::TABLES {
        help.push_str(&format!("\nOptions of {title}:\n"));
        for flag in *table {
            let typed = format!("--{} {}", flag.name, flag.value);
            let default = match flag.default {
                "" => String::new(),
                default => format!(" [{default}]"),
            };
            help.push_str(&format!("  {typed:37} {}{default}\n", flag.help));
        }
    }
    help
}
