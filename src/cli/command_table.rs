//! All commands: what is typed, what it does in a line, and which flags it has. `--help`, the manual
//! page and the completions come from this table.

use super::flag::Flag;
use super::flags;

/// A command.
pub(super) struct CommandSpec {
    /// Its words: `sessions import`.
    pub name: &'static str,
    /// What is typed after them, as it is shown: `SESSION FILE`.
    pub usage: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// More about it: paragraphs of any length, a line each. May be empty.
    pub about: &'static str,
    pub flags: &'static [&'static [Flag]],
}

/// All commands, in the order of `--help`.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "serve",
        usage: "",
        summary: "serve sessions; collabd does so without a command, too",
        about: "Editors connect to ws://THIS-MACHINE:PORT, and a browser to http://THIS-MACHINE:PORT. \
                Sessions are stored and survive the end of the server, unless --in-memory is said.",
        flags: &[flags::CONFIG, flags::LISTEN, flags::SERVE],
    },
    CommandSpec {
        name: "config check",
        usage: "",
        summary: "say which options are in force, and where they come from",
        about: "Takes the options of serve, from the command line, the environment and the file of \
                --config, in this order. Says what is wrong with them, or lists them all.",
        flags: &[flags::CONFIG, flags::LISTEN, flags::SERVE],
    },
    CommandSpec {
        name: "check",
        usage: "URL",
        summary: "try the protocol against any server and say what is wrong",
        about: "",
        flags: &[flags::CHECK],
    },
    CommandSpec {
        name: "echo",
        usage: "",
        summary: "echo every message: the first thing to try when nothing connects",
        about: "",
        flags: &[flags::CONFIG, flags::LISTEN, flags::ECHO],
    },
    CommandSpec {
        name: "forward",
        usage: "URL",
        summary: "let an editor on this machine host on the collabd at URL",
        about: "Listens on ws://localhost:8765, where the editor's Host server connects, and passes sessions \
                on, with a key if it is given one. Then press Connect in the editor, not Start Server.",
        flags: &[flags::FORWARD],
    },
    CommandSpec {
        name: "install-shim",
        usage: "CHECKOUT",
        summary: "have the editor's Start Server start this collabd",
        about: "Puts a tools/collaboration_server.py of a few lines into the editor's checkout and keeps what \
                was there beside it; --remove puts that back.",
        flags: &[flags::INSTALL_SHIM],
    },
    CommandSpec {
        name: "key new",
        usage: "--name NAME",
        summary: "make a key and print it once; the key file keeps only its hash",
        about: "",
        flags: &[flags::KEY, flags::KEY_NEW],
    },
    CommandSpec {
        name: "key list",
        usage: "",
        summary: "list the names of the keys, and what each opens",
        about: "",
        flags: &[flags::KEY],
    },
    CommandSpec {
        name: "key revoke",
        usage: "NAME",
        summary: "have a key open nothing any more",
        about: "",
        flags: &[flags::KEY],
    },
    CommandSpec {
        name: "sessions list",
        usage: "",
        summary: "list the sessions that are stored",
        about: PLACES,
        flags: &[flags::PLACE, flags::LIST],
    },
    CommandSpec {
        name: "sessions show",
        usage: "SESSION",
        summary: "show one of them, and the versions it can be brought back to",
        about: PLACES,
        flags: &[flags::PLACE, flags::LIST],
    },
    CommandSpec {
        name: "sessions export",
        usage: "SESSION",
        summary: "write a canvas as an editor saves it, as it is or as it was",
        about: PLACES,
        flags: &[flags::PLACE, flags::EXPORT],
    },
    CommandSpec {
        name: "sessions backup",
        usage: "[FILE]",
        summary: "copy everything that is stored, also while a server runs",
        about: "Into FILE, which must not be there yet, or with --into under a name made of the moment.",
        flags: &[flags::PLACE, flags::BACKUP],
    },
    CommandSpec {
        name: "sessions import",
        usage: "SESSION FILE",
        summary: "make a saved canvas a session's",
        about: CHANGES,
        flags: &[flags::PLACE, flags::IMPORT],
    },
    CommandSpec {
        name: "sessions restore",
        usage: "SESSION --to SEQ|TIME",
        summary: "bring a session back to what it was",
        about: CHANGES,
        flags: &[flags::PLACE, flags::RESTORE],
    },
    CommandSpec {
        name: "sessions delete",
        usage: "SESSION --yes",
        summary: "remove a session and its versions for ever",
        about: CHANGES,
        flags: &[flags::PLACE, flags::DELETE],
    },
    CommandSpec {
        name: "sessions compact",
        usage: "[SESSION]",
        summary: "make sessions open faster and their file smaller",
        about: CHANGES,
        flags: &[flags::PLACE, flags::COMPACT],
    },
    CommandSpec {
        name: "record",
        usage: "SESSION --out FILE",
        summary: "write what happened in a session to a file",
        about: PLACES,
        flags: &[flags::PLACE, flags::RECORD],
    },
    CommandSpec {
        name: "replay",
        usage: "FILE URL",
        summary: "play such a file into a session of a running server",
        about: "",
        flags: &[flags::REPLAY],
    },
    CommandSpec {
        name: "completions",
        usage: "bash|zsh|fish|powershell",
        summary: "print what a shell needs to complete commands and options",
        about: "",
        flags: &[],
    },
    CommandSpec { name: "man", usage: "", summary: "print the manual page", about: "", flags: &[] },
];

const PLACES: &str = "Looks in the directory where a server of this user stores sessions, in the one of \
                      --data-dir, or asks the running server of --server.";
const CHANGES: &str = "Changes what the running server of --server stores, which takes an admin key where \
                       there are keys; or a directory that no server uses: the one of --data-dir, or where \
                       a server of this user stores sessions.";

impl CommandSpec {
    /// The fewest and the most words after the command's own.
    #[cfg(any(test, feature = "durable"))]
    pub fn word_bounds(&self) -> (usize, usize) {
        let words = self.usage.split(' ').take_while(|word| !word.starts_with("--"));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let required = words.iter().filter(|word| !word.starts_with('[')).count();
        (required, words.len())
    }

    /// How it is typed.
    pub fn typed(&self) -> String {
        format!("collabd {} {}", self.name, self.usage).trim_end().to_owned()
    }

    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().copied().flatten()
    }
}

/// The command of this name.
pub(super) fn find(name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The commands that begin with these words; all, with none.
pub(super) fn beginning_with(words: &[String]) -> Vec<&'static CommandSpec> {
    let begins = |command: &&CommandSpec| {
        let mut own = command.name.split(' ');
        words.iter().all(|word| own.next().is_none_or(|part| part == word))
    };
    COMMANDS.iter().filter(begins).collect()
}

/// All flags there are; one that several commands have, several times.
pub(super) fn all_flags() -> impl Iterator<Item = &'static Flag> {
    COMMANDS.iter().flat_map(CommandSpec::flags)
}
