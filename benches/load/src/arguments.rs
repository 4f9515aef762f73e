//! The run's parameters, as `name=value` words.

use std::collections::HashMap;
use std::io;
use std::str::FromStr;

/// What was typed after the workload's name.
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    /// Splits each word at its `=`.
    pub fn read(words: impl Iterator<Item = String>) -> io::Result<Self> {
        let pairs = words.map(|word| match word.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(invalid(&format!("{word:?} is not name=value"))),
        });
        Ok(Arguments(pairs.collect::<io::Result<_>>()?))
    }

    /// The value of a parameter that has to be there.
    pub fn get<T: FromStr>(&self, name: &str) -> io::Result<T> {
        let value = self.0.get(name).ok_or_else(|| invalid(&format!("{name}= is missing")))?;
        value.parse().map_err(|_| invalid(&format!("{name}={value} can't be read")))
    }

    /// The value of a parameter that may be left out.
    pub fn get_or<T: FromStr>(&self, name: &str, default: T) -> io::Result<T> {
        if self.0.contains_key(name) { self.get(name) } else { Ok(default) }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
