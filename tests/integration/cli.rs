//! The program as people and their scripts meet it: what it says, and how it ends.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tipline_tests::{Finished, Nats, NatsOptions, Port, Running, Tipline, bitcoin_blocks_path};
use tipline_tests::{SyncInterval, eventually};

use crate::deployment::place;

const WITHIN: Duration = Duration::from_secs(30);
/// Bitcoin's, in the order of the bytes in its files.
const GENESIS: &str = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";

/// A directory with everything that a test's programs share.
struct Site(TempDir);

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(bitcoin_blocks_path(), dir.path().join("blocks.dat")).unwrap();
        Site(dir)
    }

    /// One with an embedded log.
    async fn with_log() -> Site {
        let site = Site::new();
        let made = site.run("init --chain bitcoin --genesis").await;
        assert_eq!(made.status.code(), Some(2), "--genesis needs a value");
        let made = site.run(&format!("init --chain bitcoin --genesis {GENESIS}")).await;
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path().join(file), text).unwrap();
    }

    /// `tipline` with these words, in the directory.
    fn tipline(&self, words: &str) -> Tipline {
        Tipline::new(words.split_whitespace()).current_dir(self.path())
    }

    fn spawn(&self, words: &str) -> Running {
        self.tipline(words).spawn()
    }

    async fn run(&self, words: &str) -> Finished {
        self.tipline(words).finish(WITHIN).await
    }

    async fn status(&self, options: &str) -> (Option<i32>, Value) {
        let finished = self.run(&format!("status --json {options}")).await;
        let json = serde_json::from_str(&finished.stdout);
        (finished.status.code(), json.expect(&finished.stderr))
    }

    /// Waits for a status with this exit code, and returns it.
    async fn status_is(&self, code: i32, options: &str) -> Value {
        eventually(&format!("status ends with {code}"), WITHIN, async || {
            match self.status(options).await {
                (Some(is), status) if is == code => Ok(status),
                (is, status) => Err(format!("{is:?}: {}", status["summary"])),
            }
        })
        .await
    }
}

/// It has failed with this on standard error.
#[track_caller]
fn failed(finished: &Finished, stderr: &str) {
    let is = (finished.status.code(), finished.stderr.as_str());
    assert_eq!(is, (Some(2), stderr), "{finished:?}");
}

#[tokio::test]
async fn mistakes_on_the_command_line_are_explained() {
    let site = Site::new();
    let cases = [
        ("status --wach", "unexpected argument '--wach' found", "--watch"),
        ("sttus", "unrecognized subcommand 'sttus'", "status"),
        ("backup --name b", "required arguments were not provided", "--store"),
        ("backup --name B --store sqlite:b", "--name: consumer name \"B\" is not usable", "a-z"),
        ("status --silent-after soon", "--silent-after: ", "Usage"),
        ("status --max-lag many", "--max-lag: invalid digit found in string", "Usage"),
        ("init --chain x --genesis xyz", "--genesis: \"xyz\" is not a hash in hex", "Usage"),
        ("primary --source /blocks", "--source: unknown source \"/blocks\": use dir:PATH", "blk"),
    ];
    for (words, says, and) in cases {
        let finished = site.run(words).await;
        assert_eq!(finished.status.code(), Some(2), "{words}");
        assert!(finished.stderr.contains(says), "{words}: {}", finished.stderr);
        assert!(finished.stderr.contains(and), "{words}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{words}");
    }
}

#[tokio::test]
async fn every_help_text_has_examples_and_needs_no_settings_that_are_right() {
    let site = Site::new();
    site.write("tipline.toml", "this is not TOML");
    let commands =
        ["", "init", "primary", "replica", "backup", "status", "forget", "retention", "demo"];
    for command in commands {
        let finished = site.run(&format!("{command} --help")).await;
        assert_eq!(finished.status.code(), Some(0), "{command}: {}", finished.stderr);
        assert!(finished.stdout.contains("Examples:"), "{command}: {}", finished.stdout);
    }
    assert!(site.run("--help").await.stdout.contains("3  fenced"));
}

