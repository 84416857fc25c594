//! Telemetry on against off: what traces and metrics cost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::global;
use opentelemetry::metrics::NoopMeterProvider;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::embedded::EmbeddedLog;
use tipline_log::system_clock;
use tipline_producer::SqliteOutbox;
use tipline_proto::{InstanceId, Policy, Role};
use tipline_store::SqliteStore;
use tipline_tests::Collector;

use crate::latency::commit_to_receipt;
use crate::load::{self, Load};
use crate::table::{Contest, Times};
use crate::{Outcome, table};

const LOAD: Load = Load { bytes: 1 << 10, events: 30_000, at_once: 1000 };

/// An SDK that sends to a collector in this process.
struct Sending {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    _collector: Collector,
}

impl Sending {
    async fn begin() -> Outcome<Self> {
        let collector = Collector::start().await;
        let traces = SpanExporter::builder().with_tonic().with_endpoint(collector.url()).build()?;
        let traces = SdkTracerProvider::builder().with_batch_exporter(traces).build();
        let metrics =
            MetricExporter::builder().with_tonic().with_endpoint(collector.url()).build()?;
        let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
        global::set_tracer_provider(traces.clone());
        global::set_meter_provider(metrics.clone());
        Ok(Self { traces, metrics, _collector: collector })
    }

    async fn end(self) -> Outcome<()> {
        global::set_tracer_provider(NoopTracerProvider::new());
        global::set_meter_provider(NoopMeterProvider::new());
        let Self { traces, metrics, _collector } = self;
        tokio::task::block_in_place(|| {
            traces.shutdown()?;
            metrics.shutdown()
        })?;
        Ok(())
    }
}

/// In turns, each first in every other round.
pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    table::rates();
    let dir = tempfile::tempdir()?;
    let filled = dir.path().join("filled.db");
    load::fill_outbox(&filled, LOAD)?;
    let (mut on, mut off) = (vec![], vec![]);
    for round in 0..rounds {
        for turn in 0..2 {
            if (round + turn).is_multiple_of(2) {
                off.push(LOAD.rate(outbox_to_receipt(&filled).await?));
            } else {
                let sending = Sending::begin().await?;
                on.push(LOAD.rate(outbox_to_receipt(&filled).await?));
                sending.end().await?;
            }
        }
    }
    let what = "1 KiB, embedded, telemetry on: outbox to `backed_up`";
    let durable = "the event in the log and the store, fsynced";
    Contest { what, against: "telemetry off", durable, ours: &on, bare: &off }.print();

    table::times();
    let (mut on, mut off) = (Times::default(), Times::default());
    for round in 0..rounds {
        for turn in 0..2 {
            let dir = tempfile::tempdir()?;
            let path = dir.path().join("embedded.log");
            let primary = EmbeddedLog::create(&path, &load::identity("latency")).await?;
            let replica = EmbeddedLog::open(&path).await?;
            let (primary, replica) = (Arc::new(primary), Arc::new(replica));
            if (round + turn).is_multiple_of(2) {
                off.add(&commit_to_receipt(primary, replica).await?);
            } else {
                let sending = Sending::begin().await?;
                on.add(&commit_to_receipt(primary, replica).await?);
                sending.end().await?;
            }
        }
    }
    let what = "1 KiB at 200/s, embedded, telemetry on: commit to `backed_up`";
    let durable = "the event in the node, the log and the store, fsynced";
    on.print(&off, what, "telemetry off", durable);
    Ok(())
}

/// A backlog, from the start of the producer until a backup has all of it.
async fn outbox_to_receipt(filled: &Path) -> Outcome<Duration> {
    let dir = tempfile::tempdir()?;
    let (path, log) = (dir.path().join("node.db"), dir.path().join("embedded.log"));
    std::fs::copy(filled, &path)?;
    std::fs::File::open(&path)?.sync_all()?;
    let primary = EmbeddedLog::create(&log, &load::identity("telemetry")).await?;
    let replica = Arc::new(EmbeddedLog::open(&log).await?);
    let store = Box::new(SqliteStore::open(dir.path().join("store.db"))?);
    let settings = ConsumerSettings::new("backup".parse()?, Role::Backup);
    let instance = InstanceId::from_bytes([2; 16]);
    let policy: Policy = "any 1 of backup at durable".parse()?;
    let outbox = Box::new(SqliteOutbox::open(&path)?);
    let start = Instant::now();
    let consumer = Consumer::start(replica, store, settings, instance, system_clock());
    let producer = load::produce(Arc::new(primary), outbox)?;
    producer.committed(LOAD.events as u64).backed_up(&policy).await?;
    let took = start.elapsed();
    producer.shutdown(Duration::from_secs(10)).await?;
    consumer.shutdown().await?;
    Ok(took)
}
