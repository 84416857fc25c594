//! `tipline audit receipts`: a primary, a replica that falls behind, and an archiver that sees it.

use std::fs;

use serde_json::Value;
use tipline_tests::Running;

use crate::deployment::{Deployment, WITHIN, stop};

const LOG: &str = "--log embedded:tipline.log.db";

async fn follows(site: &Deployment, name: &str, height: u64) {
    site.status(LOG, |status| {
        let all = status["consumers"].as_array().unwrap();
        all.iter().any(|one| one["name"] == name && one["block"] == height)
    })
    .await;
}

async fn publish(site: &Deployment, from: u64, to: u64) {
    for height in from..=to {
        site.block("node", height, &vec![u8::try_from(height).unwrap(); 3_000]);
    }
    site.publish("embedded:tipline.log.db", "dir:node/blocks", to).await;
}

fn replica(site: &Deployment) -> Running {
    let words = format!("replica --name r --store sqlite:r.db {LOG} --signing-key r.key");
    site.tipline(&words).spawn()
}

async fn audit(site: &Deployment, words: &str, code: i32) -> String {
    let words = format!("audit receipts dir:backup --trusted-keys trusted {words}");
    let done = site.tipline(&words).finish(WITHIN).await;
    let told = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(done.status.code(), Some(code), "{words}: {told}");
    told
}

fn block(report: &Value, name: &str) -> Option<u64> {
    let all = report["consumers"].as_array().unwrap();
    all.iter().find(|one| one["consumer"] == name).and_then(|one| one["block"].as_u64())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_at_a_past_time_is_told_later() {
    let site = Deployment::with_log("00").await;
    let mut trusted = String::new();
    for name in ["r", "archive"] {
        let made = site.run(&format!("keys new --name {name} {name}.key")).await;
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        trusted += &format!("consumer {name} {}\n", made.stdout.trim());
    }
    fs::write(site.path("trusted"), trusted).unwrap();

    publish(&site, 1, 4).await;
    let mut lagging = replica(&site);
    follows(&site, "r", 4).await;
    stop(&mut lagging).await;
    // It sees the replica before it archives anything.
    let words = format!("archive --to dir:backup {LOG} --signing-key archive.key");
    let mut archiver = site.tipline(&words).spawn();
    follows(&site, "archive", 4).await;
    publish(&site, 5, 9).await;
    follows(&site, "archive", 9).await;
    let behind = (tipline_log::system_clock())();
    let mut caught_up = replica(&site);
    follows(&site, "r", 9).await;
    stop(&mut caught_up).await;
    // It writes the end of what it has seen.
    stop(&mut archiver).await;

    let time = tipline_backup::time_text(behind, tipline_backup::TimeDigits::Micros);
    let then: Value =
        serde_json::from_str(&audit(&site, &format!("--at {time} --json"), 0).await).unwrap();
    assert_eq!((block(&then, "r"), &then["recorded"]), (Some(4), &"yes".into()), "{then}");
    let one = then["consumers"].as_array().unwrap().iter().find(|one| one["consumer"] == "r");
    let one = one.unwrap();
    assert_eq!((&one["trusted"], &one["history"]), (&true.into(), &"agrees".into()), "{then}");
    let now: Value = serde_json::from_str(&audit(&site, "--json", 0).await).unwrap();
    assert_eq!((block(&now, "r"), block(&now, "archive")), (Some(9), Some(9)), "{now}");
    assert_eq!(now["primary"]["block"], 9, "{now}");
    let all = audit(&site, &format!("--from 2020-01-01T00:00:00Z --to {time}"), 0).await;
    assert!(all.contains("r (replica, sqlite:r.db): entry 5 durable, block 4"), "{all}");
    assert!(!all.contains("block 9, proof none, the archive does not go that far"), "{all}");
    let early = audit(&site, "--at 2020-01-01T00:00:00Z", 10).await;
    assert!(early.contains("NOT known at 2020-01-01"), "{early}");
    assert!(early.contains("the archive had not been checked"), "{early}");
    // When it was last checked is told, too, as it was then.
    let verified = site.run("verify --from dir:backup").await;
    assert_eq!(verified.status.code(), Some(0), "{}", verified.stderr);
    let late = audit(&site, "--at 2100-01-01T00:00:00Z", 11).await;
    assert!(
        late.contains("the last verify ended at") && late.contains("wrong up to entry 11"),
        "{late}"
    );
    let late: Value =
        serde_json::from_str(&audit(&site, "--at 2100-01-01T00:00:00Z --json", 11).await).unwrap();
    assert_eq!(
        (&late["checks"][0]["ok"], late["checks"].as_array().unwrap().len()),
        (&true.into(), 1)
    );
    assert_eq!(then["checks"], serde_json::json!([]), "{then}");

    // A receipt that nobody vouches for does not count; and what is gone is not nothing.
    fs::write(site.path("trusted"), format!("consumer r {}", now_key(&site).await)).unwrap();
    let wrong = audit(&site, "", 13).await;
    assert!(wrong.contains("a receipt of archive does not count"), "{wrong}");
    for day in fs::read_dir(site.path("backup/receipts")).unwrap() {
        for file in fs::read_dir(day.unwrap().path()).unwrap() {
            fs::write(file.unwrap().path(), b"something else").unwrap();
        }
    }
    let wrong = audit(&site, &format!("--at {time}"), 13).await;
    assert!(wrong.contains(".tipr is damaged") && !wrong.contains("no consumer"), "{wrong}");
}

async fn now_key(site: &Deployment) -> String {
    site.run("keys show r.key").await.stdout.trim().to_owned()
}
