//! Verifying a history, against reading it and looking at nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_audit::{Range, VerifyProgress, verify_entries};
use tipline_backup::{Archive, ArchiveStore, Destination, Keys, Sources};
use tipline_log::Log;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_proto::{Entry, LogIdentity};
use tipline_store::{Sink, StoreError};
use tipline_tests::{Nats, NatsOptions, SyncInterval};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::applying::verified;
use crate::load::{self, Load};
use crate::table::Contest;
use crate::{Outcome, auditing_stores, table};

const LOAD: Load = Load { bytes: 1 << 10, events: 1_000_000, at_once: 1_000 };
/// Of entries that are larger than a chunk of BLAKE3, which is hashed by itself.
const LARGE: Load = Load { bytes: 16 << 10, events: 50_000, at_once: 1_000 };
pub(crate) const DURABLE: &str = "nothing: it is read";

pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    table::rates();
    let (kept, identity) = (tempfile::tempdir()?, load::identity("bench"));
    let entries = load::entries(&identity, LOAD)?;
    let sync = SyncInterval::ServerDefault;
    let nats = Nats::start(NatsOptions { sync, ..NatsOptions::default() }).await;
    let options = JetStreamOptions::new(nats.url(), identity.name.clone());
    let jetstream = JetStreamLog::create(&options, &identity, 1).await?;
    load::append(&jetstream, &entries, LOAD.at_once).await?;
    contest("JetStream", &of_log(jetstream), &identity, LOAD, rounds).await?;

    let embedded = EmbeddedLog::create(kept.path().join("embedded.log"), &identity).await?;
    load::append(&embedded, &entries, LOAD.at_once).await?;
    contest("the embedded log", &of_log(embedded), &identity, LOAD, rounds).await?;

    archived(kept.path(), &identity, entries.clone(), LOAD, rounds).await?;
    archived(kept.path(), &identity, load::entries(&identity, LARGE)?, LARGE, rounds).await?;
    drop(kept);
    tokio::task::block_in_place(|| auditing_stores::measure(&identity, entries, LOAD, rounds))
}

async fn archived(
    kept: &Path,
    identity: &LogIdentity,
    entries: Vec<Entry>,
    load: Load,
    rounds: usize,
) -> Outcome<()> {
    let directory = tempfile::tempdir_in(kept)?;
    let place = Destination::open(&format!("dir:{}", directory.path().display()))?;
    fill(&place, identity, entries, load).await?;
    let archives = vec![Archive::open(place, Keys::default()).await?];
    let archive = Arc::new(Sources { archives, ..Sources::default() });
    contest("an archive in a directory", &archive, identity, load, rounds).await
}

fn of_log(log: impl Log + 'static) -> Arc<Sources> {
    Arc::new(Sources { log: Some(Arc::new(log)), ..Sources::default() })
}

/// The same entries in an archive.
async fn fill(
    place: &Destination,
    identity: &LogIdentity,
    entries: Vec<Entry>,
    load: Load,
) -> Outcome<()> {
    let batches = verified(identity, entries, load.at_once)?;
    let mut archive = ArchiveStore::new(place.clone(), Keys::default(), 0);
    let log = identity.clone();
    let filled = tokio::task::spawn_blocking(move || -> Result<(), StoreError> {
        archive.identity()?;
        archive.create(&log)?;
        batches.iter().try_for_each(|batch| archive.apply(batch))
    });
    Ok(filled.await??)
}

async fn contest(
    what: &str,
    sources: &Arc<Sources>,
    identity: &LogIdentity,
    load: Load,
    rounds: usize,
) -> Outcome<()> {
    let (mut ours, mut bare) = (vec![], vec![]);
    for round in 0..rounds {
        // Each goes first as often as the other.
        let turns = if round % 2 == 0 { [true, false] } else { [false, true] };
        for is_ours in turns {
            match is_ours {
                true => ours.push(load.rate(audited(sources, identity, load).await?)),
                false => bare.push(load.rate(read(sources, load).await?)),
            }
        }
    }
    let (what, against) =
        (format!("{}, {what}: audit verify", load.size()), "the same entries, read");
    Contest { what: &what, against, durable: DURABLE, ours: &ours, bare: &bare }.print();
    Ok(())
}

async fn audited(sources: &Arc<Sources>, identity: &LogIdentity, load: Load) -> Outcome<Duration> {
    let (progress, stop) =
        (watch::Sender::new(VerifyProgress::default()), CancellationToken::new());
    let (sources, all, start) = (Arc::clone(sources), Range::default(), Instant::now());
    let report = verify_entries(sources, identity, all, None, None, &progress, stop).await?;
    let took = start.elapsed();
    if report.ok && report.verified == Some((1, load.events as u64)) {
        Ok(took)
    } else {
        Err(format!("{report:?}").into())
    }
}

async fn read(sources: &Arc<Sources>, load: Load) -> Outcome<Duration> {
    let start = Instant::now();
    let mut entries = sources.entries(0, load.events as u64).await?;
    let mut count = 0;
    while let Some(some) = entries.next().await {
        count += some.len();
    }
    entries.finish().await?;
    let took = start.elapsed();
    if count == load.events { Ok(took) } else { Err(format!("{count} entries were read").into()) }
}
