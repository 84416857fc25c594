//! Files that several checkpoints of a set share.
//!
//! ```text
//! shared/part-0/…     the engine's own folder, for the first part
//! ID/copy-0           the number of the engine's copy that the checkpoint ID consists of
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::manifest::{MANIFEST, Manifest, ManifestFile};
use super::tree;
use crate::disk;
use crate::throttle::Throttle;

/// The folder of all that is shared.
const SHARED: &str = "shared";

/// Where the engine of a part keeps its files, below the set.
pub(super) fn engine(number: usize) -> String {
    format!("{SHARED}/part-{number}")
}

/// Writes down which copy a checkpoint consists of. Durable with the checkpoint's directory.
pub(super) fn note(root: &Path, number: usize, copy: u32) -> Result<(), CheckpointError> {
    let path = root.join(format!("copy-{number}"));
    let written = disk::write_new(&path, copy.to_string().as_bytes());
    written.map_err(CheckpointError::file(format!("writing {}", path.display())))
}

/// Makes the names of the engines' folders durable.
pub(super) fn flush(set: &Path) -> Result<(), CheckpointError> {
    tree::flush(&set.join(SHARED))
}

/// Hashes shared files, each of which is given by its path in the checkpoint and in the set.
pub(super) fn hash(
    set: &Path,
    files: Vec<(String, String)>,
    throttle: &Throttle,
) -> Result<Vec<ManifestFile>, CheckpointError> {
    let mut objects = Vec::with_capacity(files.len());
    for (_, object) in &files {
        let length = fs::metadata(set.join(object)).map(|found| found.len());
        let failed = CheckpointError::file(format!("reading the size of {object}"));
        objects.push((object.clone(), length.map_err(failed)?));
    }
    let hashed = tree::hash(set, objects, throttle)?;
    let file = |((path, object), hashed): ((String, String), ManifestFile)| ManifestFile {
        path,
        shared: Some(object),
        ..hashed
    };
    Ok(files.into_iter().zip(hashed).map(file).collect())
}

/// Removes shared files that no manifest refers to, and copies that no checkpoint consists of. Hold
/// the set's lock. While there is a manifest that cannot be read nothing is removed, because it may
/// refer to anything.
pub(super) fn collect(set: &Path) -> Result<(), CheckpointError> {
    let shared = set.join(SHARED);
    if !shared.is_dir() {
        return Ok(());
    }
    let failed = |e| CheckpointError::file(format!("clearing {}", shared.display()))(e);
    let Some(used) = used(set).map_err(failed)? else {
        tracing::warn!(set = %set.display(), "shared files stay: a manifest is damaged");
        return Ok(());
    };
    for part in names(&shared).map_err(failed)? {
        let engine = shared.join(&part);
        let object = |folder: &str, name: &str| format!("{SHARED}/{part}/{folder}/{name}");
        // First the lists: a list of what is not there is none.
        for folder in ["meta", "private"] {
            for copy in names(&engine.join(folder)).map_err(failed)? {
                let is_used = used.copies.contains(&(part.clone(), copy.clone()));
                if !is_used {
                    disk::remove(&engine.join(folder).join(copy)).map_err(failed)?;
                }
            }
        }
        for name in names(&engine.join("shared_checksum")).map_err(failed)? {
            if !used.objects.contains(&object("shared_checksum", &name)) {
                disk::remove(&engine.join("shared_checksum").join(name)).map_err(failed)?;
            }
        }
    }
    tree::flush(&shared)
}

/// What all manifests of a set refer to.
#[derive(Default)]
struct Used {
    /// Objects.
    objects: BTreeSet<String>,
    /// The engine's copies, of each part.
    copies: BTreeSet<(String, String)>,
}

/// None: there is one that cannot be read.
fn used(set: &Path) -> io::Result<Option<Used>> {
    let mut used = Used::default();
    for name in names(set)? {
        let Ok(id) = name.parse::<CheckpointId>() else { continue };
        let root = set.join(&name);
        let text = match fs::read(root.join(MANIFEST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let Ok(manifest) = Manifest::from_text(&id, &text) else { return Ok(None) };
        used.objects.extend(manifest.files.into_iter().filter_map(|file| file.shared));
        for number in 0..manifest.parts.len() {
            if let Ok(copy) = fs::read_to_string(root.join(format!("copy-{number}"))) {
                used.copies.insert((format!("part-{number}"), copy));
            }
        }
    }
    Ok(Some(used))
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let found = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        found => found?,
    };
    found.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

impl Manifest {
    /// The same without shared files and packs, as it is made at other places.
    pub(super) fn alone(&self) -> Self {
        let file =
            |file: &ManifestFile| ManifestFile { shared: None, packed: None, ..file.clone() };
        Self { files: self.files.iter().map(file).collect(), ..self.head() }
    }
}
