//! Answering logs over HTTP: `POST /add-checkpoint`, as c2sp.org/tlog-witness has it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tipline_audit::tlog::{AddCheckpoint, BadNote, NotContinued, TLOG_SIZE};
use tipline_audit::tree::{Witness, WitnessError};
use tipline_log::error_chain;
use tipline_ops::http;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Clients at once. One more takes the place of the one that was silent the longest.
const CLIENTS: usize = 64;
/// A client that says nothing, or does not end what it asks, for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Nobody keeps a connection for longer.
const LONGEST: Duration = Duration::from_secs(600);

/// An address at which nobody can listen.
#[derive(Debug, thiserror::Error)]
#[error("the witness cannot listen at {address}: is something else listening there?")]
pub(super) struct ServeError {
    address: SocketAddr,
    source: io::Error,
}

/// An open port. It is closed when this is dropped.
#[derive(Debug)]
pub(super) struct WitnessServer {
    address: SocketAddr,
    _stop: DropGuard,
}

impl WitnessServer {
    /// Opens the port and answers from now on; port 0 is any that is free.
    pub(super) async fn bind(
        address: SocketAddr,
        witness: Arc<Witness>,
    ) -> Result<Self, ServeError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bound.await.map_err(|source| ServeError { address, source })?;
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .layer(DefaultBodyLimit::max(AddCheckpoint::MAX_BYTES))
            .with_state(witness);
        let ending = stop.clone();
        let answering = http::accept(listener, CLIENTS, SILENCE, move |client| {
            let answered = http::answer(client, router.clone(), SILENCE, ending.clone());
            async { _ = timeout(LONGEST, answered).await }
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(answering));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let request = str::from_utf8(&body).ok().map(str::parse::<AddCheckpoint>);
    let request = match request {
        Some(Ok(request)) => request,
        Some(Err(error)) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
        None => return refused(StatusCode::BAD_REQUEST, "it is not UTF-8"),
    };
    // Files block the thread.
    let added = tokio::task::spawn_blocking(move || witness.add(&request)).await;
    match added {
        Ok(Ok(lines)) => lines.into_response(),
        Ok(Err(error)) => answer_to(&error),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    }
}

fn answer_to(error: &WitnessError) -> Response {
    let code = match error {
        WitnessError::UnknownLog { .. } => StatusCode::NOT_FOUND,
        WitnessError::Note(BadNote::Unsigned { .. } | BadNote::WrongSignature { .. }) => {
            StatusCode::FORBIDDEN
        }
        WitnessError::Note(_) | WitnessError::Checkpoint(_) => StatusCode::BAD_REQUEST,
        WitnessError::NotContinued { source, origin } => match source {
            NotContinued::Backwards { .. } => StatusCode::BAD_REQUEST,
            NotContinued::Behind { kept, .. } => return size(*kept),
            NotContinued::Forked { size: kept } => {
                tracing::error!(
                    "{origin} has signed another checkpoint of {kept} entries than before"
                );
                return size(*kept);
            }
            _ => {
                // Anybody can send a wrong proof, as often as he likes.
                tracing::debug!("{}", error_chain(error));
                StatusCode::UNPROCESSABLE_ENTITY
            }
        },
        _ => {
            tracing::error!("nothing is cosigned: {}", error_chain(error));
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        }
    };
    refused(code, &error_chain(error))
}

fn size(kept: u64) -> Response {
    (StatusCode::CONFLICT, [(CONTENT_TYPE, TLOG_SIZE)], format!("{kept}\n")).into_response()
}

fn refused(code: StatusCode, why: &str) -> Response {
    (code, format!("{why}\n")).into_response()
}
