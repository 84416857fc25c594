//! A client that must not be silent for ever.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A connection that fails once nothing was read or written for so long. From the first that is read of
/// a request to the first of its answer it takes no longer either: one that trickles is gone, too.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    silence: Duration,
    ends: Pin<Box<Sleep>>,
    /// Whether it has begun a request that is not answered.
    is_asking: bool,
    heard: Heard,
}

/// In which order clients were heard last.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    clock: Arc<AtomicU64>,
    last: Arc<AtomicU64>,
}

impl Heard {
    /// Of one more client, who is heard now.
    pub(super) fn another(&self) -> Self {
        let heard = Self { clock: Arc::clone(&self.clock), last: Arc::default() };
        heard.now();
        heard
    }

    /// Less than of any who was heard after that.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn now(&self) {
        self.last.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl<S> Client<S> {
    /// It is heard now.
    pub(super) fn new(stream: S, silence: Duration, heard: Heard) -> Self {
        Self { stream, silence, ends: Box::pin(sleep(silence)), is_asking: false, heard }
    }

    fn extend(&mut self) {
        self.ends.as_mut().reset(Instant::now() + self.silence);
    }

    /// What came of an attempt to read or write, if it came in time.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        came: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if came.is_ready() {
            self.heard.now();
        }
        match self.ends.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => came,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Client<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.stream).poll_read(cx, buffer);
        // What follows the first of a request gives it no more time.
        if came.is_ready() && !mem::replace(&mut self.is_asking, true) {
            self.extend();
        }
        self.in_time(cx, came)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Client<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if came.is_ready() {
            self.is_asking = false;
            self.extend();
        }
        self.in_time(cx, came)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
