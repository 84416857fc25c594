//! A chain that began to prove late, from `init` to a store that was restored.

use rusqlite::Connection;
use serde_json::Value;
use tipline_tests::{Finished, eventually};

use crate::deployment::{Deployment, WITHIN, place, stop};

const INIT: &str = "init --chain test --genesis 00";

async fn exit(site: &Deployment, words: &str, code: i32) -> Finished {
    let finished = site.run(words).await;
    let said = format!("{words}\n{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(finished.status.code(), Some(code), "{said}");
    finished
}

/// The node's proof of a height.
fn prove(site: &Deployment, height: u64) {
    let name = format!("proof_{height:08x}.dat");
    place(&site.block_path("node", height).with_file_name(name), &[height as u8; 40]);
}

/// Whether all of so many consumers have this block, and this proof tip.
fn all_at(count: usize, block: u64, proof: u64) -> impl Fn(&Value) -> bool {
    move |status| {
        let consumers = status["consumers"].as_array().unwrap();
        let is_there = |one: &Value| one["block"] == block && one["proof"] == proof;
        consumers.len() == count && consumers.iter().all(is_there)
    }
}

fn proof_lag(status: &Value) -> Option<&str> {
    let findings = status["findings"].as_array().unwrap();
    findings.iter().find(|one| one["kind"] == "proof_lag")?["text"].as_str()
}

/// Proof tip and proof debt of a store.
async fn debt(site: &Deployment, store: &str) -> [Value; 2] {
    let got = exit(site, &format!("get cursor --store {store} --json"), 0).await;
    let cursor: Value = serde_json::from_str(&got.stdout).unwrap();
    ["proof_tip", "proof_debt"].map(|field| cursor[field].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn init_takes_a_height_that_can_be_and_never_another() {
    let site = Deployment::new();
    for (height, says) in [
        ("0", "block 0 is the genesis, which has no proof"),
        ("x", "\"x\" is not a height"),
        ("-5", "\"-5\" is not a height"),
        ("9223372036854775808", "there is no block 9223372036854775808"),
    ] {
        let refused = exit(&site, &format!("{INIT} --proofs-from={height}"), 2).await;
        assert!(refused.stderr.contains(&format!("--proofs-from: {says}")), "{}", refused.stderr);
        assert!(!site.path("tipline.log.db").exists());
    }
    let late = format!("{INIT} --proofs-from 5000000");
    for says in ["created embedded:", "there already, and empty: embedded:"] {
        let made = exit(&site, &late, 0).await.stdout;
        assert!(made.starts_with(says), "{made}");
        assert!(made.contains("\n  proofs   from block 5,000,000 on\n"), "{made}");
    }
    for (other, asked) in [("", 1), (" --proofs-from 1", 1), (" --proofs-from 7", 7)] {
        let refused = exit(&site, &format!("{INIT}{other}"), 2).await.stderr;
        assert!(refused.contains("proofs from block 5000000 on; to use it"), "{refused}");
        let advice = format!("expects proofs from block 5000000 on, not from {asked}");
        assert!(refused.contains(&advice), "{refused}");
    }
    let plain = format!("{INIT} --log embedded:plain.db");
    for words in [format!("{plain} --proofs-from 1"), plain.clone()] {
        let made = exit(&site, &words, 0).await.stdout;
        assert!(!made.contains("proofs"), "{made}");
    }
    let refused = exit(&site, &format!("{plain} --proofs-from 7"), 2).await.stderr;
    assert!(refused.contains("expects proofs from block 1 on, not from 7"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_the_first_proof_is_no_debt_anywhere() {
    let site = Deployment::new();
    exit(&site, &format!("{INIT} --proofs-from 5"), 0).await;
    (1..=4).for_each(|height| site.block("node", height, &[height as u8; 500]));
    let mut running = [
        "primary --source dir:node",
        "replica --name r --store sqlite:replica.db",
        "archive --to dir:backup",
    ]
    .map(|words| site.tipline(words).spawn());
    let status = site.status("--max-proof-lag 0", all_at(2, 4, 4)).await;
    assert_eq!((proof_lag(&status), &status["log"]["proofs_from"]), (None, &5.into()));
    assert_eq!(debt(&site, "sqlite:replica.db").await, [4, 0]);
    // Nobody waits for it, and it is kept.
    prove(&site, 2);
    eventually("the proof of block 2 is there", WITHIN, async || {
        let got = site.run("get proof 2 --store sqlite:replica.db").await;
        if got.status.success() { Ok(()) } else { Err(got.stderr) }
    })
    .await;

    site.block("node", 5, b"the first that needs a proof");
    let status = site.status("", all_at(2, 5, 4)).await;
    // Across that height and back.
    let last = status["log"]["last"].as_u64().unwrap();
    site.block("node", 5, b"the one in its place");
    site.status("", |status| status["log"]["last"] == last + 2 && all_at(2, 5, 4)(status)).await;
    (6..=8).for_each(|height| site.block("node", height, &[height as u8; 500]));
    let status = site.status("--max-proof-lag 3", all_at(2, 8, 4)).await;
    let none = "proofs are 4 blocks behind: there is none yet of block 5, the first that needs one";
    assert_eq!(proof_lag(&status), Some(none));
    let status = site.status("--max-proof-lag 4", all_at(2, 8, 4)).await;
    assert_eq!(proof_lag(&status), None);
    prove(&site, 6);
    prove(&site, 5);
    let status = site.status("--max-proof-lag 1", all_at(2, 8, 6)).await;
    let some = "proofs are 2 blocks behind: every block up to 6 is proven";
    assert_eq!(proof_lag(&status), Some(some));
    exit(&site, "checkpoint create --store sqlite:replica.db", 0).await;
    for one in &mut running {
        stop(one).await;
    }
    what_is_restored_knows_it(&site).await;
    what_says_another_height_is_refused(&site).await;
}

async fn what_is_restored_knows_it(site: &Deployment) {
    for (at, (store, from)) in [
        ("sqlite:of-checkpoint.db", "dir:replica.db.checkpoints"),
        ("files:of-other-checkpoint", "dir:replica.db.checkpoints"),
        ("sqlite:of-archive.db", "dir:backup"),
        ("files:of-archive", "dir:backup"),
        ("rocksdb:rocksdb", "dir:backup"),
        ("composite:files:part+sqlite:part.db", "dir:backup"),
    ]
    .into_iter()
    .enumerate()
    {
        let words = format!("restore --store {store} --from {from} --verify strict");
        exit(site, &words, 0).await;
        assert_eq!(debt(site, store).await, [6, 2], "{store}");
        // It joins the log.
        let mut replica = site.tipline(&format!("replica --name n-{at} --store {store}")).spawn();
        site.status("", all_at(3 + at, 8, 6)).await;
        stop(&mut replica).await;
    }
}

async fn what_says_another_height_is_refused(site: &Deployment) {
    let log = Connection::open(site.path("tipline.log.db")).unwrap();
    log.execute("UPDATE log SET proofs_from = 6", []).unwrap();
    drop(log);
    for words in ["replica --name r --store sqlite:replica.db", "archive --to dir:backup"] {
        let refused = exit(site, words, 14).await.stderr;
        for height in [5, 6] {
            let says = format!("and proofs from block {height} on");
            assert!(refused.contains(&says), "{words}: {refused}");
        }
    }
    // Whoever has nothing to compare it with finds that it is not what the digests say.
    let refused = exit(site, "replica --name new --store sqlite:new.db", 13).await.stderr;
    assert!(refused.contains("is damaged at entry 1"), "{refused}");
}
