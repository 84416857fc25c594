//! Each file of a log removed, replaced, cut, emptied, zeroed, and a byte of it flipped, while the log
//! is used and while nobody has it open: what is said, and that no entry is given that was not
//! written.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tipline_proto::{Entry, Lineage, LogIdentity};
use tokio::time::timeout;

use super::{identity, text, unit};
use crate::embedded::files::with_suffix;
use crate::embedded::{EmbeddedLog, LOOK_AGAIN, sqlite};
use crate::error::{AppendError, LogError};
use crate::spec::{Appender, Reader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Removed,
    /// By a copy of it.
    Replaced,
    Cut,
    /// By one byte. Its last page stays, for those that have it in their memory.
    Shortened,
    Emptied,
    Zeroed,
    /// In its place, by the bytes of another log.
    Overwritten,
    /// The byte in the middle.
    Flipped,
}

use How::{Cut, Emptied, Flipped, Overwritten, Removed, Replaced, Shortened, Zeroed};

fn spoil(file: &Path, how: How) {
    let open = || OpenOptions::new().read(true).write(true).open(file).unwrap();
    match how {
        Removed => fs::remove_file(file).unwrap(),
        Replaced => {
            let copy = with_suffix(file, ".copy");
            fs::copy(file, &copy).unwrap();
            fs::rename(copy, file).unwrap();
        }
        Cut => open().set_len(4096).unwrap(),
        Shortened => open().set_len(fs::metadata(file).unwrap().len() - 1).unwrap(),
        Emptied => open().set_len(0).unwrap(),
        Zeroed => {
            let length = fs::metadata(file).unwrap().len();
            open().write_all(&vec![0; length as usize]).unwrap();
        }
        Overwritten => open().write_all(&another_log()).unwrap(),
        Flipped => flip(file, fs::metadata(file).unwrap().len() / 2),
    }
}

fn another_log() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let another = LogIdentity { lineage: Lineage::from_bytes([8; 16]), ..identity() };
    File::create(&path).unwrap();
    sqlite::create(&path, "test", &another).unwrap();
    fs::read(path).unwrap()
}

fn flip(file: &Path, at: u64) {
    let mut byte = fs::read(file).unwrap()[at as usize];
    byte ^= 0x5A;
    let mut file: File = OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte]).unwrap();
}

/// A log whose oldest entries are in its file, and whose newest ones are in the write-ahead log.
async fn log(path: &Path) -> (EmbeddedLog, Vec<Entry>) {
    let log = EmbeddedLog::create(path, &identity()).await.unwrap();
    let (mut tail, mut written) = (log.tail().await.unwrap(), vec![]);
    for lengths in [&[50_000; 100][..], &[100; 100], &[3000; 100]] {
        let unit = unit(&tail, lengths);
        tail = log.append(&tail, &unit).await.unwrap();
        written.extend(unit);
    }
    (log, written)
}

/// All that can be read of it; each must be what was written.
async fn read_all(log: &EmbeddedLog, written: &[Entry]) -> Result<usize, LogError> {
    let last = log.tail().await?.position.index as usize;
    let mut subscription = log.subscribe(None, 0).await?;
    let mut count = 0;
    while count < last {
        for entry in subscription.next().await? {
            assert!(entry == written[count], "entry {} is not what was written", entry.index);
            count += 1;
        }
    }
    Ok(count)
}

fn file(directory: &Path, suffix: &str) -> PathBuf {
    with_suffix(&directory.join("log.db"), suffix)
}

/// What somebody is told who appends, who reads the tail, and who follows; and how much can be read
/// afterwards, if anything.
async fn in_use(suffix: &str, how: How) -> ([String; 3], Option<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let (log, mut written) = log(&path).await;
    // Other processes do not share more than the files.
    let primary = EmbeddedLog::open(&path).await.unwrap();
    let tail = primary.tail().await.unwrap();
    let reader = EmbeddedLog::open(&path).await.unwrap();
    let newest = unit(&tail, &[100; 5]);
    let tail = log.append(&tail, &newest).await.unwrap();
    let mut following = reader.subscribe(None, tail.position.index).await.unwrap();
    written.extend(newest);
    spoil(&file(directory.path(), suffix), how);

    let followed = timeout(LOOK_AGAIN + Duration::from_secs(3), following.next()).await;
    let followed = said(followed.map_or(Ok(()), |next| next.map(drop)));
    let read = said(primary.tail().await.map(drop));
    let more = unit(&tail, &[1]);
    let appended = match log.append(&tail, &more).await {
        Ok(_) => said(Ok(())),
        Err(AppendError::Doubt(error)) => said(Err(error)),
        Err(other) => format!("{other:?}"),
    };
    written.extend(more);
    drop((log, primary, reader, following));
    let left = match EmbeddedLog::open(&path).await {
        Ok(log) => read_all(&log, &written).await.ok(),
        Err(_) => None,
    };
    ([appended, read, followed], left)
}

/// The kind of the error, and its text.
fn said(result: Result<(), LogError>) -> String {
    let Err(error) = result else { return "nothing".to_owned() };
    let kind = format!("{error:?}");
    format!("{}: {}", kind.split(' ').next().unwrap_or_default(), text(&error))
}

