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

use super::id::CheckpointId;
use super::labels::Labels;
use super::manifest::{MANIFEST, Manifest, ManifestFile, Pack};
use super::packing::NewPack;
use crate::disk;
use crate::keys::Keys;

/// The file in the folder of a checkpoint.
const NAME: &str = "sent.jsonl";

/// A line, of a file or of a pack. Those of earlier versions have neither an object nor recipients.
#[derive(Serialize, Deserialize)]
struct Line {
    place: String,
    path: String,
    bytes: u64,
    blake3: String,
    plain_bytes: u64,
    /// Where it is in the set, if checkpoints share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// The BLAKE3 of whom it is encrypted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Of a pack, the key that it begins with. It is no more secret here than the files are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// The files that were sent to a place.
pub(super) struct SentFiles {
    file: PathBuf,
    place: String,
    to: String,
    /// By path.
    sent: Mutex<BTreeMap<String, ManifestFile>>,
    /// Those of other checkpoints that may be shared, by what they are here.
    earlier: BTreeMap<Plain, ManifestFile>,
    /// Packs of this one and of others, by their objects.
    packs: BTreeMap<String, SentPack>,
    /// The objects of the same by what was packed.
    packs_of: BTreeMap<String, String>,
}

/// A pack that was sent.
#[derive(Clone)]
struct SentPack {
    /// What the path of its line is: [`PACKS`], and what was packed.
    path: String,
    pack: Pack,
    labels: Labels,
}

/// What the path of a pack begins with in its line. It ends with what was packed.
const PACKS: &str = "packs/";

/// A file as it is here: the bytes of its BLAKE3, and its length.
type Plain = ([u8; 32], u64);

impl SentFiles {
    /// Of a checkpoint of the set in this folder, and of the others that are still in it.
    pub(super) fn read(set: &Path, id: &CheckpointId, place: &str, keys: &Keys) -> Self {
        let to = blake3::hash(keys.recipients().join("\n").as_bytes()).to_string();
        let file = set.join(id.as_str()).join(NAME);
        let is_for_them =
            |line: &Line| line.place == place && line.to.as_ref().is_none_or(|line| *line == to);
        let own: Vec<Line> = lines(&file).into_iter().filter(is_for_them).collect();
        let mut packs: Vec<SentPack> = own.iter().filter_map(SentPack::new).collect();
        let sent = own.into_iter().filter_map(Line::sent);
        let sent: BTreeMap<String, ManifestFile> =
            sent.map(|sent| (sent.path.clone(), sent)).collect();
        let mut earlier = BTreeMap::new();
        for entry in fs::read_dir(set).into_iter().flatten().flatten() {
            let other = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(other) = other.filter(|other| other != id) else { continue };
            let lines = lines(&entry.path().join(NAME)).into_iter();
            let shared = lines.filter(|line| line.object.is_some()).filter(is_for_them);
            let (others, shared): (Vec<Line>, Vec<Line>) =
                shared.partition(|line| line.path.starts_with(PACKS));
            packs.extend(others.iter().filter_map(SentPack::new));
            if shared.is_empty() {
                continue;
            }
            let shared = shared.into_iter().filter_map(Line::sent);
            let shared: BTreeMap<_, _> = shared.map(|sent| (sent.path.clone(), sent)).collect();
            let text = fs::read(entry.path().join(MANIFEST)).unwrap_or_default();
            let Ok(manifest) = Manifest::from_text(&other, &text) else { continue };
            for here in manifest.files {
                if let Some(sent) = shared.get(&here.path) {
                    earlier.insert((*here.blake3.as_bytes(), here.bytes), sent.clone());
                }
            }
        }
        let object = |sent: &SentPack| sent.pack.object.clone();
        let packs_of = packs.iter().map(|sent| (sent.path.clone(), object(sent))).collect();
        let packs = packs.into_iter().map(|sent| (object(&sent), sent)).collect();
        let (place, sent) = (place.to_owned(), Mutex::new(sent));
        Self { file, place, to, sent, earlier, packs, packs_of }
    }

