//! The admin sockets of stores and of primaries.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tipline_log::error_chain;
use tipline_ops::{AdminError, AdminServer, Archiver, CheckpointMaker, Mark};
use tipline_sources::Marker;

use crate::address::{Source, StoreAddress};
use crate::exit::Exit;
use crate::output::report::{Failure, Sentence};
use crate::output::telemetry;

/// Where that of a store is.
pub(crate) fn socket(store: &StoreAddress) -> PathBuf {
    store.beside("admin")
}

/// Where that of a primary is: beside the index of its source, or beside the node's database.
pub(crate) fn primary_socket(source: &Source, index: Option<&Path>) -> PathBuf {
    let beside = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let in_directory = |directory: &Path| directory.join(".tipline-outbox.sqlite");
    let index = match (source, index) {
        (Source::Sqlite(path), _) => {
            // One database is one outbox, by whatever name.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            return beside(&path, ".tipline-admin");
        }
        (_, Some(index)) => index.to_owned(),
        (Source::Blk(path), None) if !path.is_dir() => {
            in_directory(path.parent().unwrap_or(Path::new("")))
        }
        (Source::Directory { path, .. } | Source::Blk(path), None) => in_directory(path),
    };
    beside(&index, ".admin")
}

/// Opens the socket of a store that this process has open for writing. A consumer runs without it
/// if it cannot be opened; a warning says so.
pub(crate) fn start(store: &StoreAddress, maker: Arc<CheckpointMaker>) -> Option<AdminServer> {
    let path = socket(store);
    opened(&path, AdminServer::start(&path, maker), "tipline checkpoint create")
}

/// Opens the socket of a primary. It runs without it if it cannot be opened; a warning says so.
pub(crate) fn start_primary(path: &Path, marker: Marker) -> Option<AdminServer> {
    let mark = Mark::new(move |name| marker.mark(name));
    opened(path, AdminServer::start_primary(path, mark), "tipline check")
}

/// Opens the socket of an archiver, as [`start_primary`].
pub(crate) fn start_archiver(path: &Path, archiver: Archiver) -> Option<AdminServer> {
    opened(path, AdminServer::start_archiver(path, archiver), "tipline archiver")
}

/// Nobody answers at a socket: `who` was asked.
pub(crate) fn nobody(who: &str, socket: &Path) -> Failure {
    let text = format!("no {who} answers at {}", socket.display());
    let advice = "run this where it runs, as the same user, with what it was started with";
    Failure::from(Sentence(text)).ending(Exit::Unavailable).advise(advice)
}

/// Says what to check, where a socket cannot be reached.
pub(crate) fn explain(error: AdminError) -> Failure {
    let advice = match &error {
        AdminError::Unreachable { path, .. } => {
            Some(format!("check the permissions of {}", path.display()))
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match advice {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

fn opened(path: &Path, server: std::io::Result<AdminServer>, command: &str) -> Option<AdminServer> {
    let warn = |error: &std::io::Error| {
        let (path, error) = (path.display(), error_chain(error));
        tracing::warn!(
            "the admin socket {path} cannot be opened, so `{command}` cannot reach this process: {error}"
        );
    };
    let server = server.inspect_err(warn).ok()?;
    Some(match telemetry::level() {
        Some(level) => server.with_log_level(level),
        None => server,
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::primary_socket;

    #[test]
    fn a_primary_is_reached_beside_what_belongs_to_its_outbox() {
        let socket = |source: &str, index: Option<&str>| {
            primary_socket(&source.parse().unwrap(), index.map(Path::new))
        };
        for source in ["dir:/node", "blk:/node/blk00000.dat", "dir:/node?format=bitcoin"] {
            let expected = PathBuf::from("/node/.tipline-outbox.sqlite.admin");
            assert_eq!(socket(source, None), expected, "{source}");
            assert_eq!(socket(source, Some("/i.sqlite")), PathBuf::from("/i.sqlite.admin"));
        }
        let database = PathBuf::from("/node/node.db.tipline-admin");
        assert_eq!(socket("sqlite:/node/node.db", None), database);
        let here = PathBuf::from(".tipline-outbox.sqlite.admin");
        assert_eq!(socket("blk:no-such.dat", None), here);
    }
}
