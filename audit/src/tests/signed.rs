//! A history that was made by somebody else is right in itself. Its signatures are not.

use std::sync::Arc;

use tipline_backup::Sources;
use tipline_log::{Log, Receipts, SignedLog, Signing};
use tipline_proto::{Announcement, ConsumerName, Entry, Receipt, SigningKey, Timestamp, Trust};
use tipline_store::conformance::history::{History, log, log_with_lineage};
use tokio_util::sync::CancellationToken;

use super::verify::{announcement, receipt};
use super::{ALL, honest, of_log, verify};
use crate::{AuditError, Problem, Range, VerifyReport, replay};

const COUNT: u64 = 60;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// A history of which every tenth entry was signed, and the last.
fn signed() -> Vec<Entry> {
    let mut entries = History::blocks(COUNT - 1, 10).entries;
    for entry in entries.iter_mut().filter(|entry| entry.index.is_multiple_of(10)) {
        key(1).sign_entry(log().lineage, entry);
    }
    entries
}

/// The same with another time from an entry on, sealed again.
pub(crate) fn resealed(entries: &[Entry], from: u64) -> Vec<Entry> {
    let mut forged = entries.to_vec();
    let mut before = entries[from as usize - 2].position();
    for entry in &mut forged[from as usize - 1..] {
        let Entry { epoch, outbox_sequence, event, signature, .. } = entry.clone();
        let time = Timestamp::from_micros(entry.time.as_micros() + 1);
        *entry = Entry { signature, ..Entry::seal(&before, epoch, time, outbox_sequence, event) };
        before = entry.position();
    }
    forged
}

async fn verified(entries: &[Entry], trust: &Trust, range: Range) -> VerifyReport {
    let sources = of_log(honest(entries).await);
    let sources = Arc::new(Sources { trust: trust.clone(), ..(*sources).clone() });
    verify(sources, range).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_verified_if_a_trusted_primary_vouches_for_all_of_it() {
    let (entries, trust) = (signed(), || Trust::new(vec![key(1).public()], []));
    let report = verified(&entries, &trust(), ALL).await;
    assert_eq!(report.verified, Some((1, COUNT)), "{report:?}");
    assert!(report.ok, "{report:?}");
    let part = Range { from: Some(15), to: Some(33) };
    assert!(verified(&entries, &trust(), part).await.ok);

    // From 23 on it is another one: right in itself, and nobody vouches for it.
    let forged = resealed(&entries, 23);
    assert!(verified(&forged, &Trust::default(), ALL).await.ok);
    let mut unsigned = forged.clone();
    unsigned[22..].iter_mut().for_each(|entry| entry.signature = None);
    let mut own = forged.clone();
    own[22..].iter_mut().filter(|entry| entry.signature.is_some()).for_each(|entry| {
        key(9).sign_entry(log().lineage, entry);
    });
    let mut spliced = forged.clone();
    spliced[22..].iter_mut().filter(|entry| entry.signature.is_some()).for_each(|entry| {
        key(1).sign_entry(log_with_lineage(9).lineage, entry);
    });
    for (what, forged, says) in [
        ("with the signatures of the true one", forged, "the signature of entry 30 ("),
        ("without signatures", unsigned, "entry 21 ("),
        ("with a key of its own", own, "which is not trusted for it"),
        ("with signatures of another log", spliced, "somebody else made it"),
    ] {
        // Also if the range ends before who should vouch for it.
        for range in
            [ALL, Range { from: None, to: Some(29) }, Range { from: Some(12), to: Some(25) }]
        {
            let report = verified(&forged, &trust(), range).await;
            let wrong = report.problems.join("; ");
            assert!(!report.ok && wrong.contains(says), "{what}, {range:?}: {wrong}");
        }
    }
}

/// Whoever vouches for a range may have signed an entry after it. More is not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_on_to_the_signature_that_vouches_for_it() {
    let (entries, trust) = (signed(), Trust::new(vec![key(1).public()], []));
    let part = Range { from: Some(15), to: Some(33) };
    // After 45 the log is silent.
    let silent = honest(&entries).await.rigged(|entry| match entry.index {
        ..=45 => vec![entry],
        _ => vec![],
    });
    let sources = Arc::new(Sources { trust: trust.clone(), ..(*of_log(silent)).clone() });
    let report = verify(Arc::clone(&sources), part).await.unwrap();
    assert!(report.ok && report.verified == Some((15, 33)), "{report:?}");
    assert_eq!(report.digest, Some(entries[32].digest.to_string()));
    let mut replay = replay(sources, &log(), part, CancellationToken::new()).await.unwrap();
    let mut given = Vec::new();
    while let Some(entries) = replay.next().await.unwrap() {
        given.extend(entries);
    }
    assert_eq!(given, entries[14..33]);
    assert_eq!(replay.cursor().position, entries[32].position());
    // An entry after the range that is not right cannot vouch for it.
    let forged = resealed(&entries, 36);
    let mixed = [&entries[..35], &forged[36..]].concat();
    let rigged = honest(&entries).await.rigged(move |entry| {
        mixed.iter().filter(|one| one.index == entry.index).cloned().collect()
    });
    let sources = Arc::new(Sources { trust, ..(*of_log(rigged)).clone() });
    let report = verify(sources, part).await.unwrap();
    assert!(!report.ok && report.problems[0].contains("36"), "{report:?}");
}

