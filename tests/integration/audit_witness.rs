//! `tipline audit witness`, `certify` and `check --policy`: from an archive and those who watch it to a
//! stranger.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tipline_tests::{Finished, Running, eventually, http_post};
use tokio::net::{TcpListener, TcpStream};

use crate::deployment::{Deployment, WITHIN, stop};

const LOG: &str = "--log embedded:tipline.log.db";
const SIGN: &str = "audit sign --archive dir:backup --key log.key";
/// Any free port.
const ANY: &str = "127.0.0.1:0";

/// An archive of some blocks, with the key of its tree.
struct Site {
    site: Deployment,
    log_key: String,
}

impl Site {
    async fn new() -> Self {
        let site = Self { site: Deployment::with_log("00").await, log_key: String::new() };
        site.archive("backup", 1, 5).await;
        let words = "keys new --archive dir:backup --prefix logs.example.org log.key";
        let log_key = site.exits(0, words, "").await.trim().to_owned();
        Self { log_key, ..site }
    }

    async fn exits(&self, code: i32, words: &str, says: &str) -> String {
        let done: Finished = self.site.run(words).await;
        let told = format!("{}{}", done.stdout, done.stderr);
        assert_eq!(done.status.code(), Some(code), "{words}: {told}");
        assert!(told.contains(says), "{words}: {told}");
        done.stdout
    }

    async fn archive(&self, to: &str, from: u64, last: u64) {
        for height in from..=last {
            self.site.block("node", height, &vec![u8::try_from(height).unwrap(); 3_000]);
        }
        self.site.publish("embedded:tipline.log.db", "dir:node/blocks", last).await;
        self.archive_again(to, last).await;
    }

    /// What is published already.
    async fn archive_again(&self, to: &str, last: u64) {
        let words = format!("archive --name {to} --to dir:{to} {LOG}");
        let mut archiver = self.site.tipline(&words).spawn();
        self.site
            .status(LOG, |status| {
                let all = status["consumers"].as_array().unwrap();
                all.iter().any(|one| one["name"] == to && one["block"] == last)
            })
            .await;
        stop(&mut archiver).await;
    }

    fn watch(&self, key: &str, more: &str) -> String {
        let log_key = &self.log_key;
        format!("audit witness --archive dir:backup --key {key} --log-key {log_key} {more}")
    }

    /// A witness that answers over HTTP, with this key, and its address.
    async fn listening(&self, key: &str, at: &str) -> (Running, String) {
        let log_key = &self.log_key;
        let words = format!("audit witness --listen {at} --key {key} --log-key {log_key}");
        let mut witness = self.site.tipline(&words).spawn();
        let line = witness.line_with("witness at http://", WITHIN).await;
        let at = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
        (witness, at.to_owned())
    }

