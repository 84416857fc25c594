//! Traces and metrics, at a collector.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_tests::{CollectedSpan, Collector, Port, Rng, Tipline, eventually, http_get};

use crate::site::Site;

const DEADLINE: Duration = Duration::from_secs(60);
/// The way of an event, from the node's own span on.
const WAY: [&str; 6] = ["commit block", "outbox", "send", "verify", "apply", "receipt"];

/// The spans of each trace that the node began.
fn traces(collector: &Collector) -> BTreeMap<Vec<u8>, Vec<CollectedSpan>> {
    let spans = collector.spans();
    let is_root = |found: &&CollectedSpan| found.span.name == WAY[0];
    let roots = spans.iter().filter(is_root).map(|found| found.span.trace_id.clone());
    let mut traces: BTreeMap<_, Vec<_>> = roots.map(|trace| (trace, Vec::new())).collect();
    for found in spans {
        if let Some(trace) = traces.get_mut(&found.span.trace_id) {
            trace.push(found);
        }
    }
    traces
}

/// The spans of the way of one block in this trace, if it is whole, each the parent of the next.
fn way(trace: &[CollectedSpan]) -> Option<Vec<&CollectedSpan>> {
    let mut way = vec![trace.iter().find(|found| found.span.name == WAY[0])?];
    for stage in &WAY[1..] {
        let parent = &way.last()?.span.span_id;
        let of_block = |found: &&CollectedSpan| {
            let kind = found.attribute("tipline.event.kind");
            kind.is_none_or(|kind| kind == "block_committed")
        };
        let next = trace.iter().filter(|found| found.span.parent_span_id == *parent);
        let next =
            next.filter(of_block).find(|found| found.span.name.split(' ').next() == Some(stage));
        way.push(next?);
    }
    Some(way)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_block_is_whole_from_the_commit_to_the_receipt_of_an_archive() {
    let mut rng = Rng::from_env();
    let (site, collector) = (Site::embedded(&mut rng).await, Collector::start().await);
    let to = format!("dir:{}", site.file("archive").display());
    let archive = ["archive", "--to", &to, "--log", &site.address, "--accept-shortfalls"];
    // One speaks HTTP, the other gRPC.
    let mut archive = Tipline::new(archive.iter().chain(&["--otlp", collector.http_url()]))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .spawn();
    let node = ["--otlp", collector.url(), "--blocks", "30", "--pause-us", "30000"];
    let mut node = site.primary("node.db", &node);
    assert!(node.wait(DEADLINE).await.success());
    eventually("every trace is whole", DEADLINE, async || {
        let traces = traces(&collector);
        let whole = traces.values().filter(|trace| way(trace).is_some()).count();
        if whole == 30 { Ok(()) } else { Err(format!("{whole} of {} are", traces.len())) }
    })
    .await;
    eventually("what is measured arrives, too", DEADLINE, async || {
        let found = collector.metrics();
        let due = ["tipline.apply.duration", "tipline.lag.blocks", "tipline.consumer.events"];
        let missing: Vec<_> = due.iter().filter(|name| !found.contains_key(**name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    archive.process.terminate();
    archive.process.wait(DEADLINE).await;
    for trace in traces(&collector).values() {
        let way = way(trace).expect("it was whole");
        let names = way.iter().map(|found| found.service.as_str());
        let (node, archive) = ("toy-node", "tipline-archive");
        assert_eq!(names.collect::<Vec<_>>(), [node, node, node, archive, archive, archive]);
        for found in trace {
            let CollectedSpan { span, .. } = found;
            let is_known = trace.iter().any(|other| other.span.span_id == span.parent_span_id);
            assert_eq!(is_known, span.name != WAY[0], "its parent is in the trace: {span:?}");
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
            assert!(span.status.as_ref().is_none_or(|status| status.code != 2), "{span:?}");
        }
        for pair in way.windows(2) {
            let [before, after] = pair else { continue };
            let (before, after) =
                (before.span.start_time_unix_nano, after.span.start_time_unix_nano);
            // The context of one is a microsecond older than its clock.
            assert!(after + 1_000_000 >= before, "{trace:#?}");
        }
        let consumer = way[4].attribute("messaging.consumer.group.name");
        assert_eq!(consumer.as_deref(), Some("archive"));
    }
    // Nothing of it is in the history.
    let entries = site.entries().await;
    let traced = entries.iter().filter(|entry| entry.headers.get("traceparent").is_some());
    assert!(traced.count() >= 30);
}

/// Off is off: no header in the log, and nothing at /metrics that a trace would leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_no_entry_has_a_header() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    let node = site.primary("node.db", &["--payload", "100"]);
    site.wait_for_entries(50).await;
    drop(node);
    assert!(site.entries().await.iter().all(|entry| entry.headers.is_empty()));
}

/// A collector that is away holds up nothing, and is told of once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_up_nothing() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    let (nobody, health) = (Port::reserve(), Port::reserve());
    let collector = format!("http://{nobody}");
    let (address, page) = (health.to_string(), format!("http://{health}/metrics"));
    let store = format!("sqlite:{}", site.file("replica.db").display());
    let replica = ["replica", "--name", "replica-1", "--store", &store, "--log", &site.address];
    let flags = ["--accept-shortfalls", "--otlp", &collector, "--health", &address];
    let mut replica = Tipline::new(replica.iter().chain(&flags))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .spawn();
    let node =
        site.primary("node.db", &["--otlp", &collector, "--payload", "100", "--pause-us", "3000"]);
    site.wait_for_entries(100).await;
    drop(node);
    let last = site.log().await.extent().await.unwrap().last;
    eventually("the replica has everything, and says so at /metrics", DEADLINE, async || {
        let reply = http_get(&page).await.map_err(|error| error.to_string())?;
        let line = format!("tipline_event_index {last}");
        if reply.body.lines().any(|found| found == line) { Ok(()) } else { Err(reply.body) }
    })
    .await;
    eventually("it says that nobody takes it", DEADLINE, async || {
        let said = replica.stderr();
        if said.contains("are not taken by the collector") { Ok(()) } else { Err(said) }
    })
    .await;
    replica.process.terminate();
    replica.process.wait(DEADLINE).await;
    let said = replica.stderr();
    let told = said.lines().filter(|line| line.contains("are not taken by the collector")).count();
    assert!(told <= 2, "once for traces and once for metrics: {said}");
}

/// What alerts ask for: when each job was done last, and when the next is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_of_a_process_is_measured() {
    let mut rng = Rng::from_env();
    let site = Site::embedded(&mut rng).await;
    let _node = site.primary("node.db", &["--payload", "100"]);
    site.wait_for_entries(10).await;
    let (backup, archive) = (Port::reserve(), Port::reserve());
    let place = |name: &str| format!("dir:{}", site.file(name).display());
    std::fs::create_dir(site.file("away")).unwrap();
    let store = format!("sqlite:{}", site.file("backup.db").display());
    let scratch = site.file("scratch").display().to_string();
    std::fs::create_dir(&scratch).unwrap();
    let checks = ["--verify-every", "2h", "--drill-every", "3h", "--scratch", &scratch];
    let shared = ["--log", &site.address, "--accept-shortfalls"];
    let run = |words: &[&str], port: &Port| {
        let health = port.to_string();
        let given =
            words.iter().chain(&shared).chain(&checks).copied().chain(["--health", &health]);
        Tipline::new(given.collect::<Vec<_>>()).spawn()
    };
    let away = place("away");
    let words = ["backup", "--name", "b", "--store", &store, "--checkpoint-every", "1h"];
    let words: Vec<_> = words.into_iter().chain(["--upload", &away]).collect();
    let _backup = run(&words, &backup);
    let to = place("archive");
    let _archive = run(&["archive", "--name", "a", "--to", &to], &archive);
    // Whoever watches the fleet says who keeps the log.
    let file = site.file("tipline.prom");
    let metrics = file.display().to_string();
    let watch = ["status", "--watch", "--json", "--metrics", &metrics, "--checks", &to];
    let _status = Tipline::new(watch.iter().chain(&shared)).spawn();
    eventually("what the log may forget is measured", DEADLINE, async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let is_known = text.lines().any(|line| line == "tipline_retention_free_events{} 0.0");
        if is_known { Ok(()) } else { Err(text) }
    })
    .await;
    let jobs = [
        (&backup, "checkpoint", 3600, true),
        (&backup, "upload", 3600, true),
        (&backup, "verify", 7200, false),
        (&backup, "drill", 10_800, false),
        (&archive, "archive", 60, true),
        // The first merge is after a minute, and so is a check that came before there was an archive.
        (&archive, "merge", 60, false),
        (&archive, "verify", 7200, false),
        (&archive, "drill", 10_800, false),
    ];
    for (port, job, every, is_done) in jobs {
        let page = format!("http://{port}/metrics");
        let label = format!("{{tipline_job=\"{job}\"}}");
        let interval = format!("tipline_job_interval_seconds{label} {every}");
        let success = format!("tipline_job_success_timestamp_seconds{label} ");
        eventually(&format!("{job} is measured"), DEADLINE, async || {
            let reply = http_get(&page).await.map_err(|error| error.to_string())?;
            let has = |start: &str| reply.body.lines().any(|line| line.starts_with(start));
            if has(&interval) && (has(&success) || !is_done) { Ok(()) } else { Err(reply.body) }
        })
        .await;
    }
}
