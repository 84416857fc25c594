//! What a checkpoint is, and of which files.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tipline_proto::{Chain, Cursor, Lineage, Position, ProofsFrom, Timestamp, Tip};
use tipline_store::{Snapshot, StoreError, StoreIdentity};

use super::error::CheckpointError;
use super::id::CheckpointId;

/// Name of the manifest in a checkpoint.
pub(super) const MANIFEST: &str = "manifest.json";
/// The format of a manifest.
const FORMAT: u32 = 1;
/// The format of one whose files are encrypted, or of a chain that says from which height on proofs
/// are expected. A program that does not know these would take what it reads for something else,
/// and refuses it.
const EXTENDED: u32 = 2;
/// The format of one with packs, whatever else it has.
const PACKED: u32 = 3;
/// No pack has more bytes, as it is kept and as it is in the store: whoever reads one has it in
/// memory. Those that are made have half of it.
pub(super) const MOST_IN_PACK: u64 = 16 << 20;
/// What the text of a manifest ends with, before and after the digest.
/// Bytes of the longest path, and folders with the file: more than file systems take, or any store makes.
const MAX_PATH: usize = 1024;
const MAX_DEPTH: usize = 32;

const BEFORE_DIGEST: &str = ",\n  \"blake3\": \"";
const AFTER_DIGEST: &str = "\"\n}\n";

/// A checkpoint: a store at one moment, and every file of it. Written last, and never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub id: CheckpointId,
    /// When it was made, by the clock of the machine that made it.
    pub created: Timestamp,
    /// The kind of each part, in the order of the store's: `part-0`, `part-1`, …; one for a
    /// store that is kept on one medium.
    pub parts: Vec<String>,
    /// What the store was created for.
    pub log: StoreIdentity,
    /// Where the store was; the same in every part.
    pub cursor: Cursor,
    /// Versions of the software that wrote it, by name: `tipline`, `sqlite`, …
    pub versions: BTreeMap<String, String>,
    /// Every file, by path.
    pub files: Vec<ManifestFile>,
    /// What its small files lie in, if it was uploaded.
    pub packs: Vec<Pack>,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where it belongs, below the checkpoint: `part-0/store.db`.
    pub path: String,
    /// Its length in bytes, as it is kept; in a pack, as it is in the store.
    pub bytes: u64,
    /// BLAKE3 of its content, as it is kept; in a pack, as it is in the store. In an encrypted pack the
    /// BLAKE3 of that, keyed with the first 32 bytes of the pack once it is decrypted: manifests are in
    /// the clear.
    pub blake3: blake3::Hash,
    /// Its length once it is decrypted; none if it is not encrypted.
    pub plain_bytes: Option<u64>,
    /// Where it is kept in the set, if that is not `<id>/<path>`: a file that several
    /// checkpoints share.
    pub shared: Option<String>,
    /// Where it is in a pack, if it is in one.
    pub packed: Option<Packed>,
}

/// The place of a file in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Which of the manifest's packs.
    pub pack: u32,
    /// Where it begins in the pack, once that is decrypted.
    pub offset: u32,
}

/// An object with the bytes of small files, one after another, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Its name in the set.
    pub object: String,
    /// Its length in bytes, as it is kept.
    pub bytes: u64,
    /// BLAKE3 of it, as it is kept.
    pub blake3: blake3::Hash,
    /// Its length once it is decrypted; none if it is not encrypted.
    pub plain_bytes: Option<u64>,
}

impl Pack {
    /// Its length once it is decrypted.
    pub(super) fn plain(&self) -> u64 {
        self.plain_bytes.unwrap_or(self.bytes)
    }
}

/// How long the files of a checkpoint are, for whoever need not know each: there may be millions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// All together, as they are kept, with all of each pack.
    pub(crate) kept: u64,
    /// The same as they are in the store.
    pub(crate) plain: u64,
    /// Those of each part, as they are kept; in packs, as they are in the store.
    pub(crate) parts: Vec<u64>,
}

/// Lengths may come from whoever writes there: a sum that is too large stays so.
fn total(lengths: impl Iterator<Item = u64>) -> u64 {
    lengths.fold(0, u64::saturating_add)
}

impl Manifest {
    /// The same without its files.
    pub(crate) fn head(&self) -> Self {
        Self {
            id: self.id.clone(),
            created: self.created,
            parts: self.parts.clone(),
            log: self.log.clone(),
            cursor: self.cursor.clone(),
            versions: self.versions.clone(),
            files: Vec::new(),
            packs: Vec::new(),
        }
    }

