//! The configuration file: `port = 8765`, an option a line, in TOML.

use std::collections::BTreeMap;
use std::path::Path;

use super::Usage;
use super::echoed::{nearest, shown};
use super::flag::Flag;
use super::flags;

/// A file is not read beyond so many bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What a configuration file sets, by the name of the option.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// As it was named.
    pub path: String,
    values: BTreeMap<String, Vec<String>>,
}

impl ConfigFile {
    /// Reads and parses a file. Blocks on the disk.
    ///
    /// # Errors
    /// [`Usage`], where it can't be read or has something that is no option of the server.
    pub fn read(path: &str) -> Result<Self, Usage> {
        use std::io::Read;
        let cannot = |error: std::io::Error| Usage(format!("can't read {path}: {error}"));
        let mut text = String::new();
        let file = std::fs::File::open(Path::new(path)).map_err(cannot)?;
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(cannot)?;
        Self::parse(path, &text)
    }

    fn parse(path: &str, text: &str) -> Result<Self, Usage> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let why = error.message().lines().next().unwrap_or("it is no TOML").to_owned();
            Usage(format!("{path}, line {line}: {why}"))
        })?;
        let known = || [flags::LISTEN, flags::SERVE].into_iter().flatten();
        let mut values = BTreeMap::new();
        for (name, value) in table {
            let Some(flag) = known().find(|flag| flag.file_key().as_deref() == Some(&*name)) else {
                let meant = nearest(&name, known().map(|flag| flag.name));
                let meant =
                    meant.map_or(String::new(), |meant| format!(", perhaps {meant} was meant"));
                return Err(Usage(format!(
                    "{path}: {} is no option of the server{meant}",
                    shown(&name)
                )));
            };
            let texts = match value {
                toml::Value::Array(parts) if flag.is_list() => {
                    parts.into_iter().map(scalar).collect::<Option<Vec<String>>>()
                }
                toml::Value::Boolean(is_on) if flag.is_switch() => {
                    Some(is_on.then(String::new).into_iter().collect())
                }
                _ if flag.is_switch() => None,
                value => scalar(value).map(|text| vec![text]),
            };
            let wanted = match (flag.is_switch(), flag.is_list()) {
                (true, _) => "true or false",
                (_, true) => "a text, or a list of texts like [\"a\", \"b\"]",
                _ => "a number or a text",
            };
            let texts = texts.ok_or_else(|| Usage(format!("{path}: {name} has to be {wanted}")))?;
            values.insert(name, texts);
        }
        Ok(ConfigFile { path: path.to_owned(), values })
    }

    /// What the file sets a flag to; an empty list turns a switch off.
    pub fn values(&self, flag: &Flag) -> Option<&[String]> {
        self.values.get(&flag.file_key()?).map(Vec::as_slice)
    }
}

fn scalar(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
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
            let Usage(line) = ConfigFile::parse("c.toml", text).expect_err(text);
            assert!(line.contains("c.toml") && line.contains(part), "{text}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
