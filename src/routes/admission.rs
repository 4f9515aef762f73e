//! Who may make a request: checks its key, or that it comes from a program on this machine.

use std::net::IpAddr;

use super::route::{Call, Permission};
use super::{Router, hosts, origin, path_ids};
use crate::auth::KeySource;
use crate::auth::{Grant, KeyRefusal, Level};
use crate::http::{Request, Response};

/// The refusal of a key that opens nothing, for every reason.
const NOT_WITH_THIS_KEY: &str = "this needs a valid key: ask the operator of this server";
const TOO_MANY_KEYS: &str = "too many wrong keys came from this address: try again in a minute";
/// The refusal of a change where there are no keys and the request doesn't come from this machine.
const ONLY_FROM_HERE: &str = "without keys only programs on the server's own machine may do this, at \
                              http://localhost and not through a proxy: start the server with \
                              --keys, and use an admin key";
const NOT_AN_ADMIN: &str =
    "this needs an admin key that opens this session: ask the operator of this server";
/// Headers that proxies add, besides all that begin with `X-Forwarded-`.
const PROXY_HEADERS: [&str; 11] = [
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

/// The result of the check, for the handler.
#[derive(Default)]
pub(super) struct Admission {
    /// What the request's key permits; `None` where no key is needed.
    pub grant: Option<Grant>,
    /// Who makes the request, for the log; empty where nothing is changed.
    pub by: String,
}

/// What a request shows of its sender.
pub(super) struct AccessRequest<'a> {
    pub request: &'a Request<'a>,
    pub from: IpAddr,
    /// True where the response tells a program how to send a key.
    pub is_for_programs: bool,
    pub key: Option<String>,
    /// The session that the request is about, if any.
    pub session: Option<&'a str>,
}

impl Router {
    /// Checks whether the request is permitted.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn admit(
        &self,
        permission: Permission,
        access: &AccessRequest<'_>,
    ) -> Result<Admission, Response> {
        match permission {
            Permission::Public => Ok(Admission::default()),
            Permission::Reader if !self.require_key => Ok(Admission::default()),
            Permission::Reader => {
                let grant = self.check(access)?;
                match access.session.is_none_or(|session| grant.key.opens(session)) {
                    true => Ok(Admission { grant: Some(grant), by: String::new() }),
                    false => Err(Response::text(403, NOT_WITH_THIS_KEY)),
                }
            }
            Permission::KeyHolder => {
                Ok(Admission { grant: Some(self.check(access)?), by: String::new() })
            }
            Permission::Admin => {
                let by = format!("{} at {}", self.admin(access)?, access.from);
                Ok(Admission { grant: None, by })
            }
        }
    }

    /// Checks the request's key and returns what it permits.
    fn check(&self, access: &AccessRequest<'_>) -> Result<Grant, Response> {
        // Only a browser sends this header, and no page can change it.
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

    /// Whether the client may change sessions: all of them, or the one that the query names as
    /// `session`. A wrong key is counted as with any other request.
    pub(super) fn may_administer(&self, call: &Call<'_>) -> bool {
        let session = call.request.query_value("session");
        let key = path_ids::key_in_header(call.request);
        // Without a key there is nothing to count.
        if key.is_none() && self.authenticator.keys().has_own_keys() {
            return false;
        }
        self.admin_of(call, session.as_deref()).is_ok()
    }

    /// Checks whether a request of the API may change this session, too, or all of them.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn admin_of(&self, call: &Call<'_>, session: Option<&str>) -> Result<(), Response> {
        let key = path_ids::key_in_header(call.request);
        let (request, from) = (call.request, call.from);
        self.admin(&AccessRequest { request, from, is_for_programs: true, key, session }).map(drop)
    }

    /// Checks whether the request may change what is stored of a session, or of all. Returns its
    /// sender's name for the log.
    ///
    /// Where there are keys, an admin key permits it. Where there are none, a program on the
    /// server's own machine may do it, but no request through a proxy there, which comes from
    /// another machine, and no page of another machine whose name resolves to this one.
    fn admin(&self, access: &AccessRequest<'_>) -> Result<String, Response> {
        if self.authenticator.keys().has_own_keys() {
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
            PROXY_HEADERS.contains(&&*name) || name.starts_with("x-forwarded-")
        });
        let is_from_here = access.from.to_canonical().is_loopback()
            && hosts::is_loopback(request.header("host"))
            && request.header("origin").is_none_or(origin::is_of_this_machine);
        match is_from_here && !is_forwarded {
            true => Ok("a program on this machine".into()),
            false => Err(Response::text(403, ONLY_FROM_HERE)),
        }
    }
}

/// The key of a request: for a handshake the one before the path or beside it, otherwise only the
/// one in a header.
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
