//! What can be typed: commands, options, their defaults and units, and the help that lists them.

mod echoed;
mod environment;
mod key;
mod sessions;
mod values;

use std::ffi::OsString;

use lexopt::Arg;

use crate::commands::{self, check, echo, serve};
use echoed::nearest;
pub use environment::remarks;
use values::Values;

/// One thing to do.
#[derive(Debug)]
pub enum Command {
    Serve(Box<serve::Options>),
    Echo(echo::Options),
    Check(check::Options),
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

/// An option: its name, what stands for its value (empty for a switch), its default and what it is
/// for.
struct Opt {
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
    variable: Variable,
    /// It can be typed several times, or once with commas.
    is_list: bool,
}

/// The environment variable that sets an option where it isn't typed.
#[derive(Clone, Copy)]
enum Variable {
    /// `--log-file` is `COLLABD_LOG_FILE`.
    OfItsName,
    /// This one.
    Named(&'static str),
    /// What describes one thing, like a new key, has no business in the environment: it would
    /// describe the next one, too.
    None,
}

impl Opt {
    fn variable(&self) -> Option<String> {
        match self.variable {
            Variable::OfItsName => Some(environment::variable(self.name)),
            Variable::Named(name) => Some(name.to_owned()),
            Variable::None => None,
        }
    }
}

const fn opt(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Opt {
    Opt { name, value, default, help, variable: Variable::OfItsName, is_list: false }
}

const fn list(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { is_list: true, ..opt(name, value, "", help) }
}

const COMMON: &[Opt] = &[
    opt(
        "host",
        "ADDRESS",
        "0.0.0.0",
        "listen on this address of this machine; 0.0.0.0 is all of them",
    ),
    opt("port", "NUMBER", "8765", "listen on this port; 0 picks a free one and says which"),
    opt("debug", "", "", "log a line for every message: its type and size, never its content"),
    opt("log-file", "FILE", "", "append the log to this file, too"),
    opt(
        "max-connections",
        "NUMBER",
        "10000",
        "connections at a time, more get 503; 0 for no limit",
    ),
    opt(
        "max-connections-per-address",
        "NUMBER",
        "1000",
        "connections at a time from one address, more get 503; 0 for no limit",
    ),
    opt(
        "handshake-timeout",
        "SECONDS",
        "10",
        "a client's time to send its request, all of it; 0 for no limit",
    ),
    opt(
        "writer-threads",
        "",
        "",
        "send to each client from a thread of its own (always so on Windows)",
    ),
];

const SERVE: &[Opt] = &[
    opt(
        "linger",
        "SECONDS",
        "600",
        "keep a session whose last member has left for so long; 0 removes it at once",
    ),
    opt(
        "max-sessions",
        "NUMBER",
        "1000",
        "sessions at a time, lingering ones too, more get 503; 0 for no limit",
    ),
    opt(
        "max-message-bytes",
        "BYTES",
        "1MiB",
        "largest message a client may send but a whole canvas, a larger one is closed with 1009",
    ),
    opt(
        "max-document-bytes",
        "BYTES",
        "4MiB",
        "largest document of a session, a change beyond it is refused",
    ),
    opt(
        "documents-memory",
        "BYTES",
        "",
        "memory that the documents of all sessions may take together; a change that needs more is refused; 0 for no limit [half of what the machine or the container has]",
    ),
    opt(
        "history-changes",
        "NUMBER",
        "10000",
        "changes a session remembers for clients that catch up",
    ),
    opt("history-bytes", "BYTES", "4MiB", "size of the changes a session remembers"),
    opt(
        "queue-bytes",
        "BYTES",
        "8MiB",
        "what may wait for a client that reads slowly; over it for 10 s, or over twice that, it is closed with 1008; 0 for no limit",
    ),
    opt(
        "rate-messages",
        "NUMBER",
        "2000",
        "messages a second a client may send for long, four seconds' worth at once; faster ones are read more slowly; 0 for no limit",
    ),
    opt("rate-bytes", "BYTES", "4MiB", "the same for bytes a second; 0 for no limit"),
    opt(
        "idle-timeout",
        "SECONDS",
        "0",
        "close a client with 1008 that says nothing for so long, at least 45; 0 never does; one that answers no Ping for 90 s is closed all the same",
    ),
    opt(
        "data-dir",
        "DIR",
        "",
        "store sessions there, so that they survive; without it they are forgotten with the server",
    ),
    opt(
        "keep-versions",
        "NUMBER",
        "1000",
        "versions of each stored session to go back to; 0 for any number; the newest always stays",
    ),
    opt(
        "keep-days",
        "DAYS",
        "90",
        "days a version stays after the next one has taken its place; 0 for ever",
    ),
    opt("keys", "FILE", "", "who may come in: a file made by collabd key new"),
    opt("require-key", "", "", "sessions ask for a key, too: the client protocol always does"),
    list(
        "allow-origin",
        "ORIGIN",
        "pages of this origin, like https://lab.example:8443, may connect, too; * is any; repeatable",
    ),
    list(
        "allow-host",
        "NAME",
        "pages may call the server by this name, too; its addresses and its own names always work; repeatable",
    ),
    list(
        "trust-proxy",
        "NETWORK",
        "a reverse proxy whose X-Forwarded-For says where a client comes from, or a network of them like 172.16.0.0/12; repeatable",
    ),
    opt(
        "max-channels",
        "NUMBER",
        "10000",
        "channels of the client protocol at a time, joining more is refused; 0 for no limit",
    ),
    opt("debug-endpoints", "", "", "serve /debug/client_…, which echoes what is sent to a channel"),
    opt("dev-keys", "", "", "accept two keys that everybody knows: for development only"),
    opt(
        "no-settle",
        "",
        "",
        "never send items again once they are still (docs/PROTOCOL.md, Settling)",
    ),
];

const ECHO: &[Opt] = &[
    opt(
        "max-message-bytes",
        "BYTES",
        "16MiB",
        "largest message a client may send, a larger one is closed with 1009",
    ),
    opt(
        "queue-bytes",
        "BYTES",
        "64MiB",
        "what may wait for a client that reads slowly; 0 for no limit",
    ),
];

const CHECK: &[Opt] =
    &[opt("seconds", "SECONDS", "15", "stay connected for so long before leaving")];

/// All options there are, and whose they are.
const TABLES: &[(&str, &[Opt])] = &[
    ("serve and echo", COMMON),
    ("serve", SERVE),
    ("echo", ECHO),
    ("check", CHECK),
    ("key", key::KEY),
    ("key new", key::NEW),
    ("sessions and record", sessions::SESSIONS),
    ("sessions list and show", sessions::LIST),
    ("sessions export", sessions::EXPORT),
    ("sessions import", sessions::IMPORT),
    ("sessions restore", sessions::RESTORE),
    ("sessions delete", sessions::DELETE),
    ("sessions compact", sessions::COMPACT),
    ("record", sessions::RECORD),
    ("replay", sessions::REPLAY),
];

/// The first words that there are.
const COMMANDS: [&str; 8] =
    ["serve", "echo", "check", "key", "sessions", "record", "replay", "help"];

const INTRODUCTION: &str = "\
collabd: people edit one optical table together; this is the server between them.

  collabd [serve] [OPTIONS]     serve sessions: editors connect to ws://THIS-MACHINE:PORT
  collabd echo [OPTIONS]        echo every message: the first thing to try when nothing connects
  collabd check URL [OPTIONS]   walk through the protocol against any server and say what is wrong
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

/// Makes a command of the arguments (without the program's name) and the environment.
///
/// # Errors
/// [`Usage`], in a line for the person who typed it.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Usage> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut typed: Vec<(String, Option<String>)> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Short('h') => return Ok(Command::Print(help())),
            Arg::Short('V') => return Ok(Command::Print(version())),
            Arg::Short(letter) => return Err(unknown(&format!("-{letter}"))),
            Arg::Value(word) => words.push(text(word)?),
            Arg::Long("help") => return Ok(Command::Print(help())),
            Arg::Long("version") => return Ok(Command::Print(version())),
            Arg::Long(name) => {
                let name = name.to_owned();
                let option = all_options().find(|option| option.name == name);
                let option = option.ok_or_else(|| unknown(&format!("--{name}")))?;
                let value = match option.value.is_empty() {
                    true => None,
                    false => Some(text(parser.value().map_err(usage)?)?),
                };
                typed.push((name, value));
            }
        }
    }
    let mut words = words.into_iter();
    let command = words.next().unwrap_or_else(|| "serve".into());
    let (tables, url): (&[&[Opt]], _) = match command.as_str() {
        "serve" => (&[COMMON, SERVE], None),
        "echo" => (&[COMMON, ECHO], None),
        "check" => (
            &[CHECK],
            Some(words.next().ok_or_else(|| {
                Usage(
                    "check needs a server's address, like: collabd check ws://localhost:8765"
                        .into(),
                )
            })?),
        ),
        "key" => return key::parse(words, typed, environment).map(Command::Key),
        #[cfg(feature = "durable")]
        "sessions" => return sessions::parse(words, typed, environment).map(Command::Sessions),
        #[cfg(feature = "durable")]
        "record" => return sessions::record(words, typed, environment).map(Command::Record),
        #[cfg(feature = "durable")]
        "replay" => return sessions::replay(words, typed, environment).map(Command::Replay),
        #[cfg(not(feature = "durable"))]
        "sessions" | "record" | "replay" => {
            let why = "needs a collabd that was built with the feature `durable`";
            return Err(Usage(format!("{command} {why}")));
        }
        "help" => return Ok(Command::Print(help())),
        // Not repeated: it may be a key.
        other => {
            let meant = nearest(other, COMMANDS.into_iter());
            let meant = meant.map_or(String::new(), |meant| format!(", perhaps {meant} was meant"));
            return Err(Usage(format!("there is no such command{meant}: see collabd --help")));
        }
    };
    if words.next().is_some() {
        return Err(Usage(format!("{command} is given a word too many: see collabd --help")));
    }
    let values = Values::gather(&command, tables, typed, environment)?;
    match url {
        Some(url) => {
            Ok(Command::Check(check::Options { url, seconds: values.duration("seconds")? }))
        }
        None if command == "echo" => {
            Ok(Command::Echo(echo::Options { listen: values.listen()?, config: values.config()? }))
        }
        None => Ok(Command::Serve(Box::new(values.serve()?))),
    }
}

