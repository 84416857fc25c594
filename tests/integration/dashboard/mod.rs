//! The dashboard, in a real browser.

mod broken;
mod shown;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tipline_tests::{Browser, axe, eventually};

use crate::deployment::WITHIN;

/// A page that is open in a browser.
struct Page {
    browser: Browser,
    address: String,
}

impl Page {
    async fn open(address: &str) -> Page {
        let mut browser = Browser::start().await;
        browser.show(1600, 1000, "light").await;
        browser.open(&format!("http://{address}/")).await;
        Page { browser, address: address.to_owned() }
    }

    /// The text that is seen of an element; empty if there is none.
    async fn text(&mut self, selector: &str) -> String {
        let of = format!("document.querySelector({selector:?})?.innerText ?? ''");
        self.browser.evaluate(&of).await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element shows this text.
    async fn until(&mut self, selector: &str, part: &str) {
        let what = format!("{selector} shows {part:?}");
        eventually(&what, WITHIN, async || match self.text(selector).await {
            text if text.contains(part) => Ok(()),
            text => Err(format!("{text:?}")),
        })
        .await;
    }

    /// A consumer's row: what is in its columns.
    async fn row(&mut self, name: &str) -> Vec<String> {
        let cells = format!(
            "[...document.querySelectorAll('#consumers tbody tr')]
                .filter((row) => row.firstChild.firstChild.data === {name:?})
                .flatMap((row) => [...row.children].map((cell) => cell.innerText.trim()))"
        );
        let cells = self.browser.evaluate(&cells).await;
        serde_json::from_value(cells).unwrap()
    }

    /// Nothing is cut off at the side, and a program that knows the rules finds nothing that would
    /// keep someone from reading it: contrast, labels, roles, order of headings.
    async fn is_accessible(&mut self, what: &str) {
        let wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(self.browser.evaluate(wide).await, 0, "{what}: it is wider than the screen");
        if self.browser.evaluate("typeof axe").await == "undefined" {
            self.browser.evaluate(&format!("{};0", axe())).await;
        }
        let run = "axe.run(document, { resultTypes: ['violations', 'passes'] }).then((found) => ({
            passes: found.passes.map((rule) => rule.id),
            violations: found.violations.map((rule) =>
                rule.id + ': ' + rule.nodes.map((node) => node.html + ' ' + node.failureSummary).join()),
        }))";
        let found = self.browser.evaluate(run).await;
        assert_eq!(found["violations"], Value::Array(Vec::new()), "{what}");
        let passes: Vec<&str> =
            found["passes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for rule in ["color-contrast", "button-name", "svg-img-alt", "heading-order"] {
            assert!(passes.contains(&rule), "{what}: {rule} was not checked: {passes:?}");
        }
    }

    /// The page as it looks, kept where `TIPLINE_SCREENSHOTS` says; and how many bytes it has.
    async fn picture(&mut self, name: &str) -> usize {
        let bytes = BASE64_STANDARD.decode(self.browser.screenshot().await).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
        if let Some(folder) = std::env::var_os("TIPLINE_SCREENSHOTS") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), &bytes)
                .unwrap();
        }
        bytes.len()
    }

    /// The console is silent, and nobody else was asked for anything.
    fn is_quiet(&self) {
        let complaints = self.browser.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
        self.asks_nobody_else();
    }

    fn asks_nobody_else(&self) {
        let own = format!("http://{}/", self.address);
        let requests = self.browser.requests();
        assert!(requests.len() >= 5, "{requests:?}");
        let foreign: Vec<_> = requests.iter().filter(|url| !url.starts_with(&own)).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    }
}
