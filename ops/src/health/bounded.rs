//! One client of a port: it is closed once it is silent for too long, or the port is closed.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Time to say what was begun, and goodbye, once the port is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers one client until it goes away, is silent for so long, or `stop`.
pub(super) async fn answer(
    client: TcpStream,
    router: Router,
    silence: Duration,
    stop: &CancellationToken,
) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(silence);
    // Whoever watches has nothing to say, and answers these.
    let http2 = &mut http.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(silence / 3).keep_alive_timeout(silence / 3);
    let client = TokioIo::new(Client { stream: client, silence, ends: Box::pin(sleep(silence)) });
    let mut served = pin!(http.serve_connection(client, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            timeout(FAREWELL, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a client of health went away");
    }
}

/// A connection that fails once nothing has been read or written for so long.
struct Client {
    stream: TcpStream,
    silence: Duration,
    ends: Pin<Box<Sleep>>,
}

impl Client {
    /// What came of an attempt to read or write.
    fn heard<T>(&mut self, cx: &mut Context<'_>, came: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if came.is_ready() {
            self.ends.as_mut().reset(Instant::now() + self.silence);
            return came;
        }
        ready!(self.ends.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.heard(cx, came)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.heard(cx, came)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
