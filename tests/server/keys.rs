//! `collabd key`: keys are made, listed and revoked, and nobody sees one but who made it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, Run, collabd};

/// A directory with a key file that is yet to be made.
struct Place(Folder);

impl Place {
    fn new() -> Self {
        Place(Folder::new())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keys.json")
    }

    /// `collabd key …` in this directory, where `keys.json` is the file unless another is named.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = collabd(&[&["key"], args].concat());
        command.current_dir(self.0.path());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args))
    }

    /// Makes a key and returns it.
    fn make(&self, name: &str, more: &[&str]) -> String {
        let run = self.run(&[&["new", "--name", name], more].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        run.out.strip_suffix('\n').expect("a line").to_owned()
    }

    /// A run that does what it should and has nothing to remark.
    fn succeeds(&self, args: &[&str]) -> String {
        self.run(args).succeeded()
    }

    /// A run that fails with one line.
    fn fails(&self, args: &[&str], code: i32) -> String {
        self.run(args).failed(code)
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).expect("written");
        close_to_others(&self.file());
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).expect("a file")).expect("JSON")
    }

    /// The rows of `key list` by their columns, without the head.
    fn list(&self) -> Vec<Vec<String>> {
        let table = self.succeeds(&["list"]);
        let row = |line: &str| -> Vec<String> {
            let cells = line.split("  ").map(str::trim);
            cells.filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let mut rows: Vec<_> = table.lines().map(row).collect();
        assert_eq!(rows.remove(0), ["NAME", "LEVEL", "EXPIRES", "SESSIONS"]);
        rows
    }
}

#[cfg(unix)]
fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("a mode");
}

#[cfg(unix)]
fn close_to_others(file: &Path) {
    set_mode(file, 0o600);
}

#[cfg(not(unix))]
fn close_to_others(_file: &Path) {}

