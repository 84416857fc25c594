//! What decides is a function of what it is given: it reads no clock, draws no number, and calls
//! nothing that does.

use std::collections::BTreeSet;

use syn::visit::Visit;

use super::sources::{Source, rust};

/// Files that decide.
const DECIDING: &[&str] = &[
    "audit/src/chain.rs",
    "audit/src/tlog/certificate.rs",
    "audit/src/tlog/checkpoint.rs",
    "audit/src/tlog/cosignature.rs",
    "audit/src/tlog/hash.rs",
    "audit/src/tlog/note.rs",
    "audit/src/tlog/policy.rs",
    "audit/src/tlog/proof.rs",
    "audit/src/tlog/tile.rs",
    "audit/src/tlog/tree.rs",
    "audit/src/tlog/witness.rs",
    "backup/src/archive/coverage.rs",
    "backup/src/archive/expiry_plan.rs",
    "backup/src/restore/seek.rs",
    "backup/src/retention/gate.rs",
    "backup/src/sources/spans.rs",
    "consumer/src/verify.rs",
    "ops/src/health/consumer.rs",
    "ops/src/health/fleet.rs",
    "ops/src/health/pace.rs",
    "ops/src/health/primary.rs",
    "ops/src/health/steps.rs",
    "ops/src/round_trip/legs.rs",
    "ops/src/verdict/assess.rs",
    "ops/src/verdict/consumer.rs",
    "ops/src/verdict/liveness.rs",
    "ops/src/verdict/primary.rs",
    "ops/src/verdict/recovery/conditions.rs",
    "ops/src/verdict/recovery/runway.rs",
    "producer/src/publisher/core.rs",
    "proto/src/agreement.rs",
    "proto/src/links.rs",
    "proto/src/policy.rs",
];

/// Where time, chance and the world come from. A moment may be handed in; it may not be read.
const FORBIDDEN: &[&str] =
    &["Instant::now", "SystemTime::now", "sleep", "rand", "tokio", "fs", "net", "env", "thread"];

#[test]
fn what_decides_is_pure() {
    let mut seen = BTreeSet::new();
    for source in rust().iter().filter(|source| DECIDING.contains(&source.path.as_str())) {
        seen.insert(source.path.as_str());
        for path in paths(source) {
            let names = FORBIDDEN.iter().filter(|name| match name.split_once("::") {
                Some((kind, function)) => path.ends_with(&[kind.to_owned(), function.to_owned()]),
                None => path.iter().any(|part| part == *name),
            });
            let named: Vec<_> = names.collect();
            assert!(named.is_empty(), "{} names {named:?}: {}", source.path, path.join("::"));
        }
    }
    assert_eq!(seen, BTreeSet::from_iter(DECIDING.iter().copied()), "a file was moved");
}

/// Every path in the code of a file, imports included.
fn paths(source: &Source) -> Vec<Vec<String>> {
    struct Paths(Vec<Vec<String>>);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.0.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
            syn::visit::visit_path(self, path);
        }
        fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
            if item.ident != "tests" {
                syn::visit::visit_item_mod(self, item);
            }
        }
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            self.import(&[], &item.tree);
        }
    }
    impl Paths {
        fn import(&mut self, before: &[String], tree: &syn::UseTree) {
            let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
            match tree {
                syn::UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
                syn::UseTree::Name(name) => self.0.push(with(&name.ident)),
                syn::UseTree::Rename(name) => self.0.push(with(&name.ident)),
                syn::UseTree::Group(group) => {
                    group.items.iter().for_each(|tree| self.import(before, tree));
                }
                syn::UseTree::Glob(_) => self.0.push(before.to_vec()),
            }
        }
    }
    let mut paths = Paths(Vec::new());
    paths.visit_file(&source.parsed());
    paths.0
}
