//! Where a case takes place, and what is said of it there.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tipline_tests::{Running, Tipline};

use crate::deployment::Deployment;

/// What is removed, replaced or cut while everything runs is named within this: everyone looks every
/// 5 s, and the rest is for a machine that is busy with other tests. On one that is not, it is 10 s.
pub(super) const NAMED: Duration = Duration::from_secs(20);

/// Everyone is missed that is silent for longer.
const SILENT: &str = "--silent-after 8s";

/// `tipline status --watch` of a place.
pub(super) struct Watch {
    /// It says much of many: only the end is read, again and again.
    said: PathBuf,
    _running: Running,
}

/// More than the longest line.
const END: u64 = 256 << 10;

impl Watch {
    pub(super) fn start(site: &Deployment) -> Watch {
        let watch = site.tipline(&format!("status --watch --json {SILENT}"));
        let into_file = ["-c", "exec \"$@\" >watch.json", "sh"];
        let _running = watch.through("sh", into_file).spawn();
        Watch { said: site.path("watch.json"), _running }
    }

    /// What it said last.
    pub(super) fn newest(&self) -> Option<Value> {
        let mut file = File::open(&self.said).ok()?;
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(length.saturating_sub(END))).unwrap();
        let mut end = vec![];
        file.read_to_end(&mut end).unwrap();
        let end = String::from_utf8_lossy(&end);
        let (whole, _unfinished) = end.rsplit_once('\n')?;
        serde_json::from_str(whole.lines().last()?).ok()
    }
}

/// Runs `status` once, as an operator does.
pub(super) async fn status(site: &Deployment) -> Value {
    let run = site.run(&format!("status --json {SILENT}")).await;
    serde_json::from_str(&run.stdout).expect(&run.stderr)
}

/// All that a status says in words.
pub(super) fn words(status: &Value) -> String {
    let mut words = vec![status["summary"].to_string()];
    let primary = &status["primary"];
    words.extend(["failure", "source_failure", "held_up"].map(|key| primary[key].to_string()));
    let consumers = status["consumers"].as_array().into_iter().flatten();
    words.extend(consumers.map(|one| one["failure"].to_string()));
    words.join("; ")
}

pub(super) fn kinds(status: &Value) -> Vec<String> {
    let findings = status["findings"].as_array().into_iter().flatten();
    findings.map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// Nobody holds another history than the log, as far as anybody has said.
pub(super) fn assert_one_history(status: &Value, case: &str) {
    let forks = ["diverged", "ahead", "primary_diverged"];
    let found = kinds(status);
    assert!(!found.iter().any(|kind| forks.contains(&kind.as_str())), "{case}: {status}");
}

/// A copy of all that is there, with its times.
pub(super) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success(), "{} to {}", from.display(), to.display());
}

/// A place like another one in which nothing runs.
pub(super) fn copy_of(site: &Deployment) -> Deployment {
    let copy = Deployment::new();
    copy_all(&site.path(""), &copy.path(""));
    copy
}

/// A consumer that follows into this store.
pub(super) fn replica(site: &Deployment, name: &str, store: &str) -> Tipline {
    site.tipline(&format!("replica --name {name} --store {store}"))
}
