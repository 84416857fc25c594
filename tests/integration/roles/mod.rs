//! Users of NATS servers: what each role may, how they log in, and what they are told.
#![expect(clippy::panic, reason = "a helper of a test fails it by panicking")]

mod answers;
mod certificates;
mod cluster;
mod commands;
mod denied;
mod domain;
mod printed;
mod refused;
mod rotation;
mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use tipline_tests::{Finished, Nats, NatsOptions, Tipline};

use crate::deployment::Deployment;

const WITHIN: Duration = Duration::from_secs(60);
/// The consumers that have a user.
const CONSUMERS: &str = "--consumer b-1 --consumer b-2 --consumer a-1";

/// A server with exactly the accounts that `tipline init --print-nats-config` prints, and the keys of
/// its users.
pub(crate) struct Secured {
    pub(crate) nats: Nats,
    pub(crate) site: Deployment,
}

impl Secured {
    pub(crate) async fn start(program: PathBuf) -> Secured {
        let site = Deployment::new();
        let (more, program) = (printed(&site, "").await, Some(program));
        let options = NatsOptions { more, program, ..NatsOptions::default() };
        Secured { nats: Nats::start(options).await, site }
    }

    /// The same, and the operator has created the log.
    pub(crate) async fn with_log() -> Secured {
        Secured::with_log_on(Nats::program()).await
    }

    /// The same, on this program.
    pub(crate) async fn with_log_on(program: PathBuf) -> Secured {
        let secured = Secured::start(program).await;
        let words = "init --chain test --genesis 00 --replicas 1 --accept-shortfalls";
        let made = secured.run("operator", words).await;
        assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
        secured
    }

    pub(crate) fn key(&self, user: &str) -> PathBuf {
        self.site.path(&format!("keys/{user}.nk"))
    }

    /// A command with the settings that are printed for a user.
    pub(crate) fn tipline(&self, user: &str, words: &str) -> Tipline {
        let inbox = inbox(user);
        self.without_inbox(user, words).env("TIPLINE_NATS_INBOX", inbox)
    }

    /// … but for the prefix of its inboxes.
    pub(crate) fn without_inbox(&self, user: &str, words: &str) -> Tipline {
        let log = format!("{}/main", self.nats.url());
        self.site.tipline(words).env("TIPLINE_LOG", log).env("TIPLINE_NATS_NKEY", self.key(user))
    }

    pub(crate) async fn run(&self, user: &str, words: &str) -> Finished {
        self.tipline(user, words).finish(WITHIN).await
    }
}

/// What is printed for the servers. The keys are in `keys/`.
async fn printed(site: &Deployment, more: &str) -> String {
    let words = format!(
        "init --log nats://127.0.0.1:4222/main --print-nats-config --nats-keys keys {CONSUMERS} {more}"
    );
    let printed = site.run(&words).await;
    assert_eq!(printed.status.code(), Some(0), "{}", printed.stderr);
    printed.stdout
}

pub(crate) fn inbox(user: &str) -> String {
    match user {
        "primary" | "auditor" | "operator" => format!("_INBOX.{user}"),
        consumer => format!("_INBOX.consumer.{consumer}"),
    }
}
