//! From which moment ages were counted, as it is shown.

use anstyle::AnsiColor;
use serde::Serialize;
use tipline_backup::{TimeDigits, time_text};
use tipline_log::{Ages, AgesBy};
use tipline_ops::text::age;
use tipline_proto::Timestamp;

use super::lines::field;

/// Serialised, it is `ages` in the object of `--json`: keep the names stable.
#[derive(Debug, Serialize)]
pub(super) struct AgesView {
    /// The moment.
    from: String,
    /// `newest event`, `announcement` or `this machine`.
    by: &'static str,
    /// What the clock of this machine shows.
    here: String,
    /// What the primary's clock shows, if they differ by more than a minute.
    primary: Option<String>,
    #[serde(skip)]
    ages: Ages,
}

impl AgesView {
    pub(super) fn new(ages: Ages) -> Self {
        Self {
            from: time(ages.from),
            by: ages.by.as_str(),
            here: time(ages.here),
            primary: ages.primary.map(time),
            ages,
        }
    }

    pub(super) fn text(&self) -> String {
        let whose = match self.ages.by {
            AgesBy::NewestEntry => "the time of the newest event",
            AgesBy::Announcement => "the time of the primary's newest announcement",
            AgesBy::ThisMachine => "by the clock of this machine",
        };
        let mut text = field("ages", &format!("counted from {}, {whose}", self.from));
        let Some(primary) = self.ages.primary else { return text };
        let (style, here) = (AnsiColor::Yellow.on_default(), self.ages.here);
        let ahead = match primary > here {
            true => format!("the primary's is ahead by {}", age(primary.since(here))),
            false => format!("this machine's is ahead by {}", age(here.since(primary))),
        };
        let (here, primary) = (&self.here, time(primary));
        let what = format!(
            "{style}{ahead}: this machine's shows {here}, the primary's {primary}; set the one that is wrong{style:#}"
        );
        text += &field("clocks", &what);
        text
    }
}

fn time(time: Timestamp) -> String {
    time_text(time, TimeDigits::Seconds)
}
