//! Times as the standard spells them: `2027-12-31T00:00:00Z`, UTC to the second.

use std::time::{Duration, SystemTime};

/// What a text must look like, for schemas.
pub(crate) const PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";

/// The moment that a text spells; none for another form or no such day.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let shape = text.len() == 20
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    if !shape {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fine = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    fine.then(|| SystemTime::UNIX_EPOCH + since)
}

/// A moment as it is spelled, to the second; what is before 1970 or after 9999 has no spelling.
#[must_use]
pub fn format(moment: SystemTime) -> Option<String> {
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let (days, second) = (i64::try_from(seconds / 86_400).ok()?, seconds % 86_400);
    // The year is at most one off: 400 years have 146,097 days.
    let guess = 1970 + days * 400 / 146_097;
    let year = [guess + 1, guess, guess - 1]
        .into_iter()
        .find(|year| days_since_epoch(*year, 1, 1) <= days)
        .filter(|year| *year <= 9999)?;
    let month = (1..=12).rev().find(|month| days_since_epoch(year, *month, 1) <= days)?;
    let day = days - days_since_epoch(year, month, 1) + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// The moment of a TOML date-time with an offset; one without would mean another moment on another machine.
pub(crate) fn instant(when: &toml::value::Datetime) -> Result<SystemTime, String> {
    let refuse =
        || format!("not_after = {when}: write date, time and offset, as 2027-12-31T00:00:00Z");
    let (Some(date), Some(time), Some(offset)) = (when.date, when.time, when.offset) else {
        return Err(refuse());
    };
    let offset_minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_epoch(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let minutes = days * 1440 + i64::from(time.hour) * 60 + i64::from(time.minute) - offset_minutes;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    let early = |_| format!("not_after = {when}: a moment is from 1970 on");
    let seconds = u64::try_from(seconds).map_err(early)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn days_of(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_since_epoch(next_year, next, 1) - days_since_epoch(year, month, 1)
}

/// Days from 1970-01-01 to a Gregorian date (Howard Hinnant's `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut seconds = 0_u64;
        while seconds < 253_402_300_800 {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let text = format(moment).unwrap();
            assert_eq!(parse(&text), Some(moment), "{text}");
            seconds += 86_399 * 29; // days, months, years and hours of every kind
        }
        let after = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        assert_eq!(
            (format(after), format(SystemTime::UNIX_EPOCH - Duration::from_secs(1))),
            (None, None)
        );
    }

    #[test]
    fn times_have_one_form() {
        let seconds = |text| parse(text)?.duration_since(SystemTime::UNIX_EPOCH).ok();
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(Duration::ZERO));
        assert_eq!(seconds("2024-02-29T12:00:01Z"), Some(Duration::from_secs(1_709_208_001)));
        for text in [
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00+00:00",
            "2025-01-01 00:00:00Z",
            "2025-01-01T00:00:00.5Z",
            "+025-01-01T00:00:00Z",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn not_after_is_a_moment() {
        let at = |text: &str| {
            let when: toml::value::Datetime = text.parse().unwrap();
            instant(&when).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(at("1970-01-01T00:00:00Z"), 0);
        assert_eq!(at("2000-02-29T12:34:56Z"), 951_827_696);
        assert_eq!(at("2027-12-31T23:59:59+02:00"), 1_830_290_399);
        assert_eq!(at("2100-03-01T00:00:00Z"), 4_107_542_400);
    }
}
