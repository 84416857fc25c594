//! What the demo ends with, as text and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::HumanBytes;
use serde::Serialize;

/// The verified summary. With `--json` it is printed as one JSON object; its fields are stable.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Always `verified`: anything else is an error.
    pub(super) verdict: &'static str,
    /// Address of the log.
    pub(super) log: String,
    pub(super) lineage: String,
    /// Index of the newest entry.
    pub(super) tail_index: u64,
    /// Digest at that index, the same in the log and in every store.
    pub(super) tail_digest: String,
    /// Entries of the log: blocks, proofs and one start of an epoch.
    pub(super) entries: u64,
    pub(super) blocks: u64,
    pub(super) proofs: u64,
    /// Payload bytes of one store.
    pub(super) bytes: u64,
    pub(super) stores: Vec<StoreSummary>,
    /// From the node's commit to the answer of the log, in milliseconds.
    pub(super) commit_to_logged_ms: Latency,
    /// From the node's commit to the backup's receipt at the primary, in milliseconds.
    pub(super) commit_to_receipt_ms: Latency,
    pub(super) killed: Killed,
    pub(super) events_per_second: f64,
    pub(super) seconds: f64,
    /// In which ways this log could lose what it acknowledges.
    pub(super) shortfalls: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct StoreSummary {
    pub(super) name: String,
    pub(super) role: &'static str,
    /// `sqlite` or `files`.
    pub(super) medium: &'static str,
    pub(super) position: String,
    /// Digest over all that the store holds; the same for every store.
    pub(super) content_digest: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Killed {
    pub(super) name: String,
    pub(super) at_block: u64,
    /// Entries that were published while it was gone.
    pub(super) missed: u64,
    pub(super) caught_up_ms: f64,
}

/// Latencies, in microseconds up to ten minutes.
pub(super) type Latencies = Histogram<u64>;

impl From<&Latencies> for Latency {
    fn from(latencies: &Latencies) -> Self {
        let ms = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1e3;
        Self {
            p50: ms(latencies.value_at_quantile(0.5)),
            p99: ms(latencies.value_at_quantile(0.99)),
            max: ms(latencies.max()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Killed { name, at_block, missed, caught_up_ms } = &self.killed;
        writeln!(f, "VERIFIED: the log and {} stores hold the same history", self.stores.len())?;
        writeln!(f)?;
        writeln!(f, "  {:<18} {}", "log", self.log)?;
        writeln!(f, "  {:<18} {}", "lineage", self.lineage)?;
        writeln!(f, "  {:<18} {} {}", "tail", self.tail_index, self.tail_digest)?;
        let bytes = HumanBytes(self.bytes);
        writeln!(
            f,
            "  {:<18} {} blocks and {} proofs, each present once in every store, {bytes} each",
            "content", self.blocks, self.proofs
        )?;
        for store in &self.stores {
            writeln!(
                f,
                "  {:<18} {:<8} {:<7} at {:<16} content {}",
                store.name,
                store.role,
                store.medium,
                store.position,
                &store.content_digest[..16]
            )?;
        }
        writeln!(
            f,
            "  {:<18} {name} at block {at_block}; it missed {missed} entries and caught up in {caught_up_ms:.0} ms",
            "killed"
        )?;
        for (name, latency) in [
            ("commit to logged", &self.commit_to_logged_ms),
            ("commit to receipt", &self.commit_to_receipt_ms),
        ] {
            let Latency { p50, p99, max } = latency;
            writeln!(f, "  {name:<18} p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")?;
        }
        writeln!(
            f,
            "  {:<18} {:.0} events/s over {:.1} s",
            "rate", self.events_per_second, self.seconds
        )?;
        for shortfall in &self.shortfalls {
            writeln!(f, "  {:<18} {shortfall}", "accepted")?;
        }
        Ok(())
    }
}
