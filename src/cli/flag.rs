//! A flag: its name, what `--help` says of it, the environment variable that sets it, and what it sets.

use std::ffi::OsString;

use super::args::Args;
use super::echoed::shown;
use super::values::{BadValue, FlagValue};
use super::variables::{is_of_kubernetes, variable};
use super::{Line, Usage, text};

/// One flag. A command has one or more tables of them (`super::flags`).
pub(super) struct Flag {
    pub name: &'static str,
    /// What stands for its value in `--help`; empty for a switch.
    pub value: &'static str,
    /// As it would be typed; empty where there is none.
    pub default: &'static str,
    pub help: &'static str,
    variable: Variable,
    set: Set,
}

/// The environment variable that sets a flag where it isn't typed.
#[derive(Clone, Copy)]
enum Variable {
    /// `--log-file` is `COLLABD_LOG_FILE`.
    OfItsName,
    Named(&'static str),
    /// A flag that describes one thing, like a new key: the environment would describe the next one, too.
    None,
}

/// What a flag does to the arguments.
enum Set {
    Switch(fn(&mut Args) -> &mut bool),
    Value(fn(&mut Args, FlagValue) -> Result<(), BadValue>),
    /// It can be typed several times, or once with commas between.
    List(fn(&mut Args) -> &mut Vec<String>),
}

pub(super) const fn flag(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    update: fn(&mut Args, FlagValue) -> Result<(), BadValue>,
    help: &'static str,
) -> Flag {
    Flag { name, value, default, help, variable: Variable::OfItsName, set: Set::Value(update) }
}

pub(super) const fn switch(
    name: &'static str,
    place: fn(&mut Args) -> &mut bool,
    help: &'static str,
) -> Flag {
    let (variable, set) = (Variable::OfItsName, Set::Switch(place));
    Flag { name, value: "", default: "", help, variable, set }
}

pub(super) const fn list(
    name: &'static str,
    value: &'static str,
    place: fn(&mut Args) -> &mut Vec<String>,
    help: &'static str,
) -> Flag {
    Flag { name, value, default: "", help, variable: Variable::OfItsName, set: Set::List(place) }
}

impl Flag {
    /// No environment variable sets it.
    pub const fn typed_only(self) -> Self {
        Flag { variable: Variable::None, ..self }
    }

    pub const fn set_by(self, variable: &'static str) -> Self {
        Flag { variable: Variable::Named(variable), ..self }
    }

    pub fn is_switch(&self) -> bool {
        matches!(self.set, Set::Switch(_))
    }

    pub fn variable(&self) -> Option<String> {
        match self.variable {
            Variable::OfItsName => Some(variable(self.name)),
            Variable::Named(name) => Some(name.to_owned()),
            Variable::None => None,
        }
    }

    /// Sets what the flag sets: to what was typed, the environment's value, or the default.
    pub fn apply(
        &self,
        args: &mut Args,
        typed: &[&str],
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(), Usage> {
        match (&self.set, typed) {
            (_, []) => match self.in_environment(environment)? {
                Some(text) => self.update(args, &text, false),
                None if !self.default.is_empty() => self.update(args, self.default, false),
                None => Ok(()),
            },
            (Set::List(_), all) => all.iter().try_for_each(|text| self.update(args, text, true)),
            (_, [.., last]) => self.update(args, last, true),
        }
    }

    fn update(&self, args: &mut Args, text: &str, is_typed: bool) -> Result<(), Usage> {
        let updated = match self.set {
            Set::Switch(place) => {
                *place(args) = true;
                Ok(())
            }
            Set::Value(update) => update(args, FlagValue { text: text.to_owned(), is_typed }),
            Set::List(place) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                place(args).extend(parts.map(str::to_owned));
                Ok(())
            }
        };
        updated.map_err(|bad| match bad {
            BadValue::Line(line) => Usage(line),
            BadValue::Wanted(wanted) => {
                let or = self.variable().map_or(String::new(), |name| format!(" (or {name})"));
                Usage(format!("--{}{or} has to be {wanted}, not {}", self.name, shown(text)))
            }
        })
    }

    /// The value in the environment, if there is one; of a switch that is on, any text.
    fn in_environment(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<String>, Usage> {
        let Some(variable) = self.variable() else { return Ok(None) };
        let Some(value) = environment(&variable).map(text).transpose()? else { return Ok(None) };
        let is_set = match self.is_switch() {
            _ if is_of_kubernetes(&variable, &value) => false,
            true => is_on(&variable, &value)?,
            false => !value.is_empty(),
        };
        Ok(is_set.then_some(value))
    }
}

fn is_on(variable: &str, value: &str) -> Result<bool, Usage> {
    match value.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Usage(format!("{variable} has to be 1 or 0, not {}", shown(value)))),
    }
}

/// The values of the flags in these tables, once all words of a command have been taken.
pub(super) fn read(line: &mut Line<'_>, command: &str, tables: &[&[Flag]]) -> Result<Args, Usage> {
    if line.words.next().is_some() {
        return Err(Usage(format!("{command} is given a word too many: see collabd --help")));
    }
    let flags = || tables.iter().copied().flatten();
    let is_foreign = |(name, _): &&(&str, String)| flags().all(|flag| flag.name != *name);
    if let Some((name, _)) = line.typed.iter().find(is_foreign) {
        return Err(Usage(format!("{command} has no option --{name}: see collabd --help")));
    }
    let mut args = Args::empty();
    for flag in flags() {
        let typed = line.typed.iter().filter(|(name, _)| *name == flag.name);
        let typed: Vec<&str> = typed.map(|(_, value)| value.as_str()).collect();
        flag.apply(&mut args, &typed, line.environment)?;
    }
    Ok(args)
}