    /// How long its files are.
    pub(crate) fn sizes(&self) -> Sizes {
        let alone = self.files.iter().filter(|file| file.packed.is_none()).map(|file| file.bytes);
        let kept = total(alone.chain(self.packs.iter().map(|pack| pack.bytes)));
        let part = |number: usize| {
            let folder = format!("part-{number}/");
            let files = self.files.iter().filter(|file| file.path.starts_with(&folder));
            total(files.map(|file| file.bytes))
        };
        Sizes { kept, plain: self.bytes(), parts: (0..self.parts.len()).map(part).collect() }
    }

    /// Length of all files together, in bytes, as they are in the store.
    pub fn bytes(&self) -> u64 {
        total(self.files.iter().map(|file| file.plain_bytes.unwrap_or(file.bytes)))
    }

    /// Whether its files are encrypted.
    pub fn is_sealed(&self) -> bool {
        self.files.iter().any(|file| file.plain_bytes.is_some())
            || self.packs.iter().any(|pack| pack.plain_bytes.is_some())
    }

    /// Whether a file is encrypted, by itself or in its pack.
    pub(super) fn is_file_sealed(&self, file: &ManifestFile) -> bool {
        let pack = file.packed.and_then(|packed| self.packs.get(packed.pack as usize));
        file.plain_bytes.is_some() || pack.is_some_and(|pack| pack.plain_bytes.is_some())
    }

    /// The files in each of its packs.
    pub(super) fn members(&self) -> Vec<Vec<&ManifestFile>> {
        let mut members = vec![Vec::new(); self.packs.len()];
        for file in &self.files {
            let packed = file.packed.map(|packed| packed.pack as usize);
            if let Some(members) = packed.and_then(|pack| members.get_mut(pack)) {
                members.push(file);
            }
        }
        members
    }

