//! What can be typed after `collabd sessions`, `collabd record` and `collabd replay`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::Args;
use super::command_table::CommandSpec;
use super::data_directory::default_directory;
use super::echoed::shown;
use super::flags::session_name;
use super::read_args::read_args;
use super::values::FlagValue;
use super::{Line, Usage};
use crate::client::api::Server;
use crate::commands::archive::Place;
use crate::commands::sessions::{Action, BackupTarget, Options};
use crate::commands::whole_file::OutFile;
use crate::commands::{record, replay};
use crate::store::{PointInTime, Retention};

/// How many of its newest changes a session keeps for clients that catch up, unless the server is
/// told otherwise.
const KEPT_CHANGES: usize = 10_000;

fn refused<T>(why: impl Into<String>) -> Result<T, Usage> {
    Err(Usage(why.into()))
}

/// Makes sense of the words after `sessions` and of the flags.
pub(super) fn sessions(mut line: Line<'_>, command: &CommandSpec) -> Result<Options, Usage> {
    let words: Vec<String> = line.words.by_ref().collect();
    let (min, max) = command.word_bounds();
    if !(min..=max).contains(&words.len()) {
        return refused(format!("{} is typed like: {}", command.name, command.typed()));
    }
    let args = read_args(&mut line, command)?;
    let place = place(&args, line.environment)?;
    if matches!(place, Place::Server(_)) {
        if command.name == "sessions backup" {
            return refused(
                "sessions backup copies a server's directory, also while the server runs: name \
                 that with --data-dir, on its machine",
            );
        }
        if args.stored.has_typed_bounds {
            return refused("with --server, that server's own limits are the ones that count");
        }
    }
    Ok(Options { place, action: action_of(command.name, words, args)? })
}

fn action_of(name: &str, words: Vec<String>, args: Args) -> Result<Action, Usage> {
    let mut words = words.into_iter();
    let mut word = || words.next().unwrap_or_default();
    let stored = args.stored;
    Ok(match name {
        "sessions list" => Action::List { json: stored.json },
        "sessions show" => Action::Show { session: word(), json: stored.json },
        "sessions export" => {
            if stored.out.as_ref().is_some_and(|out| out.as_os_str().is_empty()) {
                return refused("--out has to be the name of a file");
            }
            let at = stored.at.map(|at| point("at", &at)).transpose()?;
            let out = stored.out.map(|path| OutFile { path, replaces: stored.force });
            Action::Export { session: word(), at, out }
        }
        "sessions backup" => {
            Action::Backup { to: backup_target(word(), stored.into, stored.keep)? }
        }
        "sessions import" => Action::Import {
            session: session_name(&word())?,
            file: word().into(),
            replace: stored.replace,
            bounds: args.limits.document,
        },
        "sessions restore" => match stored.to {
            Some(to) => Action::Restore { session: word(), to: point("to", &to)? },
            None => {
                return refused(
                    "sessions restore needs --to and the number of a change or a time: collabd \
                     sessions show SESSION lists its versions",
                );
            }
        },
        "sessions delete" if !stored.yes => {
            return refused(format!(
                "sessions delete removes {:?} and all its versions for ever: say it again with \
                 --yes",
                word()
            ));
        }
        "sessions delete" => Action::Delete { session: word() },
        _ => {
            let (versions, age) = (stored.keep_versions, super::days(stored.keep_days));
            let retention = Retention { versions, age, history: KEPT_CHANGES };
            let session = words.next().filter(|session| !session.is_empty());
            Action::Compact { session, retention }
        }
    })
}

/// Where a backup is made: in a file, or in a directory in which so many stay.
fn backup_target(file: String, into: Option<PathBuf>, keep: usize) -> Result<BackupTarget, Usage> {
    match (file.is_empty(), into) {
        (false, None) if keep == 0 => Ok(BackupTarget::File(file.into())),
        (true, Some(directory)) if !directory.as_os_str().is_empty() => {
            Ok(BackupTarget::Directory { directory, keep })
        }
        _ => refused(
            "sessions backup is typed like: collabd sessions backup FILE, or collabd sessions \
             backup --into DIR --keep 14",
        ),
    }
}

