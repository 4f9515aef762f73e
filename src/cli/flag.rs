//! A flag: its name, what `--help` says of it, the environment variable that sets it, and what it sets.

use std::ffi::OsString;

use super::args::Args;
use super::config_file::Kind;
use super::echoed::shown;
use super::values::{BadValue, FlagValue};
use super::variables::{PREFIX, is_of_kubernetes, variable};
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

    fn kind(&self) -> Kind {
        match self.set {
            Set::Switch(_) => Kind::Switch,
            Set::Value(_) => Kind::Value,
            Set::List(_) => Kind::List,
        }
    }

    /// Its name in a configuration file: that of its variable, as a flag is written.
    pub fn file_key(&self) -> Option<String> {
        let variable = self.variable()?;
        Some(variable.strip_prefix(PREFIX)?.to_lowercase().replace('_', "-"))
    }

    pub fn variable(&self) -> Option<String> {
        match self.variable {
            Variable::OfItsName => Some(variable(self.name)),
            Variable::Named(name) => Some(name.to_owned()),
            Variable::None => None,
        }
    }

    /// What the flag is set to, and by what: what was typed, else the environment, else the file, else
    /// the default. A switch that is on has one empty text, one that is off has none.
    pub fn given(&self, line: &Line<'_>) -> Result<(Vec<String>, Origin), Usage> {
        let typed = line.typed.iter().filter(|(name, _)| *name == self.name);
        let mut typed: Vec<String> = typed.map(|(_, value)| value.clone()).collect();
        if let Some(last) = typed.pop() {
            return Ok((
                if self.kind() == Kind::List {
                    typed.push(last);
                    typed
                } else {
                    vec![last]
                },
                Origin::Typed,
            ));
        }
        if let Some(texts) = self.in_environment(line.environment)? {
            return Ok((texts, Origin::Environment));
        }
        if let (Some(file), Some(name)) = (&line.file, self.file_key())
            && let Some(texts) = file.values(&name, self.kind())?
        {
            return Ok((texts, Origin::File));
        }
        let default = Some(self.default.to_owned()).filter(|default| !default.is_empty());
        Ok((default.into_iter().collect(), Origin::Default))
    }

    /// Sets what the flag sets.
    pub fn apply(&self, args: &mut Args, line: &Line<'_>) -> Result<(), Usage> {
        let (texts, origin) = self.given(line)?;
        texts.iter().try_for_each(|text| self.update(args, text, origin, line))
    }

    fn update(
        &self,
        args: &mut Args,
        text: &str,
        origin: Origin,
        line: &Line<'_>,
    ) -> Result<(), Usage> {
        let is_typed = origin == Origin::Typed;
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
        updated.map_err(|bad| match (bad, line.file.as_ref()) {
            (BadValue::Line(why), _) => Usage(why),
            (BadValue::Wanted(wanted), Some(file)) if origin == Origin::File => Usage(format!(
                "{}: {} has to be {wanted}, not {}",
                file.path,
                self.name,
                shown(text)
            )),
            (BadValue::Wanted(wanted), _) => {
                let or = self.variable().map_or(String::new(), |name| format!(" (or {name})"));
                Usage(format!("--{}{or} has to be {wanted}, not {}", self.name, shown(text)))
            }
        })
    }

    /// What the environment sets it to, if it does.
    fn in_environment(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Vec<String>>, Usage> {
        let Some(variable) = self.variable() else { return Ok(None) };
        let Some(value) = environment(&variable).map(text).transpose()? else { return Ok(None) };
        if value.is_empty() || is_of_kubernetes(&variable, &value) {
            return Ok(None);
        }
        if self.is_switch() {
            return Ok(Some(is_on(&variable, &value)?.then(String::new).into_iter().collect()));
        }
        Ok(Some(vec![value]))
    }
}

/// What has set a flag. What counts more comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Typed,
    Environment,
    File,
    Default,
}

fn is_on(variable: &str, value: &str) -> Result<bool, Usage> {
    match value.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Usage(format!("{variable} has to be 1 or 0, not {}", shown(value)))),
    }
}