#[tokio::test]
async fn an_unknown_store_or_log_is_told_what_would_be_one() {
    let site = Site::new();
    let says = async |words: &str| {
        let finished = site.run(words).await;
        assert_eq!(finished.status.code(), Some(2), "{words}");
        finished.stderr.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        says("replica --name a --store sqlte:a.db").await,
        "error: --store: unknown store \"sqlte:a.db\": use sqlite:PATH, rocksdb:PATH, files:PATH or composite:STORE+STORE; did you mean sqlite:a.db?"
    );
    assert_eq!(
        says("status --log embeded:a.db").await,
        "error: --log: unknown log \"embeded:a.db\": use embedded:PATH or nats://HOST:PORT/NAME; \
         did you mean embedded:a.db?"
    );
    assert_eq!(
        says("status --log nats://node@h:4222").await,
        "error: --log: the address nats://h:4222 names no log: put its name after the host, as \
         in nats://h:4222/mainnet"
    );
}

#[tokio::test]
async fn file_then_environment_then_flags() {
    let site = Site::new();
    let address = async |tipline: Tipline| {
        let finished = tipline.finish(WITHIN).await;
        let status: Value = serde_json::from_str(&finished.stdout).expect(&finished.stderr);
        status["log"]["address"].as_str().unwrap().to_owned()
    };
    let status = || site.tipline("status --json");
    assert_eq!(address(status()).await, "embedded:tipline.log.db");
    site.write("tipline.toml", "log = 'embedded:file'\n[status]\nmax-lag = 5\n");
    assert_eq!(address(status()).await, "embedded:file");
    site.write("other.toml", "log = 'embedded:other'");
    assert_eq!(address(status().env("TIPLINE_CONFIG", "other.toml")).await, "embedded:other");
    assert_eq!(address(status().env("TIPLINE_LOG", "embedded:env")).await, "embedded:env");
    let flagged = site.tipline("--log embedded:flag status --json");
    assert_eq!(address(flagged.env("TIPLINE_LOG", "embedded:env")).await, "embedded:flag");
    let flagged = site.tipline("status --json --config other.toml --log embedded:flag");
    assert_eq!(address(flagged).await, "embedded:flag");
}

#[tokio::test]
async fn what_nobody_reads_in_file_or_environment_is_an_error() {
    let site = Site::new();
    site.write("tipline.toml", "# one\n[replica]\nstor = 'sqlite:a.db'\n");
    let told = "error: unknown key `stor` in tipline.toml line 3: did you mean `store`?\n";
    failed(&site.run("status").await, told);
    site.write("tipline.toml", "[replica]\nstore = 7.5\n");
    failed(
        &site.run("status").await,
        "error: wrong value for `store` in tipline.toml line 2: it must be text or a number, not \
         a float\n",
    );
    let gone = site.run("status --config gone.toml").await;
    failed(
        &gone,
        "error: the settings in gone.toml cannot be read\n  because: No such file or directory \
         (os error 2)\n",
    );
    std::fs::remove_file(site.path().join("tipline.toml")).unwrap();
    let unknown = site.tipline("status").env("TIPLINE_STOR", "sqlite:a.db").finish(WITHIN).await;
    let told = "error: unknown environment variable TIPLINE_STOR: did you mean TIPLINE_STORE?\n";
    failed(&unknown, told);
    let wrong = site.tipline("status").env("TIPLINE_MAX_LAG", "many").finish(WITHIN).await;
    assert!(wrong.stderr.starts_with("error: TIPLINE_MAX_LAG: invalid digit"), "{}", wrong.stderr);
}

#[tokio::test]
async fn a_log_that_is_not_there_is_never_made_by_opening_it() {
    let site = Site::new();
    let to_do = "  to do: if it was never created: tipline init --chain NAME --genesis HEX\n";
    for words in
        ["primary --source blk:blocks.dat", "backup --name b --store sqlite:b.db", "forget b"]
    {
        let finished = site.run(words).await;
        assert_eq!(finished.status.code(), Some(2), "{words}: {}", finished.stderr);
        let says = "error: there is no log at embedded:tipline.log.db";
        assert!(finished.stderr.contains(says), "{words}: {}", finished.stderr);
        assert!(finished.stderr.ends_with(to_do), "{words}: {}", finished.stderr);
    }
    let status = site.run("status --log embedded:other.db").await;
    assert_eq!(status.status.code(), Some(2));
    assert!(status.stdout.starts_with("BROKEN: there is no log at embedded:other.db"));
    let hint = "tipline init --log embedded:other.db --chain NAME --genesis HEX\n";
    assert!(status.stdout.contains(hint), "{}", status.stdout);
    assert!(!site.path().join("tipline.log.db").exists());
    assert!(!site.path().join("other.db").exists());
}

