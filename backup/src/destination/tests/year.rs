//! A folder with more objects than could be held: names without contents, made up as they are listed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::{generic, of_store};
use crate::Destination;

/// Names that one request gives, as of S3.
const PAGE: u64 = 1_000;

/// What a destination was asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    requests: AtomicU64,
    names: AtomicU64,
}

impl Asked {
    /// Requests, and names that were listed, since it was asked last.
    pub(crate) fn take(&self) -> (u64, u64) {
        (self.requests.swap(0, Relaxed), self.names.swap(0, Relaxed))
    }
}

/// What is made up: for each number the names that begin with it, and their lengths.
type Names = Arc<dyn Fn(u64) -> Vec<(String, u64)> + Send + Sync>;

/// A destination whose folder has those of the numbers from 1 to `last` before what is written to it.
/// Whoever lists more than `most` of them without being asked in between gets an error.
pub(crate) fn year(
    folder: &'static str,
    last: u64,
    most: u64,
    names: impl Fn(u64) -> Vec<(String, u64)> + Send + Sync + 'static,
) -> (Destination, Arc<Asked>) {
    let asked = Arc::<Asked>::default();
    let (inner, names) = (Arc::<InMemory>::default(), Arc::new(names));
    let (any, written) = (Path::from("any"), "written at a time");
    inner.put(&any, written.into()).now_or_never().unwrap().unwrap();
    let like = inner.head(&any).now_or_never().unwrap().unwrap();
    let store = Year { inner, folder, last, most, names, like, asked: Arc::clone(&asked) };
    (of_store(Arc::new(store)), asked)
}

struct Year {
    inner: Arc<InMemory>,
    folder: &'static str,
    last: u64,
    most: u64,
    names: Names,
    /// What is made up was written when this was.
    like: ObjectMeta,
    asked: Arc<Asked>,
}

impl Year {
    fn ask(&self) {
        self.asked.requests.fetch_add(1, Relaxed);
    }

    fn list_after(
        &self,
        prefix: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.ask();
        let after = after.cloned().unwrap_or_default();
        let (folder, like) = (self.folder, self.like.clone());
        let is_made_up = prefix.is_some_and(|prefix| prefix.as_ref() == folder);
        let begins = after.filename().and_then(|name| name.get(..20)?.parse().ok());
        let (names, last) = (Arc::clone(&self.names), if is_made_up { self.last } else { 0 });
        let numbers = begins.unwrap_or(1).max(1)..=last;
        let made_up = numbers.flat_map(move |number| names(number)).map(move |(name, size)| {
            let location = Path::from(format!("{folder}/{name}"));
            Ok(ObjectMeta { location, size, ..like.clone() })
        });
        let all = stream::iter(made_up).chain(self.inner.list(prefix));
        let (asked, most) = (Arc::clone(&self.asked), self.most);
        let mut listed = 0;
        all.try_filter(move |meta| future::ready(meta.location > after))
            .map(move |meta| {
                listed += 1;
                if listed > 1 && listed % PAGE == 1 {
                    asked.requests.fetch_add(1, Relaxed);
                }
                if asked.names.fetch_add(1, Relaxed) >= most {
                    return Err(generic("it lists everything"));
                }
                meta
            })
            .boxed()
    }
}

impl std::fmt::Debug for Year {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Year")
    }
}

impl std::fmt::Display for Year {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Year")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Year {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.ask();
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.ask();
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.ask();
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.ask();
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.list_after(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.list_after(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.ask();
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.ask();
        self.inner.copy_opts(from, to, options).await
    }
}
