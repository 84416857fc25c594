//! Asking the process that has the store, or the outbox, open.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tipline_backup::CheckpointId;
use tipline_proto::Label;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::error::AdminError;
use super::line::{NoLine, read_line};
use super::path::SocketPath;
use super::protocol::{Answer, ArchiverStatus, LevelChange, Request};
use crate::jobs::CheckpointOrder;

/// How far a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointProgress {
    /// What is being done.
    pub doing: String,
    /// Bytes that were moved.
    pub moved: u64,
    /// Bytes to move; 0 if that is not known.
    pub total: u64,
}

/// Asks the process behind the socket for a checkpoint, and waits for it. `progress` is called now
/// and then; `stop` cancels the checkpoint. `None`: no process has the store open.
///
/// # Errors
/// See [`AdminError`].
pub async fn request_checkpoint(
    socket: &Path,
    order: &CheckpointOrder,
    stop: &CancellationToken,
    mut progress: impl FnMut(CheckpointProgress),
) -> Result<Option<CheckpointId>, AdminError> {
    // The process may work in another directory.
    let order = CheckpointOrder {
        checkpoints: absolute(&order.checkpoints)?,
        upload: order.upload.as_deref().map(absolute).transpose()?,
        ..order.clone()
    };
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    connection.send(&Request::Checkpoint(order)).await?;
    let mut is_cancelled = false;
    loop {
        let answer = tokio::select! {
            answer = connection.answer() => answer?,
            () = stop.cancelled(), if !is_cancelled => {
                is_cancelled = true;
                // The answer to the first request says what became of it.
                cancel_checkpoint(socket).await?;
                continue;
            }
        };
        match answer {
            Answer::Progress { doing, moved, total } => {
                progress(CheckpointProgress { doing, moved, total });
            }
            Answer::Made { id } => return Ok(Some(id.parse()?)),
            Answer::Failed { error } => return Err(AdminError::Refused { why: error }),
            _ => return Err(AdminError::Unexpected),
        }
    }
}

/// Cancels the checkpoint that is being made. Gives whether there was one; `None` if no process
/// has the store open.
///
/// # Errors
/// See [`AdminError`].
pub async fn cancel_checkpoint(socket: &Path) -> Result<Option<bool>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    connection.send(&Request::CancelCheckpoint).await?;
    match connection.answer().await? {
        Answer::Cancelled { any } => Ok(Some(any)),
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

/// What a process logs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LoggedLevel {
    /// Now.
    pub level: String,
    /// What it began with.
    pub started: String,
}

/// What to do with a log level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LevelRequest {
    /// Say it.
    Show,
    /// Change it to this, in the form of `--log-level`.
    To(String),
    /// Change it to what the process began with.
    Reset,
}

