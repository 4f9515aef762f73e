//! What stands in the environment that collabd doesn't know, and what others put there.

use std::ffi::OsString;

use super::command_table;
use super::echoed::{may_be_key, nearest};
use super::flag::Flag;
use super::variables::{PREFIX, is_of_kubernetes, variable};

/// How many variables are remarked on.
const MAX_REMARKS: usize = 10;

/// A line for each variable that begins like collabd's and is none of them. Its value is not repeated.
pub fn remarks(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<String> {
    let known: Vec<String> = command_table::all_flags().filter_map(Flag::variable).collect();
    let mut remarks = Vec::new();
    for (name, value) in variables {
        let (Some(name), value) = (name.to_str(), value.to_string_lossy()) else { continue };
        if !name.starts_with(PREFIX) {
            continue;
        }
        if is_of_kubernetes(name, &value) {
            // Of Kubernetes' variables only this one has the name of one of ours.
            if name == variable("port") {
                remarks.push(format!(
                    "{name} is Kubernetes' address of a service and no port: it is not used; \
                     --port says which port"
                ));
            }
            continue;
        }
        if known.iter().any(|known| known == name) {
            continue;
        }
        let own = &name[PREFIX.len()..];
        let meant = nearest(own, known.iter().filter_map(|known| known.strip_prefix(PREFIX)));
        let meant =
            meant.map_or(String::new(), |meant| format!(", perhaps {PREFIX}{meant} was meant"));
        remarks.push(match may_be_key(name) && name.len() > 60 {
            true => format!("a variable that begins with {PREFIX} says nothing to collabd{meant}"),
            false => format!("{name:?} in the environment says nothing to collabd{meant}"),
        });
    }
    remarks.sort_unstable();
    remarks.truncate(MAX_REMARKS);
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Vec<String> {
        remarks(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn what_is_known_or_others_is_not_remarked_on() {
        for (name, value) in [
            ("COLLABD_PORT", "8765"),
            ("COLLABD_LOG_FILE", "x"),
            ("COLLABD_KEYS", "x"),
            ("COLLABD_KEY", "x"),
            ("COLLABD_SECONDS", "1"),
            ("HOME", "x"),
            ("collabd_port", "x"),
            ("COLLABD_SERVICE_HOST", "10.0.0.1"),
            ("COLLABD_SERVICE_PORT", "8765"),
            ("COLLABD_SERVICE_PORT_HTTP", "8765"),
            ("COLLABD_PORT_8765_TCP", "tcp://10.0.0.1:8765"),
            ("COLLABD_PORT_8765_TCP_PROTO", "tcp"),
            ("COLLABD_PORT_8765_TCP_PORT", "8765"),
            ("COLLABD_PORT_8765_TCP_ADDR", "10.0.0.1"),
            ("COLLABD_TEST_SERVICE_HOST", "10.0.0.2"),
            ("COLLABD_TEST_PORT", "tcp://10.0.0.2:80"),
            ("COLLABD_TEST_PORT_80_TCP_ADDR", "10.0.0.2"),
        ] {
            assert_eq!(told(&[(name, value)]), [""; 0], "{name}");
        }
        let line = told(&[("COLLABD_PORT", "tcp://10.0.0.1:8765")]);
        assert!(line[0].contains("Kubernetes") && !line[0].contains("10.0.0.1"), "{line:?}");
    }

    #[test]
    fn what_is_unknown_is_named_with_what_was_meant() {
        for (name, meant) in [
            ("COLLABD_PROT", "COLLABD_PORT"),
            ("COLLABD_LOGFILE", "COLLABD_LOG_FILE"),
            ("COLLABD_MAX_CONECTIONS", "COLLABD_MAX_CONNECTIONS"),
            ("COLLABD_REQUIRE_KEYS", "COLLABD_REQUIRE_KEY"),
            ("COLLABD_LINGER_SECONDS", "COLLABD_LINGER"),
            ("COLLABD_LISTEN_PORT", "COLLABD_PORT"),
        ] {
            let lines = told(&[(name, "SECRET")]);
            assert_eq!(lines.len(), 1, "{name}");
            assert!(lines[0].contains(name) && lines[0].contains(meant), "{lines:?}");
            assert!(!lines[0].contains("SECRET"));
        }
        let lines = told(&[("COLLABD_X\nY", "1")]);
        assert!(lines[0].contains(r"X\nY") && !lines[0].contains("perhaps"), "{lines:?}");
        let many: Vec<String> = (0..100).map(|n| format!("COLLABD_UNKNOWN_{n}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (&**name, "1")).collect();
        assert_eq!(told(&many).len(), MAX_REMARKS);
    }
}
