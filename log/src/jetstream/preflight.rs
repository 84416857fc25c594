//! Is the log on the servers what was asked for, and does it lose nothing?

use std::collections::BTreeSet;

use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType,
};
use serde_json::json;
use tipline_proto::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_MESSAGES};

use super::JetStreamLog;
use super::drops::drops;
use super::monitor::Server;
use crate::error::LogError;
use crate::preflight::Preflight;

/// Copies that one failed disk cannot outvote.
const ENOUGH_REPLICAS: usize = 3;
/// What the server's makers recommend at most.
const LARGEST_PAYLOAD: usize = 8 << 20;

impl JetStreamLog {
    pub(super) async fn check(&self) -> Result<Preflight, LogError> {
        let mut found = Preflight::default();
        let events = self.event_stream().info().await?;
        let receipts = self.receipt_stream().info().await?;
        let holders: BTreeSet<String> = holders(&events).chain(holders(&receipts)).collect();
        found.drops = drops(&events);
        let (events, receipts) = (events.config, receipts.config);
        check_version(&mut found, &self.link.client.server_info().version);
        check_common(&mut found, &events);
        check_events(&mut found, &events);
        check_common(&mut found, &receipts);
        check_receipts(&mut found, &receipts);
        check_payload(&mut found, self.link.client.max_payload());
        self.check_account(&mut found).await?;
        let servers = self.servers().await;
        check_servers(&mut found, events.num_replicas, holders, &servers);
        Ok(found)
    }

    /// A full account loses nothing, but stops the primary: worth a line.
    async fn check_account(&self, found: &mut Preflight) -> Result<(), LogError> {
        let subject = "INFO".to_owned();
        let account: Account =
            self.link.demand("read the account's limits", subject, &json!({})).await?;
        if let Some(limit) = account.limits.max_storage {
            found.note(format!("account: {} of {limit} bytes are used", account.storage));
        }
        Ok(())
    }

    /// What those servers say whose monitoring addresses are given, and who answer.
    async fn servers(&self) -> Vec<Server> {
        let mut servers = Vec::new();
        for address in &self.monitor {
            match Server::ask(address).await {
                Ok(server) => servers.push(server),
                Err(error) => {
                    // Nobody is to log in there, but somebody may have tried to.
                    let address = address.rsplit_once('@').map_or(&**address, |(_, host)| host);
                    tracing::warn!(address, %error, "the server's settings cannot be read");
                }
            }
        }
        servers
    }
}

/// The names of the servers that hold a stream.
fn holders(stream: &Info) -> impl Iterator<Item = String> {
    let cluster = stream.cluster.iter();
    cluster.flat_map(|cluster| {
        let replicas = cluster.replicas.iter().map(|replica| replica.name.clone());
        cluster.leader.iter().cloned().chain(replicas)
    })
}

/// Only who holds the log counts, and once: any other server of the cluster, or the same one at two
/// addresses, says nothing of it.
fn check_servers(
    found: &mut Preflight,
    replicas: usize,
    holders: BTreeSet<String>,
    servers: &[Server],
) {
    let of = holders.len().max(replicas);
    let mut unknown = holders;
    let mut read = 0;
    for server in servers {
        if unknown.remove(&server.name) {
            read += 1;
            check_server(found, server);
        }
    }
    if read == of {
        return;
    }
    let unknown: Vec<String> = unknown.into_iter().collect();
    let from = match unknown.is_empty() {
        true => String::new(),
        false => format!(", not from {}", unknown.join(", ")),
    };
    found.shortfall(
        "sync-interval-unknown",
        format!("sync_interval: read from {read} of {of} servers that hold the log{from}"),
        "a server may acknowledge up to two minutes before it fsyncs: a power loss of as many \
         servers as decide takes what they acknowledged since",
        "set `sync_interval: always` in the jetstream block of every server, start those that are \
         not there, and give the monitoring addresses of all so that this can be checked",
    );
}

