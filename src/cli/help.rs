//! `--help`: a page for each command, at most 80 columns wide.

use super::command_table::{self, COMMANDS, CommandSpec};
use super::flag::Flag;

const COLUMNS: usize = 80;
/// Where the second column begins.
const INDENT: usize = 26;

const ENVIRONMENT: &str = "\
Every option is also an environment variable: --log-file FILE is COLLABD_LOG_FILE=FILE, a switch is on \
with 1. Times are in seconds, or like 500ms, 10m, 1h; sizes in bytes, or like 64KiB, 8MiB.";

/// The page of the command that begins with these words, or a list of commands where several do.
pub(super) fn page(words: &[String]) -> String {
    let found = command_table::beginning_with(words);
    match &found[..] {
        [command] => of_command(command),
        [] => overview(&COMMANDS.iter().collect::<Vec<_>>()),
        several => overview(several),
    }
}

fn overview(commands: &[&CommandSpec]) -> String {
    let mut page = String::from(
        "collabd: people edit one optical table together; this is the server between\nthem.\n\n\
         Usage: collabd [COMMAND] [OPTIONS]\n\n",
    );
    for command in commands {
        row(&mut page, &format!("{} {}", command.name, command.usage), command.summary);
    }
    row(&mut page, "help COMMAND", "say more about one command, and list its options");
    row(&mut page, "--version", "say which collabd this is");
    page.push('\n');
    paragraph(&mut page, ENVIRONMENT);
    page
}

fn of_command(command: &CommandSpec) -> String {
    let mut page = format!("Usage: {}", command.typed());
    page.push_str(if command.flags().next().is_some() { " [OPTIONS]\n\n" } else { "\n\n" });
    let mut summary = command.summary.to_owned();
    summary[..1].make_ascii_uppercase();
    paragraph(&mut page, &format!("{summary}."));
    for line in command.about.lines() {
        page.push('\n');
        paragraph(&mut page, line);
    }
    for (place, table) in command.flags.iter().enumerate() {
        page.push_str(if place == 0 { "\nOptions:\n" } else { "\n" });
        for flag in *table {
            row(&mut page, &typed(flag), &about(flag));
        }
    }
    if command.flags().any(|flag| flag.variable().is_some()) {
        page.push('\n');
        paragraph(&mut page, ENVIRONMENT);
    }
    page
}

/// The flag as it is typed: `--port NUMBER`.
pub(super) fn typed(flag: &Flag) -> String {
    format!("--{} {}", flag.name, flag.value).trim_end().to_owned()
}

/// What a flag does, with its default.
pub(super) fn about(flag: &Flag) -> String {
    match flag.default {
        "" => flag.help.to_owned(),
        default => format!("{} [{default}]", flag.help),
    }
}

/// Two columns. The first begins a line of its own where it is too wide.
fn row(page: &mut String, first: &str, second: &str) {
    let first = format!("  {}", first.trim_end());
    page.push_str(&first);
    let mut width = first.chars().count();
    for line in wrapped(second, COLUMNS - INDENT) {
        if width + 2 > INDENT {
            page.push('\n');
            width = 0;
        }
        page.push_str(&" ".repeat(INDENT - width));
        page.push_str(&line);
        page.push('\n');
        width = 0;
    }
}

fn paragraph(page: &mut String, text: &str) {
    for line in wrapped(text, COLUMNS) {
        page.push_str(&line);
        page.push('\n');
    }
}

/// The text in lines of at most so many characters; a longer word has a line of its own.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { continue };
        let width = line.chars().count() + 1 + word.chars().count();
        match line.is_empty() {
            true => line.push_str(word),
            false if width <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            false => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_fits_a_terminal_and_names_each_of_its_options() {
        for command in COMMANDS {
            let words: Vec<String> = command.name.split(' ').map(str::to_owned).collect();
            let page = page(&words);
            assert!(page.starts_with(&format!("Usage: collabd {}", command.name)), "{page}");
            for line in page.lines() {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.name);
            }
            for flag in command.flags() {
                assert!(
                    page.contains(&format!("--{}", flag.name)),
                    "{}: {}",
                    command.name,
                    flag.name
                );
            }
        }
        let all = page(&[]);
        assert!(all.lines().all(|line| line.chars().count() <= COLUMNS), "{all}");
        assert!(COMMANDS.iter().all(|command| all.contains(command.name)));
    }

    #[test]
    fn words_that_begin_several_commands_list_these() {
        let page = page(&["key".to_owned()]);
        assert!(
            page.contains("key new") && page.contains("key revoke") && !page.contains("serve ")
        );
    }

    #[test]
    fn a_command_takes_as_many_words_as_its_usage_has() {
        for (name, bounds) in [
            ("serve", (0, 0)),
            ("sessions import", (2, 2)),
            ("sessions restore", (1, 1)),
            ("sessions compact", (0, 1)),
            ("key new", (0, 0)),
        ] {
            let command = command_table::find(name).expect("a command");
            assert_eq!(command.word_bounds(), bounds, "{name}");
        }
    }
}
