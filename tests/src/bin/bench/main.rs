//! Measures Tipline against bare loops.
//!
//! Every figure is a ratio: Tipline against a plain loop over the same library that does the
//! same durable work, in the same run, in turns, on the same machine. Absolute figures say
//! more about the disk than about Tipline; they are printed beside the ratio to compare runs.
//!
//! ```text
//! cargo run --release -p tipline-tests --bin bench -- [--rounds 5] [--gib 2] [NAME …]
//! ```
//! NAME is one of `jetstream`, `embedded`, `applying`, `latency`, `commit`, `restoring`,
//! `telemetry`, `signatures`, `auditing`, `uploading`; all without. It needs the `nats-server` that `./tests/run`
//! installs, and a machine that does nothing else.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod applying;
mod auditing;
mod auditing_stores;
mod bare_files;
mod bare_nats;
mod bare_rocksdb;
mod bare_sqlite;
mod commit;
mod embedded;
mod jetstream;
mod latency;
mod latency_bare;
mod load;
mod node;
mod restoring;
mod signatures;
mod table;
mod telemetry;
mod uploading;

use std::error::Error;

/// Whatever goes wrong ends the program with words: there is no figure then.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NAMES: [&str; 10] = [
    "jetstream",
    "embedded",
    "applying",
    "latency",
    "commit",
    "restoring",
    "telemetry",
    "signatures",
    "auditing",
    "uploading",
];

/// What the caller chose.
struct Options {
    /// How often each contestant runs; odd, so that there is a median.
    rounds: usize,
    /// How large the store is of which checkpoints are uploaded.
    gib: u64,
    names: Vec<String>,
}

impl Options {
    fn parse() -> Outcome<Self> {
        let mut options = Options { rounds: 5, gib: 2, names: vec![] };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--rounds" => {
                    options.rounds = args.next().ok_or("--rounds needs a number")?.parse()?
                }
                "--gib" => options.gib = args.next().ok_or("--gib needs a number")?.parse()?,
                name if NAMES.contains(&name) => options.names.push(arg),
                _ => {
                    return Err(
                        format!("{arg} is none of --rounds, --gib, {}", NAMES.join(", ")).into()
                    );
                }
            }
        }
        if options.rounds == 0 {
            return Err("--rounds is at least 1".into());
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let options = Options::parse()?;
    let rounds = options.rounds;
    if options.wants("jetstream") || options.wants("embedded") || options.wants("applying") {
        table::rates();
    }
    if options.wants("jetstream") {
        jetstream::measure(rounds).await?;
    }
    if options.wants("embedded") {
        embedded::measure(rounds).await?;
    }
    if options.wants("applying") {
        tokio::task::block_in_place(|| applying::measure(rounds))?;
    }
    if options.wants("latency") || options.wants("commit") || options.wants("restoring") {
        table::times();
    }
    if options.wants("latency") {
        latency::measure(rounds).await?;
    }
    if options.wants("commit") {
        tokio::task::block_in_place(|| commit::measure(rounds))?;
    }
    if options.wants("restoring") {
        restoring::measure(rounds).await?;
    }
    if options.wants("telemetry") {
        telemetry::measure(rounds).await?;
    }
    if options.wants("signatures") {
        signatures::measure(rounds).await?;
    }
    if options.wants("auditing") {
        auditing::measure(rounds).await?;
    }
    if options.wants("uploading") {
        uploading::measure(options.gib).await?;
    }
    Ok(())
}
