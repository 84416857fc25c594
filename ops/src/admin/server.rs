//! Answering, in the process that has the store, or the outbox, open.

use std::error::Error;
use std::fmt::{self, Debug};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tipline_log::error_chain;
use tipline_proto::Label;
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::archiver::Archiver;
use super::hold::{self, Holds};
use super::level::LogLevel;
use super::line::{MAX_LINE, NoLine, read_line};
use super::path::SocketPath;
use super::protocol::{Answer, LevelChange, Request};
use crate::jobs::{CheckpointMaker, CheckpointOrder, CheckpointRun};

/// A client must ask within this.
const ASK: Duration = Duration::from_secs(10);
/// How often progress is sent.
const PROGRESS: Duration = Duration::from_millis(250);
/// Clients at once.
const CLIENTS: usize = 8;

/// An open admin socket. It is removed when this is dropped, unless another process has replaced it
/// since.
#[derive(Debug)]
pub struct AdminServer {
    path: PathBuf,
    identity: (u64, u64),
    level: Arc<OnceLock<LogLevel>>,
    _stop: DropGuard,
}

impl AdminServer {
    /// Opens the socket of a store that this process has open for writing. One that is left of a
    /// process that was killed is replaced.
    ///
    /// # Errors
    /// The socket cannot be made there.
    pub fn start(socket: &Path, maker: Arc<CheckpointMaker>) -> io::Result<Self> {
        Self::open(socket, Served::Store(maker, Arc::default()))
    }

    /// Opens the socket of a primary, whose outbox `mark` puts marks into. As
    /// [`AdminServer::start`].
    ///
    /// # Errors
    /// The socket cannot be made there.
    pub fn start_primary(socket: &Path, mark: Mark) -> io::Result<Self> {
        Self::open(socket, Served::Primary(mark))
    }

    /// Opens the socket of an archiver. As [`AdminServer::start`].
    ///
    /// # Errors
    /// The socket cannot be made there.
    pub fn start_archiver(socket: &Path, archiver: Archiver) -> io::Result<Self> {
        Self::open(socket, Served::Archive(archiver))
    }

    fn open(socket: &Path, served: Served) -> io::Result<Self> {
        let (listener, identity) = bind(socket)?;
        let (stop, level) = (CancellationToken::new(), Arc::default());
        let serving = serve(listener, served, Arc::clone(&level));
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Ok(Self { path: socket.to_owned(), identity, level, _stop: stop.drop_guard() })
    }

    /// From now on it is asked what this process logs, too, and changes it.
    pub fn with_log_level(self, level: LogLevel) -> Self {
        // There is one for a process.
        self.level.set(level).ok();
        self
    }
}

/// Enqueues a mark in the outbox of this process, and wakes its publisher. It may block: it is
/// called on a thread of its own.
#[derive(Clone)]
pub struct Mark(Arc<Enqueue>);

type Enqueue = dyn Fn(&Label) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

impl Mark {
    /// By this function. What it fails with is said to whoever asked.
    pub fn new<E: Error + Send + Sync + 'static>(
        enqueue: impl Fn(&Label) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |name: &Label| Ok(enqueue(name)?)))
    }
}

impl Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}

/// What the process has open.
#[derive(Debug, Clone)]
enum Served {
    Store(Arc<CheckpointMaker>, Arc<Holds>),
    Primary(Mark),
    Archive(Archiver),
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // One that stays is replaced by the next. Whoever has the store now may have done so already.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(socket: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(socket)?;
    Ok((found.dev(), found.ino()))
}

/// Nobody else may connect, not for an instant: it is made in a directory of its own, and then
/// moved to its place, where one of a process that was killed may be.
fn bind(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let mut private = path.as_os_str().to_owned();
    private.push(".new");
    let private = PathBuf::from(private);
    if private.is_dir() {
        fs::remove_dir_all(&private)?;
    }
    DirBuilder::new().mode(0o700).create(&private)?;
    let socket = private.join("s");
    let bind = |socket: &Path| UnixListener::bind(SocketPath::of(socket)?.as_path());
    let bound = bind(&socket).and_then(|listener| {
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        let identity = identity(&socket)?;
        fs::rename(&socket, path)?;
        Ok((listener, identity))
    });
    fs::remove_dir_all(&private)?;
    bound
}

