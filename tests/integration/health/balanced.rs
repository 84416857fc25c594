//! Replicas behind a real HAProxy, with the configuration of `deploy/`, while clients read: whoever
//! is not fit leaves the pool within 3 s, and comes back by itself within 3 s.

use std::time::{Duration, Instant};

use tipline_tests::Way;

use super::fleet::{Fleet, WITHIN};
use tipline_tests::eventually;

/// For so long the trouble lasts: longer than the client of the log needs to see that its connection
/// is dead, 9 s.
const TROUBLE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_from_the_log_leaves_and_comes_back() {
    let mut fleet = Fleet::start().await;
    // A cable that was pulled, and a server that refuses.
    for way in [Way::Held, Way::Cut] {
        let since = Instant::now();
        fleet.replica(1).hears(way);
        let left = fleet.leaves(1, since).await;
        fleet.says(1, "log_silent").await;
        tokio::time::sleep(TROUBLE.saturating_sub(since.elapsed())).await;
        assert_eq!(fleet.pool().await.unwrap(), ["replica-2", "replica-3"]);
        fleet.served_nobody(1, left).await;
        let since = Instant::now();
        fleet.replica(1).hears(Way::Open);
        fleet.returns(1, since).await;
    }
    fleet.check_reads();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_leaves_and_comes_back() {
    let mut fleet = Fleet::start().await;
    let since = Instant::now();
    fleet.replica(2).running.process.pause();
    let left = fleet.leaves(2, since).await;
    tokio::time::sleep(TROUBLE.saturating_sub(since.elapsed())).await;
    fleet.served_nobody(2, left).await;
    let since = Instant::now();
    fleet.replica(2).running.process.resume();
    fleet.returns(2, since).await;
    fleet.check_reads();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_store_was_removed_leaves_and_comes_back() {
    let mut fleet = Fleet::start().await;
    let (there, away) = (fleet.replica(3).dir.clone(), fleet.file("away"));
    let since = Instant::now();
    std::fs::rename(&there, &away).unwrap();
    let left = fleet.leaves(3, since).await;
    // Doubt about a store is final: the process ends, and its supervisor starts it again.
    fleet.replica(3).running.process.wait(WITHIN).await;
    fleet.served_nobody(3, left).await;
    let since = Instant::now();
    std::fs::rename(&away, &there).unwrap();
    fleet.replica(3).start_again();
    fleet.returns(3, since).await;
    fleet.check_reads();
}

/// Blocks come slower than they are made: its questions are answered, late.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_slow_leaves_and_comes_back() {
    let mut fleet = Fleet::start_with(60_000, |_, tipline| tipline).await;
    fleet.replica(1).hears(Way::Slow(20_000));
    eventually("it is too far behind", WITHIN, async || match fleet.lag(1) {
        lag if lag > 2 => Ok(()),
        lag => Err(lag),
    })
    .await;
    let left = fleet.leaves(1, Instant::now()).await;
    tokio::time::sleep(TROUBLE).await;
    assert_eq!(fleet.pool().await.unwrap(), ["replica-2", "replica-3"]);
    fleet.served_nobody(1, left).await;
    let since = Instant::now();
    fleet.replica(1).hears(Way::Open);
    fleet.returns(1, since).await;
    fleet.check_reads();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_halted_for_a_minute_takes_nobody_out() {
    let fleet = Fleet::start().await;
    fleet.node.halt(true);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(65) {
        let pool = fleet.pool().await.unwrap();
        assert_eq!(pool, ["replica-1", "replica-2", "replica-3"], "after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let said = fleet.readiness(1).await;
    assert_eq!((&said["ready"], &said["stands_still"]), (&true.into(), &true.into()), "{said}");
    fleet.node.halt(false);
    let height = fleet.node.height();
    eventually("blocks come again", WITHIN, async || {
        let said = fleet.readiness(1).await;
        let is_new = said["block"].as_u64() > Some(height) && said["stands_still"] == false;
        if is_new { Ok(()) } else { Err(said) }
    })
    .await;
    fleet.check_reads();
}

/// Nobody hears the log: what may be old is served, and marked, instead of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_hears_the_log_the_last_resort_serves() {
    let fleet = Fleet::start().await;
    fleet.node.halt(true);
    for replica in &fleet.replicas {
        replica.hears(Way::Held);
    }
    let since = Instant::now();
    for number in 1..=3 {
        fleet.leaves(number, since).await;
    }
    let before = Instant::now();
    eventually("reads are answered", WITHIN, async || {
        let answers = fleet.reads.answers.lock().unwrap();
        match answers.iter().filter(|read| read.at > before).count() {
            20.. => Ok(()),
            few => Err(few),
        }
    })
    .await;
    assert_eq!(fleet.proxy.servers("last_resort").await.unwrap().len(), 3);
    let since = Instant::now();
    for replica in &fleet.replicas {
        replica.hears(Way::Open);
    }
    for number in 1..=3 {
        fleet.returns(number, since).await;
    }
    fleet.check_reads();
}
