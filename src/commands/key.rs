//! `collabd key`: the keys of a key file, made, listed and revoked. A running server that reads the
//! file notices by itself.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::table::{printable, table, tell};
use crate::auth::key_entries::to_hex;
use crate::auth::key_file::{self, LockedKeyFile};
use crate::auth::{Key, KeyHash, Level};
use crate::protocol::Timestamp;

/// What `key` is told.
#[derive(Debug)]
pub struct Options {
    pub file: PathBuf,
    pub action: Action,
}

/// What to do with the keys.
#[derive(Debug)]
pub enum Action {
    New(NewKey),
    List,
    Revoke { name: String },
}

/// What a new key opens.
#[derive(Debug)]
pub struct NewKey {
    /// A name by [`is_name`](crate::auth::key_entries::is_name).
    pub name: String,
    pub level: Level,
    /// In the future.
    pub expires: Option<Timestamp>,
    /// The sessions and channels it opens; `None` for all.
    pub opens: Option<Vec<Box<str>>>,
}

/// Does it.
pub fn run(options: Options) -> ExitCode {
    let file = &*options.file;
    super::exit_code(match options.action {
        Action::New(key) => new(file, key),
        Action::List => list(file),
        Action::Revoke { name } => revoke(file, &name),
    })
}

/// Makes a key, stores its hash and, once that is on disk, prints the key.
fn new(file: &Path, new: NewKey) -> Result<(), String> {
    let mut locked = LockedKeyFile::open_or_new(file).map_err(|problem| problem.with_advice())?;
    if locked.entries.get(&new.name).is_some() {
        return Err(format!(
            "{} has a key named {:?} already: choose another name, or revoke that key first",
            file.display(),
            new.name
        ));
    }
    let secret = secret()?;
    let key = Key {
        name: new.name.into(),
        hash: KeyHash::new(&secret),
        level: new.level,
        expires: new.expires,
        opens: new.opens,
    };
    let note = note(&key, file);
    let name = key.name.clone();
    locked.entries.add(key);
    save(locked, file)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{secret}").and_then(|()| stdout.flush()).map_err(|error| {
        format!("can't print the key, so nobody has it: revoke {name:?} and make another: {error}")
    })?;
    remark(&note);
    Ok(())
}

/// 256 random bits that survive in a URL, a shell and a double click. The mark in front keeps a key
/// from looking like a hash.
fn secret() -> Result<String, String> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| format!("the system has no randomness: {error}"))?;
    Ok(format!("ck_{}", to_hex(&bits)))
}

/// What the key is good for, without the key.
fn note(key: &Key, file: &Path) -> String {
    let may = match key.level {
        Level::Read => "may watch",
        Level::Write => "may write",
        Level::Admin => "may write and administer",
    };
    let places = match &key.opens {
        None => "everywhere".to_owned(),
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            format!("in {}", names.join(", "))
        }
    };
    let end = match key.expires {
        None => "and never expires".to_owned(),
        Some(expires) => format!("until {expires}"),
    };
    format!(
        "the key {:?} {may} {places} {end}; it is shown this once, {} keeps only its hash",
        key.name,
        file.display()
    )
}

fn list(file: &Path) -> Result<(), String> {
    let (entries, contents) = key_file::load(file).map_err(|problem| problem.with_advice())?;
    if let Some(mode) = contents.exposed {
        warn(&key_file::warning(file, mode));
    }
    let now = Timestamp::now();
    let rows = entries.keys().map(|key| row(key, now));
    let text = table(
        [["NAME", "LEVEL", "EXPIRES", "SESSIONS"].map(str::to_owned)].into_iter().chain(rows),
    );
    tell(&text).map_err(|why| format!("{}: {why}", file.display()))
}

fn row(key: &Key, now: Timestamp) -> [String; 4] {
    let expires = match key.expires {
        None => "never".to_owned(),
        Some(expires) if key.has_expired(now) => format!("expired {expires}"),
        Some(expires) => expires.to_string(),
    };
    let sessions = match &key.opens {
        None => "all".to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", "),
    };
    [printable(&key.name), key.level.name().to_owned(), expires, sessions]
}

fn revoke(file: &Path, name: &str) -> Result<(), String> {
    let mut locked = LockedKeyFile::open(file).map_err(|problem| problem.with_advice())?;
    if !locked.entries.remove(name) {
        // The key itself may have been given instead of its name, so it is not repeated.
        return Err(format!(
            "{} has no key of that name: collabd key list shows the names",
            file.display()
        ));
    }
    save(locked, file)?;
    let file = file.display();
    // The file has been written: a line that can't be printed changes nothing.
    let _ = tell(&format!(
        "{name:?} is revoked: a server that reads {file} closes its connections within 2 s\n"
    ));
    Ok(())
}

/// Writes the file, and says so where others could read it until now.
fn save(locked: LockedKeyFile, file: &Path) -> Result<(), String> {
    let exposed = locked.exposed;
    locked.save().map_err(|problem| problem.with_advice())?;
    if let Some(mode) = exposed {
        warn(&format!(
            "others could read or change the key file {}, its mode was {mode:04o}: it is its \
             owner's alone now",
            file.display()
        ));
    }
    Ok(())
}

fn warn(line: &str) {
    remark(&format!("collabd: warning: {line}"));
}

/// Says something on stderr; what can't be written there is lost.
fn remark(line: &str) {
    crate::logging::say(line);
}
