//! A real browser without a screen, driven by its DevTools protocol over a pipe.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::leash::Leash;
use crate::tool::tool;

/// How long the browser may take for one thing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Chromium with one page. Killed when dropped.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    _leash: Leash,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    number: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it, with an empty page.
    ///
    /// # Panics
    /// When there is no Chromium, or it does not start.
    pub async fn start() -> Browser {
        let profile =
            TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        // It speaks on descriptors 3 and 4: those are made of its standard input and output.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]);
        command.arg(find());
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]);
        command.args(["--no-first-run", "--disable-background-networking", "--lang=en-US"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start chromium: {error}"));
        let leash = Leash::on(child.id().unwrap_or_else(|| panic!("chromium ended at once")));
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("chromium has no pipes");
        };
        let output = BufReader::new(output);
        let mut browser = Browser {
            _child: child,
            _leash: leash,
            input,
            output,
            session: None,
            number: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert_eq!(opened["errorText"], Value::Null, "{url}");
    }

    /// What an expression is, in the page. A promise is awaited.
    ///
    /// # Panics
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let what = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", what).await;
        if answer.get("exceptionDetails").is_some() {
            let start: String = expression.chars().take(200).collect();
            panic!("{start}: {}", answer["exceptionDetails"]);
        }
        answer["result"]["value"].take()
    }

    /// Shows the page so wide, and for someone who prefers `light` or `dark`.
    pub async fn show(&mut self, width: u32, height: u32, theme: &str) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500
        });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The whole page as it looks: a PNG, in base64.
    pub async fn screenshot(&mut self) -> String {
        let mut shot =
            self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        match shot["data"].take() {
            Value::String(data) => data,
            other => panic!("no screenshot: {other}"),
        }
    }

    /// What was written to the console as an error or a warning until now, and what was thrown.
    pub fn complaints(&self) -> Vec<&Value> {
        let is_bad = |level: &Value| level == "error" || level == "warning";
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => is_bad(&event["params"]["type"]),
            Some("Log.entryAdded") => is_bad(&event["params"]["entry"]["level"]),
            _ => false,
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// Whatever the page asked for until now.
    pub fn requests(&self) -> Vec<String> {
        let sent =
            self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned))
            .collect()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        let asking = async {
            let mut bytes = request.to_string().into_bytes();
            bytes.push(0);
            self.input.write_all(&bytes).await?;
            self.input.flush().await?;
            loop {
                let mut message = Vec::new();
                self.output.read_until(0, &mut message).await?;
                if message.pop().is_none() {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let message: Value = serde_json::from_slice(&message)?;
                if message["id"] == self.number {
                    return Ok::<_, std::io::Error>(message);
                }
                self.events.push(message);
            }
        };
        let answer = timeout(PATIENCE, asking).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method}: chromium does not answer"));
        let mut answer = answer.unwrap_or_else(|error| panic!("{method}: chromium: {error}"));
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].take()
    }
}

/// The program: `TIPLINE_CHROMIUM`, else what `tests/run` left in the build directory, else one that
/// is installed.
fn find() -> PathBuf {
    let installed = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];
    let built = "tools/chromium-headless-shell/bin/chromium-headless-shell";
    tool("TIPLINE_CHROMIUM", built, &installed)
}

/// The file of axe, which checks whether a page is accessible: `TIPLINE_AXE`, else what `tests/run`
/// left in the build directory.
///
/// # Panics
/// When there is none.
pub fn axe() -> String {
    let requirements = include_str!("../requirements.txt").lines();
    let version =
        requirements.filter_map(|line| line.strip_prefix("axe-playwright-python==")).next();
    let version = version.unwrap_or_else(|| panic!("tests/requirements.txt names no axe"));
    let built = format!("tools/axe-{version}/axe_playwright_python/axe.min.js");
    let file = tool("TIPLINE_AXE", &built, &[]);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
