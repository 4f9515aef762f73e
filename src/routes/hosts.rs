//! The host names of this server. A page can make a name of its own resolve to this machine (DNS
//! rebinding); its browser then takes it for one of this server's pages, but sends its name in
//! `Host`, and the request is refused.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::origin::Host;
use crate::os;

/// How long after a failure the full name is looked up again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Hosts {
    /// The names that the operator gave, in lower case.
    listed: Vec<Host>,
    /// The machine's host name, in lower case; empty where the system doesn't tell it.
    own: String,
    full: Mutex<FullName>,
}

/// The machine's name with its domain, which only a resolver knows.
#[derive(Debug, Default)]
struct FullName {
    name: Option<String>,
    asked: Option<Instant>,
}

impl Default for Hosts {
    /// Only the machine's own names.
    fn default() -> Self {
        Hosts::with_names(Vec::new(), os::host_name().unwrap_or_default())
    }
}

impl Hosts {
    /// The machine's own names and these.
    ///
    /// # Errors
    /// A line for the person who typed a name that is no host.
    pub fn new(list: &[String]) -> Result<Self, String> {
        let host = |typed: &String| {
            let host = Host::with_port(typed).map(|(host, _)| host);
            host.ok_or_else(|| {
                format!("{typed:?} is not a host name: write it like lab.example, without a path")
            })
        };
        let listed = list.iter().map(host).collect::<Result<_, _>>()?;
        Ok(Hosts { listed, ..Hosts::default() })
    }

    fn with_names(listed: Vec<Host>, own: String) -> Self {
        Hosts { listed, own: own.to_ascii_lowercase(), full: Mutex::default() }
    }

    /// True where a request with this `Host` means this server: an IP address, `localhost`, one of
    /// the machine's names, or a name that was given. A request without `Host` is permitted: only
    /// browsers have to send one.
    ///
    /// May wait for the system's resolver, but only for a name that begins with this machine's.
    pub fn permits(&self, host: Option<&str>) -> bool {
        let Some(host) = host.map(str::trim).filter(|host| !host.is_empty()) else { return true };
        match Host::with_port(host) {
            None => false,
            Some((host, _)) if self.listed.contains(&host) => true,
            Some((Host::Address(_), _)) => true,
            Some((Host::Name(name), _)) => name == "localhost" || self.is_own(&name),
        }
    }

    /// True where `name` is the host name, the host name with `.local`, or the full name. Where the
    /// host name is itself the full name, its first part is permitted, too.
    fn is_own(&self, name: &str) -> bool {
        let own = &*self.own;
        let (first, domain) = own.split_once('.').map_or((own, ""), |(first, rest)| (first, rest));
        if first.is_empty() {
            return false;
        }
        let bare = name.strip_suffix(".local").unwrap_or(name);
        if name == own || bare == first {
            return true;
        }
        let begins_alike = name.strip_prefix(first).is_some_and(|rest| rest.starts_with('.'));
        domain.is_empty() && begins_alike && self.full_name().as_deref() == Some(name)
    }

    /// Looks the full name up once, and again a while after a failure.
    fn full_name(&self) -> Option<String> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = full.asked.is_none_or(|asked| asked.elapsed() > RETRY_INTERVAL);
        if full.name.is_none() && is_due {
            full.name = os::full_host_name(&self.own).map(|name| name.to_ascii_lowercase());
            full.asked = Some(Instant::now());
        }
        full.name.clone()
    }
}

/// True where a `Host` is a loopback address or `localhost`.
pub fn is_loopback(host: Option<&str>) -> bool {
    let host = host.and_then(|host| Host::with_port(host.trim()));
    host.is_some_and(|(host, _)| match host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => address.is_loopback(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_its_names_and_no_others() {
        let hosts = Hosts::with_names(Vec::new(), "Lab-PC".into());
        for host in [
            "127.0.0.1",
            "127.0.0.1:8765",
            "192.0.2.7:8765",
            "[::1]:8765",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST:8765",
            "lab-pc",
            "LAB-PC:8765",
            "lab-pc.local",
            "",
            " ",
        ] {
            assert!(hosts.permits(Some(host)), "{host}");
        }
        assert!(hosts.permits(None));
        for host in [
            "evil.example",
            "evil.example:8765",
            "lab-pc.evil.example",
            "evil.lab-pc",
            "xlab-pc",
            "lab-pcx",
            "lab-pc.",
            "lab-pc.local.evil.example",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "a b",
            "\u{fffd}",
            "2130706433",
            "lab-pc:",
            "[::1",
        ] {
            assert!(!hosts.permits(Some(host)), "{host}");
        }
    }

    #[test]
    fn a_host_name_with_a_domain_is_the_full_name() {
        let hosts = Hosts::with_names(Vec::new(), "lab-pc.example.org".into());
        for host in ["lab-pc.example.org", "lab-pc", "lab-pc.local:80"] {
            assert!(hosts.permits(Some(host)), "{host}");
        }
        for host in ["example.org", "lab-pc.example", "lab-pc.example.org.evil.example"] {
            assert!(!hosts.permits(Some(host)), "{host}");
        }
        // The machine has no name.
        assert!(!Hosts::with_names(Vec::new(), String::new()).permits(Some(".local")));
    }

    #[test]
    fn what_is_listed_is_a_name_too() {
        let hosts = Hosts::new(&["Collab.example".into(), "other:8443".into()]).expect("names");
        assert!(hosts.permits(Some("collab.EXAMPLE:8765")) && hosts.permits(Some("other")));
        assert!(!hosts.permits(Some("sub.collab.example")));
        for typed in ["", "http://lab.example", "lab.example/", "büro", "*", "a b"] {
            let line = Hosts::new(&[typed.into()]).expect_err(typed);
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn the_systems_own_name_is_known() {
        let name = os::host_name().expect("a machine has a name");
        assert!(Hosts::default().permits(Some(&name)), "{name}");
    }
}
