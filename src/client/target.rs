//! The address the user typed: taken apart, checked, and never shown with the key in it.

use std::net::{SocketAddr, ToSocketAddrs as _};

/// How an address has to look; the end of every complaint about one.
const USAGE: &str = "expected ws://HOST[:PORT][/PREFIX], for example ws://lab-pc:8765 \
                     or ws://lab-pc:8765/key/SECRET";

/// A server, and the path prefix it is reached under.
#[derive(Debug)]
pub struct Target {
    /// Host name or address, an IPv6 one without its brackets.
    pub host: String,
    pub port: u16,
    /// Percent-encoded, without a slash at its end: empty or `/key/SECRET`.
    prefix: String,
}

impl Target {
    /// Reads `ws://host[:port][/prefix]` or the same without `ws://`.
    pub fn parse(typed: &str) -> Result<Target, String> {
        let typed = typed.trim();
        let rest = match typed.split_once("://") {
            None => typed,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ws") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("wss") => {
                return Err("wss:// needs TLS, which collabd does not speak: \
                     name the plain ws:// port behind the proxy"
                    .to_owned());
            }
            Some(_) => return Err(format!("the address does not begin with ws://; {USAGE}")),
        };
        if rest.contains(['?', '#']) {
            return Err(format!(
                "the address has a ? or # in it, which swallows the path in the editor; {USAGE}"
            ));
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(format!(
                "the address has user information (…@) in it, which the editor does not send; \
             {USAGE}"
            ));
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Target { host, port, prefix: encoded(path.trim_end_matches('/')) })
    }

    /// Reads `http://host[:port][/prefix]` or the same without `http://`, or with `ws://`: the
    /// address of a server's API. A key that ends it, as `/key/SECRET`, is no part of the target.
    pub fn parse_api(typed: &str) -> Result<(Target, Option<String>), String> {
        let typed = typed.trim();
        let bare = match typed.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err("https:// needs TLS, which collabd does not speak: name the plain \
                            http:// port behind the proxy"
                    .to_owned());
            }
            _ => typed,
        };
        let mut target = Target::parse(bare).map_err(|line| line.replace("ws://", "http://"))?;
        let Some((before, key)) = target.prefix.rsplit_once('/') else { return Ok((target, None)) };
        match before.rsplit_once('/') {
            Some((prefix, marker)) if is_key_marker(marker) => {
                let key = decoded(key);
                target.prefix = prefix.to_owned();
                Ok((target, Some(key)))
            }
            _ => Ok((target, None)),
        }
    }

    /// The address of the API as it may be printed.
    pub fn shown_api(&self) -> String {
        self.shown().replacen("ws://", "http://", 1)
    }

    /// The addresses of its host. Blocks on the resolver.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found =
            found.map_err(|e| format!("the name {:?} could not be looked up: {e}", self.host))?;
        Ok(found.collect())
    }

    /// The path of `user`'s place in `session`.
    pub fn place(&self, session: &str, user: &str) -> String {
        let [session, user] = [session, user].map(|name| encoded(&name.replace('%', "%25")));
        self.under_prefix(&format!("/ws/{session}/{user}"))
    }

    /// `path` with the prefix before it.
    pub fn under_prefix(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// What goes into the `Host` header.
    pub fn host_header(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The address as it may be printed.
    pub fn shown(&self) -> String {
        let mut after_key = false;
        let mut shown = format!("ws://{}", self.host_header());
        for segment in self.prefix.split('/').skip(1) {
            shown.push('/');
            shown.push_str(if after_key { "…" } else { segment });
            after_key = is_key_marker(segment);
        }
        shown
    }

    /// The keys in the address, as they were typed and as a server could show them.
    pub fn secrets(&self) -> Vec<String> {
        let segments: Vec<&str> = self.prefix.split('/').collect();
        let keys = segments.windows(2).filter(|pair| is_key_marker(pair[0])).map(|pair| pair[1]);
        let mut secrets: Vec<String> = keys
            .flat_map(|key| [key.to_owned(), decoded(key), decoded(key).escape_debug().to_string()])
            .filter(|key| !key.is_empty())
            .collect();
        // The longest form first, so that no part of one is left over.
        secrets.sort_by_key(|key| std::cmp::Reverse(key.len()));
        secrets.dedup();
        secrets
    }
}

/// Whether the segment after this one is a key.
fn is_key_marker(segment: &str) -> bool {
    decoded(segment).eq_ignore_ascii_case("key")
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; without a port it is 80, as for every
/// `ws://`.
fn host_and_port(authority: &str) -> Result<(String, u16), String> {
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let (host, after) = inner
            .split_once(']')
            .ok_or_else(|| format!("the address has a [ but no ]; {USAGE}"))?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => {
                return Err(format!("the address has something odd after its ]; {USAGE}"));
            }
        }
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!(
                    "an IPv6 address goes into brackets, as in [::1]:8765; {USAGE}"
                ));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    // A name the resolver may be asked for; `%` is the zone of a link-local IPv6 address.
    let fits = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err(format!("the address has no host name that could be looked up; {USAGE}"));
    }
    let port = match port {
        None => 80,
        // `+80` would parse as a number too.
        Some(port) => match port.parse() {
            Ok(number) if number != 0 && port.bytes().all(|b| b.is_ascii_digit()) => number,
            _ => return Err(format!("the port is not a number from 1 to 65535; {USAGE}")),
        },
    };
    Ok((host.to_owned(), port))
}

