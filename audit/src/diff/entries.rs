//! Two that hold entries: a log, an archive.

use std::collections::VecDeque;
use std::sync::Arc;

use tipline_backup::{Entries, Held, RestoreError, Sources};
use tipline_log::{LogError, error_chain};
use tipline_proto::{Entry, Event, Headers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Depth, DiffReport};
use crate::error::AuditError;
use crate::problems::Problems;
use crate::replay::{Range, place, still_held};
use crate::verify::VerifyProgress;

/// Compares entries as they are, every field of them, in the range that both hold. Whether they are
/// one unbroken history is another question: [`verify_entries`](crate::verify_entries) answers it.
///
/// # Errors
/// [`AuditError::WrongLog`] if they are of different logs; [`AuditError::Range`] if they have
/// nothing in common, or not all of what was asked for; those of the places.
pub async fn diff_entries(
    a: Arc<Sources>,
    b: Arc<Sources>,
    range: Range,
    depth: Depth,
    progress: &watch::Sender<VerifyProgress>,
    stop: &CancellationToken,
) -> Result<DiffReport, AuditError> {
    let (place_a, place_b) = (place(&a), place(&b));
    let after = range.from.unwrap_or(0).saturating_sub(2);
    let (held_a, held_b) = (a.held_after(after).await?, b.held_after(after).await?);
    if held_a.identity != held_b.identity {
        let of = |held: &Held| {
            format!(
                "chain {:?} with lineage {}",
                held.identity.chain.name.as_str(),
                held.identity.lineage
            )
        };
        let (of_a, of_b) = (of(&held_a), of(&held_b));
        return Err(AuditError::WrongLog { a: place_a, of_a, b: place_b, of_b });
    }
    let (first, last) = (held_a.first.max(held_b.first), held_a.last.min(held_b.last));
    let (from, to) = (range.from.unwrap_or(first), range.to.unwrap_or(last));
    if from < first || to > last || from > to {
        let from = range.from.unwrap_or(held_a.first.min(held_b.first));
        let to = range.to.unwrap_or(held_a.last.max(held_b.last));
        let Held { first, last, .. } = held_a;
        let hint = format!(", {place_b} entries {} to {}", held_b.first, held_b.last);
        return Err(AuditError::Range { place: place_a, from, to, first, last, hint });
    }
    let mut diff = Diff {
        depth,
        problems: Problems::default(),
        items: 0,
        compared_to: from - 1,
        not_compared: left_out(&place_a, &held_a, from, to),
        progress,
        of: to + 1 - from,
    };
    diff.not_compared.extend(left_out(&place_b, &held_b, from, to));
    let mut sides = [Side::new(place_a, a, held_a, to), Side::new(place_b, b, held_b, to)];
    diff.run(&mut sides, to, stop).await?;
    let [Side { place: a, .. }, Side { place: b, .. }] = sides;
    if diff.compared_to < to {
        let first = diff.compared_to + 1;
        diff.not_compared.push(format!("entries {first} to {to}: after what is said above"));
    }
    Ok(DiffReport {
        a,
        b,
        same: diff.problems.is_empty(),
        compared: format!("entries {from} to {}", diff.compared_to),
        items: diff.items,
        different: diff.problems.count(),
        differences: diff.problems.into_texts(),
        not_compared: diff.not_compared,
    })
}

fn left_out(place: &str, held: &Held, from: u64, to: u64) -> Vec<String> {
    let spans = [(held.first, from - 1), (to + 1, held.last)];
    let spans = spans.into_iter().filter(|(first, last)| first <= last);
    spans.map(|(first, last)| format!("entries {first} to {last} of {place}")).collect()
}

struct Diff<'a> {
    depth: Depth,
    problems: Problems,
    items: u64,
    compared_to: u64,
    not_compared: Vec<String>,
    progress: &'a watch::Sender<VerifyProgress>,
    of: u64,
}

