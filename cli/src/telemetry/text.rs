//! The metrics of this process, as Prometheus reads them. Names are OpenTelemetry's, translated by the rules
//! of its conventions: `tipline.apply.duration` in seconds is `tipline_apply_duration_seconds`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};

/// Reads the metrics when they are asked for. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Scraped(Arc<ManualReader>);

impl Scraped {
    /// All that is measured, now.
    pub(super) fn page(&self) -> String {
        let mut metrics = ResourceMetrics::default();
        match self.0.collect(&mut metrics) {
            Ok(()) => render(&metrics),
            // It is being shut down.
            Err(_) => String::new(),
        }
    }
}

impl MetricReader for Scraped {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

fn render(metrics: &ResourceMetrics) -> String {
    let mut pages = BTreeMap::new();
    for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
        let mut page = String::new();
        let name = match metric.data() {
            AggregatedMetrics::F64(data) => write_metric(&mut page, metric, data),
            AggregatedMetrics::U64(data) => write_metric(&mut page, metric, data),
            AggregatedMetrics::I64(data) => write_metric(&mut page, metric, data),
        };
        pages.insert(name, page);
    }
    let about = metrics.resource().iter().map(|(key, value)| (key.as_str(), value.to_string()));
    let mut text = "# HELP target_info What this process is\n# TYPE target_info gauge\n".to_owned();
    write_line(&mut text, "target_info", &labels(about), 1);
    text.extend(pages.into_values());
    text
}

/// Writes a metric with all its series; gives its name.
fn write_metric<T: Display + Copy>(
    text: &mut String,
    metric: &Metric,
    data: &MetricData<T>,
) -> String {
    let is_total = matches!(data, MetricData::Sum(sum) if sum.is_monotonic());
    let name = name(metric.name(), metric.unit(), is_total);
    let kind = match data {
        MetricData::Sum(_) if is_total => "counter",
        MetricData::Histogram(_) => "histogram",
        _ => "gauge",
    };
    let help = metric.description().replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a string does not fail.
    _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    match data {
        MetricData::Gauge(gauge) => {
            for point in gauge.data_points() {
                write_line(text, &name, &labels(of(point.attributes())), point.value());
            }
        }
        MetricData::Sum(sum) => {
            for point in sum.data_points() {
                write_line(text, &name, &labels(of(point.attributes())), point.value());
            }
        }
        MetricData::Histogram(histogram) => {
            for point in histogram.data_points() {
                let labels = labels(of(point.attributes()));
                let bounds = point.bounds().map(|bound| bound.to_string());
                let bounds = bounds.chain(["+Inf".to_owned()]);
                let mut below = 0;
                for (bound, count) in bounds.zip(point.bucket_counts()) {
                    below += count;
                    let mut labels = labels.clone();
                    labels.push(format!("le=\"{bound}\""));
                    write_line(text, &format!("{name}_bucket"), &labels, below);
                }
                write_line(text, &format!("{name}_sum"), &labels, point.sum());
                write_line(text, &format!("{name}_count"), &labels, point.count());
            }
        }
        // None is made here.
        MetricData::ExponentialHistogram(_) => {}
    }
    name
}

fn of<'a>(
    attributes: impl Iterator<Item = &'a KeyValue>,
) -> impl Iterator<Item = (&'a str, String)> {
    attributes.map(|attribute| (attribute.key.as_str(), attribute.value.to_string()))
}

fn labels<'a>(of: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    let escape =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut labels: Vec<_> =
        of.map(|(key, value)| format!("{}=\"{}\"", plain(key), escape(&value))).collect();
    labels.sort_unstable();
    labels
}

fn write_line(text: &mut String, name: &str, labels: &[String], value: impl Display) {
    _ = match labels {
        [] => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
    };
}

fn name(name: &str, unit: &str, is_total: bool) -> String {
    let mut name = plain(name);
    let unit = match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        // What is counted is no unit there.
        _ => "",
    };
    for suffix in [unit, if is_total { "_total" } else { "" }] {
        if !name.ends_with(suffix) {
            name.push_str(suffix);
        }
    }
    name
}

fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;

    #[test]
    fn every_kind_of_metric_has_its_lines() {
        let scraped = Scraped::default();
        let provider = SdkMeterProvider::builder().with_reader(scraped.clone()).build();
        let meter = provider.meter("test");
        let label = KeyValue::new("tipline.log", "a \"b\"\n\\c");
        meter
            .u64_counter("tipline.io")
            .with_unit("By")
            .build()
            .add(7, std::slice::from_ref(&label));
        let lag = meter.u64_gauge("tipline.lag.blocks").with_unit("{block}");
        lag.with_description("Blocks behind").build().record(3, &[]);
        let took = meter.f64_histogram("tipline.took").with_unit("s");
        let took = took.with_boundaries(vec![0.5, 1.0]).build();
        [0.25, 0.75, 9.0].into_iter().for_each(|time| took.record(time, &[]));
        let page = scraped.page();
        for line in [
            "# HELP tipline_lag_blocks Blocks behind",
            "# TYPE tipline_lag_blocks gauge",
            "tipline_lag_blocks 3",
            "# TYPE tipline_io_bytes_total counter",
            "tipline_io_bytes_total{tipline_log=\"a \\\"b\\\"\\n\\\\c\"} 7",
            "# TYPE tipline_took_seconds histogram",
            "tipline_took_seconds_bucket{le=\"0.5\"} 1",
            "tipline_took_seconds_bucket{le=\"1\"} 2",
            "tipline_took_seconds_bucket{le=\"+Inf\"} 3",
            "tipline_took_seconds_sum 10",
            "tipline_took_seconds_count 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.contains("target_info{"), "{page}");
        provider.shutdown().unwrap();
        assert_eq!(scraped.page(), "");
    }
}
