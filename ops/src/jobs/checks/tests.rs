//! Checks on a timer: what is found at the place counts, and is kept there.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use tipline_backup::{Achieved, Archive, ArchiveStore, Keys, RestoreReport, Verification};
use tipline_log::memory::MemoryLog;
use tipline_log::memory::rigged::append;
use tipline_log::{Receipts, SignedLog, Signing};
use tipline_proto::{
    Chain, Digest, Hash, InstanceId, Level, Lineage, LogIdentity, Position, Reached, Receipt, Role,
    SigningKey, Trust,
};
use tipline_store::conformance::history::{self, History};
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, SqliteStore};
use tokio::time::timeout;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn log() -> LogIdentity {
    let chain = Chain::new("test".parse().unwrap(), Hash::new([1; 32]).unwrap());
    let name = "test".parse().unwrap();
    LogIdentity { name, chain, lineage: Lineage::from_bytes([7; 16]) }
}

/// Of an archive that has nothing, and a log in which an archiver said that it has 5 entries.
async fn job(destination: &Destination) -> CheckJob {
    let memory = MemoryLog::new(log());
    let position = Position { index: 5, digest: Digest::from_bytes([5; 32]) };
    let receipt = Receipt {
        lineage: log().lineage,
        consumer: "archive".parse().unwrap(),
        role: Role::Archive,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, Level::Verified),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: format!("archive:{}", destination.place()),
        applying: None,
        frozen: None,
        seal: None,
    };
    memory.put_receipt(&receipt).await.unwrap();
    let drill_store = |_: &[String], at: &Path| StorePlace {
        parts: vec![("sqlite".to_owned(), at.join("store.db"))],
        open: Arc::new(|paths| Ok(Box::new(SqliteStore::open(&paths[0])?))),
    };
    CheckJob {
        destination: destination.clone(),
        identity: Vec::new(),
        log: Arc::new(memory),
        name: "test".to_owned(),
        drill_store: Arc::new(drill_store),
        stop: CancellationToken::new(),
        board: JobBoard::default(),
    }
}

/// A clock that counts how often it is asked.
fn counting() -> (Arc<AtomicU64>, Clock) {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    (asked, Arc::new(move || (counter.fetch_add(1, Ordering::Relaxed), now).1))
}

#[tokio::test(start_paused = true)]
async fn a_check_whose_outcome_cannot_be_kept_waits_for_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let (there, away) = (directory.path().join("there"), directory.path().join("away"));
    let at = Destination::open(&format!("dir:{}", there.display())).unwrap();
    Archive::create(at.clone(), &log(), Keys::default()).await.unwrap();
    let schedule = CheckSchedule { verify_every: Some(HOUR), ..CheckSchedule::default() };
    let (asked, counted) = counting();
    let counter = Arc::clone(&asked);
    // It is away when the outcome is to be kept, and there when the next one is due.
    let clock: Clock = Arc::new(move || {
        _ = match counter.load(Ordering::Relaxed).is_multiple_of(2) {
            true => fs::rename(&away, &there),
            false => fs::rename(&there, &away),
        };
        counted()
    });
    timeout(10 * HOUR, schedule.run(job(&at).await, &clock)).await.unwrap_err();
    // When it is due, and when it was made.
    let asked = asked.load(Ordering::Relaxed);
    assert!((18..=22).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_where_nothing_is() {
    // As it is when the archive's directory is not mounted.
    let (directory, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    let schedule = CheckSchedule {
        verify_every: Some(HOUR),
        drill_every: Some(HOUR),
        scratch: Some(scratch.path().to_owned()),
        ..CheckSchedule::default()
    };
    let (asked, clock) = counting();
    timeout(HOUR, schedule.run(job(&at).await, &clock)).await.unwrap_err();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // Both look again each minute.
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked >= 120, "{asked}");
}

#[tokio::test]
async fn what_is_found_counts_though_the_log_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let at = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    Archive::create(at.clone(), &log(), Keys::default()).await.unwrap();
    let away = MemoryLog::new(log());
    away.set_available(false);
    let job = CheckJob { log: Arc::new(away), ..job(&at).await };
    let (_, clock) = counting();
    let verify = async || job.verify(Sample::Structure, &clock).await.unwrap();
    assert!(matches!(verify().await, Outcome::Nothing), "it may be a new one");
    let digits = |number: u64| format!("{number:020}");
    let name = format!("segments/{}-{}-0123456789abcdef.tips", digits(1), digits(5));
    at.create(&name, "no segment".into()).await.unwrap();
    let Outcome::Made(record) = verify().await else { panic!("it was thrown away") };
    assert!(!record.ok && record.summary.contains(&name), "{record:?}");
    assert!(record.summary.contains("not compared with the log test"), "{record:?}");
}

