//! The spans of events from the log to the receipt, and what is measured by the way. Without an SDK in the
//! program nothing is looked up or kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::trace::{Span as _, SpanContext};
use tipline_log::{Clock, Stage, Traces, counter, end_at, extract, latency, meter};
use tipline_proto::{ConsumerName, Entry, Level, LogName, Timestamp};
use tipline_store::Batch;

/// Events that are traced and wait for their next stage, at most. The oldest ones beyond that have no span
/// of it.
const WAITING: usize = 4096;

/// What a consumer says of its work to whoever follows it from outside.
pub(crate) struct Telemetry {
    log: LogName,
    consumer: KeyValue,
    level: Level,
    clock: Clock,
    traces: Option<Traces>,
    waiting: Mutex<Waiting>,
    measured: Measured,
    labels: [KeyValue; 2],
}

#[derive(Default)]
struct Waiting {
    /// Verified and not applied: index and span.
    verified: VecDeque<(u64, SpanContext)>,
    /// Applied, and in no receipt: index, span, and since when.
    applied: VecDeque<(u64, SpanContext, Timestamp)>,
}

struct Measured {
    verify: Histogram<f64>,
    apply: Histogram<f64>,
    receipt: Histogram<f64>,
    replication: Histogram<f64>,
    batches: Counter<u64>,
    events: Counter<u64>,
    bytes: Counter<u64>,
    ignored: Counter<u64>,
}

impl Telemetry {
    /// Whether there are traces is decided here, by whether the program has an SDK.
    pub(crate) fn begin(
        log: &LogName,
        consumer: &ConsumerName,
        level: Level,
        clock: Clock,
    ) -> Self {
        let meter = &meter();
        let measured = Measured {
            verify: latency(meter, "tipline.verify.duration", "Verifying what arrived together"),
            apply: latency(meter, "tipline.apply.duration", "Applying a batch, its fsync included"),
            receipt: latency(meter, "tipline.receipt.duration", "Sending a receipt"),
            replication: latency(
                meter,
                "tipline.replication.duration",
                "From the commit in the node to durable in the store, by both clocks",
            ),
            batches: counter(meter, "tipline.consumer.batches", "{batch}", "Batches applied"),
            events: counter(meter, "tipline.consumer.events", "{event}", "Events applied"),
            bytes: counter(meter, "tipline.consumer.io", "By", "Payload bytes applied"),
            ignored: counter(
                meter,
                "tipline.consumer.ignored",
                "{event}",
                "Entries that came twice, or are void",
            ),
        };
        let labels = [
            KeyValue::new("tipline.log", log.to_string()),
            KeyValue::new("tipline.consumer", consumer.to_string()),
        ];
        Self {
            log: log.clone(),
            consumer: KeyValue::new("messaging.consumer.group.name", consumer.to_string()),
            level,
            clock,
            traces: Traces::begin("start of consuming"),
            waiting: Mutex::default(),
            measured,
            labels,
        }
    }

    /// The time, for the beginning of a stage.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// So many entries came twice, or are void.
    pub(crate) fn ignored(&self, entries: u64) {
        self.measured.ignored.add(entries, &self.labels);
    }

    /// These entries are good, and came since then.
    pub(crate) fn verified(&self, entries: &[Entry], since: Timestamp) {
        let now = self.now();
        self.measured.verify.record(now.since(since).as_secs_f64(), &self.labels);
        let (Some(traces), Some(first)) = (&self.traces, entries.first()) else { return };
        let mut waiting = self.waiting();
        // After a subscription that ended they come again.
        waiting.verified.retain(|(index, _)| *index < first.index);
        let mut spans = Vec::new();
        for entry in entries {
            let Some(parent) = extract(&entry.headers) else { continue };
            let at = (&self.log, entry);
            let mut span = traces.span(Stage::Verify, at, Some(&parent), since);
            span.set_attribute(self.consumer.clone());
            spans.push(span.span_context().clone());
            push(&mut waiting.verified, (entry.index, span.span_context().clone()));
            end_at(&mut span, now);
        }
        drop(waiting);
        traces.batch(Stage::Verify, &self.log, entries.len(), &spans, (since, now));
    }

    /// The store is durable up to the end of the batch.
    pub(crate) fn applied(&self, batch: &Batch, since: Timestamp) {
        let now = self.now();
        let Measured { apply, replication, batches, events, bytes, .. } = &self.measured;
        apply.record(now.since(since).as_secs_f64(), &self.labels);
        batches.add(1, &self.labels);
        events.add(batch.entries.len() as u64, &self.labels);
        let sizes = batch.entries.iter().map(|entry| entry.event.payload().len() as u64);
        bytes.add(sizes.sum(), &self.labels);
        for entry in &batch.entries {
            replication.record(now.since(entry.time).as_secs_f64(), &self.labels);
        }
        let Some(traces) = &self.traces else { return };
        let mut waiting = self.waiting();
        let mut spans = Vec::new();
        while let Some((index, parent)) = waiting.verified.pop_front() {
            if index > batch.cursor.position.index {
                waiting.verified.push_front((index, parent));
                break;
            }
            let found = batch.entries.binary_search_by_key(&index, |entry| entry.index);
            let Some(entry) = found.ok().and_then(|at| batch.entries.get(at)) else { continue };
            let mut span = traces.span(Stage::Apply, (&self.log, entry), Some(&parent), since);
            span.set_attribute(self.consumer.clone());
            spans.push(span.span_context().clone());
            push(&mut waiting.applied, (index, span.span_context().clone(), now));
            end_at(&mut span, now);
        }
        drop(waiting);
        traces.batch(Stage::Apply, &self.log, batch.entries.len(), &spans, (since, now));
    }

    /// The log has a receipt up to this index, which took so long to send.
    pub(crate) fn receipt_sent(&self, index: u64, took: Duration) {
        self.measured.receipt.record(took.as_secs_f64(), &self.labels);
        let Some(traces) = &self.traces else { return };
        let now = self.now();
        let mut waiting = self.waiting();
        let mut spans = Vec::new();
        let mut first = now;
        while waiting.applied.front().is_some_and(|(at, ..)| *at <= index) {
            let Some((at, parent, since)) = waiting.applied.pop_front() else { break };
            let mut span = traces.span_after(Stage::Receipt, &self.log, &parent, since);
            span.set_attribute(self.consumer.clone());
            span.set_attribute(KeyValue::new("messaging.message.id", at.to_string()));
            span.set_attribute(KeyValue::new("tipline.receipt.level", self.level.to_string()));
            spans.push(span.span_context().clone());
            first = first.min(since);
            end_at(&mut span, now);
        }
        drop(waiting);
        traces.batch(Stage::Receipt, &self.log, spans.len(), &spans, (first, now));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked left a trace that is not whole, and nothing else.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("traces", &self.traces).finish_non_exhaustive()
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == WAITING {
        queue.pop_front();
    }
    queue.push_back(item);
}
