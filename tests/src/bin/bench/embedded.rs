//! Publishing into the embedded log.

use std::sync::Arc;

use tipline_log::embedded::EmbeddedLog;

use crate::load::{self, Load};
use crate::table::Contest;
use crate::{Outcome, bare_sqlite};

const LOADS: [Load; 3] = [
    Load { bytes: 1 << 10, events: 30_000, at_once: 1000 },
    Load { bytes: 64 << 10, events: 1_024, at_once: 256 },
    Load { bytes: 1 << 10, events: 2_000, at_once: 1 },
];
const DURABLE: &str = "every event, fsynced";

pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    for load in LOADS {
        let dir = tempfile::tempdir()?;
        let filled = dir.path().join("filled.db");
        load::fill_outbox(&filled, load)?;
        let identity = load::identity("bench");
        let entries = load::entries(&identity, load)?;
        let (mut units, mut producer, mut bare) = (vec![], vec![], vec![]);
        for _ in 0..rounds {
            let dir = tempfile::tempdir()?;
            let path = |name: &str| dir.path().join(name);
            let log = EmbeddedLog::create(path("units.log"), &identity).await?;
            units.push(load.rate(load::append(&log, &entries, load.at_once).await?));
            drop(log);
            let plain = || bare_sqlite::log(&path("plain.db"), &entries, load.at_once);
            bare.push(load.rate(tokio::task::block_in_place(plain)?));
            if load.at_once > 1 {
                let log = EmbeddedLog::create(path("producer.log"), &identity).await?;
                producer.push(load.rate(load::publish(Arc::new(log), &filled, load).await?));
            }
        }
        let against = &format!("inserts, {} per transaction", load.at_once);
        let (size, durable) = (load.size(), DURABLE);
        let what = format!("{size}, embedded: append, units of {}", load.at_once);
        Contest { what: &what, against, durable, ours: &units, bare: &bare }.print();
        if load.at_once > 1 {
            let what = format!("{size}, embedded: producer, from the outbox");
            Contest { what: &what, against, durable, ours: &producer, bare: &bare }.print();
        }
    }
    Ok(())
}
