//! Witnesses that are asked: what they answer well is published, and what they answer badly hinders
//! nobody.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tipline_store::conformance::history::History;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::witnessed::{AT, cosigner, witness};
use super::{Site, verifier};
use crate::tests::seed;
use crate::tlog::{AddCheckpoint, CosigningKey, NotContinued, Policy, TLOG_SIZE};
use crate::tree::{
    Answer, Asked, KeyFile, MAX_ANSWER, NotCosigned, Post, Signed, Witness, WitnessError,
    Witnesses, sign,
};

/// What a double does with a request.
enum Does {
    /// What the program does.
    Witnesses(Arc<Witness>),
    Answers(Answer),
    /// No answer at all.
    Fails,
    Hangs,
    /// Cosigns whatever it is asked for, with another text.
    Cosigns(Box<CosigningKey>, &'static str),
}

/// Doubles by their addresses, and what they were asked. The last thing that one does it does always.
#[derive(Default)]
struct Doubles {
    does: Mutex<BTreeMap<String, VecDeque<Does>>>,
    asked: Mutex<Vec<(String, AddCheckpoint)>>,
}

impl Doubles {
    fn put(&self, name: &str, does: impl IntoIterator<Item = Does>) {
        let url = format!("http://{name}.example/add-checkpoint");
        self.does.lock().unwrap().insert(url, does.into_iter().collect());
    }

    /// Old sizes that were asked with.
    fn olds(&self) -> Vec<u64> {
        self.asked.lock().unwrap().drain(..).map(|(_, request)| request.old).collect()
    }
}

#[derive(Clone)]
struct Posts(Arc<Doubles>);

impl Post for Posts {
    async fn post(&self, address: &str, body: String) -> Result<Answer, String> {
        let request: AddCheckpoint = body.parse().unwrap();
        self.0.asked.lock().unwrap().push((address.to_owned(), request.clone()));
        let hangs = {
            let mut does = self.0.does.lock().unwrap();
            let does = does.get_mut(address).expect(address);
            let does = match does.len() {
                1 => &does[0],
                _ => &does.pop_front().unwrap(),
            };
            match does {
                Does::Witnesses(witness) => return Ok(answer_of(witness, &request)),
                Does::Answers(answer) => return Ok(answer.clone()),
                Does::Fails => return Err("connection refused".to_owned()),
                Does::Cosigns(key, before) => {
                    let line = key.cosign(&request.note, AT).unwrap();
                    return Ok(answer(200, &format!("{before}{line}")));
                }
                Does::Hangs => pending(),
            }
        };
        hangs.await
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, kind: "text/plain".to_owned(), body: body.to_owned() }
}

fn conflict(size: u64) -> Answer {
    Answer { status: 409, kind: TLOG_SIZE.to_owned(), body: format!("{size}\n") }
}

fn answer_of(witness: &Witness, request: &AddCheckpoint) -> Answer {
    match witness.add(request) {
        Ok(lines) => answer(200, &lines),
        Err(WitnessError::NotContinued { source: NotContinued::Behind { kept, .. }, .. }) => {
            conflict(kept)
        }
        Err(error) => answer(422, &format!("{error}\n")),
    }
}

/// A site whose policy has these witnesses, each with an address, and this quorum.
struct Asking {
    site: Site,
    doubles: Arc<Doubles>,
    witnesses: Witnesses<Posts>,
    policy: Policy,
    /// How long the last call took.
    took: Duration,
}

impl Asking {
    async fn new(entries: usize, names: &[&str], quorum: &str) -> Self {
        let history = History::random(seed(), if entries < 300 { entries } else { 700 });
        let site = Site::new(&history.entries, entries).await;
        let doubles = Arc::new(Doubles::default());
        let witnesses = Witnesses::new(Posts(Arc::clone(&doubles)));
        let line = |(at, name): (usize, &&str)| {
            let key = cosigner(&format!("{name}.example"), 10 + at as u8).verifier();
            format!("witness {name} {key} http://{name}.example/\n")
        };
        let lines: String = names.iter().enumerate().map(line).collect();
        let policy: Policy = format!("{lines}{quorum}").parse().unwrap();
        let policy = policy.or_log(&verifier());
        Self { site, doubles, witnesses, policy, took: Duration::ZERO }
    }

    async fn sign(&self) -> Signed {
        let key = Arc::new(KeyFile::open(&self.site.key_path()).unwrap());
        let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
        let (sources, place) = (self.site.archive.sources(), self.site.place());
        let signed = sign(&sources, &place, &key, Some(&self.policy), &progress, &stop).await;
        signed.unwrap().unwrap()
    }

