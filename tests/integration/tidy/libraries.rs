//! Which file may name which library.

use std::collections::BTreeSet;

use syn::visit::Visit;

use super::sources::{Source, rust};

/// A library, by its name in Rust, and where it may be named. A place that ends with `/` is a
/// folder. Tests may name what they want.
const ALLOWED: &[(&str, &[&str])] = &[
    ("async_nats", &["log/src/jetstream/"]),
    ("nkeys", &["log/src/jetstream/"]),
    ("notify", &["log/src/embedded/", "sources/src/"]),
    ("alloy_primitives", &["sources/src/directory/format/ethereum/"]),
    ("alloy_rlp", &["sources/src/directory/format/ethereum/"]),
    ("alloy_trie", &["sources/src/directory/format/ethereum/"]),
    ("ct_merkle", &["audit/src/tlog/"]),
    ("ed25519_dalek", &["audit/src/tlog/", "proto/src/signature/"]),
    ("object_store", &["backup/src/destination/"]),
    ("smallvec", &["proto/src/hash.rs"]),
    ("age", &["backup/src/keys.rs"]),
    // How a time is written; durations and times of the command line, and of questions over HTTP.
    ("humantime", &["backup/src/time.rs", "ops/src/health/server.rs", "cli/src/"]),
    ("rocksdb", &["store/src/rocksdb/", "producer/src/outbox/rocksdb/"]),
    (
        "rusqlite",
        &[
            "log/src/embedded/sqlite/",
            "store/src/sqlite/",
            // Its index is an SQLite file.
            "store/src/files/",
            "producer/src/outbox/sqlite/",
            // So is that of a source.
            "sources/src/",
            // It sorts what a store lists by name.
            "backup/src/restore/entry_order.rs",
            // The node of the demonstration keeps its blocks in SQLite.
            "cli/src/demo/",
        ],
    ),
    (
        "axum",
        &[
            "ops/src/health/server.rs",
            "ops/src/dashboard/server.rs",
            "ops/src/http/mod.rs",
            "cli/src/commands/audit/witness/server.rs",
        ],
    ),
    ("tonic_health", &["ops/src/health/server.rs"]),
    // Its API. Where it goes is decided by the program.
    (
        "opentelemetry",
        &[
            "log/src/traces.rs",
            "log/src/meters.rs",
            "producer/src/publisher/",
            "consumer/src/telemetry.rs",
            "cli/src/telemetry/",
            "tests/src/",
        ],
    ),
    ("opentelemetry_sdk", &["cli/src/telemetry/", "tests/src/"]),
    ("opentelemetry_otlp", &["cli/src/telemetry/", "tests/src/"]),
    ("clap", &["cli/src/"]),
    ("indicatif", &["cli/src/"]),
    ("parquet", &["audit/src/row/columns.rs"]),
    ("ratatui", &["cli/src/commands/status/live/"]),
    ("reqwest", &["cli/src/commands/audit/asking.rs"]),
    (
        "tipline_log",
        &["log/", "producer/", "sources/", "consumer/", "backup/", "audit/", "ops/", "cli/"],
    ),
    ("tipline_store", &["store/", "consumer/", "backup/", "audit/", "ops/", "cli/"]),
    ("tipline_producer", &["producer/", "sources/", "cli/"]),
    ("tipline_consumer", &["consumer/", "backup/", "audit/", "ops/", "cli/"]),
    ("tipline_backup", &["backup/", "audit/", "ops/", "cli/"]),
    ("tipline_audit", &["audit/", "cli/"]),
    ("tipline_ops", &["ops/", "cli/"]),
    // The contract and the stores are synchronous.
    ("tokio", &["log/", "producer/", "sources/", "consumer/", "backup/", "audit/", "ops/", "cli/"]),
    (
        "async_trait",
        &["log/", "producer/", "sources/", "consumer/", "backup/", "audit/", "ops/", "cli/"],
    ),
    (
        "futures_util",
        &["log/", "producer/", "sources/", "consumer/", "backup/", "audit/", "ops/", "cli/"],
    ),
];

#[test]
fn a_library_is_named_only_where_it_belongs() {
    let mut wrong = Vec::new();
    for source in rust().iter().filter(|source| !source.is_test()) {
        for name in BTreeSet::from_iter(named(source)) {
            let Some((_, places)) = ALLOWED.iter().find(|(library, _)| *library == name) else {
                continue;
            };
            let is_allowed = |place: &&str| match place.strip_suffix('/') {
                Some(_) => source.path.starts_with(*place),
                None => source.path == *place,
            };
            if !places.iter().any(is_allowed) {
                wrong.push(format!("{} names {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every library in the list is named somewhere: else its line proves nothing.
#[test]
fn every_library_in_the_list_is_used() {
    let named: Vec<String> = rust().iter().flat_map(named).collect();
    for (library, _) in ALLOWED {
        assert!(named.iter().any(|name| name == library), "nobody names {library}");
    }
}

#[test]
fn the_contract_and_the_stores_have_no_async() {
    struct Asynchronous(Vec<String>);
    impl<'ast> Visit<'ast> for Asynchronous {
        fn visit_signature(&mut self, signature: &'ast syn::Signature) {
            if signature.asyncness.is_some() {
                self.0.push(signature.ident.to_string());
            }
        }
    }
    for source in rust() {
        if source.path.starts_with("proto/") || source.path.starts_with("store/") {
            let mut found = Asynchronous(Vec::new());
            found.visit_file(&source.parsed());
            assert!(found.0.is_empty(), "{}: async fn {:?}", source.path, found.0);
        }
    }
}

/// Libraries that a file names: the first segment of every path with more than one.
fn named(source: &Source) -> Vec<String> {
    struct Named(Vec<String>);
    impl<'ast> Visit<'ast> for Named {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            if path.segments.len() > 1 {
                self.0.push(path.segments[0].ident.to_string());
            }
            syn::visit::visit_path(self, path);
        }
        fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
            if item.ident != "tests" {
                syn::visit::visit_item_mod(self, item);
            }
        }
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            self.first(&item.tree);
        }
    }
    impl Named {
        fn first(&mut self, tree: &syn::UseTree) {
            match tree {
                syn::UseTree::Path(path) => self.0.push(path.ident.to_string()),
                syn::UseTree::Name(name) => self.0.push(name.ident.to_string()),
                syn::UseTree::Rename(name) => self.0.push(name.ident.to_string()),
                syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.first(tree)),
                syn::UseTree::Glob(_) => {}
            }
        }
    }
    let mut named = Named(Vec::new());
    let file = source.parsed();
    named.visit_file(&file);
    // A module of the same name is another thing.
    let is_module = |name: &str| {
        file.items.iter().any(|item| matches!(item, syn::Item::Mod(item) if item.ident == name))
    };
    named.0.retain(|name| !is_module(name));
    named.0
}