async fn serve(listener: UnixListener, served: Served, level: Arc<OnceLock<LogLevel>>) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    while let Ok(turn) = Arc::clone(&clients).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                let (served, level) = (served.clone(), level.get().cloned());
                tokio::spawn(async move {
                    if let Err(error) = answer(client, served, level).await {
                        tracing::debug!(error = error_chain(&error), "an admin client went away");
                    }
                    drop(turn);
                });
            }
            // Out of descriptors, for a moment.
            Err(_) => tokio::time::sleep(PROGRESS).await,
        }
    }
}

async fn answer(client: UnixStream, served: Served, level: Option<LogLevel>) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let (mut read, mut line) = (BufReader::new(read), Vec::new());
    match timeout(ASK, read_line(&mut read, &mut line)).await? {
        Ok(()) => {}
        // Half a request is none.
        Err(NoLine::Closed) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(NoLine::Io(error)) => return Err(error),
        Err(error) => {
            return send(&mut write, &failed(format!("this is no request: {error}"))).await;
        }
    }
    let request = serde_json::from_slice(&line);
    let last = match (request, served) {
        (Err(error), _) => failed(format!("this is no request: {error}")),
        (Ok(Request::LogLevel { change }), _) => log_level(level, change),
        (Ok(Request::Mark { name }), Served::Primary(mark)) => enqueue(mark, &name).await,
        (Ok(Request::Mark { .. }), _) => {
            failed("this is a consumer: only a primary publishes marks")
        }
        (Ok(Request::Status), Served::Archive(archiver)) => {
            Answer::Status(Box::new(archiver.status().await))
        }
        (Ok(Request::Pause { max_ms }), Served::Archive(archiver)) => {
            match archiver.pause(Duration::from_millis(max_ms)).await {
                Ok(index) => Answer::Paused { index },
                Err(why) => failed(why),
            }
        }
        (Ok(Request::Resume), Served::Archive(archiver)) => {
            Answer::Resumed { was_paused: archiver.resume().await }
        }
        (Ok(Request::Status | Request::Pause { .. } | Request::Resume), _) => {
            failed("this is no archiver")
        }
        (Ok(_), Served::Primary(_)) => failed("this is a primary: it has no store"),
        (Ok(_), Served::Archive(_)) => failed("this is an archiver: it has no store to copy"),
        (Ok(Request::CancelCheckpoint), Served::Store(maker, _)) => {
            Answer::Cancelled { any: maker.cancel() }
        }
        (Ok(Request::Freeze { max_ms }), Served::Store(maker, _)) => {
            freeze(&maker, Duration::from_millis(max_ms), &mut read, &mut write).await?
        }
        (Ok(Request::Thaw), Served::Store(..)) => failed("nothing is frozen here"),
        (Ok(Request::Hold { max_ms }), Served::Store(maker, holds)) => {
            return hold(&maker, &holds, Duration::from_millis(max_ms), &mut write).await;
        }
        (Ok(Request::Release { id }), Served::Store(_, holds)) => match holds.thaw(id.as_deref()) {
            Ok(in_time) => Answer::Thawed { in_time },
            Err(why) => failed(why),
        },
        (Ok(Request::Checkpoint(order)), Served::Store(maker, _)) => match begin(&maker, order) {
            Ok(begun) => follow(begun, &mut read, &mut write).await?,
            Err(failed) => failed,
        },
    };
    send(&mut write, &last).await
}

fn failed(error: impl Into<String>) -> Answer {
    Answer::Failed { error: error.into() }
}

fn log_level(level: Option<LogLevel>, change: Option<LevelChange>) -> Answer {
    let Some(level) = level else {
        return failed("this process does not change what it logs");
    };
    let changed = match &change {
        None => Ok(()),
        Some(LevelChange::To(to)) => level.change(Some(to)),
        Some(LevelChange::Reset) => level.change(None),
    };
    match changed {
        Ok(()) => Answer::LogLevel { level: level.now(), started: level.started().to_owned() },
        Err(error) => failed(error_chain(&*error)),
    }
}