/// Makes sense of the words after `record` and of the flags.
pub(super) fn record(mut line: Line<'_>, command: &CommandSpec) -> Result<record::Options, Usage> {
    let words: Vec<String> = line.words.by_ref().collect();
    let args = read_args(&mut line, command)?;
    let out = args.stored.out.clone().filter(|out| !out.as_os_str().is_empty());
    let (Ok([session]), Some(path)) = (<[String; 1]>::try_from(words), out) else {
        return refused("record is typed like: collabd record SESSION --out FILE");
    };
    let out = OutFile { path, replaces: args.stored.force };
    Ok(record::Options { place: place(&args, line.environment)?, session, out })
}

/// Makes sense of the words after `replay` and of the flags.
///
/// # Errors
/// [`Usage`], in a line for the person who typed it, which doesn't repeat an address with a key.
pub(super) fn replay(mut line: Line<'_>, command: &CommandSpec) -> Result<replay::Options, Usage> {
    let words: Vec<String> = line.words.by_ref().collect();
    let stored = read_args(&mut line, command)?.stored;
    let Ok([file, url]) = <[String; 2]>::try_from(words) else {
        return refused(
            "replay is typed like: collabd replay FILE ws://localhost:8765 --session NAME",
        );
    };
    let (session, replace) = (stored.session, stored.replace);
    Ok(replay::Options { file: file.into(), url, speed: stored.speed, session, replace })
}

