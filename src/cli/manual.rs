//! The manual page, and the completions of shells; both come from the table of commands.

use super::command_table::{COMMANDS, CommandSpec};
use super::help;

/// The manual page, `collabd.1`, as troff reads it.
pub(super) fn page() -> String {
    let mut page = format!(
        ".TH COLLABD 1 \"\" \"collabd {}\" \"User Commands\"\n.SH NAME\ncollabd \\- the server between \
         people who edit one optical table together\n.SH SYNOPSIS\n.B collabd\n[\\fICOMMAND\\fR] \
         [\\fIOPTIONS\\fR]\n.SH COMMANDS\n",
        env!("CARGO_PKG_VERSION")
    );
    for command in COMMANDS {
        page.push_str(&format!(".SS {}\n", escaped(&command.typed())));
        page.push_str(&format!("{}.\n", escaped(command.summary)));
        for line in command.about.lines() {
            page.push_str(&format!(".PP\n{}\n", escaped(line)));
        }
        for flag in command.flags() {
            let (typed, about) = (help::typed(flag), help::about(flag));
            page.push_str(&format!(".TP\n.B {}\n{}\n", escaped(&typed), escaped(&about)));
        }
    }
    page.push_str(
        ".SH ENVIRONMENT\nEvery option is also a variable: \\-\\-log\\-file \\fIFILE\\fR is \
         COLLABD_LOG_FILE. What is typed counts more than a variable, and a variable more than the \
         file of \\-\\-config.\n.SH EXIT STATUS\n0 when it was told to stop, or all went well; 1 when \
         it could not start, or something failed; 2 when an option makes no sense.\n",
    );
    page
}

/// Text as troff shows it: a hyphen that can be copied, and no line that begins with a command.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// The script for this shell; `None` for a shell that isn't known.
pub(super) fn completions(shell: &str) -> Option<String> {
    Some(match shell {
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        "powershell" => powershell(),
        _ => return None,
    })
}

/// The first words, each once; and the second words of those that have any.
fn words() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut words: Vec<(&str, Vec<&str>)> = Vec::new();
    for command in COMMANDS {
        let (first, second) = match command.name.split_once(' ') {
            Some((first, second)) => (first, Some(second)),
            None => (command.name, None),
        };
        match words.iter_mut().find(|(known, _)| *known == first) {
            Some((_, others)) => others.extend(second),
            None => words.push((first, second.into_iter().collect())),
        }
    }
    words
}

fn options(command: &CommandSpec) -> String {
    let options: Vec<String> = command.flags().map(|flag| format!("--{}", flag.name)).collect();
    options.join(" ")
}

/// Lines of a `case` over "FIRST SECOND": what can be typed next.
fn cases() -> String {
    let firsts: Vec<&str> = words().iter().map(|(first, _)| *first).collect();
    let serve = COMMANDS.iter().find(|command| command.name == "serve").map(options);
    let mut cases = String::new();
    for command in COMMANDS {
        cases.push_str(&format!(
            "    \"{}\"*) choices=\"{}\" ;;\n",
            command.name,
            options(command)
        ));
    }
    for (first, seconds) in words().iter().filter(|(_, seconds)| !seconds.is_empty()) {
        cases.push_str(&format!("    \"{first}\"*) choices=\"{}\" ;;\n", seconds.join(" ")));
    }
    let all = format!("{} {}", firsts.join(" "), serve.unwrap_or_default());
    cases.push_str(&format!("    *) choices=\"{all} --help --version\" ;;\n"));
    cases
}

fn bash() -> String {
    format!(
        "# Completions of collabd for bash.\n_collabd() {{\n  local typed choices word\n  typed=\n  \
         for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    case $word in -*) ;; *) \
         typed=\"${{typed:+$typed }}$word\" ;; esac\n  done\n  case \"$typed\" in\n{}  esac\n  \
         mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"$2\"; compgen -f -- \"$2\")\n}}\n\
         complete -o filenames -F _collabd collabd\n",
        cases()
    )
}

