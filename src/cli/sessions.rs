//! What can be typed after `collabd sessions`.

#[cfg(feature = "durable")]
use std::ffi::OsString;
#[cfg(feature = "durable")]
use std::time::Duration;

#[cfg(feature = "durable")]
use super::Usage;
#[cfg(feature = "durable")]
use super::echoed::shown;
#[cfg(feature = "durable")]
use super::values::Values;
use super::{Opt, Variable, opt};
#[cfg(feature = "durable")]
use crate::commands::remote::Server;
#[cfg(feature = "durable")]
use crate::commands::sessions::{Action, Options, Place};
#[cfg(feature = "durable")]
use crate::commands::whole_file::OutFile;
#[cfg(feature = "durable")]
use crate::commands::{record, replay};
#[cfg(feature = "durable")]
use crate::store::{PointInTime, Retention};

/// How many of its newest changes a session keeps for clients that catch up, unless the server is
/// told otherwise.
#[cfg(feature = "durable")]
const HISTORY: usize = 10_000;

pub(super) const SESSIONS: &[Opt] = &[
    opt("data-dir", "DIR", "", "the directory that a server was given with --data-dir"),
    opt("server", "URL", "", "or a server that runs, like http://localhost:8765"),
    opt(
        "key",
        "KEY",
        "",
        "what opens it: changing something needs an admin key where there are keys",
    ),
];

pub(super) const LIST: &[Opt] = &[typed_only("json", "", "print JSON")];

pub(super) const EXPORT: &[Opt] = &[
    typed_only("at", "SEQ|TIME", "the canvas as it was after a change, or at a moment"),
    typed_only("out", "FILE", "write it there; without it, to stdout"),
    FORCE,
];

pub(super) const IMPORT: &[Opt] = &[
    typed_only(
        "replace",
        "",
        "put it in the place of what the session has, which becomes a version",
    ),
    opt("max-document-bytes", "BYTES", "4MiB", "largest document of a session"),
    opt("max-message-bytes", "BYTES", "1MiB", "largest item of it"),
];

pub(super) const RESTORE: &[Opt] =
    &[typed_only("to", "SEQ|TIME", "as it was after this change, or at a moment")];

pub(super) const DELETE: &[Opt] =
    &[typed_only("yes", "", "really: neither it nor its versions come back")];

pub(super) const COMPACT: &[Opt] = &[
    opt("keep-versions", "NUMBER", "0", "remove older versions than so many; 0 for none"),
    opt("keep-days", "DAYS", "0", "remove versions that were replaced so long ago; 0 for none"),
];

pub(super) const RECORD: &[Opt] = &[typed_only("out", "FILE", "write it there"), FORCE];

const FORCE: Opt = typed_only("force", "", "replace the file if it is there already");

pub(super) const REPLAY: &[Opt] = &[
    Opt {
        default: "1",
        ..typed_only("speed", "NUMBER", "so many times as fast; max is as fast as it goes")
    },
    typed_only(
        "session",
        "NAME",
        "the session to play it into; without it, the one that was recorded",
    ),
    typed_only("replace", "", "also where that session has items, which are replaced"),
];

const fn typed_only(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { variable: Variable::None, ..opt(name, value, "", help) }
}

#[cfg(feature = "durable")]
/// What is typed with it, and the words that go with each action.
const ACTIONS: [(&str, &str, usize, usize, &[Opt]); 8] = [
    ("list", "", 0, 0, LIST),
    ("show", "SESSION", 1, 1, LIST),
    ("export", "SESSION", 1, 1, EXPORT),
    ("backup", "FILE", 1, 1, &[]),
    ("import", "SESSION FILE", 2, 2, IMPORT),
    ("restore", "SESSION --to SEQ|TIME", 1, 1, RESTORE),
    ("delete", "SESSION --yes", 1, 1, DELETE),
    ("compact", "[SESSION]", 0, 1, COMPACT),
];

