//! Moments to come, as options have them, and what is held against them.

use std::time::{Duration, SystemTime};

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
