//! The two streams of a log: their settings, and the identity in their metadata.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, RetentionPolicy, StorageType,
};
use tipline_proto::subject::{
    METADATA_CHAIN, METADATA_CONTRACT, METADATA_GENESIS, METADATA_LINEAGE, METADATA_PROOFS_FROM,
    Subject, events_stream, receipts_stream,
};
use tipline_proto::{Chain, Lineage, LogIdentity, LogName};

use crate::contract;
use crate::error::LogError;

/// The server's least. Nothing depends on it. There are no message ids.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// Settings of the stream of the events. It loses nothing and forgets nothing. Purging is
/// not denied, because retention trims by it. Its sequences are its own, see [`first_of`].
pub(super) fn events(identity: &LogIdentity, replicas: usize) -> Config {
    Config {
        name: events_stream(&identity.name),
        description: Some(format!("Tipline: events of {}", identity.chain.name)),
        subjects: vec![Subject::events(&identity.name)],
        discard: DiscardPolicy::New,
        deny_delete: true,
        allow_atomic_publish: true,
        first_sequence: Some(first_of_lineage(identity.lineage)),
        ..common(identity, replicas)
    }
}

/// Settings of the stream of the receipts. It keeps the newest of each subject.
pub(super) fn receipts(identity: &LogIdentity, replicas: usize) -> Config {
    let primary = Subject::Primary(identity.name.clone()).to_string();
    let claim = Subject::Claim(identity.name.clone()).to_string();
    Config {
        name: receipts_stream(&identity.name),
        description: Some(format!("Tipline: receipts of {}", identity.chain.name)),
        subjects: vec![Subject::receipts(&identity.name), primary, claim],
        discard: DiscardPolicy::Old,
        max_messages_per_subject: 1,
        ..common(identity, replicas)
    }
}

/// The sequence that the first message of this stream has.
///
/// It is random, as the lineage that it is made from. An append names the last sequence that it
/// expects, so one that is meant for another log is refused by the server itself: no other log has
/// that sequence, however many messages it has.
pub(super) fn first_of(config: &Config) -> u64 {
    config.first_sequence.unwrap_or_default().max(1)
}

/// At least 2, because a stream with 1 counts as one that was made without; below 2^40, so that
/// nothing that takes sequences for floating point numbers is ever wrong.
fn first_of_lineage(lineage: Lineage) -> u64 {
    let [.., a, b, c, d, e] = *lineage.as_bytes();
    2 + u64::from_be_bytes([0, 0, 0, a, b, c, d, e])
}

fn common(identity: &LogIdentity, replicas: usize) -> Config {
    Config {
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        num_replicas: replicas,
        compression: Some(Compression::None),
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        metadata: metadata(identity),
        ..Config::default()
    }
}

fn metadata(identity: &LogIdentity) -> HashMap<String, String> {
    let mut metadata = HashMap::from([
        (METADATA_CONTRACT.into(), contract::version_of(&identity.chain).into()),
        (METADATA_LINEAGE.into(), identity.lineage.to_string()),
        (METADATA_CHAIN.into(), identity.chain.name.to_string()),
        (METADATA_GENESIS.into(), identity.chain.genesis.to_string()),
    ]);
    let late = identity.chain.proofs_from.late();
    metadata.extend(late.map(|height| (METADATA_PROOFS_FROM.into(), height.to_string())));
    metadata
}

