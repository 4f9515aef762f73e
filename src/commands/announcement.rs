//! The first lines of a server: where it is, how to join, where tables are stored, how to stop it.

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use crate::logging::without_keys;
use crate::net;

/// What a server says beside its addresses.
#[derive(Debug)]
pub struct Announcement {
    /// What is served: `sessions`.
    pub what: &'static str,
    /// Where tables are stored, as a line. `None` where there are no tables, and no page.
    pub tables: Option<String>,
}

impl Announcement {
    /// Says it on stdout. A stdout that can't be written to is no reason to end.
    pub fn say(&self, addrs: &[SocketAddr]) {
        let stdout = std::io::stdout();
        let is_coloured = cfg!(unix)
            && stdout.is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let text = self.text(addrs, &net::reachable(addrs), is_coloured);
        let mut stdout = stdout.lock();
        let _ = stdout.write_all(without_keys(&text).as_bytes()).and_then(|()| stdout.flush());
    }

    fn text(&self, addrs: &[SocketAddr], reachable: &[SocketAddr], is_coloured: bool) -> String {
        let address = |text: String| match is_coloured {
            true => format!("\x1b[1;36m{text}\x1b[0m"),
            false => text,
        };
        let mut text = format!("collabd {} serves {}\n", env!("CARGO_PKG_VERSION"), self.what);
        for addr in addrs {
            text.push_str(&format!("listening on {addr}\n"));
        }
        text.push_str(match self.tables {
            Some(_) => {
                "to join, in Optiverse: Collaboration → Connect/Host Session… → Connect to server, \
                 with the Server URL\n"
            }
            None => "others connect to:\n",
        });
        for addr in reachable {
            text.push_str(&format!("  {}\n", address(format!("ws://{addr}"))));
        }
        if let (Some(tables), Some(first)) = (&self.tables, reachable.first()) {
            text.push_str(&format!(
                "to watch, in a browser: {}\n",
                address(format!("http://{first}/"))
            ));
            text.push_str(&format!("{tables}\n"));
        }
        text.push_str("Ctrl+C stops it\n");
        text
    }
}

/// The address of the page for a browser on this machine; `None` where the server listens nowhere.
pub fn own_page(addrs: &[SocketAddr]) -> Option<String> {
    let addr = addrs.first()?;
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(format!("http://{}/", SocketAddr::new(ip, addr.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_gets_colours() {
        let said = Announcement { what: "sessions", tables: Some("tables are somewhere".into()) };
        let addr = [SocketAddr::from(([192, 168, 1, 20], 8765))];
        let [plain, coloured] = [false, true].map(|on| said.text(&addr, &addr, on));
        assert!(coloured.contains("\x1b[1;36mhttp://192.168.1.20:8765/\x1b[0m"), "{coloured}");
        assert_eq!(coloured.replace("\x1b[1;36m", "").replace("\x1b[0m", ""), plain);
    }

    #[test]
    fn a_browser_on_this_machine_takes_its_own_address() {
        for (listens, page) in [
            ("0.0.0.0:1", "http://127.0.0.1:1/"),
            ("[::]:1", "http://[::1]:1/"),
            ("192.168.1.20:1", "http://192.168.1.20:1/"),
        ] {
            let addr = listens.parse().expect("an address");
            assert_eq!(own_page(&[addr]).as_deref(), Some(page));
        }
        assert_eq!(own_page(&[]), None);
    }
}
