//! Times as they are shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tipline_proto::Timestamp;

/// The last second of the year 9999: what is later has no such form.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// A time in the form that `rfc3339` gives it. What is damaged, or another program has written, may
/// be of a year that the form does not have: then it is shown as it is.
pub(crate) fn shown<F: ToString>(time: Timestamp, rfc3339: fn(SystemTime) -> F) -> String {
    let since = Duration::from_micros(time.as_micros());
    match since > LAST {
        false => rfc3339(UNIX_EPOCH + since).to_string(),
        true => format!("{} µs after 1970", time.as_micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_is_shown_as_it_is() {
        let shown =
            |micros| shown(Timestamp::from_micros(micros), humantime::format_rfc3339_micros);
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(253_402_300_799_000_000), "9999-12-31T23:59:59.000000Z");
        assert_eq!(shown(253_402_300_800_000_000), "253402300800000000 µs after 1970");
        assert_eq!(shown(u64::MAX), "18446744073709551615 µs after 1970");
    }
}
