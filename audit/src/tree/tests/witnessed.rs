//! Whoever cosigns never contradicts himself, and what is published is what enough have cosigned.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_log::error_chain;
use tipline_proto::Timestamp;
use tipline_store::conformance::history::History;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::proofs::prove;
use super::{Site, key, verifier};
use crate::tests::signed::resealed;
use crate::tests::{ALL, seed};
use crate::tlog::{
    AddCheckpoint, Checkpoint, CosigningKey, NotContinued, Policy, SigningKey, leaf_hash,
};
use crate::tree::{
    KeyFile, KeyFileError, Mirror, SignedTree, TreeError, Witness, WitnessError, Witnessed,
    check_proof_by, sign, watch_tree,
};
use crate::{AuditError, verify_entries};

/// Seconds of the clock of every witness.
pub(super) const AT: u64 = 1_727_964_367;

pub(super) fn cosigner(name: &str, seed: u8) -> CosigningKey {
    CosigningKey::from_seed(name, &[seed; 32]).unwrap()
}

pub(super) fn open(path: &Path) -> Result<Arc<Witness>, KeyFileError> {
    let clock = Arc::new(|| Timestamp::from_micros(AT * 1_000_000 + 5));
    Witness::open(path, vec![verifier()], clock).map(Arc::new)
}

/// The same at another time.
pub(super) fn open_at(path: &Path, seconds: u64) -> Arc<Witness> {
    let clock = Arc::new(move || Timestamp::from_micros(seconds * 1_000_000 + 5));
    Arc::new(Witness::open(path, vec![verifier()], clock).unwrap())
}

/// A witness with a key of its own, in a directory of its own.
pub(super) fn witness(name: &str, seed: u8) -> (TempDir, Arc<Witness>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("witness.key");
    Witness::create(&path, &cosigner(name, seed)).unwrap();
    let witness = open(&path).unwrap();
    (directory, witness)
}

pub(super) async fn watched(
    site: &Site,
    witness: &Arc<Witness>,
    mirror: Option<&Mirror>,
) -> Result<Option<Witnessed>, AuditError> {
    let stop = CancellationToken::new();
    watch_tree(&site.place(), &verifier(), witness, mirror, &stop).await
}

pub(super) fn tree_error(error: AuditError) -> TreeError {
    match error {
        AuditError::Tree(error) => error,
        other => unreachable!("{other:?}"),
    }
}

/// Signs with a policy: who it waits for.
pub(super) async fn sign_by(site: &Site, policy: &str) -> Option<String> {
    let key = Arc::new(KeyFile::open(&site.key_path()).unwrap());
    let policy: Policy = policy.parse().unwrap();
    let policy = policy.or_log(&verifier());
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let sources = site.archive.sources();
    let signed = sign(&sources, &site.place(), &key, Some(&policy), &progress, &stop).await;
    signed.unwrap().unwrap().waits_for
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_continues_and_goes_on_after_every_start() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 0).await;
    let (directory, witness) = witness("w.example", 3);
    assert_eq!(watched(&site, &witness, None).await.unwrap(), None);
    let (mut at, path) = (0, directory.path().join("witness.key"));
    drop(witness);
    for end in [1, 2, 256, 300, 700] {
        site.archive_more(at, end).await;
        site.sign().await.unwrap();
        // Each from what is on its disk.
        let witness = open(&path).unwrap();
        let done = watched(&site, &witness, None).await.unwrap().unwrap();
        assert_eq!((done.checkpoint.size, done.added), (end as u64, (end - at) as u64));
        let found = witness.verifier().find(&done.note).unwrap().unwrap();
        assert_eq!(found.seconds, AT);
        assert_eq!(verifier().open(&done.note).unwrap(), done.checkpoint.to_string());
        // It is in the tree, for whoever signs, and comes again if it is removed there.
        let put = site.tree().join("cosigned").join(witness.verifier().id_text());
        assert_eq!(fs::read_to_string(&put).unwrap(), done.note);
        fs::remove_file(&put).unwrap();
        let again = watched(&site, &witness, None).await.unwrap().unwrap();
        assert_eq!((again.added, &again.note), (0, &done.note));
        assert_eq!(fs::read_to_string(&put).unwrap(), done.note);
        at = end;
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&directory.path().join("witness.key.cosigned"))), (0o600, 0o700));
}

