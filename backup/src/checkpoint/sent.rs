//! What was sent of a checkpoint, encrypted: written down here, because the same file is never
//! encrypted to the same bytes again.
//!
//! It is a help, no proof: a file counts once it was read back. So lines are not fsynced, and one
//! that cannot be read is passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::manifest::ManifestFile;
use crate::disk;

/// The file in the folder of a checkpoint.
const NAME: &str = "sent.jsonl";

/// A line.
#[derive(Serialize, Deserialize)]
struct Line {
    place: String,
    path: String,
    bytes: u64,
    blake3: String,
    plain_bytes: u64,
}

/// The files that were sent to a place.
pub(super) struct SentFiles {
    file: PathBuf,
    place: String,
    sent: Mutex<BTreeMap<String, ManifestFile>>,
}

impl SentFiles {
    /// Of the checkpoint in this folder.
    pub(super) fn read(folder: &Path, place: &str) -> Self {
        let file = folder.join(NAME);
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let sent = lines.filter(|line| line.place == place).filter_map(|line| {
            let Line { path, bytes, blake3, plain_bytes, .. } = line;
            let blake3 = blake3.parse().ok()?;
            let plain_bytes = Some(plain_bytes);
            let sent =
                ManifestFile { path: path.clone(), bytes, blake3, shared: None, plain_bytes };
            Some((path, sent))
        });
        let sent = Mutex::new(sent.collect());
        Self { file, place: place.to_owned(), sent }
    }

    /// A file, as it was sent the last time.
    pub(super) fn get(&self, path: &str) -> Option<ManifestFile> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Writes down that a file was sent.
    pub(super) fn add(&self, sent: &ManifestFile) -> io::Result<()> {
        let line = Line {
            place: self.place.clone(),
            path: sent.path.clone(),
            bytes: sent.bytes,
            blake3: sent.blake3.to_string(),
            plain_bytes: sent.plain_bytes.unwrap_or_default(),
        };
        let mut line = serde_json::to_string(&line)?;
        line.push('\n');
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        disk::open_to_append(&self.file)?.write_all(line.as_bytes())?;
        all.insert(sent.path.clone(), sent.clone());
        Ok(())
    }
}
