//! The files of a log in a file.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tipline_proto::Event;
use tipline_tests::{Rng, Running, eventually, open_log, read_log, toy_payload};

use super::harm::Harm;
use super::place::{NAMED, assert_one_history, copy_of, replica, status, words};
use crate::deployment::Deployment;

const AT_ONCE: usize = 10;
/// Everyone is started on a busy machine, and a primary publishes again what a log has lost after 15 s.
const STARTED: Duration = Duration::from_secs(60);
/// Between two looks by a program that is started for it.
const LOOK: Duration = Duration::from_millis(300);
const TIP: u64 = 10;
const FILES: [&str; 3] = ["tipline.log.db", "tipline.log.db-wal", "tipline.log.db-shm"];

fn write(site: &Deployment, height: u64) {
    site.block("node", height, &toy_payload(height, 3000));
}

fn start(site: &Deployment) -> [Running; 2] {
    let primary = site.tipline("primary --name node --source dir:node").spawn();
    [primary, replica(site, "r", "sqlite:r.db").spawn()]
}

fn is_well(status: &Value, tip: u64) -> bool {
    let replica = &status["consumers"][0];
    status["verdict"] == "well" && status["tip"]["height"] == tip && replica["block"] == tip
}

async fn prepare() -> Deployment {
    let site = Deployment::with_log("00").await;
    (1..=TIP).for_each(|height| write(&site, height));
    let mut running = start(&site);
    site.status("", |status| is_well(status, TIP)).await;
    running.iter_mut().for_each(|one| one.process.kill());
    site
}

/// What somebody says of this file: those who run, as they end, and `status`.
fn is_named(file: &str, running: &[Running], status: &Value) -> bool {
    let said = status["summary"].to_string();
    said.contains(file) || running.iter().any(|one| one.stderr().contains(file))
}

struct Case {
    site: Deployment,
    file: &'static str,
    harm: Harm,
    done: String,
}

impl Case {
    async fn while_it_runs(&mut self, mut rng: Rng) -> &'static str {
        let mut running = start(&self.site);
        // By this primary, and not by the one that prepared all of it.
        let well = async |status: &Value| is_well(status, TIP) && status["primary"]["epoch"] == 2;
        self.becomes("all is well", STARTED, well).await;
        let path = self.site.path(self.file);
        if !self.harm.applies_to(&path) {
            return "nothing to harm";
        }
        self.done = format!("while it runs: {}", self.harm.does(&path, &mut rng));
        if !self.harm.is_in_place() && !self.is_cut_index() {
            let named = async |status: &Value| {
                is_named(self.file, &running, status) && status["verdict"] != "well"
            };
            let status = self.becomes("it is named", NAMED, named).await;
            assert_one_history(&status, &self.done);
            // It stays so.
            write(&self.site, TIP + 1);
            self.is_said_everywhere().await;
            running.iter_mut().for_each(|one| one.process.kill());
            self.assert_nothing_wrong().await;
            return "named";
        }
        write(&self.site, TIP + 1);
        let outcome = self.settled(&mut running).await;
        running.iter_mut().for_each(|one| one.process.kill());
        self.read(outcome).await
    }

    /// The system ends whoever has it open and reads what was cut away, and everyone is missed. If
    /// somebody opens the log before that, SQLite makes it as long as it was: then it was changed in
    /// its place.
    fn is_cut_index(&self) -> bool {
        self.harm == Harm::Truncated && self.file.ends_with("-shm")
    }

    async fn while_it_is_stopped(&mut self, mut rng: Rng) -> &'static str {
        let path = self.site.path(self.file);
        if !path.exists() || !self.harm.applies_to(&path) {
            return "nothing to harm";
        }
        self.done = format!("while it is stopped: {}", self.harm.does(&path, &mut rng));
        let mut running = start(&self.site);
        write(&self.site, TIP + 1);
        let outcome = self.settled(&mut running).await;
        running.iter_mut().for_each(|one| one.process.kill());
        self.read(outcome).await
    }

    /// It is named, or goes on as if nothing was.
    async fn settled(&self, running: &mut [Running; 2]) -> &'static str {
        let what = format!("{}: it is named, or goes on", self.done);
        eventually(&what, STARTED, async || {
            let status = self.look().await;
            if is_well(&status, TIP + 1) {
                return Ok("same");
            }
            // What the log lost, those miss who had it.
            let is_missed = words(&status).contains("the log");
            let is_told = is_missed || self.is_cut_index() || is_named(self.file, running, &status);
            match status["verdict"] != "well" && is_told {
                true => Ok("named"),
                false => Err(status["summary"].clone()),
            }
        })
        .await
    }

    /// What everyone said is right, and whoever reads all of it says what is wrong.
    async fn read(&self, outcome: &'static str) -> &'static str {
        let audit = self.site.run("audit verify log").await;
        let told = format!("{}: {outcome}: {}{}", self.done, audit.stdout, audit.stderr);
        if audit.status.code() == Some(0) {
            self.assert_nothing_wrong().await;
            return outcome;
        }
        // It may not open at all.
        assert!(matches!(audit.status.code(), Some(2 | 13)), "{told}");
        assert!(told.contains("entry") || told.contains(self.file), "{told}");
        if outcome == "same" { "found" } else { outcome }
    }

    async fn look(&self) -> Value {
        tokio::time::sleep(LOOK).await;
        status(&self.site).await
    }

    async fn becomes(
        &self,
        what: &str,
        within: Duration,
        is: impl AsyncFn(&Value) -> bool,
    ) -> Value {
        eventually(&format!("{}: {what}", self.done), within, async || {
            let status = self.look().await;
            if is(&status).await { Ok(status) } else { Err(status) }
        })
        .await
    }

    /// In text, exit code and metrics.
    async fn is_said_everywhere(&self) {
        let run = self.site.run("status --metrics m.prom --silent-after 1s").await;
        assert!(matches!(run.status.code(), Some(1 | 2)), "{}: {run:?}", self.done);
        assert!(!run.stdout.starts_with("WELL"), "{}: {}", self.done, run.stdout);
        let metrics = std::fs::read_to_string(self.site.path("m.prom")).unwrap();
        assert!(metrics.contains("tipline_verdict{verdict=\"well\"} 0.0"), "{metrics}");
        assert!(metrics.lines().any(|line| line.starts_with("tipline_finding{")), "{metrics}");
    }

    /// What can be read of it is what the node wrote.
    async fn assert_nothing_wrong(&self) {
        let Ok(log) = open_log(&self.site.address()).await else { return };
        if self.site.run("audit verify log").await.status.code() != Some(0) {
            return;
        }
        for entry in read_log(&*log).await {
            if let Event::BlockCommitted { height, payload, .. } = entry.event {
                assert!(payload == toy_payload(height, 3000), "{}: block {height}", self.done);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_log_in_a_file() {
    let mut rng = Rng::from_env();
    let prepared = prepare().await;
    let prepared = &prepared;
    let mut cases = vec![];
    for file in FILES {
        for harm in Harm::ALL {
            cases.extend([true, false].map(|runs| (file, harm, runs, rng.fork())));
        }
    }
    let cases = cases.into_iter().map(|(file, harm, runs, rng)| async move {
        let mut case = Case { site: copy_of(prepared), file, harm, done: String::new() };
        let outcome = match runs {
            true => case.while_it_runs(rng).await,
            false => case.while_it_is_stopped(rng).await,
        };
        println!("{}: {outcome}", case.done);
        outcome
    });
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ended = stream::iter(cases).buffer_unordered(AT_ONCE);
    while let Some(outcome) = ended.next().await {
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
}
