//! What the target of `fuzz/` does, over some changes of what is right: it has no fuzzer here. And what
//! both sides do with lines that are none.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::super::line::MAX_LINE;
use super::super::protocol::{Answer, Request};
use super::super::{AdminError, AdminServer, Mark, cancel_checkpoint};
use super::{order, start};
use crate::admin::fuzzing::lines;

/// Every request, and every answer. Fuzzing begins with them, too.
const GOLDEN: &str = include_str!("golden.txt");

/// An older client asks a newer process, and the other way round.
#[test]
fn golden_lines_are_read_and_written_again_as_they_are() {
    for line in GOLDEN.lines() {
        let request = serde_json::from_str(line).map(|read: Request| serde_json::to_string(&read));
        let answer = serde_json::from_str(line).map(|read: Answer| serde_json::to_string(&read));
        let same = [request, answer].into_iter().flatten().any(|again| again.unwrap() == line);
        assert!(same, "{line}");
    }
    // What may be left out by a client from before there was a choice.
    let old = r#"{"checkpoint":{"checkpoints":"dir:set","upload":null,"rate":null}}"#;
    let wanted = super::CheckpointOrder { checkpoints: "dir:set".to_owned(), ..order("".as_ref()) };
    assert_eq!(serde_json::from_str::<Request>(old).unwrap(), Request::Checkpoint(wanted));
}

#[test]
fn decoders_of_the_admin_protocol_do_not_panic() {
    let seed = std::env::var("TIPLINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("TIPLINE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    lines(GOLDEN.as_bytes());
    let golden: Vec<&str> = GOLDEN.lines().collect();
    for _ in 0..3_000 {
        let mut bytes = golden[rng.random_range(0..golden.len())].as_bytes().to_vec();
        bytes.push(b'\n');
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, b"\"{}[]:,\\\n\0-9e"[rng.random_range(0..13)]),
            }
        }
        lines(&bytes);
    }
    for length in [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE] {
        for end in [&b""[..], b"\n", b"\n\"thaw\"\n"] {
            lines(&[&vec![b' '; length][..], end].concat());
        }
    }
}

/// What is answered to these bytes, all of it.
async fn answered(directory: &TempDir, bytes: &[u8]) -> String {
    let client = UnixStream::connect(directory.path().join("admin")).await.unwrap();
    let (mut read, mut write) = client.into_split();
    let bytes = bytes.to_vec();
    // Nobody may read it to its end.
    let sent = tokio::spawn(async move {
        _ = write.write_all(&bytes).await;
        _ = write.shutdown().await;
    });
    let mut answer = Vec::new();
    _ = read.read_to_end(&mut answer).await;
    sent.await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_answers_nothing_but_whole_requests() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let _server = start(directory.path(), &socket);
    let request = "\"cancel-checkpoint\"\n";
    let whole = answered(&directory, request.as_bytes()).await;
    assert_eq!(whole, "{\"cancelled\":{\"any\":false}}\n");
    for length in [MAX_LINE, 64 * MAX_LINE] {
        let long = answered(&directory, &vec![b' '; length]).await;
        assert!(long.contains("a line has more than 64 KiB"), "{long}");
    }
    // As long as it may be.
    let padded = format!("{}{request}", " ".repeat(MAX_LINE - request.len()));
    assert_eq!(answered(&directory, padded.as_bytes()).await, whole);
    assert_eq!(answered(&directory, request.trim().as_bytes()).await, "", "half a line");
    for garbage in [&b"\xff\xfe\n"[..], b"\n", b"{}\n", b"\"thaw\" \"thaw\"\n"] {
        let told = answered(&directory, garbage).await;
        assert!(told.contains("this is no request"), "{told}");
    }
}

/// What ends a freeze in time is the word of whoever froze it, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_word_does_not_say_that_a_store_was_frozen_until_now() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let _server = start(directory.path(), &socket);
    let freeze = "{\"freeze\":{\"max_ms\":60000}}\n";
    for (thaw, in_time) in [
        ("\"thaw\"\n", true),
        ("\"thaw\"", false),
        ("\"tha", false),
        ("\n", false),
        ("\"resume\"\n", false),
    ] {
        let told = answered(&directory, format!("{freeze}{thaw}").as_bytes()).await;
        let wanted =
            format!("{{\"frozen\":{{\"index\":0}}}}\n{{\"thawed\":{{\"in_time\":{in_time}}}}}\n");
        assert_eq!(told, wanted, "{thaw:?}");
    }
}

/// A process that answers without an end, or with more words than a line has room for.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_no_more_than_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let listener = UnixListener::bind(&socket).unwrap();
    let endless = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut sent = 0;
        while client.write_all(&[b' '; 4096]).await.is_ok() {
            sent += 4096;
        }
        sent
    });
    let refused = cancel_checkpoint(&socket).await;
    assert!(matches!(refused, Err(AdminError::TooLong)), "{refused:?}");
    // The rest is in the buffers of the two sides.
    assert!(endless.await.unwrap() < 64 * MAX_LINE);

    std::fs::remove_file(&socket).unwrap();
    let mark = Mark::new(|_| Err(std::io::Error::other("x".repeat(MAX_LINE))));
    let _server = AdminServer::start_primary(&socket, mark).unwrap();
    let refused = super::request_mark(&socket, &"here".parse().unwrap()).await;
    let Err(AdminError::Refused { why }) = refused else { unreachable!("{refused:?}") };
    assert!(why.contains("longer than a line may be"), "{why}");
}
