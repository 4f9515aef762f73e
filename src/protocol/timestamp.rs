//! Time stamps of the server: RFC 3339 in UTC with milliseconds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in milliseconds since the Unix epoch; shown as `2025-10-28T13:30:45.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// 9999-12-31T23:59:59.999Z, the last moment RFC 3339 can name.
const LAST_MILLIS: u64 = 253_402_300_799_999;

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch. Later moments than the year 9999
    /// become its end.
    pub fn from_millis(millis: u64) -> Self {
        Timestamp(millis.min(LAST_MILLIS))
    }

    pub fn millis(self) -> u64 {
        self.0
    }

    /// Parses RFC 3339 in UTC or with an offset (`2026-12-20T01:00:00+01:00`). Fractions of a
    /// millisecond are cut off. `None` for anything else, and for a moment before 1970 or after
    /// 9999.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        let (local, ahead) = match text.strip_suffix('Z') {
            Some(local) => (local, 0),
            None => {
                let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
                (local, minutes_ahead(offset)?)
            }
        };
        // humantime doesn't check what stands between the seconds and the zone.
        if local.contains('Z') || !local.ends_with(|last: char| last.is_ascii_digit()) {
            return None;
        }
        let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
        let local = local.duration_since(UNIX_EPOCH).ok()?.as_millis();
        let millis = i64::try_from(local).ok()? - ahead * 60_000;
        u64::try_from(millis).ok().filter(|millis| *millis <= LAST_MILLIS).map(Timestamp)
    }

    /// The time of the system's clock. A clock before 1970 counts as 1970.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since.as_millis()).unwrap_or(LAST_MILLIS))
    }
}

/// An offset like `+01:30`, in minutes.
fn minutes_ahead(offset: &str) -> Option<i64> {
    let &[sign, h1, h2, b':', m1, m2] = offset.as_bytes() else { return None };
    let number = |tens: u8, ones: u8| {
        let digit = |byte: u8| (byte as char).to_digit(10).map(i64::from);
        Some(digit(tens)? * 10 + digit(ones)?)
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    let ahead = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    match sign {
        b'+' => Some(ahead),
        b'-' => Some(-ahead),
        _ => None,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_rfc_3339_in_utc_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_761_658_245_123).to_string(),
            "2025-10-28T13:30:45.123Z"
        );
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn is_read_in_utc_and_with_an_offset() {
        let moment = Timestamp::from_millis(1_761_658_245_123);
        for text in [
            "2025-10-28T13:30:45.123Z",
            "2025-10-28t13:30:45.1239z",
            "2025-10-28T13:30:45.123+00:00",
            "2025-10-28T15:00:45.123+01:30",
            "2025-10-27T23:30:45.123-14:00",
        ] {
            assert_eq!(Timestamp::parse(text), Some(moment), "{text}");
        }
        assert_eq!(moment.millis(), 1_761_658_245_123);
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        assert_eq!(
            Timestamp::parse("2025-10-28T13:30:45Z"),
            Some(Timestamp::from_millis(1_761_658_245_000))
        );
    }

    #[test]
    fn what_is_no_moment_is_not_read() {
        for text in [
            "",
            "Z",
            "soon",
            "2025-10-28",
            "2025-10-28T13:30:45",
            "2025-10-28 13:30:45Z",
            "2025-02-29T13:30:45Z",
            "2025-10-28T24:30:45Z",
            "2025-10-28T13:30:45+1:00",
            "2025-10-28T13:30:45+24:00",
            "2025-10-28T13:30:45+00:60",
            "2025-10-28T13:30:45*01:00",
            "2025-10-28T13:30:45+01:00+01:00",
            "2025-10-28T13:30:45.5+00:00+01:00",
            "2025-10-28T13:30:45Z+01:00",
            "2025-10-28T13:30:45Z1Z",
            "2025-10-28T13:30:45.Z",
            "2025-10-28T13:30:4ü+01:00",
            "2025-10-28T13:30:45€0:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
