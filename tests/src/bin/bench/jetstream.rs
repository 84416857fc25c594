//! Publishing into JetStream, on one server.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tipline_log::Log;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_proto::Entry;
use tipline_tests::{Nats, NatsOptions, SyncInterval};

use crate::Outcome;
use crate::bare_nats::{Bare, WINDOW};
use crate::load::{self, Load};
use crate::table::Contest;

/// As many as fit a unit, by count or by bytes.
const LOADS: [Load; 2] = [
    Load { bytes: 1 << 10, events: 30_000, at_once: 1000 },
    Load { bytes: 64 << 10, events: 1_024, at_once: 256 },
];
/// One at a time takes longer.
const FEWER: usize = 1_000;

pub(crate) const SYNCS: [(SyncInterval, &str); 2] = [
    (SyncInterval::Always, "`sync_interval: always`"),
    (SyncInterval::ServerDefault, "server's default"),
];

pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    for (sync, named) in SYNCS {
        let nats = Nats::start(NatsOptions { sync, ..NatsOptions::default() }).await;
        let durable = match sync {
            SyncInterval::Always => "every event, fsynced by the server",
            SyncInterval::ServerDefault => "nothing: written, fsynced within 2 minutes",
        };
        for load in LOADS {
            let dir = tempfile::tempdir()?;
            let filled = dir.path().join("filled.db");
            load::fill_outbox(&filled, load)?;
            let site = Site { url: nats.url(), load, filled: &filled };
            let mut rows = Figures::default();
            for _ in 0..rounds {
                site.round(&mut rows).await?;
            }
            rows.print(&format!("{}, {named}", load.size()), load, durable);
        }
    }
    Ok(())
}

/// Where a contest takes place.
struct Site<'a> {
    url: String,
    load: Load,
    filled: &'a Path,
}

/// Events per second, by round.
#[derive(Default)]
struct Figures {
    units: Vec<f64>,
    bare_batches: Vec<f64>,
    producer: Vec<f64>,
    bare_window: Vec<f64>,
    single: Vec<f64>,
    bare_single: Vec<f64>,
}

impl Site<'_> {
    async fn round(&self, figures: &mut Figures) -> Outcome<()> {
        let (load, few) = (self.load, Load { events: FEWER, ..self.load });
        let log = load::identity("bench");
        let entries = load::entries(&log, load)?;
        let payloads: Vec<Bytes> = entries.iter().map(Entry::encode).collect();
        let bare = async || Bare::create(&self.url, "bare").await;

        let log = self.create().await?;
        figures.units.push(load.rate(load::append(&*log, &entries, load.at_once).await?));
        self.delete(&log).await?;
        let stream = bare().await?;
        let took = stream.batches(&payloads, load.at_once).await?;
        figures.bare_batches.push(load.rate(took));
        stream.delete().await?;

        let log = self.create().await?;
        let publishing = load::publish(Arc::clone(&log) as Arc<dyn Log>, self.filled, load);
        figures.producer.push(load.rate(publishing.await?));
        self.delete(&log).await?;
        let stream = bare().await?;
        // Not more than take a second or so, where each is fsynced.
        let some = Load { events: load.events.min(5_000), ..load };
        figures.bare_window.push(some.rate(stream.window(&payloads[..some.events]).await?));
        stream.delete().await?;

        let log = self.create().await?;
        figures.single.push(few.rate(load::append(&*log, &entries[..FEWER], 1).await?));
        self.delete(&log).await?;
        let stream = bare().await?;
        figures.bare_single.push(few.rate(stream.one_by_one(&payloads[..FEWER]).await?));
        stream.delete().await
    }

    fn options(&self) -> JetStreamOptions {
        JetStreamOptions::new(&self.url, load::identity("bench").name)
    }

    async fn create(&self) -> Outcome<Arc<JetStreamLog>> {
        let log = JetStreamLog::create(&self.options(), &load::identity("bench"), 1).await?;
        Ok(Arc::new(log))
    }

    async fn delete(&self, log: &JetStreamLog) -> Outcome<()> {
        let lineage = tipline_log::Reader::identity(log).lineage;
        Ok(JetStreamLog::delete(&self.options(), lineage).await?)
    }
}

impl Figures {
    fn print(&self, case: &str, load: Load, durable: &str) {
        let line = |what: &str, against: &str, ours: &[f64], bare: &[f64]| {
            let what = format!("{case}: {what}");
            Contest { what: &what, against, durable, ours, bare }.print();
        };
        let batches = format!("atomic batches of {}", load.at_once);
        let window = format!("{WINDOW} acknowledgements due");
        let units = format!("append, units of {}", load.at_once);
        line(&units, &batches, &self.units, &self.bare_batches);
        line("append, one by one", "publish, one by one", &self.single, &self.bare_single);
        line("producer, from the outbox", &batches, &self.producer, &self.bare_batches);
        line("producer, from the outbox", &window, &self.producer, &self.bare_window);
    }
}
