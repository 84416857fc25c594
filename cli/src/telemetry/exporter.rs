//! Sending to a collector by OTLP, over gRPC or HTTP. One that does not answer holds up nobody: what it is to
//! have is dropped after its time, and said once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};

use super::collector::{BadCollector, ENDPOINT, Signal, check_address, said};

/// The variable that says how.
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// How it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

/// What sends traces; none if they are not to be sent.
///
/// # Errors
/// The collector is none that can be sent to.
pub(super) fn tracer(
    collector: Option<&str>,
    resource: &Resource,
) -> Result<Option<SdkTracerProvider>, BadCollector> {
    if !Signal::Traces.is_on(collector) {
        return Ok(None);
    }
    let protocol = Signal::Traces.protocol()?;
    let address = Signal::Traces.address(collector, protocol);
    check_address(&address)?;
    let exporter = match protocol {
        Protocol::Grpc => grpc(SpanExporter::builder().with_tonic(), &address).build(),
        Protocol::Http => {
            use_ring();
            SpanExporter::builder().with_http().with_endpoint(&address).build()
        }
    };
    let exporter = exporter.map_err(BadCollector::Address)?;
    let provider = SdkTracerProvider::builder().with_resource(resource.clone());
    let exporter = Told::new(exporter, "traces", address);
    Ok(Some(provider.with_batch_exporter(exporter).build()))
}

/// What sends metrics; none if they are not to be sent.
///
/// # Errors
/// The collector is none that can be sent to.
pub(super) fn reader(
    collector: Option<&str>,
) -> Result<Option<PeriodicReader<impl PushMetricExporter + use<>>>, BadCollector> {
    if !Signal::Metrics.is_on(collector) {
        return Ok(None);
    }
    let protocol = Signal::Metrics.protocol()?;
    let address = Signal::Metrics.address(collector, protocol);
    check_address(&address)?;
    let exporter = match protocol {
        Protocol::Grpc => grpc(MetricExporter::builder().with_tonic(), &address).build(),
        Protocol::Http => {
            use_ring();
            MetricExporter::builder().with_http().with_endpoint(&address).build()
        }
    };
    let exporter = exporter.map_err(BadCollector::Address)?;
    Ok(Some(PeriodicReader::builder(Told::new(exporter, "metrics", address)).build()))
}

impl Signal {
    fn protocol_of_signal(self) -> &'static str {
        match self {
            Signal::Traces => "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            Signal::Metrics => "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        }
    }

    /// What its path is, below the address of everything.
    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Metrics => "v1/metrics",
        }
    }

    /// # Errors
    /// The environment asks for another one.
    fn protocol(self) -> Result<Protocol, BadCollector> {
        let names = [self.protocol_of_signal(), PROTOCOL];
        let asked = names.into_iter().find_map(|name| Some((name, said(name)?)));
        match asked {
            None => Ok(Protocol::Grpc),
            Some((_, value)) if value == "grpc" => Ok(Protocol::Grpc),
            Some((_, value)) if value == "http/protobuf" => Ok(Protocol::Http),
            Some((name, value)) => Err(BadCollector::Protocol { name, value }),
        }
    }

    /// Where it goes. As the specification has it, the address of one signal is taken as it is, and
    /// over HTTP that of everything gets a path for each.
    fn address(self, collector: Option<&str>, protocol: Protocol) -> String {
        let all = collector.map(str::to_owned);
        let all = match (all, said(self.endpoint())) {
            (None, Some(own)) => return own,
            (all, _) => all.or(said(ENDPOINT)).unwrap_or_default(),
        };
        match protocol {
            Protocol::Grpc => all,
            Protocol::Http => format!("{}/{}", all.trim_end_matches('/'), self.path()),
        }
    }
}

/// To this address over gRPC, with TLS if it asks for that.
fn grpc<B: WithTonicConfig + WithExportConfig>(exporter: B, address: &str) -> B {
    let exporter = match address.starts_with("https:") {
        true => exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots()),
        false => exporter,
    };
    exporter.with_endpoint(address)
}

/// TLS over HTTP: the client is built without cryptography of its own.
fn use_ring() {
    // If there is one already, it is this one.
    _ = rustls::crypto::ring::default_provider().install_default();
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
