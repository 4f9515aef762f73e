//! What can be typed after `collabd key`. A word may be a key by mistake, so none is repeated.

use super::command_table::CommandSpec;
use super::read_args::read_args;
use super::{Line, Usage};
use crate::auth::Level;
use crate::commands::key::{Action, NewKey, Options};

/// Makes sense of the words after `key` and of the flags.
pub(super) fn parse(mut line: Line<'_>, command: &CommandSpec) -> Result<Options, Usage> {
    let refused = |why: &str| Usage(why.into());
    let (args, action) = match command.name {
        "key new" => {
            let args = read_args(&mut line, command)?;
            let name = args.key.name.clone().ok_or_else(|| {
                refused("key new needs a name, like: collabd key new --name alice --level write")
            })?;
            let level = args.key.level.unwrap_or(Level::Write);
            let (expires, opens) = (args.key.expires, args.key.sessions.clone());
            (args, Action::New(NewKey { name, level, expires, opens }))
        }
        "key list" => (read_args(&mut line, command)?, Action::List),
        _ => {
            let name = line.words.next().ok_or_else(|| {
                refused("key revoke needs the key's name, like: collabd key revoke alice")
            })?;
            (read_args(&mut line, command)?, Action::Revoke { name })
        }
    };
    let file = args.key.file;
    match file.as_os_str().is_empty() {
        true => Err(refused("--file has to be the name of a file")),
        false => Ok(Options { file, action }),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::*;
    use crate::cli::{Command, parse};
    use crate::protocol::Timestamp;

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