    fn size(&self) -> u64 {
        let note = fs::read_to_string(self.site.path("backup/tlog/checkpoint")).unwrap_or_default();
        note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    async fn published(&self, size: u64, running: &[&Running]) {
        eventually(&format!("{size} entries are published"), WITHIN, async || match self.size() {
            found if found == size => Ok(()),
            found => {
                let told: Vec<String> = running.iter().map(|one| one.stderr()).collect();
                Err(format!("{found} are; {told:?}"))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_shut_out_nobody() {
    let site = Site::new().await;
    site.exits(0, "keys new --witness w.example.net w.key", "w.example.net+").await;
    let (_witness, at) = site.listening("w.key", ANY).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(&at).await.unwrap());
    }
    let answer = http_post(&format!("http://{at}/add-checkpoint"), "nonsense").await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_places_hold_is_certified_to_a_stranger() {
    let site = Site::new().await;
    site.archive_again("offsite", 5).await;
    let mirror = site.exits(0, "keys new --mirror offsite.example.org m.key", "/mirror+").await;
    let witness = site.exits(0, "keys new --witness w.example.net w.key", "w.example.net+").await;
    assert_eq!(site.exits(0, "keys show m.key", "").await, mirror);
    let (log, mirror, witness) = (&site.log_key, mirror.trim(), witness.trim());
    let policy = format!(
        "log {log}\nwitness offsite {mirror}\nwitness w {witness}\ngroup both all offsite w\nquorum both\n"
    );
    fs::write(site.site.path("mainnet.policy"), &policy).unwrap();
    let certify = "audit certify --archive dir:backup --policy mainnet.policy";
    site.exits(2, certify, "nothing is signed").await;
    let by_policy = format!("{SIGN} --policy mainnet.policy");
    site.exits(0, &by_policy, "the policy waits for the cosignatures of offsite, w").await;
    assert_eq!(site.size(), 0, "nothing is published without its quorum");

    // A key says one thing, always.
    site.exits(2, &site.watch("w.key", "--mirror dir:offsite"), "ends with /mirror").await;
    site.exits(2, &site.watch("m.key", ""), "give --mirror").await;
    site.exits(2, "keys new --witness a/mirror no.key", "for mirrors").await;
    site.exits(2, &site.watch("log.key", ""), "holds no key").await;

    site.exits(2, &site.watch("m.key", "--mirror dir:./backup"), "is the archive that is signed")
        .await;
    site.exits(2, &site.watch("w.key", "--read-back-every 1d"), "--mirror").await;
    site.exits(0, &site.watch("m.key", "--mirror dir:offsite"), "entries 1 to 6").await;
    let again = "--mirror dir:offsite --read-back-every 0s";
    site.exits(0, &site.watch("m.key", again), "0 of them new").await;
    site.exits(11, certify, "w did not cosign").await;
    site.exits(0, &site.watch("w.key", ""), "cosigned: entries 1 to 6, 6 of them new").await;
    site.exits(0, &site.watch("w.key", ""), "0 of them new").await;
    let signed = site.exits(0, &format!("{by_policy} --json"), "").await;
    let signed: Value = serde_json::from_str(&signed).unwrap();
    assert_eq!((&signed["size"], &signed["waits_for"]), (&6.into(), &Value::Null), "{signed}");
    assert_eq!(site.size(), 6);
    site.exits(0, &format!("{certify} -o today.certificate"), "").await;
    site.exits(0, "audit prove --archive dir:backup --block 5 -o 5.tlog-proof", "").await;
    site.exits(0, &format!("audit verify dir:backup --key {log}"), "entries 1 to 6").await;

    // The mirror has less than what is signed next.
    site.archive("backup", 6, 7).await;
    site.exits(0, &by_policy, "not published yet").await;
    site.exits(11, &site.watch("m.key", "--mirror dir:offsite"), "ends with entry 6").await;

    // From here on there are the files alone.
    for place in ["backup", "offsite"] {
        fs::rename(site.site.path(place), site.site.path(&format!("{place}.away"))).unwrap();
    }
    let check = "audit check today.certificate --policy mainnet.policy";
    let told =
        site.exits(0, check, "certified: entries 1 to 6 of logs.example.org/embedded/").await;
    assert!(told.contains("  durable: offsite (offsite.example.org/mirror), 20"), "{told}");
    assert!(told.contains("  seen: w (w.example.net), 20"), "{told}");
    let json: Value =
        serde_json::from_str(&site.exits(0, &format!("{check} --json"), "").await).unwrap();
    assert_eq!((&json["first"], &json["last"]), (&1.into(), &6.into()), "{json}");
    assert_eq!(json["durable"][0]["key"], mirror);
    site.exits(2, &format!("audit check today.certificate --key {log}"), "give --policy").await;
    let proof = "audit check 5.tlog-proof --policy mainnet.policy";
    let told = site.exits(0, proof, "block_committed, height 5").await;
    assert!(told.contains("  cosigned: w (w.example.net), 20"), "{told}");
    site.exits(0, &format!("audit check 5.tlog-proof --key {log}"), "").await;
    // Every byte is tried by the library's tests: here some.
    let certificate = fs::read(site.site.path("today.certificate")).unwrap();
    for at in (0..certificate.len()).step_by(97) {
        let mut bytes = certificate.clone();
        bytes[at] ^= 1;
        fs::write(site.site.path("today.certificate"), bytes).unwrap();
        site.exits(13, check, "error: ").await;
    }
    fs::write(site.site.path("today.certificate"), certificate).unwrap();
    fs::write(site.site.path("other.policy"), policy.replace("quorum both", "quorum w")).unwrap();
    site.exits(13, "audit check today.certificate --policy other.policy", "another policy").await;
    fs::write(site.site.path("other.policy"), policy + "whatever\n").unwrap();
    site.exits(2, "audit check today.certificate --policy other.policy", "line 6").await;
    let told = site.site.run("audit check 5.tlog-proof").await;
    assert_eq!(told.status.code(), Some(2), "{}", told.stderr);
    assert!(told.stderr.contains("--key") && told.stderr.contains("--policy"), "{}", told.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_follows_a_log_and_raises_the_alarm_if_it_goes_back() {
    let site = Site::new().await;
    let witness = site.exits(0, "keys new --witness w.example.net w.key", "").await;
    let policy = format!("witness w {}\nquorum w\n", witness.trim());
    fs::write(site.site.path("w.policy"), policy).unwrap();
    let mut signing = site.site.tipline(&format!("{SIGN} --policy w.policy --every 100ms")).spawn();
    let mut watching = site.site.tipline(&site.watch("w.key", "--every 100ms")).spawn();
    site.published(6, &[&signing, &watching]).await;
    let early = fs::read(site.site.path("backup/tlog/checkpoint")).unwrap();
    let second = site.site.run(&site.watch("w.key", "")).await;
    assert_eq!(second.status.code(), Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    site.archive("backup", 6, 9).await;
    site.published(11, &[&signing, &watching]).await;
    stop(&mut signing).await;

    // Somebody puts the signed tree back to what it was.
    fs::remove_file(site.site.path("backup/tlog/pending")).unwrap();
    fs::write(site.site.path("early"), early).unwrap();
    let checkpoint = site.site.path("backup/tlog/checkpoint");
    fs::rename(site.site.path("early"), checkpoint).unwrap();
    assert_eq!(watching.process.wait(WITHIN).await.code(), Some(13), "{}", watching.stderr());
    assert!(watching.stderr().contains("the later one only"), "{}", watching.stderr());
    site.exits(13, &site.watch("w.key", ""), "the later one only").await;
    // Without what it has cosigned the key is worth nothing.
    fs::rename(site.site.path("w.key.cosigned"), site.site.path("lost")).unwrap();
    site.exits(2, &site.watch("w.key", ""), "put it back, or make a new key").await;
}

/// As logs of others ask, and with the answers of c2sp.org/tlog-witness.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_answers_logs_over_http() {
    let site = Site::new().await;
    site.exits(0, SIGN, "").await;
    let key = site.exits(0, "keys new --witness w.example.net w.key", "").await;
    let (mut witness, at) = site.listening("w.key", ANY).await;
    let post = async |body: &str| {
        let url = format!("http://{at}/add-checkpoint");
        http_post(&url, body).await.unwrap()
    };
    let note = fs::read_to_string(site.site.path("backup/tlog/checkpoint")).unwrap();
    let behind = post(&format!("old 3\n\n{note}")).await;
    assert_eq!((behind.status, behind.body.as_str()), (409, "0\n"));
    assert_eq!(behind.kind, "text/x.tlog.size");
    let added = post(&format!("old 0\n\n{note}")).await;
    assert_eq!(added.status, 200, "{added:?}");
    assert!(added.body.starts_with("\u{2014} w.example.net ") && added.body.ends_with('\n'));
    let behind = post(&format!("old 0\n\n{note}")).await;
    assert_eq!((behind.status, behind.body.as_str()), (409, "6\n"));
    assert_eq!(post(&format!("old 6\n\n{note}")).await.status, 200, "once more");
    for (code, body) in [
        (400, "what".to_owned()),
        (400, format!("old 7\n\n{note}")),
        (400, "old 6\n\nno note\n".to_owned()),
        (403, format!("old 6\n\n{}", note.replacen("\n6\n", "\n7\n", 1))),
        (404, format!("old 6\n\n{}", note.replacen("logs.example.org", "logs.example.net", 1))),
    ] {
        let reply = post(&body).await;
        assert_eq!(reply.status, code, "{body:?}: {reply:?}");
    }
    site.archive("backup", 6, 7).await;
    site.exits(0, SIGN, "").await;
    let newer = fs::read_to_string(site.site.path("backup/tlog/checkpoint")).unwrap();
    let unproven = post(&format!("old 6\n\n{newer}")).await;
    assert_eq!(unproven.status, 422, "{unproven:?}");
    // What is too large need not be read to its end before it is refused.
    let large = http_post(&format!("http://{at}/add-checkpoint"), &"x".repeat(400 << 10)).await;
    assert!(large.as_ref().map_or(true, |large| large.status == 413), "{large:?}");
    assert_eq!(http_post(&format!("http://{at}/other"), "").await.unwrap().status, 404);
    stop(&mut witness).await;
    // What it gave out is what it has.
    let kept = fs::read_dir(site.site.path("w.key.cosigned")).unwrap().next().unwrap().unwrap();
    let kept = fs::read_to_string(kept.path()).unwrap();
    assert!(kept.starts_with(note.split("\n\n").next().unwrap()), "{kept}");
    assert!(key.starts_with("w.example.net+"), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_asks_the_witnesses_and_two_of_three_are_enough() {
    let site = Site::new().await;
    let (mut lines, mut running, mut addresses) = (String::new(), Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let words = format!("keys new --witness {name}.example.net {name}.key");
        let key = site.exits(0, &words, "").await;
        let (witness, at) = site.listening(&format!("{name}.key"), ANY).await;
        lines += &format!("witness {name} {} http://{at}/\n", key.trim());
        running.push(witness);
        addresses.push(at);
    }
    let key = site.exits(0, "keys new --witness c.example.net c.key", "").await;
    // Nobody listens there any more.
    let gone = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    lines += &format!("witness c {} http://{gone}\n", key.trim());
    let policy = format!("log {}\n{lines}group two 2 a b c\nquorum two\n", site.log_key);
    fs::write(site.site.path("two.policy"), policy).unwrap();
    let sign = format!("{SIGN} --policy two.policy");
    let signed = site.site.run(&sign).await;
    assert_eq!(signed.status.code(), Some(0), "{}", signed.stderr);
    assert!(!signed.stdout.contains("not published"), "{}{}", signed.stdout, signed.stderr);
    let says = "the witness c did not cosign: it does not answer";
    assert!(signed.stderr.contains(says), "{}", signed.stderr);
    assert_eq!(site.size(), 6);
    // Strangers have the policy, and nothing of the site.
    site.exits(0, "audit prove --archive dir:backup --block 5 -o 5.tlog-proof", "").await;
    let told = site.exits(0, "audit check 5.tlog-proof --policy two.policy", "").await;
    for name in ["a", "b"] {
        let says = format!("  cosigned: {name} ({name}.example.net), 20");
        assert!(told.contains(&says), "{told}");
    }
    // What it answered is kept, and so is what the witness has cosigned.
    assert_eq!(fs::read_dir(site.site.path("backup/tlog/cosigned")).unwrap().count(), 2);

    // It goes on by itself.
    let mut signing = site.site.tipline(&format!("{sign} --every 100ms")).spawn();
    site.archive("backup", 6, 7).await;
    site.published(9, &[&signing]).await;
    stop(&mut signing).await;
    // A witness that is started again meanwhile is asked again.
    stop(&mut running.remove(1)).await;
    site.archive("backup", 8, 9).await;
    let again = site.site.tipline(&format!("{sign} --json")).spawn();
    running.push(site.listening("b.key", &addresses[1]).await.0);
    let signed = again.finish(WITHIN).await;
    let json: Value = serde_json::from_str(&signed.stdout).expect(&signed.stderr);
    assert_eq!((&json["size"], &json["waits_for"]), (&12.into(), &Value::Null), "{json}");
    assert_eq!(json["not_cosigned"][0]["witness"], "c", "{json}");
    assert_eq!(json["not_cosigned"].as_array().map(Vec::len), Some(1), "{json}");
    assert_eq!(site.size(), 12);
    for witness in &mut running {
        stop(witness).await;
    }
}

/// Answers every request with what `answer` gives. Gives the address.
async fn double<F>(answer: impl Fn(String) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output = Response> + Send + 'static,
{
    let listener = TcpListener::bind(ANY).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A cosignature that says that it is of this key, `NAME+ID+KEY`, and is not.
fn forged(key: &str) -> String {
    let mut words = key.split('+');
    let (name, id) = (words.next().unwrap(), words.next().unwrap());
    let id = u32::from_str_radix(id, 16).unwrap().to_be_bytes();
    format!("\u{2014} {name} {}\n", STANDARD.encode([&id[..], &[1; 72]].concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_witnesses_answer_hinders_nobody_and_is_named() {
    let site = Site::new().await;
    let names = ["moody", "forges", "refuses", "floods", "redirects", "hangs"];
    let mut keys = Vec::new();
    for name in names {
        let words = format!("keys new --witness {name}.example.net {name}.key");
        keys.push(site.exits(0, &words, "").await.trim().to_owned());
    }
    let (mut witness, real) = site.listening("moody.key", ANY).await;
    let (mut other, elsewhere) = site.listening("redirects.key", ANY).await;
    let (times, forged) = (Arc::new(AtomicUsize::new(0)), forged(&keys[1]));
    let moody = double(move |body: String| {
        let (times, url) = (Arc::clone(&times), format!("http://{real}/add-checkpoint"));
        async move {
            if times.fetch_add(1, Ordering::Relaxed) < 2 {
                return (StatusCode::INTERNAL_SERVER_ERROR, "no disk\n").into_response();
            }
            let reply = http_post(&url, &body).await.unwrap();
            let status = StatusCode::from_u16(reply.status).unwrap();
            (status, [(CONTENT_TYPE, reply.kind)], reply.body).into_response()
        }
    });
    let urls = [
        moody.await,
        double(move |_| std::future::ready(forged.clone().into_response())).await,
        double(|_| async {
            (StatusCode::CONFLICT, [(CONTENT_TYPE, "text/x.tlog.size")], "3\n").into_response()
        })
        .await,
        double(|_| async { "x".repeat(10 << 20).into_response() }).await,
        double(move |_| {
            let to = format!("http://{elsewhere}/add-checkpoint");
            async { (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response() }
        })
        .await,
        double(|_| std::future::pending()).await,
    ];
    let all = names.iter().zip(&keys).zip(&urls);
    let lines: String =
        all.map(|((name, key), url)| format!("witness {name} {key} {url}\n")).collect();
    fs::write(site.site.path("one.policy"), format!("{lines}quorum moody\n")).unwrap();
    let signed = site.site.run(&format!("{SIGN} --policy one.policy")).await;
    assert_eq!(signed.status.code(), Some(0), "{}", signed.stderr);
    assert!(!signed.stdout.contains("not published"), "{}{}", signed.stdout, signed.stderr);
    assert_eq!(site.size(), 6);
    for says in [
        "forges did not cosign: its cosignature is not right",
        "refuses did not cosign: it answers 409",
        "floods did not cosign: its answer has more than",
        "redirects did not cosign: it answers 307",
        "hangs did not cosign: it has not answered",
    ] {
        assert!(signed.stderr.contains(says), "{says}: {}", signed.stderr);
    }
    assert!(!signed.stderr.contains("witness moody"), "{}", signed.stderr);
    // Nothing of what was wrong is kept.
    assert_eq!(fs::read_dir(site.site.path("backup/tlog/cosigned")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(site.site.path("redirects.key.cosigned")).unwrap().count(), 0);
    let note = fs::read_to_string(site.site.path("backup/tlog/checkpoint")).unwrap();
    assert_eq!(note.matches('\u{2014}').count(), 2, "{note}");
    // One that is asked for nothing else, in an address that cannot be asked.
    for (address, says) in
        [("ftp://w.example.net", "http://"), ("https://me:secret@w.example.net", "credentials")]
    {
        let policy = format!("witness w {} {address}\nquorum w\n", keys[0]);
        fs::write(site.site.path("bad.policy"), policy).unwrap();
        let refused = site.site.run(&format!("{SIGN} --policy bad.policy")).await;
        let told = refused.stdout + &refused.stderr;
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(says) && !told.contains("secret"), "{told}");
    }
    stop(&mut witness).await;
    stop(&mut other).await;
}
