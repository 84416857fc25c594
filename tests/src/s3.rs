//! An S3 server on the loopback, with credentials, whose objects are files in a directory.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Response, S3Result, dto, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tipline_backup::{Destination, DestinationError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Port;

/// The one bucket that it has.
const BUCKET: &str = "backups";
const KEY: &str = "tipline-tests";
const SECRET: &str = "for-tests-only";

/// A server that speaks the S3 protocol. It has one bucket and one user, and ends when this is
/// dropped; what it holds goes with it.
///
/// It runs on threads of its own, so that a test may block.
#[derive(Debug)]
pub struct S3 {
    root: TempDir,
    port: Port,
    manners: Manners,
    running: Option<Running>,
}

/// What a server does that others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// It lets nobody in, as with credentials that were withdrawn.
    Refuses,
    /// It takes a conditional write for one without conditions.
    IgnoresConditions,
    /// It answers a conditional write with 501.
    LacksConditions,
    /// Its bucket has Object Lock: a write needs a checksum.
    NeedsChecksums,
    /// It refuses to remove anything.
    NeverRemoves,
    /// Its clock is another one.
    ClockSkew,
    /// It does not list what was just written to try it.
    ListsLate,
    /// It answers so many conditional writes with 409.
    Conflicts(u32),
    /// It answers so many requests with 503.
    IsBusy(u32),
    /// It fails for so many pieces of files.
    LosesPieces(u32),
}

/// How it behaves, and what was asked of it.
#[derive(Debug, Default)]
struct State {
    quirk: Option<Quirk>,
    requests: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default)]
struct Manners(Arc<Mutex<State>>);

impl Manners {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, quirk: Quirk) -> bool {
        self.state().quirk == Some(quirk)
    }

    /// Whether one more of a number of failures is due.
    fn fails(&self, which: impl Fn(u32) -> Quirk) -> bool {
        let mut state = self.state();
        let left = match state.quirk {
            Some(Quirk::Conflicts(left) | Quirk::IsBusy(left) | Quirk::LosesPieces(left)) => left,
            _ => return false,
        };
        if left == 0 || state.quirk != Some(which(left)) {
            return false;
        }
        state.quirk = Some(which(left - 1));
        true
    }
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl S3 {
    /// Starts one that holds nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap_or_else(|e| panic!("no place for an S3 server: {e}"));
        std::fs::create_dir(root.path().join(BUCKET))
            .unwrap_or_else(|e| panic!("no place for a bucket: {e}"));
        let mut server =
            Self { root, port: Port::reserve(), manners: Manners::default(), running: None };
        server.start_again();
        server
    }

    /// The address of a prefix in its bucket.
    pub fn address(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// What a process must have in its environment to be let in.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_with(SECRET)
    }

    /// The same with another secret: one that is wrong.
    pub fn environment_with(&self, secret: &str) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.port);
        let pairs = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// A prefix of its bucket as a destination of this process.
    ///
    /// # Errors
    /// The prefix is none.
    pub fn destination(&self, prefix: &str) -> Result<Destination, DestinationError> {
        Destination::open_with(&self.address(prefix), self.environment())
    }

    /// The directory that holds everything it holds.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The file that holds an object, to damage or to remove it behind the server's back.
    pub fn file(&self, prefix: &str, name: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(prefix).join(name)
    }

    /// From now on it behaves so, and no other way.
    pub fn behave(&self, quirk: impl Into<Option<Quirk>>) {
        self.manners.state().quirk = quirk.into();
    }

    /// How many requests of each kind there were since this was last asked: `PutObject`, ….
    pub fn requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.manners.state().requests)
    }

    /// From now on nobody is let in, as with credentials that were withdrawn; or everybody
    /// again who has them.
    pub fn refuse(&self, refuses: bool) {
        self.behave(refuses.then_some(Quirk::Refuses));
    }

    /// Stops it, with every connection and every request that is under way. What it holds
    /// stays; connecting is refused until it is started again.
    ///
    /// # Panics
    /// If it failed before.
    pub fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.cancel();
            thread.join().unwrap_or_else(|_| panic!("the S3 server panicked"));
        }
    }

    /// Starts it again after [`S3::stop`], at the same address.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_again(&mut self) {
        self.stop();
        let service = service(self.root.path(), self.manners.clone());
        let stop = CancellationToken::new();
        let (ready, listening) = std::sync::mpsc::sync_channel(1);
        let (address, stopped) = (self.port.to_string(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap_or_else(|e| panic!("no runtime for an S3 server: {e}"));
            runtime.block_on(async {
                let listener = TcpListener::bind(&address).await;
                let listener = listener.unwrap_or_else(|e| panic!("S3 at {address}: {e}"));
                ready.send(()).unwrap_or_else(|_| panic!("nobody waits for the S3 server"));
                stopped.run_until_cancelled(serve(listener, service)).await;
            });
            // With it go all connections, and every request between two of its steps.
        });
        self.running = Some(Running { stop, thread });
        listening.recv().unwrap_or_else(|_| panic!("the S3 server did not start"));
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.cancel();
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    loop {
        let (socket, _) =
            listener.accept().await.unwrap_or_else(|e| panic!("the S3 server's socket: {e}"));
        let service = service.clone();
        tokio::spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // A client that goes away is the client's business.
            drop(http.serve_connection(TokioIo::new(socket), service).await);
        });
    }
}

