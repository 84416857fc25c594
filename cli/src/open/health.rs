//! Health and telemetry, for as long as a command runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tipline_consumer::Consumer;
use tipline_log::{Clock, Log, system_clock};
use tipline_ops::JobBoard;
use tipline_ops::health::{Health, HealthServer, HealthWatch, WatchedConsumer};
use tipline_producer::{Producer, Progress, Stage};
use tipline_proto::{ConsumerName, Policy, Role};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::address::LogAddress;
use crate::options::HealthArgs;
use crate::output::report::Failure;
use crate::telemetry::{self, Telemetry};

/// Health of a command, which nobody follows if nobody is to be answered.
#[derive(Debug)]
pub(crate) struct Served {
    health: Option<(Health, HealthServer)>,
    telemetry: Telemetry,
}

/// Opens the ports, before anything else is done, and begins to measure. From `stop` on it is not ready.
///
/// # Errors
/// A port is in use, or the collector is none that can be sent to.
pub(crate) async fn serve(
    args: &HealthArgs,
    role: &'static str,
    name: &str,
    stop: &CancellationToken,
) -> Result<Served, Failure> {
    if !args.is_on() && !args.sends() {
        return Ok(Served { health: None, telemetry: Telemetry::off() });
    }
    // First of all: what is measured asks for it when it is made.
    let telemetry = telemetry::start(args.otlp.as_deref(), args.health.is_some(), (role, name))?;
    let mut health = Health::new(role, name, args.limits());
    if telemetry.measures() {
        telemetry::watch_health(&health);
    }
    if let Some(page) = telemetry.page() {
        health = health.with_metrics(page);
    }
    let server = HealthServer::bind(args.health, args.health_agent, &health).await?;
    for (what, address) in [("health", server.address()), ("agent check", server.agent_address())] {
        if let Some(address) = address {
            tracing::info!("{what} at {address}");
        }
    }
    let (stop, stopping) = (stop.clone(), health.clone());
    tokio::spawn(async move {
        stop.cancelled().await;
        stopping.stopping();
    });
    Ok(Served { health: Some((health, server)), telemetry })
}

impl Served {
    /// What it does before its work.
    pub(crate) fn starting(&self, doing: &str) {
        if let Some((health, _)) = &self.health {
            health.starting(doing);
        }
    }

    /// The SQLite files that it has open: the log, a store or an outbox.
    pub(crate) fn measure_files(
        &self,
        log: &LogAddress,
        others: impl IntoIterator<Item = (&'static str, PathBuf)>,
    ) {
        let log = match log {
            LogAddress::Embedded(path) => Some(("log", path.clone())),
            LogAddress::Nats(_) => None,
        };
        if self.telemetry.measures() {
            telemetry::watch_files(log.into_iter().chain(others).collect());
        }
    }

    /// When its jobs were last done.
    pub(crate) fn measure_jobs(&self, board: &JobBoard) {
        if self.telemetry.measures() {
            telemetry::watch_jobs(board);
        }
    }

    /// From now on it is as fit as this consumer, until the watch is dropped.
    pub(crate) fn watch(
        &self,
        consumer: &Consumer,
        log: &Arc<dyn Log>,
        (name, role): (&ConsumerName, Role),
        clock: &Clock,
    ) -> Option<HealthWatch> {
        let (health, _) = self.health.as_ref()?;
        let watched = WatchedConsumer {
            name: name.clone(),
            role,
            log: Arc::clone(log),
            progress: consumer.progress(),
            // Every question costs a request to the destination of an archive.
            store: (role != Role::Archive).then(|| consumer.store()),
        };
        Some(health.watch_consumer(watched, Arc::clone(clock)))
    }

    /// From now on it is as fit as this primary, for ever.
    pub(crate) async fn follow_primary(
        &self,
        producer: &Producer,
        log: &Arc<dyn Log>,
        mut failure: Option<watch::Receiver<Option<String>>>,
        policy: &Policy,
    ) {
        let Some((health, _)) = &self.health else { return std::future::pending().await };
        if self.telemetry.measures() {
            telemetry::watch_primary(producer, log, policy, &system_clock());
        }
        let _watch = health.watch_log_of_primary(Arc::clone(log));
        let mut progress = producer.progress();
        loop {
            let newest = progress.borrow_and_update().clone();
            let source = failure.as_mut().and_then(|failure| failure.borrow_and_update().clone());
            note(health, &newest, source);
            let failed = async {
                match &mut failure {
                    Some(failure) => failure.changed().await.is_ok(),
                    None => false,
                }
            };
            let changed = tokio::select! {
                changed = progress.changed() => changed.is_ok(),
                true = failed => true,
            };
            if !changed {
                return std::future::pending().await;
            }
        }
    }
}

fn note(health: &Health, progress: &Progress, source_failure: Option<String>) {
    let not_publishing = match &progress.stage {
        Stage::Publishing => progress.held_up.as_ref().map(|held_up| held_up.why.clone()),
        Stage::Starting => Some("it is claiming the log".to_owned()),
        Stage::Retrying { why, .. } => Some(why.clone()),
        Stage::Ended(ended) => Some(ended.to_string()),
        _ => Some("it does something that this version does not know".to_owned()),
    };
    let percent = |waits: u64, max: u64| waits.saturating_mul(100).checked_div(max).unwrap_or(0);
    let (events, bytes) = (progress.waiting_events, progress.waiting_bytes);
    health.with_primary(|state| {
        state.note_stage(not_publishing, Instant::now());
        state.block = progress.block_tip.as_ref().map(|tip| tip.height);
        state.proof = progress.proof_tip;
        state.index = progress.tail.map(|tail| tail.index);
        state.waiting_events = events;
        state.outbox_percent =
            percent(events, progress.max_events).max(percent(bytes, progress.max_bytes));
        state.source_failure = source_failure;
    });
}
