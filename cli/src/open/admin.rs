//! The admin socket of a store.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::error_chain;
use tipline_ops::{AdminServer, CheckpointMaker};

use crate::address::StoreAddress;

/// Where it is.
pub(crate) fn socket(store: &StoreAddress) -> PathBuf {
    store.beside("admin")
}

/// Opens the socket of a store that this process has open for writing. A consumer runs without it
/// if it cannot be opened; a warning says so.
pub(crate) fn start(store: &StoreAddress, maker: Arc<CheckpointMaker>) -> Option<AdminServer> {
    let path = socket(store);
    match AdminServer::start(&path, maker) {
        Ok(server) => Some(server),
        Err(error) => {
            let (path, error) = (path.display(), error_chain(&error));
            tracing::warn!(
                "the admin socket {path} cannot be opened, so `tipline checkpoint create` cannot reach this process: {error}"
            );
            None
        }
    }
}
