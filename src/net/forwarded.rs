//! The address of a client behind a proxy.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A network like `172.16.0.0/12`, or a single address. An IPv4 address mapped into IPv6 counts as
/// IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many leading bits have to be equal.
    prefix: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub struct NoNetwork;

impl Network {
    /// True where the address belongs to the network. An IPv4 address mapped into IPv6 counts as
    /// IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits - self.prefix;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    /// The network of this address alone.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    /// Parses an address, or an address with the number of its leading bits. Bits after them may be
    /// set.
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Network::from).map_err(|_| NoNetwork);
        };
        let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u32 = prefix.parse().ok().filter(|_| is_number).ok_or(NoNetwork)?;
        match address.parse().map_err(|_| NoNetwork)? {
            IpAddr::V4(own) if prefix <= 32 => Ok(Network { address: own.into(), prefix }),
            IpAddr::V6(own) if prefix <= 128 => Ok(Network::of_v6(own, prefix)),
            _ => Err(NoNetwork),
        }
    }
}

impl Network {
    fn of_v6(address: Ipv6Addr, prefix: u32) -> Self {
        match (address.to_ipv4_mapped(), prefix.checked_sub(96)) {
            (Some(v4), Some(prefix)) => Network { address: v4.into(), prefix },
            _ => Network { address: address.into(), prefix },
        }
    }
}

/// True where a proxy at this address is trusted.
pub fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The address of the client behind a connection: its peer's, unless that is a trusted proxy.
///
/// Otherwise it is the last address in `X-Forwarded-For` that is no trusted proxy's. Everything
/// before it was written by a client or a proxy that isn't trusted, and so is everything before an
/// entry that can't be parsed. `x_forwarded_for` are the values of all such headers in the order
/// they were sent. An IPv4 address mapped into IPv6 is returned as IPv4.
pub fn client_address<'a>(
    peer: IpAddr,
    x_forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[Network],
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

/// Parses an entry: an address, plain, in brackets or with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let bare = entry.parse().ok().or_else(bracketed);
    let address = bare.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's address for this peer and these headers, with proxies at 10.0.0.1, ::1 and
    /// 127.0.0.1.
    fn client(peer: &str, headers: &[&str]) -> String {
        let trusted =
            ["10.0.0.1", "::1", "::ffff:127.0.0.1"].map(|ip| ip.parse::<Network>().unwrap());
        client_address(peer.parse().unwrap(), headers.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn a_network_is_all_that_begins_alike() {
        let network = |text: &str| text.parse::<Network>().expect(text);
        for (text, inside, outside) in [
            (
                "172.16.0.0/12",
                &["172.16.0.0", "172.31.255.255", "::ffff:172.20.0.1"][..],
                &["172.32.0.0", "172.15.255.255", "::ac10:0", "::1"][..],
            ),
            ("172.16.7.9/12", &["172.31.0.1"], &["172.32.0.1"]),
            ("10.0.0.1", &["10.0.0.1", "::ffff:10.0.0.1"], &["10.0.0.2", "::1"]),
            ("10.0.0.1/32", &["10.0.0.1"], &["10.0.0.0"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::1", "::"]),
            ("::/0", &["::1", "ffff::"], &["10.0.0.1"]),
            ("fd00::/8", &["fd12:3456::1"], &["fc00::1", "10.0.0.1"]),
            ("2001:db8::1", &["2001:DB8::1"], &["2001:db8::2"]),
            ("::ffff:10.0.0.0/104", &["10.255.0.1"], &["11.0.0.1", "::1"]),
        ] {
            for (addresses, expected) in [(inside, true), (outside, false)] {
                for address in addresses {
                    let address = address.parse().expect("an address");
                    assert_eq!(network(text).contains(address), expected, "{text} {address}");
                }
            }
        }
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "lab/8",
            "10.0.0.0/8/8",
            "10.0.0.0 /8",
            "10.0.0.1:80",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
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
