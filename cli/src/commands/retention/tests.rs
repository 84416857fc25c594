use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tipline_backup::retention::{NotProven, Proven, ProvenKind};
use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Clock, Extent, Reader, Receipts};
use tipline_proto::{
    Announcement, Chain, Entry, Event, Hash, InstanceId, Level, Lineage, LogIdentity, OutboxId,
    Position, Reached, Receipt, Role, Timestamp,
};

use super::explain::Explained;
use super::{RetentionArgs, is_well, retain};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: RetentionArgs,
}

fn args(flags: &[&str]) -> RetentionArgs {
    Line::parse_from([&["retention"], flags].concat()).args
}

fn identity() -> LogIdentity {
    let chain = Chain::new("test".parse().unwrap(), Hash::new([1; 32]).unwrap());
    LogIdentity { name: "test".parse().unwrap(), chain, lineage: Lineage::from_bytes([7; 16]) }
}

/// In seconds: when the primary said something last.
const SAID: u64 = 10 * 24 * 3600;

/// A clock that shows so many seconds.
fn clock(seconds: u64) -> Clock {
    Arc::new(move || Timestamp::from_micros(seconds * 1_000_000))
}

/// The primary, whose chain is at rest, says that it lives.
async fn announce(log: &MemoryLog, seconds: u64) {
    let said = Announcement {
        lineage: identity().lineage,
        primary: "node".parse().unwrap(),
        epoch: 1,
        tail: log.tail().await.unwrap().position,
        block_tip: None,
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        seal: None,
        time: Timestamp::from_micros(seconds * 1_000_000),
        failure: None,
    };
    log.announce(&said).await.unwrap();
}

/// A log of 100 events, one a second, long ago.
async fn log() -> (MemoryLog, Vec<Position>) {
    let log = MemoryLog::new(identity());
    let mut positions = vec![Position::origin(&identity())];
    for index in 1..=100 {
        let outbox = OutboxId::from_bytes([1; 16]);
        let event = match index {
            1 => Event::EpochStarted { primary: "node".parse().unwrap(), outbox },
            _ => Event::Marked { name: "here".parse().unwrap() },
        };
        let time = Timestamp::from_micros(index * 1_000_000);
        let entry = Entry::seal(positions.last().unwrap(), 1, time, index - 1, event);
        positions.push(entry.position());
        log.append(&log.tail().await.unwrap(), &[entry]).await.unwrap();
    }
    announce(&log, SAID).await;
    (log, positions)
}

async fn put(log: &MemoryLog, name: &str, position: Position) {
    let receipt = Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: identity().lineage,
        consumer: name.parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: "memory".into(),
    };
    log.put_receipt(&receipt).await.unwrap();
}

fn proven(position: Position) -> Proven {
    Proven { kind: ProvenKind::Archive, place: "dir:/archive".into(), covered: Ok(position) }
}

#[tokio::test]
async fn nothing_is_changed_unless_it_is_told_to() {
    let (log, positions) = log().await;
    put(&log, "backup-1", positions[80]).await;
    put(&log, "late", positions[10]).await;
    let proven = async |_| Ok(vec![proven(positions[60])]);
    let flags = ["--keep-events", "30", "--reserve", "50"];
    let (plan, held) = retain(&log, proven, &args(&flags), &clock(SAID)).await.unwrap();
    let whole = Extent { first: 1, last: 100 };
    assert_eq!((plan.first, held, log.extent().await.unwrap()), (61, whole, whole));
    assert!(!is_well(&plan), "late is at risk");

    let text = anstream::adapter::strip_str(&Explained::new("log".into(), &plan, None).text(held))
        .to_string();
    assert_eq!(
        text,
        "log      log, events 1 to 100
free     60 events, 1 to 60: --apply trims them away
ages     counted from 1970-01-11T00:00:00Z, the time of the primary's newest announcement
kept     events 61 to 70:
           the archive at dir:/archive does not reach it
kept     events 71 to 80:
           the archive at dir:/archive does not reach it
           the newest 30 events are to be kept
kept     events 81 to 99:
           the archive at dir:/archive does not reach it
           the newest 30 events are to be kept
           it is not backed up by `any 1 of * at durable`
           backup-1 still needs it
kept     event 100:
           the archive at dir:/archive does not reach it
           the newest 30 events are to be kept
           it is not backed up by `any 1 of * at durable`
           backup-1 still needs it
           the newest event always stays

backup-1  reserved: 20 events behind, at risk in 31 s if it stands still
late      at risk: 90 events behind, lost with the next trim
"
    );

    let (plan, held) =
        retain(&log, proven, &args(&[&flags[..], &["--apply"]].concat()), &clock(SAID))
            .await
            .unwrap();
    let rest = Extent { first: 61, last: 100 };
    assert_eq!((plan.free(), held, log.extent().await.unwrap()), (60, rest, rest));
    let object = serde_json::to_value(Explained::new("log".into(), &plan, Some(held))).unwrap();
    assert_eq!(object["applied"], true);
    assert_eq!((&object["held"]["first"], &object["keep_from"]), (&61.into(), &61.into()));
    assert_eq!(object["consumers"][1]["reservation"], "at risk");
    assert_eq!(object["consumers"][1]["lost_in_ms"], 0);
    let (plan, _) = retain(&log, proven, &args(&flags), &clock(SAID)).await.unwrap();
    assert_eq!(plan.consumers[1].reservation.as_str(), "lost");
    assert_eq!(plan.free(), 0);
}

