//! Telemetry of a command that runs until it is told to stop: OpenTelemetry's SDK, its exporters, and what is
//! asked of a process at /metrics. Off by default: then there is no SDK, and nothing is measured or traced.

mod collector;
#[cfg(feature = "otlp")]
mod exporter;
mod gauges;
mod text;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

pub(crate) use self::collector::BadCollector;
use self::collector::Signal;
pub(crate) use self::gauges::{watch_files, watch_health, watch_jobs, watch_primary};
use self::text::Scraped;

/// How long the last of it may take to reach the collector.
const LAST: Duration = Duration::from_secs(3);

/// What is sent and shown of a process, until it is dropped. What was not sent yet is sent then, if the
/// collector answers within 3 s.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    scraped: Option<Scraped>,
}

/// Whether the environment asks for anything to be sent.
pub(crate) fn is_asked_for() -> bool {
    Signal::ALL.into_iter().any(|signal| signal.is_on(None))
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
    let mut meters = SdkMeterProvider::builder();
    #[cfg(feature = "otlp")]
    let sends = {
        telemetry.traces = exporter::tracer(collector, &resource)?;
        match exporter::reader(collector)? {
            Some(reader) => {
                meters = meters.with_reader(reader);
                true
            }
            None => false,
        }
    };
    #[cfg(not(feature = "otlp"))]
    let sends = {
        collector::check(collector)?;
        false
    };
    if serves {
        let scraped = Scraped::default();
        meters = meters.with_reader(scraped.clone());
        telemetry.scraped = Some(scraped);
    }
    if let Some(traces) = &telemetry.traces {
        global::set_tracer_provider(traces.clone());
    }
    if sends || serves {
        let meters = meters.with_resource(resource).build();
        global::set_meter_provider(meters.clone());
        telemetry.metrics = Some(meters);
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
