//! The content of a backup, decrypted. FORMAT, keep stable: a tar archive whose first
//! entry is `identity.json`, followed by the files it names, in its order, under their names.
//!
//! On the worst day `age --decrypt --identity KEY FILE | tar -x` is all that is needed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tipline_proto::Timestamp;

use super::error::IdentityError;
use super::key_file::KeyFile;
use super::name::IdentityName;

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;
const INDEX: &str = "identity.json";
/// Most key files of one node.
const MAX_FILES: usize = 100;
/// Most bytes of all of them. Keys are small: more than this is something else.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// Most bytes of what names them.
const MAX_INDEX_BYTES: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    format: u32,
    name: String,
    time_us: u64,
    files: Vec<Indexed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Indexed {
    name: String,
    /// Where it was on its machine.
    path: PathBuf,
    bytes: u64,
    blake3: String,
}

/// Reads key files.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<KeyFile>, IdentityError> {
    let unusable = |what: String| IdentityError::Unusable { what };
    if paths.is_empty() || paths.len() > MAX_FILES {
        let what = format!("{} key files were given: give 1 to {MAX_FILES}", paths.len());
        return Err(unusable(what));
    }
    let mut files: Vec<KeyFile> = Vec::new();
    let mut left = MAX_BYTES;
    for path in paths {
        let unreadable = |source| IdentityError::Unreadable { file: path.clone(), source };
        // As it is called on this machine: a link may lead elsewhere tomorrow, and whoever uses the
        // key knows it by this name.
        let path = std::path::absolute(path).map_err(unreadable)?;
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| *name != INDEX) else {
            return Err(unusable(format!("the name of {} cannot be kept", path.display())));
        };
        if let Some(other) = files.iter().find(|file| file.name == name) {
            let (a, b) = (other.path.display(), path.display());
            return Err(unusable(format!("{a} and {b} have the same name: back them up apart")));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(unreadable)?;
        file.take(left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > left {
            let what = format!("the key files have more than {MAX_BYTES} bytes: are they keys?");
            return Err(unusable(what));
        }
        left -= bytes.len() as u64;
        files.push(KeyFile { name: name.to_owned(), path, bytes });
    }
    Ok(files)
}

/// Packs key files.
pub(super) fn pack(name: &IdentityName, time: Timestamp, files: &[KeyFile]) -> io::Result<Vec<u8>> {
    let indexed = files.iter().map(|file| Indexed {
        name: file.name.clone(),
        path: file.path.clone(),
        bytes: file.bytes.len() as u64,
        blake3: blake3::hash(&file.bytes).to_hex().to_string(),
    });
    let time_us = time.as_micros();
    let index = Index { format: FORMAT, name: name.to_string(), time_us, files: indexed.collect() };
    let mut tar = tar::Builder::new(Vec::new());
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time_us / 1_000_000);
        tar.append_data(&mut header, name, bytes)
    };
    append(INDEX, &serde_json::to_vec_pretty(&index)?)?;
    for file in files {
        append(&file.name, &file.bytes)?;
    }
    tar.into_inner()
}

/// Unpacks them, and checks that this is the whole backup of this name and time.
///
/// # Errors
/// What is wrong with it.
pub(super) fn unpack(
    packed: &[u8],
    name: &IdentityName,
    time: Timestamp,
) -> Result<Vec<KeyFile>, String> {
    let mut tar = tar::Archive::new(packed);
    let mut entries = tar.entries().map_err(|e| e.to_string())?;
    let mut left = MAX_BYTES + MAX_INDEX_BYTES;
    let mut next = |expected: &str| {
        let entry = entries.next().ok_or(format!("{expected} is missing"))??;
        if entry.path()? != Path::new(expected) {
            return Err(format!("{expected} is missing").into());
        }
        // A sparse one may say that it has terabytes.
        if !entry.header().entry_type().is_file() {
            return Err(format!("{expected} is no plain file").into());
        }
        let mut bytes = Vec::new();
        entry.take(left + 1).read_to_end(&mut bytes)?;
        let rest = left.checked_sub(bytes.len() as u64);
        left = rest.ok_or(format!("{expected} is too large"))?;
        Ok::<_, Box<dyn std::error::Error>>(bytes)
    };
    let index = next(INDEX).map_err(|e| e.to_string())?;
    let index: Index = serde_json::from_slice(&index).map_err(|e| format!("{INDEX}: {e}"))?;
    if index.format != FORMAT {
        return Err(format!("it has format {}, this version reads {FORMAT}", index.format));
    }
    if (&*index.name, index.time_us) != (&*name.to_string(), time.as_micros()) {
        return Err(format!("inside is the backup of {} of another time or node", index.name));
    }
    if index.files.len() > MAX_FILES {
        return Err(format!("it has {} files, over {MAX_FILES}", index.files.len()));
    }
    let mut files = Vec::new();
    for Indexed { name, path, bytes: length, blake3 } in index.files {
        let is_name = Path::new(&name).file_name() == Some(name.as_ref()) && name != INDEX;
        if files.iter().any(|file: &KeyFile| file.name == name) {
            return Err(format!("{INDEX} names {name} twice"));
        }
        let bytes = next(&name).map_err(|e| e.to_string())?;
        let is_same =
            bytes.len() as u64 == length && blake3::hash(&bytes).to_hex().as_str() == blake3;
        if !is_name || !is_same {
            return Err(format!("{name} is not what was backed up"));
        }
        files.push(KeyFile { name, path, bytes });
    }
    if entries.next().is_some() {
        return Err(format!("it has files that {INDEX} does not name"));
    }
    Ok(files)
}
