//! What can be wrong with the log, the primary and its outbox.

use tipline_log::{Forged, Preflight, Unreadable};
use tipline_proto::{Announcement, Digest, PublicKey, Role, SignatureError};

use super::super::Verdict::{Broken, Degraded};
use super::super::{Kind, Seen, unreadable};
use super::{Unwell, at, made, receipt, seconds_ago};

pub(super) fn unwell() -> Vec<Unwell> {
    [of_the_log(), of_the_primary(), of_the_outbox()].into_iter().flatten().collect()
}

fn of_the_log() -> Vec<Unwell> {
    let away = "the log does not answer";
    let fleet = unreadable("embedded:x".into(), away.into(), None);
    let (kind, verdict) = (Kind::LogUnavailable, Broken);
    let mut all = vec![Unwell { kind, name: None, verdict, text: away, fleet }];
    all.extend(made(&[
        (
            Kind::LogCorrupt,
            None,
            Broken,
            "event 12 of the log cannot be read: its bytes are damaged",
            |seen, _| {
                seen.board.receipts.push(receipt("replica-2", Role::Replica, 12, 1013));
                seen.digests.remove(&12);
                seen.times.insert(13, seconds_ago(1));
                seen.corrupt.insert(12, "its bytes are damaged".into());
            },
        ),
        (
            Kind::LogShortfall,
            None,
            Degraded,
            "the log can lose what it acknowledges (replicas: 1)",
            |seen, _| {
                let mut preflight = Preflight::default();
                preflight.shortfall(
                    "single-replica",
                    "replicas: 1",
                    "a disk that fails takes it all",
                    "use three",
                );
                seen.shortfalls = preflight.shortfalls;
            },
        ),
        (
            Kind::LogLost,
            Some("node-1"),
            Broken,
            "the log lost events: primary node-1 published up to 25, the log ends at 20",
            |seen, _| said(seen).tail = at(25),
        ),
        (
            Kind::Unsigned,
            Some("backup-1"),
            Degraded,
            "the receipt of backup-1 is refused, and it counts as no backup: it is not signed, and \
             signatures are required",
            |seen, _| {
                let why = SignatureError::Unsigned.into();
                let consumer = Some("backup-1".parse().unwrap());
                seen.board.forged.push(Forged { consumer, why });
            },
        ),
        (
            Kind::Forged,
            None,
            Broken,
            "the announcement of a primary is refused, and nothing is believed of it: it is signed \
             by the key 0101010101010101010101010101010101010101010101010101010101010101, which is \
             not trusted for it",
            |seen, _| {
                let key = PublicKey::from_bytes([1; 32]);
                let why = SignatureError::Untrusted { key }.into();
                seen.board.forged.push(Forged { consumer: None, why });
            },
        ),
        (
            Kind::BoardUnreadable,
            Some("backup-9"),
            Degraded,
            "the receipt of backup-9 at tipline.mainnet.receipt.backup-9 cannot be read: it ends \
             too soon",
            |seen, _| {
                seen.board.unreadable.push(Unreadable {
                    place: "tipline.mainnet.receipt.backup-9".into(),
                    consumer: Some("backup-9".parse().unwrap()),
                    why: "it ends too soon".into(),
                });
            },
        ),
    ]));
    all
}

pub(super) fn said(seen: &mut Seen) -> &mut Announcement {
    seen.board.primary.as_mut().unwrap()
}

fn of_the_primary() -> Vec<Unwell> {
    made(&[
        (Kind::PrimaryMissing, None, Degraded, "no primary has announced itself", |seen, _| {
            seen.board.primary = None
        }),
        (Kind::PrimaryFailed, Some("node-1"), Degraded, "primary node-1 has failed", |seen, _| {
            said(seen).failure = Some("fenced".into())
        }),
        (
            Kind::PrimarySilent,
            Some("node-1"),
            Degraded,
            "primary node-1 is silent for 16 s",
            |seen, _| said(seen).time = seconds_ago(16),
        ),
        (
            Kind::PrimaryDiverged,
            Some("node-1"),
            Broken,
            "primary node-1 published another history than the log's, at event 20",
            |seen, _| said(seen).tail.digest = Digest::from_bytes([0xff; 32]),
        ),
        (
            Kind::SuccessorClaimed,
            Some("node-1"),
            Degraded,
            "another primary has claimed the log in epoch 4 and has not announced itself; node-1 \
             had epoch 3",
            |seen, _| seen.tail.epoch = 4,
        ),
        (
            Kind::SourceFailed,
            Some("node-1"),
            Degraded,
            "the source of primary node-1: block 6 was removed",
            |seen, _| said(seen).source_failure = Some("block 6 was removed".into()),
        ),
    ])
}

fn of_the_outbox() -> Vec<Unwell> {
    made(&[
        (
            Kind::OutboxHeldUp,
            Some("node-1"),
            Degraded,
            "the log does not take what primary node-1 has: maximum bytes exceeded; 38 events \
             wait, the oldest for 3.0 s; the outbox is 3% full",
            |seen, _| {
                said(seen).held_up = Some("maximum bytes exceeded".into());
                (said(seen).outbox_events, said(seen).outbox_oldest) = (38, Some(seconds_ago(5)));
            },
        ),
        (
            Kind::OutboxHeldUp,
            Some("node-1"),
            Broken,
            "the log does not take what primary node-1 has: maximum bytes exceeded; 950 events \
             wait, the oldest for 3.0 s; the outbox is 95% full",
            |seen, _| {
                said(seen).held_up = Some("maximum bytes exceeded".into());
                (said(seen).outbox_events, said(seen).outbox_oldest) = (950, Some(seconds_ago(5)));
            },
        ),
        (
            Kind::OutboxHeldUp,
            Some("node-1"),
            Broken,
            "the log does not take what primary node-1 has: maximum bytes exceeded; 1 event \
             waits, the oldest for 11 min",
            |seen, _| {
                said(seen).held_up = Some("maximum bytes exceeded".into());
                (said(seen).outbox_events, said(seen).outbox_oldest) = (1, Some(seconds_ago(662)));
            },
        ),
        (
            Kind::OutboxBacksUp,
            Some("node-1"),
            Degraded,
            "the outbox of primary node-1 backs up: 2 events wait, the oldest for 61 s",
            |seen, _| {
                (said(seen).outbox_events, said(seen).outbox_oldest) = (2, Some(seconds_ago(63)));
            },
        ),
        (
            Kind::OutboxBacksUp,
            Some("node-1"),
            Degraded,
            "the outbox of primary node-1 backs up: 500 events wait; the outbox is 50% full",
            |seen, _| said(seen).outbox_events = 500,
        ),
        (
            Kind::OutboxBacksUp,
            Some("node-1"),
            Degraded,
            "the outbox of primary node-1 backs up: 3 events wait; the outbox is 90% full",
            |seen, _| {
                (said(seen).outbox_events, said(seen).outbox_waiting_bytes) = (3, 900_000);
            },
        ),
    ])
}