fn sha256(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_new_key_is_printed_alone_and_only_its_hash_is_kept() {
    let place = Place::new();
    let run = place.run(&["new", "--name", "alice"]);
    assert_eq!(run.code, Some(0));
    let key = run.out.strip_suffix('\n').expect("a line");
    // It goes into a URL as it is, and is not to be guessed.
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{key}");
    assert!(key.len() >= 43, "{key}");
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    for word in ["\"alice\"", "may write", "keys.json", "never expires", "once"] {
        assert!(run.err.contains(word), "{word} is missing in: {}", run.err);
    }
    assert!(!run.err.contains(key));
    assert_eq!(
        place.read(),
        json!({"keys": [{"name": "alice", "sha256": sha256(key), "level": "write"}]})
    );
    assert_ne!(place.make("bob", &[]), key);
}

#[test]
fn a_key_has_the_level_the_end_and_the_sessions_it_was_made_with() {
    let place = Place::new();
    let end = "2126-12-20T00:00:00.000Z";
    let key = place.make(
        "alice",
        &["--level", "read", "--expires", "2126-12-20T01:00:00+01:00", "--sessions", "table 1,b"],
    );
    let stored = json!({"name": "alice", "sha256": sha256(&key), "level": "read", "expires": end,
        "sessions": ["table 1", "b"]});
    assert_eq!(place.read()["keys"], json!([stored]));
    place.make("bob", &["--level", "admin", "--expires", "30d"]);
    let rows = place.list();
    assert_eq!(rows[0], ["alice", "read", end, "table 1, b"]);
    assert_eq!((&*rows[1][0], &*rows[1][1], &*rows[1][3]), ("bob", "admin", "all"));
    assert!(rows[1][2].starts_with("20") && rows[1][2].ends_with('Z'), "{rows:?}");
}

#[test]
fn the_list_shows_no_hashes_and_which_keys_have_expired() {
    let place = Place::new();
    assert!(place.fails(&["list"], 1).contains("collabd key new"));
    let hash = sha256("a");
    place.write(&format!(
        "{{\"keys\": [{{\"name\": \"old\", \"sha256\": \"{hash}\", \"level\": \"write\",
        \"expires\": \"2020-01-01T00:00:00Z\", \"sessions\": []}}]}}"
    ));
    place.make("new one", &[]);
    let rows = place.list();
    assert_eq!(rows[0], ["old", "write", "expired 2020-01-01T00:00:00.000Z", "none"]);
    assert_eq!(rows[1], ["new one", "write", "never", "all"]);
    assert!(!place.succeeds(&["list"]).contains(&hash[..8]));
    place.write("{\"keys\": []}");
    assert_eq!(place.list(), [[""; 0]; 0]);
}

#[test]
fn a_name_cannot_draw_on_the_terminal() {
    let place = Place::new();
    place.make("a\u{202e}b\u{2028}c", &["--sessions", "d\u{202e}e"]);
    let rows = place.list();
    assert_eq!(rows[0], [r"a\u{202e}b\u{2028}c", "write", "never", r"d\u{202e}e"]);
}

#[test]
fn a_revoked_key_is_gone_and_the_others_stay() {
    let place = Place::new();
    for name in ["alice", "bob", "carol"] {
        place.make(name, &[]);
    }
    let before = place.read();
    assert!(place.succeeds(&["revoke", "bob"]).contains("\"bob\" is revoked"));
    let after = place.read();
    assert_eq!(after["keys"], json!([before["keys"][0], before["keys"][2]]));
    let line = place.fails(&["revoke", "bob"], 1);
    assert!(line.contains("no key of that name") && line.contains("key list"), "{line}");
    assert_eq!(place.read(), after);
    let key = place.make("bob", &[]);
    assert_eq!(place.list().len(), 3);
    // Who revokes a key by the key itself is told so without seeing it again.
    assert!(!place.fails(&["revoke", &key], 1).contains(&key));
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let place = Place::new();
    place.make("alice", &[]);
    let before = fs::read(place.file()).expect("a file");
    let line = place.fails(&["new", "--name", "alice", "--level", "admin"], 1);
    assert!(line.contains("\"alice\"") && line.contains("revoke"), "{line}");
    assert_eq!(fs::read(place.file()).expect("a file"), before);
    place.make("Alice", &[]);
}

#[test]
fn of_keys_made_side_by_side_none_is_lost() {
    let place = Place::new();
    for round in 0..5 {
        let names: Vec<String> = (0..8).map(|n| format!("{round}-{n}")).collect();
        let running: Vec<_> = names
            .iter()
            .map(|name| place.command(&["new", "--name", name]).spawn().expect("collabd starts"))
            .collect();
        let keys: Vec<String> = running
            .into_iter()
            .map(|child| {
                let done = child.wait_with_output().expect("an end");
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
                String::from_utf8(done.stdout).expect("UTF-8")
            })
            .collect();
        let stored = place.read();
        let stored = stored["keys"].as_array().expect("a list");
        assert_eq!(stored.len(), 8 * (round + 1));
        for (name, key) in names.iter().zip(keys) {
            let hash = json!(sha256(key.trim_end()));
            let found = stored.iter().find(|key| key["name"] == **name).expect("it is there");
            assert_eq!(found["sha256"], hash);
        }
    }
}

#[test]
fn a_broken_file_is_not_overwritten_and_not_quoted() {
    let place = Place::new();
    let hash = sha256("a");
    for (text, told) in [
        ("SECRET", "line 1"),
        ("", "empty"),
        ("{\"keys\": [{\"name\": \"bob\", \"sha256\": \"SECRET\"}]}", "key 1 (\"bob\")"),
        (
            &*format!(
                "{{\"keys\": [{{\"name\": \"bob\", \"sha256\": \"{hash}\", \"level\": \"SECRET\"}}]}}"
            ),
            "key 1 (\"bob\")",
        ),
        (&*format!("{{\"keys\": []}}{}", " ".repeat(1 << 20)), "1 MiB"),
    ] {
        place.write(text);
        for args in [&["new", "--name", "alice"][..], &["list"], &["revoke", "bob"]] {
            let line = place.fails(args, 1);
            assert!(line.contains(told) && line.contains("keys.json"), "{args:?}: {line}");
            assert!(!line.contains("SECRET") && !line.contains(&hash), "{line}");
        }
        assert_eq!(fs::read_to_string(place.file()).expect("a file"), text);
    }
}

#[test]
fn what_it_does_not_know_is_kept() {
    let place = Place::new();
    let hash = sha256("a");
    let bob = format!(
        "{{\"name\": \"bob\", \"sha256\": \"{hash}\", \"level\": \"read\", \"room\": [1.50]}}"
    );
    place.write(&format!("{{\"team\": \"optics\", \"keys\": [{bob}], \"since\": 1e3}}"));
    place.make("alice", &[]);
    place.succeeds(&["revoke", "alice"]);
    let text = fs::read_to_string(place.file()).expect("a file");
    for kept in ["\"team\": \"optics\"", &bob, "\"since\": 1e3"] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
}

#[test]
fn another_file_is_named_by_option_or_by_the_servers_variable() {
    let place = Place::new();
    place.make("alice", &["--file", "other.json"]);
    assert!(!place.file().exists());
    let mut command = place.command(&["list"]);
    command.env("COLLABD_KEYS", "other.json");
    assert!(Run::of(command).out.contains("alice"));
    assert!(place.succeeds(&["revoke", "alice", "--file", "other.json"]).contains("other.json"));
    let line = place.fails(&["new", "--name", "bob", "--file", "no/such/directory/keys.json"], 1);
    assert!(line.contains("no/such/directory/keys.json"), "{line}");
    place.fails(&["new", "--name", "bob", "--file", "."], 1);
}

#[test]
fn what_was_typed_wrong_is_one_line_and_exit_2() {
    let place = Place::new();
    let long = "a".repeat(65);
    for args in [
        &[][..],
        &["newest"],
        &["new"],
        &["new", "--name", ""],
        &["new", "--name", "a\nb"],
        &["new", "--name", &long],
        &["new", "--name", "a", "--level", "root"],
        &["new", "--name", "a", "--expires", "soon"],
        &["new", "--name", "a", "--expires", "2020-01-01T00:00:00Z"],
        &["new", "--name", "a", "--sessions", "a,"],
        &["list", "--level", "read"],
        &["revoke"],
    ] {
        place.fails(args, 2);
    }
    assert_eq!(fs::read_dir(place.0.path()).expect("a directory").count(), 0, "nothing was made");
}

#[test]
fn help_says_how_keys_are_made() {
    let page = |words: &[&str]| Run::of(collabd(words)).out;
    let help = page(&["--help"]) + &page(&["help", "key", "new"]);
    for part in [
        "key new",
        "key list",
        "key revoke",
        "--name",
        "--level",
        "--expires",
        "--sessions",
        "--file",
    ] {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
}

#[cfg(unix)]
mod on_unix {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).expect("a file").permissions().mode() & 0o7777
    }

    #[test]
    fn the_file_is_readable_by_its_owner_only() {
        let place = Place::new();
        // However much the user gives away.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 0; exec \"$0\" key new --name alice"]);
        command.arg(env!("CARGO_BIN_EXE_collabd")).current_dir(place.0.path());
        command.env_remove("COLLABD_KEYS").stdout(Stdio::piped()).stderr(Stdio::piped());
        assert_eq!(Run::of(command).code, Some(0));
        assert_eq!(mode(&place.file()), 0o600);
        assert_eq!(mode(&place.0.path().join("keys.json.lock")), 0o600);
        place.succeeds(&["revoke", "alice"]);
        assert_eq!(mode(&place.file()), 0o600);
    }

    #[test]
    fn a_looser_mode_is_warned_about_and_ends_with_the_next_change() {
        let place = Place::new();
        place.make("alice", &[]);
        set_mode(&place.file(), 0o644);
        let run = place.run(&["list"]);
        assert_eq!((run.code, run.err.lines().count()), (Some(0), 1), "{}", run.err);
        assert!(run.err.contains("warning") && run.err.contains("0644"), "{}", run.err);
        assert!(run.out.contains("alice"));
        assert_eq!(mode(&place.file()), 0o644, "to list is to change nothing");
        let run = place.run(&["new", "--name", "bob"]);
        assert_eq!((run.code, run.out.lines().count()), (Some(0), 1), "{}", run.err);
        assert!(run.err.contains("warning") && run.err.contains("0644"), "{}", run.err);
        assert_eq!(mode(&place.file()), 0o600);
        place.succeeds(&["list"]);
        set_mode(&place.file(), 0o622);
        let run = place.run(&["revoke", "bob"]);
        assert!(run.err.contains("warning") && run.err.contains("0622"), "{}", run.err);
        assert_eq!(mode(&place.file()), 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_key_that_could_not_be_printed_is_said_to_be_lost() {
        let place = Place::new();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let mut command = place.command(&["new", "--name", "alice"]);
        let child = command.stdout(full).spawn().expect("collabd starts");
        let done = child.wait_with_output().expect("an end");
        assert_eq!(done.status.code(), Some(1));
        let line = String::from_utf8(done.stderr).expect("UTF-8");
        assert!(line.contains("revoke \"alice\"") && line.lines().count() == 1, "{line}");
        place.succeeds(&["revoke", "alice"]);
    }
}