fn check_server(found: &mut Preflight, server: &Server) {
    // The one that we are connected to may hold nothing of the log.
    if !server.version.is_empty() && is_damaging(&server.version) {
        damaging(found, format!("server: {} on {}", server.version, server.name));
    }
    if server.syncs_always() {
        return found.good("sync-interval", format!("sync_interval: always on {}", server.name));
    }
    found.shortfall(
        "sync-interval",
        format!("sync_interval: {} s on {}", server.sync_interval().as_secs(), server.name),
        "a power loss takes what was acknowledged since the last fsync",
        "set `sync_interval: always` in the server's jetstream block",
    );
}

fn check_version(found: &mut Preflight, version: &str) {
    match is_damaging(version) {
        false => found.good("server-version", format!("server: {version}")),
        true => damaging(found, format!("server: {version}")),
    }
}

fn damaging(found: &mut Preflight, line: String) {
    found.shortfall(
        "server-version",
        line,
        "if its storage is encrypted, compaction can damage blocks of it",
        "use 2.12.12, 2.14.3 or a newer one",
    );
}

/// Compaction of encrypted or compressed blocks could damage them.
fn is_damaging(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().unwrap_or(0u32));
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    version < (2, 12, 12) || ((2, 13, 0)..(2, 14, 3)).contains(&version)
}

fn check_common(found: &mut Preflight, config: &Config) {
    let stream = &config.name;
    expect(
        found,
        config.storage == StorageType::File,
        Expectation {
            name: "memory-storage",
            line: format!("{stream}: storage: {:?}", config.storage),
            risk: "a restart of the servers loses everything",
            remedy: "storage cannot be changed: create the log again",
        },
    );
    expect(
        found,
        config.num_replicas >= ENOUGH_REPLICAS,
        Expectation {
            name: if config.num_replicas == 2 { "two-replicas" } else { "single-replica" },
            line: format!("{stream}: replicas: {}", config.num_replicas),
            risk: "a disk that fails takes what is on it alone",
            remedy: "use a cluster of three servers or more, and three replicas",
        },
    );
    let compressed = config.compression == Some(Compression::S2);
    expect(
        found,
        !compressed,
        Expectation {
            name: "compression",
            line: format!("{stream}: compression: {}", if compressed { "s2" } else { "none" }),
            risk: "compaction of compressed blocks has damaged them in several versions",
            remedy: "set the stream's compression to none",
        },
    );
    let buffered = config.persist_mode == Some(PersistenceMode::Async);
    expect(
        found,
        !buffered,
        Expectation {
            name: "async-persist",
            line: format!("{stream}: persist_mode: {}", if buffered { "async" } else { "default" }),
            risk: "messages are acknowledged before they are written, whatever sync_interval says",
            remedy: "create the log again: the mode cannot be changed",
        },
    );
}

fn check_events(found: &mut Preflight, config: &Config) {
    let stream = &config.name;
    let limits = config.retention == RetentionPolicy::Limits;
    expect(
        found,
        limits,
        Expectation {
            name: "retention",
            line: format!("{stream}: retention: {:?}", config.retention),
            risk: "acknowledged messages are removed before others have read them",
            remedy: "create the log again, with limits retention",
        },
    );
    check_limits(found, config);
    expect(
        found,
        config.discard == DiscardPolicy::New,
        Expectation {
            name: "discard",
            line: format!("{stream}: discard: {:?}", config.discard),
            risk: "where a limit is reached, the oldest entries are removed silently",
            remedy: "set the stream's discard policy to new",
        },
    );
    expect(
        found,
        config.deny_delete,
        Expectation {
            name: "deny-delete",
            line: format!("{stream}: deny_delete: {}", config.deny_delete),
            risk: "anyone with access can remove single entries",
            remedy: "deny_delete cannot be set later: create the log again",
        },
    );
    expect(
        found,
        config.allow_atomic_publish,
        Expectation {
            name: "atomic-publish",
            line: format!("{stream}: allow_atomic: {}", config.allow_atomic_publish),
            risk: "batches and large events cannot be appended",
            remedy: "allow atomic publishing on the stream",
        },
    );
    let unlimited = config.max_message_size <= 0;
    expect(
        found,
        unlimited,
        Expectation {
            name: "max-msg-size",
            line: format!("{stream}: max_msg_size: {}", config.max_message_size),
            risk: "messages that the server takes are refused by the stream",
            remedy: "remove max_msg_size from the stream: the server's max_payload is the limit",
        },
    );
}

