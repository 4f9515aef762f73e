//! `collabd config check`: what is in force, and where it comes from.

use super::command_table::CommandSpec;
use super::flag::Origin;
use super::read_args::read_args;
use super::{Line, Usage, serve};
use crate::commands::serve::Options;
#[cfg(feature = "durable")]
use crate::commands::serve::Storage;
use crate::logging::without_keys;

/// What an option without a value of its own comes to on this machine.
#[cfg_attr(
    not(feature = "durable"),
    allow(unused_variables, reason = "only a directory depends on the machine")
)]
fn default_of(name: &str, options: &Options) -> Option<String> {
    #[cfg(feature = "durable")]
    if let ("data-dir", Storage::Default(Some(directory))) = (name, &options.storage.place) {
        return Some(directory.display().to_string());
    }
    None
}

/// A line for each option of the server.
///
/// # Errors
/// [`Usage`], as the server would refuse them.
pub(super) fn table(line: &mut Line<'_>, command: &CommandSpec) -> Result<String, Usage> {
    let args = read_args(line, command)?;
    let options = serve::serve(args, line)?;
    let mut table = String::new();
    for flag in command.flags().filter(|flag| flag.name != "config") {
        let (texts, origin) = flag.given(line)?;
        let value = match (flag.is_switch(), texts.is_empty()) {
            (true, is_off) => if is_off { "off" } else { "on" }.to_owned(),
            (false, true) => default_of(flag.name, &options).unwrap_or_else(|| "-".to_owned()),
            (false, false) => texts.join(","),
        };
        let from = match origin {
            Origin::Typed => "typed".to_owned(),
            Origin::Environment => flag.variable().unwrap_or_default(),
            Origin::File => line.file.as_ref().map_or(String::new(), |file| file.path.clone()),
            Origin::Default => "default".to_owned(),
        };
        table.push_str(&format!("{:28} {value:24} {from}\n", flag.name));
    }
    Ok(without_keys(&table).into_owned())
}
