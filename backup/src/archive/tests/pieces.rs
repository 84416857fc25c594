//! Segments read piece by piece.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tipline_proto::Entry;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tokio::sync::mpsc;

use super::format::segment;
use super::{file, filled, open, runtime, store};
use crate::archive::format::encode;
use crate::{Archive, ArchiveError, Keys, SegmentName};
use tipline_store::Sink;

async fn pieces(archive: &Archive, name: &SegmentName) -> Result<Vec<Vec<Entry>>, ArchiveError> {
    let (sender, mut receiver) = mpsc::channel(1);
    let collect = async {
        let mut pieces = vec![];
        while let Some(entries) = receiver.recv().await {
            pieces.push(entries);
        }
        pieces
    };
    let (read, pieces) = tokio::join!(archive.pieces(name, sender), collect);
    read.map(|()| pieces)
}

/// One segment of these entries.
fn one(directory: &Path, history: &History) -> (Archive, SegmentName) {
    let runtime = runtime();
    let mut store = store(&runtime, directory);
    store.create(&log()).unwrap();
    store.apply(&Model::new(&log()).batch(&history.entries)).unwrap();
    let archive = runtime.block_on(open(directory));
    let names = runtime.block_on(archive.segments()).unwrap();
    assert_eq!(names.len(), 1);
    (archive, names[0].clone())
}

#[test]
fn pieces_are_the_entries() {
    for (history, least) in [
        (History::random(3, 300), 1),
        (History::blocks(40, 700 << 10), 3),
        // Larger than what is unpacked at once.
        (History::blocks(1, 20 << 20), 1),
        (History::blocks(1, 0), 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (archive, name) = one(directory.path(), &history);
        let pieces = runtime().block_on(pieces(&archive, &name)).unwrap();
        assert!(pieces.len() >= least, "{} pieces", pieces.len());
        assert!(pieces.concat() == history.entries);
    }
}

/// Nobody has the memory for what somebody made huge.
#[test]
fn what_is_far_too_long_is_not_read() {
    let (directory, history) = (tempfile::tempdir().unwrap(), History::blocks(9, 1 << 10));
    let (archive, name) = one(directory.path(), &history);
    let length = 1_u64 << 40;
    // Its trailer is right: the index is nearly all of it.
    let mut trailer = vec![0; 4];
    for piece in [8, length - 8 - 8 - 8 - 164, 8] {
        trailer.extend_from_slice(&u64::to_le_bytes(piece));
    }
    trailer.resize(124, 7);
    let hash = blake3::hash(&trailer);
    let trailer = [&trailer[..], hash.as_bytes(), b"TIPLEND1"].concat();
    let path = file(directory.path(), &name);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length).unwrap();
    file.write_all_at(&trailer, length - 164).unwrap();
    let name = SegmentName { bytes: length, ..name };
    let runtime = runtime();
    let read = [
        runtime.block_on(archive.index(&name)).unwrap_err(),
        runtime.block_on(archive.entries(&name)).unwrap_err(),
        runtime.block_on(pieces(&archive, &name)).unwrap_err(),
    ];
    for error in read {
        assert!(matches!(error, ArchiveError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("bytes"), "{error}");
    }
}

/// What is packed into few bytes may be any number of bytes.
#[test]
fn what_is_too_much_unpacked_is_refused_before_all_of_it_is_unpacked() {
    let (directory, history) = (tempfile::tempdir().unwrap(), History::blocks(4, 10));
    let (archive, _) = one(directory.path(), &history);
    let (index, entries) = segment(&History::blocks(4, 20 << 20).entries, 0);
    let bytes = encode(&index, &entries, &Keys::default()).unwrap();
    let name = SegmentName::new(1, &index.after.position, bytes.len() as u64);
    fs::write(file(directory.path(), &name), bytes).unwrap();
    for error in [
        runtime().block_on(pieces(&archive, &name)).unwrap_err(),
        runtime().block_on(archive.entries(&name)).unwrap_err(),
    ] {
        assert!(matches!(error, ArchiveError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("67109892 bytes"), "{error}");
    }
}

#[test]
fn of_many_segments_too() {
    let (directory, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let history = History::random(4, 500);
    filled(&runtime, directory.path(), &history.entries, 60, 4);
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        for name in archive.segments().await.unwrap() {
            let pieces = pieces(&archive, &name).await.unwrap();
            assert_eq!(pieces.concat(), archive.entries(&name).await.unwrap().1, "{name}");
        }
    });
}

#[test]
fn whatever_is_damaged_is_found_by_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, name) = one(directory.path(), &History::random(5, 20));
    let (file, runtime) = (file(directory.path(), &name), runtime());
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&file, damaged).unwrap();
        let found = runtime.block_on(pieces(&archive, &name));
        assert!(matches!(found, Err(ArchiveError::Corrupt { .. })), "byte {at}: {found:?}");
    }
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(runtime.block_on(pieces(&archive, &name)).is_err());
}