#[tokio::test]
async fn init_checks_an_empty_log_again_and_leaves_any_other_alone() {
    let site = Site::with_log().await;
    let again = site.run(&format!("init --chain bitcoin --genesis {GENESIS}")).await;
    assert_eq!(again.status.code(), Some(0), "{}", again.stderr);
    assert!(again.stdout.starts_with("there already, and empty: embedded:tipline.log.db\n"));
    let other = site.run("init --chain litecoin --genesis 00").await;
    assert_eq!(other.status.code(), Some(2));
    assert!(other.stderr.contains("there is a log at embedded:tipline.log.db already"));
}

#[tokio::test]
async fn from_blocks_to_receipts_and_every_exit_code_of_status() {
    let site = Site::with_log().await;
    let (code, status) = site.status("").await;
    assert_eq!(code, Some(1));
    assert_eq!(status["reasons"][0], "no primary has announced itself");

    let mut primary = site.spawn("primary --source blk:blocks.dat --name node-1");
    let mut replica = site.spawn("replica --name replica-1 --store sqlite:r.db");
    let mut backup = site.spawn("backup --name backup-1 --store sqlite:b.db");
    let found = eventually("all have all", WITHIN, async || {
        let (code, status) = site.status("").await;
        let all = "every block up to 255 is in 1 replica and 1 backup";
        if status["summary"] == all { Ok((code, status)) } else { Err(status["summary"].clone()) }
    });
    let (code, status) = found.await;
    assert_eq!(code, Some(0));
    assert_eq!(status["tip"]["height"], 255);
    assert_eq!(status["primary"]["name"], "node-1");
    assert_eq!(status["consumers"][0]["level"], "durable");

    for running in [&mut primary, &mut replica] {
        running.process.interrupt();
    }
    backup.process.terminate();
    for running in [primary, replica, backup] {
        let finished = running.finish(WITHIN).await;
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    }
    let status = site.status_is(1, "--silent-after 1ms").await;
    assert!(status["summary"].as_str().unwrap().starts_with("primary node-1 is silent for "));

    // Once they are silent for long enough.
    let soon = site.run("forget replica-1").await;
    assert_eq!(soon.status.code(), Some(2));
    assert!(soon.stderr.contains("it still runs"), "{}", soon.stderr);
    let unknown = site.run("forget replica-2").await;
    assert!(unknown.stderr.contains("did you mean replica-1?"), "{}", unknown.stderr);

    // What was published from there is gone: nobody may take it for an empty log.
    std::fs::remove_file(site.path().join("tipline.log.db")).unwrap();
    let (code, status) = site.status("").await;
    assert_eq!((code, status["verdict"].as_str()), (Some(2), Some("broken")));
}

