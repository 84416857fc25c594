//! `tipline audit export` as Parquet: what DuckDB and Polars read is what the rows in JSON say.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tipline_backup::{Archive, Destination, Keys, Row, SegmentIndex};
use tipline_proto::{Entry, Kind};
use tipline_store::StoredLinks;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_tests::{Rng, parquet_readers};

use crate::deployment::{Deployment, WITHIN};

/// Prints what each of the two reads, as JSON: all rows, but for large payloads, and sums over them.
const READ: &str = r#"
import json, sys
import duckdb, polars

path, with_payload = sys.argv[1], sys.argv[2] == "true"
small = "CASE WHEN payload_bytes < 65536 THEN payload END"
binary = ["digest", "hash", "parent_hash", "transaction", "key", "outbox", "payload_blake3"]
plain = ["index", "epoch", "outbox_sequence", "kind", "height", "erased", "name", "payload_bytes"]
groups = duckdb.sql(f"SELECT max(row_group_id) + 1 FROM parquet_metadata('{path}')").fetchall()[0][0]

table = duckdb.read_parquet(path)
types = dict(zip(table.columns, map(str, table.types)))
columns = plain + [f"lower(hex({name})) AS {name}" for name in binary] + ["epoch_us(time) AS time_us"]
columns += [f"lower(hex({small})) AS payload"] if with_payload else []
rows = table.project(", ".join(columns))
payload = ", sum(octet_length(payload)), count(payload)" if with_payload else ", NULL, NULL"
sums = table.aggregate(f"count(*), min(index), max(index), sum(payload_bytes){payload}").fetchall()[0]
by_duckdb = {
    "rows": [dict(zip(rows.columns, row)) for row in rows.fetchall()],
    "sums": [None if value is None else int(value) for value in sums],
    "types": types,
}

table = polars.read_parquet(path)
types = {name: str(kind) for name, kind in table.schema.items()}
rows = table.select(
    *plain,
    *[polars.col(name).bin.encode("hex") for name in binary],
    polars.col("time").dt.epoch("us").alias("time_us"),
    *([polars.when(polars.col("payload_bytes") < 65536).then("payload").bin.encode("hex").alias("payload")] if with_payload else []),
)
size = polars.col("payload").bin.size("b")
payload = table.select(size.sum(), polars.col("payload").count().alias("count")).row(0) if with_payload else (None, None)
index = table["index"]
sums = [table.height, index.min(), index.max(), table["payload_bytes"].sum(), *payload]
by_polars = {"rows": rows.to_dicts(), "sums": sums, "types": types}

print(json.dumps({"duckdb": by_duckdb, "polars": by_polars, "groups": groups}))
"#;

/// An archive of these entries, in segments of so many.
async fn archive(directory: &Path, entries: &[Entry], of: usize) {
    let destination = Destination::open(&format!("dir:{}", directory.display())).unwrap();
    let archive = Archive::create(destination, &log(), Keys::default()).await.unwrap();
    let (mut model, mut latest) = (Model::new(&log()), entries[0].time);
    for some in entries.chunks(of) {
        let before = model.cursor.position;
        some.iter().for_each(|entry| model.apply(entry));
        let tip = model.cursor.proof_tip;
        let above = |height: &&u64| tip.is_none_or(|tip| **height > tip);
        let index = SegmentIndex {
            log: (&log()).into(),
            before,
            after: model.cursor.clone(),
            links: StoredLinks {
                base: model.base.clone(),
                proven_above: model.proofs.keys().filter(above).copied().collect(),
            },
            latest_before: if before.index == 0 { Default::default() } else { latest },
            rows: some.iter().map(Row::from).collect(),
        };
        latest = some.iter().map(|entry| entry.time).max().unwrap().max(latest);
        archive.write(&index, some).await.unwrap();
    }
}

