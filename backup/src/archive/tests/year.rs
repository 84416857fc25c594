//! What a year of a segment a second costs: requests and names, not seconds of this machine.
//!
//! A request to object storage takes about 30 ms, and a name that is held about 200 bytes. So 40
//! requests are less than 2 s, and 100,000 names 20 MiB. The memory is measured, too.

use std::sync::Arc;
use std::time::Duration;

use tipline_proto::{Cursor, Digest, Position, Tip};
use tipline_store::conformance::history::{History, hash, log};
use tipline_store::{Sink, StoreIdentity, StoredLinks};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::runtime;
use crate::archive::{Row, SegmentIndex};
use crate::checkpoint::tests::without_files;
use crate::destination::tests::year::{Asked, year};
use crate::{
    Against, Archive, ArchiveStore, CheckedPlace, Checkpoints, Destination, Keys, Sample, Sources,
    Target, plan_for, verify,
};

/// Entries that a merged segment has, of the first and the second time that it is merged.
const MEDIUM: u64 = 900;
const LARGE: u64 = 36 * MEDIUM;
/// A year of an entry a second, nearly.
const YEAR: u64 = 973 * LARGE;
/// A month of it, nearly.
const MONTH: u64 = 80 * LARGE;
/// What is not made up, but really there, comes after the year.
const REAL: u64 = 20;
const DIGEST: &str = "0123456789abcdef";
/// What one takes.
const REQUEST: Duration = Duration::from_millis(30);
/// Names that may be listed between two questions.
const MOST: u64 = 2_000_000;

/// The segments that begin with an entry: one of itself, and those that it was merged into, up to
/// `merged_to`.
fn names(first: u64, merged_to: u64) -> Vec<(String, u64)> {
    let name = |last: u64, bytes: u64| (format!("{first:020}-{last:020}-{DIGEST}.tips"), bytes);
    let begins = |length: u64| (first - 1).is_multiple_of(length) && first < merged_to;
    let mut names = vec![name(first, 900)];
    names.extend(begins(MEDIUM).then(|| name(first + MEDIUM - 1, 400_000)));
    names.extend(begins(LARGE).then(|| name(first + LARGE - 1, 33 << 20)));
    names
}

/// An archive of this many entries that is merged up to one of them. Nothing that was merged is
/// removed.
struct Place {
    runtime: Runtime,
    destination: Destination,
    asked: Arc<Asked>,
    archive: Archive,
    history: History,
}

fn place(length: u64, merged_to: u64) -> Place {
    let runtime = runtime();
    let (destination, asked) = year("segments", length, MOST, move |first| names(first, merged_to));
    let mut history = History::new(1);
    let digest: Digest = DIGEST.repeat(4).parse().unwrap();
    let block_tip = Some(Tip { height: length, hash: hash(&[5; 32]) });
    let position = Position { index: length, digest };
    history.model.cursor = Cursor { position, epoch: 1, block_tip, proof_tip: None };
    let archive = runtime.block_on(async {
        let archive = Archive::create(destination.clone(), &log(), Keys::default()).await.unwrap();
        for _ in 0..REAL {
            let (before, begun) = (history.model.cursor.position, history.entries.len());
            history.block_of(100);
            let entries = &history.entries[begun..];
            let index = SegmentIndex {
                log: StoreIdentity::from(&log()),
                before,
                after: history.model.cursor.clone(),
                links: StoredLinks::default(),
                latest_before: entries[0].time,
                rows: entries.iter().map(Row::from).collect(),
            };
            archive.write(&index, entries).await.unwrap();
        }
        archive
    });
    asked.take();
    Place { runtime, destination, asked, archive, history }
}

impl Place {
    fn store(&self, known: u64) -> ArchiveStore {
        let _within = self.runtime.enter();
        ArchiveStore::new(self.destination.clone(), Keys::default(), known)
    }

    /// That not more was asked for than this. Gives how long the requests take.
    fn check(&self, what: &str, requests: u64, names: u64) -> Duration {
        let (asked, listed) = self.asked.take();
        println!("{what}: {asked} requests, {listed} names");
        assert!(asked <= requests && listed <= names, "{what}: {asked} requests, {listed} names");
        REQUEST * u32::try_from(asked).unwrap()
    }

    fn sources(&self) -> Sources {
        Sources { archives: vec![self.archive.clone()], ..Sources::default() }
    }
}

#[test]
fn an_archiver_asks_for_what_is_new() {
    for merged_to in [YEAR, YEAR - MONTH] {
        let place = place(YEAR, merged_to);
        let mut store = place.store(YEAR + REAL).read_back_to(YEAR + REAL - 3);
        assert!(store.identity().unwrap().is_some());
        place.check("start", 25, 10_000);
        store.probe().unwrap();
        place.check("heartbeat", 3, 0);
        let view = store.view().unwrap();
        assert_eq!(view.cursor().unwrap().as_ref(), Some(&place.history.model.cursor));
        let found = view.block_hash(YEAR + 3).unwrap();
        assert_eq!(found, place.history.model.block_hash(YEAR + 3));
        place.check("a look-up of 18 segments back", 30, 10_000);
    }
}

