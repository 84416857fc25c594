//! A filesystem, as much of it as a power cut can tell apart.
//!
//! What fsync of a file has not made durable may be kept or not, change by change, in any order,
//! and torn between sectors. What fsync of a directory has not made durable is kept up to some
//! point: names are changed in order, in each directory for itself. A file that no durable name
//! leads to is not there, however durable its content.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::super::Appends;
use super::file::{Change, Content, Keep};
use super::trace::Event;

const PAST: &str = "changed past the recorder, by a system call that was not made through the C \
    library, or through mapped memory: what a power cut leaves of it is not known";

/// Directories and files by number: inodes are used again.
type Node = usize;
type Names = BTreeMap<String, Node>;

#[derive(Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<Node, Content>,
    /// What durable names there are in each directory.
    directories: BTreeMap<Node, Names>,
    /// The directories' changes that are not durable yet, in order.
    pending: Vec<(Node, NameChange)>,
    inodes: HashMap<u64, Node>,
    /// The newest name of each.
    names: Vec<String>,
    appends: Appends,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    /// Into this directory, or within it. One change: the old name goes when the new one comes.
    Move {
        from: (Node, String),
        to: String,
        node: Node,
    },
}

impl Disk {
    /// What is there, all of it durable.
    pub(super) fn of(directory: &Path, appends: Appends) -> Self {
        let mut disk = Self { appends, ..Self::default() };
        disk.load(directory);
        disk
    }