/// Asks the process behind the socket what it logs, and changes that if it is asked for. `None` if no
/// process listens there.
///
/// # Errors
/// See [`AdminError`].
pub async fn log_level(
    socket: &Path,
    request: LevelRequest,
) -> Result<Option<LoggedLevel>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    let change = match request {
        LevelRequest::Show => None,
        LevelRequest::To(level) => Some(LevelChange::To(level)),
        LevelRequest::Reset => Some(LevelChange::Reset),
    };
    connection.send(&Request::LogLevel { change }).await?;
    match connection.answer().await? {
        Answer::LogLevel { level, started } => Ok(Some(LoggedLevel { level, started })),
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

/// Asks the primary behind the socket to enqueue a mark. On `Some` it is in the outbox, and not yet
/// in the log. `None` if no primary has the outbox open.
///
/// # Errors
/// See [`AdminError`].
pub async fn request_mark(socket: &Path, name: &Label) -> Result<Option<()>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    connection.send(&Request::Mark { name: name.to_string() }).await?;
    match connection.answer().await? {
        Answer::Marked => Ok(Some(())),
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

/// Asks the archiver behind the socket what it does. `None` if none listens there.
///
/// # Errors
/// See [`AdminError`].
pub async fn archiver_status(socket: &Path) -> Result<Option<ArchiverStatus>, AdminError> {
    match ask(socket, &Request::Status).await? {
        Some(Answer::Status(status)) => Ok(Some(*status)),
        answer => answer.map(unasked).transpose(),
    }
}

/// Lets the archiver behind the socket write nothing, for at most `max`. On return nothing is being
/// written but what a merge or a check that had begun still writes. Gives the entry up to which the
/// archive has everything. `None` if none listens there.
///
/// # Errors
/// See [`AdminError`].
pub async fn pause_archiver(socket: &Path, max: Duration) -> Result<Option<u64>, AdminError> {
    let max_ms = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    match ask(socket, &Request::Pause { max_ms }).await? {
        Some(Answer::Paused { index }) => Ok(Some(index)),
        answer => answer.map(unasked).transpose(),
    }
}

/// Lets it write again. Gives whether it was paused; `None` if none listens there.
///
/// # Errors
/// See [`AdminError`].
pub async fn resume_archiver(socket: &Path) -> Result<Option<bool>, AdminError> {
    match ask(socket, &Request::Resume).await? {
        Some(Answer::Resumed { was_paused }) => Ok(Some(was_paused)),
        answer => answer.map(unasked).transpose(),
    }
}

/// One question, one answer. `None` if nobody listens there.
async fn ask(socket: &Path, request: &Request) -> Result<Option<Answer>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    connection.send(request).await?;
    Ok(Some(connection.answer().await?))
}

fn unasked<T>(answer: Answer) -> Result<T, AdminError> {
    match answer {
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

/// A store that is frozen by this client. Dropping it thaws the store.
#[derive(Debug)]
pub struct FrozenStore {
    connection: Connection,
    /// Everything up to this entry is in it, durably.
    pub index: u64,
}

/// Freezes a store, for at most `max`: nothing is applied meanwhile. `None` if no process has it
/// open.
///
/// # Errors
/// See [`AdminError`].
pub async fn freeze(socket: &Path, max: Duration) -> Result<Option<FrozenStore>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    let max_ms = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    connection.send(&Request::Freeze { max_ms }).await?;
    match connection.answer().await? {
        Answer::Frozen { index } => Ok(Some(FrozenStore { connection, index })),
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

/// A store that is frozen beyond the connection that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HeldStore {
    /// What it is thawed by.
    pub id: String,
    /// Everything up to this entry is in it, durably.
    pub index: u64,
    /// Height of its newest block.
    pub block: Option<u64>,
    /// Digest at that entry, hex.
    pub digest: Option<String>,
}

/// Freezes a store, for at most `max`, and leaves it so: [`release`] thaws it. `None` if no process
/// has it open.
///
/// # Errors
/// See [`AdminError`].
pub async fn hold(socket: &Path, max: Duration) -> Result<Option<HeldStore>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    let max_ms = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    connection.send(&Request::Hold { max_ms }).await?;
    match connection.answer().await? {
        Answer::Held { id, index, block, digest } => {
            Ok(Some(HeldStore { id, index, block, digest }))
        }
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

/// Thaws a store that is held frozen under this id; without one, the only one since the last thaw.
/// Gives whether it was frozen until now: if not, or on an error, a snapshot of its volume must not be
/// used. `None` if no process has it open, which is the same.
///
/// # Errors
/// See [`AdminError`].
pub async fn release(socket: &Path, id: Option<&str>) -> Result<Option<bool>, AdminError> {
    let Some(mut connection) = Connection::open(socket).await? else { return Ok(None) };
    connection.send(&Request::Release { id: id.map(str::to_owned) }).await?;
    match connection.answer().await? {
        Answer::Thawed { in_time } => Ok(Some(in_time)),
        Answer::Failed { error } => Err(AdminError::Refused { why: error }),
        _ => Err(AdminError::Unexpected),
    }
}

impl FrozenStore {
    /// Thaws the store. Gives whether it was frozen until now: if not, a snapshot of its volume
    /// must not be used.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn thaw(mut self) -> Result<bool, AdminError> {
        self.connection.send(&Request::Thaw).await?;
        match self.connection.answer().await? {
            Answer::Thawed { in_time } => Ok(in_time),
            _ => Err(AdminError::Unexpected),
        }
    }
}

/// An address that means the same in any working directory.
fn absolute(address: &str) -> io::Result<String> {
    match address.strip_prefix("dir:") {
        Some(path) => Ok(format!("dir:{}", std::path::absolute(path)?.display())),
        None => Ok(address.to_owned()),
    }
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Connection {
    /// `None` if nobody listens: there is no socket, or it is left of a process that was killed.
    async fn open(socket: &Path) -> Result<Option<Self>, AdminError> {
        let connected = match SocketPath::of(socket) {
            Ok(path) => UnixStream::connect(path.as_path()).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream), line: Vec::new() })),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(source) => Err(AdminError::Unreachable { path: socket.to_owned(), source }),
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(), AdminError> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        Ok(self.stream.write_all(line.as_bytes()).await?)
    }

    /// The next answer. Cancelling loses nothing.
    async fn answer(&mut self) -> Result<Answer, AdminError> {
        read_line(&mut self.stream, &mut self.line).await.map_err(|error| match error {
            NoLine::Closed => AdminError::Gone,
            NoLine::TooLong => AdminError::TooLong,
            NoLine::Io(error) => error.into(),
        })?;
        let line = std::mem::take(&mut self.line);
        Ok(serde_json::from_slice(&line)?)
    }
}
