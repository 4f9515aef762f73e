//! The values of flags: what a text has to be, and what it means.

use std::str::FromStr;
use std::time::Duration;

use super::Usage;
use super::echoed::shown;
use crate::auth::key_entries::is_name;
use crate::protocol::Timestamp;

/// The value of a flag, as text.
#[derive(Debug, Clone)]
pub(super) struct FlagValue {
    pub text: String,
    /// On the command line; otherwise it is the environment's, or the default.
    pub is_typed: bool,
}

/// Why a value is refused.
pub(super) enum BadValue {
    /// What the value has to be: `a whole number in its range`.
    Wanted(&'static str),
    /// The whole line for the user.
    Line(String),
}

impl From<Usage> for BadValue {
    fn from(Usage(line): Usage) -> Self {
        BadValue::Line(line)
    }
}

/// Puts a value where it belongs, if there is one.
pub(super) fn set<T>(place: &mut T, value: Result<T, BadValue>) -> Result<(), BadValue> {
    *place = value?;
    Ok(())
}

/// Puts a text where it belongs.
pub(super) fn some<T: From<String>>(
    place: &mut Option<T>,
    given: FlagValue,
) -> Result<(), BadValue> {
    set(place, Ok(Some(given.text.into())))
}

impl FlagValue {
    pub fn number<T: FromStr>(&self) -> Result<T, BadValue> {
        self.text.parse().map_err(|_| BadValue::Wanted("a whole number in its range"))
    }

    /// A size in bytes, with a unit or without.
    pub fn bytes(&self) -> Result<usize, BadValue> {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let with_unit =
            units.iter().find_map(|(unit, shift)| Some((self.text.strip_suffix(unit)?, *shift)));
        let (digits, shift) = with_unit.unwrap_or((&self.text, 0));
        let bytes: Option<u32> = digits.trim().parse().ok();
        let bytes = bytes.and_then(|bytes| usize::try_from(u64::from(bytes) << shift).ok());
        // Twice a bound still has to be a number.
        let bytes = bytes.filter(|bytes| *bytes <= 1 << 40);
        bytes.ok_or(BadValue::Wanted("a number of bytes, like 65536, 64KiB or 8MiB"))
    }

    /// A time, in seconds or with a unit.
    pub fn duration(&self) -> Result<Duration, BadValue> {
        const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
        let duration = match self.text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => humantime::parse_duration(&self.text).ok(),
        };
        let duration = duration.filter(|duration| *duration <= MAX_DURATION);
        duration.ok_or(BadValue::Wanted("a time of at most ten years, like 30, 0.5, 500ms or 10m"))
    }
}

/// The name of a key.
pub(super) fn key_name(name: &str) -> Result<String, BadValue> {
    match is_name(name) {
        true => Ok(name.to_owned()),
        false => Err(BadValue::Line(
            "--name has to be 1 to 64 characters long, without control characters".into(),
        )),
    }
}

/// A moment, or a time from now on. A bare number could be meant in days as well as in seconds.
pub(super) fn expires(value: &str) -> Result<Timestamp, BadValue> {
    let now = Timestamp::now();
    let moment = match humantime::parse_duration(value) {
        Ok(time) => {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Some(Timestamp::from_millis(now.millis().saturating_add(millis)))
        }
        Err(_) => Timestamp::parse(value),
    };
    match moment {
        Some(moment) if moment > now => Ok(moment),
        Some(_) => Err(BadValue::Line(format!(
            "--expires has to be in the future, {} is not",
            shown(value)
        ))),
        None => Err(BadValue::Wanted(
            "a time with its unit, like 90m, 2h or 30d, or a moment like 2026-12-20T00:00:00Z",
        )),
    }
}

/// Names of sessions and channels. One with a comma in it can be written into the key file.
pub(super) fn sessions(value: &str) -> Result<Vec<Box<str>>, BadValue> {
    let names: Vec<Box<str>> = value.split(',').map(|name| name.trim().into()).collect();
    match names.iter().all(|name| is_place(name)) {
        true => Ok(names),
        false => Err(BadValue::Wanted("names of 1 to 128 characters with commas between")),
    }
}

/// True if a session or a channel can have this name.
pub(super) fn is_place(name: &str) -> bool {
    (1..=128).contains(&name.chars().count()) && !name.contains(char::is_control)
}
