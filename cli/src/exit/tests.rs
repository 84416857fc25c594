use std::collections::BTreeSet;
use std::sync::Arc;

use tipline_backup::{
    ArchiveError, CheckpointError, DestinationError, ExpireError, IdentityError, Record,
    RestoreError, Target,
};
use tipline_consumer::ConsumerError;
use tipline_log::LogError;
use tipline_ops::{CheckpointFailure, SealingError, SourcesError};
use tipline_producer::{EndReason, OutboxError};
use tipline_proto::{Chain, Lineage};
use tipline_store::{StoreError, StoreIdentity};

use super::{Exit, exit_code, restore_exit};

#[test]
fn every_kind_of_refusal_has_an_exit_code_of_its_own() {
    let target = || Target::Height(5).to_string();
    let errors = [
        RestoreError::TooOld { target: target(), earliest: String::new() },
        RestoreError::NotYet { target: target(), latest: String::new() },
        RestoreError::Gap { target: target(), first: 3, last: 4 },
        RestoreError::Corrupt { target: target(), needed: 3, what: String::new() },
        RestoreError::NotEmpty { place: String::new() },
    ];
    let codes: BTreeSet<u8> = errors.iter().map(|error| restore_exit(error) as u8).collect();
    assert_eq!(codes.len(), errors.len());
    assert!(codes.iter().all(|code| *code >= 10));
}

#[test]
fn a_mistake_of_ours_is_no_corrupt_backup() {
    let internal = RestoreError::Internal { what: "it panicked".into(), source: None };
    assert_eq!(restore_exit(&internal), Exit::Failed);
    let differs = RestoreError::Verification { what: "block 5 is missing".into() };
    assert_eq!(restore_exit(&differs), Exit::Corrupt);
}

#[test]
fn a_log_that_is_corrupt_or_another_one_is_not_unavailable() {
    let place = || "embedded:l.db".to_owned();
    let lineage = Lineage::from_bytes([1; 16]);
    let log = |error: LogError| restore_exit(&error.into());
    let away = LogError::Unavailable { place: place(), what: "connect".into(), source: None };
    assert_eq!(log(away), Exit::Unavailable);
    let corrupt = LogError::Corrupt { place: place(), at: "entry 5".into(), source: None };
    assert_eq!(log(corrupt), Exit::Corrupt);
    let other = LogError::WrongLog { place: place(), expected: lineage, found: lineage };
    assert_eq!(log(other), Exit::WrongLog);
    assert_eq!(log(LogError::OutOfRange { asked: 1, first: 5, last: 9 }), Exit::Gap);
    let store = "sqlite:r.db".to_owned();
    let trimmed = ConsumerError::OutOfRange { store, needed: 1, first: 5, last: 9 };
    assert_eq!(exit_code(&trimmed), Exit::Gap);
    let unusable = LogError::Unusable { place: place(), why: "version".into(), source: None };
    assert_eq!(log(unusable), Exit::Failed);
}

#[tokio::test]
async fn a_destination_that_is_unavailable_is_so_through_whatever_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("dir:{}", directory.path().join("nowhere").display());
    let nowhere = tipline_backup::Destination::open(&address).unwrap();
    let error = || async {
        let now = tipline_proto::Timestamp::default();
        Record::newest(&nowhere, tipline_backup::Check::Verify, now).await.unwrap_err()
    };
    assert_eq!(restore_exit(&RestoreError::Destination(error().await)), Exit::Unavailable);
    let archive = ArchiveError::Destination(error().await);
    assert_eq!(restore_exit(&RestoreError::Archive(archive)), Exit::Unavailable);
    let checkpoint = CheckpointError::Destination(error().await);
    assert_eq!(restore_exit(&checkpoint.into()), Exit::Unavailable);
    let address = tipline_backup::Destination::open("ftp:x").unwrap_err();
    assert!(matches!(address, DestinationError::BadAddress { .. }));
    assert_eq!(restore_exit(&address.into()), Exit::Failed);
}