/// Where the sessions are stored: what is typed counts more than the environment. Where nothing is
/// named, in the directory that a server takes by default.
///
/// # Errors
/// [`Usage`], where both a directory and a server are named, or an empty one; nothing of an address is
/// repeated.
fn place(args: &Args, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Place, Usage> {
    let split = |place: &Option<FlagValue>| {
        place.as_ref().map_or((String::new(), false), |given| (given.text.clone(), given.is_typed))
    };
    let (directory, has_typed_directory) = split(&args.stored.data_dir);
    let (url, has_typed_server) = split(&args.stored.server);
    match (has_typed_directory, has_typed_server) {
        (true, true) => refused("--data-dir or --server? sessions are in one of them"),
        (false, false) if !directory.is_empty() && !url.is_empty() => {
            refused("COLLABD_DATA_DIR or COLLABD_SERVER? say --data-dir or --server")
        }
        (_, false) if !directory.is_empty() => Ok(Place::Directory(directory.into())),
        (false, _) if !url.is_empty() => {
            let key = args.stored.key.clone().filter(|key| !key.is_empty());
            let (file, is_typed) = split(&args.stored.key_file);
            // A file that is typed counts more than a key in the environment.
            let key = key.filter(|_| !is_typed);
            let key_file = Some(file).filter(|file| !file.is_empty()).map(Into::into);
            let server = Server { url, key, key_file };
            server.check().map_err(Usage)?;
            Ok(Place::Server(server))
        }
        _ => match default_directory(environment) {
            Some(directory) if args.stored.data_dir.is_none() && args.stored.server.is_none() => {
                Ok(Place::Directory(directory))
            }
            _ => refused(
                "which sessions? name the server's directory with --data-dir DIR or \
                 COLLABD_DATA_DIR, or a server that runs with --server URL or COLLABD_SERVER",
            ),
        },
    }
}

fn point(flag: &str, value: &str) -> Result<PointInTime, Usage> {
    PointInTime::parse(value).ok_or_else(|| {
        Usage(format!(
            "--{flag} has to be the number of a change, like 120, or a time, like \
             2026-12-20T09:30:00Z or 2026-12-20T10:30:00+01:00, not {}",
            shown(value)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::protocol::Timestamp;

    fn sessions(words: &str) -> Result<Options, Usage> {
        let words = ["sessions"].into_iter().chain(words.split_whitespace()).map(OsString::from);
        match parse(words, |name| (name == "COLLABD_DATA_DIR").then(|| "data".into())) {
            Ok(Command::Sessions(options)) => Ok(options),
            Ok(other) => panic!("{other:?}"),
            Err(usage) => Err(usage),
        }
    }

    #[test]
    fn a_moment_or_a_change() {
        for (typed, expected) in [
            ("7", PointInTime::Seq(7)),
            (
                "2025-10-28T13:30:45.123Z",
                PointInTime::Time(Timestamp::from_millis(1_761_658_245_123)),
            ),
        ] {
            let options = sessions(&format!("restore table --to {typed}")).expect("good words");
            let Action::Restore { session, to } = options.action else { panic!("{options:?}") };
            assert_eq!((&*session, to), ("table", expected));
            let Place::Directory(directory) = options.place else { panic!("a server") };
            assert_eq!(directory, std::path::PathBuf::from("data"));
        }
    }

    #[test]
    fn a_directory_or_a_server() {
        let place = |words: &str, environment: &[(&str, &str)]| {
            let words = format!("sessions list {words}");
            let words = words.split_whitespace().map(OsString::from);
            let of = |name: &str| environment.iter().find(|(known, _)| *known == name);
            match parse(words, |name| of(name).map(|(_, value)| value.into())) {
                Ok(Command::Sessions(Options { place: Place::Directory(directory), .. })) => {
                    Ok(directory.display().to_string())
                }
                Ok(Command::Sessions(Options { place: Place::Server(server), .. })) => {
                    Ok(format!("{} {}", server.url, server.key.unwrap_or_default()))
                }
                Ok(other) => panic!("{other:?}"),
                Err(Usage(line)) => Err(line),
            }
        };
        let directory = ("COLLABD_DATA_DIR", "there");
        let server = ("COLLABD_SERVER", "http://b");
        let key = ("COLLABD_KEY", "k");
        for (words, environment, expected) in [
            ("--data-dir here", &[directory, server][..], "here"),
            ("--server http://a", &[directory, server], "http://a "),
            ("--server http://a --key l", &[key], "http://a l"),
            ("", &[server, key], "http://b k"),
            ("", &[directory, key], "there"),
            ("", &[("STATE_DIRECTORY", "/var/lib/collabd")], "/var/lib/collabd"),
        ] {
            assert_eq!(place(words, environment).as_deref(), Ok(expected), "{words}");
        }
        for (words, environment) in [
            ("--data-dir here --server http://a", &[][..]),
            ("", &[directory, server]),
            ("", &[]),
            ("--server=", &[]),
            ("--server= ", &[directory]),
            ("--server https://hunter2", &[]),
            ("--server http://a/?key=hunter2", &[]),
        ] {
            let line = place(words, environment).expect_err(words);
            assert!(!line.contains("hunter2") && !line.contains('\n'), "{words}: {line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_answered_with_one_line() {
        for words in [
            "",
            "forget",
            "list table",
            "show",
            "show a b",
            "export",
            "export a --at",
            "export a --at yesterday",
            "export a --at -1",
            "export a --at 99999999999999999999",
            "export a --out=",
            "backup",
            "backup f --into d",
            "backup f --keep 2",
            "backup --keep 2",
            "backup --into=",
            "backup --into d --keep x",
            "import a",
            "import a b c",
            "import a b --max-document-bytes much",
            "restore a",
            "restore a --to",
            "restore a --to 2026-02-30T00:00:00Z",
            "delete a",
            "delete --yes",
            "compact a b",
            "compact --keep-days some",
            "list --data-dir=",
            "list --port 1",
            "list --yes",
            "backup f --server http://a",
            "import a b --server http://a --max-document-bytes 1MiB",
        ] {
            let Usage(line) = sessions(words).expect_err(words);
            assert!(!line.contains('\n') && !line.is_empty(), "{words}: {line}");
        }
        let words = ["sessions", "list"].map(OsString::from);
        assert!(parse(words, |_| None).is_err());
    }
}
