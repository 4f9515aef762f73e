//! `collabd config check`: what is in force, and where it comes from.

use super::command_table::CommandSpec;
use super::flag::Origin;
use super::read_args::read_args;
use super::{Line, Usage, serve};
use crate::logging::without_keys;

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
            // The default directory depends on the machine.
            (false, true) => {
                match options.default_directory().filter(|_| flag.name == "data-dir") {
                    Some(directory) => directory.display().to_string(),
                    None => "-".to_owned(),
                }
            }
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