#[tokio::test]
async fn of_two_primaries_one_is_fenced_and_says_so() {
    let site = Site::with_log().await;
    let mut first = site.spawn("primary --source blk:blocks.dat --name node-1");
    let _backup = site.spawn("backup --name backup-1 --store sqlite:b.db");
    let status = eventually("255 blocks are in the log", WITHIN, async || {
        let (_, status) = site.status("").await;
        if status["log"]["last"] == 256 { Ok(status) } else { Err(status["summary"].clone()) }
    })
    .await;
    first.line_with("claimed the log", WITHIN).await;

    let other = "primary --source blk:blocks.dat --name node-2 --index other.sqlite";
    let refused = site.run(other).await;
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--continue-at INDEX@DIGEST"), "{}", refused.stderr);
    assert!(first.process.status().is_none(), "it must not be disturbed by one that is refused");

    let digest = status["log"]["digest"].as_str().unwrap();
    let mut second =
        site.spawn(&format!("{other} --continue-at 256@{digest} --continue-sequence 255"));
    second.line_with("claimed the log", WITHIN).await;
    let fenced = first.finish(WITHIN).await;
    assert_eq!(fenced.status.code(), Some(3), "{}", fenced.stderr);
    assert!(fenced.stderr.contains("error: fenced: epoch 2 has claimed the log"));
    second.process.terminate();
    assert_eq!(second.finish(WITHIN).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_store_of_another_log_is_refused_and_named() {
    let site = Site::with_log().await;
    let other = format!("init --log embedded:other.db --chain bitcoin --genesis {GENESIS}");
    assert_eq!(site.run(&other).await.status.code(), Some(0));
    let mut backup = site.spawn("backup --name b --store sqlite:b.db");
    backup.line_with("following as backup b", WITHIN).await;
    site.status_is(1, "").await;
    eventually("the store is one of the first log", WITHIN, async || {
        let (_, status) = site.status("").await;
        if status["consumers"][0]["name"] == "b" { Ok(()) } else { Err(status["summary"].clone()) }
    })
    .await;
    backup.process.interrupt();
    assert_eq!(backup.finish(WITHIN).await.status.code(), Some(0));

    let foreign = site.run("backup --name b --store sqlite:b.db --log embedded:other.db").await;
    assert_eq!(foreign.status.code(), Some(14), "{}", foreign.stderr);
    let says = "error: the store sqlite:b.db belongs to chain \"bitcoin\" with lineage ";
    assert!(foreign.stderr.contains(says), "{}", foreign.stderr);
    assert!(foreign.stderr.contains("give it another place"), "{}", foreign.stderr);
}

#[tokio::test]
async fn watching_shows_every_change_until_it_is_interrupted() {
    let site = Site::with_log().await;
    let mut json = site.spawn("status --watch --json");
    let mut text = site.spawn("status --watch");
    json.line_with("no primary has announced itself", WITHIN).await;
    text.line_with("DEGRADED: no primary has announced itself", WITHIN).await;
    let _primary = site.spawn("primary --source blk:blocks.dat");
    let _backup = site.spawn("backup --name backup-1 --store sqlite:b.db");
    let line = json.line_with("every block up to 255 is in 1 backup", WITHIN).await;
    let status: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(status["verdict"], "well");
    text.line_with("WELL: every block up to 255 is in 1 backup", WITHIN).await;
    for mut running in [json, text] {
        running.process.interrupt();
        let finished = running.finish(WITHIN).await;
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_by_those_who_run_and_told_by_those_who_ask() {
    let site = Site::new();
    let port = Port::reserve();
    let log = format!("--log nats://127.0.0.1:{}/mainnet", port.number());
    let init = site.run(&format!("init {log} --chain bitcoin --genesis {GENESIS}")).await;
    assert_eq!(init.status.code(), Some(16));
    assert!(init.stderr.contains("does not answer"), "{}", init.stderr);
    let (code, status) = site.status(&log).await;
    assert_eq!((code, status["verdict"].as_str()), (Some(2), Some("broken")));

    for words in ["backup --name b --store sqlite:b.db", "primary --source blk:blocks.dat"] {
        let mut waiting = site.spawn(&format!("{words} {log}"));
        waiting.line_with("waiting for the log", WITHIN).await;
        waiting.process.terminate();
        let finished = waiting.finish(WITHIN).await;
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn what_falls_short_is_refused_or_accepted_and_shown() {
    let site = Site::new();
    let options = NatsOptions { sync: SyncInterval::ServerDefault, ..NatsOptions::default() };
    let nats = Nats::start(options).await;
    let monitor = format!("nats-monitor = '{}'\n", nats.monitor_url());
    site.write("tipline.toml", &format!("log = '{}/main'\n{monitor}", nats.url()));
    let init = format!("init --chain bitcoin --genesis {GENESIS} --replicas 1");
    let refused = site.run(&init).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("--accept-shortfalls"), "{}", refused.stderr);
    let (_, status) = site.status("").await;
    assert!(status["summary"].as_str().unwrap().contains("there is no log"), "{status}");

    let made = site.run(&format!("{init} --accept-shortfalls")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    assert!(made.stdout.contains("accepted sync_interval: 120 s"), "{}", made.stdout);
    let refused = site.run("primary --source blk:blocks.dat").await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("because: sync_interval: 120 s"), "{}", refused.stderr);

    let _primary = site.spawn("primary --source blk:blocks.dat --accept-shortfalls");
    let _backup = site.spawn("backup --name backup-1 --store sqlite:b.db");
    let status = site.status_is(0, "--accept-shortfalls").await;
    assert_eq!(status["shortfalls"][0]["accepted"], true);
    let status = site.status_is(1, "").await;
    let summary = status["summary"].as_str().unwrap();
    assert!(summary.starts_with("the log can lose what it acknowledges ("), "{summary}");
}

#[tokio::test]
async fn a_second_ctrl_c_does_not_wait_for_the_drain() {
    let site = Site::new();
    let mut nats = Nats::start(NatsOptions::default()).await;
    site.write("tipline.toml", &format!("log = '{}/main'\naccept-shortfalls = true\n", nats.url()));
    let made = site.run("init --chain test --genesis 00 --replicas 1").await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    let blocks = site.path().join("node/blocks/0000");
    place(&blocks.join("block_00000001.dat"), b"one");
    let mut primary = site.spawn("primary --source dir:node");
    eventually("the first block is in the log", WITHIN, async || {
        let (_, status) = site.status("").await;
        if status["tip"]["height"] == 1 { Ok(()) } else { Err(status["summary"].clone()) }
    })
    .await;

    nats.pause();
    place(&blocks.join("block_00000002.dat"), b"two");
    primary.line_with("publishing is held up", WITHIN).await;
    primary.process.interrupt();
    primary.line_with("stopping: publishing what waits", WITHIN).await;
    primary.process.interrupt();
    assert_eq!(primary.finish(WITHIN).await.status.code(), Some(130));
    nats.resume();
}

#[tokio::test]
async fn retention_explains_and_trims_nothing_that_is_not_proven() {
    let site = Site::with_log().await;
    let _primary = site.spawn("primary --source blk:blocks.dat --index index.db --name node");
    let _backup = site.spawn("backup --name backup-1 --store sqlite:backup.db");
    let status = site.status_is(0, "").await;
    assert_eq!(status["consumers"][0]["reservation"], "reserved");
    let last = status["log"]["last"].as_u64().unwrap();
    assert!(last > 1, "{status}");

    site.write("tipline.toml", "[retention]\nkeep-events = 0\nkeep-for = '0s'\n");
    for words in ["retention --json", "retention --json --apply"] {
        let finished = site.run(words).await;
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        let told: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!((&told["free"], &told["held"]["first"]), (&0.into(), &1.into()), "{told}");
        assert_eq!(told["consumers"][0]["name"], "backup-1", "{told}");
        let why = told["ranges"][0]["kept_by"][0].as_str().unwrap();
        assert!(why.contains("no archive and no checkpoint is named"), "{told}");
    }
    let finished = site.run("retention").await;
    assert!(finished.stdout.contains("nothing may go"), "{}", finished.stdout);
    assert_eq!(site.status("").await.1["log"]["first"], 1);
    let refused = site.run("retention --policy everybody").await;
    assert!(refused.stderr.contains("expected `any`"), "{}", refused.stderr);
}

#[tokio::test]
async fn completions_and_man_pages_are_there_for_every_command() {
    let site = Site::new();
    let commands = ["primary", "checkpoint", "restore", "retention"];
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = site.run(&format!("completions {shell}")).await;
        assert_eq!(script.status.code(), Some(0), "{}", script.stderr);
        let missing = commands.iter().find(|command| !script.stdout.contains(**command));
        assert_eq!(missing, None, "{shell}");
    }
    let written = site.run("man pages").await;
    assert_eq!(written.status.code(), Some(0), "{}", written.stderr);
    for command in ["", "-primary", "-checkpoint-create", "-dr-plan", "-man"] {
        let page = std::fs::read_to_string(site.path().join(format!("pages/tipline{command}.1")));
        assert!(page.unwrap().contains(".SH SYNOPSIS"), "{command}");
    }
    let refused = site.run("man blocks.dat").await;
    assert_eq!(refused.status.code(), Some(2));
    let says = "error: the man pages cannot be written to blocks.dat: ";
    assert!(refused.stderr.starts_with(says), "{}", refused.stderr);
}
