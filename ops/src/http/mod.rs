//! Answering on a port by HTTP: the dashboard, health, and whatever else a program serves so.

mod client;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::client::Client;
use self::client::Heard;

/// Time to end what was begun, once the port is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Lets `answer` answer everyone who comes, at most so many at once: one more takes the place of the one
/// that was silent the longest, which is closed. A [`Client`] fails after `silence`. Never ends.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    silence: Duration,
    answer: impl Fn(Client<TcpStream>) -> F,
) {
    let mut clients: Vec<(Heard, AbortHandle)> = Vec::new();
    let all = Heard::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.retain(|(_, answering)| !answering.is_finished());
                if clients.len() >= most {
                    clients.sort_unstable_by_key(|(heard, _)| heard.last());
                    clients.remove(0).1.abort();
                }
                let heard = all.another();
                let answering = answer(Client::new(stream, silence, heard.clone()));
                clients.push((heard, tokio::spawn(answering).abort_handle()));
            }
            // Out of descriptors, for a moment.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers one client until it goes away or `stop`. One that has begun a request and not ended its head,
/// or does not answer pings of HTTP/2, for `silence` is gone; for all else a [`Client`] sees to that.
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