/// Reads a log's identity from a stream's metadata.
pub(super) fn identity(
    place: &str,
    name: &LogName,
    config: &Config,
) -> Result<LogIdentity, LogError> {
    let unusable = |why: String, source: Option<super::error::Source>| LogError::Unusable {
        place: place.to_owned(),
        why,
        source,
    };
    let field = |key: &str| {
        config.metadata.get(key).ok_or_else(|| {
            let stream = &config.name;
            unusable(format!("stream {stream} has no {key}: Tipline did not make it"), None)
        })
    };
    let wrong = |key: &'static str| {
        let stream = config.name.clone();
        move |source| unusable(format!("stream {stream} has a {key} that cannot be"), Some(source))
    };
    let late = config.metadata.get(METADATA_PROOFS_FROM).map(|height| height.parse::<u64>());
    let late = late.transpose().map_err(|e| wrong(METADATA_PROOFS_FROM)(Box::new(e) as _))?;
    let proofs_from = contract::proofs_from(field(METADATA_CONTRACT)?, late)
        .map_err(|why| unusable(why, None))?;
    let lineage = field(METADATA_LINEAGE)?.parse();
    let chain = field(METADATA_CHAIN)?.parse();
    let genesis = field(METADATA_GENESIS)?.parse();
    Ok(LogIdentity {
        name: name.clone(),
        lineage: lineage.map_err(|e| wrong(METADATA_LINEAGE)(Box::new(e) as _))?,
        chain: Chain {
            name: chain.map_err(|e| wrong(METADATA_CHAIN)(Box::new(e) as _))?,
            genesis: genesis.map_err(|e| wrong(METADATA_GENESIS)(Box::new(e) as _))?,
            proofs_from,
        },
    })
}

#[cfg(test)]
mod tests {
    use tipline_proto::{Hash, Lineage, ProofsFrom};

    use super::*;

    #[test]
    fn every_log_begins_with_a_sequence_of_its_own() {
        let first = |bytes| {
            first_of(&events(&LogIdentity { lineage: Lineage::from_bytes(bytes), ..sample() }, 1))
        };
        assert_eq!((first([0; 16]), first([255; 16])), (2, (1 << 40) + 1));
        assert_ne!(first([1; 16]), first([2; 16]));
        // One that was made by hand, or before this was so.
        assert_eq!(first_of(&Config::default()), 1);
    }

    fn sample() -> LogIdentity {
        LogIdentity {
            name: "store".parse().unwrap(),
            chain: Chain::new("test net".parse().unwrap(), Hash::new(&b"genesis"[..]).unwrap()),
            lineage: Lineage::from_bytes([9; 16]),
        }
    }

    #[test]
    fn identity_comes_back_from_either_stream() {
        let mut sample = sample();
        for (proofs_from, contract) in [(1, "1"), (5_000_000, "2")] {
            sample.chain.proofs_from = ProofsFrom::new(proofs_from).unwrap();
            for config in [events(&sample, 3), receipts(&sample, 3)] {
                assert_eq!(identity("p", &sample.name, &config).unwrap(), sample);
                assert_eq!(config.metadata[METADATA_CONTRACT], contract);
                assert_eq!(config.metadata.contains_key(METADATA_PROOFS_FROM), contract == "2");
            }
        }
    }

    /// A version that nobody checks would let who does not know it count wrongly.
    #[test]
    fn proofs_from_a_height_and_the_version_that_says_it_belong_together() {
        let mut late = sample();
        late.chain.proofs_from = ProofsFrom::new(7).unwrap();
        let refused = |change: fn(&mut HashMap<String, String>)| {
            let mut config = events(&late, 1);
            change(&mut config.metadata);
            identity("p", &late.name, &config).unwrap_err().to_string()
        };
        let older = refused(|metadata| {
            metadata.insert(METADATA_CONTRACT.into(), "1".into());
        });
        assert!(older.contains("from block 7 on: it was altered"), "{older}");
        let cut = refused(|metadata| {
            metadata.remove(METADATA_PROOFS_FROM);
        });
        assert!(cut.contains("does not say from which block on"), "{cut}");
        let wrong = refused(|metadata| {
            metadata.insert(METADATA_PROOFS_FROM.into(), "seven".into());
        });
        assert!(wrong.contains(METADATA_PROOFS_FROM), "{wrong}");
    }

    #[test]
    fn a_foreign_stream_and_a_newer_contract_are_refused() {
        let sample = sample();
        let mut config = events(&sample, 1);
        config.metadata.insert(METADATA_CONTRACT.into(), "3".into());
        let newer = identity("p", &sample.name, &config).unwrap_err();
        assert!(newer.to_string().contains("version 3"), "{newer}");
        config.metadata.clear();
        let foreign = identity("p", &sample.name, &config).unwrap_err();
        assert!(foreign.to_string().contains("did not make it"), "{foreign}");
    }
}
