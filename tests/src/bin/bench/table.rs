//! Medians, ratios and the markdown table.

/// One line of the table: a contest over several rounds.
pub(crate) struct Contest<'a> {
    /// What Tipline does.
    pub(crate) what: &'a str,
    /// What it is compared with.
    pub(crate) against: &'a str,
    /// What was on the disk when the clock stopped, for both.
    pub(crate) durable: &'a str,
    /// One figure per round.
    pub(crate) ours: &'a [f64],
    /// One figure per round, taken right behind ours.
    pub(crate) bare: &'a [f64],
}

/// Begins a table of events per second.
pub(crate) fn rates() {
    println!("\nEvents per second; a ratio above 1 is faster than the bare loop.\n");
    head();
}

/// Begins a table of microseconds.
pub(crate) fn times() {
    println!("\nMicroseconds; a ratio below 1 is faster than the bare loop.\n");
    head();
}

fn head() {
    println!(
        "| Tipline | bare loop | Tipline | bare | ratio (min–max) | durable when the clock stops |"
    );
    println!("|---|---|---:|---:|---:|---|");
}

impl Contest<'_> {
    /// Prints the line. The ratio is the median of the rounds' ratios: a disturbance of the
    /// machine hits some rounds, not the median of them.
    pub(crate) fn print(&self) {
        let ratios: Vec<f64> = self.ours.iter().zip(self.bare).map(|(o, b)| o / b).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        println!(
            "| {} | {} | {} | {} | **{:.2}** ({low:.2}–{high:.2}) | {} |",
            self.what,
            self.against,
            grouped(median(self.ours)),
            grouped(median(self.bare)),
            median(&ratios),
            self.durable,
        );
    }
}

/// Times of single events in microseconds: the median and the 99th percentile of each round.
#[derive(Default)]
pub(crate) struct Times {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Times {
    /// Adds a round.
    pub(crate) fn add(&mut self, micros: &[f64]) {
        self.p50.push(quantile(micros, 0.5));
        self.p99.push(quantile(micros, 0.99));
    }

    /// Prints a line for each of the two.
    pub(crate) fn print(&self, bare: &Times, what: &str, against: &str, durable: &str) {
        let line = |part: &str, ours: &[f64], bare: &[f64]| {
            Contest { what: &format!("{what}, {part}"), against, durable, ours, bare }.print();
        };
        line("p50", &self.p50, &bare.p50);
        line("p99", &self.p99, &bare.p99);
    }
}

/// The middle one.
fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The smallest value that at least this part of all is not above; 0 of nothing.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (part * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// A whole number with a comma between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{grouped, median, quantile};

    #[test]
    fn quantiles_are_values_that_were_measured() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0.4), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
    }
}
