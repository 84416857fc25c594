//! Sending to a collector, by OTLP over gRPC. One that does not answer holds up nobody: what it is to have is
//! dropped after its time, and said once.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanData;

/// The variable that says where to send everything.
pub(super) const ENDPOINT: &str = opentelemetry_otlp::OTEL_EXPORTER_OTLP_ENDPOINT;
/// The one that this program speaks.
const GRPC: &str = "grpc";

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

/// A collector that nothing can be sent to. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadCollector {
    #[error(
        "{name} is {value:?}, and only grpc is spoken here: unset it, and give the collector's port of gRPC, usually 4317"
    )]
    Protocol { name: &'static str, value: String },
    #[error("the address of the collector cannot be used: give it as http://HOST:4317")]
    Address(#[source] ExporterBuildError),
}

impl Signal {
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Signal::Traces => opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
            Signal::Metrics => opentelemetry_otlp::OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
        }
    }

    /// The variable that says `none` if this is not to be sent.
    pub(super) fn exporter(self) -> &'static str {
        match self {
            Signal::Traces => "OTEL_TRACES_EXPORTER",
            Signal::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }

    fn protocols(self) -> [&'static str; 2] {
        let of_signal = match self {
            Signal::Traces => opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
            Signal::Metrics => opentelemetry_otlp::OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
        };
        [of_signal, opentelemetry_otlp::OTEL_EXPORTER_OTLP_PROTOCOL]
    }

    fn check_protocol(self) -> Result<(), BadCollector> {
        let said = self.protocols().into_iter().find_map(|name| Some((name, env::var(name).ok()?)));
        match said {
            Some((name, value)) if !value.is_empty() && value != GRPC => {
                Err(BadCollector::Protocol { name, value })
            }
            _ => Ok(()),
        }
    }

    /// Where it goes, as it is said.
    fn address(self, collector: Option<&str>) -> String {
        let said = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let given = collector.map(str::to_owned);
        given.or(said(self.endpoint())).or(said(ENDPOINT)).unwrap_or_default()
    }
}

pub(super) fn traces(
    collector: Option<&str>,
) -> Result<impl opentelemetry_sdk::trace::SpanExporter + use<>, BadCollector> {
    Signal::Traces.check_protocol()?;
    let address = Signal::Traces.address(collector);
    let mut exporter = SpanExporter::builder().with_tonic();
    if let Some(tls) = tls(&address) {
        exporter = exporter.with_tls_config(tls);
    }
    let exporter = exporter.with_endpoint(&address).build().map_err(BadCollector::Address)?;
    Ok(Told::new(exporter, "traces", address))
}

pub(super) fn metrics(
    collector: Option<&str>,
) -> Result<impl PushMetricExporter + use<>, BadCollector> {
    Signal::Metrics.check_protocol()?;
    let address = Signal::Metrics.address(collector);
    let mut exporter = MetricExporter::builder().with_tonic();
    if let Some(tls) = tls(&address) {
        exporter = exporter.with_tls_config(tls);
    }
    let exporter = exporter.with_endpoint(&address).build().map_err(BadCollector::Address)?;
    Ok(Told::new(exporter, "metrics", address))
}

fn tls(address: &str) -> Option<ClientTlsConfig> {
    address.starts_with("https:").then(|| ClientTlsConfig::new().with_enabled_roots())
}

/// An exporter that says once that the collector does not take what is sent, and once that it does again.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    what: &'static str,
    collector: String,
    fails: AtomicBool,
}

impl<E> Told<E> {
    fn new(exporter: E, what: &'static str, collector: String) -> Self {
        Self { exporter, what, collector, fails: AtomicBool::new(false) }
    }

    fn tell(&self, sent: OTelSdkResult) -> OTelSdkResult {
        let failed = self.fails.swap(sent.is_err(), Ordering::Relaxed);
        let Self { what, collector, .. } = self;
        match &sent {
            Err(error) if !failed => tracing::warn!(
                collector, %error,
                "{what} are not taken by the collector; they are dropped until it takes them"
            ),
            Ok(()) if failed => {
                tracing::info!(collector, "{what} are taken by the collector again")
            }
            _ => {}
        }
        sent
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.tell(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Told<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.tell(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
