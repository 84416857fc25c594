//! What is written beside an archive is read by programs that others wrote.

use std::fs;

use signed_note::{Note, StandardVerifier, VerifierList};
use tipline_store::conformance::history::History;
use tlog_tiles as theirs;

use super::proofs::prove;
use super::{Site, verifier};
use crate::tests::seed;
use crate::tlog::Tile;

/// A reader of the files, for the foreign one.
struct Reader<'a>(&'a Site);

impl theirs::TileReader for Reader<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[theirs::Tile]) -> Result<Vec<Vec<u8>>, theirs::Error> {
        let read = |tile: &theirs::Tile| {
            let (level, index, width) = (tile.level(), tile.level_index(), tile.width() as u16);
            self.0.read(&Tile { level, index, width })
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[theirs::Tile], _: &[Vec<u8>]) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_tiles_and_proofs_are_accepted_by_signed_note_and_tlog_tiles() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 700).await;
    site.sign().await.unwrap();
    let note = fs::read(site.tree().join("checkpoint")).unwrap();
    let note = Note::from_bytes(&note).unwrap();
    let key = StandardVerifier::new(&verifier().to_string()).unwrap();
    let (verified, unverified) = note.verify(&VerifierList::new(vec![Box::new(key)])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let checkpoint = theirs::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size()), (verifier().name(), 700));
    assert_eq!(checkpoint.extension(), "");
    let reader = Reader(&site);
    // It checks every tile that it reads against the signed root.
    let reader = theirs::TileHashReader::new(700, *checkpoint.hash(), &reader);
    assert_eq!(theirs::tree_hash(700, &reader).unwrap(), *checkpoint.hash());
    for index in [1, 256, 257, 600, 700] {
        let (proof, _) = prove(&site, index).await.unwrap();
        let hashes = proof.hashes.iter().map(|hash| theirs::Hash(*hash.as_bytes())).collect();
        let record = theirs::record_hash(&proof.extra.unwrap());
        theirs::check_record(&hashes, 700, *checkpoint.hash(), index - 1, record).unwrap();
    }
}
