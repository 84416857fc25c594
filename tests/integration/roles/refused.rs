//! What a user is told that may not do what it tries: what, where, and who may. Not that the server
//! is silent.

use std::os::unix::fs::PermissionsExt;

use tipline_tests::Finished;

use super::{Secured, WITHIN};

fn told(finished: &Finished, parts: &[&str]) {
    let text = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.status.code(), Some(2), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(!text.contains("does not answer"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_another_role_is_told_so() {
    let secured = Secured::with_log().await;
    secured.site.block("node", 1, b"block");
    let primary = "primary --source dir:node --accept-shortfalls";
    told(
        &secured.run("b-1", primary).await,
        &[
            "may not publish to tipline.main.event.epoch_started",
            "only the role primary may",
            "the user with nkey U",
            "tipline primary",
        ],
    );
    told(
        &secured.run("auditor", "backup --name b-1 --store sqlite:b.db").await,
        &[
            "may not publish to $JS.API.CONSUMER.NAMES.tipline-main-events",
            "the roles consumer, operator may",
        ],
    );
    let create = "init --log NATS/other --chain test --genesis 00 --replicas 1 --accept-shortfalls";
    let create = create.replace("NATS", &secured.nats.url());
    told(&secured.run("primary", &create).await, &["may not publish to $JS.API.STREAM."]);
    told(
        &secured.without_inbox("auditor", "status").finish(WITHIN).await,
        &["may not subscribe to _INBOX.", "nats-inbox"],
    );
    // A name that is another user's: its receipts are denied, and it goes on with its own store.
    let mut other =
        secured.tipline("b-1", "backup --name b-2 --store sqlite:b.db --log-level info").spawn();
    let line = other.line_with("a receipt cannot be sent", WITHIN).await;
    for part in ["may not publish to tipline.main.receipt.b-2", "the user of consumer b-2"] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_others_can_read_are_refused_and_the_mode_is_said() {
    let secured = Secured::with_log().await;
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(secured.key("auditor"), permissions).unwrap();
    };
    mode(0o644);
    let chmod = format!("chmod 600 {}", secured.key("auditor").display());
    told(&secured.run("auditor", "status").await, &["mode 644", &chmod]);
    mode(0o640);
    let status = secured.run("auditor", "status --accept-shortfalls").await;
    assert!(!status.stderr.contains("chmod"), "{}", status.stderr);
    mode(0o600);

    // Whoever can change them decides who is believed.
    for (words, name) in [
        ("status --trusted-keys trusted.keys", "trusted.keys"),
        ("audit check certificate --policy trusted.policy", "trusted.policy"),
    ] {
        let path = secured.site.path(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::fs::write(secured.site.path("certificate"), "").unwrap();
        let refused = secured.run("auditor", words).await;
        told(&refused, &["mode 666", &format!("chmod 644 {name}")]);
    }

    let file = secured.site.path("tipline.toml");
    std::fs::write(&file, "nats-user = 'u'\nnats-password = 's3cret'\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let status = secured.site.run("status").await;
    told(&status, &["`nats-password` in tipline.toml line 2", "chmod 600 tipline.toml"]);
    assert!(!status.stderr.contains("s3cret"), "{}", status.stderr);
}

/// Not with what helps where servers are too few.
#[tokio::test(flavor = "multi_thread")]
async fn who_creates_a_log_without_a_login_is_told_which() {
    let secured = Secured::with_log().await;
    let init = format!("init --log {}/other --chain test --genesis 00", secured.nats.url());
    let refused = secured.site.run(&init).await;
    told(&refused, &["refuses the login", "--nats-nkey keys/operator.nk --nats-inbox"]);
    assert!(!refused.stderr.contains("single server"), "{}", refused.stderr);
}

/// Every way to give a secret, every place where it could come out.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown() {
    let secured = Secured::with_log().await;
    let seed = std::fs::read_to_string(secured.key("auditor")).unwrap().trim().to_owned();
    let secret = "s3cret-of-a-user";
    let log = format!("{}/main", secured.nats.url());
    let with_login = log.replace("nats://", &format!("nats://user:{secret}@"));
    let status = "status --json --metrics m.prom --accept-shortfalls --log-level trace";
    let mut shown = Vec::new();
    shown.push(secured.run("auditor", status).await);
    for env in [
        [("TIPLINE_LOG", log.as_str()), ("TIPLINE_NATS_TOKEN", secret)].as_slice(),
        &[("TIPLINE_LOG", &log), ("TIPLINE_NATS_USER", "u"), ("TIPLINE_NATS_PASSWORD", secret)],
        &[("TIPLINE_LOG", &with_login)],
    ] {
        let tipline = env
            .iter()
            .fold(secured.site.tipline(status), |tipline, (name, value)| tipline.env(name, value));
        let refused = tipline.finish(WITHIN).await;
        let text = format!("{}{}", refused.stdout, refused.stderr);
        assert!(text.contains("the server refuses the login"), "{text}");
        shown.push(refused);
    }
    for flag in [format!("--nats-password={secret}"), format!("--log {with_login}")] {
        let refused = secured.site.run(&format!("status {flag}")).await;
        told(&refused, &["seen by every user of this machine"]);
        shown.push(refused);
    }
    // Addresses that take no login, and would be shown.
    let place = format!("http://user:{secret}@127.0.0.1:9");
    for (variable, words) in [
        ("TIPLINE_OTLP", "archive --name a-1 --to dir:archive"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "archive --name a-1 --to dir:archive"),
        ("TIPLINE_NATS_MONITOR", "status"),
        ("AWS_ENDPOINT_URL", "archive --name a-1 --to s3://bucket/archive"),
    ] {
        let refused = secured.tipline("a-1", words).env(variable, &place).finish(WITHIN).await;
        told(&refused, &["a login in "]);
        shown.push(refused);
    }
    let metrics = std::fs::read_to_string(secured.site.path("m.prom")).unwrap();
    let texts = shown.iter().flat_map(|one| [one.stdout.clone(), one.stderr.clone()]);
    for text in texts.chain([metrics]) {
        assert!(!text.contains(secret) && !text.contains(&seed), "{text}");
    }
    // What a long run shows of itself to other users of the machine.
    let running = secured.tipline("auditor", "status --watch --accept-shortfalls").spawn();
    let line = std::fs::read(format!("/proc/{}/cmdline", running.process.id()));
    if let Ok(line) = line {
        assert!(!String::from_utf8_lossy(&line).contains(&seed));
    }
}
