//! Files that uploaded checkpoints share, and removing those that none refers to any more.
//!
//! ```text
//! objects/<BLAKE3>      a file or a pack of small ones, named by its content
//! objects/<32 digits>   one that is encrypted, named at random: see `sent.rs`
//! sweeps/<time>-<n>     names of objects that no manifest referred to then, one a line
//! ```
//! There is no lock at object storage. So nothing is removed at once: what no manifest refers to is
//! written down in a sweep first, and goes once the sweep is a day old and still none refers to it.
//! **What is in a sweep is never referred to anew.** An upload looks at the sweeps before it relies on
//! an object, and once more just before it writes its manifest; between that and the manifest being
//! there is no day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tipline_proto::Timestamp;

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::known::new_id;
use super::manifest::{Manifest, ManifestFile, Pack};
use super::packing::Packs;
use super::set::{Checkpoints, Listed};
use crate::destination::DestinationError;

const OBJECTS: &str = "objects";
const SWEEPS: &str = "sweeps";
/// What nothing refers to for so long goes; and it is written down that it will for as long.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most names in a sweep: 4 MiB.
const AT_ONCE: usize = 50_000;
/// Longest sweep. Whoever else writes there may make one huge.
const MAX_SWEEP: u64 = 64 << 20;

/// A file by its content is never the same twice in a database that is one file. It stays in the
/// folder of its checkpoint.
const ONE_FILE: &str = "sqlite";

/// The shared objects at a place.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// With their lengths.
    present: BTreeMap<String, u64>,
    /// Those that are about to go.
    swept: BTreeSet<String>,
    /// Those that the newest checkpoint there refers to: they were read back when they were sent.
    read_back: BTreeMap<String, blake3::Hash>,
    /// The packs that it refers to, likewise.
    packs_read_back: BTreeMap<String, blake3::Hash>,
}

/// Names that are to go.
struct Sweep {
    object: String,
    written: Timestamp,
    names: Vec<String>,
}

impl Objects {
    /// Whether an object is there, and stays.
    pub(super) fn has(&self, name: &str, bytes: u64) -> bool {
        self.present.get(name) == Some(&bytes) && !self.swept.contains(name)
    }

    /// Whether it is what it should be, as a checkpoint says that is there.
    pub(super) fn was_read_back(&self, name: &str, blake3: blake3::Hash) -> bool {
        self.read_back.get(name) == Some(&blake3)
    }

    /// The same of a pack.
    pub(super) fn has_read_back(&self, pack: &Pack) -> bool {
        self.packs_read_back.get(&pack.object) == Some(&pack.blake3)
    }

    /// The name for a pack that is sent. In the clear it is that of its content, unless what has this
    /// name is about to go.
    pub(super) fn name_of_pack(&self, plain: Option<blake3::Hash>) -> String {
        let by_content = plain.map(|plain| format!("{OBJECTS}/{plain}"));
        let by_content = by_content.filter(|name| !self.swept.contains(name));
        by_content.unwrap_or_else(|| format!("{OBJECTS}/{}", new_id()))
    }

    /// The name for a file that is sent; none if it is not to be shared.
    pub(super) fn name(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        is_sealed: bool,
    ) -> Option<String> {
        if !is_shared(manifest, file) {
            return None;
        }
        let name = match is_sealed {
            true => format!("{OBJECTS}/{}", new_id()),
            false => format!("{OBJECTS}/{}", file.blake3),
        };
        Some(name).filter(|name| !self.swept.contains(name))
    }
}

/// Whether a file is kept for several checkpoints.
pub(super) fn is_shared(manifest: &Manifest, file: &ManifestFile) -> bool {
    let part = file.path.split('/').next().and_then(|part| part.strip_prefix("part-"));
    let kind = part.and_then(|part| manifest.parts.get(part.parse::<usize>().ok()?));
    kind.is_some_and(|kind| kind != ONE_FILE)
}

impl Checkpoints {
    /// The shared objects that are here.
    pub(super) async fn objects(&self) -> Result<Objects, CheckpointError> {
        // In this order: what goes between the two is missing, and not taken for what stays.
        let swept = self.sweeps().await?.into_iter().flat_map(|sweep| sweep.names).collect();
        let present = self.destination().list(OBJECTS, None).await?;
        let present = present.into_iter().map(|object| (object.name, object.bytes)).collect();
        Ok(Objects { present, swept, ..Objects::default() })
    }