    fn load(&mut self, path: &Path) -> Node {
        let metadata = fs::metadata(path).unwrap();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let node = self.node(metadata.ino(), &name);
        if metadata.is_dir() {
            let mut durable = Names::new();
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                durable.insert(name, self.load(&path));
            }
            self.directories.insert(node, durable);
        } else {
            self.files.insert(node, Content::durable(fs::read(path).unwrap()));
        }
        node
    }

    fn node(&mut self, inode: u64, name: &str) -> Node {
        self.names.push(name.to_owned());
        self.inodes.insert(inode, self.names.len() - 1);
        self.names.len() - 1
    }

    fn find(&self, inode: u64) -> Node {
        *self.inodes.get(&inode).unwrap_or_else(|| panic!("a file was {PAST}"))
    }

    /// Takes in what happened next.
    pub(super) fn step(&mut self, event: &Event) {
        match event {
            Event::Created { directory, name, inode } => {
                let node = self.node(*inode, name);
                self.files.insert(node, Content::default());
                // A file without a name is in no directory.
                if *directory != 0 {
                    self.name(*directory, NameChange::Add(name.clone(), node));
                }
            }
            Event::MadeDirectory { directory, name, inode } => {
                let node = self.node(*inode, name);
                self.directories.insert(node, Names::default());
                self.name(*directory, NameChange::Add(name.clone(), node));
            }
            Event::Linked { directory, name, inode } => {
                let node = self.find(*inode);
                self.name(*directory, NameChange::Add(name.clone(), node));
            }
            Event::Removed { directory, name } => {
                self.name(*directory, NameChange::Remove(name.clone()));
            }
            Event::Renamed { from: (from, name), to: (to, new_name), inode } => {
                let (node, from) = (self.find(*inode), self.find(*from));
                self.names[node].clone_from(new_name);
                let (from, to_name) = ((from, name.clone()), new_name.clone());
                self.name(*to, NameChange::Move { from, to: to_name, node });
            }
            Event::Wrote { inode, offset, data } => {
                self.change(*inode, Change::Write { offset: *offset, data: data.clone() });
            }
            Event::Resized { inode, size } => self.change(*inode, Change::Resize(*size)),
            Event::Zeroed { inode, offset, length } => {
                self.change(*inode, Change::Zero { offset: *offset, length: *length });
            }
            Event::Synced { inode } => self.sync(self.find(*inode)),
            Event::SyncedAll => {
                self.files.values_mut().for_each(Content::sync);
                self.sync_names(|_| true);
            }
            Event::NotSynced { inode } => {
                let node = self.find(*inode);
                let file = self.files.get_mut(&node);
                file.into_iter().for_each(Content::fail_to_sync);
            }
            Event::NotSyncedAll => self.files.values_mut().for_each(Content::fail_to_sync),
            Event::Mark(_) | Event::Fault(_) => {}
            Event::Unsupported(what) => {
                panic!("the suite cannot follow what the store does: {what}")
            }
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        let node = self.find(inode);
        self.files.get_mut(&node).unwrap().change(change);
    }

    fn name(&mut self, directory: u64, change: NameChange) {
        self.pending.push((self.find(directory), change));
    }

    fn sync(&mut self, node: Node) {
        match self.files.get_mut(&node) {
            Some(file) => file.sync(),
            None => self.sync_names(|directory| directory == node),
        }
    }

    /// Makes all changes of these directories durable.
    fn sync_names(&mut self, which: impl Fn(Node) -> bool) {
        let (settled, pending) = self.pending.drain(..).partition(|(node, _)| which(*node));
        self.pending = pending;
        for (directory, change) in settled {
            self.forget_old_name(directory, &change);
            apply(&mut self.directories, directory, &change);
        }
    }

    /// What was moved to another directory for good never gets its name in the old one, if it
    /// had not got it durably before.
    fn forget_old_name(&mut self, directory: Node, change: &NameChange) {
        let NameChange::Move { from: (from, old), node, .. } = change else { return };
        let is_old_name = |(at, change): &(Node, NameChange)| {
            *at == *from && matches!(change, NameChange::Add(name, it) if name == old && it == node)
        };
        if *from != directory {
            self.pending.retain(|change| !is_old_name(change));
        }
    }

    /// One of the states that a power cut now may leave of the directory with this inode.
    pub(super) fn survivor(&self, root: u64, keep: Keep, rng: &mut StdRng) -> Tree {
        // Of each directory's changes, how many are kept.
        let mut kept = BTreeMap::new();
        for node in self.directories.keys() {
            let pending = self.pending.iter().filter(|(directory, _)| directory == node).count();
            let count = match keep {
                Keep::Nothing => 0,
                Keep::Names | Keep::Everything | Keep::TornLast => pending,
                Keep::Chance(_) => rng.random_range(0..=pending),
            };
            kept.insert(*node, count);
        }
        let mut names = self.directories.clone();
        for (directory, change) in &self.pending {
            let Some(left) = kept.get_mut(directory).filter(|left| **left > 0) else { continue };
            *left -= 1;
            apply(&mut names, *directory, change);
        }
        let mut tree = Tree::default();
        self.collect(self.find(root), Path::new(""), &names, &mut tree, keep, rng);
        tree
    }

    fn collect(
        &self,
        directory: Node,
        path: &Path,
        names: &BTreeMap<Node, Names>,
        tree: &mut Tree,
        keep: Keep,
        rng: &mut StdRng,
    ) {
        for (name, node) in &names[&directory] {
            let path = path.join(name);
            match self.files.get(node) {
                Some(file) => {
                    tree.0.insert(path, Some(file.survivor(keep, self.appends, rng)));
                }
                None => {
                    tree.0.insert(path.clone(), None);
                    self.collect(*node, &path, names, tree, keep, rng);
                }
            }
        }
    }

    /// What happened, human-readable.
    pub(super) fn describe(&self, event: &Event) -> String {
        let name = |inode: &u64| &self.names[self.find(*inode)];
        match event {
            Event::Created { name, .. } => format!("creating {name}"),
            Event::MadeDirectory { name, .. } => format!("making the directory {name}"),
            Event::Linked { name, .. } => format!("linking {name}"),
            Event::Removed { name, .. } => format!("removing {name}"),
            Event::Renamed { from, to, .. } => format!("renaming {} to {}", from.1, to.1),
            Event::Wrote { inode, offset, data } => {
                format!("writing {} bytes to {} at {offset}", data.len(), name(inode))
            }
            Event::Resized { inode, size } => format!("resizing {} to {size}", name(inode)),
            Event::Zeroed { inode, offset, length } => {
                format!("clearing {length} bytes of {} at {offset}", name(inode))
            }
            Event::Synced { inode } => format!("fsync of {}", name(inode)),
            Event::SyncedAll => "syncfs".to_owned(),
            Event::NotSynced { inode } => format!("failed fsync of {}", name(inode)),
            Event::NotSyncedAll => "failed syncfs".to_owned(),
            Event::Mark(text) => format!("the mark {text:?}"),
            Event::Fault(what) => format!("the fault of {what}"),
            Event::Unsupported(what) => what.clone(),
        }
    }

    /// What may be lost of the directory with this inode, human-readable.
    pub(super) fn unsettled(&self, root: u64) -> String {
        let within = self.within(self.find(root));
        let name = |node: &Node| &self.names[*node];
        let mut found: Vec<String> = vec![];
        for (node, file) in self.files.iter().filter(|(node, _)| within.contains(node)) {
            if file.unsettled() > 0 {
                found.push(format!("{} changes of {}", file.unsettled(), name(node)));
            }
        }
        for (node, change) in self.pending.iter().filter(|(node, _)| within.contains(node)) {
            let directory = name(node);
            found.push(match change {
                NameChange::Add(name, _) => format!("{directory}: + {name}"),
                NameChange::Remove(name) => format!("{directory}: - {name}"),
                NameChange::Move { from, to, .. } => format!("{directory}: {} -> {to}", from.1),
            });
        }
        found.join(", ")
    }

    /// A directory, and all that has or may get a name in it or below.
    fn within(&self, directory: Node) -> BTreeSet<Node> {
        let durable = self.directories.get(&directory).into_iter().flat_map(BTreeMap::values);
        let pending = self.pending.iter().filter(|(at, _)| *at == directory);
        let pending = pending.filter_map(|(_, change)| match change {
            NameChange::Add(_, node) | NameChange::Move { node, .. } => Some(node),
            NameChange::Remove(_) => None,
        });
        let found: BTreeSet<_> =
            durable.chain(pending).flat_map(|node| self.within(*node)).collect();
        found.into_iter().chain([directory]).collect()
    }
}

