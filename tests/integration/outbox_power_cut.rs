//! A node whose commits are not synced loses power: its outbox is never behind the log.

use std::env;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tipline_log::memory::MemoryLog;
use tipline_log::{Accepted, Log, LogError, system_clock};
use tipline_producer::{Outbox, Producer, ProducerSettings, SqliteOutbox};
use tipline_proto::Label;
use tipline_store::conformance::{Promises, Recording};
use tipline_tests::{Rng, ToyNode, toy_history, toy_log};

const BLOCKS: u64 = 400;
const CUTS: usize = 100;
/// SQLite carries the WAL into the file after 1,000 pages: the node does so some times.
const PAYLOAD: usize = 10_000;

/// The node with its publisher, to be recorded. What the log has it promises. By itself this does
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    let Some((directory, promises)) = Recording::of_this_process() else { return };
    let mut node = ToyNode::open(&directory.join("node.db")).unwrap();
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toy_log("power", &mut Rng::new(1))));
    let connect = move || {
        let log = Arc::clone(&log);
        async move { Ok::<_, LogError>(log) }
    };
    let mut settings = ProducerSettings::new(Label::new("node").unwrap());
    settings.accept_shortfalls = Accepted::Everything;
    let outbox = Box::new(node.outbox().unwrap());
    let producer = Producer::start(connect, outbox, settings, system_clock()).unwrap();
    let telling = tokio::spawn(tell(promises, producer.progress()));
    let mut last = producer.committed(0);
    for height in 1..=BLOCKS {
        last = producer.committed(node.commit_next(PAYLOAD, &mut None).unwrap());
        // Often the log has all there is, and often it lags.
        if height % 20 == 0 {
            last.logged().await.unwrap();
        }
    }
    last.logged().await.unwrap();
    drop(producer);
    telling.await.unwrap();
}

async fn tell(
    mut promises: Promises,
    mut progress: tokio::sync::watch::Receiver<tipline_producer::Progress>,
) {
    let mut told = 0;
    loop {
        let logged = progress.borrow_and_update().logged;
        if logged > told {
            told = logged;
            promises.promise(told);
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

#[test]
fn the_outbox_of_a_node_with_unsynced_commits_is_never_behind_the_log() {
    let mut rng = Rng::from_env();
    let directory = tempfile::tempdir().unwrap();
    let recording = Recording::of(directory.path());
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "outbox_power_cut::node", "--nocapture"]).stdin(Stdio::null());
    recording.watch(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the node failed: {said}");
    let (mut promised, mut lost) = (0, 0);
    recording.cut(CUTS, rng.within(0..=u64::MAX), |left| {
        if left.promised == 0 {
            return;
        }
        promised += 1;
        let path = left.directory.join("node.db");
        let pending = SqliteOutbox::open(&path).unwrap().pending().unwrap();
        let (held, logged) = (pending.last, left.promised);
        assert!(held >= logged, "the log has row {logged}, and the outbox ends at row {held}");
        assert_eq!(toy_history(&path).len() as u64, held, "and the node has what it says");
        lost += u64::from(held < BLOCKS);
    });
    assert!(promised > CUTS / 3 && lost > 0, "it shows nothing: {promised} states, {lost} cut off");
}
