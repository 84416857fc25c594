//! No circle of files: what one file names is below it, so that each can be read before those
//! that stand on it.
//!
//! A file may name what the `mod.rs` of its own folder defines: that is the thing which the
//! folder's files are about. What a `mod.rs` only hands on counts as named where it is defined.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Item, UseTree};

use super::sources::{PACKAGES, Source, rust};

/// A module, by its path from the root of the crate.
type Module = Vec<String>;

/// What a file has and what it names.
#[derive(Default)]
struct File {
    path: String,
    defines: BTreeSet<String>,
    /// By the name that it has here: the path that it stands for, as it is written.
    imports: Vec<(String, Vec<String>)>,
    /// Paths with more than one segment, as they are written.
    paths: Vec<Vec<String>>,
}

#[test]
fn no_file_is_below_itself() {
    let mut circles = Vec::new();
    for package in PACKAGES {
        let prefix = format!("{package}/src/");
        let sources = rust().iter().filter(|source| source.path.starts_with(&prefix));
        let sources = sources.filter(|s| !s.path.contains("/tests") && !s.path.contains("/bin/"));
        let files = sources.map(|source| (module(source, &prefix), File::read(source))).collect();
        let edges = edges(&files);
        for circle in circles_of(&edges) {
            let names: Vec<_> = circle.iter().map(|module| files[module].path.clone()).collect();
            circles.push(names.join(" → "));
        }
    }
    assert!(circles.is_empty(), "each of these comes back to where it began: {circles:#?}");
}

fn module(source: &Source, prefix: &str) -> Module {
    let path = source.path.strip_prefix(prefix).unwrap().strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let is_root = path == "lib" || path == "main";
    if is_root { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

impl File {
    fn read(source: &Source) -> File {
        let mut file = File { path: source.path.clone(), ..File::default() };
        file.visit_file(&source.parsed());
        file
    }

    fn import(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().cloned().unwrap_or_default();
                self.imports.push((name, before.to_vec()));
            }
            UseTree::Name(name) => self.imports.push((name.ident.to_string(), with(&name.ident))),
            UseTree::Rename(name) => {
                self.imports.push((name.rename.to_string(), with(&name.ident)));
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(before, tree)),
            UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item(&mut self, item: &'ast Item) {
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Mod(item) if item.ident == "tests" => return,
            _ => None,
        };
        self.defines.extend(name.map(ToString::to_string));
        syn::visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// Which module's file names something of which.
fn edges(files: &BTreeMap<Module, File>) -> BTreeMap<Module, BTreeSet<Module>> {
    let edges = files.iter().map(|(module, file)| {
        let is_face = file.path.ends_with("/mod.rs") || module.is_empty();
        // What a face imports to hand it on is named by whoever uses it, not by the face: of its
        // imports those count that its own code uses, which are the paths below.
        let imported = file.imports.iter().map(|(_, path)| path).filter(|_| !is_face);
        let named = imported.chain(&file.paths);
        let targets = named.filter_map(|path| resolve(files, absolute(files, module, path)?, 8));
        let below = targets.filter(|target| target != module && !module.starts_with(target));
        (module.clone(), below.collect())
    });
    edges.collect()
}

/// A written path from the root of the crate; `None` if it leads into another crate.
fn absolute(files: &BTreeMap<Module, File>, from: &Module, path: &[String]) -> Option<Vec<String>> {
    let (mut base, mut rest) = (from.clone(), path);
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        first => {
            let child = [from.as_slice(), &[first.to_owned()]].concat();
            if !files.contains_key(&child) {
                let (_, stands_for) = files[from].imports.iter().find(|(name, _)| name == first)?;
                let is_own = ["crate", "self", "super"].contains(&stands_for[0].as_str());
                return is_own.then(|| absolute(files, from, stands_for)).flatten();
            }
        }
    }
    Some([base.as_slice(), rest].concat())
}

/// The module whose file defines what is at a path. `depth` bounds how often it is handed on.
fn resolve(files: &BTreeMap<Module, File>, path: Vec<String>, depth: u8) -> Option<Module> {
    let known = (0..=path.len()).rev().find(|length| files.contains_key(&path[..*length]))?;
    let (module, rest) = (path[..known].to_vec(), &path[known..]);
    let Some(name) = rest.first() else { return Some(module) };
    let file = &files[&module];
    if file.defines.contains(name) || depth == 0 {
        return Some(module);
    }
    let handed_on = file.imports.iter().find(|(known, _)| known == name);
    let Some((_, path)) = handed_on else { return Some(module) };
    let path = absolute(files, &module, path)?;
    resolve(files, [path.as_slice(), &rest[1..]].concat(), depth - 1)
}

/// One circle through each module that is on one and on none before.
fn circles_of(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    fn search(
        at: &Module,
        edges: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
        found: &mut Vec<Vec<Module>>,
    ) {
        if let Some(start) = way.iter().position(|module| module == at) {
            found.push(way[start..].to_vec());
            return;
        }
        if done.contains(at) {
            return;
        }
        way.push(at.clone());
        edges.get(at).into_iter().flatten().for_each(|to| search(to, edges, way, done, found));
        way.pop();
        done.insert(at.clone());
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for module in edges.keys() {
        search(module, edges, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

#[test]
fn a_circle_is_found() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let files = [
        source("x/src/lib.rs", "mod a; mod b; mod c; pub use c::C;"),
        source("x/src/a.rs", "use crate::b::B; pub struct A;"),
        source("x/src/b.rs", "use crate::C; pub struct B;"),
        source("x/src/c.rs", "pub struct C; fn f() { crate::a::A; }"),
    ];
    let files = files.iter().map(|source| (module(source, "x/src/"), File::read(source)));
    let files: BTreeMap<Module, File> = files.collect();
    assert_eq!(circles_of(&edges(&files)), [["a", "b", "c"].map(|name| vec![name.to_owned()])]);
}
