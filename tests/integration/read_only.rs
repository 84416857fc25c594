//! A log whose file cannot be written from here: it is read all the same.

use std::fs;

use tipline_tests::Tipline;

use crate::deployment::{Deployment, WITHIN, stop};
use crate::full_disk::{NAMESPACES, has_namespaces};

/// Shows the directory once more, read-only, to the program alone.
const READ_ONLY: &str = r#"
    mount --bind . seen || exit 99
    mount -o remount,bind,ro seen || exit 99
    "$@"
"#;

fn read_only(site: &Deployment, words: &str) -> Tipline {
    site.tipline(words).through("unshare", NAMESPACES.iter().chain(&["sh", "-c", READ_ONLY, "sh"]))
}

#[tokio::test]
async fn a_log_on_read_only_media_is_read() {
    if !has_namespaces() {
        return;
    }
    let site = Deployment::with_log("00").await;
    fs::create_dir(site.path("seen")).unwrap();
    (1..=3).for_each(|height| site.block("node", height, b"a block"));
    let mut primary = site.tipline("primary --source dir:node").spawn();
    site.status("", |status| status["tip"]["height"] == 3).await;
    // Beside a writer, and alone.
    for is_running in [true, false] {
        let status = "status --json --log embedded:seen/tipline.log.db";
        let status = read_only(&site, status).finish(WITHIN).await;
        let seen: serde_json::Value = serde_json::from_str(&status.stdout)
            .unwrap_or_else(|error| panic!("{is_running}: {error}: {}", status.stderr));
        assert_eq!(seen["tip"]["height"], 3, "{is_running}: {seen}");
        if is_running {
            stop(&mut primary).await;
        }
    }
    let words = "backup --name b --store sqlite:b.db --log embedded:seen/tipline.log.db";
    let refused = read_only(&site, words).finish(WITHIN).await;
    assert_ne!(refused.status.code(), Some(0));
    assert!(refused.stderr.contains("read-only"), "{}", refused.stderr);
}
