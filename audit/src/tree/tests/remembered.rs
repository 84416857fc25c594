//! What a key remembers is the beginning of all that it signs later.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tipline_backup::Sources;
use tipline_proto::Entry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Site;
use super::signing::{refused, two};
use crate::tests::{honest, seed};
use crate::tree::{KeyFile, TreeError, sign};

/// A place that says one history when it is read first, and then another one.
async fn turning(one: &[Entry], other: &[Entry]) -> (Arc<Sources>, Arc<AtomicUsize>) {
    let (readings, other) = (Arc::new(AtomicUsize::new(0)), other.to_vec());
    let counted = Arc::clone(&readings);
    let log = honest(one).await.rigged(move |entry| {
        // Each reading begins with the first entry.
        let is_first = entry.index == 1;
        let reading = counted.fetch_add(usize::from(is_first), Ordering::SeqCst);
        match reading + usize::from(is_first) {
            ..=1 => vec![entry],
            _ => vec![other[entry.index as usize - 1].clone()],
        }
    });
    let sources = Sources { log: Some(Arc::new(log)), ..Sources::default() };
    (Arc::new(sources), readings)
}

/// Whoever may write to an archive exchanges it between what is compared with what was signed, and what
/// is signed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_was_compared_itself_with_what_the_key_remembers() {
    let (one, other) = two(seed(), 200, 600);
    // The tree is gone, or was put back to before what the key remembers.
    for put_back in [0, 100] {
        let site = Site::new(&one, 300).await;
        let signed = site.sign().await.unwrap().unwrap();
        let remembered = fs::read(site.signed_path()).unwrap();
        site.remove_tree();
        if put_back > 0 {
            let earlier = Site::new(&one, put_back).await;
            earlier.sign().await.unwrap();
            site.put_tree(&earlier);
        }
        let before = site.files();
        let (sources, readings) = turning(&one, &other).await;
        let key = Arc::new(KeyFile::open(&site.key_path()).unwrap());
        let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
        let done = sign(&sources, &site.place(), &key, None, &progress, &stop).await;
        let error = refused(done.unwrap_err());
        assert!(matches!(error, TreeError::Forked { index: 300, .. }), "{error:?}");
        assert_eq!(readings.load(Ordering::SeqCst), 2, "it was read again");
        assert_eq!(fs::read(site.signed_path()).unwrap(), remembered);
        let checkpoint = |files: &[(std::path::PathBuf, Vec<u8>)]| {
            files.iter().find(|(path, _)| path.ends_with("checkpoint")).cloned()
        };
        assert_eq!(checkpoint(&site.files()), checkpoint(&before), "nothing was published");
        // An archive that stays what it is goes on from there.
        site.remove_tree();
        drop(key);
        site.archive_more(300, 600).await;
        let more = site.sign().await.unwrap().unwrap().checkpoint;
        site.place().consistency(signed.checkpoint, more).await.unwrap();
    }
}