fn zsh() -> String {
    format!(
        "#compdef collabd\n# Completions of collabd for zsh.\n_collabd() {{\n  local typed choices word\n  \
         typed=\n  for word in ${{(@)words[2,CURRENT-1]}}; do\n    case $word in -*) ;; *) \
         typed=\"${{typed:+$typed }}$word\" ;; esac\n  done\n  case \"$typed\" in\n{}  \
         esac\n  compadd -- ${{=choices}}\n  _files\n}}\ncompdef _collabd collabd\n",
        cases()
    )
}

fn fish() -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut script = String::from("# Completions of collabd for fish.\n");
    for command in COMMANDS {
        let (first, second) = command.name.split_once(' ').unwrap_or((command.name, ""));
        let (seen, next) = match second {
            "" => ("__fish_use_subcommand".to_owned(), first),
            second => (format!("__fish_seen_subcommand_from {first}"), second),
        };
        let about = quoted(command.summary);
        if !second.is_empty() {
            script.push_str(&format!("complete -c collabd -n __fish_use_subcommand -a {first}\n"));
        }
        script.push_str(&format!("complete -c collabd -n '{seen}' -a {next} -d {about}\n"));
        for flag in command.flags() {
            let seen = match second {
                "" => format!("__fish_seen_subcommand_from {first}"),
                second => format!(
                    "__fish_seen_subcommand_from {first}; and __fish_seen_subcommand_from {second}"
                ),
            };
            let value = if flag.is_switch() { "" } else { " -r" };
            let (name, about) = (flag.name, quoted(flag.help));
            script.push_str(&format!(
                "complete -c collabd -n '{seen}' -l {name}{value} -d {about}\n"
            ));
        }
    }
    script
}

fn powershell() -> String {
    let mut cases = String::new();
    for command in COMMANDS {
        cases.push_str(&format!(
            "        '{}*' {{ '{}'; break }}\n",
            command.name,
            options(command)
        ));
    }
    for (first, seconds) in words().iter().filter(|(_, seconds)| !seconds.is_empty()) {
        cases.push_str(&format!("        '{first}*' {{ '{}'; break }}\n", seconds.join(" ")));
    }
    let firsts: Vec<&str> = words().iter().map(|(first, _)| *first).collect();
    cases.push_str(&format!("        default {{ '{} --help --version' }}\n", firsts.join(" ")));
    format!(
        "# Completions of collabd for PowerShell.\nRegister-ArgumentCompleter -Native -CommandName collabd \
         -ScriptBlock {{\n    param($word, $ast, $position)\n    $typed = ($ast.CommandElements | \
         Select-Object -Skip 1 | ForEach-Object {{ \"$_\" }} | Where-Object {{ $_ -notlike '-*' -and $_ \
         -ne $word }}) -join ' '\n    $words = switch -Wildcard ($typed) {{\n{cases}    }}\n    \
         $words -split ' ' | Where-Object {{ $_ -like \"$word*\" }} | ForEach-Object {{ \
         [System.Management.Automation.CompletionResult]::new($_) }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_is_told_every_command_and_option() {
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let script = completions(shell).expect("a known shell");
            for command in COMMANDS {
                for word in command.name.split(' ') {
                    assert!(script.contains(word), "{shell}: {word}");
                }
                assert!(command.flags().all(|flag| script.contains(flag.name)), "{shell}");
            }
        }
        assert_eq!(completions("csh"), None);
    }

    #[test]
    fn the_manual_page_has_every_command_and_option() {
        let page = page();
        for command in COMMANDS {
            assert!(page.contains(&format!(".SS {}", escaped(&command.typed()))), "{page}");
            for flag in command.flags() {
                assert!(page.contains(&escaped(&format!("--{}", flag.name))), "{}", flag.name);
            }
        }
    }
}
