//! What is asked of the process at the moment it is measured.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use tipline_log::{Clock, Log, meter};
use tipline_ops::health::{Allowance, Health, Readiness};
use tipline_ops::{JobBoard, JobKind};
use tipline_producer::{BackupStatus, Producer, Progress, Stage};
use tipline_proto::{Agreement, Level, Policy, Timestamp};
use tokio::sync::watch;

/// How far the process is, and how far behind: what /readyz says, as numbers.
pub(crate) fn watch_health(health: &Health) {
    let meter = &meter();
    let number = |name: &'static str,
                  unit: &'static str,
                  help: &'static str,
                  of: fn(&Readiness) -> Option<u64>| {
        let health = health.clone();
        let gauge = meter.u64_observable_gauge(name).with_unit(unit).with_description(help);
        let observe = move || of(&health.readiness(&Allowance::default(), Instant::now()));
        gauge
            .with_callback(move |seen| {
                if let Some(is) = observe() {
                    seen.observe(is, &[])
                }
            })
            .build();
    };
    let time = |name: &'static str, help: &'static str, of: fn(&Readiness) -> Option<f64>| {
        let health = health.clone();
        let gauge = meter.f64_observable_gauge(name).with_unit("s").with_description(help);
        let observe = move || of(&health.readiness(&Allowance::default(), Instant::now()));
        gauge
            .with_callback(move |seen| {
                if let Some(is) = observe() {
                    seen.observe(is, &[])
                }
            })
            .build();
    };
    number("tipline.ready", "1", "1 if it is fit to serve", |is| Some(u64::from(is.ready)));
    number("tipline.event.index", "{event}", "Index of its newest event", |is| is.index);
    number("tipline.block.height", "{block}", "Height of its newest block", |is| is.block);
    number(
        "tipline.proof.height",
        "{block}",
        "Height up to which every block has its proof",
        |is| is.proof,
    );
    number("tipline.proof.debt", "{block}", "Blocks above that, which wait for a proof", |is| {
        Some(is.block?.saturating_sub(is.proof?))
    });
    number("tipline.tip.height", "{block}", "Height of the fleet's newest block", |is| is.tip);
    number("tipline.lag.blocks", "{block}", "Blocks behind the fleet's newest", |is| is.lag_blocks);
    number("tipline.lag.events", "{event}", "Events behind the fleet's newest", |is| is.lag_events);
    number("tipline.lag.proofs", "{block}", "Blocks its proofs are behind the fleet's", |is| {
        is.proof_lag_blocks
    });
    time("tipline.lag.time", "For how long the fleet has had a newer block", |is| {
        Some(is.lag_seconds)
    });
    time("tipline.log.silence", "Since the log was last heard", |is| is.silent_seconds);
}

/// The outbox of a primary, how publishing goes, and what the receipts say.
pub(crate) fn watch_primary(
    producer: &Producer,
    log: &Arc<dyn Log>,
    policy: &Policy,
    clock: &Clock,
) {
    let meter = &meter();
    let progress = producer.progress();
    let number =
        |name: &'static str, unit: &'static str, help: &'static str, of: fn(&Progress) -> u64| {
            let progress = progress.clone();
            let gauge = meter.u64_observable_gauge(name).with_unit(unit).with_description(help);
            gauge.with_callback(move |seen| seen.observe(of(&progress.borrow()), &[])).build();
        };
    number("tipline.outbox.events", "{event}", "Events that are not in the log", |is| {
        is.waiting_events
    });
    number("tipline.outbox.events.limit", "{event}", "Events that may wait", |is| is.max_events);
    number("tipline.outbox.size", "By", "Payload bytes that are not in the log", |is| {
        is.waiting_bytes
    });
    number("tipline.outbox.size.limit", "By", "Payload bytes that may wait", |is| is.max_bytes);
    number("tipline.outbox.held", "By", "Payload bytes it holds, logged ones included", |is| {
        is.held_bytes
    });
    number("tipline.publisher.epoch", "{epoch}", "Epoch of this primary", |is| is.epoch);
    number("tipline.publisher.losses", "{loss}", "Times the log had lost what it had", |is| {
        is.losses
    });
    number("tipline.publisher.held_up", "1", "1 if the log does not take what waits", |is| {
        u64::from(is.held_up.is_some() || matches!(is.stage, Stage::Retrying { .. }))
    });
    oldest(meter, progress.clone(), clock);
    receipts(meter, &producer.backup_status(), clock);
    exposure(meter, producer, log, policy, clock);
}

/// The age of the oldest event that is not backed up: what would be lost now. The log says when it was
/// committed. It is asked every [`ASKED`], and the age grows in between. Ends with the producer.
fn exposure(
    meter: &Meter,
    producer: &Producer,
    log: &Arc<dyn Log>,
    policy: &Policy,
    clock: &Clock,
) {
    let since: Arc<Mutex<Option<Exposed>>> = Arc::default();
    let (progress, status, log) = (producer.progress(), producer.backup_status(), Arc::clone(log));
    let (seen, policy, now) = (Arc::clone(&since), policy.clone(), Arc::clone(clock));
    let label = [KeyValue::new("tipline.policy", policy.to_string())];
    tokio::spawn(async move {
        while progress.has_changed().is_ok() {
            let exposed = exposed(&*log, &progress, &status, &policy).await;
            // If the log does not answer, what was known stands.
            if let Some(exposed) = exposed {
                *lock(&since) = Some(exposed);
            }
            tokio::time::sleep(ASKED).await;
        }
    });
    let gauge = meter.f64_observable_gauge("tipline.rpo").with_unit("s");
    let gauge =
        gauge.with_description("Age of the oldest event that is not backed up by the policy");
    gauge
        .with_callback(move |observer| {
            let age = match *lock(&seen) {
                None => return,
                Some(Exposed::Nothing) => 0.0,
                Some(Exposed::Since(oldest)) => now().since(oldest).as_secs_f64(),
            };
            observer.observe(age, &label);
        })
        .build();
}