/// Makes sense of the words after `sessions` and of what was typed with them.
///
/// # Errors
/// [`Usage`], in a line for the person who typed it.
#[cfg(feature = "durable")]
pub(super) fn parse(
    mut words: impl Iterator<Item = String>,
    typed: Vec<(String, Option<String>)>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Options, Usage> {
    let action = words.next().unwrap_or_default();
    let known = ACTIONS.iter().find(|(name, ..)| *name == action);
    let &(name, usage, fewest, most, options) = known.ok_or_else(|| {
        Usage(
            "sessions is followed by list, show, export, backup, import, restore, delete or \
             compact: see collabd --help"
                .into(),
        )
    })?;
    let command = format!("sessions {name}");
    let words: Vec<String> = words.collect();
    if !(fewest..=most).contains(&words.len()) {
        let like = format!("{command} {usage}");
        return Err(Usage(format!("{command} is typed like: collabd {}", like.trim_end())));
    }
    let named = Named::of(&typed);
    let values = Values::gather(&command, &[SESSIONS, options], typed, environment)?;
    let place = named.place(&values)?;
    if let (Place::Server(_), "backup") = (&place, name) {
        return Err(Usage(
            "sessions backup copies a server's directory, also while the server runs: name that \
             with --data-dir, on its machine"
                .into(),
        ));
    }
    if let (Place::Server(_), true) = (&place, named.bounds) {
        return Err(Usage(
            "with --server, that server's own limits are the ones that count".into(),
        ));
    }
    let mut words = words.into_iter();
    let mut word = || words.next().unwrap_or_default();
    let action = match name {
        "list" => Action::List { json: values.is_set("json") },
        "show" => Action::Show { session: word(), json: values.is_set("json") },
        "export" => {
            let at = values.is_set("at").then(|| point("at", values.get("at"))).transpose()?;
            let out = values.is_set("out").then(|| out_file(&values));
            if out.as_ref().is_some_and(|out| out.path.as_os_str().is_empty()) {
                return Err(Usage("--out has to be the name of a file".into()));
            }
            Action::Export { session: word(), at, out }
        }
        "backup" => Action::Backup { to: word().into() },
        "import" => Action::Import {
            session: session(word())?,
            file: word().into(),
            replace: values.is_set("replace"),
            bounds: values.document_bounds()?,
        },
        "restore" if !values.is_set("to") => {
            return Err(Usage(
                "sessions restore needs --to and the number of a change or a time: collabd \
                 sessions show SESSION lists its versions"
                    .into(),
            ));
        }
        "restore" => Action::Restore { session: word(), to: point("to", values.get("to"))? },
        "delete" if !values.is_set("yes") => {
            return Err(Usage(format!(
                "sessions delete removes {:?} and all its versions for ever: say it again with \
                 --yes",
                word()
            )));
        }
        "delete" => Action::Delete { session: word() },
        _ => {
            let days: u32 = values.number("keep-days")?;
            let retention = Retention {
                versions: values.number("keep-versions")?,
                age: Duration::from_secs(u64::from(days) * 24 * 3600),
                history: HISTORY,
            };
            Action::Compact { session: Some(word()).filter(|word| !word.is_empty()), retention }
        }
    };
    Ok(Options { place, action })
}

/// The file that `--out` names.
#[cfg(feature = "durable")]
fn out_file(values: &Values) -> OutFile {
    OutFile { path: values.get("out").into(), replaces: values.is_set("force") }
}

/// Makes sense of the words after `record` and of what was typed with them.
///
/// # Errors
/// [`Usage`], in a line for the person who typed it.
#[cfg(feature = "durable")]
pub(super) fn record(
    words: impl Iterator<Item = String>,
    typed: Vec<(String, Option<String>)>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<record::Options, Usage> {
    let named = Named::of(&typed);
    let values = Values::gather("record", &[SESSIONS, RECORD], typed, environment)?;
    let words: Vec<String> = words.collect();
    match <[String; 1]>::try_from(words) {
        Ok([session]) if !values.get("out").is_empty() => {
            Ok(record::Options { place: named.place(&values)?, session, out: out_file(&values) })
        }
        _ => Err(Usage("record is typed like: collabd record SESSION --out FILE".into())),
    }
}

/// Makes sense of the words after `replay` and of what was typed with them.
///
/// # Errors
/// [`Usage`], in a line for the person who typed it, which doesn't repeat an address with a key.
#[cfg(feature = "durable")]
pub(super) fn replay(
    words: impl Iterator<Item = String>,
    typed: Vec<(String, Option<String>)>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<replay::Options, Usage> {
    let values = Values::gather("replay", &[REPLAY], typed, environment)?;
    let words: Vec<String> = words.collect();
    let Ok([file, url]) = <[String; 2]>::try_from(words) else {
        let why = "replay is typed like: collabd replay FILE ws://localhost:8765 --session NAME";
        return Err(Usage(why.into()));
    };
    let speed = match values.get("speed") {
        "max" | "0" => None,
        speed => {
            let number = speed.parse().ok();
            let number = number.filter(|number: &f64| (0.001..=1000.0).contains(number));
            Some(number.ok_or_else(|| {
                Usage(format!(
                    "--speed has to be a number from 0.001 to 1000, or max, not {}",
                    shown(speed)
                ))
            })?)
        }
    };
    let name = values.is_set("session").then(|| session(values.get("session").to_owned()));
    let replace = values.is_set("replace");
    Ok(replay::Options { file: file.into(), url, speed, session: name.transpose()?, replace })
}

/// What was typed that says where the sessions are stored; the rest may come from the environment.
#[cfg(feature = "durable")]
struct Named {
    directory: bool,
    server: bool,
    /// How large a canvas may be.
    bounds: bool,
}

#[cfg(feature = "durable")]
impl Named {
    fn of(typed: &[(String, Option<String>)]) -> Self {
        let has = |wanted: &str| typed.iter().any(|(name, _)| name == wanted);
        let bounds = has("max-document-bytes") || has("max-message-bytes");
        Named { directory: has("data-dir"), server: has("server"), bounds }
    }

    /// Where the sessions are stored: what is typed counts more than the environment.
    ///
    /// # Errors
    /// [`Usage`], where nobody has said it, or both; nothing of an address is repeated.
    fn place(&self, values: &Values) -> Result<Place, Usage> {
        let (directory, url) = (values.get("data-dir"), values.get("server"));
        match (self.directory, self.server) {
            (true, true) => Err("--data-dir or --server? sessions are in one of them".into()),
            (false, false) if !directory.is_empty() && !url.is_empty() => {
                Err("COLLABD_DATA_DIR or COLLABD_SERVER? say --data-dir or --server".into())
            }
            (_, false) if !directory.is_empty() => Ok(Place::Directory(directory.into())),
            (false, _) if !url.is_empty() => {
                let key = Some(values.get("key").to_owned()).filter(|key| !key.is_empty());
                let server = Server { url: url.to_owned(), key };
                server.check().map(|()| Place::Server(server))
            }
            _ => Err("which sessions? name the server's directory with --data-dir DIR or \
                      COLLABD_DATA_DIR, or a server that runs with --server URL or COLLABD_SERVER"
                .into()),
        }
        .map_err(Usage)
    }
}

/// The name of a session that can be joined.
#[cfg(feature = "durable")]
pub(super) fn session(name: String) -> Result<String, Usage> {
    match (1..=128).contains(&name.chars().count()) && !name.contains(char::is_control) {
        true => Ok(name),
        false => Err(Usage(
            "a session's name has to be 1 to 128 characters long, without control characters"
                .into(),
        )),
    }
}

#[cfg(feature = "durable")]
fn point(option: &str, value: &str) -> Result<PointInTime, Usage> {
    PointInTime::parse(value).ok_or_else(|| {
        Usage(format!(
            "--{option} has to be the number of a change, like 120, or a time, like \
             2026-12-20T09:30:00Z or 2026-12-20T10:30:00+01:00, not {}",
            shown(value)
        ))
    })
}

#[cfg(all(test, feature = "durable"))]
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
