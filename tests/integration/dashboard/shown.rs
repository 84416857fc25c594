//! A real fleet, from `tipline dashboard` to what somebody sees.

use serde_json::Value;
use tipline_log::embedded::EmbeddedLog;
use tipline_log::{Appender, Reader, Receipts, system_clock};
use tipline_proto::{Digest, InstanceId, Level, Position, Reached, Receipt, Role};
use tipline_tests::{Port, Running, eventually, http_get};

use super::Page;
use crate::deployment::{Deployment, WITHIN};

/// A consumer that holds another history, and whose name and words are nobody's friend.
async fn put_diverged(site: &Deployment) {
    let log = EmbeddedLog::open(&site.path("tipline.log.db")).await.unwrap();
    let last = log.tail().await.unwrap().position.index;
    let other = Position { index: last, digest: Digest::from_bytes([0xff; 32]) };
    let receipt = Receipt {
        lineage: log.identity().lineage,
        consumer: "other".parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(other, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: system_clock()(),
        failure: Some("<img src=x onerror='document.title=\"taken\"'>".into()),
        store: "<b>store</b>".into(),
        applying: None,
        frozen: None,
        seal: None,
    };
    log.put_receipt(&receipt).await.unwrap();
}

fn write_blocks(site: &Deployment, heights: std::ops::RangeInclusive<u64>) {
    for height in heights {
        site.block("node", height, format!("block {height}").as_bytes());
    }
}

fn dashboard(site: &Deployment, port: &Port) -> Running {
    site.tipline(&format!("dashboard --listen {port} --checks dir:archive")).spawn()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_is_seen_without_a_reload_and_what_is_old_never_looks_new() {
    let site = Deployment::with_log("00ff").await;
    write_blocks(&site, 1..=8);
    let _primary = site.tipline("primary --source dir:node --name node").spawn();
    let _backup = site.tipline("backup --name backup-1 --store sqlite:b.db").spawn();
    let _archive = site.tipline("archive --to dir:archive").spawn();
    let has = |status: &Value, height: u64| {
        let consumers = status["consumers"].as_array().unwrap();
        consumers.len() == 2 && consumers.iter().all(|one| one["block"] == height)
    };
    site.status("", |status| has(status, 8)).await;
    for _ in 0..2 {
        let drilled = site.run("drill --from dir:archive").await;
        assert_eq!(drilled.status.code(), Some(0), "{}", drilled.stderr);
    }

    let port = Port::reserve();
    let mut served = dashboard(&site, &port);
    served.line_with("dashboard at http://", WITHIN).await;
    let mut page = Page::open(&port.to_string()).await;
    page.until("#verdict-word", "Well").await;
    page.until("#verdict-text", "Every block up to 8 is in 1 backup and 1 archive").await;
    agrees_with_the_log(&site, &mut page).await;
    backups_are_seen(&mut page).await;

    // A page that was loaded again would have forgotten this.
    page.browser.evaluate("window.remembered = 'yes'").await;
    write_blocks(&site, 9..=9);
    page.until("#figures", "\n9\n").await;
    page.until("#verdict-text", "Every block up to 9").await;
    agrees_with_the_log(&site, &mut page).await;
    looks_right(&mut page, "well").await;

    put_diverged(&site).await;
    page.until("#verdict-word", "Broken").await;
    page.until("#alerts", "other holds another history than the log").await;
    page.until("#alerts", "To do:").await;
    page.until("#consumers", "<img src=x onerror=").await;
    page.until("#consumers", "<b>store</b>").await;
    let title = page.browser.evaluate("document.title").await;
    assert_eq!(title, "Broken · test · Tipline");
    looks_right(&mut page, "broken").await;
    page.is_quiet();

    is_cut_off(&mut page, served, || dashboard(&site, &port)).await;
    assert_eq!(page.browser.evaluate("window.remembered").await, "yes");
    page.asks_nobody_else();
}

/// Values are those of `tipline status --json`.
async fn agrees_with_the_log(site: &Deployment, page: &mut Page) {
    eventually("the page shows what the log says", WITHIN, async || {
        let status = site.run("status --json").await;
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let figures = page.text("#figures").await;
        let (tip, last) = (&status["tip"]["height"], &status["log"]["last"]);
        if !figures.contains(&format!("Tip\n{tip}\nevent {last}")) {
            return Err(format!("tip {tip}, event {last}: {figures}"));
        }
        for one in status["consumers"].as_array().unwrap() {
            let row = page.row(one["name"].as_str().unwrap()).await;
            let proof = one["proof"].as_u64().map_or("–".to_owned(), |proof| proof.to_string());
            let level = one["level"].as_str().unwrap();
            let expected = [one["block"].to_string(), proof, "none".into(), level.into()];
            if row.len() != 7 || row[2..6] != expected || row[1] != one["state"].as_str().unwrap() {
                return Err(format!("{row:?}, expected {expected:?}"));
            }
            let age = one["age_ms"].as_u64().unwrap();
            if !row[6].ends_with(" s ago") || age >= 15_000 {
                return Err(format!("{row:?}: {age}"));
            }
        }
        Ok(())
    })
    .await;
    let legend = page.text("#legend").await;
    assert!(legend.contains("backup-1") && legend.contains("archive"), "{legend}");
}

async fn backups_are_seen(page: &mut Page) {
    page.until("#window", "every point from event 1 to 9").await;
    page.until("#window", "No checkpoint").await;
    page.until("#checks", "drill").await;
    page.until("#checks", "Drills at dir:archive, the newest 2").await;
    page.until("#retention", "Nothing may go").await;
    page.until("#retention", "reserved").await;
    page.until("#recovery", "archive").await;
}

/// At three widths and in both themes.
async fn looks_right(page: &mut Page, state: &str) {
    for (width, theme) in [(1600, "light"), (1600, "dark"), (800, "light"), (360, "dark")] {
        page.browser.show(width, 1000, theme).await;
        let name = format!("{state}-{width}-{theme}");
        page.picture(&name).await;
        page.is_accessible(&name).await;
    }
    page.browser.show(1600, 1000, "light").await;
    // By hand, too, and that wins.
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = page.browser.evaluate(ground).await;
    page.browser.evaluate("document.querySelector('[data-theme-choice=dark]').click()").await;
    assert_ne!(page.browser.evaluate(ground).await, light);
    page.browser.evaluate("document.querySelector('[data-theme-choice=auto]').click()").await;
    assert_eq!(page.browser.evaluate(ground).await, light);
}

/// Whoever looks at a page that hears nothing sees that, whether the connection is there or not;
/// and it goes on by itself.
async fn is_cut_off(page: &mut Page, mut served: Running, again: impl FnOnce() -> Running) {
    served.process.pause();
    // The page's own clock: nobody waits for it here.
    page.browser.evaluate("window.now = performance.now.bind(performance)").await;
    page.browser.evaluate("performance.now = () => now() + 20_000").await;
    page.until("#news", "no news for ").await;
    page.until("#verdict-word", "Not known (was broken)").await;
    page.until("#verdict-old", "the connection is there, and silent").await;
    page.is_accessible("cut off").await;
    served.process.resume();
    page.until("#news", "live").await;
    page.browser.evaluate("performance.now = now").await;
    page.until("#verdict-word", "Broken").await;

    served.process.terminate();
    served.process.wait(WITHIN).await;
    page.until("#verdict-old", "tipline dashboard does not answer").await;
    page.until("#verdict-word", "Not known").await;
    let served = again();
    page.until("#news", "live").await;
    eventually("the verdict is there again", WITHIN, async || {
        match page.text("#verdict-word").await.as_str() {
            "Broken" => Ok(()),
            word => Err(word.to_owned()),
        }
    })
    .await;
    drop(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_loaded_again_shows_what_was_before_and_a_lost_log_is_said() {
    let site = Deployment::with_log("00").await;
    let port = Port::reserve();
    let mut served = dashboard(&site, &port);
    served.line_with("dashboard at http://", WITHIN).await;
    let mut page = Page::open(&port.to_string()).await;
    page.until("#verdict-word", "Degraded").await;
    page.until("#alerts", "No primary has announced itself").await;
    page.until("#window", "archive").await;
    // A browser has few connections to one place: each is given back.
    let points = "(async () => {
        const reader = (await fetch('/events')).body.getReader();
        const first = new TextDecoder().decode((await reader.read()).value);
        await reader.cancel();
        return first.match(/\"t\":/g)?.length ?? 0;
    })()";
    let known = async |page: &mut Page| page.browser.evaluate(points).await.as_u64().unwrap();
    eventually("there are two points", WITHIN, async || match known(&mut page).await {
        number if number >= 2 => Ok(()),
        number => Err(number),
    })
    .await;
    page.browser.open(&format!("http://{port}/")).await;
    page.until("#verdict-word", "Degraded").await;
    let plotted = "document.querySelector('[data-plot=rate] svg').getAttribute('aria-label')";
    let label = page.browser.evaluate(plotted).await;
    assert!(label.as_str().unwrap().contains("events: newest 0"), "{label}");
    page.is_quiet();

    // Nobody reaches it from elsewhere unless that is said, nor by another name.
    let refused = site.run("dashboard --listen 0.0.0.0:0").await;
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("no log-in"), "{}", refused.stderr);
    let taken = site.run(&format!("dashboard --listen {port}")).await;
    assert!(taken.stderr.contains("cannot be served at"), "{}", taken.stderr);
    assert_eq!(http_get(&format!("http://{port}/")).await.unwrap().status, 200);

    // Without its log it says so, and why.
    let nowhere = Port::reserve();
    let words = format!("dashboard --listen {nowhere} --log embedded:nothing.db");
    let mut lost = site.tipline(&words).spawn();
    lost.line_with("dashboard at http://", WITHIN).await;
    page.browser.open(&format!("http://{nowhere}/")).await;
    page.until("#verdict-word", "Broken").await;
    page.until("#alerts", "nothing.db").await;
    page.until("#alerts", "tipline init").await;
    page.until("#figures", "not known").await;
    page.picture("unreadable-1600-light").await;
}
