use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tipline_consumer::StoreHandle;
use tipline_log::system_clock;
use tipline_store::SqliteStore;
use tokio_util::sync::CancellationToken;

use super::{
    AdminError, AdminServer, Mark, cancel_checkpoint, freeze, request_checkpoint, request_mark,
};
use crate::jobs::{CheckpointMaker, CheckpointMode, CheckpointOrder, Sealing};

fn start(directory: &Path, socket: &Path) -> AdminServer {
    let store = SqliteStore::open(directory.join("store.db")).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    let maker = CheckpointMaker::new(handle, system_clock(), CancellationToken::new());
    AdminServer::start(socket, Arc::new(maker)).unwrap()
}

fn order(directory: &Path) -> CheckpointOrder {
    CheckpointOrder {
        checkpoints: format!("dir:{}", directory.join("set").display()),
        upload: None,
        rate: None,
        mode: CheckpointMode::Links,
        sealing: Sealing::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_process_nobody_answers() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, stop) = (directory.path().join("admin"), CancellationToken::new());
    let order = order(directory.path());
    assert!(request_checkpoint(&socket, &order, &stop, |_| {}).await.unwrap().is_none());
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), None);
    assert!(freeze(&socket, Duration::from_secs(1)).await.unwrap().is_none());

    // Nor when the process has ended: the socket goes with it.
    drop(start(directory.path(), &socket));
    assert!(!socket.exists());
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_frozen_and_thawed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let _server = start(directory.path(), &socket);
    let frozen = freeze(&socket, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(frozen.index, 0);
    assert!(frozen.thaw().await.unwrap());
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, stop) = (directory.path().join("admin"), CancellationToken::new());
    let _server = start(directory.path(), &socket);
    let order = CheckpointOrder { upload: Some("ftp:x".into()), ..order(directory.path()) };
    let refused = request_checkpoint(&socket, &order, &stop, |_| {}).await.unwrap_err();
    let AdminError::Refused { why } = &refused else { panic!("{refused:?}") };
    assert!(why.contains("ftp:x"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_asked_for_marks_and_a_consumer_refuses_them() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let name = "here".parse().unwrap();
    assert_eq!(request_mark(&socket, &name).await.unwrap(), None);

    let enqueued = Arc::new(Mutex::new(Vec::new()));
    let outbox = Arc::clone(&enqueued);
    let mark = Mark::new(move |name| {
        let mut outbox = outbox.lock().unwrap();
        if !outbox.is_empty() {
            return Err(io::Error::other("the outbox is full"));
        }
        outbox.push(name.clone());
        Ok(())
    });
    let server = AdminServer::start_primary(&socket, mark).unwrap();
    assert_eq!(request_mark(&socket, &name).await.unwrap(), Some(()));
    assert_eq!(*enqueued.lock().unwrap(), std::slice::from_ref(&name));
    let refused = |error: AdminError| match error {
        AdminError::Refused { why } => why,
        other => panic!("{other:?}"),
    };
    let full = request_mark(&socket, &name).await.unwrap_err();
    assert_eq!(refused(full), "the outbox is full");
    let no_store = freeze(&socket, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(refused(no_store), "this is a primary: it has no store");
    drop(server);

    let _server = start(directory.path(), &socket);
    let consumer = request_mark(&socket, &name).await.unwrap_err();
    assert_eq!(refused(consumer), "this is a consumer: only a primary publishes marks");
}

#[tokio::test]
async fn the_socket_of_a_successor_stays() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let elsewhere = tempfile::tempdir().unwrap();
    let earlier = start(directory.path(), &socket);
    let later = start(elsewhere.path(), &socket);
    drop(earlier);
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), Some(false));
    drop(later);
    assert!(!socket.exists());
}

/// An address of a socket has room for some hundred bytes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_path_may_be_long() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("of-some-length".repeat(12));
    std::fs::create_dir(&deep).unwrap();
    let socket = deep.join("store.db.admin");
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), None);
    let server = start(directory.path(), &socket);
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), Some(false));
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    drop(server);
    assert!(!socket.exists());
    assert_eq!(cancel_checkpoint(&socket).await.unwrap(), None);
    let nowhere = directory.path().join("x".repeat(120)).join("admin");
    assert_eq!(cancel_checkpoint(&nowhere).await.unwrap(), None);
}
