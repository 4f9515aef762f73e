//! The configuration file: `port = 8765`, an option a line, in TOML.

use std::io::Read;
use std::path::Path;

use super::Usage;
use super::echoed::{nearest, shown};

/// The largest file, in bytes. A part of one would lack the options behind it.
const MAX_BYTES: u64 = 1 << 20;

/// What a configuration file sets, by the name of the option.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// As it was named.
    pub path: String,
    table: toml::Table,
}

/// What an option can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Value,
    /// Several texts.
    List,
}

impl ConfigFile {
    /// Reads and parses a file. Blocks on the disk.
    ///
    /// # Errors
    /// [`Usage`], where it can't be read or is no TOML.
    pub fn read(path: &str) -> Result<Self, Usage> {
        let cannot = |error: std::io::Error| Usage(format!("can't read {path}: {error}"));
        let mut text = String::new();
        let file = std::fs::File::open(Path::new(path)).map_err(cannot)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(cannot)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Usage(format!("{path} is too large for a configuration: at most 1 MiB")));
        }
        Self::parse(path, &text)
    }

    fn parse(path: &str, text: &str) -> Result<Self, Usage> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let why = error.message().lines().next().unwrap_or("it is no TOML").to_owned();
            Usage(format!("{path}, line {line}: {why}"))
        })?;
        Ok(ConfigFile { path: path.to_owned(), table })
    }

    /// Refuses a file that has a name which isn't one of these.
    ///
    /// # Errors
    /// [`Usage`], with the name that was probably meant.
    pub fn check_names(&self, known: &[String]) -> Result<(), Usage> {
        let Some(name) = self.table.keys().find(|name| !known.contains(name)) else {
            return Ok(());
        };
        let meant = nearest(name, known.iter().map(String::as_str));
        let meant = meant.map_or(String::new(), |meant| format!(", perhaps {meant} was meant"));
        Err(Usage(format!("{}: {} is no option of the server{meant}", self.path, shown(name))))
    }

    /// What the file sets an option of this name and kind to: as many texts as there are. A switch that
    /// is on has one empty text, one that is off none.
    ///
    /// # Errors
    /// [`Usage`], where the value is of another kind.
    pub fn values(&self, name: &str, kind: Kind) -> Result<Option<Vec<String>>, Usage> {
        let Some(value) = self.table.get(name) else { return Ok(None) };
        let texts = match (kind, value) {
            (Kind::List, toml::Value::Array(parts)) => {
                parts.iter().map(scalar).collect::<Option<Vec<String>>>()
            }
            (Kind::Switch, toml::Value::Boolean(is_on)) => {
                Some(is_on.then(String::new).into_iter().collect())
            }
            (Kind::Switch, _) => None,
            (Kind::Value | Kind::List, value) => scalar(value).map(|text| vec![text]),
        };
        let wanted = match kind {
            Kind::Switch => "true or false",
            Kind::List => "a text, or a list of texts like [\"a\", \"b\"]",
            Kind::Value => "a number or a text",
        };
        let refused = || Usage(format!("{}: {name} has to be {wanted}", self.path));
        texts.ok_or_else(refused).map(Some)
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_line_or_option() {
        let read = |text: &str| {
            let file = ConfigFile::parse("c.toml", text)?;
            file.check_names(&["port", "debug", "allow-origin"].map(str::to_owned))?;
            file.values("port", Kind::Value)?;
            file.values("debug", Kind::Switch)?;
            file.values("allow-origin", Kind::List)
        };
        for (text, part) in [
            ("port = 1\nport = 2", "line 2"),
            ("port 1", "line 1"),
            ("prot = 1", "perhaps port was meant"),
            ("debug = 1", "true or false"),
            ("port = true", "a number or a text"),
            ("port = [1]", "a number or a text"),
            ("allow-origin = [[\"a\"]]", "a list of texts"),
            ("[server]\nport = 1", "no option"),
            ("ck_0123456789abcdef0123 = 1", "may be a key"),
        ] {
            let Usage(line) = read(text).expect_err(text);
            assert!(line.contains("c.toml") && line.contains(part), "{text}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