async fn enqueue(mark: Mark, name: &str) -> Answer {
    let name = match Label::new(name) {
        Ok(name) => name,
        Err(error) => return failed(error.to_string()),
    };
    match tokio::task::spawn_blocking(move || (mark.0)(&name)).await {
        Ok(Ok(())) => Answer::Marked,
        Ok(Err(error)) => failed(error_chain(&*error)),
        Err(error) => failed(error_chain(&error)),
    }
}

/// Freezes the store for whoever thaws it by its id. A client that is gone by now cannot know that.
async fn hold(
    maker: &CheckpointMaker,
    holds: &Arc<Holds>,
    most: Duration,
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let (id, cursor) = match holds.hold(maker, most).await {
        Ok(held) => held,
        Err(why) => return send(write, &failed(why)).await,
    };
    let cursor = cursor.as_ref();
    let held = Answer::Held {
        id: id.clone(),
        index: cursor.map_or(0, |cursor| cursor.position.index),
        block: cursor.and_then(|cursor| Some(cursor.block_tip.as_ref()?.height)),
        digest: cursor.map(|cursor| cursor.position.digest.to_string()),
    };
    let sent = send(write, &held).await;
    if sent.is_err() {
        holds.give_up(&id);
    }
    sent
}

/// Freezes the store until the client says so, closes its connection, or this process is to end.
async fn freeze(
    maker: &CheckpointMaker,
    most: Duration,
    read: &mut (impl AsyncBufRead + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<Answer> {
    if let Err(why) = hold::check(most) {
        return Ok(failed(why));
    }
    let frozen = match maker.freeze(most).await {
        Ok(frozen) => frozen,
        Err(error) => return Ok(failed(error_chain(&error))),
    };
    let index = frozen.cursor.as_ref().map_or(0, |cursor| cursor.position.index);
    send(write, &Answer::Frozen { index }).await?;
    let (mut line, stop) = (Vec::new(), maker.stopping());
    let asked = stop.run_until_cancelled(read_line(read, &mut line)).await;
    let in_time = frozen.thaw();
    // Nothing else may be asked here, and half a line is no word of whoever froze it.
    let is_thaw =
        || serde_json::from_slice(&line).is_ok_and(|asked| matches!(asked, Request::Thaw));
    if matches!(asked, Some(Ok(()))) && is_thaw() {
        return Ok(Answer::Thawed { in_time });
    }
    tracing::warn!(
        index,
        "the store was thawed before whoever froze it said so: a snapshot of it must not be used"
    );
    Ok(Answer::Thawed { in_time: false })
}

fn begin(maker: &Arc<CheckpointMaker>, order: CheckpointOrder) -> Result<CheckpointRun, Answer> {
    maker.begin(order).map_err(|error| failed(error_chain(&error)))
}

/// Sends progress, until it is done or the client has gone.
async fn follow(
    begun: CheckpointRun,
    read: &mut (impl AsyncReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<Answer> {
    let job = Arc::clone(&begun.job);
    let run = begun.run();
    tokio::pin!(run);
    let mut ticks = interval(PROGRESS);
    let mut nothing = [0];
    let mut is_there = true;
    loop {
        tokio::select! {
            made = &mut run => return Ok(match made {
                Ok(manifest) => Answer::Made { id: manifest.id.to_string() },
                Err(error) => failed(error_chain(&error)),
            }),
            _ = read.read(&mut nothing), if is_there => {
                is_there = false;
                job.cancel();
            }
            _ = ticks.tick(), if is_there => {
                let (doing, moved, total) = (job.doing().to_owned(), job.moved(), job.total());
                if send(write, &Answer::Progress { doing, moved, total }).await.is_err() {
                    is_there = false;
                    job.cancel();
                }
            }
        }
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    if line.len() >= MAX_LINE {
        // Words of an error, or what was asked for.
        line = serde_json::to_string(&failed("the answer is longer than a line may be"))?;
    }
    line.push('\n');
    write.write_all(line.as_bytes()).await
}