#[test]
fn an_error_is_classified_by_itself_and_not_by_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("something else")]
    struct Other(#[source] RestoreError);

    let cause = RestoreError::TooOld { target: String::new(), earliest: String::new() };
    assert_eq!(exit_code(&cause), Exit::TooOld);
    assert_eq!(exit_code(&Other(cause)), Exit::Failed);
    assert_eq!(exit_code(&EndReason::Fenced { epoch: 1, by: 2 }), Exit::Fenced);
    assert_eq!(exit_code(&EndReason::Stopped), Exit::Failed);
    let (bound, found) = (Lineage::from_bytes([1; 16]), Lineage::from_bytes([2; 16]));
    assert_eq!(exit_code(&EndReason::WrongLog { bound, found }), Exit::WrongLog);
    let log = Chain::new("test".parse().unwrap(), "00".parse().unwrap());
    let outbox = "01".parse().unwrap();
    assert_eq!(exit_code(&EndReason::WrongChain { outbox, log }), Exit::WrongLog);
}

#[test]
fn the_same_error_has_the_same_code_whatever_ends_with_it() {
    let place = || "here".to_owned();
    let lineage = Lineage::from_bytes([1; 16]);
    let log = || LogError::WrongLog { place: place(), expected: lineage, found: lineage };
    assert_eq!(exit_code(&log()), Exit::WrongLog);
    assert_eq!(exit_code(&ConsumerError::Log(log())), Exit::WrongLog);
    assert_eq!(exit_code(&EndReason::Log(Arc::new(log()))), Exit::WrongLog);
    assert_eq!(exit_code(&RestoreError::Log(log())), Exit::WrongLog);
    let away = || LogError::Unavailable { place: place(), what: "connect".into(), source: None };
    assert_eq!(exit_code(&away()), Exit::Unavailable);
    assert_eq!(exit_code(&ConsumerError::Log(away())), Exit::Unavailable);
    let corrupt = || StoreError::Corrupt { place: place(), at: "block 1".into(), source: None };
    assert_eq!(exit_code(&corrupt()), Exit::Corrupt);
    assert_eq!(exit_code(&ConsumerError::Store(corrupt())), Exit::Corrupt);
    assert_eq!(exit_code(&RestoreError::Store(corrupt())), Exit::Corrupt);
    let chain = Chain::new("test".parse().unwrap(), "00".parse().unwrap());
    let other = Box::new(StoreIdentity { chain, lineage });
    let (found, expected) = (other.clone(), other);
    let other = StoreError::WrongLog { place: place(), found, expected };
    assert_eq!(exit_code(&ConsumerError::Store(other)), Exit::WrongLog);
    let outbox = || OutboxError::Corrupt { place: place(), at: "row 1".into(), source: None };
    assert_eq!(exit_code(&outbox()), Exit::Corrupt);
    assert_eq!(exit_code(&EndReason::Outbox(Arc::new(outbox()))), Exit::Corrupt);
    assert_eq!(exit_code(&std::io::Error::other("else")), Exit::Failed);
}

