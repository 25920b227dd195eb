//! Moments to come, as options have them.

use std::time::{Duration, SystemTime};

use skep_trust::time;

use crate::error::{Error, Result};

/// A moment to come, as it is typed.
///
/// # Errors
/// It is none, or is past.
pub fn moment(text: &str, now: SystemTime) -> Result<SystemTime> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let moment = days.map(|days| now + Duration::from_secs(u64::from(days) * 86_400));
    let moment = moment.or_else(|| time::parse(text)).filter(|moment| *moment > now);
    moment.ok_or_else(|| {
        Error::usage(format!(
            "--expires {text}: write days, as 90d, or a moment to come, as 2027-12-31T00:00:00Z"
        ))
    })
}
