//! What is signed is what is in the archive, once and for ever.

mod asked;
mod compared;
mod evidence;
mod foreign;
mod hostile;
mod keys;
mod many;
mod mirrored;
mod proofs;
mod remembered;
mod signing;
mod succeeded;
mod vouched;
mod witnessed;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tipline_backup::{Destination, Sources};
use tipline_proto::{Entry, LogIdentity};
use tipline_store::conformance::history::log;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{KeyFile, Signed, TreePlace, origin, sign};
use crate::AuditError;
use crate::tests::Place;
use crate::tlog::{Checkpoint, SigningKey, Tile, VerifierKey};

/// An archive of entries, and a key of its log in a directory of its own.
pub(super) struct Site {
    pub(super) archive: Place,
    pub(super) keys: TempDir,
    pub(super) entries: Vec<Entry>,
}

impl Site {
    /// With so many of the entries archived.
    pub(super) async fn new(entries: &[Entry], archived: usize) -> Self {
        let site = Self {
            archive: Place::filled(&entries[..archived], 60).await,
            keys: tempfile::tempdir().unwrap(),
            entries: entries.to_vec(),
        };
        KeyFile::create(&site.key_path(), &key(&log())).unwrap();
        site
    }

    pub(super) async fn archive_more(&self, from: usize, to: usize) {
        self.archive.segment(&self.entries, from, to).await;
    }

    /// How many entries are archived.
    pub(super) async fn last(&self) -> usize {
        self.archive.sources().newest_entry().await.unwrap() as usize
    }

    pub(super) fn key_path(&self) -> PathBuf {
        self.keys.path().join("log.key")
    }

    /// What the key remembers.
    pub(super) fn signed_path(&self) -> PathBuf {
        self.keys.path().join("log.key.signed")
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.archive.directory.path().join("tlog")
    }

    pub(super) fn destination(&self) -> Destination {
        Destination::open(&format!("dir:{}", self.archive.directory.path().display())).unwrap()
    }

    pub(super) fn place(&self) -> TreePlace {
        TreePlace::new(&self.destination(), &log())
    }

    pub(super) async fn sign(&self) -> Result<Option<Signed>, AuditError> {
        self.sign_with(&self.key_path()).await
    }

    pub(super) async fn sign_with(&self, path: &Path) -> Result<Option<Signed>, AuditError> {
        self.sign_from(&self.archive.sources(), path).await
    }

    pub(super) async fn sign_from(
        &self,
        sources: &Arc<Sources>,
        path: &Path,
    ) -> Result<Option<Signed>, AuditError> {
        let key = Arc::new(KeyFile::open(path).unwrap());
        let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
        sign(sources, &self.place(), &key, None, &progress, &stop).await
    }

    /// The checkpoint as it is there, which the key must have signed.
    pub(super) async fn checkpoint(&self) -> Option<Checkpoint> {
        self.place().checkpoint(&verifier()).await.unwrap()
    }

    pub(super) fn read(&self, tile: &Tile) -> Vec<u8> {
        fs::read(self.tree().join(tile.path())).unwrap()
    }

    pub(super) fn remove_tree(&self) {
        if self.tree().exists() {
            fs::remove_dir_all(self.tree()).unwrap();
        }
    }

    /// Puts the tree of another place here.
    pub(super) fn put_tree(&self, from: &Site) {
        self.remove_tree();
        for (path, bytes) in from.files() {
            let path = self.tree().join(path.strip_prefix(from.tree()).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Every file of the tree, with what is in it.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, files),
                    false => files.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        let mut files = Vec::new();
        if self.tree().exists() {
            walk(&self.tree(), &mut files);
        }
        files.sort();
        files
    }
}

pub(super) fn key(log: &LogIdentity) -> SigningKey {
    SigningKey::from_seed(&origin("example.org", log), &[7; 32]).unwrap()
}

pub(super) fn verifier() -> VerifierKey {
    key(&log()).verifier()
}
