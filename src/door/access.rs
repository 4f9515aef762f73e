//! Who may change what is stored.

use std::net::IpAddr;

use super::{Door, origin, refused, route};
use crate::keys::{Grant, Level};
use crate::server::http::{Request, Response};

/// What is told whoever may not change anything where there are no keys.
const ONLY_FROM_HERE: &str = "without keys only programs on the server's own machine may do this, \
                              not through a proxy: start the server with --keys, and use an admin \
                              key";
const NOT_AN_ADMIN: &str =
    "this needs an admin key that opens this session: ask whoever runs this server";

impl Door {
    /// Whether somebody may change what is stored of a session, or of all. Who it is, for the log.
    ///
    /// Where there are keys, whoever has an admin key may. Where there are none, whoever is on the
    /// server's own machine: not through a proxy there, which stands for somebody else, and not by a
    /// page of another machine whose name leads to this one.
    pub(super) fn may_change(
        &self,
        request: &Request<'_>,
        from: IpAddr,
        session: Option<&str>,
    ) -> Result<String, Response> {
        if self.gate.ring().asks() {
            let key = route::key_of(request);
            let Grant { key, .. } = self.gate.check(key.as_deref(), from).map_err(refused)?;
            let opens = match session {
                Some(session) => key.opens(session),
                None => key.opens.is_none(),
            };
            return match key.level == Level::Admin && opens {
                true => Ok(format!("key {:?}", key.name)),
                false => Err(Response::text(403, NOT_AN_ADMIN)),
            };
        }
        const BY_A_PROXY: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];
        let is_forwarded = BY_A_PROXY.iter().any(|name| request.header(name).is_some());
        let is_from_here = from.to_canonical().is_loopback()
            && request.header("origin").is_none_or(origin::is_of_this_machine);
        match is_from_here && !is_forwarded {
            true => Ok("somebody on this machine".into()),
            false => Err(Response::text(403, ONLY_FROM_HERE)),
        }
    }
}