/// Makes one change to the names of directories.
fn apply(names: &mut BTreeMap<Node, Names>, directory: Node, change: &NameChange) {
    match change {
        NameChange::Add(name, node) => {
            names.entry(directory).or_default().insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.entry(directory).or_default().remove(name);
        }
        NameChange::Move { from: (from, name), to, node } => {
            let old = names.entry(*from).or_default();
            if old.get(name) == Some(node) {
                old.remove(name);
            }
            names.entry(directory).or_default().insert(to.clone(), *node);
        }
    }
}

/// Files with their content, and directories, by their path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Tree {
    /// What is in a directory.
    pub(super) fn of(directory: &Path) -> Self {
        let disk = Disk::of(directory, Appends::Torn);
        let inode = fs::metadata(directory).unwrap().ino();
        disk.survivor(inode, Keep::Everything, &mut rand::SeedableRng::seed_from_u64(0))
    }

    /// The paths of the files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path.as_path())
    }

    /// Makes it in an empty directory.
    pub(super) fn write(&self, directory: &Path) {
        for (path, content) in &self.0 {
            let path = directory.join(path);
            match content {
                Some(content) => fs::write(path, content).unwrap(),
                None => fs::create_dir(path).unwrap(),
            }
        }
    }

    /// # Panics
    /// What happened is not what was recorded.
    pub(super) fn assert_recorded(&self, recorded: &Self) {
        let scratch = |path: &Path| path.to_string_lossy().ends_with("-shm");
        let paths: BTreeSet<_> = self.0.keys().chain(recorded.0.keys()).collect();
        for path in paths.into_iter().filter(|path| !scratch(path)) {
            let (found, expected) = (self.0.get(path), recorded.0.get(path));
            assert!(found == expected, "{} was {PAST}", path.display());
        }
    }
}