impl Diff<'_> {
    async fn run(
        &mut self,
        sides: &mut [Side; 2],
        to: u64,
        stop: &CancellationToken,
    ) -> Result<(), AuditError> {
        let [a, b] = sides;
        while self.compared_to < to && !self.is_done() {
            let at = self.compared_to + 1;
            let both = async { Ok::<_, AuditError>((a.take(at).await?, b.take(at).await?)) };
            let taken = stop.run_until_cancelled(both).await;
            let (one, other) = taken.ok_or(AuditError::Cancelled { at: self.compared_to })??;
            match (one, other) {
                (Taken::Entry(one), Taken::Entry(other)) => {
                    self.compare(&a.place, &one, &b.place, &other)
                }
                (Taken::Missing, Taken::Missing) => {
                    self.problems.add(format!("entry {at}: in neither"));
                }
                (Taken::Missing, Taken::Entry(other)) => {
                    self.problems.add(format!("entry {at}: {}, not in {}", other.event, a.place));
                }
                (Taken::Entry(one), Taken::Missing) => {
                    self.problems.add(format!("entry {at}: {}, not in {}", one.event, b.place));
                }
                (Taken::Corrupt(what), _) => return self.unreadable(at, &a.place, &what),
                (_, Taken::Corrupt(what)) => return self.unreadable(at, &b.place, &what),
            }
            self.compared_to = at;
            self.items += 1;
            if self.items.is_multiple_of(1000) {
                let (done, of) = (self.items, self.of);
                self.progress.send_replace(VerifyProgress { done, of, bytes: 0 });
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.depth == Depth::First && !self.problems.is_empty()
    }

    fn unreadable(&mut self, at: u64, place: &str, what: &str) -> Result<(), AuditError> {
        self.problems.add(format!("entry {at}: {place} cannot be read: {what}"));
        Ok(())
    }

    fn compare(&mut self, place_a: &str, a: &Entry, place_b: &str, b: &Entry) {
        // Headers are no part of the history, and not everywhere.
        let without = |entry: &Entry| Entry { headers: Headers::default(), ..entry.clone() };
        if a == b || without(a) == without(b) {
            return;
        }
        let fields = [
            (a.event.kind() != b.event.kind(), "kind"),
            (described(a) != described(b), "event"),
            (a.event.payload() != b.event.payload(), "payload"),
            (a.epoch != b.epoch, "epoch"),
            (a.time != b.time, "time"),
            (a.outbox_sequence != b.outbox_sequence, "outbox sequence"),
            (a.digest != b.digest, "digest"),
        ];
        let fields: Vec<&str> =
            fields.iter().filter(|(differs, _)| *differs).map(|(_, name)| *name).collect();
        let index = a.index;
        let text = match &*fields {
            ["digest"] => {
                format!("entry {index}: only the digest differs, as something before it does")
            }
            _ => format!(
                "entry {index}: {} {}; {place_a} has {} ({:#}), {place_b} has {} ({:#})",
                fields.join(", "),
                if fields.len() == 1 { "differs" } else { "differ" },
                a.event,
                a.digest,
                b.event,
                b.digest
            ),
        };
        self.problems.add(text);
    }
}

/// All of an event but its payload. Its text leaves out the parent of a block.
fn described(entry: &Entry) -> (String, Option<&tipline_proto::Hash>) {
    let parent = match &entry.event {
        Event::BlockCommitted { parent_hash, .. } => Some(parent_hash),
        _ => None,
    };
    (entry.event.to_string(), parent)
}

enum Taken {
    Entry(Entry),
    Missing,
    Corrupt(String),
}

/// One of the two, entry by entry.
struct Side {
    place: String,
    sources: Arc<Sources>,
    held: Held,
    to: u64,
    /// What is being read, and up to which index.
    entries: Option<(Entries, u64)>,
    waiting: VecDeque<Entry>,
    /// Epoch of the newest claim that was taken. An entry of an older one after it is void.
    claimed: u64,
}

impl Side {
    fn new(place: String, sources: Arc<Sources>, held: Held, to: u64) -> Self {
        Self { place, sources, held, to, entries: None, waiting: VecDeque::new(), claimed: 0 }
    }

    /// The entry at an index, which rises from call to call. What is there again, or is void, is
    /// passed over: no consumer applies it.
    async fn take(&mut self, index: u64) -> Result<Taken, AuditError> {
        if self.held.gaps.iter().any(|(first, last)| (*first..=*last).contains(&index)) {
            return Ok(Taken::Missing);
        }
        loop {
            while let Some(entry) = self.waiting.pop_front() {
                if entry.epoch < self.claimed {
                    continue;
                }
                if entry.index > index {
                    still_held(&self.sources, index).await?;
                    self.waiting.push_front(entry);
                    return Ok(Taken::Missing);
                }
                if entry.index == index {
                    if let Event::EpochStarted { .. } = entry.event {
                        self.claimed = entry.epoch;
                    }
                    return Ok(Taken::Entry(entry));
                }
            }
            let (mut entries, to) = match self.entries.take() {
                Some(reading) => reading,
                None => {
                    // A source reads up to a gap, and is asked again after it.
                    let gap = self.held.gaps.iter().map(|gap| gap.0).find(|gap| *gap > index);
                    let to = gap.map_or(self.to, |gap| (gap - 1).min(self.to));
                    (self.sources.entries(index - 1, to).await?, to)
                }
            };
            match entries.next().await {
                Some(arrived) => {
                    self.waiting.extend(arrived);
                    self.entries = Some((entries, to));
                }
                None => match entries.finish().await {
                    // That was before the gap.
                    Ok(_) if to < index => {}
                    Ok(_) => {
                        still_held(&self.sources, index).await?;
                        return Ok(Taken::Missing);
                    }
                    Err(RestoreError::Corrupt { what, .. }) => return Ok(Taken::Corrupt(what)),
                    Err(RestoreError::Log(error @ LogError::Corrupt { .. })) => {
                        return Ok(Taken::Corrupt(error_chain(&error)));
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }
}
