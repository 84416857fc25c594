//! Answering, in the process that has the store open.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tipline_log::error_chain;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::protocol::{Answer, MAX_LINE, Request};
use crate::jobs::{CheckpointMaker, CheckpointOrder, CheckpointRun};

/// A client must ask within this.
const ASK: Duration = Duration::from_secs(10);
/// How often progress is sent.
const PROGRESS: Duration = Duration::from_millis(250);
/// Clients at once.
const CLIENTS: usize = 8;

/// An open admin socket. It is removed when this is dropped.
#[derive(Debug)]
pub struct AdminServer {
    path: PathBuf,
    _stop: DropGuard,
}

impl AdminServer {
    /// Opens the socket of a store that this process has open for writing. One that is left of a
    /// process that was killed is replaced.
    ///
    /// # Errors
    /// The socket cannot be made there.
    pub fn start(socket: &Path, maker: Arc<CheckpointMaker>) -> io::Result<Self> {
        let listener = bind(socket)?;
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, maker)));
        Ok(Self { path: socket.to_owned(), _stop: stop.drop_guard() })
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // One that stays is replaced by the next.
        _ = fs::remove_file(&self.path);
    }
}

/// Nobody else may connect, not for an instant: it is made in a directory of its own, and then
/// moved to its place, where one of a process that was killed may be.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut private = path.as_os_str().to_owned();
    private.push(".new");
    let private = PathBuf::from(private);
    if private.is_dir() {
        fs::remove_dir_all(&private)?;
    }
    DirBuilder::new().mode(0o700).create(&private)?;
    let socket = private.join("s");
    let bound = UnixListener::bind(&socket).and_then(|listener| {
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        fs::rename(&socket, path)?;
        Ok(listener)
    });
    fs::remove_dir_all(&private)?;
    bound
}

async fn serve(listener: UnixListener, maker: Arc<CheckpointMaker>) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    while let Ok(turn) = Arc::clone(&clients).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                let maker = Arc::clone(&maker);
                tokio::spawn(async move {
                    if let Err(error) = answer(client, maker).await {
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

async fn answer(client: UnixStream, maker: Arc<CheckpointMaker>) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let mut read = BufReader::new(read.take(MAX_LINE));
    let mut line = String::new();
    timeout(ASK, read.read_line(&mut line)).await??;
    let request = serde_json::from_str(&line);
    let last = match request {
        Ok(Request::CancelCheckpoint) => Answer::Cancelled { any: maker.cancel() },
        Ok(Request::Freeze { max_ms }) => {
            freeze(&maker, Duration::from_millis(max_ms), &mut read, &mut write).await?
        }
        Ok(Request::Thaw) => Answer::Failed { error: "nothing is frozen here".to_owned() },
        Ok(Request::Checkpoint(order)) => match begin(&maker, order) {
            Ok(begun) => follow(begun, &mut read, &mut write).await?,
            Err(failed) => failed,
        },
        Err(error) => Answer::Failed { error: format!("this is no request: {error}") },
    };
    send(&mut write, &last).await
}

/// Freezes the store until the client says anything, or closes its connection.
async fn freeze(
    maker: &CheckpointMaker,
    most: Duration,
    read: &mut (impl AsyncBufReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<Answer> {
    let frozen = match maker.freeze(most).await {
        Ok(frozen) => frozen,
        Err(error) => return Ok(Answer::Failed { error: error_chain(&error) }),
    };
    let index = frozen.cursor.as_ref().map_or(0, |cursor| cursor.position.index);
    send(write, &Answer::Frozen { index }).await?;
    read.read_line(&mut String::new()).await?;
    Ok(Answer::Thawed { in_time: frozen.thaw() })
}

fn begin(maker: &Arc<CheckpointMaker>, order: CheckpointOrder) -> Result<CheckpointRun, Answer> {
    maker.begin(order).map_err(|error| Answer::Failed { error: error_chain(&error) })
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
                Err(error) => Answer::Failed { error: error_chain(&error) },
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
    line.push('\n');
    write.write_all(line.as_bytes()).await
}