fn check_limits(found: &mut Preflight, config: &Config) {
    let age = config.max_age.as_secs();
    let limits = [
        ("max-msgs", "max_msgs", config.max_messages.to_string(), config.max_messages > 0),
        ("max-bytes", "max_bytes", config.max_bytes.to_string(), config.max_bytes > 0),
        ("max-age", "max_age", format!("{age} s"), !config.max_age.is_zero()),
        (
            "max-msgs-per-subject",
            "max_msgs_per_subject",
            config.max_messages_per_subject.to_string(),
            config.max_messages_per_subject > 0,
        ),
    ];
    if limits.iter().all(|(.., is_set)| !is_set) {
        return found.good("max-msgs", format!("{}: limits: none", config.name));
    }
    for (name, setting, value, _) in limits.into_iter().filter(|(.., is_set)| *is_set) {
        found.shortfall(
            name,
            format!("{}: {setting}: {value}", config.name),
            "a limit removes old entries, or refuses new ones, whether they are backed up or not",
            format!("remove {setting} from the stream"),
        );
    }
}

/// Nothing but a newer message takes the place of a receipt, or of the claim that is kept there.
fn check_receipts(found: &mut Preflight, config: &Config) {
    let per_subject = config.max_messages_per_subject;
    let mut kept = vec![format!("max_msgs_per_subject: {per_subject}")];
    let discards = config.discard == DiscardPolicy::Old;
    let others = [
        (discards, format!("discard: {:?}", config.discard)),
        (config.retention == RetentionPolicy::Limits, format!("retention: {:?}", config.retention)),
        (config.max_messages <= 0, format!("max_msgs: {}", config.max_messages)),
        (config.max_bytes <= 0, format!("max_bytes: {}", config.max_bytes)),
        (config.max_age.is_zero(), format!("max_age: {} s", config.max_age.as_secs())),
    ];
    let is_kept = per_subject == 1 && others.iter().all(|(is_so, _)| *is_so);
    kept.extend(others.into_iter().filter(|(is_so, _)| !is_so).map(|(_, line)| line));
    expect(
        found,
        is_kept,
        Expectation {
            name: "receipts-kept",
            line: format!("{}: {}", config.name, kept.join(", ")),
            risk: "the newest receipt of a consumer, or the claim of a log that was trimmed, is \
                   refused or forgotten",
            remedy: "set max_msgs_per_subject to 1, discard to old, retention to limits, and no \
                     max_msgs, max_bytes and max_age",
        },
    );
}

fn check_payload(found: &mut Preflight, max_payload: usize) {
    let line = format!("max_payload: {max_payload}");
    let largest_event = max_payload.saturating_mul(MAX_UNIT_MESSAGES - 1);
    if largest_event < MAX_PAYLOAD_BYTES {
        return found.shortfall(
            "max-payload",
            line,
            format!(
                "events of over {largest_event} bytes cannot be appended, and stop the primary"
            ),
            "set max_payload on the servers to 1MB or more",
        );
    }
    let note = if max_payload > LARGEST_PAYLOAD { "; over 8 MiB is not used" } else { "" };
    found.good("max-payload", format!("{line}{note}"));
}

struct Expectation {
    name: &'static str,
    line: String,
    risk: &'static str,
    remedy: &'static str,
}

