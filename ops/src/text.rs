//! Numbers and times in human-readable form: the same in the verdict, in records of checks and on a
//! terminal.

use std::time::Duration;

/// `0.3 s`, `40 s`, `3 min`, `2 h`, `5 days`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", (age.as_millis() / 100) as f64 / 10.0),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `1,234,567`
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 block`, `2,000 blocks`
pub fn count(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", self::number(number))
}

/// `a`, `a and b`, `a, b and c`
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{age, count, list, number};

    #[test]
    fn ages_are_short() {
        let texts = [0.05, 0.37, 9.99, 10.0, 119.0, 120.0, 7200.0, 200_000.0]
            .map(|seconds| age(Duration::from_secs_f64(seconds)));
        assert_eq!(texts, ["0.0 s", "0.3 s", "9.9 s", "10 s", "119 s", "2 min", "2 h", "2 days"]);
    }

    #[test]
    fn numbers_are_readable() {
        let texts = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(1, "block"), "1 block");
        assert_eq!(count(2_000, "block"), "2,000 blocks");
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            [list(&words[..1]), list(&words[..2]), list(&words)],
            ["a", "a and b", "a, b and c"]
        );
    }
}