/// By whichever command it ends: of archives, checkpoints and keys.
#[test]
fn what_backs_up_ends_with_the_code_of_what_it_is_about() {
    let place = || "here".to_owned();
    let id = || "00000000000000000007-1800000000000000".parse().unwrap();
    let away = || DestinationError::Unavailable { place: place(), what: "x".into(), source: None };
    let denied = || DestinationError::Denied { place: place(), what: "x".into(), source: None };
    let lock = || CheckpointError::InUse { place: place() };
    let corrupt = || CheckpointError::Corrupt { place: place(), id: id(), what: "x".into() };
    let segment = || ArchiveError::Corrupt { place: place(), object: "x".into(), what: "x".into() };
    let gap = || ArchiveError::Gap { place: place(), first: 3, last: 4 };
    let fork = || ArchiveError::Fork { place: place(), one: "x".into(), other: "y".into() };
    let needs_key = || ArchiveError::NeedsKey { place: place(), object: "x".into() };
    let not_found = || ArchiveError::NotFound { place: place() };

    assert_eq!(exit_code(&gap()), Exit::Gap);
    assert_eq!(exit_code(&RestoreError::Archive(gap())), Exit::Gap);
    assert_eq!(exit_code(&fork()), Exit::Corrupt);
    for (error, exit) in [
        (segment(), Exit::Corrupt),
        (gap(), Exit::Gap),
        (fork(), Exit::Corrupt),
        (needs_key(), Exit::Failed),
        (not_found(), Exit::Failed),
        (away().into(), Exit::Unavailable),
    ] {
        assert_eq!(exit_code(&ExpireError::Archive(error)), exit);
    }
    for (error, exit) in [
        (corrupt(), Exit::Corrupt),
        (lock(), Exit::Failed),
        (CheckpointError::Cancelled, Exit::Interrupted),
        (away().into(), Exit::Unavailable),
        (
            StoreError::Corrupt { place: place(), at: "x".into(), source: None }.into(),
            Exit::Corrupt,
        ),
    ] {
        let again = match &error {
            CheckpointError::Corrupt { .. } => corrupt(),
            CheckpointError::InUse { .. } => lock(),
            CheckpointError::Cancelled => CheckpointError::Cancelled,
            CheckpointError::Store(_) => {
                StoreError::Corrupt { place: place(), at: "x".into(), source: None }.into()
            }
            _ => away().into(),
        };
        assert_eq!(exit_code(&ExpireError::Checkpoint(again)), exit, "{error}");
        assert_eq!(exit_code(&error), exit, "{error}");
        let not_uploaded =
            CheckpointFailure::NotUploaded { id: id(), place: place(), source: error };
        assert_eq!(exit_code(&not_uploaded), exit, "{not_uploaded:?}");
    }
    assert_eq!(exit_code(&CheckpointFailure::Checkpoint(corrupt())), Exit::Corrupt);
    assert_eq!(exit_code(&CheckpointFailure::Destination(away())), Exit::Unavailable);
    for (source, exit) in [
        (segment(), Exit::Corrupt),
        (
            ArchiveError::WrongRecipients { place: place(), found: vec![], given: vec![] },
            Exit::Failed,
        ),
    ] {
        let source = SealingError::Archive(source);
        let not_sealed = CheckpointFailure::NotSealed { id: id(), place: place(), source };
        assert_eq!(exit_code(&not_sealed), exit, "{not_sealed:?}");
    }
    assert_eq!(exit_code(&SourcesError::Archive(segment())), Exit::Corrupt);
    assert_eq!(exit_code(&SourcesError::Checkpoint(corrupt())), Exit::Corrupt);
    assert_eq!(exit_code(&SourcesError::Destination(denied())), Exit::Unavailable);

    let (object, what) = (|| "x".to_owned(), || "x".to_owned());
    let broken = IdentityError::Corrupt { place: place(), object: object(), what: what() };
    let (file, source) = (|| "key".into(), || std::io::Error::other("x"));
    for (error, exit) in [
        (away().into(), Exit::Unavailable),
        (denied().into(), Exit::Unavailable),
        (broken, Exit::Corrupt),
        (IdentityError::Exists { files: vec![file()] }, Exit::NotEmpty),
        (IdentityError::NoDirectory { directory: file() }, Exit::Unavailable),
        (IdentityError::NeedsKey { place: place(), object: object() }, Exit::Failed),
        (IdentityError::NoRecipient, Exit::Failed),
        (IdentityError::WithData { place: place() }, Exit::Failed),
        (IdentityError::Unreadable { file: file(), source: source() }, Exit::Failed),
        (IdentityError::Unwritable { file: file(), source: source() }, Exit::Failed),
        (IdentityError::NotFound { place: place(), name: "n".parse().unwrap() }, Exit::Failed),
    ] {
        assert_eq!(exit_code(&error), exit, "{error}");
    }
}
