//! The harness itself: its servers are real, and so are its kills.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use tipline_tests::{Cluster, Nats, NatsOptions, SyncInterval, eventually, http_get};

const WITHIN: Duration = Duration::from_secs(30);

/// Set in the test processes that these tests start themselves.
const ROLE: &str = "HARNESS_TEST_ROLE";

async fn connect(url: &str) -> jetstream::Context {
    let servers: Vec<_> = url.split(',').map(str::to_owned).collect();
    jetstream::new(async_nats::connect(servers).await.expect("connect"))
}

async fn make_stream(js: &jetstream::Context, replicas: usize) -> stream::Stream {
    let config = stream::Config {
        name: "kept".into(),
        subjects: vec!["kept.>".into()],
        num_replicas: replicas,
        ..stream::Config::default()
    };
    js.create_stream(config).await.expect("create the stream")
}

async fn publish(js: &jetstream::Context, text: &'static str) -> Result<u64, String> {
    let sent = js.publish("kept.a", text.into()).await.map_err(|e| e.to_string())?;
    sent.await.map(|ack| ack.sequence).map_err(|e| e.to_string())
}

async fn stored(js: &jetstream::Context) -> Vec<String> {
    let mut stream = js.get_stream("kept").await.expect("the stream is there");
    let last = stream.info().await.expect("the stream tells of itself").state.last_sequence;
    let mut texts = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("the message is there");
        texts.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
    texts
}

#[tokio::test]
async fn a_killed_server_comes_back_at_its_address_with_its_data() {
    let mut nats = Nats::start(NatsOptions::default()).await;
    let url = nats.url();
    let js = connect(&url).await;
    make_stream(&js, 1).await;
    assert_eq!(publish(&js, "before").await, Ok(1));

    nats.kill();
    assert!(!nats.is_running());
    let address = url.strip_prefix("nats://").unwrap();
    assert!(TcpStream::connect(address).is_err(), "still there after SIGKILL");

    nats.restart().await;
    assert_eq!(nats.url(), url);
    assert_eq!(stored(&connect(&url).await).await, ["before"]);

    // The client of before has reconnected by itself.
    eventually("the old client publishes again", WITHIN, async || publish(&js, "after").await)
        .await;
    nats.stop().await;
    nats.restart().await;
    let texts = stored(&connect(&url).await).await;
    assert_eq!(texts.first().map(String::as_str), Some("before"));
    assert_eq!(texts.last().map(String::as_str), Some("after"));
}

#[tokio::test]
async fn a_paused_server_is_silent_and_goes_on_where_it_was() {
    let mut nats = Nats::start(NatsOptions::default()).await;
    let js = connect(&nats.url()).await;
    make_stream(&js, 1).await;

    nats.pause();
    assert!(nats.is_running());
    let silent = publish(&js, "meanwhile");
    assert!(tokio::time::timeout(Duration::from_millis(300), silent).await.is_err());
    nats.resume();

    eventually("it answers again", WITHIN, async || publish(&js, "later").await).await;
    assert_eq!(stored(&js).await.first().map(String::as_str), Some("meanwhile"));
}

#[tokio::test]
async fn the_options_reach_the_server() {
    let told = async |options: NatsOptions| {
        let nats = Nats::start(options).await;
        let varz = http_get(&format!("{}/varz", nats.monitor_url())).await.unwrap();
        let varz: serde_json::Value = serde_json::from_str(&varz.body).unwrap();
        (varz["max_payload"].clone(), varz["jetstream"]["config"]["sync_always"] == true)
    };
    assert_eq!(told(NatsOptions::default()).await, (1_048_576.into(), true));
    let other = NatsOptions {
        sync: SyncInterval::ServerDefault,
        max_payload: 8 << 20,
        ..NatsOptions::default()
    };
    assert_eq!(told(other).await, (8_388_608.into(), false));
}

#[tokio::test]
async fn a_cluster_keeps_going_without_its_leader_and_takes_it_back() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let js = connect(&cluster.url()).await;
    make_stream(&js, Cluster::SIZE).await;
    // A subscription of the new stream may not have reached the server that is asked.
    eventually("three store", WITHIN, async || publish(&js, "by three").await).await;

    let leader = cluster.stream_leader("kept").await;
    cluster.node(leader).kill();
    eventually("two of three store", WITHIN, async || publish(&js, "by two").await).await;
    assert_ne!(cluster.stream_leader("kept").await, leader);

    cluster.node(leader).restart().await;
    cluster.wait_ready().await;
    // A majority that needs the one that was away.
    let leader_now = cluster.stream_leader("kept").await;
    let third = (0..Cluster::SIZE).find(|&i| i != leader && i != leader_now).unwrap();
    cluster.node(third).kill();
    eventually("the other two store", WITHIN, async || publish(&js, "again").await).await;

    let texts = stored(&connect(&cluster.url()).await).await;
    assert_eq!(texts.first().map(String::as_str), Some("by three"));
    assert_eq!(texts.last().map(String::as_str), Some("again"));
}

#[tokio::test]
async fn a_server_does_not_outlive_a_test_process_that_was_killed() {
    if std::env::var_os(ROLE).is_some() {
        let nats = Nats::start(NatsOptions::default()).await;
        println!("up at {}", nats.url());
        std::future::pending::<()>().await;
    }
    // What a killed process leaves behind goes with this directory.
    let dir = tempfile::tempdir().unwrap();
    let mut process = again("servers::a_server_does_not_outlive_a_test_process_that_was_killed")
        .env("TMPDIR", dir.path())
        .spawn()
        .unwrap();
    let address = address_printed_by(&mut process);
    assert!(TcpStream::connect(&address).is_ok());

    process.kill().unwrap();
    process.wait().unwrap();
    let what = format!("nobody is left at {address}");
    eventually(&what, WITHIN, async || match TcpStream::connect(&address) {
        Ok(_) => Err("somebody listens"),
        Err(_) => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_failing_test_shows_the_end_of_the_servers_log() {
    if std::env::var_os(ROLE).is_some() {
        let _nats = Nats::start(NatsOptions::default()).await;
        panic!("as told");
    }
    let output =
        again("servers::a_failing_test_shows_the_end_of_the_servers_log").output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("---- nats nats.log: last"), "{stderr}");
    assert!(stderr.contains("Server is ready"), "{stderr}");
}

/// This test program once more, with one test only, in its other role.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(ROLE, "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn address_printed_by(process: &mut Child) -> String {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    lines
        .map(|line| line.unwrap())
        .find_map(|line| line.split_once("up at nats://").map(|(_, address)| address.to_owned()))
        .expect("the address of the server")
}
