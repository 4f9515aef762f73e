//! The addresses that others can type in to reach the server.

use std::net::{IpAddr, SocketAddr};

/// The addresses under which a server can be reached that listens on `listening`: where it listens on all
/// addresses of the machine, each of those, the ones other machines can reach first. Asks the system, which
/// waits for no network.
pub fn reachable(listening: &[SocketAddr]) -> Vec<SocketAddr> {
    let all = listening
        .iter()
        .flat_map(|addr| ips(addr.ip()).into_iter().map(|ip| SocketAddr::new(ip, addr.port())));
    all.collect()
}

fn ips(ip: IpAddr) -> Vec<IpAddr> {
    if !ip.is_unspecified() {
        return vec![ip];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = interfaces
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|found| found.is_ipv4() || ip.is_ipv6())
        .filter(|found| !matches!(found, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    ips.dedup();
    ips
}