#[tokio::test]
async fn without_a_named_place_nothing_goes() {
    let (log, positions) = log().await;
    put(&log, "backup-1", positions[100]).await;
    let flags = ["--apply", "--keep-events", "0", "--keep-for", "0s"];
    let (plan, held) =
        retain(&log, async |_| Ok(Vec::new()), &args(&flags), &clock(SAID)).await.unwrap();
    assert_eq!(held, Extent { first: 1, last: 100 });
    let text = Explained::new("log".into(), &plan, Some(held)).text(held);
    assert!(text.contains("nothing may go"), "{text}");
    assert!(text.contains("no archive and no checkpoint is named"), "{text}");
    assert!(is_well(&plan));
    let broken = Proven {
        covered: Err(NotProven::Unavailable { why: "it does not answer".into() }),
        ..proven(positions[0])
    };
    let (plan, held) =
        retain(&log, async |_| Ok(vec![broken.clone()]), &args(&flags), &clock(SAID))
            .await
            .unwrap();
    assert_eq!((held.first, is_well(&plan)), (1, false));
}

/// Exactly what goes is read back, and what that does not prove stays.
#[tokio::test]
async fn what_goes_is_read_back_before() {
    let (log, positions) = log().await;
    put(&log, "backup-1", positions[100]).await;
    let all = args(&["--apply", "--keep-events", "30", "--keep-for", "0s"]);
    let asked = std::sync::Mutex::new(Vec::new());
    let says = async |goes: Option<Extent>, found: Proven| {
        asked.lock().unwrap().push(goes);
        Ok(vec![if goes.is_some() { found } else { proven(positions[90]) }])
    };
    let corrupt = Proven {
        covered: Err(NotProven::Corrupt { what: "entry 15".into() }),
        ..proven(positions[0])
    };
    let (plan, held) =
        retain(&log, async |goes| says(goes, corrupt.clone()).await, &all, &clock(SAID))
            .await
            .unwrap();
    assert_eq!((held.first, plan.free(), is_well(&plan)), (1, 0, false));
    let less = async |goes| says(goes, proven(positions[20])).await;
    let (plan, held) = retain(&log, less, &all, &clock(SAID)).await.unwrap();
    assert_eq!((held.first, plan.free(), is_well(&plan)), (21, 20, true));
    let more = async |goes| says(goes, proven(positions[80])).await;
    let (plan, held) = retain(&log, more, &all, &clock(SAID)).await.unwrap();
    assert_eq!((held.first, plan.free(), is_well(&plan)), (71, 50, true));
    let goes = |first| Some(Extent { first, last: 70 });
    assert_eq!(*asked.lock().unwrap(), [None, goes(1), None, goes(1), None, goes(21)]);
}

