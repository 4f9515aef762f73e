//! The names of environment variables: collabd's own, and those that Kubernetes sets for a service of that name.

/// What all variables of collabd begin with.
pub(super) const PREFIX: &str = "COLLABD_";

/// The variable that sets an option: `--log-file` is `COLLABD_LOG_FILE`.
pub(super) fn variable(name: &str) -> String {
    format!("COLLABD_{}", name.to_uppercase().replace('-', "_"))
}

/// True for a variable that Kubernetes sets for a service whose name is `collabd`, or
/// `collabd-…`: `COLLABD_PORT=tcp://10.0.0.1:8765`, `COLLABD_PORT_8765_TCP_ADDR`,
/// `COLLABD_SERVICE_HOST`.
pub fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let Some(name) = name.strip_prefix(PREFIX) else { return false };
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|begin| value.starts_with(begin));
    let ends = |part: &str| name == part || name.ends_with(&format!("_{part}"));
    if ends("PORT") && is_address {
        return true;
    }
    if ends("SERVICE_HOST") || ends("SERVICE_PORT") {
        return true;
    }
    // `…SERVICE_PORT_NAME`, and `…PORT_8765_TCP` with what follows it.
    let begins = |part: &str| {
        let at = format!("_{name}").find(&format!("_{part}_"))?;
        name.get(at + part.len() + 1..)
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    begins("SERVICE_PORT").is_some()
        || begins("PORT").is_some_and(|rest| {
            let mut parts = rest.split('_');
            parts.next().is_some_and(is_number)
                && parts.next().is_some_and(|kind| ["TCP", "UDP", "SCTP"].contains(&kind))
        })
}
