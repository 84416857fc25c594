//! What running programs log, changed while they run.

use std::os::unix::net::UnixStream;

use tipline_tests::eventually;

use crate::deployment::{Deployment, WITHIN, stop};

/// What a debug line says once a client has gone without a word.
const GONE: &str = "an admin client went away";

async fn level(site: &Deployment, words: &str) -> String {
    let said = site.run(&format!("log-level {words}")).await;
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    said.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn what_running_programs_log_is_changed_told_and_reset() {
    let site = Deployment::with_log("00").await;
    site.block("node", 1, b"one");
    let primary = "primary --source dir:node/blocks --log-level error --log-format json";
    let mut primary = site.tipline(primary).spawn();
    let mut replica = site.tipline("replica --name r --store sqlite:r.db").spawn();
    site.status("", |status| status["consumers"][0]["block"] == 1).await;
    let asked = |running: &tipline_tests::Running| running.stderr().matches(GONE).count();
    let sockets = ["r.db.admin", "node/blocks/.tipline-outbox.sqlite.admin"];
    let processes = [("--store sqlite:r.db", "info"), ("--source dir:node/blocks", "error")];
    for ((which, began), (socket, running)) in
        processes.iter().zip(sockets.iter().zip([&replica, &primary]))
    {
        let shown = level(&site, which).await;
        assert!(shown.starts_with(&format!("it logs {began}")), "{shown}");
        assert_eq!(asked(running), 0);
        let told = level(&site, &format!("debug {which}")).await;
        assert!(told.starts_with(&format!("it logs debug; it began with {began}")), "{told}");
        eventually("it logs what it did not", WITHIN, async || {
            drop(UnixStream::connect(site.path(socket)).unwrap());
            if asked(running) > 0 { Ok(()) } else { Err(running.stderr()) }
        })
        .await;
        let refused = site.run(&format!("log-level degub {which}")).await;
        assert_eq!(refused.status.code(), Some(2), "{}", refused.stdout);
        assert!(refused.stderr.contains("degub is no log level"), "{}", refused.stderr);
        let reset = level(&site, &format!("reset {which}")).await;
        assert!(reset.starts_with(&format!("it logs {began}")), "{reset}");
    }
    let both = "log-level --store sqlite:r.db --source dir:node/blocks";
    assert_eq!(site.run(both).await.status.code(), Some(2));
    stop(&mut replica).await;
    stop(&mut primary).await;
    let nobody = site.run("log-level --store sqlite:r.db").await;
    assert_eq!(nobody.status.code(), Some(16), "{}", nobody.stdout);
}