/// 300 entries that were signed and cosigned, their first 120, signed by the same key, and the witness.
pub(super) async fn cosigned(history: &History) -> (Site, Site, TempDir, Arc<Witness>) {
    let site = Site::new(&history.entries, 300).await;
    let early = Site::new(&history.entries, 120).await;
    early.sign().await.unwrap();
    site.sign().await.unwrap();
    let (directory, witness) = witness("w.example", 3);
    watched(&site, &witness, None).await.unwrap();
    (site, early, directory, witness)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_and_another_history_are_refused_and_kept_as_evidence() {
    let history = History::random(seed(), 300);
    let (site, early, directory, witness) = cosigned(&history).await;
    let kept = witness.kept(verifier().name()).unwrap().unwrap();
    let own_files = || {
        let files = fs::read_dir(directory.path().join("witness.key.cosigned")).unwrap();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };

    // The whole place was put back to an older state, key and all.
    site.put_tree(&early);
    let error = tree_error(watched(&site, &witness, None).await.unwrap_err());
    assert!(
        matches!(&error, TreeError::NotConsistent(why) if why.contains("only 120")),
        "{error:?}"
    );
    site.remove_tree();
    let error = tree_error(watched(&site, &witness, None).await.unwrap_err());
    assert!(matches!(error, TreeError::NotConsistent(_)), "{error:?}");

    // Another history, as long and longer, that the same key signed elsewhere.
    let entries = resealed(&history.entries, 100);
    let forked = Site::new(&entries, 300).await;
    forked.sign().await.unwrap();
    site.put_tree(&forked);
    let error = tree_error(watched(&site, &witness, None).await.unwrap_err());
    assert!(
        matches!(&error, TreeError::NotConsistent(why) if why.contains("different roots")),
        "{error:?}"
    );
    let evidence = fs::read_to_string(site.tree().join("checkpoint")).unwrap();
    assert!(own_files().contains(&evidence), "both are there: {:?}", own_files());
    assert_eq!(
        witness.kept(verifier().name()).unwrap().unwrap(),
        kept,
        "and what was cosigned stands"
    );
    assert!(!site.tree().join("cosigned").exists());

    // As a log would ask for it, and what contradicts it by its tiles alone proves nothing.
    let request = AddCheckpoint { old: 300, hashes: vec![], note: evidence };
    let refused = witness.add(&request).unwrap_err();
    let WitnessError::NotContinued { source: NotContinued::Forked { size: 300 }, .. } = refused
    else {
        unreachable!("{refused:?}")
    };
}

/// After a failed fsync nobody knows what is on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cosigned_after_remembering_failed_until_the_key_is_opened_again() {
    let history = History::random(seed(), 60);
    let site = Site::new(&history.entries, 60).await;
    site.sign().await.unwrap();
    let (directory, witness) = witness("w.example", 3);
    let [path, cosigned, away] =
        ["witness.key", "witness.key.cosigned", "away"].map(|name| directory.path().join(name));
    fs::rename(&cosigned, &away).unwrap();
    let error = watched(&site, &witness, None).await.unwrap_err();
    assert!(error_chain(&error).contains("writing the key file"), "{error:?}");
    fs::rename(&away, &cosigned).unwrap();
    let error = watched(&site, &witness, None).await.unwrap_err();
    assert!(error_chain(&error).contains("is not used any more"), "{error:?}");
    drop(witness);
    watched(&site, &open(&path).unwrap(), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_has_forgotten_cosigns_nothing() {
    let history = History::random(seed(), 60);
    let site = Site::new(&history.entries, 60).await;
    site.sign().await.unwrap();
    let (directory, witness) = witness("w.example", 3);
    let (path, cosigned) =
        (directory.path().join("witness.key"), directory.path().join("witness.key.cosigned"));
    assert!(matches!(open(&path), Err(KeyFileError::InUse { .. })));
    watched(&site, &witness, None).await.unwrap();
    drop(witness);
    let file = fs::read_dir(&cosigned).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    // Whatever is in it, it is the key's own, or nothing more is cosigned.
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        let kept = open(&path).unwrap().kept(verifier().name());
        // The log's own signature is not what it goes by.
        let is_logs =
            kept.as_ref().is_ok_and(|kept| kept.as_ref().is_some_and(|(_, kept)| kept.size == 60));
        assert!(kept.is_err() || is_logs, "byte {at}: {kept:?}");
    }
    fs::write(&file, b"").unwrap();
    assert!(watched(&site, &open(&path).unwrap(), None).await.is_err());
    fs::remove_dir_all(&cosigned).unwrap();
    assert!(matches!(open(&path), Err(KeyFileError::ForgottenCosigned { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(open(&path), Err(KeyFileError::Exposed { .. })));
}

#[test]
fn requests_are_answered_by_what_the_specification_says_of_them() {
    let (_directory, witness) = witness("w.example", 3);
    let note = |origin: &str, size: u64, root: &[u8], key: &SigningKey| {
        let root = leaf_hash(root);
        key.sign(&Checkpoint { origin: origin.to_owned(), size, root }.to_string()).unwrap()
    };
    let log = key(&tipline_store::conformance::history::log());
    let ours = verifier().name().to_owned();
    let add = |old: u64, note: String| witness.add(&AddCheckpoint { old, hashes: vec![], note });
    assert!(matches!(add(0, "nothing".into()), Err(WitnessError::Note(_))));
    let other = SigningKey::from_seed("other", &[1; 32]).unwrap();
    let unknown = add(0, note("other", 1, b"a", &other));
    assert!(matches!(unknown, Err(WitnessError::UnknownLog { .. })), "{unknown:?}");
    let thief = SigningKey::from_seed(&ours, &[1; 32]).unwrap();
    let forged = add(0, note(&ours, 1, b"a", &thief));
    assert!(matches!(forged, Err(WitnessError::Note(_))), "{forged:?}");
    let not_continued = |done: Result<String, WitnessError>| match done {
        Err(WitnessError::NotContinued { source, .. }) => source,
        other => unreachable!("{other:?}"),
    };
    let first = note(&ours, 5, b"a", &log);
    let behind = not_continued(add(3, first.clone()));
    assert_eq!(behind, NotContinued::Behind { old: 3, kept: 0 });
    let line = add(0, first.clone()).unwrap();
    assert!(witness.verifier().find(&(first.clone() + &line)).unwrap().is_some());
    let kept = witness.kept(&ours).unwrap().unwrap();
    assert_eq!(kept.0, first.clone() + &line, "durable before it is given out");
    // Again, at the same size.
    add(5, first).unwrap();
    let forked = not_continued(add(5, note(&ours, 5, b"b", &log)));
    assert_eq!(forked, NotContinued::Forked { size: 5 });
    let wrong = not_continued(add(5, note(&ours, 9, b"c", &log)));
    assert_eq!(wrong, NotContinued::Inconsistent { old: 5, new: 9 });
    assert_eq!(witness.kept(&ours).unwrap().unwrap().1.size, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_has_its_quorum_and_proofs_carry_it() {
    let history = History::random(seed(), 400);
    let site = Site::new(&history.entries, 100).await;
    let (_one, a) = witness("a.example", 3);
    let (_two, b) = witness("b.example", 4);
    let (keys, both) = ([a.verifier(), b.verifier()], "group both all a b\nquorum both\n");
    let policy =
        format!("log {}\nwitness a {}\nwitness b {}\n{both}", verifier(), keys[0], keys[1]);
    assert_eq!(sign_by(&site, &policy).await.as_deref(), Some("a, b"));
    assert_eq!(site.checkpoint().await, None, "nothing is published");
    site.archive_more(100, 400).await;
    watched(&site, &a, None).await.unwrap();
    assert_eq!(sign_by(&site, &policy).await.as_deref(), Some("b"), "it stays what it was");
    let done = watched(&site, &b, None).await.unwrap().unwrap();
    assert_eq!(done.checkpoint.size, 100);
    // Published, and the next one waits.
    assert_eq!(sign_by(&site, &policy).await.as_deref(), Some("a, b"));
    assert_eq!(site.checkpoint().await.unwrap().size, 100);
    let (proof, _) = prove(&site, 77).await.unwrap();
    let parsed: Policy = policy.parse().unwrap();
    let (proven, accepted) = check_proof_by(&proof.to_string(), &parsed).unwrap();
    assert_eq!((proven.leaf.index, accepted.cosigned.len()), (77, 2));
    // Without one of the two the same proof is none by that policy.
    let (text, line) = proof
        .to_string()
        .trim_end()
        .rsplit_once('\n')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(line.contains("b.example"), "{line}");
    let error = check_proof_by(&(text + "\n"), &parsed).unwrap_err();
    assert!(matches!(error, TreeError::NotAccepted { .. }), "{error:?}");
    for witness in [&a, &b] {
        watched(&site, witness, None).await.unwrap();
    }
    // What somebody else writes beside them counts nowhere, and hinders nobody.
    fs::write(site.tree().join("cosigned/00000000"), b"what").unwrap();
    let stranger = cosigner("b.example", 9);
    let pending = fs::read_to_string(site.tree().join("pending")).unwrap();
    let forged = pending.clone() + &stranger.cosign(&pending, AT).unwrap();
    fs::write(site.tree().join("cosigned/00000001"), forged).unwrap();
    assert_eq!(sign_by(&site, &policy).await, None);
    assert_eq!(site.checkpoint().await.unwrap().size, 400);
    let note = fs::read_to_string(site.tree().join("checkpoint")).unwrap();
    assert!(parsed.check(&note).is_ok() && stranger.verifier().find(&note).unwrap().is_none());
    // Without a policy it is published at once, and what waited, too.
    assert_eq!(sign_by(&site, "quorum none\n").await, None);
    site.sign().await.unwrap();
}

/// Nothing more is signed while what was signed waits, however long the history is that comes at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_shown_to_witnesses_in_steps() {
    let history = History::random(seed(), 2_600);
    let site = Site::new(&history.entries, 2_600).await;
    let (_one, a) = witness("a.example", 3);
    let policy = format!("log {}\nwitness a {}\nquorum a\n", verifier(), a.verifier());
    let mut sizes = Vec::new();
    while sizes.last() != Some(&2_600) {
        assert_eq!(sign_by(&site, &policy).await.as_deref(), Some("a"));
        let pending = fs::read(site.tree().join("pending")).unwrap();
        assert_eq!(sign_by(&site, &policy).await.as_deref(), Some("a"));
        assert_eq!(fs::read(site.tree().join("pending")).unwrap(), pending);
        let done = watched(&site, &a, None).await.unwrap().unwrap();
        sizes.push(done.checkpoint.size);
    }
    assert!(sizes.len() == 3 && sizes.is_sorted(), "{sizes:?}");
    assert_eq!(sign_by(&site, &policy).await, None);
    assert_eq!(site.checkpoint().await.unwrap().size, 2_600);
}

/// Whoever may write where witnesses put what they cosign cannot keep a log from being published.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_beside_cosignatures_is_in_nobodys_way() {
    let history = History::random(seed(), 100);
    let site = Site::new(&history.entries, 100).await;
    let (_one, a) = witness("a.example", 3);
    let policy = format!("log {}\nwitness a {}\nquorum a\n", verifier(), a.verifier());
    assert_eq!(sign_by(&site, &policy).await.as_deref(), Some("a"));
    let folder = site.tree().join("cosigned");
    fs::create_dir_all(&folder).unwrap();
    for at in 0..300 {
        fs::write(folder.join(format!("!{at:03}")), b"junk").unwrap();
    }
    // It is not read.
    fs::File::create(folder.join("!huge")).unwrap().set_len(1 << 40).unwrap();
    // The witness itself says it again and again.
    let pending = fs::read_to_string(site.tree().join("pending")).unwrap();
    let own = cosigner("a.example", 3);
    let lines: String = (0..60).map(|at| own.cosign(&pending, AT + at).unwrap()).collect();
    fs::write(folder.join(a.verifier().id_text()), pending.clone() + &lines).unwrap();
    for at in 100..170 {
        let cosigned = pending.clone() + &own.cosign(&pending, AT + at).unwrap();
        fs::write(folder.join(format!("{at}")), cosigned).unwrap();
    }
    assert_eq!(sign_by(&site, &policy).await, None);
    let note = fs::read_to_string(site.tree().join("checkpoint")).unwrap();
    let found = a.verifier().find(&note).unwrap().unwrap();
    assert_eq!((found.seconds, note.matches("a.example").count()), (AT + 59, 1));
    // A file that is no note is not read, however long it is.
    let pending = fs::File::options().write(true).open(site.tree().join("pending")).unwrap();
    pending.set_len(1 << 40).unwrap();
    let error = tree_error(watched(&site, &a, None).await.unwrap_err());
    assert!(error.to_string().contains("the checkpoint at"), "{error:?}");
    assert!(matches!(error, TreeError::Note { .. }), "{error:?}");
}

/// One that answers requests and watches the tree as well is asked while it looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_asked_while_it_watches_is_no_rival_of_itself() {
    let history = History::random(seed(), 1_000);
    let site = Site::new(&history.entries, 10).await;
    let (directory, witness) = witness("w.example", 3);
    let mut size = 10;
    for _ in 0..60 {
        site.archive_more(size, size + 3).await;
        size += 3;
        let signed = site.sign().await.unwrap().unwrap();
        let asked = {
            let (witness, place) = (Arc::clone(&witness), site.place());
            tokio::spawn(async move {
                let kept = witness.kept(verifier().name()).unwrap().map(|(_, kept)| kept);
                let old = kept.as_ref().map_or(0, |kept| kept.size);
                let hashes = match kept {
                    None => Vec::new(),
                    Some(kept) => place.consistency(kept, signed.checkpoint).await.unwrap().hashes,
                };
                // Whoever is first, it is cosigned.
                match witness.add(&AddCheckpoint { old, hashes, note: signed.note }) {
                    Ok(_)
                    | Err(WitnessError::NotContinued {
                        source: NotContinued::Behind { .. }, ..
                    }) => {}
                    Err(error) => unreachable!("{error:?}"),
                }
            })
        };
        let done = watched(&site, &witness, None).await.unwrap().unwrap();
        assert_eq!(done.checkpoint.size, size as u64);
        asked.await.unwrap();
    }
    let kept = fs::read_dir(directory.path().join("witness.key.cosigned")).unwrap();
    assert_eq!(kept.count(), 1, "no evidence of a fraud that there was not");
}

/// From the archive alone: what one key signed, and contradicts itself.
#[tokio::test(flavor = "multi_thread")]
async fn two_checkpoints_that_contradict_each_other_are_found_in_an_archive() {
    let history = History::random(seed(), 300);
    let site = Site::new(&history.entries, 200).await;
    site.sign().await.unwrap();
    let (_directory, witness) = witness("w.example", 3);
    watched(&site, &witness, None).await.unwrap();
    site.archive_more(200, 300).await;
    site.sign().await.unwrap();
    let verified = async || {
        let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
        let tree = SignedTree { place: site.place(), key: Some(verifier()) };
        let (sources, log) = (site.archive.sources(), tipline_store::conformance::history::log());
        let verified = verify_entries(sources, &log, ALL, None, Some(&tree), &progress, stop);
        verified.await.unwrap()
    };
    assert!(verified().await.problems.is_empty());
    // What the witness cosigned is there, signed by the log: of another history.
    let root = leaf_hash(b"another");
    let other = Checkpoint { origin: verifier().name().to_owned(), size: 200, root };
    let other = key(&tipline_store::conformance::history::log()).sign(&other.to_string()).unwrap();
    for name in ["cosigned/00000002", "pending"] {
        fs::write(site.tree().join(name), &other).unwrap();
        let problems = verified().await.problems;
        let told = format!("{problems:?}");
        assert!(told.contains("contradict each other") && told.contains("200"), "{told}");
        fs::remove_file(site.tree().join(name)).unwrap();
    }
}
