//! What `tipline init --print-nats-config` prints, and makes.

use std::os::unix::fs::PermissionsExt;

use super::CONSUMERS;
use crate::deployment::Deployment;

const PRINT: &str = "init --log nats://a:4222/main --print-nats-config --nats-keys keys";

#[tokio::test]
async fn seeds_stay_in_files_and_the_same_keys_print_the_same() {
    let site = Deployment::new();
    let first = site.run(&format!("{PRINT} {CONSUMERS}")).await;
    assert_eq!(first.status.code(), Some(0), "{}", first.stderr);
    let users = ["primary", "b-1", "b-2", "a-1", "auditor", "operator", "system"];
    for user in users {
        let seed = site.path(&format!("keys/{user}.nk"));
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&seed), 0o600);
        let public = std::fs::read_to_string(site.path(&format!("keys/{user}.pub"))).unwrap();
        assert!(first.stdout.contains(public.trim()), "{user}");
        // The seed goes to its user's machine.
        std::fs::remove_file(seed).unwrap();
    }
    let is_seed = |word: &str| word.starts_with("SU");
    assert!(!first.stdout.split_whitespace().any(is_seed), "{}", first.stdout);
    let again = site.run(&format!("{PRINT} {CONSUMERS}")).await;
    assert_eq!(again.stdout, first.stdout);

    let as_helm = PRINT.replace("nats-config", "nats-config=helm --nats-domain hub");
    let helm = site.run(&format!("{as_helm} {CONSUMERS}")).await;
    for part in ["sync_interval: always", "system_account: SYS", "\"to\":\"$JS.hub.API.INFO\""] {
        assert!(helm.stdout.contains(part), "{}{}", helm.stdout, helm.stderr);
    }
}

#[tokio::test]
async fn what_cannot_be_printed_is_said() {
    let site = Deployment::new();
    let told = async |words: &str, part: &str| {
        let finished = site.run(words).await;
        assert_eq!(finished.status.code(), Some(2), "{words}");
        assert!(finished.stderr.contains(part), "{words}: {}", finished.stderr);
    };
    told(&format!("{PRINT} --consumer operator"), "two users would be called operator").await;
    told("init --print-nats-config --nats-keys keys", "a log on NATS").await;
    std::fs::write(site.path("keys/primary.pub"), "SUAB\n").unwrap();
    told(PRINT, "keys/primary.pub has no public key of a user").await;
}
