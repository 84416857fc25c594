//! The publisher against a real server: killed primaries, two primaries, a server that is away.

use std::path::Path;
use std::time::{Duration, Instant};

use tipline_proto::{Entry, Event};
use tipline_tests::{Nats, NatsOptions, Rng, ToyNode, check_log, eventually, toy_history};

use crate::site::Site;

fn epochs(entries: &[Entry]) -> usize {
    entries.iter().filter(|e| matches!(e.event, Event::EpochStarted { .. })).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_killed_100_times_under_load_loses_nothing_and_repeats_nothing() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "killed", &mut rng).await;
    // How long it takes until it publishes, on this machine as it is now.
    let begun = Instant::now();
    let mut primary = site.primary("node.db", &[]);
    site.wait_for_entries(10).await;
    primary.kill();
    let longest = begun.elapsed().as_millis().max(100) as u64 * 3;
    for _ in 0..100 {
        let mut primary = site.primary("node.db", &[]);
        // Not to wait for anything: the random moment is the test.
        tokio::time::sleep(Duration::from_millis(rng.within(1..=longest))).await;
        assert_eq!(primary.status(), None, "it was still at work");
        primary.kill();
    }
    let committed = toy_history(&site.file("node.db")).len();
    let mut last = site.primary("node.db", &["--blocks", "1"]);
    assert!(last.wait(Duration::from_secs(60)).await.success());

    let history = toy_history(&site.file("node.db"));
    let entries = site.entries().await;
    check_log(&entries, &history);
    let epochs = epochs(&entries);
    println!("{committed} events committed over 100 kills; {epochs} epochs in the log");
    assert!(epochs > 50, "most were killed after they had claimed the log: {epochs}");
    assert!(committed > 1_000, "it was under load: {committed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_primaries_one_goes_on_and_the_other_is_fenced() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "two", &mut rng).await;
    let mut old = site.primary("node.db", &["--name", "old"]);
    site.wait_for_entries(500).await;

    // The second one publishes from the same database: a standby that was promoted too early.
    let mut new = site.primary("node.db", &["--name", "new", "--commit", "no"]);
    let fenced = old.wait(Duration::from_secs(30)).await;
    assert_eq!(fenced.code(), Some(3), "the old one says that it is fenced");
    site.wait_for_all("node.db").await;
    assert_eq!(new.status(), None, "the new one goes on");
    check_log(&site.entries().await, &toy_history(&site.file("node.db")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_primaries_that_start_at_once_end_with_one() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    for round in 0..10 {
        let site = Site::new(&nats, &format!("race-{round}"), &mut rng).await;
        let mut node = ToyNode::open(&site.file("node.db")).unwrap();
        for _ in 0..2000 {
            node.commit_next(100, &mut None).unwrap();
        }
        let both = ["a", "b"].map(|name| ["--commit", "no", "--name", name]);
        let mut pair = both.map(|args| site.primary("node.db", &args));
        let loser = eventually("one of the two ends", Duration::from_secs(30), async || {
            pair.iter_mut().position(|p| p.status().is_some()).ok_or("both run")
        })
        .await;
        let code = pair[loser].status().and_then(|status| status.code());
        assert_eq!(code, Some(3), "the one that ended is fenced");
        site.wait_for_all("node.db").await;
        assert_eq!(pair[1 - loser].status(), None, "the other one goes on");
        check_log(&site.entries().await, &toy_history(&site.file("node.db")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_node_that_lacks_what_is_logged_is_refused() {
    let mut rng = Rng::from_env();
    let nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "restored", &mut rng).await;
    let mut primary = site.primary("node.db", &["--blocks", "100"]);
    assert!(primary.wait(Duration::from_secs(60)).await.success());
    std::fs::copy(site.file("node.db"), site.file("copy.db")).unwrap();
    let mut primary = site.primary("node.db", &["--blocks", "200"]);
    assert!(primary.wait(Duration::from_secs(60)).await.success());
    let before = site.entries().await;

    let mut copy = site.primary("copy.db", &["--commit", "no"]);
    assert_eq!(copy.wait(Duration::from_secs(60)).await.code(), Some(2));
    let said = std::fs::read_to_string(site.file("copy.db.log")).unwrap();
    assert!(said.contains("the node's database is older than the log"), "{said}");
    assert_eq!(site.entries().await, before, "nothing was published");
}

/// Commit times in microseconds, from the file that a toy primary writes: (when, how long).
fn latencies(path: &Path) -> Vec<(Duration, Duration)> {
    let text = std::fs::read_to_string(path).unwrap();
    let number = |text: Option<&str>| Duration::from_micros(text.unwrap().parse().unwrap());
    let line = |line: &str| {
        let mut words = line.split(' ');
        (number(words.next()), number(words.next()))
    };
    text.lines().map(line).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_away_for_30_s_does_not_slow_the_node_and_loses_nothing() {
    let mut rng = Rng::from_env();
    let mut nats = Nats::start(NatsOptions::default()).await;
    let site = Site::new(&nats, "away", &mut rng).await;
    let file = site.file("latencies");
    let start = Instant::now();
    let over = site.file("over");
    let [latencies_to, until] = [&file, &over].map(|file| file.to_str().unwrap());
    let args = ["--pause-us", "4000", "--latencies", latencies_to, "--until", until];
    let mut primary = site.primary("node.db", &args);
    site.wait_for_entries(1000).await;
    let killed_at = start.elapsed();
    nats.kill();
    // The outage is as long as the promise says; the node is at work all the while.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(primary.status(), None, "the node went on");
    nats.restart().await;
    let back_at = start.elapsed();
    std::fs::write(&over, "").unwrap();
    assert!(primary.wait(Duration::from_secs(120)).await.success(), "everything drained");

    let history = toy_history(&site.file("node.db"));
    check_log(&site.entries().await, &history);
    let times = latencies(&file);
    let during = |from, to| {
        let within = times.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, took)| *took).collect::<Vec<_>>()
    };
    let before = during(Duration::ZERO, killed_at);
    let away = during(killed_at, back_at);
    println!("{} commits before, {} while the server was away", before.len(), away.len());
    assert!(away.len() > 1000, "the node committed all the while: {}", away.len());
    let (before, away) = (median(before), median(away));
    let ratio = away.as_secs_f64() / before.as_secs_f64();
    println!("median commit {before:?} before, {away:?} while away: ratio {ratio:.2}");
    assert!(ratio < 1.5, "commits did not slow down: {before:?} before, {away:?} while away");
}
