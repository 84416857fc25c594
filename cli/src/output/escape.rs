//! Text from elsewhere, as it is printed: what a terminal would obey, or what would hide or reorder the
//! text beside it, is shown as an escape of JSON. So JSON that is printed says the same as before.

use std::borrow::Cow;
use std::fmt;

/// The styles of this program and of its logs: their end, bold, dimmed, italic, and colours.
const STYLES: [&str; 9] = ["0", "1", "2", "3", "31", "32", "33", "34", "35"];

/// Part of a line: line breaks are escaped, too, and styles.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, &[], false)
}

/// One line, with its end, whatever is in it.
pub(crate) fn line(text: fmt::Arguments<'_>) -> String {
    let mut line = plain(&fmt::format(text)).into_owned();
    line.push('\n');
    line
}

/// All that is printed at once: lines, tabs and styles of this program are as they were.
pub(crate) fn printed(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'], true)
}

/// A line of the logs, with its end and its styles.
pub(crate) fn logged(line: &str) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    escaped(text, &[], true).into_owned() + end
}

fn escaped<'a>(text: &'a str, kept: &[char], with_styles: bool) -> Cow<'a, str> {
    let is_plain = |c: char| !is_obeyed(c) || kept.contains(&c);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some(c) = rest.chars().next() {
        let style = if with_styles { style(rest) } else { None };
        let (kept, after) = rest.split_at(style.unwrap_or(c.len_utf8()));
        match c {
            _ if style.is_some() || is_plain(c) => shown.push_str(kept),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // None of them needs more digits.
            _ => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        rest = after;
    }
    Cow::Owned(shown)
}

/// How many bytes of the beginning set a style.
fn style(text: &str) -> Option<usize> {
    let (code, _) = text.strip_prefix("\x1b[")?.split_once('m')?;
    STYLES.contains(&code).then_some("\x1b[m".len() + code.len())
}

/// Controls of terminals, and those of the direction and the lines of text.
fn is_obeyed(c: char) -> bool {
    let is_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::io;
    use std::sync::{Arc, Mutex};

    use anstyle::{AnsiColor, Style};
    use serde_json::Value;

    use super::{line, logged, plain, printed};

    /// Clears the screen, sets a colour and begins a line of the report.
    const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\nprimary  ok: \u{202e}lave\r\t\u{7f}\u{2028}";
    const SHOWN: &str = "\\u001b[2J\\u009b31m\\nprimary  ok: \\u202elave\\r\\t\\u007f\\u2028";

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(plain(HOSTILE), SHOWN);
        assert_eq!(line(format_args!("a {HOSTILE} b")), format!("a {SHOWN} b\n"));
        let all = printed(HOSTILE).replace("\\n", "").replace("\\t", "");
        assert!(all.contains('\n') && all.contains('\t'), "{all:?}");
        assert!(!all.contains(['\u{1b}', '\u{9b}', '\r', '\u{7f}', '\u{202e}']), "{all:?}");
        for code in (0..0x20).chain(0x7f..0xa0).chain(0x202a..=0x202e).chain(0x2066..=0x2069) {
            let c = char::from_u32(code).unwrap();
            assert!(!plain(&format!("a{c}b")).contains(c), "{code:x}");
            assert!(!plain(&format!("a{c}b")).contains('\n'), "{code:x}");
        }
        for text in ["", "block 1,015 · –", "日本語 ü € 🦀", "C:\\dir\\\\x \"quoted\""] {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn styles_of_the_program_stay_and_others_do_not() {
        let (red, dim) = (AnsiColor::Red.on_default().bold(), Style::new().dimmed());
        let (green, yellow) = (AnsiColor::Green.on_default(), AnsiColor::Yellow.on_default());
        let styled = format!(
            "{red}BROKEN{red:#}: a\n{dim}log{dim:#}\t{green}b{green:#} {yellow}c{yellow:#}\n"
        );
        assert_eq!(printed(&styled), styled);
        // Of text from elsewhere none does.
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m"), "\\u001b[31mred\\u001b[0m");
        // Hidden text, a title, and what is only begun.
        for other in ["\u{1b}[8m", "\u{1b}[0;8m", "\u{1b}]0;title\u{7}", "\u{1b}[", "\u{1b}"] {
            assert!(!printed(other).contains('\u{1b}'), "{other:?}");
        }
    }

    #[test]
    fn json_says_the_same_and_is_escaped() {
        let value = Value::from(HOSTILE);
        let text = serde_json::to_string(&value).unwrap() + "\n";
        let shown = printed(&text);
        assert!(!shown.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap()
                .extend_from_slice(logged(&String::from_utf8_lossy(bytes)).as_bytes());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_the_logs_is_one_and_has_its_styles() {
        let written = Written::default();
        let writer = written.clone();
        let logs = tracing_subscriber::fmt().with_ansi(true).with_writer(move || writer.clone());
        tracing::subscriber::with_default(logs.finish(), || {
            tracing::warn!(name = HOSTILE, why = %HOSTILE, "it says {HOSTILE}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        let bare = anstream::adapter::strip_str(line).to_string();
        assert!(line.contains("\u{1b}[33m WARN\u{1b}[0m"), "{line:?}");
        assert!(!bare.contains(|c: char| c.is_control() || c == '\u{202e}'), "{bare:?}");
        assert!(line.contains("[2J") && line.contains("\\nprimary"), "{line:?}");
    }
}
