//! A toy node with the producer in it, to be killed.
//!
//! It commits blocks, and their proofs some blocks later in a shuffled order, to a SQLite
//! database of its own, with the outbox in the same transaction. What it committed is in
//! that database, whatever happens to the process: the tests take it for the truth.
//! Started again it goes on where its database ends.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tipline_log::{Accepted, error_chain, system_clock};
use tipline_producer::{EndReason, Producer, ProducerSettings, Ticket};
use tipline_proto::{Label, Policy};
use tipline_tests::{ToyNode, open_log};

/// What the tests choose. Flags come as `--name value`.
struct Options {
    db: PathBuf,
    log: String,
    name: String,
    /// Blocks that the database has in the end.
    blocks: u64,
    /// It also stops committing, as if it had its blocks, once this file is there.
    until: Option<PathBuf>,
    /// `no`: commit nothing, publish what is there and what another process commits, for ever.
    /// `only`: commit, and publish nothing.
    commit: Commit,
    /// Bytes of a block.
    payload: usize,
    /// Time between two commits.
    pause: Duration,
    /// Blocks a second, by the clock, in the place of the pause.
    rate: Option<u32>,
    /// Where it writes down what it has committed, and what was confirmed.
    journal: Option<PathBuf>,
    /// What confirms a block.
    policy: Option<Policy>,
    /// Where the time of each commit goes, a line each: microseconds since the start, and of the commit.
    latencies: Option<PathBuf>,
    /// Time for the log to take the rest, in the end.
    drain: Duration,
    /// The collector that its traces go to; none by default.
    otlp: Option<String>,
}

#[derive(PartialEq, Eq)]
enum Commit {
    Yes,
    No,
    Only,
}

impl std::str::FromStr for Commit {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        match given {
            "yes" => Ok(Self::Yes),
            "no" => Ok(Self::No),
            "only" => Ok(Self::Only),
            _ => Err(format!("--commit is yes, no or only, not {given}")),
        }
    }
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut options = Options {
            db: PathBuf::new(),
            log: String::new(),
            name: "toy".into(),
            blocks: u64::MAX,
            until: None,
            commit: Commit::Yes,
            payload: 1024,
            pause: Duration::ZERO,
            rate: None,
            journal: None,
            policy: None,
            latencies: None,
            drain: Duration::from_secs(60),
            otlp: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--db" => options.db = value.into(),
                "--log" => options.log = value,
                "--name" => options.name = value,
                "--blocks" => options.blocks = value.parse()?,
                "--until" => options.until = Some(value.into()),
                "--commit" => options.commit = value.parse()?,
                "--payload" => options.payload = value.parse()?,
                "--pause-us" => options.pause = Duration::from_micros(value.parse()?),
                "--rate" => options.rate = Some(value.parse()?),
                "--journal" => options.journal = Some(value.into()),
                "--policy" => options.policy = Some(value.parse()?),
                "--latencies" => options.latencies = Some(value.into()),
                "--drain-s" => options.drain = Duration::from_secs(value.parse()?),
                "--otlp" => options.otlp = Some(value),
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let code = match run().await {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{}", error_chain(&*error));
            let fenced = matches!(error.downcast_ref(), Some(EndReason::Fenced { .. }));
            if fenced { 3 } else { 2 }
        }
    };
    // At once: a primary that is fenced must not commit one block more.
    std::process::exit(code);
}

