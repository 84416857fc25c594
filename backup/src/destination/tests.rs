//! What a failure is called depends on who failed.

pub(crate) mod year;

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, future};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use tipline_log::error_chain;

use super::error::{Doing, Medium};
use super::{Destination, DestinationError};
use crate::disk::tests::take_flushed;
use crate::throttle::Throttle;

async fn directory(name: &str) -> (tempfile::TempDir, Destination) {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("dir:{}", directory.path().join(name).display());
    let at = Destination::open(&address).unwrap();
    at.prepare().await.unwrap();
    (directory, at)
}

#[tokio::test]
async fn the_name_of_a_directory_is_not_a_reply() {
    for name in ["NoSuchBucket", "status code: 403 "] {
        let (_directory, at) = directory(name).await;
        let missing = at.read("x").await.unwrap_err();
        assert!(matches!(missing, DestinationError::NotFound { .. }), "{name}: {missing:?}");
    }
}

#[tokio::test]
async fn a_file_of_this_machine_fails_for_itself() {
    let (directory, at) = directory("there").await;
    at.create("x", "x".into()).await.unwrap();
    let nowhere = directory.path().join("missing").join("file");
    let failures = [
        at.upload("y", &nowhere, &Throttle::none()).await.unwrap_err(),
        at.download("x", &nowhere, &Throttle::none()).await.unwrap_err(),
    ];
    for failed in failures {
        assert!(!failed.is_retryable(), "{failed:?}");
        let text = failed.to_string();
        assert!(text.contains("missing/file") && !text.contains("out of reach"), "{text}");
    }
    assert_eq!(fs::read_dir(directory.path().join("there")).unwrap().count(), 1);
}

/// Opening one waits for whoever writes to it.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_no_object() {
    let (directory, at) = directory("there").await;
    let pipe = directory.path().join("there/x");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let failures = [
        at.read("x").await.unwrap_err(),
        at.read_range("x", 0..1).await.unwrap_err(),
        at.download("x", &directory.path().join("y"), &Throttle::none()).await.unwrap_err(),
    ];
    for failed in failures {
        assert!(error_chain(&failed).contains("it is no file"), "{failed:?}");
    }
}

fn doing(medium: Medium) -> Doing {
    Doing { place: "there".to_owned(), what: "reading x".to_owned(), medium }
}

fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: source.into() }
}

/// An error as a client builds it: its own text, and a cause.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Because {
    text: String,
    source: Box<dyn Error + Send + Sync>,
}

fn because(text: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Because {
    Because { text: text.to_owned(), source: source.into() }
}

#[test]
fn what_this_machine_says_of_its_network_is_not_what_a_server_says() {
    for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::QuotaExceeded] {
        let error = generic(because("connecting", io::Error::from(kind)));
        let found = doing(Medium::ObjectStorage).store(error);
        assert!(matches!(found, DestinationError::Unavailable { .. }), "{kind}: {found:?}");
    }
    let error = generic(because("writing", io::Error::from(ErrorKind::StorageFull)));
    let found = doing(Medium::Directory).store(error);
    assert!(matches!(found, DestinationError::NoSpace { .. }), "{found:?}");
}

#[test]
fn of_a_servers_error_only_the_reply_is_read() {
    let reply = |reply: &str| {
        let address = "GET http://host/bucket/NoSuchBucket/<Code>AccessDenied</Code>";
        let request = because(&format!("{address} - {reply}"), reply.to_owned());
        doing(Medium::ObjectStorage).store(generic(request))
    };
    let denied = reply("Server returned non-2xx status code: 403 Forbidden: ");
    assert!(matches!(denied, DestinationError::Denied { .. }), "{denied:?}");
    let denied = reply("Server returned error response: <Code>AccessDenied</Code>");
    assert!(matches!(denied, DestinationError::Denied { .. }), "{denied:?}");
    let none = reply("Server returned non-2xx status code: 404 Not Found: NoSuchBucket");
    assert!(matches!(none, DestinationError::Unavailable { .. }), "{none:?}");
    let away = reply("Server returned non-2xx status code: 500 Internal Server Error: ");
    assert!(matches!(away, DestinationError::Unavailable { .. }), "{away:?}");
    let path = "NoSuchBucket/x".to_owned();
    let source =
        because("GET http://host/NoSuchBucket/x", "Server returned non-2xx status code: 404 ");
    let missing = object_store::Error::NotFound { path, source: Box::new(source) };
    let missing = doing(Medium::ObjectStorage).store(missing);
    assert!(matches!(missing, DestinationError::NotFound { .. }), "{missing:?}");
}

#[test]
fn a_full_disk_is_full_whatever_its_directory_is_called() {
    let path = "cannot write /backup/NoSuchBucket/status code: 403 /x";
    let error = generic(because(path, io::Error::from(ErrorKind::StorageFull)));
    let found = doing(Medium::Directory).store(error);
    assert!(matches!(found, DestinationError::NoSpace { .. }), "{found:?}");
}

#[cfg(not(feature = "cloud"))]
#[test]
fn what_was_left_out_says_how_to_get_it() {
    for address in ["s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix"] {
        let refused = Destination::open_with(address, []).unwrap_err().to_string();
        assert!(refused.contains(address) && refused.contains("--features cloud"), "{refused}");
    }
}