    /// Whether it is of the same store at the same moment, encrypted or not.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        let files = |manifest: &Self| -> Vec<(String, u64)> {
            let plain = |file: &ManifestFile| file.plain_bytes.unwrap_or(file.bytes);
            manifest.files.iter().map(|file| (file.path.clone(), plain(file))).collect()
        };
        self.head() == other.head() && files(self) == files(other)
    }

    /// Of parts that were copied. All their snapshots are at one cursor of one log.
    pub(super) fn new(
        id: CheckpointId,
        created: Timestamp,
        snapshot: &[Box<dyn Snapshot>],
        files: Vec<ManifestFile>,
    ) -> Result<Self, CheckpointError> {
        let place = |part: &dyn Snapshot| (part.cursor().clone(), part.identity().clone());
        let places: Vec<_> = snapshot.iter().map(|part| place(&**part)).collect();
        let (Some(last), true) = (snapshot.last(), places.windows(2).all(|two| two[0] == two[1]))
        else {
            return Err(CheckpointError::Store(StoreError::Failed {
                place: "the store".to_owned(),
                what: "its parts have snapshots at different cursors, or none".to_owned(),
                source: None,
            }));
        };
        let tipline = ("tipline".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let versions = snapshot.iter().flat_map(|part| part.versions()).chain([tipline]);
        Ok(Self {
            id,
            created,
            parts: snapshot.iter().map(|part| part.kind().to_owned()).collect(),
            log: last.identity().clone(),
            cursor: last.cursor().clone(),
            versions: versions.collect(),
            files,
            packs: Vec::new(),
        })
    }

    /// Name of a file's object in the set.
    pub(crate) fn object(&self, file: &ManifestFile) -> String {
        let pack = file.packed.and_then(|packed| self.packs.get(packed.pack as usize));
        let shared = pack.map(|pack| &pack.object).or(file.shared.as_ref());
        shared.cloned().unwrap_or_else(|| format!("{}/{}", self.id, file.path))
    }

    /// The text of `manifest.json`: see the [documentation of the format](crate::Checkpoints).
    pub(super) fn to_text(&self) -> Result<String, CheckpointError> {
        let text = serde_json::to_string_pretty(&Written::from(self)).map_err(|e| {
            CheckpointError::File { what: "writing a manifest".to_owned(), source: e.into() }
        })?;
        Ok(seal(text.strip_suffix("\n}").unwrap_or(&text)))
    }

    /// Reads the text of the checkpoint of this name. The error says what is wrong with it.
    pub(super) fn from_text(id: &CheckpointId, text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        let cut = text.len().checked_sub(BEFORE_DIGEST.len() + 64 + AFTER_DIGEST.len());
        let (body, end) = cut
            .and_then(|cut| text.split_at_checked(cut))
            .ok_or_else(|| "it is cut off".to_owned())?;
        if end != format!("{BEFORE_DIGEST}{}{AFTER_DIGEST}", blake3::hash(body.as_bytes())) {
            return Err("it does not have the digest that it ends with".to_owned());
        }
        let format: Format = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if ![FORMAT, EXTENDED, PACKED].contains(&format.format) {
            return Err(format!(
                "it has format {}, this program knows {FORMAT} to {PACKED}: use a newer program",
                format.format
            ));
        }
        let written: Written = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let manifest = Self::try_from(written)?;
        if manifest.id != *id {
            return Err(format!("it is the one of {}", manifest.id));
        }
        manifest.check_paths()?;
        manifest.check_packs()?;
        Ok(manifest)
    }

    /// No file is anywhere but in its part.
    fn check_paths(&self) -> Result<(), String> {
        let in_part = |path: &str| {
            let part = path.split_once('/').and_then(|(part, _)| part.strip_prefix("part-"));
            part.and_then(|number| number.parse().ok()).is_some_and(|n: usize| n < self.parts.len())
        };
        for file in &self.files {
            if file.path.len() > MAX_PATH || file.path.split('/').count() > MAX_DEPTH {
                let cut = file.path.chars().take(60).collect::<String>();
                return Err(format!("it has a file deeper than any, {cut:?} and so on"));
            }
            if !is_plain(&file.path) || !in_part(&file.path) {
                return Err(format!("it has a file outside of its parts, {:?}", file.path));
            }
            if file.shared.as_deref().is_some_and(|name| !is_plain(name)) {
                return Err(format!("it has a file outside of its set, {:?}", file.shared));
            }
        }
        Ok(())
    }

    /// Every file of a pack lies in it, and what is in it is what it says.
    fn check_packs(&self) -> Result<(), String> {
        for Pack { object, bytes, plain_bytes, .. } in &self.packs {
            if !is_plain(object) {
                return Err(format!("it has a pack outside of its set, {object:?}"));
            }
            let most = plain_bytes.unwrap_or_default().max(*bytes);
            if most > MOST_IN_PACK {
                return Err(format!("its pack {object} has {most} bytes, over {MOST_IN_PACK}"));
            }
        }
        for file in &self.files {
            let Some(Packed { pack, offset }) = file.packed else { continue };
            let plain = self.packs.get(pack as usize).map(Pack::plain);
            let end = u64::from(offset).checked_add(file.bytes);
            let is_in = plain.zip(end).is_some_and(|(plain, end)| end <= plain);
            if !is_in || file.shared.is_some() || file.plain_bytes.is_some() {
                return Err(format!("{} does not lie in its pack", file.path));
            }
        }
        Ok(())
    }
}

/// Whether a path leads nowhere but down.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|name| !name.is_empty() && name != "." && name != "..")
        && !path.contains(['\\', '\0'])
}

/// The text of a manifest, with its digest.
pub(crate) fn seal(body: &str) -> String {
    let digest = blake3::hash(body.as_bytes());
    format!("{body}{BEFORE_DIGEST}{digest}{AFTER_DIGEST}")
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The manifest as it is written. Keep stable.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    id: String,
    created_us: u64,
    chain: String,
    genesis: String,
    lineage: String,
    /// Only in the format [`EXTENDED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proofs_from: Option<u64>,
    cursor: WrittenCursor,
    parts: Vec<String>,
    versions: BTreeMap<String, String>,
    /// Only in the format [`PACKED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packs: Vec<WrittenPack>,
    files: Vec<WrittenFile>,
}

