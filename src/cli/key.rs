//! What can be typed after `collabd key`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::echoed::shown;
use super::values::Values;
use super::{Opt, Usage, Variable, opt};
use crate::auth::Level;
use crate::auth::key_entries::is_name;
use crate::commands::key::{Action, NewKey, Options};
use crate::protocol::Timestamp;

pub(super) const KEY: &[Opt] = &[Opt {
    variable: Variable::Named("COLLABD_KEYS"),
    ..opt("file", "FILE", "keys.json", "the key file; key new makes one where there is none")
}];

pub(super) const NEW: &[Opt] = &[
    typed_only("name", "NAME", "", "what people call the key: at most 64 characters"),
    typed_only("level", "LEVEL", "write", "what it permits: read, write or admin"),
    typed_only("expires", "TIME", "", "when it ends: like 2h, 30d or 2026-12-20T00:00:00Z"),
    typed_only("sessions", "A,B", "", "the sessions and channels it opens; without it, all"),
];

const fn typed_only(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Opt {
    Opt { variable: Variable::None, ..opt(name, value, default, help) }
}

/// Makes sense of the words after `key` and of what was typed with them. A word may be a key by
/// mistake, so none is repeated.
///
/// # Errors
/// [`Usage`], in a line for the person who typed it.
pub(super) fn parse(
    mut words: impl Iterator<Item = String>,
    typed: Vec<(String, Option<String>)>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Options, Usage> {
    let action = words.next();
    let (command, tables, name): (_, &[&[Opt]], _) = match action.as_deref() {
        Some("new") => ("key new", &[KEY, NEW], None),
        Some("list") => ("key list", &[KEY], None),
        Some("revoke") => {
            let name = words.next().ok_or_else(|| {
                Usage("key revoke needs the key's name, like: collabd key revoke alice".into())
            })?;
            ("key revoke", &[KEY], Some(name))
        }
        _ => {
            let why = "key is followed by new, list or revoke: see collabd --help";
            return Err(Usage(why.into()));
        }
    };
    if words.next().is_some() {
        return Err(Usage(format!("{command} is given a word too many: see collabd --help")));
    }
    let values = Values::gather(command, tables, typed, environment)?;
    let file = PathBuf::from(values.get("file"));
    if file.as_os_str().is_empty() {
        return Err(Usage("--file has to be the name of a file".into()));
    }
    let action = match (command, name) {
        (_, Some(name)) => Action::Revoke { name },
        ("key new", _) => Action::New(new_key(&values, Timestamp::now())?),
        _ => Action::List,
    };
    Ok(Options { file, action })
}

fn new_key(values: &Values, now: Timestamp) -> Result<NewKey, Usage> {
    if !values.is_set("name") {
        return Err(Usage(
            "key new needs a name, like: collabd key new --name alice --level write".into(),
        ));
    }
    let name = values.get("name").to_owned();
    if !is_name(&name) {
        return Err(Usage(
            "--name has to be 1 to 64 characters long, without control characters".into(),
        ));
    }
    let level = values.get("level");
    let level = Level::from_name(level).ok_or_else(|| {
        Usage(format!("--level has to be read, write or admin, not {}", shown(level)))
    })?;
    let expires = values.is_set("expires").then(|| expires(values.get("expires"), now));
    let opens = values.is_set("sessions").then(|| opens(values.get("sessions")));
    Ok(NewKey { name, level, expires: expires.transpose()?, opens: opens.transpose()? })
}

/// A moment, or a time from now on. A bare number could be meant in days as well as in seconds.
fn expires(value: &str, now: Timestamp) -> Result<Timestamp, Usage> {
    let moment = match humantime::parse_duration(value) {
        Ok(time) => {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Some(Timestamp::from_millis(now.millis().saturating_add(millis)))
        }
        Err(_) => Timestamp::parse(value),
    };
    let moment = moment.ok_or_else(|| {
        Usage(format!(
            "--expires has to be a time with its unit, like 90m, 2h or 30d, or a moment like \
             2026-12-20T00:00:00Z, not {}",
            shown(value)
        ))
    })?;
    match moment > now {
        true => Ok(moment),
        false => Err(Usage(format!("--expires has to be in the future, {} is not", shown(value)))),
    }
}

/// Names of sessions and channels, which are of 1 to 128 characters. One with a comma in it can be
/// written into the key file.
fn opens(value: &str) -> Result<Vec<Box<str>>, Usage> {
    let is_room =
        |name: &str| (1..=128).contains(&name.chars().count()) && !name.contains(char::is_control);
    let names: Vec<Box<str>> = value.split(',').map(|name| name.trim().into()).collect();
    match names.iter().all(|name| is_room(name)) {
        true => Ok(names),
        false => Err(Usage(format!(
            "--sessions has to be names of 1 to 128 characters with commas between, not {}",
            shown(value)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    fn key_with(words: &[&str], environment: &[(&str, &str)]) -> Result<Options, Usage> {
        let words = ["key"].iter().chain(words).map(OsString::from);
        let set = |name: &str| environment.iter().find(|(set, _)| *set == name);
        match parse(words, |name| set(name).map(|(_, value)| value.into())) {
            Ok(Command::Key(options)) => Ok(options),
            Ok(other) => panic!("{other:?}"),
            Err(usage) => Err(usage),
        }
    }

    fn new(words: &[&str]) -> NewKey {
        let words: Vec<&str> = ["new", "--name", "alice"].iter().chain(words).copied().collect();
        match key_with(&words, &[]).expect("good words").action {
            Action::New(key) => key,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_may_write_everywhere_for_ever_unless_it_is_told_otherwise() {
        let key = new(&[]);
        assert_eq!((&*key.name, key.level), ("alice", Level::Write));
        assert_eq!((key.expires, key.opens), (None, None));
        let key = new(&["--level", "admin", "--sessions", "a, b c,ü"]);
        assert_eq!(key.level, Level::Admin);
        assert_eq!(key.opens, Some(vec!["a".into(), "b c".into(), "ü".into()]));
    }

    #[test]
    fn it_ends_after_a_time_or_at_a_moment() {
        for (value, seconds) in [("1s", 1), ("2h", 7200), ("30d", 2_592_000), ("1h 30m", 5400)] {
            let before = Timestamp::now().millis();
            let expires = new(&["--expires", value]).expires.expect("an end").millis();
            let after = Timestamp::now().millis();
            assert!(
                (before + seconds * 1000..=after + seconds * 1000).contains(&expires),
                "{value}"
            );
        }
        for value in ["2126-12-20T00:00:00Z", "2126-12-20T01:30:00.000+01:30"] {
            let moment = Timestamp::parse("2126-12-20T00:00:00.000Z");
            assert_eq!(new(&["--expires", value]).expires, moment);
        }
        let last = Timestamp::from_millis(u64::MAX);
        assert_eq!(new(&["--expires", "9999999999y"]).expires, Some(last));
    }

    #[test]
    fn the_file_is_the_one_that_a_server_reads() {
        let file = |words: &[&str], environment: &[(&str, &str)]| {
            key_with(words, environment).expect("good words").file
        };
        let variable = ("COLLABD_KEYS", "/etc/collabd/keys.json");
        assert_eq!(file(&["list"], &[]), PathBuf::from("keys.json"));
        assert_eq!(file(&["list"], &[variable]), PathBuf::from("/etc/collabd/keys.json"));
        assert_eq!(file(&["list", "--file", "a"], &[variable]), PathBuf::from("a"));
        assert_eq!(file(&["list"], &[("COLLABD_FILE", "a")]), PathBuf::from("keys.json"));
    }

    #[test]
    fn what_describes_one_key_is_not_taken_from_the_environment() {
        let environment = [
            ("COLLABD_NAME", "bob"),
            ("COLLABD_LEVEL", "admin"),
            ("COLLABD_EXPIRES", "1s"),
            ("COLLABD_SESSIONS", "a"),
        ];
        assert!(key_with(&["new"], &environment).is_err());
        let options = key_with(&["new", "--name", "alice"], &environment).expect("good words");
        let Action::New(key) = options.action else { panic!("{options:?}") };
        assert_eq!((key.level, key.expires, key.opens), (Level::Write, None, None));
    }

    #[test]
    fn what_makes_no_sense_is_answered_with_one_line() {
        let long = "a".repeat(65);
        let room = "a".repeat(129);
        for words in [
            &[][..],
            &["old"],
            &["new"],
            &["new", "alice"],
            &["new", "--name"],
            &["new", "--name", ""],
            &["new", "--name", "a\nb"],
            &["new", "--name", &long],
            &["new", "--name", "a", "--level", "root"],
            &["new", "--name", "a", "--level", ""],
            &["new", "--name", "a", "--level", "Write"],
            &["new", "--name", "a", "--expires", ""],
            &["new", "--name", "a", "--expires", "soon"],
            &["new", "--name", "a", "--expires", "30"],
            &["new", "--name", "a", "--expires", "0s"],
            &["new", "--name", "a", "--expires", "-1d"],
            &["new", "--name", "a", "--expires", "2025-01-01T00:00:00Z"],
            &["new", "--name", "a", "--expires", "2126-02-30T00:00:00Z"],
            &["new", "--name", "a", "--sessions", ""],
            &["new", "--name", "a", "--sessions", "a,,b"],
            &["new", "--name", "a", "--sessions", "a\nb"],
            &["new", "--name", "a", "--sessions", &room],
            &["new", "--name", "a", "--file", ""],
            &["new", "--name", "a", "--port", "1"],
            &["list", "a"],
            &["list", "--name", "a"],
            &["revoke"],
            &["revoke", "a", "b"],
            &["revoke", "a", "--level", "read"],
        ] {
            let Usage(line) = key_with(words, &[]).expect_err(&words.join(" "));
            assert!(!line.contains('\n') && !line.is_empty(), "{words:?}: {line}");
        }
    }
}
