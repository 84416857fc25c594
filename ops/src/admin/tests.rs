mod fuzzed;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tipline_consumer::{Progress, StoreHandle};
use tipline_log::system_clock;
use tipline_store::SqliteStore;
use tokio_util::sync::CancellationToken;

use super::{
    AdminError, AdminServer, Archiver, LONGEST_FREEZE, LONGEST_PAUSE, LevelRequest, LogLevel, Mark,
    archiver_status, cancel_checkpoint, freeze, hold, log_level, pause_archiver, release,
    request_checkpoint, request_mark, resume_archiver,
};
use crate::jobs::{CheckpointMaker, CheckpointMode, CheckpointOrder, JobBoard, Sealing};

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
async fn a_store_is_held_frozen_beyond_the_connection_and_thawed_by_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let minute = Duration::from_secs(60);
    assert!(hold(&socket, minute).await.unwrap().is_none());
    assert_eq!(release(&socket, None).await.unwrap(), None);
    let store = SqliteStore::open(directory.path().join("store.db")).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    let stop = CancellationToken::new();
    let maker = CheckpointMaker::new(handle.clone(), system_clock(), stop.clone());
    let _server = AdminServer::start(&socket, Arc::new(maker)).unwrap();

    let held = hold(&socket, minute).await.unwrap().unwrap();
    assert_eq!((held.index, held.block), (0, None));
    assert!(handle.is_frozen());
    let refused = |asked: Result<_, AdminError>| match asked {
        Err(AdminError::Refused { why }) => why,
        other => panic!("{other:?}"),
    };
    let again = refused(hold(&socket, minute).await.map(|_| ()));
    assert!(again.contains("frozen already"), "{again}");
    let foreign = refused(release(&socket, Some("ffff")).await.map(|_| ()));
    assert!(foreign.contains("must not be used"), "{foreign}");
    assert!(handle.is_frozen(), "nobody thaws what is another's");
    assert_eq!(release(&socket, Some(&held.id)).await.unwrap(), Some(true));
    handle.probe().await.unwrap();
    assert!(!handle.is_frozen());
    refused(release(&socket, Some(&held.id)).await.map(|_| ()));

    // By itself.
    let short = hold(&socket, Duration::from_millis(1)).await.unwrap().unwrap();
    handle.probe().await.unwrap();
    assert_eq!(release(&socket, Some(&short.id)).await.unwrap(), Some(false));
    // One that was never asked for again: whose the next one is, is not known without its id.
    for (id, is_good) in [(true, true), (false, false)] {
        hold(&socket, Duration::from_millis(1)).await.unwrap().unwrap();
        handle.probe().await.unwrap();
        let held = hold(&socket, minute).await.unwrap().unwrap();
        let id = id.then_some(held.id.as_str());
        assert_eq!(release(&socket, id).await.unwrap(), Some(is_good));
    }
    for wrong in [Duration::ZERO, LONGEST_FREEZE + Duration::from_secs(1)] {
        refused(hold(&socket, wrong).await.map(|_| ()));
        refused(freeze(&socket, wrong).await.map(|_| ()));
    }
    // The program ends, and the store shall apply what has arrived.
    hold(&socket, minute).await.unwrap().unwrap();
    stop.cancel();
    handle.probe().await.unwrap();
    refused(release(&socket, None).await.map(|_| ()));
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
async fn a_process_is_asked_what_it_logs_and_told_to_log_more() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    assert_eq!(log_level(&socket, LevelRequest::Show).await.unwrap(), None);
    let applied = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&applied);
    let level = LogLevel::new("info", move |level| match level {
        "loud" => Err(io::Error::other("no such level")),
        level => {
            calls.lock().unwrap().push(level.to_owned());
            Ok(())
        }
    });
    let server = start(directory.path(), &socket).with_log_level(level);
    let ask = async |request| {
        let said = log_level(&socket, request).await.map(|said| {
            let said = said.unwrap();
            assert_eq!(said.started, "info");
            said.level
        });
        said.map_err(|error| error.to_string())
    };
    assert_eq!(ask(LevelRequest::Show).await, Ok("info".to_owned()));
    assert_eq!(ask(LevelRequest::To("debug".to_owned())).await, Ok("debug".to_owned()));
    assert_eq!(ask(LevelRequest::To("loud".to_owned())).await, Err("no such level".to_owned()));
    assert_eq!(ask(LevelRequest::Show).await, Ok("debug".to_owned()));
    assert_eq!(ask(LevelRequest::Reset).await, Ok("info".to_owned()));
    assert_eq!(*applied.lock().unwrap(), ["debug", "info"]);
    drop(server);
    let elsewhere = tempfile::tempdir().unwrap();
    let _without = start(elsewhere.path(), &socket);
    assert!(ask(LevelRequest::Show).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archiver_is_paused_and_resumed_with_its_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin");
    let minute = Duration::from_secs(60);
    assert_eq!(archiver_status(&socket).await.unwrap(), None);
    assert_eq!(pause_archiver(&socket, minute).await.unwrap(), None);
    let store = SqliteStore::open(directory.path().join("store.db")).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    let (_progress, seen) = tokio::sync::watch::channel(Progress::new());
    let (board, stop) = (JobBoard::default(), CancellationToken::new());
    let name = "archive".parse().unwrap();
    let own = (handle.clone(), seen);
    let archiver = Archiver::new(name, "1.2.3", own, board.clone(), stop.clone());
    let _server = AdminServer::start_archiver(&socket, archiver).unwrap();

    let status = async || archiver_status(&socket).await.unwrap().unwrap();
    let before = status().await;
    assert_eq!((before.name.as_str(), before.version.as_str()), ("archive", "1.2.3"));
    assert_eq!(
        (before.doing.as_str(), before.paused_ms),
        ("comparing the archive with the log", None)
    );
    assert_eq!(resume_archiver(&socket).await.unwrap(), Some(false));
    for wrong in [Duration::ZERO, LONGEST_PAUSE + minute] {
        assert!(pause_archiver(&socket, wrong).await.is_err());
    }

    assert_eq!(pause_archiver(&socket, minute).await.unwrap(), Some(0));
    assert!(handle.is_frozen() && board.is_paused());
    let paused = status().await;
    assert_eq!(paused.doing, "paused");
    assert!(paused.paused_ms.is_some_and(|left| left <= 60_000), "{paused:?}");
    let again = pause_archiver(&socket, minute).await.unwrap_err().to_string();
    assert!(again.starts_with("it is paused already, for another"), "{again}");
    assert_eq!(resume_archiver(&socket).await.unwrap(), Some(true));
    assert!(!board.is_paused());
    // It answers again once it is thawed.
    handle.probe().await.unwrap();

    // By itself, also when the program is to end.
    pause_archiver(&socket, Duration::from_millis(1)).await.unwrap().unwrap();
    let resumed = async || {
        while board.is_paused() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(minute, resumed()).await.unwrap();
    handle.probe().await.unwrap();
    pause_archiver(&socket, minute).await.unwrap().unwrap();
    stop.cancel();
    tokio::time::timeout(minute, resumed()).await.unwrap();
    tokio::time::timeout(minute, handle.probe()).await.unwrap().unwrap();

    // It makes no checkpoint, and nobody else is paused.
    assert!(matches!(cancel_checkpoint(&socket).await, Err(AdminError::Refused { .. })));
    let elsewhere = directory.path().join("other");
    let _other = start(tempfile::tempdir().unwrap().path(), &elsewhere);
    assert!(matches!(pause_archiver(&elsewhere, minute).await, Err(AdminError::Refused { .. })));
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