/// How often the log is asked for the time of what is not backed up.
const ASKED: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
enum Exposed {
    Nothing,
    /// Commit time of the oldest.
    Since(Timestamp),
}

/// `None` if that is not known for now.
async fn exposed(
    log: &dyn Log,
    progress: &watch::Receiver<Progress>,
    status: &watch::Receiver<BackupStatus>,
    policy: &Policy,
) -> Option<Exposed> {
    let backed_up = {
        let status = status.borrow();
        status.known.then(|| status.backed_up(policy))?
    };
    let (tail, waits) = {
        let progress = progress.borrow();
        (progress.tail?.index, progress.oldest)
    };
    if backed_up >= tail {
        return Some(waits.map_or(Exposed::Nothing, Exposed::Since));
    }
    // What was trimmed was backed up when it was.
    let first = log.extent().await.ok()?.first;
    let head = log.head((backed_up + 1).max(first)).await.ok()?;
    Some(Exposed::Since(head.time))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn oldest(meter: &Meter, progress: watch::Receiver<Progress>, clock: &Clock) {
    let clock = Arc::clone(clock);
    let gauge = meter.f64_observable_gauge("tipline.outbox.oldest.age").with_unit("s");
    let gauge = gauge.with_description("Since when the oldest event waits for the log");
    let age = move || {
        let oldest = progress.borrow().oldest;
        oldest.map_or(0.0, |oldest| clock().since(oldest).as_secs_f64())
    };
    gauge.with_callback(move |seen| seen.observe(age(), &[])).build();
}

fn receipts(meter: &Meter, status: &watch::Receiver<BackupStatus>, clock: &Clock) {
    let of =
        |consumer: &dyn std::fmt::Display| KeyValue::new("tipline.consumer", consumer.to_string());
    let index = meter.u64_observable_gauge("tipline.receipt.index").with_unit("{event}");
    let index =
        index.with_description("Event up to which a consumer has everything, at each level");
    let seen_by = status.clone();
    let observe = move |seen: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
        for consumer in &seen_by.borrow().consumers {
            let receipt = &consumer.receipt;
            for level in Level::ALL {
                let Some(at) = receipt.reached.at(level) else { continue };
                let level = KeyValue::new("tipline.receipt.level", level.to_string());
                seen.observe(at.index, &[of(&receipt.consumer), level]);
            }
        }
    };
    index.with_callback(observe).build();
    let age = meter.f64_observable_gauge("tipline.receipt.age").with_unit("s");
    let age = age.with_description("Since a consumer made its newest receipt, by both clocks");
    let (seen_by, clock) = (status.clone(), Arc::clone(clock));
    age.with_callback(move |seen| {
        for consumer in &seen_by.borrow().consumers {
            let age = clock().since(consumer.receipt.time).as_secs_f64();
            seen.observe(age, &[of(&consumer.receipt.consumer)]);
        }
    })
    .build();
    let diverged = meter.u64_observable_gauge("tipline.receipt.diverged").with_unit("1");
    let diverged = diverged.with_description("1 if a consumer has another history");
    let seen_by = status.clone();
    diverged
        .with_callback(move |seen| {
            for consumer in &seen_by.borrow().consumers {
                let diverged = matches!(consumer.agreement, Agreement::Diverged { .. });
                seen.observe(u64::from(diverged), &[of(&consumer.receipt.consumer)]);
            }
        })
        .build();
}

/// When each job was last done with success, and how often it is expected to be.
pub(crate) fn watch_jobs(board: &JobBoard) {
    let meter = meter();
    let label = |job: JobKind| [KeyValue::new("tipline.job", job.as_str())];
    let seen_by = board.clone();
    let gauge = meter.f64_observable_gauge("tipline.job.success.timestamp").with_unit("s");
    let gauge = gauge.with_description("When a job was last done with success, since 1970");
    gauge
        .with_callback(move |seen| {
            for (job, view) in seen_by.jobs_known() {
                if let Some(success) = view.success {
                    seen.observe(success.as_micros() as f64 / 1e6, &label(job));
                }
            }
        })
        .build();
    let seen_by = board.clone();
    let gauge = meter.f64_observable_gauge("tipline.job.interval").with_unit("s");
    let gauge = gauge.with_description("Time within which the next success of a job is expected");
    gauge
        .with_callback(move |seen| {
            for (job, view) in seen_by.jobs_known() {
                if let Some(every) = view.every {
                    seen.observe(every.as_secs_f64(), &label(job));
                }
            }
        })
        .build();
}

/// The write-ahead logs of SQLite files that this process has open, by what they are.
pub(crate) fn watch_files(files: Vec<(&'static str, PathBuf)>) {
    let meter = meter();
    let gauge = meter.u64_observable_gauge("tipline.wal.size").with_unit("By");
    let gauge = gauge.with_description("Length of the write-ahead log of an SQLite file");
    let observe = move |seen: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
        for (what, file) in &files {
            let mut wal = file.clone().into_os_string();
            wal.push("-wal");
            // One that is not there is empty.
            let length = std::fs::metadata(wal).map_or(0, |found| found.len());
            seen.observe(length, &[KeyValue::new("tipline.wal.of", *what)]);
        }
    };
    gauge.with_callback(observe).build();
}