    /// A file, as it was sent the last time, for this checkpoint or another.
    pub(super) fn get(&self, file: &ManifestFile) -> Option<ManifestFile> {
        let sent =
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(&file.path).cloned();
        let earlier = || self.earlier.get(&(*file.blake3.as_bytes(), file.bytes)).cloned();
        sent.or_else(earlier).map(|sent| ManifestFile { path: file.path.clone(), ..sent })
    }

    /// The pack of these files, if it was sent.
    pub(super) fn pack_of(&self, packed: blake3::Hash) -> Option<NewPack> {
        let SentPack { pack, labels, .. } =
            self.packs.get(self.packs_of.get(&format!("{PACKS}{packed}"))?)?.clone();
        Some(NewPack { pack, labels })
    }

    /// The labels of a pack that was sent, and is encrypted to whom it is to be.
    pub(super) fn labels_of(&self, pack: &Pack) -> Option<Labels> {
        self.packs.get(&pack.object).filter(|sent| sent.pack == *pack).map(|sent| sent.labels)
    }

    /// Writes down that a pack of these files was sent.
    pub(super) fn add_pack(&self, packed: blake3::Hash, sent: &NewPack) -> io::Result<()> {
        let NewPack { pack, labels } = sent.clone();
        self.write_pack(&SentPack { path: format!("{PACKS}{packed}"), pack, labels })
    }

    /// Writes down for this checkpoint, too, that a pack was sent for another one.
    pub(super) fn add_pack_again(&self, pack: &Pack) -> io::Result<()> {
        self.packs.get(&pack.object).map_or(Ok(()), |sent| self.write_pack(sent))
    }

    fn write_pack(&self, sent: &SentPack) -> io::Result<()> {
        let Labels::Keyed(key) = sent.labels else { return Ok(()) };
        let Pack { object, bytes, blake3, plain_bytes } = sent.pack.clone();
        let (path, shared) = (sent.path.clone(), Some(object));
        let file = ManifestFile { path, bytes, blake3, plain_bytes, shared, packed: None };
        self.write(&file, Some(blake3::Hash::from_bytes(key).to_string()))
    }

    /// Writes down that a file was sent.
    pub(super) fn add(&self, sent: &ManifestFile) -> io::Result<()> {
        self.write(sent, None)
    }

    fn write(&self, sent: &ManifestFile, key: Option<String>) -> io::Result<()> {
        let line = Line {
            place: self.place.clone(),
            path: sent.path.clone(),
            bytes: sent.bytes,
            blake3: sent.blake3.to_string(),
            plain_bytes: sent.plain_bytes.unwrap_or_default(),
            object: sent.shared.clone(),
            to: Some(self.to.clone()),
            key,
        };
        let mut line = serde_json::to_string(&line)?;
        line.push('\n');
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&sent.path) == Some(sent) {
            return Ok(());
        }
        disk::open_to_append(&self.file)?.write_all(line.as_bytes())?;
        all.insert(sent.path.clone(), sent.clone());
        Ok(())
    }
}

impl SentPack {
    /// None if the line is of a file.
    fn new(line: &Line) -> Option<Self> {
        let key: blake3::Hash = line.key.as_ref()?.parse().ok()?;
        let pack = Pack {
            object: line.object.clone()?,
            bytes: line.bytes,
            blake3: line.blake3.parse().ok()?,
            plain_bytes: Some(line.plain_bytes),
        };
        Some(Self { path: line.path.clone(), pack, labels: Labels::Keyed(*key.as_bytes()) })
    }
}

impl Line {
    fn sent(self) -> Option<ManifestFile> {
        let Line { path, bytes, blake3, plain_bytes, object, .. } = self;
        let (blake3, plain_bytes) = (blake3.parse().ok()?, Some(plain_bytes));
        Some(ManifestFile { path, bytes, blake3, plain_bytes, shared: object, packed: None })
    }
}

fn lines(file: &Path) -> Vec<Line> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
