//! Telemetry of a command that runs until it is told to stop: OpenTelemetry's SDK, its exporters, and what is
//! asked of a process at /metrics. Off by default: then there is no SDK, and nothing is measured or traced.

mod exporter;
mod gauges;
mod text;

use std::env;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;

pub(crate) use self::exporter::BadCollector;
use self::exporter::{ENDPOINT, Signal, metrics, traces};
pub(crate) use self::gauges::{watch_files, watch_health, watch_jobs, watch_primary};
use self::text::Scraped;

/// How long the last of it may take to reach the collector.
const LAST: Duration = Duration::from_secs(3);
/// The variable of OpenTelemetry by which nothing is sent.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// What is sent and shown of a process, until it is dropped. What was not sent yet is sent then, if the
/// collector answers within 3 s.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    scraped: Option<Scraped>,
}

/// Whether the environment asks for anything to be sent.
pub(crate) fn is_asked_for() -> bool {
    [Signal::Traces, Signal::Metrics].into_iter().any(|signal| is_on(signal, None))
}

fn is_on(signal: Signal, collector: Option<&str>) -> bool {
    let said = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let is_given = collector.is_some() || said(ENDPOINT).or(said(signal.endpoint())).is_some();
    let is_none = said(signal.exporter()).is_some_and(|exporter| exporter == "none");
    let is_disabled = said(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    is_given && !is_none && !is_disabled
}

/// Begins, before the parts that are to be measured are made. `serves`: the metrics are asked for at
/// /metrics too. Must be called within a Tokio runtime.
///
/// # Errors
/// The collector is none that can be sent to. Whether it answers is not waited for: it may come later.
pub(crate) fn start(
    collector: Option<&str>,
    serves: bool,
    (role, name): (&'static str, &str),
) -> Result<Telemetry, BadCollector> {
    let (mut telemetry, resource) = (Telemetry::off(), resource(role, name));
    if is_on(Signal::Traces, collector) {
        let provider = SdkTracerProvider::builder().with_resource(resource.clone());
        let provider = provider.with_batch_exporter(traces(collector)?).build();
        global::set_tracer_provider(provider.clone());
        telemetry.traces = Some(provider);
    }
    let sends = is_on(Signal::Metrics, collector);
    if sends || serves {
        let mut provider = SdkMeterProvider::builder().with_resource(resource);
        if sends {
            provider = provider.with_reader(PeriodicReader::builder(metrics(collector)?).build());
        }
        if serves {
            let scraped = Scraped::default();
            provider = provider.with_reader(scraped.clone());
            telemetry.scraped = Some(scraped);
        }
        let provider = provider.build();
        global::set_meter_provider(provider.clone());
        telemetry.metrics = Some(provider);
    }
    Ok(telemetry)
}

/// Names and version as the conventions have them; the environment may say otherwise.
fn resource(role: &'static str, name: &str) -> Resource {
    let ours = [
        KeyValue::new("service.namespace", "tipline"),
        KeyValue::new("service.name", format!("tipline-{role}")),
        KeyValue::new("service.instance.id", name.to_owned()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let said = Resource::builder().build();
    // The SDK itself has a name for a service that has none.
    let is_said = |key: &str| match said.get(&key.to_owned().into()) {
        None => false,
        Some(value) => !value.to_string().starts_with("unknown_service"),
    };
    let ours = ours.into_iter().filter(|ours| !is_said(ours.key.as_str()));
    Resource::builder().with_attributes(ours).build()
}

impl Telemetry {
    pub(crate) fn off() -> Self {
        Self { traces: None, metrics: None, scraped: None }
    }

    /// Whether anything is measured.
    pub(crate) fn measures(&self) -> bool {
        self.metrics.is_some()
    }

    /// What answers /metrics.
    pub(crate) fn page(&self) -> Option<Arc<dyn Fn() -> String + Send + Sync>> {
        let scraped = self.scraped.clone()?;
        Some(Arc::new(move || scraped.page()))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let (traces, metrics) = (self.traces.take(), self.metrics.take());
        if traces.is_none() && metrics.is_none() {
            return;
        }
        let (done, is_done) = sync_channel::<()>(1);
        // What hangs must not hold up the end of the process.
        let sent = thread::Builder::new().name("tipline-telemetry".to_owned()).spawn(move || {
            // Whatever did not get through was told by its exporter.
            _ = traces.map(|traces| traces.shutdown_with_timeout(LAST));
            _ = metrics.map(|metrics| metrics.shutdown());
            drop(done);
        });
        if sent.is_ok() {
            _ = is_done.recv_timeout(LAST);
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (traces, metrics) = (self.traces.is_some(), self.metrics.is_some());
        f.debug_struct("Telemetry").field("traces", &traces).field("metrics", &metrics).finish()
    }
}
