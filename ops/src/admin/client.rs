//! Asking the process that has the store open.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tipline_backup::CheckpointId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{Answer, MAX_LINE, Request, path};
use crate::address::StoreAddress;
use crate::jobs::checkpoint::Order;
use crate::output::progress;
use crate::output::report::{Failure, Sentence};

/// Who made a checkpoint.
pub(crate) enum Asked {
    /// A running consumer: the checkpoint of this name.
    Made(CheckpointId),
    /// No process has the store open.
    Nobody,
}

/// Asks for a checkpoint, and shows how it goes. `stop` cancels it.
pub(crate) async fn ask(
    store: &StoreAddress,
    order: &Order,
    stop: &CancellationToken,
    line: impl Fn(&str, u64, u64) -> String,
) -> Result<Asked, Failure> {
    // The consumer may work in another directory.
    let order = Order {
        checkpoints: absolute(&order.checkpoints)?,
        upload: order.upload.as_deref().map(absolute).transpose()?,
        ..order.clone()
    };
    let Some(mut connection) = Connection::open(store).await? else { return Ok(Asked::Nobody) };
    connection.send(&Request::Checkpoint(order)).await?;
    let shown = RefCell::new("waiting".to_owned());
    let show = |answer: &Answer| {
        if let Answer::Progress { doing, moved, total } = answer {
            *shown.borrow_mut() = line(doing, *moved, *total);
        }
    };
    tokio::select! {
        made = follow(store, &mut connection, stop, show) => made.map(Asked::Made),
        () = progress::show(|| shown.borrow().clone()) => Err(unexpected()),
    }
}

async fn follow(
    store: &StoreAddress,
    connection: &mut Connection,
    stop: &CancellationToken,
    show: impl Fn(&Answer),
) -> Result<CheckpointId, Failure> {
    let mut is_cancelled = false;
    loop {
        let answer = tokio::select! {
            answer = connection.answer() => answer?,
            () = stop.cancelled(), if !is_cancelled => {
                is_cancelled = true;
                // What the consumer answers to the first request tells what became of it.
                cancel(store).await?;
                continue;
            }
        };
        match answer {
            Answer::Progress { .. } => show(&answer),
            Answer::Made { id } => return Ok(id.parse()?),
            Answer::Failed { error } => return Err(Sentence(error).into()),
            _ => return Err(unexpected()),
        }
    }
}

/// Ends the checkpoint that is being made: whether there was one; `None` if no process has the
/// store open.
pub(crate) async fn cancel(store: &StoreAddress) -> Result<Option<bool>, Failure> {
    let Some(mut connection) = Connection::open(store).await? else { return Ok(None) };
    connection.send(&Request::CancelCheckpoint).await?;
    match connection.answer().await? {
        Answer::Cancelled { any } => Ok(Some(any)),
        Answer::Failed { error } => Err(Sentence(error).into()),
        _ => Err(unexpected()),
    }
}

/// A store that is held still.
pub(crate) struct Held {
    connection: Connection,
    /// Everything up to this entry is in it.
    pub(crate) index: u64,
}

/// Holds a store still, for at most so long; `None` if no process has it open.
pub(crate) async fn freeze(store: &StoreAddress, most: Duration) -> Result<Option<Held>, Failure> {
    let Some(mut connection) = Connection::open(store).await? else { return Ok(None) };
    let max_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    connection.send(&Request::Freeze { max_ms }).await?;
    match connection.answer().await? {
        Answer::Frozen { index } => Ok(Some(Held { connection, index })),
        Answer::Failed { error } => Err(Sentence(error).into()),
        _ => Err(unexpected()),
    }
}

impl Held {
    /// Lets the store go on; whether it was held still until now.
    pub(crate) async fn thaw(mut self) -> Result<bool, Failure> {
        self.connection.send(&Request::Thaw).await?;
        match self.connection.answer().await? {
            Answer::Thawed { in_time } => Ok(in_time),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> Failure {
    Sentence("the process that has the store open answered something else".to_owned()).into()
}

/// An address that means the same in any working directory.
fn absolute(address: &str) -> io::Result<String> {
    match address.strip_prefix("dir:") {
        Some(path) => Ok(format!("dir:{}", std::path::absolute(path)?.display())),
        None => Ok(address.to_owned()),
    }
}

struct Connection {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Connection {
    /// `None` if nobody listens: the socket is not there, or of a process that was killed.
    async fn open(store: &StoreAddress) -> Result<Option<Self>, Failure> {
        let path = path(store);
        match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream), line: Vec::new() })),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => {
                let advice = format!("look at {}", path.display());
                Err(Failure::from(error).advise(advice))
            }
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        Ok(self.stream.write_all(line.as_bytes()).await?)
    }

    /// The next answer. Cancelling loses nothing.
    async fn answer(&mut self) -> Result<Answer, Failure> {
        let most = MAX_LINE.saturating_sub(self.line.len() as u64);
        (&mut self.stream).take(most).read_until(b'\n', &mut self.line).await?;
        if self.line.pop() != Some(b'\n') {
            let text = "the process that has the store open went away, with what it was asked for not done";
            return Err(Sentence(text.to_owned()).into());
        }
        let line = std::mem::take(&mut self.line);
        Ok(serde_json::from_slice(&line)?)
    }
}
