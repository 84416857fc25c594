//! What makes a stream drop its oldest entries by itself, and what that means for a backup.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde_json::Value;
use tipline_log::{Appender, DropLimit, DropsAfter, Receipts};
use tipline_proto::subject::events_stream;
use tipline_proto::{Level, Reached, Receipt, Role};
use tipline_tests::{Nats, Tipline};

use super::{WITHIN, Writer, name, raw, receipt, sized, started};

async fn limit(server: &Nats, change: impl FnOnce(&mut Config)) {
    let streams = raw(&server.url()).await;
    let stream = streams.get_stream(&events_stream(&name())).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    change(&mut config);
    streams.update_stream(config).await.unwrap();
}

async fn status(server: &Nats) -> Value {
    let log = format!("{}/{}", server.url(), name());
    let words = ["status", "--log", &log, "--json", "--accept-shortfalls"];
    let run = Tipline::new(words).finish(WITHIN).await;
    serde_json::from_str(&run.stdout).expect(&run.stderr)
}

#[tokio::test]
async fn limits_by_which_a_stream_drops_are_told_from_those_by_which_it_refuses() {
    let (server, log) = started().await;
    let mut writer = Writer::claim(Arc::new(log)).await;
    writer.write([sized(1), sized(2)]).await;
    let newest = writer.written[1].position();
    let reached = Reached::up_to(newest, Level::Verified);
    let archive = Receipt { role: Role::Archive, reached, ..receipt("archive", newest.index) };
    writer.log.put_receipt(&archive).await.unwrap();
    let drops = async || writer.log.preflight().await.unwrap().drops;
    assert_eq!(drops().await, []);
    let runway = |status: &Value| status["recovery"]["runway"].clone();
    let unlimited = runway(&status(&server).await);
    assert_eq!((&unlimited["backup"], &unlimited["limit"]), (&"archive".into(), &"reserve".into()));

    // Where the limit is reached new ones are refused: none is dropped but by its age.
    let max_age = Duration::from_secs(1800);
    limit(&server, |config| {
        (config.max_messages, config.max_bytes, config.max_age) = (1_000, 1 << 20, max_age);
    })
    .await;
    let by_age = DropLimit { setting: "max_age", after: DropsAfter::Age(max_age) };
    assert_eq!(drops().await, [by_age]);
    // Its events are long past that age: the server goes by when it took them, and nobody knows.
    let short = status(&server).await;
    assert_eq!(runway(&short)["limit"], "max_age");
    assert_eq!(runway(&short)["left_ms"], 0);
    let findings = short["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["kind"] == "runway_short").unwrap();
    assert_eq!(found["name"], "archive");

    limit(&server, |config| config.discard = DiscardPolicy::Old).await;
    let settings: Vec<_> = drops().await.iter().map(|limit| limit.setting).collect();
    assert_eq!(settings, ["max_age", "max_msgs", "max_bytes"]);
    let DropsAfter::Share { most, held } = drops().await[1].after else { panic!("a share") };
    assert_eq!((most, held), (1_000, 3));
}
