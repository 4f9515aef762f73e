//! Which pages may connect, by the `Origin` header.
//!
//! A browser sends a page's requests with its user's cookies and to the user's own machine; the
//! `Origin` header tells which page made them. Other clients don't send it and are not checked.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The origins that are allowed in addition to the server's own.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// True where `*` is among them.
    is_any: bool,
    listed: Vec<Origin>,
}

/// True where a page comes from the machine that its browser runs on.
pub fn is_of_this_machine(origin: &str) -> bool {
    Origin::parse(origin).is_some_and(|origin| origin.host.is_this_machine())
}

/// A page's origin. Two are equal where scheme, host and port are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host,
    /// The scheme's default port where none was written; `None` where the scheme has none.
    port: Option<u16>,
}

/// A host in an origin or in `Host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address. An IPv4 address mapped into IPv6 is an IPv4 address here.
    Address(IpAddr),
}

impl Origins {
    /// The origins of a list: `scheme://host[:port]` each, or `*` for all pages.
    ///
    /// # Errors
    /// A line for the person who typed an entry that is no origin.
    pub fn new(list: &[String]) -> Result<Self, String> {
        let mut origins = Origins::default();
        for typed in list {
            match Origin::parse(typed) {
                _ if typed == "*" => origins.is_any = true,
                Some(origin) => origins.listed.push(origin),
                None => {
                    return Err(format!(
                        "{typed:?} is not an origin: write it as a browser does, like \
                         https://lab.example:8443, without a path, or * for any"
                    ));
                }
            }
        }
        Ok(origins)
    }

    /// True where a request with these headers, from a client at this address, is permitted.
    ///
    /// A request without an `Origin` is: no page made it. Otherwise the origin has to be allowed,
    /// or be the host and port that the request was sent to, or both page and client have to be on
    /// this machine. A `Host` without a port means the default port of the page's scheme, because a
    /// proxy that ends TLS passes it on so.
    pub fn permits(&self, origin: Option<&str>, host: Option<&str>, from: IpAddr) -> bool {
        origin.is_none_or(|origin| self.permitted(origin, host, from).is_some())
    }

    /// The value of `Access-Control-Allow-Origin` for this page: its origin as a browser writes it,
    /// put together from its parts, or `*` for a page without one where all are allowed. `None`
    /// where the page is not permitted.
    pub fn permitted(&self, origin: &str, host: Option<&str>, from: IpAddr) -> Option<String> {
        let Some(origin) = Origin::parse(origin) else {
            return self.is_any.then(|| "*".to_owned());
        };
        let is_permitted = self.is_any
            || self.listed.contains(&origin)
            || host.is_some_and(|host| origin.was_served_by(host))
            || (origin.host.is_this_machine() && from.to_canonical().is_loopback());
        is_permitted.then(|| origin.to_string())
    }
}

/// An origin in a form that is safe to log.
pub(super) fn shown(origin: &str) -> String {
    Origin::parse(origin).map_or("no known origin".into(), |origin| origin.to_string())
}

