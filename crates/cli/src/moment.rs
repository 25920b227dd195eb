//! Moments to come, as options have them, and what is held against them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skep_spec::param::parse_duration;
use skep_trust::{TrustError, time};

use crate::channel::memory;
use crate::config::Config;
use crate::error::{Error, Result, not_followed, untrusted};

/// A moment to come, as it is typed.
///
/// # Errors
/// It is none, or is past.
pub fn moment(text: &str, now: SystemTime) -> Result<SystemTime> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let moment = days.map(|days| now + Duration::from_secs(u64::from(days) * 86_400));
    let moment = moment.or_else(|| time::parse(text)).filter(|moment| *moment > now);
    let moment = moment.ok_or_else(|| {
        Error::usage(format!(
            "--expires {text}: write days, as 90d, or a moment to come, as 2027-12-31T00:00:00Z"
        ))
    })?;
    let beyond = || Error::usage(format!("--expires {text} is beyond the year 9999"));
    time::format(moment).map(|_| moment).ok_or_else(beyond)
}

/// A moment as it is typed for an option, such as `10m` ago or in RFC 3339, in nanoseconds since 1970.
///
/// # Errors
/// It is none.
pub fn past(option: &str, text: &str, now: SystemTime) -> Result<u64> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let ago = days.and_then(|days| days.checked_mul(86_400)).map(Duration::from_secs);
    let nanoseconds = parse_duration(text).and_then(|ns| u64::try_from(ns).ok());
    let ago = ago.or_else(|| nanoseconds.map(Duration::from_nanos));
    let moment = match ago {
        Some(ago) => now.checked_sub(ago),
        None => time::parse(text),
    };
    let since = moment.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).ok_or_else(|| {
        Error::usage(format!(
            "{option} {text}: write how long ago, as 10m, or a moment, as 2026-11-29T12:00:00Z"
        ))
    })
}

/// Such a moment in UTC, to the second.
pub fn text(unix_ns: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_secs(unix_ns / 1_000_000_000);
    time::format(moment).unwrap_or_else(|| unix_ns.to_string())
}

/// What keys and pointers are held against: the clock, or the last moment that this user has seen where that is later.
///
/// # Errors
/// What was seen cannot be read.
pub fn now(config: &Config) -> Result<SystemTime> {
    memory(config).now(SystemTime::now()).map_err(not_followed)
}

/// A refusal by signatures, with what the clock has to do with it.
pub fn refused(error: TrustError, config: &Config) -> Error {
    match error.is_expired() {
        true => clock_told(untrusted(error), config),
        false => untrusted(error),
    }
}

/// What has expired, with which moment that was held against where the clock is behind it.
pub fn clock_told(error: Error, config: &Config) -> Error {
    let behind = memory(config).behind(SystemTime::now());
    behind.into_iter().fold(error, Error::hint)
}
