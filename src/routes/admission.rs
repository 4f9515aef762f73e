//! Who may: keys, and what shows that a program speaks for somebody else.

use std::net::IpAddr;

use super::route::Who;
use super::{Router, hosts, origin, path_ids};
use crate::auth::KeySource;
use crate::auth::{Grant, KeyRefusal, Level};
use crate::http::{Request, Response};

/// What a key that opens nothing is told, whatever is wrong with it.
const NOT_WITH_THIS_KEY: &str = "a key that is in force is needed: ask whoever runs this server";
const TOO_MANY_KEYS: &str = "too many wrong keys came from this address: try again in a minute";
/// What is told whoever may not change anything where there are no keys.
const ONLY_FROM_HERE: &str = "without keys only programs on the server's own machine may do this, at \
                              http://localhost and not through a proxy: start the server with \
                              --keys, and use an admin key";
const NOT_AN_ADMIN: &str =
    "this needs an admin key that opens this session: ask whoever runs this server";
/// Headers of proxies, beside all that begin with `X-Forwarded-`.
const BY_A_PROXY: [&str; 11] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
];

/// Somebody who may, for whoever answers.
#[derive(Default)]
pub(super) struct Admission {
    /// What the key permits that was asked for; nothing where none is.
    pub grant: Option<Grant>,
    /// Who it is, for the log, where something is changed.
    pub by: String,
}

/// What a request shows of who sends it.
pub(super) struct AccessRequest<'a> {
    pub request: &'a Request<'a>,
    pub from: IpAddr,
    /// Whether a program is to be told how to show a key.
    pub is_for_programs: bool,
    /// The key it carries, if any.
    pub key: Option<String>,
    /// The session it is about, if it is about one.
    pub session: Option<&'a str>,
}

impl Router {
    /// Whether somebody may.
    ///
    /// # Errors
    /// The answer to one who may not.
    pub(super) fn admit(
        &self,
        who: Who,
        access: &AccessRequest<'_>,
    ) -> Result<Admission, Response> {
        match who {
            Who::Anybody => Ok(Admission::default()),
            Who::Reader if !self.require_key => Ok(Admission::default()),
            Who::Reader => {
                let grant = self.check(access)?;
                match access.session.is_none_or(|session| grant.key.opens(session)) {
                    true => Ok(Admission { grant: Some(grant), by: String::new() }),
                    false => Err(Response::text(403, NOT_WITH_THIS_KEY)),
                }
            }
            Who::KeyHolder => Ok(Admission { grant: Some(self.check(access)?), by: String::new() }),
            Who::Admin => {
                let by = format!("{} at {}", self.admin(access)?, access.from);
                Ok(Admission { grant: None, by })
            }
        }
    }

    /// What the key permits that the request carries.
    fn check(&self, access: &AccessRequest<'_>) -> Result<Grant, Response> {
        // Only a browser writes this header, and no page can change it.
        let site = access.request.header("sec-fetch-site").map(str::trim);
        let source = match site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) {
            true => KeySource::OtherSite,
            false => KeySource::Client,
        };
        let checked = self.authenticator.check(access.key.as_deref(), access.from, source);
        checked.map_err(|why| match why {
            KeyRefusal::TooMany => Response::too_many(TOO_MANY_KEYS),
            _ if access.is_for_programs => {
                Response::text(401, NOT_WITH_THIS_KEY).with("WWW-Authenticate: Bearer")
            }
            _ => Response::text(403, NOT_WITH_THIS_KEY),
        })
    }

    /// Who may change what is stored of a session, or of all, as the log calls them.
    ///
    /// Where there are keys, whoever has an admin key may. Where there are none, programs on the server's
    /// own machine: not through a proxy there, which stands for somebody else, and not by a page of
    /// another machine whose name leads to this one.
    fn admin(&self, access: &AccessRequest<'_>) -> Result<String, Response> {
        if self.authenticator.keys().asks() {
            let Grant { key, .. } = self.check(access)?;
            let opens = match access.session {
                Some(session) => key.opens(session),
                None => key.opens.is_none(),
            };
            return match key.level == Level::Admin && opens {
                true => Ok(format!("key {:?}", key.name)),
                false => Err(Response::text(403, NOT_AN_ADMIN)),
            };
        }
        let request = access.request;
        let is_forwarded = request.names().any(|name| {
            let name = name.to_ascii_lowercase();
            BY_A_PROXY.contains(&&*name) || name.starts_with("x-forwarded-")
        });
        let is_from_here = access.from.to_canonical().is_loopback()
            && hosts::is_loopback(request.header("host"))
            && request.header("origin").is_none_or(origin::is_of_this_machine);
        match is_from_here && !is_forwarded {
            true => Ok("somebody on this machine".into()),
            false => Err(Response::text(403, ONLY_FROM_HERE)),
        }
    }
}

/// The key of a request: before its path where it is a handshake, or beside it.
pub(super) fn key_of(
    before: Option<String>,
    is_handshake: bool,
    request: &Request<'_>,
) -> Option<String> {
    match is_handshake {
        true => before.or_else(|| path_ids::key_of_handshake(request)),
        false => path_ids::key_in_header(request),
    }
}