impl fmt::Display for Origin {
    /// In the form in which a browser serializes it (RFC 6454 §6.2), without the scheme's default
    /// port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, host, port } = self;
        match host {
            Host::Name(name) => write!(f, "{scheme}://{name}")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{scheme}://{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "{scheme}://[{address}]")?,
        }
        match port.filter(|port| Some(*port) != default_port(scheme)) {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Origin {
    /// Parses a scheme, a host and an optional port. `None` for anything else, and for `null`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = Host::with_port(authority).filter(|_| is_scheme)?;
        Some(Origin { port: port.or_else(|| default_port(&scheme)), scheme, host })
    }

    fn was_served_by(&self, host: &str) -> bool {
        // The schemes of other pages say nothing of the network.
        matches!(&*self.scheme, "http" | "https")
            && Host::with_port(host).is_some_and(|(host, port)| {
                host == self.host && port.or_else(|| default_port(&self.scheme)) == self.port
            })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

impl Host {
    /// Parses a host and an optional port. `None` for what no browser writes: user info, a
    /// character that isn't ASCII (browsers send such names as `xn--`), an empty port, a path.
    pub(super) fn with_port(authority: &str) -> Option<(Host, Option<u16>)> {
        let port_from = match authority.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(port_from);
        let port = match port {
            "" => None,
            _ => {
                let digits = port.strip_prefix(':')?;
                let is_number = (1..=5).contains(&digits.len())
                    && digits.bytes().all(|digit| digit.is_ascii_digit());
                Some(digits.parse().ok().filter(|_| is_number)?)
            }
        };
        Some((Host::parse(host)?, port))
    }

    fn parse(host: &str) -> Option<Self> {
        if let Some(bracketed) = host.strip_prefix('[') {
            let address: Ipv6Addr = bracketed.strip_suffix(']')?.parse().ok()?;
            return Some(Host::Address(address.to_canonical()));
        }
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match host.parse() {
            Ok(address) => Some(Host::Address(IpAddr::V4(address))),
            Err(_) => is_name.then(|| Host::Name(host.to_ascii_lowercase())),
        }
    }

    /// True where a browser reaches its own machine under this host.
    fn is_this_machine(&self) -> bool {
        match self {
            // RFC 6761 §6.3.
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Address(address) => address.is_loopback(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Origins {
        let list: Vec<String> = list.iter().map(|&origin| origin.into()).collect();
        Origins::new(&list).unwrap()
    }

    /// Checks an origin from another machine, with nothing listed.
    fn same(origin: &str, host: &str) -> bool {
        origins(&[]).permits(Some(origin), Some(host), [192, 0, 2, 1].into())
    }

    /// Checks an origin from `from`, with a request to a host of another name.
    fn local(origin: &str, from: &str) -> bool {
        origins(&[]).permits(Some(origin), Some("lab.example:8765"), from.parse().unwrap())
    }

    #[test]
    fn who_sends_no_origin_is_no_browser() {
        assert!(origins(&[]).permits(None, None, [192, 0, 2, 1].into()));
        assert!(origins(&["https://a.example"]).permits(None, Some("h"), [192, 0, 2, 1].into()));
    }

    #[test]
    fn a_page_reaches_the_host_and_port_it_came_from() {
        for (origin, host) in [
            ("http://lab.example:8765", "lab.example:8765"),
            ("HTTP://Lab.Example:8765", "lab.EXAMPLE:8765"),
            ("http://lab.example", "lab.example"),
            ("http://lab.example", "lab.example:80"),
            ("http://lab.example:80", "lab.example"),
            ("https://lab.example", "lab.example"),
            ("https://lab.example", "lab.example:443"),
            ("https://lab.example:443", "lab.example"),
            ("https://lab.example:8443", "lab.example:8443"),
            ("http://192.0.2.9:8765", "192.0.2.9:8765"),
            ("http://[2001:db8::1]:8765", "[2001:DB8:0::1]:8765"),
            ("http://[::1]", "[::1]:80"),
            ("http://lab_pc:8765", "lab_pc:8765"),
            ("http://lab.example.:8765", "lab.example.:8765"),
            ("http://xn--bro-hoa.example", "xn--bro-hoa.example"),
        ] {
            assert!(same(origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn another_host_port_or_spelling_is_another_page() {
        for (origin, host) in [
            ("http://evil.example", "lab.example"),
            ("http://lab.example.evil.example", "lab.example"),
            ("http://evil.example/lab.example", "lab.example"),
            ("http://lab.example:8080", "lab.example:8765"),
            ("http://lab.example", "lab.example:8765"),
            ("http://lab.example:8765", "lab.example"),
            ("https://lab.example", "lab.example:80"),
            ("http://lab.example:443", "lab.example"),
            ("http://lab.example.", "lab.example"),
            ("http://lab.example", "lab.example."),
            ("http://192.0.2.9", "[::192.0.2.9]"),
            ("app://lab.example", "lab.example"),
            ("ws://lab.example", "lab.example"),
        ] {
            assert!(!same(origin, host), "{origin} to {host}");
        }
        assert!(!origins(&[]).permits(Some("http://a"), None, [192, 0, 2, 1].into()));
    }

    /// No browser sends one of these, or it tells nothing of a page.
    const RUBBISH: &[&str] = &[
        "",
        "null",
        "NULL",
        "*",
        "lab.example",
        "//lab.example",
        "://lab.example",
        "http:lab.example",
        "http:/lab.example",
        "http://",
        "http://:80",
        "http://lab.example/",
        "http://lab.example/path",
        "http://lab.example?x",
        "http://lab.example#x",
        "http://me@lab.example",
        "http://me:pw@lab.example",
        "http://lab.example:",
        "http://lab.example:+80",
        "http://lab.example:-1",
        "http://lab.example:0x50",
        "http://lab.example:65536",
        "http://lab.example:000080",
        "http://lab.example:80:80",
        "http://lab.example http://other.example",
        "http://lab.example, http://other.example",
        " http://lab.example",
        "http://lab.example\t",
        "http://lab%2eexample",
        "http://lab\\example",
        "http://*.example",
        "http://büro.example",
        "http://lab。example",
        "http://\u{fffd}",
        "\u{fffd}",
        "http://[::1",
        "http://::1",
        "http://[]",
        "http://[::1]x",
        "http://[::1]x:80",
        "http://[::1%25eth0]",
        "http://[127.0.0.1]",
        "http://[v1.x]",
        "1http://lab.example",
        "ht tp://lab.example",
        "hätp://lab.example",
    ];

    #[test]
    fn rubbish_is_refused_whatever_it_is_sent_to() {
        for origin in RUBBISH {
            let from = [127, 0, 0, 1].into();
            let sent_to = origin.split_once("://").map_or("", |(_, host)| host);
            for host in [Some("lab.example"), Some(""), Some(sent_to), Some(*origin), None] {
                assert!(!origins(&[]).permits(Some(origin), host, from), "{origin:?} to {host:?}");
            }
            assert!(origins(&["*"]).permits(Some(origin), None, from), "{origin:?}");
        }
        for host in ["", ":80", "lab.example:", "lab.example:x", "me@lab.example", "lab.example/"] {
            assert!(!same("http://lab.example", host), "{host:?}");
        }
    }

    #[test]
    fn a_page_of_this_machine_reaches_this_machine() {
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "https://LOCALHOST:3000",
            "http://app.localhost",
            "http://127.0.0.1:3000",
            "http://127.8.9.10",
            "http://[::1]:3000",
            "http://[::ffff:127.0.0.1]",
            "tauri://localhost",
        ] {
            for from in ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
                assert!(local(origin, from), "{origin} from {from}");
            }
            for from in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "::"] {
                assert!(!local(origin, from), "{origin} from {from}");
            }
        }
        for origin in [
            "http://evil.example",
            "http://localhost.evil.example",
            "http://evillocalhost",
            "http://localhost.",
            "http://127.0.0.1.evil.example",
            "http://127.1",
            "http://127.0.0.1.",
            "http://2130706433",
            "http://0.0.0.0",
            "http://[::]",
            "http://[::127.0.0.1]",
            "null",
        ] {
            assert!(!local(origin, "127.0.0.1"), "{origin}");
        }
    }

    #[test]
    fn what_is_listed_is_permitted_as_a_whole() {
        let listed = origins(&["https://Lab.Example", "http://lab.example:8080", "app://lab"]);
        let permits = |origin| listed.permits(Some(origin), Some("other"), [192, 0, 2, 1].into());
        for origin in [
            "https://lab.example",
            "https://LAB.example:443",
            "http://lab.example:8080",
            "app://lab",
        ] {
            assert!(permits(origin), "{origin}");
        }
        for origin in [
            "http://lab.example",
            "http://lab.example:443",
            "https://lab.example:8080",
            "https://sub.lab.example",
            "app://lab:1",
            "null",
        ] {
            assert!(!permits(origin), "{origin}");
        }
    }

    #[test]
    fn an_origin_is_written_back_as_a_browser_writes_it() {
        let any = origins(&["*"]);
        for (sent, written) in [
            ("http://lab.example", "http://lab.example"),
            ("HTTP://Lab.Example:80", "http://lab.example"),
            ("https://lab.example:443", "https://lab.example"),
            ("https://lab.example:8443", "https://lab.example:8443"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://[2001:DB8:0::1]:80", "http://[2001:db8::1]"),
            ("tauri://localhost", "tauri://localhost"),
            ("null", "*"),
            ("http://lab.example\r\nX: y", "*"),
        ] {
            let permitted = any.permitted(sent, None, [192, 0, 2, 1].into());
            assert_eq!(permitted.as_deref(), Some(written), "{sent}");
        }
        assert_eq!(origins(&[]).permitted("null", None, [127, 0, 0, 1].into()), None);
    }

    #[test]
    fn what_cannot_be_listed_is_one_line() {
        for typed in RUBBISH.iter().filter(|typed| **typed != "*").chain(&["a\nb", "* ", "**"]) {
            let line = Origins::new(&[(*typed).into()]).unwrap_err();
            assert!(line.contains("https://") && !line.contains('\n'), "{line}");
        }
        assert!(origins(&["*", "https://a"]).permits(Some("null"), None, [192, 0, 2, 1].into()));
    }
}
