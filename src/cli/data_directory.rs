//! Where sessions are stored when nobody has named a directory.

use std::ffi::OsString;
use std::path::PathBuf;

/// The system whose conventions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Windows,
    MacOs,
    /// Linux and the rest: the XDG base directories.
    Xdg,
}

const THIS_SYSTEM: System = match () {
    _ if cfg!(windows) => System::Windows,
    _ if cfg!(target_os = "macos") => System::MacOs,
    _ => System::Xdg,
};

/// The data directory of this user, or of this service: `$STATE_DIRECTORY`, which systemd sets, or
/// the system's place for data of programs. `None` where the environment names neither a home nor
/// such a place.
pub(super) fn default_directory(environment: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    on_system(THIS_SYSTEM, environment)
}

fn on_system(system: System, environment: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.has_root());
    if let Some(state) = environment("STATE_DIRECTORY") {
        // A unit may have several; the first is the service's own.
        let first = std::env::split_paths(&state).next().filter(|path| path.has_root());
        if first.is_some() {
            return first;
        }
    }
    match system {
        System::Windows => path("LOCALAPPDATA").map(|data| data.join("collabd")),
        System::MacOs => path("HOME").map(|home| home.join("Library/Application Support/collabd")),
        System::Xdg => path("XDG_DATA_HOME")
            .or_else(|| path("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("collabd")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(system: System, variables: &[(&str, &str)]) -> Option<String> {
        let of = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let directory = on_system(system, &|name| of(name).map(|(_, value)| value.into()));
        directory.map(|path| path.display().to_string().replace('\\', "/"))
    }

    #[test]
    fn each_system_has_a_place_for_data() {
        let home = ("HOME", "/home/lab");
        for (system, variables, expected) in [
            (System::Xdg, &[home][..], "/home/lab/.local/share/collabd"),
            (System::Xdg, &[home, ("XDG_DATA_HOME", "/data")], "/data/collabd"),
            (System::Xdg, &[home, ("XDG_DATA_HOME", "data")], "/home/lab/.local/share/collabd"),
            (System::Xdg, &[home, ("STATE_DIRECTORY", "/var/lib/collabd")], "/var/lib/collabd"),
            (System::Xdg, &[home, ("STATE_DIRECTORY", "")], "/home/lab/.local/share/collabd"),
            (System::MacOs, &[home], "/home/lab/Library/Application Support/collabd"),
            (
                System::Windows,
                &[home, ("LOCALAPPDATA", "/Users/lab/Local")],
                "/Users/lab/Local/collabd",
            ),
        ] {
            assert_eq!(found(system, variables).as_deref(), Some(expected), "{variables:?}");
        }
        assert_eq!(found(System::Xdg, &[]), None);
        assert_eq!(found(System::Xdg, &[("HOME", "")]), None);
        assert_eq!(found(System::Windows, &[home]), None);
    }

    #[cfg(unix)]
    #[test]
    fn of_several_state_directories_the_first_counts() {
        let several = [("STATE_DIRECTORY", "/var/lib/collabd:/var/lib/more")];
        assert_eq!(found(System::Xdg, &several).as_deref(), Some("/var/lib/collabd"));
    }
}
