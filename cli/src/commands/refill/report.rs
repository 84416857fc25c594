//! What was appended, and where the log ends then.

use std::time::Duration;

use indicatif::HumanBytes;
use serde::Serialize;
use tipline_log::Board;
use tipline_ops::text::{age, count, number};

use crate::output::escape::line;

/// What was appended, or would be, and where the log ends then.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) log: String,
    pub(super) from: Vec<String>,
    pub(super) dry_run: bool,
    /// Index of the first entry and of the last; none if there was nothing to append.
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
    pub(super) entries: u64,
    /// Of payload.
    pub(super) bytes: u64,
    pub(super) end: End,
    /// Those who said that they have later entries.
    pub(super) ahead: Vec<Ahead>,
    /// What turned out to be corrupt, and was found elsewhere.
    pub(super) notes: Vec<String>,
    pub(super) seconds: f64,
}

#[derive(Serialize)]
pub(super) struct End {
    pub(super) index: u64,
    pub(super) digest: String,
    pub(super) epoch: u64,
    /// Row of the outbox up to which the log is complete.
    pub(super) outbox_sequence: u64,
}

#[derive(Serialize)]
pub(super) struct Ahead {
    pub(super) name: String,
    pub(super) index: u64,
}

/// Who said that there is more than the log has now.
pub(super) fn ahead(board: &Board, end: u64) -> Vec<Ahead> {
    let consumers = board.receipts.iter().filter_map(|receipt| {
        let index = receipt.reached.positions().map(|position| position.index).max()?;
        Some(Ahead { name: receipt.consumer.to_string(), index })
    });
    let primary = board.primary.iter().map(|primary| Ahead {
        name: format!("primary {}", primary.primary.as_str()),
        index: primary.tail.index,
    });
    consumers.chain(primary).filter(|one| one.index > end).collect()
}

pub(super) fn render(report: &Report) -> String {
    let Report { log, entries, end, .. } = report;
    let from = report.from.join(", ");
    let mut text = match (report.first, report.last) {
        (Some(first), Some(last)) => format!(
            "{}: entries {} to {} of {from} into {log}, {}, {} of payload, {}\n",
            if report.dry_run { "would refill" } else { "refilled" },
            number(first),
            number(last),
            count(*entries, "entry").replace("entrys", "entries"),
            HumanBytes(report.bytes),
            age(Duration::from_secs_f64(report.seconds))
        ),
        _ => format!("nothing to refill: {log} has all that {from} has\n"),
    };
    text += &format!(
        "  the log {} at entry {}, epoch {}, digest {}\n",
        if report.dry_run && *entries > 0 { "would end" } else { "ends" },
        number(end.index),
        end.epoch,
        end.digest
    );
    let next = number(end.outbox_sequence.saturating_add(1));
    text += &format!("  its primary continues with row {next} of the outbox\n");
    report.notes.iter().for_each(|note| text += &line(format_args!("  not used: {note}")));
    if let Some(newest) = report.ahead.iter().map(|one| one.index).max() {
        text += &format!(
            "  not in the log then: entries {} to {}, rows of the outbox from {next} on. If the outbox \
             has these rows, the primary publishes them again, as other entries\n",
            number(end.index + 1),
            number(newest)
        );
    }
    for Ahead { name, index } in &report.ahead {
        text += &line(format_args!("    {name} had entry {}", number(*index)));
    }
    text
}
