//! The lines of the admin protocol, for `fuzz/` and the bounded test alone.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line::{MAX_LINE, NoLine, read_line};
use super::protocol::{Answer, Request};

/// Bytes as what a client or a process sends: as lines, and each line as a request and as an answer.
pub(crate) fn lines(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(runtime) = runtime else { return };
    let (mut rest, mut left) = (bytes, bytes);
    loop {
        let mut line = Vec::new();
        match runtime.block_on(read_line(&mut rest, &mut line)) {
            Ok(()) => {
                assert_eq!(left.split(|byte| *byte == b'\n').next(), Some(&*line));
                assert!(line.len() < MAX_LINE);
                stable::<Request>(&line);
                stable::<Answer>(&line);
            }
            Err(NoLine::Closed) => {
                assert_eq!(line, left, "the end of all of it");
                assert!(line.len() < MAX_LINE);
                return;
            }
            Err(NoLine::TooLong) => {
                assert_eq!(line, left[..MAX_LINE], "no more of it is kept");
                return;
            }
            Err(NoLine::Io(error)) => assert_eq!(error.to_string(), "", "it is memory"),
        }
        left = rest;
    }
}

/// What is read is written and read again the same, and there is one form of it.
fn stable<T: DeserializeOwned + Serialize + Debug + PartialEq>(line: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(line) else { return };
    let Ok(again) = serde_json::to_vec(&value) else {
        assert_eq!(Some(&value), None, "it is not written");
        return;
    };
    assert!(!again.contains(&b'\n'), "a line is one line");
    let read: Option<T> = serde_json::from_slice(&again).ok();
    assert_eq!(read, Some(value));
    assert_eq!(read.and_then(|read| serde_json::to_vec(&read).ok()), Some(again));
}