async fn run() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let mut node = ToyNode::open(&options.db)?;
    let provider = options.otlp.as_deref().map(trace).transpose()?;
    if options.commit == Commit::Only {
        return Ok(commit_all(node, &options, |_| {})?);
    }
    let mut settings = ProducerSettings::new(Label::new(&options.name)?);
    settings.accept_shortfalls = Accepted::Everything;
    let address = options.log.clone();
    let connect = move || {
        let address = address.clone();
        async move { open_log(&address).await }
    };
    let outbox = Box::new(node.outbox()?);
    let producer = Arc::new(Producer::start(connect, outbox, settings, system_clock())?);

    if options.commit == Commit::No {
        return Err(producer.ended().await.into());
    }
    let (committing, before) = (Arc::clone(&producer), Arc::downgrade(&producer));
    node.on_commit(move |sequence| {
        before.upgrade().iter().for_each(|producer| producer.committing(sequence));
    });
    let drain = options.drain;
    let journal = options.journal.as_deref().map(Journal::new).transpose()?.map(Arc::new);
    let commits = tokio::task::spawn_blocking(move || {
        commit_all(node, &options, |sequence| {
            let ticket = committing.committed(sequence);
            if let Some(journal) = &journal {
                journal.write("committed", sequence);
                options.policy.iter().for_each(|policy| journal.confirm(&ticket, policy));
            }
        })
    });
    let ended = producer.ended();
    tokio::select! {
        committed = commits => committed??,
        ended = ended => return Err(ended.into()),
    }
    let producer = Arc::into_inner(producer).ok_or("the producer is still in use")?;
    let left = producer.shutdown(drain).await?;
    if let Some(provider) = provider {
        provider.shutdown()?;
    }
    if left > 0 {
        return Err(format!("{left} events are still in the outbox").into());
    }
    Ok(())
}

/// Traces to this collector, as a node has them that embeds the producer.
fn trace(collector: &str) -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(collector).build()?;
    let delay = BatchConfigBuilder::default().with_scheduled_delay(Duration::from_millis(100));
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(delay.build()).build();
    let resource = Resource::builder().with_service_name("toy-node").build();
    let provider = SdkTracerProvider::builder().with_resource(resource);
    let provider = provider.with_span_processor(processor).build();
    global::set_tracer_provider(provider.clone());
    Ok(provider)
}

/// What a client was told, kept where a kill of the node does not reach it: a line for each
/// commit, and for each confirmation of one, with the outbox sequence and microseconds since
/// the start.
struct Journal {
    file: File,
    start: Instant,
}

impl Journal {
    fn new(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, start: Instant::now() })
    }

    fn write(&self, what: &str, sequence: u64) {
        let line = format!("{what} {sequence} {}\n", self.start.elapsed().as_micros());
        // A journal with a hole is a test that proves nothing.
        if let Err(error) = (&self.file).write_all(line.as_bytes()) {
            tracing::error!("the journal: {error}");
            std::process::exit(2);
        }
    }

    /// Confirms it to the client once it is backed up.
    fn confirm(self: &Arc<Self>, ticket: &Ticket, policy: &Policy) {
        let (journal, ticket, policy) = (Arc::clone(self), ticket.clone(), policy.clone());
        tokio::spawn(async move {
            if ticket.backed_up(&policy).await.is_ok() {
                journal.write("confirmed", ticket.sequence());
            }
        });
    }
}

fn commit_all(mut node: ToyNode, options: &Options, committed: impl Fn(u64)) -> Result<(), String> {
    let mut latencies = options.latencies.as_ref().map(|path| ToyNode::record_latencies(path));
    let (start, first) = (Instant::now(), node.height());
    let is_over = || options.until.as_ref().is_some_and(|file| file.exists());
    while node.height() < options.blocks && !is_over() {
        let span = options.otlp.as_ref().map(|_| global::tracer("toy").start("commit block"));
        let context = span.map(|span| Context::current_with_span(span).attach());
        let sequence = node.commit_next(options.payload, &mut latencies)?;
        committed(sequence);
        drop(context);
        std::thread::sleep(match options.rate {
            Some(rate) => {
                let due = Duration::from_secs(node.height() - first) / rate;
                due.saturating_sub(start.elapsed())
            }
            None => options.pause,
        });
    }
    for sequence in node.commit_remaining_proofs()? {
        committed(sequence);
    }
    Ok(())
}
