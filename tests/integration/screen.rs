//! `tipline status --watch` in a real terminal, and what it leaves of it.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use tipline_tests::{Nats, NatsOptions, Running, eventually};

use crate::deployment::{Deployment, WITHIN, stop};

/// Runs what it is given in a terminal of 24 lines of 80 characters, which takes keys from a file, and
/// compares its settings before and after.
const IN_TERMINAL: &str = r#"
    export COMMAND="$*"
    exec script -qfec '
        stty rows 24 cols 80; stty -g > before
        sh -c "echo \$\$ > pid; exec $COMMAND"
        echo "ended with $?"
        stty -g > after' screen < keys
"#;

struct Screen {
    running: Running,
    keys: File,
}

impl Screen {
    async fn new(site: &Deployment, words: &str) -> Screen {
        Screen::with(site, words, "").await
    }

    /// With this in `NO_COLOR`.
    async fn with(site: &Deployment, words: &str, no_color: &str) -> Screen {
        for file in ["before", "after", "pid", "screen", "keys"] {
            fs::remove_file(site.path(file)).ok();
        }
        let keys = site.path("keys");
        let made = Command::new("mkfifo").arg(&keys).status().unwrap();
        assert!(made.success());
        // For both, so that neither waits for the other.
        let keys = File::options().read(true).write(true).open(keys).unwrap();
        let command = site.tipline(words).env("TERM", "xterm-256color").env("NO_COLOR", no_color);
        let running = command.through("sh", ["-c", IN_TERMINAL, "sh"]).spawn();
        Screen { running, keys }
    }

    /// Waits until this was drawn, after so many bytes.
    async fn shows(&self, text: &str, after: usize) {
        eventually(&format!("the screen shows {text:?}"), WITHIN, async || {
            let drawn = self.running.stdout();
            let new = drawn.get(after..).unwrap_or_default();
            if new.contains(text) { Ok(()) } else { Err(new.to_owned()) }
        })
        .await;
    }

    fn drawn(&self) -> usize {
        self.running.stdout().len()
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
    }

    /// Waits for its end, and that the terminal is as it was.
    async fn ends_with(self, site: &Deployment, code: i32) -> String {
        let ended = self.running.finish(WITHIN).await;
        let drawn = ended.stdout;
        assert!(drawn.contains(&format!("ended with {code}")), "{drawn}");
        let (_, left) = drawn.rsplit_once("\x1b[?1049l").expect(&drawn);
        assert!(drawn.contains("\x1b[?1049h") && left.contains("\x1b[?25h"), "{drawn:?}");
        let settings = |name: &str| fs::read_to_string(site.path(name)).unwrap();
        assert_eq!(settings("before"), settings("after"));
        left.to_owned()
    }
}

fn signal(site: &Deployment, name: &str) {
    let pid = fs::read_to_string(site.path("pid")).unwrap();
    let sent = Command::new("kill").args([name, pid.trim()]).status().unwrap();
    assert!(sent.success());
}

/// A fleet that is well: a block in a replica, and the options for its log.
async fn fleet() -> (Nats, Deployment, String, [Running; 2]) {
    let (nats, site) = (Nats::start(NatsOptions::default()).await, Deployment::new());
    let log = format!("--log {}/main --accept-shortfalls", nats.url());
    let made = site.run(&format!("init {log} --chain test --genesis 00 --replicas 1")).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    site.block("node", 1, b"one");
    let primary = site.tipline(&format!("primary --source dir:node/blocks {log}")).spawn();
    let replica = site.tipline(&format!("replica --name r --store sqlite:r.db {log}")).spawn();
    site.status(&log, |status| status["consumers"][0]["block"] == 1).await;
    (nats, site, log, [primary, replica])
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_on_a_terminal_is_a_screen_that_says_what_is_old_and_leaves_no_trace() {
    let (mut nats, site, log, mut running) = fleet().await;
    let mut screen = Screen::new(&site, &format!("status --watch {log}")).await;
    screen.shows(" WELL ", 0).await;
    // What is drawn are cells that change: words, without what is between them.
    screen.shows("replica", 0).await;
    screen.shows("q quits", 0).await;
    assert!(screen.running.stdout().contains("\x1b[38;5;"), "{:?}", screen.running.stdout());
    // The log is silent, which is no error yet.
    let drawn = screen.drawn();
    nats.pause();
    screen.shows("CUT OFF", drawn).await;
    screen.shows("Nothing below is new", drawn).await;
    let drawn = screen.drawn();
    nats.resume();
    screen.shows("WELL", drawn).await;
    screen.press("q");
    let left = screen.ends_with(&site, 0).await;
    assert!(left.contains(": every block up to 1 is in 1 replica"), "{left}");

    // Ctrl-C is a key there; signals come from elsewhere.
    let mut screen = Screen::new(&site, &format!("status --watch {log}")).await;
    screen.shows(" WELL ", 0).await;
    screen.press("\x03");
    screen.ends_with(&site, 0).await;
    let screen = Screen::new(&site, &format!("status --watch {log}")).await;
    screen.shows(" WELL ", 0).await;
    signal(&site, "-TERM");
    screen.ends_with(&site, 0).await;
    for one in &mut running {
        stop(one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_has_no_colour_if_that_is_asked_and_lines_are_lines() {
    let (_nats, site, log, mut running) = fleet().await;
    let mut screen = Screen::with(&site, &format!("status --watch {log}"), "1").await;
    screen.shows(" WELL ", 0).await;
    screen.press("q");
    let colour = |text: &str| text.contains("\x1b[38;") || text.contains("\x1b[32m");
    let drawn = screen.running.stdout();
    assert!(!colour(&drawn), "{drawn:?}");
    assert!(!colour(&screen.ends_with(&site, 0).await));
    let screen = Screen::new(&site, &format!("status --watch --plain {log}")).await;
    screen.shows("every block up to 1 is in 1 replica", 0).await;
    assert!(!screen.running.stdout().contains("\x1b[?1049h"));
    signal(&site, "-INT");
    let ended = screen.running.finish(WITHIN).await;
    assert!(ended.stdout.contains("ended with 0"), "{}", ended.stdout);
    for one in &mut running {
        stop(one).await;
    }
}