/// Percent-encodes what may not stand in a request line; `%` stays, the user may have encoded
/// already.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"#<>?\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The reverse of [`encoded`], as far as it is UTF-8.
fn decoded(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = segment.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_people_type() {
        for (typed, host, port, place) in [
            ("ws://lab-pc:8765", "lab-pc", 8765, "/ws/s/u"),
            ("WS://lab-pc", "lab-pc", 80, "/ws/s/u"),
            (" lab-pc:8765/ ", "lab-pc", 8765, "/ws/s/u"),
            ("ws://[::1]:8765/a/", "::1", 8765, "/a/ws/s/u"),
            ("ws://10.0.0.7/key/a b%21", "10.0.0.7", 80, "/key/a%20b%21/ws/s/u"),
        ] {
            let target = Target::parse(typed).expect(typed);
            assert_eq!((target.host.as_str(), target.port), (host, port), "{typed}");
            assert_eq!(target.place("s", "u"), place, "{typed}");
        }
        let target = Target::parse("lab-pc").expect("an address");
        assert_eq!(target.place("ö 1", "50%/a?"), "/ws/%C3%B6%201/50%25/a%3F");
    }

    #[test]
    fn addresses_that_are_none() {
        for typed in [
            "",
            "ws://",
            "ws://:80",
            "wss://lab-pc",
            "http://lab-pc",
            "ws://lab pc",
            "ws://lab-pc:0",
            "ws://lab-pc:99999",
            "ws://lab-pc:+80",
            "ws://lab-pc:",
            "ws://::1:80",
            "ws://[::1",
            "ws://[::1]80",
            "ws://me:secret@lab-pc",
            "ws://lab-pc/?key=secret",
            "ws://lab-pc/key/secret#",
        ] {
            let complaint = Target::parse(typed).expect_err(typed);
            assert!(!complaint.contains("secret"), "{complaint}");
            assert!(!complaint.contains('\n'), "{complaint}");
        }
    }

    #[test]
    fn the_address_of_an_api_may_end_with_a_key() {
        for (typed, shown, key) in [
            ("http://lab-pc:8765", "http://lab-pc:8765", None),
            ("HTTP://lab-pc/a/", "http://lab-pc:80/a", None),
            ("ws://lab-pc:8765/key/s%33cret", "http://lab-pc:8765", Some("s3cret")),
            ("lab-pc:8765/a/key/secret", "http://lab-pc:8765/a", Some("secret")),
        ] {
            let (target, found) = Target::parse_api(typed).expect(typed);
            assert_eq!((&*target.shown_api(), found.as_deref()), (shown, key), "{typed}");
        }
        for typed in
            ["https://lab-pc/key/secret", "ftp://lab-pc", "http://a@b/key/secret", "http://"]
        {
            let complaint = Target::parse_api(typed).expect_err(typed);
            assert!(!complaint.contains("secret"), "{complaint}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let target = Target::parse("ws://lab-pc:8765/a/key/s%33cret/b").expect("an address");
        assert_eq!(target.shown(), "ws://lab-pc:8765/a/key/…/b");
        assert_eq!(target.secrets(), ["s%33cret", "s3cret"]);
    }
}
