//! What is measured, by OpenTelemetry's API alone. If the program installs no SDK, measuring is a call that
//! does nothing.

use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::{InstrumentationScope, global};

/// Bounds of latencies, in seconds: from one on a fast local disk to a log that was away.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0,
];

/// The meter of Tipline, as the program has it now.
pub fn meter() -> Meter {
    let scope = InstrumentationScope::builder("tipline").with_version(env!("CARGO_PKG_VERSION"));
    global::meter_with_scope(scope.build())
}

/// A histogram of latencies in seconds.
pub fn latency(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit("s").with_description(description);
    histogram.with_boundaries(SECONDS.to_vec()).build()
}

/// A counter. The unit is as OpenTelemetry writes it: `By`, or what is counted in braces.
pub fn counter(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
) -> Counter<u64> {
    meter.u64_counter(name).with_unit(unit).with_description(description).build()
}
