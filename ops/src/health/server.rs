//! Answering on ports.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use super::agent;
use super::limits::Allowance;
use super::process::Health;
use crate::http::{accept, answer};

/// How often what `Watch` pushes is looked at.
const WATCH: Duration = Duration::from_millis(250);
/// Clients at once. One more takes the place of the one that was silent the longest.
pub(super) const CLIENTS: usize = 256;
/// A client that says nothing, or does not end what it asks, for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// The service that says whether the process is ready: as a whole, by the protocol.
const READY: &str = "";
/// The service that says whether the process works.
const ALIVE: &str = "alive";

/// An address at which nobody can listen. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("health cannot be served at {address}: is something else listening there?")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    source: io::Error,
}

/// Open ports. They are closed when this is dropped.
#[derive(Debug)]
pub struct HealthServer {
    address: Option<SocketAddr>,
    agent: Option<SocketAddr>,
    _stop: DropGuard,
}

impl HealthServer {
    /// Opens the port of HTTP and gRPC at `http`, and that of the agent check at `agent`; port 0 is
    /// any that is free. Both answer from now on.
    ///
    /// # Errors
    /// One of them cannot be opened. Then none is.
    pub async fn bind(
        http: Option<SocketAddr>,
        agent: Option<SocketAddr>,
        health: &Health,
    ) -> Result<Self, BindError> {
        let (http, agent) = (listen(http).await?, listen(agent).await?);
        let address = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        let (address, agent_address) = (address(&http), address(&agent));
        let stop = CancellationToken::new();
        if let Some(listener) = http {
            tokio::spawn(serve(listener, health.clone(), SILENCE, stop.clone()));
        }
        if let Some(listener) = agent {
            let answering = agent::serve(listener, health.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(answering));
        }
        Ok(Self { address, agent: agent_address, _stop: stop.drop_guard() })
    }

    /// Where HTTP and gRPC are answered.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where the agent check is answered.
    pub fn agent_address(&self) -> Option<SocketAddr> {
        self.agent
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|source| BindError { address, source })
}

/// Answers until `stop`. Whoever watches is told then.
pub(super) async fn serve(
    listener: TcpListener,
    health: Health,
    silence: Duration,
    stop: CancellationToken,
) {
    let (mut reporter, grpc) = health_reporter();
    // It begins as serving, which it may not be.
    let said = Said::now(&health);
    said.set(&reporter).await;
    // Nothing else: a path that is not there must be 404, not an answer of gRPC with status 200.
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health.clone())
        .route_service("/grpc.health.v1.Health/{method}", grpc);
    let ending = stop.clone();
    let answering = accept(listener, CLIENTS, silence, move |client| {
        answer(client, router.clone(), silence, ending.clone())
    });
    tokio::select! {
        () = report(&health, &reporter, said) => {}
        () = answering => {}
        () = stop.cancelled() => {}
    }
    let last = Said { ready: false, ..Said::now(&health) };
    last.set(&reporter).await;
    // This ends what is pushed.
    reporter.clear_service_status(READY).await;
    reporter.clear_service_status(ALIVE).await;
}

async fn healthz(State(health): State<Health>) -> Response {
    let liveness = health.liveness(Instant::now());
    (status(liveness.alive), Json(liveness)).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    match spawn_blocking(move || health.metrics()).await {
        Ok(Some(page)) => {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What a question may allow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    max_lag: Option<u64>,
    max_lag_time: Option<Time>,
    max_silence: Option<Time>,
}

/// A time as it is typed: `30s`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Time(Duration);

impl TryFrom<String> for Time {
    type Error = humantime::DurationError;
    fn try_from(text: String) -> Result<Self, humantime::DurationError> {
        humantime::parse_duration(&text).map(Self)
    }
}

async fn readyz(
    State(health): State<Health>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(Asked { max_lag, max_lag_time, max_silence }) = match asked {
        Ok(asked) => asked,
        Err(rejection) => return rejection.into_response(),
    };
    let time = |time: Option<Time>| time.map(|Time(time)| time);
    let allowance =
        Allowance { max_lag, max_lag_time: time(max_lag_time), max_silence: time(max_silence) };
    let readiness = health.readiness(&allowance, Instant::now());
    (status(readiness.ready), Json(readiness)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// What gRPC says of both services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    ready: bool,
    alive: bool,
}

impl Said {
    fn now(health: &Health) -> Self {
        let now = Instant::now();
        let ready = health.readiness(&Allowance::default(), now).ready;
        Self { ready, alive: health.liveness(now).alive }
    }

    async fn set(self, reporter: &HealthReporter) {
        for (service, good) in [(READY, self.ready), (ALIVE, self.alive)] {
            let status = if good { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status(service, status).await;
        }
    }
}

/// Keeps what gRPC says at what is so. Only a change is set: whatever is set is pushed.
async fn report(health: &Health, reporter: &HealthReporter, mut said: Said) {
    loop {
        sleep(WATCH).await;
        let now = Said::now(health);
        if now != said {
            now.set(reporter).await;
            said = now;
        }
    }
}