#[test]
fn without_receipts_the_newest_is_found_by_halves() {
    for merged_to in [YEAR, YEAR - MONTH] {
        let place = place(YEAR, merged_to);
        let cursor = place.runtime.block_on(place.archive.cursor()).unwrap();
        assert_eq!(cursor, place.history.model.cursor);
        place.check("the newest", 40, 40_000);
    }
}

#[test]
fn merging_goes_on_where_it_ended() {
    let place = place(MONTH, MONTH);
    let merge = || {
        let merged = place.runtime.block_on(place.archive.merge(false)).unwrap();
        assert_eq!(merged.written, [], "there is nothing to merge");
    };
    merge();
    place.check("the first time", 120, 90_000);
    merge();
    place.check("from then on", 8, 1_000);
}

/// A checkpoint at an entry, beside the archive: of its manifest alone.
async fn checkpoint(place: &Place, position: Position) -> Checkpoints {
    let set = Checkpoints::at(place.destination.folder("checkpoints"));
    let cursor = Cursor { position, ..place.history.model.cursor.clone() };
    without_files(&set, &cursor).await;
    place.asked.take();
    set
}

#[test]
fn expiry_lists_what_goes_and_of_the_rest_the_longest() {
    let place = place(MONTH, MONTH);
    let start = Position { index: 2 * LARGE, digest: DIGEST.repeat(4).parse().unwrap() };
    place.runtime.block_on(checkpoint(&place, start));
    let now = place.history.entries.last().unwrap().time;
    let planned = place.archive.plan_expiry(Duration::ZERO, now);
    let plan = place.runtime.block_on(planned).unwrap();
    // The last medium and the last large one reach the checkpoint.
    assert_eq!(plan.segments, (2 * LARGE - 1) + (2 * LARGE / MEDIUM - 1) + 1);
    assert_eq!((plan.held.first, plan.held.last), (1, MONTH + REAL));
    place.check("a plan of expiry", 170, 150_000);
}

#[test]
fn what_an_archive_proves_begins_with_a_checkpoint() {
    let place = place(YEAR, YEAR);
    let (early, from) = (place.history.entries[2].position(), YEAR + 5);
    let set = place.runtime.block_on(checkpoint(&place, early));
    let sources = Sources { checkpoints: vec![set], ..place.sources() };
    let proven = place.runtime.block_on(sources.prove(from));
    let newest = place.history.model.cursor.position;
    let of_archive = proven.last().unwrap();
    assert_eq!(of_archive.covered.as_ref().unwrap(), &newest, "{proven:?}");
    place.check("what an archive proves", 60, 20_000);
}

#[test]
fn entries_after_one_are_looked_for_there() {
    let place = place(YEAR, YEAR);
    let sources = Arc::new(place.sources());
    let found = place.runtime.block_on(async {
        let mut entries = sources.entries(YEAR + 4, YEAR + REAL).await.unwrap();
        let mut found = Vec::new();
        while let Some(next) = entries.next().await {
            found.extend(next);
        }
        entries.finish().await.unwrap();
        found
    });
    assert_eq!(found, place.history.entries[4..]);
    place.check("the entries after one", 80, 20_000);
}

/// As `refill` does, which compares single entries.
#[test]
fn an_entry_is_looked_for_where_it_is() {
    for merged_to in [YEAR, YEAR - MONTH] {
        let place = place(YEAR, merged_to);
        let sources = Arc::new(place.sources());
        assert_eq!(place.runtime.block_on(sources.newest_entry()).unwrap(), YEAR + REAL);
        place.check("the newest entry", 40, 40_000);
        for index in [7, MONTH + MEDIUM, YEAR - MONTH / 2, YEAR] {
            let names = place.runtime.block_on(place.archive.within(index - 1, index)).unwrap();
            assert!(names.iter().any(|name| (name.first..=name.last).contains(&index)));
            place.check("a segment that holds an entry", 40, 40_000);
        }
        let real = YEAR + 3;
        place.runtime.block_on(async {
            let mut entries = sources.entries(real - 1, real).await.unwrap();
            assert_eq!(entries.next().await.unwrap(), place.history.entries[2..3]);
            assert_eq!(entries.damage_at(&sources, real).await.unwrap(), [""; 0]);
        });
        place.check("one entry, and whether it is damaged", 60, 40_000);
    }
}

#[test]
fn what_is_held_after_an_entry_is_looked_for_there() {
    for merged_to in [YEAR, YEAR - MONTH] {
        let place = place(YEAR, merged_to);
        let held = place.runtime.block_on(place.sources().held_after(YEAR + 4)).unwrap();
        assert_eq!((held.first, held.last, held.gaps), (1, YEAR + REAL, vec![]));
        place.check("what is held after an entry", 60, 20_000);
    }
}