    async fn ask(&mut self) -> Asked {
        let (signed, began) = (self.sign().await, Instant::now());
        let asked = self.witnesses.ask(&self.site.place(), &self.policy, &signed).await;
        self.took = began.elapsed();
        asked.unwrap()
    }

    async fn size(&self) -> u64 {
        self.site.checkpoint().await.map_or(0, |checkpoint| checkpoint.size)
    }

    /// Names in the file that is published.
    fn published(&self) -> Vec<String> {
        let note = fs::read_to_string(self.site.tree().join("checkpoint")).unwrap();
        let accepted = self.policy.check(&note).unwrap();
        accepted.cosigned.into_iter().map(|one| one.name).collect()
    }
}

fn named(asked: &Asked) -> Vec<&str> {
    asked.not_cosigned.iter().map(|one| &*one.witness).collect()
}

#[tokio::test(start_paused = true)]
async fn two_of_four_are_enough_and_one_that_hangs_keeps_nobody_waiting() {
    let quorum = "group two 2 a b hangs gone\nquorum two\n";
    let mut asking = Asking::new(300, &["a", "b", "hangs", "gone"], quorum).await;
    let (one, a) = witness("a.example", 10);
    let (_two, b) = witness("b.example", 11);
    asking.doubles.put("a", [Does::Witnesses(Arc::clone(&a))]);
    asking.doubles.put("b", [Does::Fails, Does::Witnesses(Arc::clone(&b))]);
    asking.doubles.put("hangs", [Does::Hangs]);
    asking.doubles.put("gone", [Does::Fails]);
    let asked = asking.ask().await;
    assert_eq!(asked.waits_for, None);
    assert!(asking.took < Duration::from_secs(3), "{:?}", asking.took);
    let mut names = named(&asked);
    names.sort_unstable();
    assert_eq!(names, ["gone", "hangs"], "{asked:?}");
    let why = |name: &str| {
        let of = asked.not_cosigned.iter().find(|one| one.witness == name).unwrap();
        assert!(!of.is_final, "{of:?}");
        of.why.clone()
    };
    assert!(why("gone").contains("connection refused"), "{asked:?}");
    assert!(why("hangs").contains("has not answered"), "{asked:?}");
    assert_eq!((asking.size().await, asking.published()), (300, vec!["a".into(), "b".into()]));

    // What each has cosigned last is known from the place, so one request is enough.
    asking.doubles.put("b", [Does::Witnesses(Arc::clone(&b))]);
    asking.doubles.put("hangs", [Does::Fails]);
    asking.doubles.olds();
    asking.site.archive_more(300, 400).await;
    asking.ask().await;
    assert_eq!(asking.size().await, 400);
    let asked = asking.doubles.olds();
    assert_eq!(asked.iter().filter(|old| **old == 300).count(), 2, "{asked:?}");
    // And if it is not, the witness says it.
    asking.site.archive_more(400, 700).await;
    asking.site.sign().await.unwrap();
    fs::remove_dir_all(asking.site.tree().join("cosigned")).unwrap();
    assert_eq!(asking.ask().await.waits_for, None);
    let asked = asking.doubles.olds();
    assert_eq!(asked.iter().filter(|old| **old == 400).count(), 2, "{asked:?}");
    assert_eq!((asking.size().await, asking.published()), (700, vec!["a".into(), "b".into()]));
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_unavailable_is_tried_again_for_a_while() {
    let mut asking = Asking::new(60, &["w"], "quorum w\n").await;
    let (_directory, w) = witness("w.example", 10);
    let busy = || Does::Answers(answer(503, "come back later\n"));
    // Which is not true.
    let wrong = Does::Answers(conflict(60));
    asking.doubles.put("w", [busy(), Does::Fails, Does::Hangs, wrong, Does::Witnesses(w)]);
    let asked = asking.ask().await;
    assert_eq!(
        asked,
        Asked { waits_for: Some("w".into()), not_cosigned: asked.not_cosigned.clone() }
    );
    assert!(asked.not_cosigned[0].why.contains("409"), "{asked:?}");
    // The next call begins with what is known, which is nothing.
    assert_eq!(asking.ask().await, Asked { waits_for: None, not_cosigned: vec![] });
    assert_eq!((asking.size().await, asking.published()), (60, vec!["w".to_owned()]));

    for (does, says) in [
        (busy(), "it answers 503: come back later"),
        (Does::Fails, "it does not answer: connection refused"),
        (Does::Hangs, "it has not answered for 10 s"),
    ] {
        let mut asking = Asking::new(60, &["w"], "quorum w\n").await;
        asking.doubles.put("w", [does]);
        for _ in 0..2 {
            let asked = asking.ask().await;
            let NotCosigned { why, is_final, .. } = &asked.not_cosigned[0];
            assert!(why.contains(says) && !is_final, "{says}: {asked:?}");
            assert_eq!(asked.waits_for.as_deref(), Some("w"));
            assert!(asking.took <= Duration::from_secs(41), "{says}: {:?}", asking.took);
            let times = asking.doubles.olds().len();
            assert!((3..=20).contains(&times), "{says}: {times}");
        }
        assert_eq!(asking.size().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_or_forged_is_named_once_and_not_kept() {
    let (thief, own) = (cosigner("w.example", 99), cosigner("w.example", 10));
    let stranger = cosigner("other.example", 10);
    // Of another checkpoint that the log signed.
    let elsewhere = Site::new(&History::random(seed() ^ 1, 30).entries, 30).await;
    elsewhere.sign().await.unwrap();
    let other = fs::read_to_string(elsewhere.tree().join("checkpoint")).unwrap();
    let other = own.cosign(&other, AT).unwrap();
    let long = "x".repeat(MAX_ANSWER + 1);
    let large = |size: u64| Does::Answers(conflict(size));
    for (does, says, times) in [
        (Does::Answers(answer(400, "what\n")), "it answers 400: what", 1),
        (Does::Answers(answer(403, "\u{7}no\n")), "it answers 403: no", 1),
        (Does::Answers(answer(404, "")), "it answers 404", 1),
        (Does::Answers(answer(422, "unproven\n")), "it answers 422: unproven", 1),
        (Does::Answers(answer(204, "")), "it answers 204", 1),
        (Does::Answers(answer(307, "")), "redirects are not followed", 1),
        (Does::Answers(answer(409, "3\n")), "409 without a size", 1),
        (Does::Answers(Answer { body: "03\n".into(), ..conflict(3) }), "409 without a size", 1),
        (Does::Answers(answer(200, "")), "cosignature", 1),
        (Does::Answers(answer(200, &long)), "more than 65536 bytes", 1),
        (Does::Answers(answer(200, &other)), "not right", 1),
        (Does::Cosigns(Box::new(thief), ""), "no cosignature by the key", 1),
        (Does::Cosigns(Box::new(stranger), ""), "no cosignature by the key", 1),
        (Does::Cosigns(Box::new(cosigner("w.example", 10)), "\n"), "is no cosignature", 1),
        (large(61), "it has cosigned 61 entries, and 60 are signed", 1),
        // With old 60 again: it has another one of this size.
        (large(60), "another checkpoint of 60 entries", 2),
    ] {
        let mut asking = Asking::new(60, &["w"], "quorum w\n").await;
        asking.doubles.put("w", [does]);
        let asked = asking.ask().await;
        let [NotCosigned { witness, why, is_final: true }] = &asked.not_cosigned[..] else {
            unreachable!("{says}: {asked:?}")
        };
        assert!(witness == "w" && why.contains(says), "{says}: {asked:?}");
        assert_eq!(asked.waits_for.as_deref(), Some("w"), "{says}");
        assert_eq!(asking.doubles.olds().len(), times, "{says}");
        assert!(asking.took < Duration::from_secs(1), "{says}: {:?}", asking.took);
        assert_eq!(asking.size().await, 0, "{says}");
        assert!(!asking.site.tree().join("cosigned").exists(), "{says}");
        // Not again for this checkpoint, but for whoever starts anew.
        let asked = asking.ask().await;
        assert_eq!((asked.not_cosigned.len(), asking.doubles.olds().len()), (0, 0), "{says}");
        asking.witnesses = Witnesses::new(Posts(Arc::clone(&asking.doubles)));
        asking.ask().await;
        assert_eq!(asking.doubles.olds().len(), times, "{says}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_witness_that_gives_another_size_each_time_is_asked_twice() {
    let mut asking = Asking::new(60, &["w"], "quorum w\n").await;
    let sizes = (1..=9).map(|size| Does::Answers(conflict(size)));
    asking.doubles.put("w", sizes);
    let asked = asking.ask().await;
    let [NotCosigned { why, is_final: false, .. }] = &asked.not_cosigned[..] else {
        unreachable!("{asked:?}")
    };
    assert!(why.contains("now gives 2"), "{asked:?}");
    assert_eq!(asking.doubles.olds(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_nobody_publishes_at_once_and_gets_what_is_cosigned() {
    let mut asking = Asking::new(60, &["w", "hangs"], "quorum none\n").await;
    let (_directory, w) = witness("w.example", 10);
    asking.doubles.put("w", [Does::Witnesses(w)]);
    asking.doubles.put("hangs", [Does::Hangs]);
    let asked = asking.ask().await;
    assert_eq!((asked.waits_for.as_ref(), named(&asked)), (None, vec!["hangs"]));
    assert!(asking.took < Duration::from_secs(3), "{:?}", asking.took);
    assert_eq!(asking.published(), ["w"]);
}