    /// The same, with those that were read back, and what the newest checkpoint has in packs.
    pub(super) async fn objects_with_newest(&self) -> Result<(Objects, Packs), CheckpointError> {
        let mut objects = self.objects().await?;
        let names = self.destination().folders("").await?;
        let newest = names.iter().filter_map(|name| name.parse::<CheckpointId>().ok()).max();
        let Some(newest) = newest else { return Ok((objects, Packs::default())) };
        // If it cannot be read everything is read back, and all small files are packed from scratch.
        let Some(Listed::Whole(manifest)) = self.inspect(newest).await? else {
            return Ok((objects, Packs::default()));
        };
        let Manifest { files, packs, .. } = manifest;
        let (packed, alone): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.packed.is_some());
        let alone = alone.into_iter().filter_map(|file| Some((file.shared?, file.blake3)));
        objects.read_back = alone.collect();
        objects.packs_read_back =
            packs.iter().map(|pack| (pack.object.clone(), pack.blake3)).collect();
        Ok((objects, Packs::new(packs, packed)))
    }

    /// Removes shared objects that no manifest refers to, once that was so for two days. Gives how many
    /// it removed. While a manifest cannot be read nothing goes: it may refer to anything.
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<u64, CheckpointError> {
        let is_old = |written: Timestamp| now.since(written) > GRACE;
        let sweeps = self.sweeps().await?;
        let objects = self.destination().list(OBJECTS, None).await?;
        if sweeps.is_empty() && objects.is_empty() {
            return Ok(0);
        }
        let Some(used) = self.used().await? else {
            let place = self.place();
            tracing::warn!(place, "shared objects stay: a manifest is damaged");
            return Ok(0);
        };
        let (due, waiting): (Vec<Sweep>, Vec<Sweep>) =
            sweeps.into_iter().partition(|sweep| is_old(sweep.written));
        let mut removed = BTreeSet::new();
        for Sweep { object, names, .. } in due {
            for name in names.into_iter().filter(|name| !used.contains(name)) {
                self.destination().remove(&name).await?;
                removed.insert(name);
            }
            // Last: until then nothing relies on one of them.
            self.destination().remove(&object).await?;
        }
        let waiting: BTreeSet<String> = waiting.into_iter().flat_map(|sweep| sweep.names).collect();
        let unused = objects.into_iter().filter(|object| is_old(object.modified));
        let unused = unused.map(|object| object.name);
        let unused: Vec<String> = unused
            .filter(|name| ![&used, &removed, &waiting].iter().any(|names| names.contains(name)))
            .collect();
        for (number, names) in unused.chunks(AT_ONCE).enumerate() {
            let object = format!("{SWEEPS}/{:020}-{number}", now.as_micros());
            self.destination().replace(&object, Bytes::from(names.join("\n"))).await?;
        }
        Ok(removed.len() as u64)
    }

    async fn sweeps(&self) -> Result<Vec<Sweep>, CheckpointError> {
        let mut sweeps = Vec::new();
        for found in self.destination().list(SWEEPS, None).await? {
            let text = match self.destination().read_at_most(&found.name, MAX_SWEEP).await {
                Ok(text) => text,
                // What it named is gone.
                Err(DestinationError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let text = String::from_utf8_lossy(&text);
            // Nothing but objects goes, whatever it says.
            let names = text.lines().filter(|name| {
                name.strip_prefix(OBJECTS).is_some_and(|name| name.starts_with('/'))
                    && !name.contains("..")
            });
            let names = names.map(str::to_owned).collect();
            sweeps.push(Sweep { object: found.name, written: found.modified, names });
        }
        Ok(sweeps)
    }

    /// What all manifests refer to; none if there is one that cannot be read.
    async fn used(&self) -> Result<Option<BTreeSet<String>>, CheckpointError> {
        let mut used = BTreeSet::new();
        let names = self.destination().folders("").await?;
        for id in names.iter().filter_map(|name| name.parse().ok()) {
            // One at a time: of millions of files one manifest is large.
            let manifest = match self.inspect(id).await? {
                Some(Listed::Whole(manifest)) => manifest,
                Some(Listed::Corrupt { .. }) => return Ok(None),
                None => continue,
            };
            used.extend(manifest.packs.into_iter().map(|pack| pack.object));
            used.extend(manifest.files.into_iter().filter_map(|file| file.shared));
        }
        Ok(Some(used))
    }
}
