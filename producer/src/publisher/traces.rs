//! The spans of events until the log has them. Without an SDK in the program there is nothing here: no
//! context is looked up or kept, and no entry has a header.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanContext, Status, TraceContextExt as _};
use tipline_log::{BoxedSpan, Clock, Stage, Traces, end_at, inject};
use tipline_proto::{Digest, Entry, LogName, Timestamp};

/// Commits that are remembered until they are published. After as many the next ones begin their traces
/// at the publisher.
const COMMITS: usize = 4096;
/// Events of a second that are traced at most, on average and at once: what a chain makes, and not all
/// that one makes up for.
const PER_SECOND: f64 = 100.0;

/// What is to be traced.
pub(crate) struct Tracing {
    on: Option<On>,
    clock: Clock,
}

#[derive(Debug)]
struct On {
    traces: Traces,
    /// By sequence in the outbox.
    commits: Mutex<BTreeMap<u64, Commit>>,
    sent: Mutex<Sent>,
}

/// What was going on when an event was committed.
#[derive(Debug, Clone)]
struct Commit {
    /// The node's own span, if there was one.
    span: SpanContext,
    at: Timestamp,
}

#[derive(Debug)]
struct Sent {
    /// The spans that are not over, by index.
    spans: BTreeMap<u64, Sending>,
    allowance: Allowance,
}

/// An entry that the log has not acknowledged.
#[derive(Debug)]
struct Sending {
    digest: Digest,
    span: BoxedSpan,
    since: Timestamp,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Tracing {
    /// Whether anything is traced is decided here, by whether the program has an SDK.
    pub(crate) fn begin(clock: Clock) -> Self {
        let on = Traces::begin("start of publishing").map(|traces| On {
            traces,
            commits: Mutex::default(),
            sent: Mutex::new(Sent {
                spans: BTreeMap::new(),
                allowance: Allowance::new(Instant::now()),
            }),
        });
        Self { on, clock }
    }

    /// An event of this sequence is being committed, or was just now, by whoever calls this. What is said
    /// last stands; but what is said outside of any span keeps the span that is known.
    pub(crate) fn committed(&self, sequence: u64) {
        let Some(on) = &self.on else { return };
        let mut span = Context::map_current(|context| context.span().span_context().clone());
        let at = (self.clock)();
        let mut commits = lock(&on.commits);
        let known = commits.remove(&sequence);
        if let Some(known) = known.filter(|_| !span.is_valid()) {
            span = known.span;
        }
        if commits.len() < COMMITS {
            commits.insert(sequence, Commit { span, at });
        }
    }

    /// The unit is about to be given to the log. Of the events that are traced the time in the outbox is
    /// over, and the context of what begins now travels with them.
    pub(super) fn sealed(&self, log: &LogName, unit: &mut [Entry]) {
        let Some(on) = &self.on else { return };
        let now = (self.clock)();
        let mut sent = lock(&on.sent);
        for entry in unit {
            if !sent.allowance.has_any(Instant::now()) {
                return;
            }
            let commit = lock(&on.commits).get(&entry.outbox_sequence).cloned();
            let (parent, since) = match &commit {
                Some(commit) => (Some(&commit.span).filter(|span| span.is_valid()), commit.at),
                None => (None, now),
            };
            let mut outbox = on.traces.span(Stage::Outbox, (log, &*entry), parent, since.min(now));
            let is_traced = outbox.span_context().is_sampled();
            end_at(&mut outbox, now);
            if !is_traced {
                continue;
            }
            sent.allowance.take();
            let before = outbox.span_context();
            let send = on.traces.span(Stage::Send, (log, &*entry), Some(before), now);
            inject(&mut entry.headers, send.span_context());
            let sending = Sending { digest: entry.digest, span: send, since: now };
            if let Some(earlier) = sent.spans.insert(entry.index, sending) {
                earlier.fail("it was sealed again", now);
            }
        }
    }

    /// The log has these entries.
    pub(super) fn logged(&self, log: &LogName, unit: &[Entry]) {
        let (Some(on), Some(first), Some(last)) = (&self.on, unit.first(), unit.last()) else {
            return;
        };
        let now = (self.clock)();
        let mut commits = lock(&on.commits);
        *commits = commits.split_off(&last.outbox_sequence.saturating_add(1));
        drop(commits);
        let mut sent = lock(&on.sent);
        let (mut spans, mut since) = (Vec::new(), now);
        while let Some(oldest) = sent.spans.first_entry().filter(|at| *at.key() <= last.index) {
            let (index, mut sending) = oldest.remove_entry();
            let at = index.checked_sub(first.index).and_then(|at| usize::try_from(at).ok());
            if at.and_then(|at| unit.get(at)).is_some_and(|entry| entry.digest == sending.digest) {
                spans.push(sending.span.span_context().clone());
                since = since.min(sending.since);
                end_at(&mut sending.span, now);
            } else {
                sending.fail("another entry has its place", now);
            }
        }
        drop(sent);
        on.traces.batch(Stage::Send, log, unit.len(), &spans, (since, now));
    }

    /// Nothing more is published.
    pub(super) fn ended(&self) {
        let Some(on) = &self.on else { return };
        let now = (self.clock)();
        for sending in std::mem::take(&mut lock(&on.sent).spans).into_values() {
            sending.fail("publishing ended before the log had acknowledged it", now);
        }
    }
}

impl Sending {
    fn fail(mut self, why: &'static str, now: Timestamp) {
        self.span.set_status(Status::error(why));
        end_at(&mut self.span, now);
    }
}

/// How many more events may be traced now.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: PER_SECOND, at: now }
    }

    /// Whether another one may be.
    fn has_any(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left, self.at) = ((self.left + earned).min(PER_SECOND), now);
        self.left >= 1.0
    }

    fn take(&mut self) {
        self.left -= 1.0;
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a trace that is not whole, and nothing else.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tipline_proto::{Event, Position};

    use super::*;

    /// Nothing in this process installs an SDK.
    #[test]
    fn without_an_sdk_nothing_is_kept_and_no_entry_has_a_header() {
        let tracing = Tracing::begin(Arc::new(|| Timestamp::from_micros(1)));
        tracing.committed(1);
        assert!(tracing.on.is_none());
        let origin = Position { index: 0, digest: Digest::from_bytes([0; 32]) };
        let event = Event::Marked { name: "m".parse().unwrap() };
        let mut unit = [Entry::seal(&origin, 1, Timestamp::from_micros(1), 1, event)];
        let log: LogName = "log".parse().unwrap();
        tracing.sealed(&log, &mut unit);
        tracing.logged(&log, &unit);
        tracing.ended();
        assert!(unit[0].headers.is_empty());
    }

    #[test]
    fn a_second_has_a_hundred_events() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut take = |at: f64| {
            let now = start + std::time::Duration::from_secs_f64(at);
            let mut taken = 0;
            while allowance.has_any(now) {
                allowance.take();
                taken += 1;
            }
            taken
        };
        assert_eq!([take(0.0), take(0.0), take(0.1), take(60.0)], [100, 0, 10, 100]);
    }
}