fn all_options() -> impl Iterator<Item = &'static Opt> {
    TABLES.iter().flat_map(|(_, table)| *table)
}

/// The name is not repeated where it may be a key.
fn unknown(option: &str) -> Usage {
    let name = option.trim_start_matches('-');
    let meant = nearest(name, all_options().map(|option| option.name));
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

fn text(value: OsString) -> Result<String, Usage> {
    value.into_string().map_err(|_| Usage("something that was typed is not UTF-8".into()))
}

fn version() -> String {
    format!("collabd {}\n", env!("CARGO_PKG_VERSION"))
}

/// The text of `--help`.
pub fn help() -> String {
    let mut help = INTRODUCTION.to_owned();
    for (title, table) in TABLES {
        help.push_str(&format!("\nOptions of {title}:\n"));
        for option in *table {
            let typed = format!("--{} {}", option.name, option.value);
            let default = match option.default {
                "" => String::new(),
                default => format!(" [{default}]"),
            };
            help.push_str(&format!("  {typed:37} {}{default}\n", option.help));
        }
    }
    help
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    fn parse_with(words: &str, environment: &[(&str, &str)]) -> Result<Command, Usage> {
        let environment: HashMap<_, _> = environment.iter().copied().collect();
        parse(words.split_whitespace().map(OsString::from), |name| {
            environment.get(name).map(OsString::from)
        })
    }

    fn serve(words: &str, environment: &[(&str, &str)]) -> serve::Options {
        match parse_with(words, environment) {
            Ok(Command::Serve(options)) => *options,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn bare_it_serves_as_the_earlier_servers_did() {
        let options = serve("", &[]);
        assert_eq!((options.listen.host.as_str(), options.listen.port), ("0.0.0.0", 8765));
        assert_eq!(options.limits.linger, Duration::from_secs(600));
        assert_eq!(options.config.max_message_bytes, 1 << 20);
        assert!(options.limits.settle && !options.listen.debug);
        let options = serve("--host localhost --port 9000 --debug", &[]);
        assert_eq!((options.listen.host.as_str(), options.listen.port), ("localhost", 9000));
        assert!(options.listen.debug);
    }

    #[test]
    fn what_is_typed_stands_above_the_environment() {
        let environment =
            [("COLLABD_PORT", "1"), ("COLLABD_NO_SETTLE", "1"), ("COLLABD_DEBUG", "0")];
        let options = serve("serve --port=2 --linger 1.5", &environment);
        assert_eq!(options.listen.port, 2);
        assert_eq!(options.limits.linger, Duration::from_millis(1500));
        assert!(!options.limits.settle && !options.listen.debug);
        assert_eq!(serve("", &environment).listen.port, 1);
    }

    #[test]
    fn times_and_sizes_have_units() {
        let options = serve("--linger 2h --max-message-bytes 64KiB --history-bytes 4096", &[]);
        assert_eq!(options.limits.linger, Duration::from_secs(7200));
        assert_eq!(options.config.max_message_bytes, 65_536);
        assert_eq!(options.limits.history.bytes, 4096);
    }

    #[test]
    fn nothing_turns_a_limit_off() {
        let options = serve("", &[]);
        assert_eq!(options.config.handshake_timeout, Some(Duration::from_secs(10)));
        assert_eq!(options.config.queue_bytes, Some(8 << 20));
        let options = serve("--handshake-timeout 0 --queue-bytes 0", &[]);
        assert_eq!(options.config.handshake_timeout, None);
        assert_eq!(options.config.queue_bytes, None);
        // However large the document is.
        let options = serve("--queue-bytes 0 --max-document-bytes 1GiB", &[]);
        assert_eq!(options.config.queue_bytes, None);
        let environment = [("COLLABD_QUEUE_BYTES", "0"), ("COLLABD_HANDSHAKE_TIMEOUT", "0s")];
        let options = serve("", &environment);
        assert!(options.config.queue_bytes.is_none() && options.config.handshake_timeout.is_none());
    }

    #[test]
    fn lists_are_typed_once_or_often() {
        let environment = [("COLLABD_TRUST_PROXY", "10.0.0.1,10.0.0.2")];
        let proxies = |words| serve(words, &environment).config.trusted_proxies.len();
        assert_eq!(proxies(""), 2);
        assert_eq!(proxies("--trust-proxy ::1"), 1);
        assert_eq!(proxies("--trust-proxy ::1 --trust-proxy 10.0.0.1,10.0.0.3"), 3);
    }

    #[test]
    fn what_makes_no_sense_is_answered_with_one_line() {
        for words in [
            "--prot 1",
            "-p 1",
            "--port",
            "--port x",
            "--port 70000",
            "--linger -1",
            "--linger soon",
            "--debug=1",
            "bake",
            "serve twice",
            "check",
            "check a b",
            "echo --linger 1",
            "check a --port 1",
            "--queue-bytes 1KiB",
            "--max-message-bytes 3",
            "--handshake-timeout -1",
            "--queue-bytes 1KiB --max-document-bytes 1KiB",
            "--queue-bytes 1023 --max-document-bytes 0",
            "--idle-timeout 30",
            "--history-bytes 99999GiB",
            "--linger nan",
            "--linger 1e300",
            "--require-key",
            "--allow-origin lab",
            "--trust-proxy proxy",
        ] {
            let Usage(line) = parse_with(words, &[]).expect_err(words);
            assert!(!line.contains('\n') && !line.is_empty(), "{words}: {line}");
        }
        assert!(parse_with("", &[("COLLABD_DEBUG", "perhaps")]).is_err());
        assert!(parse_with("", &[("COLLABD_PORT", "perhaps")]).is_err());
    }

    #[test]
    fn help_names_every_option_with_its_default() {
        let help = help();
        for option in all_options() {
            assert!(help.contains(&format!("--{}", option.name)));
            assert!(help.contains(option.default));
        }
    }
}