fn read(file: &Path, with_payload: bool) -> Value {
    let mut python = std::process::Command::new("python3");
    python.args(["-c", READ]).arg(file).arg(with_payload.to_string());
    python.env("PYTHONPATH", parquet_readers()).stdin(Stdio::null());
    let done = python.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// How many entries have large payloads, the last ones.
const LARGE: usize = 2;

/// A history of every kind of event, with records that were erased, and with payloads that need more
/// than one row group.
fn history(seed: u64) -> Vec<Entry> {
    let mut history = History::random_of(seed, 400, 2_000);
    history.record_of(1, Some(Vec::new().into()));
    history.record_of(1, None);
    for _ in 0..LARGE {
        history.block_of(17 << 20);
    }
    let kinds: std::collections::BTreeSet<_> =
        history.entries.iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "every kind");
    history.entries
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_read_in_parquet_what_the_rows_say() {
    let mut rng = Rng::from_env();
    let entries = history(rng.within(0..=1 << 40));
    let site = Deployment::new();
    archive(&site.path("backup"), &entries, 90).await;
    let export = async |words: String, file: &str| {
        _ = fs::remove_file(site.path(file));
        let done = site.run(&format!("audit export dir:backup {words} --output {file}")).await;
        assert_eq!(done.status.code(), Some(0), "{words}: {}", done.stderr);
    };
    let json = async |words: String| {
        export(words, "rows.jsonl").await;
        let rows = fs::read_to_string(site.path("rows.jsonl")).unwrap();
        rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect::<Vec<Value>>()
    };
    // As hex, the large ones would take longer than all the rest.
    let mut with_payloads = json(format!("--payloads --to {}", entries.len() - LARGE)).await;
    let rows = json(String::new()).await;
    with_payloads.extend_from_slice(&rows[entries.len() - LARGE..]);
    for (option, rows) in [("", &rows), ("--payloads", &with_payloads)] {
        let with_payload = option == "--payloads";
        export(format!("--format parquet {option}"), "rows.parquet").await;
        let found = read(&site.path("rows.parquet"), with_payload);
        let groups = found["groups"].as_u64().unwrap();
        assert_eq!(groups > 1, with_payload, "{groups} row groups");
        for reader in ["duckdb", "polars"] {
            let found = &found[reader];
            let read = found["rows"].as_array().unwrap();
            assert_eq!(read.len(), rows.len(), "{reader}");
            for (read, row) in read.iter().zip(rows) {
                // What is left out in JSON is null in a column.
                let mut read = read.as_object().unwrap().clone();
                read.retain(|_, value| !value.is_null());
                assert_eq!(&Value::Object(read), row, "{reader}");
            }
            let bytes: u64 = rows.iter().map(|row| row["payload_bytes"].as_u64().unwrap()).sum();
            let payload = with_payload.then_some([bytes, rows.len() as u64]);
            let [payload_bytes, payload_count] =
                payload.map_or([Value::Null, Value::Null], |both| both.map(Value::from));
            let last = rows.len() as u64;
            let sums = serde_json::json!([last, 1, last, bytes, payload_bytes, payload_count]);
            assert_eq!(found["sums"], sums, "{reader}");
            let is_time = |kind: &str| kind.contains("TIME ZONE") || kind.contains("Datetime");
            let types = &found["types"];
            assert!(is_time(types["time"].as_str().unwrap()), "{types}");
            let is_unsigned = ["UBIGINT", "UInt64"].contains(&types["height"].as_str().unwrap());
            assert!(is_unsigned, "{types}");
        }
    }
}

/// A Parquet file on standard output is whole, or the command fails and nothing reads it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_no_parquet_file() {
    let mut rng = Rng::from_env();
    let site = Deployment::new();
    let entries = History::random(rng.within(0..=1 << 40), 60).entries;
    archive(&site.path("backup"), &entries, 20).await;
    let export = |to: &str| {
        let program = site.tipline("audit export dir:backup --format parquet");
        program.through("sh", ["-c", &format!("exec \"$@\" > {to}"), "sh"])
    };
    let done = export("whole.parquet").finish(WITHIN).await;
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    let whole = fs::read(site.path("whole.parquet")).unwrap();
    assert!(whole.starts_with(b"PAR1") && whole.ends_with(b"PAR1"));
    let found = read(&site.path("whole.parquet"), false);
    assert_eq!(found["polars"]["sums"][0], 60);

    let segments = fs::read_dir(site.path("backup/segments")).unwrap();
    let last = segments.map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    bytes[100] ^= 1;
    fs::write(&last, bytes).unwrap();
    let done = export("part.parquet").finish(WITHIN).await;
    assert_eq!(done.status.code(), Some(13), "{}", done.stderr);
    let part = fs::read(site.path("part.parquet")).unwrap();
    assert!(!part.ends_with(b"PAR1"), "a reader would take it");
    let done = site.run("audit export dir:backup --format parquet --output file.parquet").await;
    assert_eq!(done.status.code(), Some(13), "{}", done.stderr);
    assert!(!site.path("file.parquet").exists(), "half a file is none");
}
