//! Where telemetry is sent to: what the flag says, and the variables of OpenTelemetry.

use std::env;

use crate::address::has_login;

/// The variable that says where to send everything.
pub(super) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The variable by which nothing is sent.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

/// A collector that nothing can be sent to. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadCollector {
    #[cfg(feature = "otlp")]
    #[error(
        "{name} is {value:?}, and what is spoken here is grpc, the default, and http/protobuf: set it to one of them"
    )]
    Protocol { name: &'static str, value: String },
    #[cfg(feature = "otlp")]
    #[error(
        "the address of the collector cannot be used: give it as http://HOST:4317, or with http/protobuf as http://HOST:4318"
    )]
    Address(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error(
        "the address of the collector has a login in it, which would be shown in logs: set OTEL_EXPORTER_OTLP_HEADERS=authorization=… instead"
    )]
    Login,
    #[cfg(not(feature = "otlp"))]
    #[error(
        "traces and metrics are to be sent to {address:?}, and this tipline was built without OTLP: build it with `cargo build --release --features full`, or set OTEL_SDK_DISABLED=true; /metrics of --health is there without it"
    )]
    NotBuilt { address: String },
}

/// A variable that is set to something.
pub(super) fn said(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Signal {
    pub(super) const ALL: [Signal; 2] = [Signal::Traces, Signal::Metrics];

    /// The variable that says where to send this alone.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Signal::Traces => "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            Signal::Metrics => "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        }
    }

    /// The variable that says `none` if this is not to be sent.
    fn exporter(self) -> &'static str {
        match self {
            Signal::Traces => "OTEL_TRACES_EXPORTER",
            Signal::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }

    /// Whether it is to be sent.
    pub(super) fn is_on(self, collector: Option<&str>) -> bool {
        let is_given = collector.is_some() || said(ENDPOINT).or(said(self.endpoint())).is_some();
        let is_none = said(self.exporter()).is_some_and(|exporter| exporter == "none");
        let is_disabled = said(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        is_given && !is_none && !is_disabled
    }
}

/// # Errors
/// Something is to be sent, and nothing can be.
#[cfg(not(feature = "otlp"))]
pub(super) fn check(collector: Option<&str>) -> Result<(), BadCollector> {
    match Signal::ALL.into_iter().find(|signal| signal.is_on(collector)) {
        None => Ok(()),
        Some(signal) => {
            let of_environment = || said(signal.endpoint()).or(said(ENDPOINT)).unwrap_or_default();
            let address = collector.map_or_else(of_environment, str::to_owned);
            check_address(&address)?;
            Err(BadCollector::NotBuilt { address })
        }
    }
}

/// # Errors
/// There is a secret in the address. It is not repeated.
pub(super) fn check_address(address: &str) -> Result<(), BadCollector> {
    if has_login(address) { Err(BadCollector::Login) } else { Ok(()) }
}
