//! Times as text, in UTC: the one place that knows the form.

use std::time::{Duration, UNIX_EPOCH};

use tipline_proto::Timestamp;

/// The start of the year 10,000: what is not before it has no such form.
const END: Duration = Duration::from_secs(253_402_300_800);

/// How exactly a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeDigits {
    /// `2026-11-21T15:45:00Z`.
    Seconds,
    /// `2026-11-21T15:45:00.123456Z`.
    Micros,
    /// As few as say all of it.
    AsNeeded,
}

/// A time in the form of RFC 3339. What is damaged, or another program has written, may be of a
/// year that the form does not have: then it is a number.
pub fn time_text(time: Timestamp, digits: TimeDigits) -> String {
    if Duration::from_micros(time.as_micros()) >= END {
        return format!("{} µs after 1970", time.as_micros());
    }
    let time = UNIX_EPOCH + Duration::from_micros(time.as_micros());
    match digits {
        TimeDigits::Seconds => humantime::format_rfc3339_seconds(time).to_string(),
        TimeDigits::Micros => humantime::format_rfc3339_micros(time).to_string(),
        TimeDigits::AsNeeded => humantime::format_rfc3339(time).to_string(),
    }
}

/// A duration in whole seconds, as it is typed: `1day 2h`.
pub(crate) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// The time that such a text is of; `None` if it has another form.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    humantime::parse_rfc3339(text).ok().map(Timestamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_typed() {
        for (seconds, text) in [(0, "0s"), (90, "1m 30s"), (86_400, "1day"), (180_000, "2days 2h")]
        {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
        assert_eq!(duration_text(Duration::from_millis(1_999)), "1s");
    }

    #[test]
    fn a_time_that_cannot_be_is_a_number() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "253402300800000000 µs after 1970"),
            (u64::MAX, "18446744073709551615 µs after 1970"),
        ] {
            assert_eq!(time_text(Timestamp::from_micros(micros), TimeDigits::Micros), text);
        }
        for digits in [TimeDigits::Seconds, TimeDigits::AsNeeded] {
            let text = time_text(Timestamp::from_micros(1_000_000), digits);
            assert_eq!(text, "1970-01-01T00:00:01Z");
            assert_eq!(parse_time(&text), Some(Timestamp::from_micros(1_000_000)));
            assert!(time_text(Timestamp::from_micros(u64::MAX), digits).contains("after 1970"));
        }
    }
}
