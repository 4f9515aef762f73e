//! Where a client is, when a proxy stands between it and the server.

use std::net::{IpAddr, SocketAddr};

/// Whether a proxy at this address is believed.
pub fn is_trusted(address: IpAddr, trusted: &[IpAddr]) -> bool {
    trusted.iter().any(|proxy| proxy.to_canonical() == address.to_canonical())
}

/// The address of the client behind a connection: its peer's, unless that is a trusted proxy.
///
/// Then it is the last address in `X-Forwarded-For` that isn't a trusted proxy's itself: everything
/// before it was written by somebody who isn't trusted. Behind what can't be read nothing is
/// believed. `x_forwarded_for` are the values of all such headers in the order they were sent. An
/// IPv4 address that was mapped into IPv6 is returned as the IPv4 address it is.
pub fn client_address<'a>(
    peer: IpAddr,
    x_forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpAddr],
) -> IpAddr {
    let mut known = peer.to_canonical();
    for entry in x_forwarded_for.rev().flat_map(|value| value.rsplit(',')) {
        if !is_trusted(known, trusted) {
            break;
        }
        match address(entry.trim()) {
            Some(before) => known = before,
            None => break,
        }
    }
    known
}

/// An entry's address: bare, in brackets, or with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let bare = entry.parse().ok().or_else(bracketed);
    let address = bare.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `peer` and the headers' values against proxies at 10.0.0.1, ::1 and 127.0.0.1.
    fn client(peer: &str, headers: &[&str]) -> String {
        let trusted = ["10.0.0.1", "::1", "::ffff:127.0.0.1"].map(|ip| ip.parse().unwrap());
        client_address(peer.parse().unwrap(), headers.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("192.0.2.7", &["192.0.2.1"]), "192.0.2.7");
        assert_eq!(client("10.0.0.2", &["192.0.2.1"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        let peer = "192.0.2.7".parse().unwrap();
        assert_eq!(client_address(peer, ["192.0.2.1"].into_iter(), &[]), peer);
    }

    #[test]
    fn of_several_the_last_that_is_no_proxy_counts() {
        for (headers, address) in [
            (&["203.0.113.9, 192.0.2.1"][..], "192.0.2.1"),
            (&["203.0.113.9, 192.0.2.1, 10.0.0.1, ::1"], "192.0.2.1"),
            (&["203.0.113.9", "192.0.2.1", "10.0.0.1"], "192.0.2.1"),
            (&["203.0.113.9,\t192.0.2.1 ,127.0.0.1"], "192.0.2.1"),
            (&["10.0.0.1, ::1"], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", headers), address, "{headers:?}");
        }
    }

    #[test]
    fn behind_what_cannot_be_read_nothing_is_believed() {
        for junk in [
            "",
            " ",
            "unknown",
            "_hidden",
            "for=192.0.2.1",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "192.0.2.1 192.0.2.2",
            "[192.0.2.1]",
            "[::1",
            "lab.example",
            "\u{fffd}",
        ] {
            assert_eq!(client("10.0.0.1", &[junk]), "10.0.0.1", "{junk}");
            let before = format!("192.0.2.1, {junk}, ::1");
            assert_eq!(client("10.0.0.1", &[&before]), "::1", "{junk}");
        }
    }

    #[test]
    fn ports_and_brackets_are_no_matter_and_ipv4_is_ipv4() {
        for (entry, address) in [
            ("192.0.2.1:5678", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ] {
            assert_eq!(client("::ffff:10.0.0.1", &[entry]), address, "{entry}");
            assert_eq!(client("::ffff:10.0.0.1", &[&format!("{entry}, [::1]:9")]), address);
        }
        assert_eq!(client("::ffff:192.0.2.7", &["192.0.2.1"]), "192.0.2.7");
    }
}
