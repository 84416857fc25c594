//! What was recorded of receipts and is not there any more, as far as what is there says so.

use std::collections::BTreeMap;

use super::format::Sealed;
use super::name::{ReceiptSpan, day_of};
use super::seen;
use crate::archive::{Archive, ArchiveError};

/// Most that are listed.
const MOST: usize = 100;

impl Archive {
    /// What is wrong with the history of receipts, in sentences: objects that are not there, by the
    /// numbers of the others of their run, and the end of a run, by what the next run or a verification
    /// found; and damaged
    /// ones among those that are read. These are the first of each run, or with `all` every one. Whole
    /// days may have been removed, the oldest first.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn lost_receipts(&self, all: bool) -> Result<Vec<String>, ArchiveError> {
        // What is named by nothing but the record of a check. It is read before what is there is listed:
        // what a check names that ends meanwhile may have been written meanwhile.
        let recorded = seen::recorded(&self.destination).await?;
        let (mut runs, mut problems) = (Runs::default(), Vec::new());
        for day in self.receipt_days().await? {
            for span in self.receipt_spans(&day).await? {
                let problem = runs.next(&span);
                problems.extend(problem);
                if (span.number > 0 && !all) || problems.len() >= MOST {
                    continue;
                }
                let read = self.check_receipts(&span).await?;
                problems.extend(read.problems);
                runs.follows.extend(read.follows);
            }
        }
        runs.follows.extend(recorded);
        problems.extend(runs.finish());
        problems.truncate(MOST);
        Ok(problems)
    }

    async fn check_receipts(&self, span: &ReceiptSpan) -> Result<Checked, ArchiveError> {
        let mut checked = Checked::default();
        let parts = match self.stored_receipts(span).await {
            Ok(parts) => parts,
            Err(error @ (ArchiveError::Corrupt { .. } | ArchiveError::Newer { .. })) => {
                checked.problems.push(error.to_string());
                return Ok(checked);
            }
            Err(error) => return Err(error),
        };
        let lineage = self.identity().lineage;
        for part in parts {
            checked.follows = checked.follows.or(part.follows());
            let read = part.bytes.and_then(|bytes| {
                Sealed::read(&bytes).and_then(|sealed| sealed.check(lineage, &part.span))
            });
            if let Err(unreadable) = read {
                checked.problems.push(self.unreadable(part.object, unreadable).to_string());
            }
        }
        Ok(checked)
    }
}

/// An object that was read.
#[derive(Debug, Default)]
struct Checked {
    problems: Vec<String>,
    /// What the first object of a run says was there before.
    follows: Option<ReceiptSpan>,
}

/// Which objects there must be, by those that are there. Pure.
#[derive(Debug, Default)]
struct Runs {
    /// The oldest day of which something is there: what was before it may have been removed.
    first_day: Option<String>,
    /// The newest of each run.
    newest: BTreeMap<String, ReceiptSpan>,
    follows: Vec<ReceiptSpan>,
}

impl Runs {
    /// What is missing before this one, of those in order.
    fn next(&mut self, span: &ReceiptSpan) -> Option<String> {
        let day = day_of(span.from);
        let is_first_day = *self.first_day.get_or_insert_with(|| day.clone()) >= day;
        let before = self.newest.get(&span.run);
        let expected = match before {
            Some(before) => before.last.saturating_add(1),
            // It may have begun before the history does.
            None if is_first_day => span.number,
            None => 0,
        };
        let lacking =
            (span.number > expected).then(|| missing(&span.run, expected, span.number - 1));
        if before.is_none_or(|before| before.last < span.last) {
            self.newest.insert(span.run.clone(), span.clone());
        }
        lacking
    }

    /// The ends of runs that a later one had seen.
    fn finish(self) -> Vec<String> {
        let mut lost = Vec::new();
        for seen in &self.follows {
            let expected = match self.newest.get(&seen.run) {
                Some(newest) => newest.last.saturating_add(1),
                None if self.first_day.as_ref() > Some(&day_of(seen.from)) => continue,
                None => seen.number,
            };
            if seen.last >= expected {
                lost.push(missing(&seen.run, expected, seen.last));
            }
        }
        lost.dedup();
        lost
    }
}

fn missing(run: &str, first: u64, last: u64) -> String {
    let which = if first == last {
        format!("object {first}")
    } else {
        format!("objects {first} to {last}")
    };
    format!("the history of receipts lacks {which} of run {run}: what was recorded then is lost")
}
