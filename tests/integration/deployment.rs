//! Real programs that share a directory and a log in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tipline_tests::{Finished, Running, Tipline, eventually, schema_errors};

/// What `status --json` prints.
pub(crate) const STATUS_SCHEMA: &str = include_str!("../../docs/status.schema.json");

/// How long anything may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// A directory with everything that a test's programs share: a log in a file, and the rest beside it.
pub(crate) struct Deployment(TempDir);

impl Deployment {
    pub(crate) fn new() -> Deployment {
        Deployment(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn with_log(genesis: &str) -> Deployment {
        let site = Deployment::new();
        site.init("tipline.log.db", genesis).await;
        site
    }

    pub(crate) async fn init(&self, log: &str, genesis: &str) {
        let words = format!("init --log embedded:{log} --chain test --genesis {genesis}");
        let made = self.run(&words).await;
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn tipline(&self, words: &str) -> Tipline {
        Tipline::new(words.split_whitespace()).current_dir(self.0.path())
    }

    /// With arguments that have spaces in them.
    pub(crate) fn tipline_args<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Tipline {
        Tipline::new(args).current_dir(self.0.path())
    }

    pub(crate) async fn run(&self, words: &str) -> Finished {
        self.tipline(words).finish(WITHIN).await
    }

    /// The address of its log.
    pub(crate) fn address(&self) -> String {
        format!("embedded:{}", self.path("tipline.log.db").display())
    }

    /// Waits until there is such a file.
    pub(crate) async fn wait_for(&self, file: &str) {
        let there = async || if self.path(file).exists() { Ok(()) } else { Err("not yet") };
        eventually(&format!("there is {file}"), WITHIN, there).await;
    }

    /// Waits for a status that is as wanted.
    pub(crate) async fn status(&self, options: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let schema: Value = serde_json::from_str(STATUS_SCHEMA).unwrap();
        eventually("the status is as wanted", WITHIN, async || {
            let finished = self.run(&format!("status --json {options}")).await;
            let status: Value = serde_json::from_str(&finished.stdout).expect(&finished.stderr);
            let wrong = schema_errors(&schema, &status);
            assert!(wrong.is_empty(), "not as docs/status.schema.json says: {wrong:?}");
            if wanted(&status) { Ok(status) } else { Err(status) }
        })
        .await
    }

    /// Copies a log that nobody has open, with what is not in its main file yet, if anything.
    pub(crate) fn copy_log(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        let [from, to] = [from, to].map(|name| self.path(&format!("{name}-wal")));
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }

    /// The node's block file of a height.
    pub(crate) fn block(&self, node: &str, height: u64, bytes: &[u8]) {
        place(&self.block_path(node, height), bytes);
    }

    pub(crate) fn block_path(&self, node: &str, height: u64) -> PathBuf {
        self.path(&format!("{node}/blocks/0000/block_{height:08x}.dat"))
    }

    /// Publishes a source up to a height and ends the primary.
    pub(crate) async fn publish(&self, log: &str, source: &str, height: u64) {
        let mut primary = self.tipline(&format!("primary --log {log} --source {source}")).spawn();
        self.status(&format!("--log {log}"), |status| status["tip"]["height"] == height).await;
        stop(&mut primary).await;
    }

    /// Lets a backup fill a store up to a height and ends it.
    pub(crate) async fn back_up(&self, log: &str, store: &str, height: u64) {
        // A test that gives it another store means that.
        let new = if self.path(store).exists() { "" } else { " --new" };
        let words = format!("backup --name b --log {log} --store sqlite:{store}{new}");
        let mut backup = self.tipline(&words).spawn();
        let place = format!("sqlite:{store}");
        let is_there = |status: &Value| {
            let consumers = status["consumers"].as_array().unwrap();
            let is_it = |one: &Value| one["name"] == "b" && one["store"] == place.as_str();
            consumers.iter().any(|one| is_it(one) && one["block"] == height)
        };
        self.status(&format!("--log {log}"), is_there).await;
        stop(&mut backup).await;
    }
}

/// Writes a file as a node that is careful does, which did so a minute ago: nobody who finds it has
/// to wait whether it grows.
pub(crate) fn place(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let written = path.with_extension("tmp");
    fs::write(&written, bytes).unwrap();
    let file = File::options().append(true).open(&written).unwrap();
    let written_at = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written_at - Duration::from_secs(60)).unwrap();
    fs::rename(written, path).unwrap();
}

pub(crate) async fn stop(running: &mut Running) {
    running.process.terminate();
    let status = running.process.wait(WITHIN).await;
    assert_eq!(status.code(), Some(0), "{}", running.stderr());
}
