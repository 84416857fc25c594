//! Is the log on the servers what was asked for, and does it lose nothing?

use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use serde_json::json;
use tipline_proto::limits::{MAX_PAYLOAD_BYTES, MAX_UNIT_MESSAGES};

use super::JetStreamLog;
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
        let events = self.event_stream().info().await?.config;
        let receipts = self.receipt_stream().info().await?.config;
        check_version(&mut found, &self.link.client.server_info().version);
        check_common(&mut found, &events);
        check_events(&mut found, &events);
        check_common(&mut found, &receipts);
        check_receipts(&mut found, &receipts);
        check_payload(&mut found, self.link.client.max_payload());
        self.check_account(&mut found).await?;
        self.check_sync(&mut found, events.num_replicas).await;
        Ok(found)
    }

    /// A full account loses nothing, but stops the primary: worth a line.
    async fn check_account(&self, found: &mut Preflight) -> Result<(), LogError> {
        let subject = "INFO".to_owned();
        let account: Account =
            self.link.demand("read the account's limits", subject, &json!({})).await?;
        if let Some(limit) = account.limits.max_storage {
            found.good(format!("account: {} of {limit} bytes are used", account.storage));
        }
        Ok(())
    }

    async fn check_sync(&self, found: &mut Preflight, replicas: usize) {
        let mut read = 0;
        for address in &self.monitor {
            match Server::ask(address).await {
                Ok(server) => {
                    read += 1;
                    check_server(found, &server);
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "the server's settings cannot be read");
                }
            }
        }
        if read >= replicas.max(1) {
            return;
        }
        found.shortfall(
            "sync-interval-unknown",
            format!("sync_interval: read from {read} of {replicas} servers"),
            "a server may acknowledge up to two minutes before it fsyncs: a power loss of as many \
             servers as decide takes what they acknowledged since",
            "set `sync_interval: always` in the jetstream block of every server, and give their \
             monitoring addresses so that this can be checked",
        );
    }
}

fn check_server(found: &mut Preflight, server: &Server) {
    if server.syncs_always() {
        return found.good(format!("sync_interval: always on {}", server.name));
    }
    found.shortfall(
        "sync-interval",
        format!("sync_interval: {} s on {}", server.sync_interval().as_secs(), server.name),
        "a power loss takes what was acknowledged since the last fsync",
        "set `sync_interval: always` in the server's jetstream block",
    );
}

/// Compaction of encrypted or compressed blocks could damage them.
fn check_version(found: &mut Preflight, version: &str) {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().unwrap_or(0u32));
    let mut next = || numbers.next().unwrap_or(0);
    let version_number = (next(), next(), next());
    let damaging =
        version_number < (2, 12, 12) || ((2, 13, 0)..(2, 14, 3)).contains(&version_number);
    if !damaging {
        return found.good(format!("server: {version}"));
    }
    found.shortfall(
        "server-version",
        format!("server: {version}"),
        "if its storage is encrypted, compaction can damage blocks of it",
        "use 2.12.12, 2.14.3 or a newer one",
    );
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
        return found.good(format!("{}: limits: none", config.name));
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

fn check_receipts(found: &mut Preflight, config: &Config) {
    let one = config.max_messages_per_subject == 1 && config.discard == DiscardPolicy::Old;
    let per_subject = config.max_messages_per_subject;
    expect(
        found,
        one && config.max_age.is_zero(),
        Expectation {
            name: "receipts-kept",
            line: format!("{}: max_msgs_per_subject: {per_subject}", config.name),
            risk: "the newest receipt of a consumer is refused, or forgotten",
            remedy: "set max_msgs_per_subject to 1, discard to old, and no max_age",
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
    found.good(format!("{line}{note}"));
}

struct Expectation {
    name: &'static str,
    line: String,
    risk: &'static str,
    remedy: &'static str,
}

fn expect(found: &mut Preflight, is_so: bool, expectation: Expectation) {
    let Expectation { name, line, risk, remedy } = expectation;
    if is_so { found.good(line) } else { found.shortfall(name, line, risk, remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_payload_that_is_too_small_falls_short() {
        for (max_payload, durable) in [(64 << 10, false), (1 << 20, true), (16 << 20, true)] {
            let mut found = Preflight::default();
            check_payload(&mut found, max_payload);
            assert_eq!(found.is_durable(), durable, "{max_payload}");
        }
    }
}
