//! The values of a command's flags.

use super::args::Args;
use super::command_table::{self, CommandSpec};
use super::config_file::ConfigFile;
use super::{Line, Usage};

/// The values of a command's flags, once all its words have been taken. Reads the configuration file.
pub(super) fn read_args(line: &mut Line<'_>, command: &CommandSpec) -> Result<Args, Usage> {
    let name = command.name;
    if line.words.next().is_some() {
        return Err(Usage(format!("{name} is given a word too many: see collabd help {name}")));
    }
    let is_foreign = |(typed, _): &&(&str, String)| command.flags().all(|flag| flag.name != *typed);
    if let Some((typed, _)) = line.typed.iter().find(is_foreign) {
        return Err(Usage(format!("{name} has no option --{typed}: see collabd help {name}")));
    }
    if let Some(flag) = command.flags().find(|flag| flag.name == "config") {
        let (paths, _) = flag.given(line)?;
        line.file = paths.first().map(|path| ConfigFile::read(path)).transpose()?;
        if let Some(file) = &line.file {
            file.check_names(&server_options())?;
        }
    }
    let mut args = Args::empty();
    for flag in command.flags() {
        flag.apply(&mut args, line)?;
    }
    Ok(args)
}

/// The names that a configuration file may have.
fn server_options() -> Vec<String> {
    let serve = command_table::find("serve").into_iter().flat_map(CommandSpec::flags);
    serve.filter(|flag| flag.name != "config").filter_map(|flag| flag.file_key()).collect()
}