/// Files that are not the ones that were opened are named within seconds, whoever looks. What is
/// changed within a file shows when it is read, which the primary does with the tail every 5 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_used() {
    let (removed, replaced, cut) = ("was removed", "was replaced", "was cut");
    let (all, nothing) = (|what| [what; 3], "nothing");
    let cases = [
        ("", Removed, all(removed)),
        ("", Replaced, all(replaced)),
        ("", Cut, all(cut)),
        ("", Emptied, all(cut)),
        // Who appends does not read the file, and who follows has nothing to read.
        ("", Zeroed, [nothing, "Corrupt", nothing]),
        ("", Overwritten, [nothing, "WrongLog", nothing]),
        ("", Flipped, all(nothing)),
        ("-wal", Removed, all(removed)),
        ("-wal", Replaced, all(replaced)),
        // Others may cut it, too. Whether they were right to, only the writer can tell.
        ("-wal", Cut, [cut, cut, nothing]),
        ("-wal", Emptied, [cut, cut, nothing]),
        ("-wal", Zeroed, [nothing, "Corrupt", nothing]),
        ("-wal", Flipped, all(nothing)),
        ("-shm", Removed, all(removed)),
        ("-shm", Replaced, all(replaced)),
        // Whoever has it open does not survive that pages of it are cut away.
        ("-shm", Shortened, all(cut)),
        // It is made again from the write-ahead log.
        ("-shm", Zeroed, all(nothing)),
    ];
    let found = join_all(cases.map(|(suffix, how, _)| in_use(suffix, how))).await;
    for ((suffix, how, expected), (said, left)) in cases.iter().zip(found) {
        let case = format!("{suffix:?} {how:?}: {said:#?}; {left:?} entries are left");
        println!("{case}");
        let is_said = |(said, expected): (&String, &&str)| said.contains(expected);
        assert!(said.iter().zip(expected).all(is_said), "{case}; expected {expected:?}");
    }
}

/// As a killed process leaves it: in a directory, with what was written.
async fn killed() -> (TempDir, Vec<Entry>) {
    let (used, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, written) = log(&used.path().join("log.db")).await;
    for suffix in ["", "-wal"] {
        fs::copy(file(used.path(), suffix), file(left.path(), suffix)).unwrap();
    }
    drop(log);
    (left, written)
}

/// Opens a copy of it that was spoiled, and reads it to the end.
async fn after(
    left: &TempDir,
    written: &[Entry],
    spoil: impl FnOnce(&Path),
) -> Result<usize, LogError> {
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(file(left.path(), suffix), file(copy.path(), suffix)).unwrap();
    }
    spoil(copy.path());
    let log = EmbeddedLog::open(copy.path().join("log.db")).await?;
    read_all(&log, written).await
}

/// A write-ahead log that is gone, or ends early, gives a shorter log: no file says how long it was.
/// The outbox knows, and publishes again.
#[tokio::test]
async fn while_nobody_has_it_open() {
    let (left, written) = killed().await;
    let whole = after(&left, &written, |_| ()).await.unwrap();
    assert_eq!(whole, written.len());
    for (suffix, how, expected) in [
        ("", Removed, Err("NotFound")),
        ("", Cut, Err("Corrupt")),
        ("", Emptied, Err("Unusable")),
        ("", Zeroed, Err("Corrupt")),
        ("", Flipped, Err("entry")),
        ("-wal", Removed, Ok(100)),
        ("-wal", Cut, Ok(100)),
        ("-wal", Emptied, Ok(100)),
        ("-wal", Zeroed, Ok(100)),
    ] {
        let found = after(&left, &written, |copy| spoil(&file(copy, suffix), how)).await;
        let is_right = match (&found, expected) {
            (Ok(found), Ok(expected)) => *found == expected,
            (Err(error), Err(expected)) => format!("{error:?} {}", text(error)).contains(expected),
            _ => false,
        };
        assert!(is_right, "{suffix:?} {how:?}: {found:?}, expected {expected:?}");
    }
}

/// Everyone who opens it is told, although what they read next is whole.
#[tokio::test]
async fn a_file_that_was_cut_beside_its_write_ahead_log_is_not_opened() {
    let (left, written) = killed().await;
    let length = fs::metadata(file(left.path(), "")).unwrap().len();
    for keep in [length / 2, 8192] {
        let cut = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            fs::copy(file(left.path(), suffix), file(cut.path(), suffix)).unwrap();
        }
        let path = file(cut.path(), "");
        OpenOptions::new().write(true).open(&path).unwrap().set_len(keep).unwrap();
        let refused = EmbeddedLog::open(&path).await.map(drop).unwrap_err();
        let told = text(&refused);
        assert!(matches!(refused, LogError::Corrupt { .. }), "{keep}: {refused:?}");
        assert!(told.contains(path.to_str().unwrap()) && told.contains("it was cut"), "{told}");
    }
    assert_eq!(after(&left, &written, |_| ()).await.unwrap(), written.len());
}

/// A byte that changed anywhere: what is read is what was written, or it is said.
#[tokio::test]
async fn any_byte() {
    let (left, written) = killed().await;
    let (mut shorter, mut named, mut unused) = (0, 0, 0);
    for suffix in ["", "-wal"] {
        let length = fs::metadata(file(left.path(), suffix)).unwrap().len();
        // Close together where the header and the first pages are.
        let places = (0..60).map(|at| at * 17).chain((1..60).map(|at| at * (length / 60) + at));
        for at in places {
            match after(&left, &written, |copy| flip(&file(copy, suffix), at)).await {
                Ok(count) if count < written.len() => shorter += 1,
                Ok(_) => unused += 1,
                Err(error) => {
                    let is_named =
                        matches!(error, LogError::Corrupt { .. } | LogError::Unusable { .. });
                    assert!(is_named, "{suffix:?} byte {at}: {error:?}");
                    named += 1;
                }
            }
        }
    }
    println!("{named} named, {shorter} times the log is shorter, {unused} bytes of no consequence");
    assert!(named > 0 && shorter > 0);
}
