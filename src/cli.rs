//! What can be typed: commands, options, their defaults and units, and the help that lists them.

mod args;
mod command_table;
mod config_check;
mod config_file;
#[cfg(feature = "durable")]
mod data_directory;
mod echoed;
mod environment;
mod flag;
#[rustfmt::skip]
mod flags;
mod help;
mod key;
mod manual;
mod read_args;
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
use command_table::{COMMANDS, CommandSpec};
use config_file::ConfigFile;
use echoed::nearest;
pub use environment::remarks;
use read_args::read_args;

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

/// What was typed, taken apart, and the environment.
struct Line<'a> {
    words: std::vec::IntoIter<String>,
    /// Each flag with its value, in order; a switch with none.
    typed: Vec<(&'static str, String)>,
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The configuration file, once a command has read it.
    file: Option<ConfigFile>,
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
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Print(help::page(&words))),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Print(version())),
            Arg::Short(letter) => return Err(unknown(&format!("-{letter}"))),
            Arg::Value(word) => words.push(text(word)?),
            Arg::Long(name) => {
                let flag = command_table::all_flags().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| unknown(&format!("--{name}")))?;
                let value = match flag.is_switch() {
                    true => String::new(),
                    false => text(parser.value().map_err(usage)?)?,
                };
                typed.push((flag.name, value));
            }
        }
    }
    if words.first().is_some_and(|word| word == "help") {
        return Ok(Command::Print(help::page(&words[1..])));
    }
    let spec = take_command(&mut words)?;
    command(spec, Line { words: words.into_iter(), typed, environment: &environment, file: None })
}

/// Takes the words of a command from the beginning of what was typed. Without any, it is `serve`.
fn take_command(words: &mut Vec<String>) -> Result<&'static CommandSpec, Usage> {
    let Some(first) = words.first() else {
        return command_table::find("serve").ok_or_else(|| Usage("there is no command".into()));
    };
    let beginning = words.get(..2).map(|two| two.join(" "));
    let two = beginning.as_deref().and_then(command_table::find);
    if let Some(command) = two {
        words.drain(..2);
        return Ok(command);
    }
    if let Some(command) = command_table::find(first) {
        words.drain(..1);
        return Ok(command);
    }
    let seconds: Vec<&str> = COMMANDS
        .iter()
        .filter_map(|command| command.name.strip_prefix(first)?.strip_prefix(' '))
        .collect();
    if let [others @ .., last] = &seconds[..] {
        let all = match others {
            [] => (*last).to_owned(),
            others => format!("{} or {last}", others.join(", ")),
        };
        return Err(Usage(format!("{first} is followed by {all}: see collabd help {first}")));
    }
    // Not repeated: it may be a key.
    let firsts = COMMANDS.iter().filter_map(|command| command.name.split(' ').next());
    let meant = nearest(first, firsts);
    let meant = meant.map_or(String::new(), |meant| format!(", perhaps {meant} was meant"));
    Err(Usage(format!("there is no such command{meant}: see collabd --help")))
}

fn command(spec: &'static CommandSpec, mut line: Line<'_>) -> Result<Command, Usage> {
    match spec.name {
        "serve" => {
            let args = read_args(&mut line, spec)?;
            Ok(Command::Serve(Box::new(serve::serve(args, &line)?)))
        }
        "config check" => config_check::table(&mut line, spec).map(Command::Print),
        "echo" => Ok(Command::Echo(serve::echo(read_args(&mut line, spec)?)?)),
        "check" => {
            let needed = "check needs a server's address, like: collabd check ws://localhost:8765";
            let url = line.words.next().ok_or_else(|| Usage(needed.into()))?;
            let seconds = read_args(&mut line, spec)?.seconds;
            Ok(Command::Check(commands::check::Options { url, seconds }))
        }
        "forward" => forward(line, spec).map(Command::Forward),
        "install-shim" => install_shim(line, spec).map(Command::InstallShim),
        "key new" | "key list" | "key revoke" => key::parse(line, spec).map(Command::Key),
        "completions" => {
            let shell = line.words.next().unwrap_or_default();
            read_args(&mut line, spec)?;
            let script = manual::completions(&shell).ok_or_else(|| {
                Usage("completions is followed by bash, zsh, fish or powershell".into())
            })?;
            Ok(Command::Print(script))
        }
        "man" => {
            read_args(&mut line, spec)?;
            Ok(Command::Print(manual::page()))
        }
        #[cfg(feature = "durable")]
        "record" => sessions::record(line, spec).map(Command::Record),
        #[cfg(feature = "durable")]
        "replay" => sessions::replay(line, spec).map(Command::Replay),
        #[cfg(feature = "durable")]
        _ => sessions::sessions(line, spec).map(Command::Sessions),
        #[cfg(not(feature = "durable"))]
        name => {
            Err(Usage(format!("{name} needs a collabd that was built with the feature `durable`")))
        }
    }
}

/// What `forward` is told.
fn forward(
    mut line: Line<'_>,
    spec: &'static CommandSpec,
) -> Result<commands::forward::Options, Usage> {
    let needed = "forward needs a server's address, like: collabd forward ws://lab-pc:8765";
    let url = line.words.next().ok_or_else(|| Usage(needed.into()))?;
    let args = read_args(&mut line, spec)?;
    let port = args.listen.port;
    // A file that is typed counts more than a key in the environment.
    let is_typed = args.stored.key_file.as_ref().is_some_and(|file| file.is_typed);
    let key = args.stored.key.filter(|key| !key.is_empty() && !is_typed);
    let key_file = args.stored.key_file.map(|file| file.text).filter(|file| !file.is_empty());
    Ok(commands::forward::Options { url, key, key_file: key_file.map(Into::into), port })
}

/// What `install-shim` is told.
fn install_shim(
    mut line: Line<'_>,
    spec: &'static CommandSpec,
) -> Result<commands::install_shim::Options, Usage> {
    let needed = "install-shim needs the folder of the editor's checkout, like: collabd install-shim \
                  ~/optiverse";
    let checkout = line.words.next().filter(|word| !word.is_empty());
    let checkout = checkout.ok_or_else(|| Usage(needed.into()))?.into();
    let args = read_args(&mut line, spec)?;
    Ok(commands::install_shim::Options { checkout, removes: args.removes })
}

/// The name is not repeated where it may be a key.
fn unknown(option: &str) -> Usage {
    let name = option.trim_start_matches('-');
    let meant = nearest(name, command_table::all_flags().map(|flag| flag.name));
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

/// The version, and what it was built of.
fn version() -> String {
    let commit =
        option_env!("COLLABD_COMMIT").map_or(String::new(), |commit| format!(" ({commit})"));
    #[cfg(feature = "durable")]
    let stores = format!("stores sessions with SQLite {}", crate::store::sqlite_version());
    #[cfg(not(feature = "durable"))]
    let stores = "stores no sessions: it was built without the feature `durable`";
    format!("collabd {}{commit}\n{stores}\n", env!("CARGO_PKG_VERSION"))
}
