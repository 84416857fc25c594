//! Whether what payloads are kept in was there when something happened.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::copies::store_in;
use super::mark::Mark;

/// The media that keep payloads in files of their own: what their kind is, and how the names of
/// those files end.
const OWN_FILES: [(&str, &str); 2] = [("rocksdb", ".blob"), ("files", ".dat")];

/// Which of them a store has, by its copies, and which had such files when something happened.
#[derive(Debug, Default)]
pub(super) struct Reached {
    kinds: BTreeSet<String>,
    seen: BTreeSet<&'static str>,
}

impl Reached {
    /// Takes in a mark.
    pub(super) fn hear(&mut self, mark: &Mark) {
        if let Mark::Copied(_, kinds) = mark {
            self.kinds.extend(kinds.split('+').map(str::to_owned));
        }
    }

    /// Looks at the files of a child's directory, by their paths in it, when something happened.
    pub(super) fn look<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) {
        let store = store_in(Path::new(""));
        for path in files.into_iter().filter(|path| path.starts_with(&store)) {
            let name = path.to_string_lossy();
            let of = OWN_FILES.into_iter().filter(|(_, end)| name.ends_with(end));
            self.seen.extend(of.map(|(kind, _)| kind));
        }
    }

    /// The same, of a directory as it is.
    pub(super) fn look_into(&mut self, directory: &Path) {
        let mut files = Vec::new();
        list(directory, Path::new(""), &mut files);
        self.look(files.iter().map(PathBuf::as_path));
    }

    /// # Panics
    /// Files of payloads were not there at any time.
    pub(super) fn assert_all(&self) {
        for (kind, end) in OWN_FILES.into_iter().filter(|(kind, _)| self.kinds.contains(*kind)) {
            assert!(self.seen.contains(kind), "{kind}: no file *{end} was there at any such time");
        }
    }
}

fn list(directory: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => list(directory, &path, files),
            false => files.push(path),
        }
    }
}
