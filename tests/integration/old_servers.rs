//! Older servers: what is too old is refused by every command, and the oldest that is not does.

use tipline_tests::{Finished, Nats, NatsOptions, SyncInterval};

use crate::deployment::{Deployment, WITHIN, stop};

/// What asks the log for anything.
const COMMANDS: [&str; 20] = [
    "init --chain test --genesis 00 --replicas 1 --accept-shortfalls",
    "primary --source dir:node",
    "replica --name r --store sqlite:r.db",
    "backup --name b --store sqlite:b.db",
    "archive --to dir:archive",
    "status",
    "status --json",
    "status --nagios",
    "check --source dir:node",
    "restore --store sqlite:new.db --from log",
    "refill --from dir:archive",
    "verify --from log",
    "audit verify log",
    "audit tail -n 1",
    "audit stats log",
    "audit export log",
    "drill --from log",
    "forget r",
    "retention",
    "demo --count 20 --nats",
];

async fn server(version: &str) -> Nats {
    let program = Some(Nats::program_of(version));
    Nats::start(NatsOptions { program, sync: SyncInterval::Always, ..NatsOptions::default() }).await
}

async fn run(site: &Deployment, nats: &Nats, words: &str) -> Finished {
    let words = match words.strip_suffix("--nats") {
        Some(demo) => format!("{demo} --nats {}", nats.url()),
        None => format!("{words} --log {}/main", nats.url()),
    };
    site.tipline(&words).finish(WITHIN).await
}

#[tokio::test]
async fn one_that_is_too_old_is_refused_by_every_command_and_named() {
    let nats = server(Nats::TOO_OLD).await;
    let site = Deployment::new();
    site.block("node", 1, b"block 1");
    for words in COMMANDS {
        let finished = run(&site, &nats, words).await;
        let said = format!("{words}: {}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.status.code(), Some(2), "{said}");
        assert!(said.contains(Nats::TOO_OLD) && said.contains("needs 2.12 or newer"), "{said}");
    }
    // It has no commands without a log; it says that nothing comes from there.
    let plan = run(&site, &nats, "dr plan --from log").await;
    assert!(plan.stdout.contains("nothing can be restored"), "{}", plan.stdout);
    assert!(plan.stdout.contains(Nats::TOO_OLD), "{}", plan.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_takes_a_history_and_gives_it_back() {
    let nats = server(Nats::OLDEST).await;
    let site = Deployment::new();
    let done = async |words: &str| {
        let finished = run(&site, &nats, words).await;
        let said = format!("{words}: {}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.status.code(), Some(0), "{said}");
        said
    };
    done("init --chain test --genesis 00 --replicas 1 --accept-shortfalls").await;
    (1..=4).for_each(|height| site.block("node", height, b"a block"));
    let log = format!("--log {}/main --accept-shortfalls", nats.url());
    let mut running = [
        "primary --source dir:node",
        "replica --name r --store sqlite:r.db",
        "backup --name b --store files:b",
        "archive --name a --to dir:archive",
    ]
    .map(|words| site.tipline(&format!("{words} {log}")).spawn());
    site.status(&log, |status| {
        let consumers = status["consumers"].as_array().unwrap();
        consumers.len() == 3 && consumers.iter().all(|one| one["block"] == 4)
    })
    .await;
    for one in &mut running {
        stop(one).await;
    }
    done("audit verify log").await;
    done("restore --store sqlite:new.db --from log").await;
    done("verify --from dir:archive --from log").await;
    let demo = done("demo --count 20 --nats").await;
    assert!(demo.contains("VERIFIED"), "{demo}");
    // It is said what is wrong with it.
    let status = run(&site, &nats, "status").await.stdout;
    assert!(status.contains(Nats::OLDEST), "{status}");
}
