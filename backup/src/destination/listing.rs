//! Listing a part of a folder, so that what it costs does not grow with what is in it.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path as FilePath;
use std::time::UNIX_EPOCH;

use futures_util::TryStreamExt;
use object_store::ObjectMeta;
use tipline_proto::Timestamp;

use super::blocking::blocking;
use super::{Destination, DestinationError, Object};
use crate::disk;

/// Some objects of a folder.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) objects: Vec<Object>,
    /// After which name there may be more.
    pub(crate) next: Option<String>,
}

/// Which names of a folder are wanted, and how many.
#[derive(Debug, Clone)]
enum Wanted {
    /// The first ones after a name.
    First(String, usize),
    /// The last ones.
    Last(usize),
}

impl Destination {
    /// The first objects of a folder after the name `after`, by name, at most so many. The folder
    /// must have no folder in it, and names of letters, digits, `-` and `.` only.
    ///
    /// # Errors
    /// Those of every call.
    pub(crate) async fn list_some(
        &self,
        folder: &str,
        after: &str,
        most: usize,
    ) -> Result<Part, DestinationError> {
        if self.directory.is_some() {
            return self.list_directory(folder, Wanted::First(after.to_owned(), most)).await;
        }
        let (what, within) = (format!("listing {folder}"), self.path(folder));
        let mut listed = self.store.list_with_offset(Some(&within), &self.path(after));
        let mut found: Vec<Object> = Vec::new();
        while found.len() < most {
            let Some(meta) = self.within(&what, 0, listed.try_next()).await? else { break };
            let object = self.object(&meta);
            if found.last().is_some_and(|last| object.name < last.name) {
                // Not every server lists by name.
                let mut found = self.list(folder, Some(after)).await?;
                found.truncate(most);
                return Ok(Part::of(found, most));
            }
            found.push(object);
        }
        Ok(Part::of(found, most))
    }

    /// The last objects of a folder, by name, at most so many; none if this is object storage, which
    /// does not list from the end. As for [`Destination::list_some`].
    ///
    /// # Errors
    /// Those of every call.
    pub(crate) async fn list_last(
        &self,
        folder: &str,
        most: usize,
    ) -> Result<Option<Vec<Object>>, DestinationError> {
        match self.directory {
            Some(_) => {
                let listed = self.list_directory(folder, Wanted::Last(most)).await?;
                Ok(Some(listed.objects))
            }
            None => Ok(None),
        }
    }

    async fn list_directory(&self, folder: &str, wanted: Wanted) -> Result<Part, DestinationError> {
        self.check_there().await?;
        let Some(path) = self.file(folder) else { return Ok(Part::default()) };
        let (path, within) = (path?, folder.to_owned());
        let listed = blocking(move || read_some(&path, &within, &wanted)).await;
        listed.map_err(|e| self.doing(format!("listing {folder}")).directory(e))
    }

    pub(super) fn object(&self, meta: &ObjectMeta) -> Object {
        let parts: Option<Vec<_>> = meta.location.prefix_match(&self.prefix).map(Iterator::collect);
        let name = parts.into_iter().flatten().map(|part| part.as_ref().to_owned());
        let modified = u64::try_from(meta.last_modified.timestamp_micros()).unwrap_or_default();
        Object {
            name: name.collect::<Vec<_>>().join("/"),
            bytes: meta.size,
            modified: Timestamp::from_micros(modified),
        }
    }
}

impl Part {
    /// As many as were asked for, or all there are.
    fn of(objects: Vec<Object>, most: usize) -> Self {
        let last = objects.last().filter(|_| objects.len() >= most);
        Self { next: last.map(|last| last.name.clone()), objects }
    }
}

/// A directory gives its names in no order: all of them are read, and no more kept than wanted. Of
/// those alone the lengths are asked for.
fn read_some(path: &FilePath, folder: &str, wanted: &Wanted) -> io::Result<Part> {
    let entries = match std::fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Part::default()),
        entries => entries?,
    };
    let (mut names, mut next) = (BTreeSet::new(), None);
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with(disk::STAGED) || entry.file_type()?.is_dir() {
            continue;
        }
        let name = format!("{folder}/{name}");
        match wanted {
            Wanted::First(after, most) => {
                if name > *after {
                    names.insert(name);
                    if names.len() > *most {
                        names.pop_last();
                        next = names.last().cloned();
                    }
                }
            }
            Wanted::Last(most) => {
                names.insert(name);
                if names.len() > *most {
                    names.pop_first();
                }
            }
        }
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let file = name.strip_prefix(folder).map(|name| name.trim_start_matches('/'));
        match std::fs::metadata(path.join(file.unwrap_or(&name))) {
            Ok(metadata) => {
                let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                let modified = u64::try_from(age.as_micros()).unwrap_or_default();
                let modified = Timestamp::from_micros(modified);
                found.push(Object { name, bytes: metadata.len(), modified });
            }
            // It was removed meanwhile.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Part { objects: found, next })
}