/// What a store is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Put,
    Get,
    List,
    Delete,
}

/// What a store answers in the place of what it would; none: it does what it is asked for.
type Answer = Box<dyn Fn(Call, &Path) -> Option<object_store::Error> + Send + Sync>;

/// A store in memory that answers as a test wants.
struct Answering {
    inner: Arc<InMemory>,
    answer: Answer,
}

/// A destination that is one.
pub(crate) fn answering(
    inner: &Arc<InMemory>,
    answer: impl Fn(Call, &Path) -> Option<object_store::Error> + Send + Sync + 'static,
) -> Destination {
    let (inner, answer) = (Arc::clone(inner), Box::new(answer));
    of_store(Arc::new(Answering { inner, answer }))
}

fn of_store(store: Arc<dyn ObjectStore>) -> Destination {
    Destination {
        store,
        in_pieces: None,
        with_checksums: None,
        needs_checksums: Arc::default(),
        prefix: Path::default(),
        root: None,
        directory: None,
        place: "memory".to_owned(),
    }
}

/// One that refuses the call with this number, and all after it: as if the program was killed before.
pub(crate) fn until(inner: &Arc<InMemory>, number: u64) -> Destination {
    let asked = AtomicU64::new(0);
    answering(inner, move |_, _| (asked.fetch_add(1, Relaxed) >= number).then(refused))
}

/// It does not answer.
pub(crate) fn away() -> object_store::Error {
    generic("status code: 503")
}

/// It refuses, and will.
pub(crate) fn refused() -> object_store::Error {
    generic(because("PUT", "Server returned non-2xx status code: 403 Forbidden: "))
}

fn taken(location: &Path) -> object_store::Error {
    let source = "409 ConditionalRequestConflict".into();
    object_store::Error::AlreadyExists { path: location.to_string(), source }
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

impl std::fmt::Display for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Answering {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        match (self.answer)(Call::Put, location) {
            Some(error) => Err(error),
            None => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        match (self.answer)(Call::Get, location) {
            Some(error) => Err(error),
            None => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let mut answers = Vec::new();
        // The locations are known before it is called: a destination removes one at a time.
        let mut locations = locations;
        while let Some(location) = locations.next().now_or_never().flatten() {
            let refused =
                location.as_ref().ok().and_then(|location| (self.answer)(Call::Delete, location));
            match refused {
                Some(error) => answers.push(stream::once(future::ready(Err(error))).boxed()),
                None => {
                    let one = stream::once(future::ready(location)).boxed();
                    answers.push(self.inner.delete_stream(one));
                }
            }
        }
        stream::iter(answers).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match prefix.and_then(|prefix| (self.answer)(Call::List, prefix)) {
            Some(error) => stream::once(future::ready(Err(error))).boxed(),
            None => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        match (self.answer)(Call::List, prefix.unwrap_or(&Path::default())) {
            Some(error) => Err(error),
            None => self.inner.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_name_that_is_taken_and_free_again_is_tried_again() {
    // As a server says while another attempt to take the name is under way.
    let answered = AtomicBool::new(false);
    let at = answering(&Arc::default(), move |call, path| {
        (call == Call::Put && !answered.swap(true, Relaxed)).then(|| taken(path))
    });
    at.create("x", "x".into()).await.unwrap();
    let taken = at.create("x", "y".into()).await.unwrap_err();
    assert!(matches!(taken, DestinationError::Exists { .. }), "{taken:?}");
    at.rename("x", "y").await.unwrap();
    assert_eq!(at.read("y").await.unwrap(), "x");
    assert!(matches!(at.read("x").await, Err(DestinationError::NotFound { .. })));
}

/// Both of two attempts at once are refused, each because of the other.
#[tokio::test]
async fn a_name_that_neither_of_two_gets_is_no_lack_of_conditions() {
    let inner = Arc::new(InMemory::new());
    let written = Arc::clone(&inner);
    let at = answering(&inner, move |call, path| {
        if call != Call::Put || !path.as_ref().ends_with("-2") {
            return None;
        }
        written.put(path, "it".into()).now_or_never();
        Some(taken(path))
    });
    let refused = at.probe().await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    let told = error_chain(&refused);
    assert!(told.contains("both were refused"), "{told}");
}

/// They may have been made by a writer that was killed before their names were durable.
#[tokio::test]
async fn the_names_of_folders_that_are_there_are_durable_after_a_write() {
    let (directory, at) = directory("there").await;
    let root = directory.path().join("there");
    let (folder, from) = (at.folder("set"), directory.path().join("from"));
    fs::create_dir_all(root.join("set/id/part")).unwrap();
    fs::write(&from, "it").unwrap();
    for step in 0..3 {
        take_flushed(&root);
        match step {
            0 => folder.create("id/part/a", "a".into()).await.unwrap(),
            1 => drop(folder.upload("id/part/b", &from, &Throttle::none()).await.unwrap()),
            _ => folder.sync_existing("id/part/a").await.unwrap(),
        }
        let flushed = take_flushed(&root);
        for name in ["set/id/part", "set/id", "set", ""] {
            assert!(flushed.contains(&root.join(name)), "{step}: {name:?} of {flushed:?}");
        }
        assert!(!flushed.contains(directory.path()));
    }
}