fn service(root: &Path, manners: Manners) -> S3Service {
    let files = FileSystem::new(root).unwrap_or_else(|e| panic!("the S3 server's files: {e:?}"));
    let mut builder = S3ServiceBuilder::new(Conditional {
        files,
        creating: Arc::default(),
        manners: manners.clone(),
    });
    builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
    builder.set_access(Gate { manners });
    builder.build()
}

/// Who is let in, and where to.
struct Gate {
    manners: Manners,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name().to_owned();
        let removes = operation.starts_with("Delete");
        *self.manners.state().requests.entry(operation).or_default() += 1;
        if self.manners.is(Quirk::Refuses) || context.credentials().is_none() {
            return Err(s3_error!(AccessDenied));
        }
        if removes && self.manners.is(Quirk::NeverRemoves) {
            return Err(s3_error!(AccessDenied));
        }
        if self.manners.is(Quirk::ClockSkew) {
            return Err(s3_error!(RequestTimeTooSkewed));
        }
        if self.manners.fails(Quirk::IsBusy) {
            return Err(s3_error!(SlowDown));
        }
        // The files would make a bucket for whoever writes into it.
        match context.s3_path().get_bucket_name() {
            Some(BUCKET) => Ok(()),
            _ => Err(s3_error!(NoSuchBucket)),
        }
    }
}

/// The files look whether a name is taken, and then write: two who do so at once would both
/// believe to have created it. Real ones promise that one does.
struct Conditional {
    files: FileSystem,
    creating: Arc<tokio::sync::Mutex<()>>,
    manners: Manners,
}

/// As AWS says it.
const NEEDS_CHECKSUM: &str = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put \
                              Object requests with Object Lock parameters";

type Reply<'a, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'a>>;

/// Methods that the files have as they should be.
macro_rules! as_the_files_do {
    ($($method:ident: $input:ident -> $output:ident,)*) => {
        $(fn $method<'a, 'b>(
            &'a self,
            request: S3Request<dto::$input>,
        ) -> Reply<'b, dto::$output>
        where
            'a: 'b,
            Self: 'b,
        {
            s3s::S3::$method(&self.files, request)
        })*
    };
}

impl s3s::S3 for Conditional {
    fn put_object<'a, 'b>(
        &'a self,
        request: S3Request<dto::PutObjectInput>,
    ) -> Reply<'b, dto::PutObjectOutput>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let (mut request, manners) = (request, &self.manners);
            let has_checksum =
                request.input.content_md5.is_some() || request.input.checksum_sha256.is_some();
            if manners.is(Quirk::NeedsChecksums) && !has_checksum {
                return Err(s3_error!(InvalidRequest, "{}", NEEDS_CHECKSUM));
            }
            if request.input.if_none_match.is_some() {
                if manners.is(Quirk::LacksConditions) {
                    return Err(s3_error!(NotImplemented));
                }
                if manners.fails(Quirk::Conflicts) {
                    return Err(s3_error!(ConditionalRequestConflict));
                }
                if manners.is(Quirk::IgnoresConditions) {
                    request.input.if_none_match = None;
                }
            }
            let _one = self.creating.lock().await;
            s3s::S3::put_object(&self.files, request).await
        })
    }

    fn upload_part<'a, 'b>(
        &'a self,
        request: S3Request<dto::UploadPartInput>,
    ) -> Reply<'b, dto::UploadPartOutput>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let manners = &self.manners;
            let has_checksum =
                request.input.content_md5.is_some() || request.input.checksum_sha256.is_some();
            if manners.is(Quirk::NeedsChecksums) && !has_checksum {
                return Err(s3_error!(InvalidRequest, "{}", NEEDS_CHECKSUM));
            }
            if manners.fails(Quirk::LosesPieces) {
                return Err(s3_error!(InternalError));
            }
            s3s::S3::upload_part(&self.files, request).await
        })
    }

    fn list_objects_v2<'a, 'b>(
        &'a self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> Reply<'b, dto::ListObjectsV2Output>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let mut listed = s3s::S3::list_objects_v2(&self.files, request).await?;
            if self.manners.is(Quirk::ListsLate) {
                listed.output.contents = None;
            }
            Ok(listed)
        })
    }

    as_the_files_do! {
        get_object: GetObjectInput -> GetObjectOutput,
        head_object: HeadObjectInput -> HeadObjectOutput,
        head_bucket: HeadBucketInput -> HeadBucketOutput,
        list_objects: ListObjectsInput -> ListObjectsOutput,
        delete_object: DeleteObjectInput -> DeleteObjectOutput,
        delete_objects: DeleteObjectsInput -> DeleteObjectsOutput,
        create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput,
        complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput,
        abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput,
    }
}