#[test]
fn a_drill_counts_though_it_is_not_known_what_must_be_there() {
    let achieved = Achieved {
        index: 9,
        digest: Digest::from_bytes([9; 32]),
        epoch: 1,
        height: None,
        hash: None,
        proof_tip: None,
    };
    let restore = RestoreReport {
        store: "sqlite".to_owned(),
        target: "latest".to_owned(),
        exclusive: false,
        achieved,
        checkpoint: None,
        resumed_at: None,
        entries: 9,
        verification: Verification::Strict,
        content: None,
        notes: Vec::new(),
        duration: HOUR,
    };
    let report = DrillReport {
        restore,
        agrees_with_log: Some(true),
        entries_behind: Some(0),
        seconds_behind: Some(0.0),
        lost: None,
        max_seconds_behind: None,
        not_compared: None,
    };
    let (place, what) = ("there".to_owned(), "listing checks".to_owned());
    let away = DestinationError::Unavailable { place, what, source: None };
    let outcome = drill_outcome(Ok(report), Err(away), Timestamp::from_micros(1)).unwrap();
    let Outcome::Made(record) = outcome else { panic!("it was made") };
    assert!(record.ok && record.index == 9, "{record:?}");
    assert!(record.summary.contains("not known what must be there"), "{record:?}");
}

/// The drill of an archive of ten entries, the last one signed by this key. The log has the same ones, and
/// requires signatures of the key 1.
async fn drilled(signer: Option<u8>) -> Record {
    let (directory, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
    let key = |seed: u8| SigningKey::from_seed(&[seed; 32]);
    let mut entries = History::blocks(9, 10).entries;
    if let Some(signer) = signer {
        key(signer).sign_entry(history::log().lineage, entries.last_mut().unwrap());
    }
    let memory = MemoryLog::new(history::log());
    append(&memory, &entries).await;
    let archived = at.clone();
    let fill = move || {
        let mut store = ArchiveStore::new(archived, Keys::default(), 0);
        store.identity().unwrap();
        store.create(&history::log()).unwrap();
        store.apply(&Model::new(&history::log()).batch(&entries)).unwrap();
    };
    tokio::task::spawn_blocking(fill).await.unwrap();
    let trust = Trust::new(vec![key(1).public()], []);
    let log = Arc::new(SignedLog::new(Arc::new(memory), Signing { key: None, trust }));
    let job = CheckJob { log, ..job(&at).await };
    let scratch = Some(scratch.path().to_owned());
    let schedule = CheckSchedule { scratch, ..CheckSchedule::default() };
    match job.drill(&schedule, &counting().1).await.unwrap() {
        Outcome::Made(record) => record,
        Outcome::Gone(why) => unreachable!("{why}"),
        Outcome::Nothing => unreachable!("there is an archive"),
    }
}

/// By the log alone it would be well: whoever can write into both has made them agree.
#[tokio::test(flavor = "multi_thread")]
async fn a_drill_requires_the_signatures_that_a_restore_requires() {
    let well = drilled(Some(1)).await;
    assert!(well.ok && well.index == 10, "{well:?}");
    for forger in [None, Some(9)] {
        let forged = drilled(forger).await;
        assert!(!forged.ok && forged.index == 0, "{forged:?}");
        assert!(forged.summary.contains("no trusted primary vouches for it"), "{forged:?}");
    }
}