/// However the entries come: what is after the one that vouches for the range says nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_after_the_signature_is_not_asked_for() {
    let (entries, trust) = (signed(), Trust::new(vec![key(1).public()], []));
    let part = Range { from: Some(15), to: Some(33) };
    for chunk in [1, 7, 1_000] {
        let rigged = honest(&entries).await.chunked(chunk).rigged(|mut entry| {
            entry.outbox_sequence += u64::from(entry.index == 41);
            vec![entry]
        });
        let sources = Arc::new(Sources { trust: trust.clone(), ..(*of_log(rigged)).clone() });
        let report = verify(Arc::clone(&sources), part).await.unwrap();
        assert!(report.ok, "{chunk} at once: {report:?}");
        assert!(!verify(sources, ALL).await.unwrap().ok, "{chunk} at once");
    }
}

/// Whoever withholds the end of a log breaks what says that there is more, so that it does not count.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_count_on_the_board_is_a_finding() {
    let (entries, name) = (signed(), "backup-1".parse::<ConsumerName>().unwrap());
    let trust = Trust::new(vec![key(1).public()], [(name.clone(), key(2).public())]);
    let end = entries[59].position();
    let said = announcement(end);
    let stated = Receipt { consumer: name, ..receipt(end.index, end.digest) };
    let (mut primary, mut stranger) = (said.clone(), said.clone());
    key(1).sign_announcement(&mut primary);
    key(9).sign_announcement(&mut stranger);
    let (mut signed, mut broken) = (stated.clone(), stated.clone());
    key(2).sign_receipt(&mut signed);
    key(9).sign_receipt(&mut broken);
    let report = async |count: usize, said: &Announcement, stated: &Receipt| {
        let log = honest(&entries[..count]).await;
        log.announce(said).await.unwrap();
        log.put_receipt(stated).await.unwrap();
        let signing = Signing { key: None, trust: trust.clone() };
        let log: Arc<dyn Log> = Arc::new(SignedLog::new(Arc::new(log), signing));
        let sources = Sources { log: Some(log), trust: trust.clone(), ..Sources::default() };
        verify(Arc::new(sources), ALL).await
    };
    let found = report(60, &primary, &signed).await.unwrap();
    assert!(found.ok && found.claims == 2, "{found:?}");
    assert!(!found.not_verified.iter().any(|what| what.contains("withheld")), "{found:?}");
    // The end is withheld. Of what is left somebody has signed all.
    for (what, said, stated, says) in [
        ("believed", &primary, &signed, "the primary announced entry 60"),
        ("announcement", &stranger, &signed, "the announcement of the primary does not count: "),
        ("no signature", &said, &signed, "the announcement of the primary does not count: "),
        ("receipt", &primary, &broken, "the receipt of backup-1 does not count: "),
    ] {
        let found = report(50, said, stated).await.unwrap();
        let wrong = found.problems.join("; ");
        assert!(!found.ok && wrong.contains(says), "{what}: {wrong}");
        let is_unknown =
            found.not_verified.iter().any(|what| what.contains("after 50 are withheld"));
        assert_eq!(is_unknown, said.seal != primary.seal, "{what}: {found:?}");
    }
    // Nothing is left of it.
    let error = report(0, &stranger, &broken).await.unwrap_err();
    assert!(matches!(&error, AuditError::Found(Problem::Damaged(_))), "{error}");
    let text = error.to_string();
    assert!(text.contains("announcement") && text.contains("receipt of backup-1"), "{text}");
}

/// Whoever gives entries away takes them as they are vouched for.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_signature_is_given_with_it() {
    let (mut entries, trust) = (signed(), Trust::new(vec![key(1).public()], []));
    entries[59].signature = None;
    let part = Range { from: Some(15), to: Some(33) };
    for (range, given_to) in [(ALL, 50), (part, 33)] {
        for chunk in [1, 7, 1_000] {
            let of = of_log(honest(&entries).await.chunked(chunk));
            let sources = Sources { trust: trust.clone(), ..(*of).clone() };
            let stop = CancellationToken::new();
            let mut replay = replay(Arc::new(sources), &log(), range, stop).await.unwrap();
            let mut given = Vec::new();
            while let Some(entries) = replay.next_vouched().await.unwrap() {
                given.extend(entries);
            }
            let first = range.from.unwrap_or(1) as usize;
            assert_eq!(given, entries[first - 1..given_to], "{chunk} at once");
            assert_eq!(replay.problem().is_some(), range == ALL, "{chunk} at once");
            assert_eq!(replay.waiting().len(), if range == ALL { 10 } else { 0 });
        }
    }
}