/// What is younger than is kept by the clock of the primary stays, whatever the operator's shows, and
/// both are shown.
#[tokio::test]
async fn the_clock_that_dated_the_events_says_how_old_they_are() {
    const DAY: u64 = 24 * 3600;
    let (log, positions) = log().await;
    put(&log, "backup-1", positions[100]).await;
    announce(&log, DAY + 50).await;
    let free = async |here: u64| {
        let proven = async |_| Ok(vec![proven(positions[100])]);
        let args = args(&["--keep-events", "0", "--keep-for", "1d"]);
        let (plan, held) = retain(&log, proven, &args, &clock(here)).await.unwrap();
        let text = Explained::new("log".into(), &plan, None).text(held);
        let object = serde_json::to_value(Explained::new("log".into(), &plan, None)).unwrap();
        (plan.free(), anstream::adapter::strip_str(&text).to_string(), object["ages"].clone())
    };
    // By both clocks.
    let (events, text, ages) = free(DAY + 50).await;
    assert_eq!((events, text.contains("clocks")), (50, false), "{text}");
    assert_eq!((&ages["by"], &ages["primary"]), (&"announcement".into(), &Value::Null));
    // A day ahead. The event that is a day old by it is a second old.
    let (events, text, ages) = free(2 * DAY + 600).await;
    assert_eq!((events, &ages["from"]), (50, &"1970-01-02T00:00:50Z".into()), "{text}");
    let said = "clocks   this machine's is ahead by 24 h: this machine's shows 1970-01-03T00:10:00Z, \
                the primary's 1970-01-02T00:0";
    assert!(text.contains(said), "{text}");
    assert!(ages["primary"].as_str().unwrap().starts_with("1970-01-02T00:0"), "{ages}");
    // A day behind: more is kept.
    let (events, text, ages) = free(50).await;
    assert_eq!((events, &ages["by"]), (0, &"this machine".into()), "{text}");
    assert!(text.contains("the primary's is ahead by 24 h"), "{text}");
    // The chain stays at rest, and the primary lives on.
    announce(&log, DAY + 80).await;
    assert_eq!(free(DAY + 80).await.0, 80);
    assert_eq!(free(9 * DAY).await.0, 80);
}

/// Whatever clocks did: nothing goes that is younger than is kept, by the clock that dated it. What is
/// ahead of that is as old as the next one that is not.
#[tokio::test]
async fn a_clock_that_was_set_back_frees_nothing_young() {
    let seed =
        std::env::var("TIPLINE_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    println!("to repeat: TIPLINE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut went, mut searched_too_far) = (0, 0);
    for round in 0..300 {
        let (log, times) = dated_by_some_clock(&mut rng).await;
        let newest = log.entry(times.len() as u64).await.unwrap().position();
        put(&log, "backup-1", newest).await;
        let proven = async |_| Ok(vec![proven(newest)]);
        let keep_for = rng.random_range(1..2000);
        let here = clock(times.last().unwrap() + rng.random_range(0..100));
        let keep = format!("{keep_for}s");
        let flags = ["--keep-events", "0", "--keep-for", &keep, "--apply"];
        let told = retain(&log, proven, &args(&flags[..4]), &here).await.unwrap().0;
        let (plan, held) = retain(&log, proven, &args(&flags), &here).await.unwrap();

        let now = plan.ages.from.as_micros() / 1_000_000;
        let is_young = |time: &u64| *time <= now && now - time < keep_for;
        let tell = |from: usize| times[from..].iter().find(|time| **time <= now);
        // The newest always stays.
        let first = (0..times.len() - 1).find(|at| tell(*at).is_none_or(is_young));
        let first = first.unwrap_or(times.len() - 1) as u64 + 1;
        assert!(held.first <= first, "round {round}: {held:?}, {first} is young: {times:?}");
        assert_eq!((held.first, held.last), (plan.first, times.len() as u64), "round {round}");
        went += u64::from(held.first > 1);
        searched_too_far += u64::from(told.first > first);
    }
    assert!(went > 30 && searched_too_far > 3, "{went} trimmed, {searched_too_far} of them less");
}

/// A log of 60 events and their times, by a clock that is set ahead and back now and then.
async fn dated_by_some_clock(rng: &mut StdRng) -> (MemoryLog, Vec<u64>) {
    let log = MemoryLog::new(identity());
    let (mut shows, mut times) = (100_000_u64, Vec::new());
    for index in 1..=60 {
        shows += rng.random_range(0..60);
        match rng.random_range(0..30) {
            0 => shows -= rng.random_range(0..1500),
            1 => shows += rng.random_range(0..1500),
            _ => {}
        }
        let outbox = OutboxId::from_bytes([1; 16]);
        let event = match index {
            1 => Event::EpochStarted { primary: "node".parse().unwrap(), outbox },
            _ => Event::Marked { name: "here".parse().unwrap() },
        };
        let tail = log.tail().await.unwrap();
        let time = Timestamp::from_micros(shows * 1_000_000);
        let entry = Entry::seal(&tail.position, 1, time, index - 1, event);
        log.append(&tail, &[entry]).await.unwrap();
        times.push(shows);
    }
    (log, times)
}

#[test]
fn the_defaults_keep_a_day() {
    let args = args(&[]);
    assert_eq!(args.keep_log_for(), Duration::from_secs(24 * 3600));
    assert_eq!((args.keep_events, args.reserve, args.apply), (10_000, 1_000_000, false));
}