#[test]
fn what_is_looked_for_from_the_newest_back_lists_as_far_as_that() {
    let steps = |place: &Place, mut at: u64, most: usize| {
        let mut back = place.archive.back();
        let mut steps = 0;
        while steps < most
            && let Some(name) = place.runtime.block_on(back.up_to(at)).unwrap()
        {
            assert!((name.first..=name.last).contains(&at), "{name} does not hold {at}");
            (at, steps) = (name.first - 1, steps + 1);
        }
        (steps, at)
    };
    let newest = place(YEAR, YEAR - MONTH);
    assert_eq!(steps(&newest, YEAR + REAL, 300), (300, YEAR + REAL - 300));
    newest.check("300 segments, none of them merged", 10, 10_000);
    let merged = place(MONTH, MONTH);
    let (all, at) = steps(&merged, MONTH + REAL, usize::MAX);
    // Mediums at first, until it is known how long they are.
    assert!(at == 0 && all < 80 + 150, "{all} segments");
    merged.check("all of a month, each once", 700, 600_000);
}

#[test]
fn what_a_restore_needs_is_planned_from_the_longest_segments() {
    let place = place(MONTH, MONTH);
    let sources = place.sources();
    let held = place.runtime.block_on(sources.held()).unwrap();
    assert_eq!((held.first, held.last, held.gaps), (1, MONTH + REAL, vec![]));
    assert!(held.segments < 2_000, "{} are held in memory", held.segments);
    place.check("an inventory", 120, 90_000);
}

/// In a process of its own: the peak is that of all that a process does.
#[cfg(target_os = "linux")]
#[test]
fn what_a_year_is_asked_takes_little_memory() {
    const CHILD: &str = "TIPLINE_YEAR_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return measured();
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::what_a_year_is_asked_takes_little_memory");
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&ended.stdout));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[cfg(target_os = "linux")]
fn measured() {
    let starts = |place: &Place| {
        let store = place.store(YEAR + REAL).read_back_to(YEAR + REAL - 3);
        assert!(store.identity().unwrap().is_some());
        let start = place.check("an archiver starts", 25, 10_000);
        assert!(start < Duration::from_secs(2), "{start:?}");
    };
    check_peak(&place(YEAR, YEAR), starts);
    check_peak(&place(MONTH, MONTH), |place| {
        let sources = place.sources();
        let planned = plan_for(&sources, &[], &Target::Latest, false);
        let plan = place.runtime.block_on(planned).unwrap();
        // Nothing that is in a longer segment is read.
        assert_eq!((plan.index, plan.reads.len() as u64), (MONTH + REAL, MONTH / LARGE + REAL));
        // `restore --dry-run`, and `dr plan` for each place: a request for each 33 MiB.
        place.check("a restore is planned", 120, 90_000);
    });
    check_peak(&place(MONTH, MONTH), |place| {
        let (destination, sources) = (place.destination.clone(), place.sources());
        let places = [CheckedPlace { destination, sources }];
        let (mut never, stop) = (|| 1.0, CancellationToken::new());
        let sample = Sample::Share(0.1);
        let verified = verify(&places, Against::default(), sample, &mut never, &stop);
        let report = place.runtime.block_on(verified).unwrap();
        let (looked_at, listed) = (report.places[0].looked_at, MONTH / LARGE + REAL);
        // What is made up is listed, and not there: that is a problem of each.
        assert_eq!((looked_at, report.places[0].read_back), (REAL, 1), "of {listed}");
        // It lists twice, because of those, and once more for a way to the newest entry at most; and
        // reads the index of each.
        place.check("a sample is verified", 3 * 120 + listed + 20, 3 * 90_000);
    });
    check_peak(&place(MONTH, MONTH), |place| {
        let start = Position { index: 2 * LARGE, digest: DIGEST.repeat(4).parse().unwrap() };
        let now = place.history.entries.last().unwrap().time;
        place.runtime.block_on(checkpoint(place, start));
        place.runtime.block_on(place.archive.plan_expiry(Duration::ZERO, now)).unwrap();
        place.check("expiry is planned", 170, 150_000);
    });
    check_peak(&place(YEAR, YEAR), |place| {
        let early = place.history.entries[2].position();
        let set = place.runtime.block_on(checkpoint(place, early));
        let sources = Sources { checkpoints: vec![set], ..place.sources() };
        place.runtime.block_on(sources.prove(YEAR + 5));
        place.check("retention asks what is proven", 60, 20_000);
    });
}

#[cfg(target_os = "linux")]
fn check_peak(place: &Place, ask: impl FnOnce(&Place)) {
    let kib = |what: &str| -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    };
    // The peak begins again.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kib("VmRSS:");
    ask(place);
    let more = kib("VmHWM:").saturating_sub(before) >> 10;
    println!("{more} MiB");
    assert!(more < 64, "{more} MiB");
}
