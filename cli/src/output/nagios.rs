//! What a plug-in of Nagios prints: one line, `TIPLINE STATE - text | figures`.

use std::fmt::{self, Display};

/// A figure for graphs.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) label: &'static str,
    /// `None` if it is not known.
    pub(crate) value: Option<f64>,
    /// `s` for seconds; empty for a number.
    pub(crate) unit: &'static str,
    /// Outside of what something is wrong: `60` for more than that, `60:` for less.
    pub(crate) limit: Option<String>,
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, value, unit, limit } = self;
        match value {
            Some(value) => write!(f, "{label}={value}{unit};")?,
            None => write!(f, "{label}=U;")?,
        }
        if let Some(limit) = limit {
            write!(f, "{limit}")?;
        }
        f.write_str(";;0")
    }
}

/// The line. What comes after a bar or a line's end is not shown, so the text has none.
pub(crate) fn line(state: &str, text: &str, figures: &[Figure]) -> String {
    let text = text.replace('|', "/").replace(['\r', '\n'], " ");
    let figures: Vec<String> = figures.iter().map(Figure::to_string).collect();
    let bar = if figures.is_empty() { "" } else { " | " };
    format!("TIPLINE {state} - {text}{bar}{}\n", figures.join(" "))
}

/// The line of a plug-in that could not find out.
pub(crate) fn unknown(text: &str) -> String {
    line("UNKNOWN", text, &[])
}

#[cfg(test)]
mod tests {
    use super::{Figure, line, unknown};

    #[test]
    fn a_line_is_one_that_nagios_reads() {
        let figure = |label, value, unit, limit: Option<&str>| {
            let limit = limit.map(str::to_owned);
            Figure { label, value, unit, limit }
        };
        let figures =
            [figure("lag", Some(2.5), "s", Some("60")), figure("blocks", None, "", Some("2:"))];
        let text = line("WARNING", "a | b\nc", &figures);
        assert_eq!(text, "TIPLINE WARNING - a / b c | lag=2.5s;60;;0 blocks=U;2:;;0\n");
        assert_eq!(unknown("no such file"), "TIPLINE UNKNOWN - no such file\n");
    }
}