fn expect(found: &mut Preflight, is_so: bool, expectation: Expectation) {
    let Expectation { name, line, risk, remedy } = expectation;
    if is_so { found.good(name, line) } else { found.shortfall(name, line, risk, remedy) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_proto::{Chain, Hash, Lineage, LogIdentity};

    use super::super::streams;
    use super::*;

    #[test]
    fn whatever_forgets_receipts_is_named() {
        let name = "x".parse().unwrap();
        let chain = Chain::new("x".parse().unwrap(), Hash::new([1]).unwrap());
        let log = LogIdentity { name, chain, lineage: Lineage::from_bytes([1; 16]) };
        type Change = fn(&mut Config);
        let short = |change: Change| {
            let (mut config, mut found) = (streams::receipts(&log, 3), Preflight::default());
            change(&mut config);
            check_receipts(&mut found, &config);
            found.shortfalls.iter().map(|s| s.found.clone()).collect::<String>()
        };
        assert_eq!(short(|_| ()), "");
        // As the server gives what has no limit.
        assert_eq!(short(|config| (config.max_messages, config.max_bytes) = (-1, -1)), "");
        let changes: [(Change, &str); 6] = [
            (|config| config.max_messages_per_subject = 2, "max_msgs_per_subject: 2"),
            (|config| config.max_messages = 100, "max_msgs: 100"),
            (|config| config.max_bytes = 1 << 20, "max_bytes: 1048576"),
            (|config| config.max_age = Duration::from_secs(60), "max_age: 60 s"),
            (|config| config.discard = DiscardPolicy::New, "discard: New"),
            (|config| config.retention = RetentionPolicy::WorkQueue, "retention: WorkQueue"),
        ];
        for (change, says) in changes {
            assert!(short(change).contains(says), "{says}: {}", short(change));
        }
    }

    #[test]
    fn damaging_versions_are_named() {
        for (version, durable) in [
            ("2.12.11", false),
            ("2.12.12", true),
            ("2.14.2", false),
            ("2.14.3", true),
            ("2.15.1", true),
            ("2.15.0-dev", true),
        ] {
            let mut found = Preflight::default();
            check_version(&mut found, version);
            assert_eq!(found.is_durable(), durable, "{version}");
        }
    }

    fn server(name: &str, sync_always: bool) -> Server {
        of_version("2.15.1", name, sync_always)
    }

    fn of_version(version: &str, name: &str, sync_always: bool) -> Server {
        let json = format!(
            r#"{{"server_name":"{name}","version":"{version}",
                "jetstream":{{"config":{{"sync_always":{sync_always}}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_version_of_every_server_that_holds_the_log_counts() {
        let short = |version: &str, name: &str| {
            let mut found = Preflight::default();
            let servers = [server("a", true), of_version(version, name, true)];
            check_servers(&mut found, 1, ["a".to_owned(), "b".to_owned()].into(), &servers);
            found.shortfalls.iter().map(|s| s.found.clone()).collect::<Vec<_>>()
        };
        assert_eq!(short("2.15.1", "b"), [""; 0]);
        assert_eq!(short("", "b"), [""; 0], "it does not say");
        assert_eq!(short("2.14.1", "b"), ["server: 2.14.1 on b"]);
        assert!(!short("2.14.1", "c").concat().contains("2.14.1"), "it does not hold the log");
    }

    #[test]
    fn only_servers_that_hold_the_log_count_and_each_of_them_once() {
        let names = |servers: &[(&str, bool)]| {
            let servers: Vec<Server> =
                servers.iter().map(|(name, always)| server(name, *always)).collect();
            let holders = ["a", "b", "c"].map(str::to_owned).into();
            let mut found = Preflight::default();
            check_servers(&mut found, 3, holders, &servers);
            found.shortfalls.iter().map(|s| s.found.clone()).collect::<Vec<_>>()
        };
        let short = |text: &str| vec![format!("sync_interval: {text}")];
        assert_eq!(names(&[("a", true), ("b", true), ("c", true)]), [""; 0]);
        assert_eq!(names(&[("d", false), ("c", true), ("b", true), ("a", true)]), [""; 0]);
        let without_c = short("read from 2 of 3 servers that hold the log, not from c");
        for third in ["a", "d"] {
            assert_eq!(names(&[("a", true), ("b", true), (third, true)]), without_c, "{third}");
        }
        assert_eq!(names(&[("a", true), ("b", true), ("c", false)]), short("0 s on c"));
        assert_eq!(
            names(&[]),
            short("read from 0 of 3 servers that hold the log, not from a, b, c")
        );
    }

    /// A stream may have lost a server for good, and its leader names the others alone.
    #[test]
    fn a_holder_that_nobody_names_is_missing() {
        let mut found = Preflight::default();
        check_servers(&mut found, 3, ["a".to_owned()].into(), &[server("a", true)]);
        assert!(!found.is_durable());
    }

    #[test]
    fn a_payload_that_is_too_small_falls_short() {
        for (max_payload, durable) in [(64 << 10, false), (1 << 20, true), (16 << 20, true)] {
            let mut found = Preflight::default();
            check_payload(&mut found, max_payload);
            assert_eq!(found.is_durable(), durable, "{max_payload}");
        }
    }
}
