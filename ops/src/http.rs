//! Answering on a port by HTTP: the dashboard, health, and whatever else a program serves so.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Time to end what was begun, once the port is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Lets `answer` answer everyone who comes, at most so many at once: one more is closed at once. Never
/// ends.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    answer: impl Fn(TcpStream) -> F,
) {
    let clients = Arc::new(Semaphore::new(most));
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let Ok(turn) = Arc::clone(&clients).try_acquire_owned() else { continue };
                let answering = answer(client);
                tokio::spawn(async move {
                    answering.await;
                    drop(turn);
                });
            }
            // Out of descriptors, for a moment.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers one client until it goes away or `stop`. One that has begun a request and not ended it, or
/// does not answer pings of HTTP/2, for so long is gone.
pub async fn answer(
    client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    silence: Duration,
    stop: CancellationToken,
) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(silence);
    // Whoever watches has nothing to say, and answers these.
    let http2 = &mut http.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(silence / 3).keep_alive_timeout(silence / 3);
    let service = TowerToHyperService::new(router);
    let mut served = pin!(http.serve_connection(TokioIo::new(client), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            timeout(FAREWELL, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a client went away");
    }
}
