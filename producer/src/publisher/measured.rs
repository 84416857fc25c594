//! What is measured of publishing. Without an SDK in the program each of these is a call that does nothing.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use tipline_log::{AppendError, counter, latency, meter};
use tipline_proto::{Entry, LogName, Timestamp};

use crate::end_reason::EndReason;

pub(crate) struct Measured {
    /// Of the log, once it is known.
    labels: OnceLock<[KeyValue; 1]>,
    outbox: Histogram<f64>,
    append: Histogram<f64>,
    publish: Histogram<f64>,
    units: Counter<u64>,
    events: Counter<u64>,
    bytes: Counter<u64>,
    retries: Counter<u64>,
    doubts: Counter<u64>,
    conflicts: Counter<u64>,
    fenced: Counter<u64>,
}

impl Measured {
    pub(crate) fn begin() -> Self {
        let meter = &meter();
        let count = |name, unit, help| counter(meter, name, unit, help);
        Self {
            labels: OnceLock::new(),
            outbox: latency(
                meter,
                "tipline.outbox.duration",
                "From the commit to where the publisher has read the event",
            ),
            append: latency(meter, "tipline.append.duration", "Appending a unit to the log"),
            publish: latency(
                meter,
                "tipline.publish.duration",
                "From the commit to where the log has the event",
            ),
            units: count("tipline.publisher.batches", "{batch}", "Units that the log has taken"),
            events: count("tipline.publisher.events", "{event}", "Events that the log has taken"),
            bytes: count("tipline.publisher.io", "By", "Payload bytes that the log has taken"),
            retries: count("tipline.publisher.retries", "{retry}", "Attempts that are made again"),
            doubts: count(
                "tipline.publisher.doubts",
                "{doubt}",
                "Appends whose outcome only the log's tail could tell",
            ),
            conflicts: count(
                "tipline.publisher.conflicts",
                "{conflict}",
                "Appends that met another tail than the expected one",
            ),
            fenced: count(
                "tipline.publisher.fenced",
                "{time}",
                "Times that a newer primary had claimed the log",
            ),
        }
    }

    pub(super) fn of(&self, log: &LogName) {
        self.labels.get_or_init(|| [KeyValue::new("tipline.log", log.to_string())]);
    }

    fn labels(&self) -> &[KeyValue] {
        self.labels.get().map_or(&[], |labels| labels)
    }

    pub(super) fn sealed(&self, unit: &[Entry], now: Timestamp) {
        for entry in unit {
            self.outbox.record(now.since(entry.time).as_secs_f64(), self.labels());
        }
    }

    pub(super) fn appended<T>(&self, appended: &Result<T, AppendError>, took: Duration) {
        match appended {
            Ok(_) => self.append.record(took.as_secs_f64(), self.labels()),
            Err(AppendError::Doubt(_)) => self.doubts.add(1, self.labels()),
            Err(AppendError::Conflict) => self.conflicts.add(1, self.labels()),
            Err(_) => {}
        }
    }

    pub(super) fn logged(&self, unit: &[Entry], now: Timestamp) {
        let bytes = unit.iter().map(|entry| entry.event.payload().len() as u64).sum();
        self.units.add(1, self.labels());
        self.events.add(unit.len() as u64, self.labels());
        self.bytes.add(bytes, self.labels());
        for entry in unit {
            self.publish.record(now.since(entry.time).as_secs_f64(), self.labels());
        }
    }

    pub(super) fn retrying(&self) {
        self.retries.add(1, self.labels());
    }

    pub(super) fn ended(&self, why: &EndReason) {
        if let EndReason::Fenced { .. } = why {
            self.fenced.add(1, self.labels());
        }
    }
}
