use std::time::{Duration, Instant};

use tipline_proto::Timestamp;

use super::super::testing::{NOW, expectation, seconds_ago, seen};
use super::super::{Listener, Seen, SignOfLife, Verdict, assess};

const HOUR: Duration = Duration::from_secs(3600);

fn hours_ahead(hours: u64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + hours * 3_600_000_000)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_logs_clock_decides_where_it_is_known() {
    let sign = |sent, heard| SignOfLife::new(sent, heard, NOW);
    let well = SignOfLife { age: seconds(2), clock_ahead: None };
    assert_eq!(sign(seconds_ago(2), None), well);
    assert_eq!(sign(seconds_ago(2), Some(seconds(2))), well);
    // It is dead for a minute. Its clock was 8 h ahead.
    let dead = sign(hours_ahead(8), Some(seconds(60)));
    assert_eq!(dead, SignOfLife { age: seconds(60), clock_ahead: Some(8 * HOUR + seconds(60)) });
    // It lives. Its clock is an hour behind.
    assert_eq!(sign(seconds_ago(3600), Some(seconds(1))).age, seconds(1));
    // Without the log's clock nobody can tell when it was sent: that is said.
    assert_eq!(sign(hours_ahead(8), None).clock_ahead, Some(8 * HOUR));
    // What NTP leaves is nothing.
    let nearly = Timestamp::from_micros(NOW.as_micros() + 4_000_000);
    assert_eq!(sign(nearly, None).clock_ahead, None);
}

#[test]
fn a_consumer_that_died_with_its_clock_ahead_is_silent() {
    let fleet = |heard: u64| {
        let mut seen = seen();
        let receipt = &mut seen.board.receipts[0];
        receipt.time = hours_ahead(8);
        seen.board.heard.insert(receipt.consumer.clone(), seconds(heard));
        assess(&seen, NOW, &expectation())
    };
    let dead = fleet(40).reasons;
    assert_eq!(dead, ["backup-1 is silent for 40 s", "the clock of backup-1 is ahead by 8 h"]);
    assert_eq!(fleet(1).reasons, ["the clock of backup-1 is ahead by 8 h"]);
}

#[test]
fn a_listener_counts_from_the_last_change_on_a_monotonic_clock() {
    let mut listener = Listener::default();
    let start = Instant::now();
    let at = |listener: &mut Listener, seen: &Seen, after: u64| {
        let mut seen = seen.clone();
        listener.listen(&mut seen.board, start + seconds(after), NOW);
        let ages: Vec<u64> = seen.board.heard.values().map(Duration::as_secs).collect();
        let now = Timestamp::from_micros(NOW.as_micros() + after * 1_000_000);
        let reasons = assess(&seen, now, &expectation()).reasons;
        (ages, seen.board.primary_heard.unwrap().as_secs(), reasons)
    };
    let mut seen = seen();
    seen.board.receipts[0].time = hours_ahead(8);
    let ahead = "the clock of backup-1 is ahead by 8 h".to_owned();
    assert_eq!(at(&mut listener, &seen, 0), (vec![0, 1], 2, vec![ahead]));
    // Nobody says anything.
    let (ages, primary, reasons) = at(&mut listener, &seen, 20);
    assert_eq!((ages, primary), (vec![20, 21], 22));
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    // They speak again: they are new, whatever their clocks say.
    for receipt in &mut seen.board.receipts {
        receipt.time = Timestamp::from_micros(receipt.time.as_micros() + 1);
    }
    seen.board.primary.as_mut().unwrap().time = seconds_ago(1);
    let (ages, primary, reasons) = at(&mut listener, &seen, 21);
    assert_eq!((ages, primary), (vec![0, 0], 0));
    assert_eq!(reasons, ["the clock of backup-1 is ahead by 7 h"]);
}

#[test]
fn a_listener_takes_the_logs_word_for_what_was_there_before() {
    let mut listener = Listener::default();
    let (start, mut seen) = (Instant::now(), seen());
    let names: Vec<_> = seen.board.receipts.iter().map(|r| r.consumer.clone()).collect();
    seen.board.heard = names.iter().map(|name| (name.clone(), seconds(100))).collect();
    listener.listen(&mut seen.board, start, NOW);
    assert_eq!(seen.board.heard[&names[0]], seconds(100));
    // A log that is followed again gives the same board: it is no sign of life.
    seen.board.heard.clear();
    listener.listen(&mut seen.board, start + seconds(10), NOW);
    assert_eq!(seen.board.heard[&names[0]], seconds(110));
    assert_eq!(assess(&seen, NOW, &expectation()).verdict, Verdict::Degraded);
}
