//! Where the history must be signed, only what a trusted primary has signed is signed here.

use std::sync::Arc;

use tipline_backup::Sources;
use tipline_proto::{Entry, SigningKey, Trust};
use tipline_store::conformance::history::{History, log};

use super::Site;
use crate::tests::seed;
use crate::tests::signed::resealed;
use crate::tree::Signed;
use crate::{AuditError, Problem};

fn primary(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// With signatures of these entries.
fn signed(mut entries: Vec<Entry>, by: u8, at: &[usize]) -> Vec<Entry> {
    at.iter().for_each(|at| primary(by).sign_entry(log().lineage, &mut entries[at - 1]));
    entries
}

async fn sign(site: &Site) -> Result<Option<Signed>, AuditError> {
    let trust = Trust::new(vec![primary(1).public()], []);
    let sources = Arc::new(Sources { trust, ..(*site.archive.sources()).clone() });
    site.sign_from(&sources, &site.key_path()).await
}

fn problem(signed: Result<Option<Signed>, AuditError>) -> String {
    match signed {
        Err(AuditError::Found(problem @ Problem::Refused(_))) => problem.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_ends_with_what_a_trusted_primary_signed() {
    let history = signed(History::random(seed(), 3_000).entries, 1, &[300, 540, 900]);
    let site = Site::new(&history, 200).await;
    assert_eq!(sign(&site).await.unwrap(), None, "nobody has vouched for anything");
    assert!(site.checkpoint().await.is_none());
    for (upto, size) in [(330, 300), (400, 300), (600, 540), (899, 540), (900, 900), (1_900, 900)] {
        site.archive_more(site.last().await, upto).await;
        let added = size - site.checkpoint().await.map_or(0, |checkpoint| checkpoint.size);
        let signed = sign(&site).await.unwrap().unwrap();
        assert_eq!((signed.checkpoint.size, signed.added), (size, added), "of {upto}");
    }
    // That many do not wait for the rest of their unit.
    site.archive_more(1_900, 2_000).await;
    let refused = problem(sign(&site).await);
    assert!(refused.contains("entry 901 ("), "{refused}");
    assert_eq!(site.checkpoint().await.unwrap().size, 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_whoever_can_write_the_archive_adds_is_not_signed() {
    let history = signed(History::random(seed(), 600).entries, 1, &[300, 500]);
    // Right in itself from 400 on, with signatures of a key that nobody trusts, or of no key.
    let forged = resealed(&history, 400);
    let unsigned = forged.iter().cloned().map(|entry| Entry { signature: None, ..entry });
    let unsigned: Vec<Entry> = unsigned.collect();
    let mixed = [&history[..399], &unsigned[399..]].concat();
    let own = signed(mixed.clone(), 9, &[450]);
    for (what, entries, refused) in [("unsigned", mixed, false), ("of its own", own, true)] {
        let site = Site::new(&entries, 600).await;
        match refused {
            true => assert!(problem(sign(&site).await).contains("entry 450"), "{what}"),
            false => assert_eq!(sign(&site).await.unwrap().unwrap().checkpoint.size, 300, "{what}"),
        }
        // Who trusts anybody signs it.
        assert_eq!(site.sign().await.unwrap().unwrap().checkpoint.size, 600, "{what}");
    }
}