#[derive(Serialize, Deserialize)]
struct WrittenPack {
    object: String,
    bytes: u64,
    blake3: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain_bytes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WrittenCursor {
    index: u64,
    digest: String,
    epoch: u64,
    block_tip: Option<WrittenTip>,
    proof_tip: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WrittenTip {
    height: u64,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenFile {
    path: String,
    bytes: u64,
    blake3: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain_bytes: Option<u64>,
    /// Which of the packs, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u32>,
}

impl From<&Manifest> for Written {
    fn from(manifest: &Manifest) -> Self {
        let Manifest { id, created, parts, log, cursor, versions, files, packs } = manifest;
        let file = |file: &ManifestFile| WrittenFile {
            path: file.path.clone(),
            bytes: file.bytes,
            blake3: file.blake3.to_string(),
            shared: file.shared.clone(),
            plain_bytes: file.plain_bytes,
            pack: file.packed.map(|packed| packed.pack),
            offset: file.packed.map(|packed| packed.offset),
        };
        let pack = |pack: &Pack| WrittenPack {
            object: pack.object.clone(),
            bytes: pack.bytes,
            blake3: pack.blake3.to_string(),
            plain_bytes: pack.plain_bytes,
        };
        let late = log.chain.proofs_from.late();
        Self {
            format: format_of(!packs.is_empty(), manifest.is_sealed() || late.is_some()),
            id: id.to_string(),
            created_us: created.as_micros(),
            chain: log.chain.name.to_string(),
            genesis: log.chain.genesis.to_string(),
            lineage: log.lineage.to_string(),
            proofs_from: late,
            cursor: WrittenCursor {
                index: cursor.position.index,
                digest: cursor.position.digest.to_string(),
                epoch: cursor.epoch,
                block_tip: cursor
                    .block_tip
                    .as_ref()
                    .map(|tip| WrittenTip { height: tip.height, hash: tip.hash.to_string() }),
                proof_tip: cursor.proof_tip,
            },
            parts: parts.clone(),
            versions: versions.clone(),
            packs: packs.iter().map(pack).collect(),
            files: files.iter().map(file).collect(),
        }
    }
}

/// The format of a manifest. Keep stable.
fn format_of(has_packs: bool, is_extended: bool) -> u32 {
    match (has_packs, is_extended) {
        (true, _) => PACKED,
        (false, true) => EXTENDED,
        (false, false) => FORMAT,
    }
}

impl TryFrom<Written> for Manifest {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let lineage: Lineage = read(&written.lineage)?;
        let (name, genesis) = (read(&written.chain)?, read(&written.genesis)?);
        let (format, late) = (written.format, written.proofs_from);
        let is_sealed = written.files.iter().any(|file| file.plain_bytes.is_some());
        let packs = written.packs.len();
        if format != format_of(packs > 0, is_sealed || late.is_some()) {
            let found = if is_sealed { "encrypted" } else { "plain" };
            return Err(format!(
                "its format {format} does not go with proofs_from {late:?}, {found} files and {packs} packs"
            ));
        }
        let proofs_from = late.map(ProofsFrom::new).transpose().map_err(|e| e.to_string())?;
        let chain = Chain { name, genesis, proofs_from: proofs_from.unwrap_or_default() };
        let tip =
            |tip: WrittenTip| Ok::<_, String>(Tip { height: tip.height, hash: read(&tip.hash)? });
        let WrittenCursor { index, digest, epoch, block_tip, proof_tip } = written.cursor;
        let cursor = Cursor {
            position: Position { index, digest: read(&digest)? },
            epoch,
            block_tip: block_tip.map(tip).transpose()?,
            proof_tip,
        };
        let file = |file: WrittenFile| {
            let blake3 = read(&file.blake3)?;
            let WrittenFile { path, bytes, shared, plain_bytes, pack, offset, .. } = file;
            let packed = match (pack, offset) {
                (Some(pack), Some(offset)) => Some(Packed { pack, offset }),
                (None, None) => None,
                _ => return Err(format!("{path} has half of a place in a pack")),
            };
            Ok(ManifestFile { path, bytes, blake3, plain_bytes, shared, packed })
        };
        let pack = |pack: WrittenPack| {
            let WrittenPack { object, bytes, blake3, plain_bytes } = pack;
            Ok::<_, String>(Pack { object, bytes, blake3: read(&blake3)?, plain_bytes })
        };
        Ok(Self {
            id: read(&written.id)?,
            created: Timestamp::from_micros(written.created_us),
            parts: written.parts,
            log: StoreIdentity { lineage, chain },
            cursor,
            versions: written.versions,
            packs: written.packs.into_iter().map(pack).collect::<Result<_, _>>()?,
            files: written.files.into_iter().map(file).collect::<Result<_, String>>()?,
        })
    }
}

fn read<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e| format!("{text:?}: {e}"))
}
