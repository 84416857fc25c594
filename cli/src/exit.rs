//! How a run ends: exit codes.

use std::error::Error;
use std::process::ExitCode;

use tipline_audit::tlog::{BadCertificate, NotAccepted};
use tipline_audit::tree::{TreeError, WitnessError};
use tipline_audit::{AuditError, Problem};
use tipline_backup::{
    ArchiveError, CheckpointError, DestinationError, ExpireError, IdentityError, RestoreError,
};
use tipline_consumer::ConsumerError;
use tipline_log::LogError;
use tipline_ops::{CheckpointFailure, SealingError, SourcesError};
use tipline_producer::{EndReason, OutboxError};
use tipline_store::StoreError;

use crate::output::stdout::OutputError;

/// How the program ended. The numbers are documented in `--help`: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, as far as anybody reads standard output; or drained after Ctrl-C or SIGTERM; or the fleet is well.
    Ok = 0,
    /// The fleet is degraded.
    Degraded = 1,
    /// It failed, or was called wrongly, or the fleet is broken.
    Failed = 2,
    /// A newer primary has claimed the log; or [`Exit::UNKNOWN`].
    Fenced = 3,
    /// Restoring: the target is older than everything that is kept.
    TooOld = 10,
    /// Restoring: the target is not there yet, or not known.
    NotYet = 11,
    /// Restoring: entries on the way to the target are missing.
    Gap = 12,
    /// What is needed is corrupt, wherever it is kept; a check found something wrong.
    Corrupt = 13,
    /// Two of a log, places, a store and an outbox are of different logs or chains.
    WrongLog = 14,
    /// There is something at the place to restore to already, a store or a key file.
    NotEmpty = 15,
    /// A log, a primary, a store or a place does not answer.
    Unavailable = 16,
    /// Ended at once by a second Ctrl-C; or restoring, verifying, auditing or drilling was told to stop.
    Interrupted = 130,
}

impl Exit {
    /// Of a plug-in of Nagios that could not find out: it has the number of another end, of
    /// commands that are no plug-ins.
    pub(crate) const UNKNOWN: Exit = Exit::Fenced;
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The exit code of a restore, a drill or a verification that was not made.
pub(crate) fn restore_exit(error: &RestoreError) -> Exit {
    match error {
        RestoreError::TooOld { .. } => Exit::TooOld,
        RestoreError::NotYet { .. } | RestoreError::Unknown { .. } => Exit::NotYet,
        RestoreError::Gap { .. } => Exit::Gap,
        RestoreError::Corrupt { .. } | RestoreError::Verification { .. } => Exit::Corrupt,
        RestoreError::WrongLog { .. } => Exit::WrongLog,
        RestoreError::NotEmpty { .. } => Exit::NotEmpty,
        RestoreError::Cancelled { .. } => Exit::Interrupted,
        RestoreError::Destination(error) => destination_exit(error),
        RestoreError::Archive(error) => archive_exit(error),
        RestoreError::Checkpoint(error) => checkpoint_exit(error),
        RestoreError::Log(error) => log_exit(error),
        RestoreError::Store(error) => store_exit(error),
        // A mistake of ours says nothing about the backup.
        RestoreError::Internal { .. } => Exit::Failed,
        RestoreError::NotFound { .. }
        | RestoreError::InUse { .. }
        | RestoreError::NoSpace { .. }
        | RestoreError::Files { .. } => Exit::Failed,
        // What a later version of the library may add.
        _ => Exit::Failed,
    }
}

fn log_exit(error: &LogError) -> Exit {
    match error {
        LogError::Unavailable { .. } => Exit::Unavailable,
        LogError::Corrupt { .. } => Exit::Corrupt,
        LogError::WrongLog { .. } => Exit::WrongLog,
        LogError::OutOfRange { .. } => Exit::Gap,
        LogError::NotFound { .. }
        | LogError::AlreadyExists { .. }
        | LogError::Unusable { .. }
        | LogError::Denied { .. }
        | LogError::BadUnit { .. }
        | LogError::Failed { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn destination_exit(error: &DestinationError) -> Exit {
    match error {
        DestinationError::Unavailable { .. }
        | DestinationError::Denied { .. }
        | DestinationError::ClockSkew { .. } => Exit::Unavailable,
        // A destination that changes or fails while it is read.
        DestinationError::NotFound { .. }
        | DestinationError::Short { .. }
        | DestinationError::Exists { .. }
        | DestinationError::NoSpace { .. } => Exit::Unavailable,
        // It is something else than what was written.
        DestinationError::TooLong { .. } => Exit::Corrupt,
        DestinationError::Cancelled { .. } => Exit::Interrupted,
        // A file of this machine says nothing about the place.
        DestinationError::File { .. }
        | DestinationError::BadAddress { .. }
        | DestinationError::Unsupported { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn archive_exit(error: &ArchiveError) -> Exit {
    match error {
        ArchiveError::Destination(error) => destination_exit(error),
        // Two histories in it are as wrong as a flipped byte.
        ArchiveError::Corrupt { .. } | ArchiveError::Fork { .. } => Exit::Corrupt,
        ArchiveError::WrongLog { .. } => Exit::WrongLog,
        ArchiveError::Gap { .. } => Exit::Gap,
        ArchiveError::NotFound { .. }
        | ArchiveError::Newer { .. }
        | ArchiveError::NeedsKey { .. }
        | ArchiveError::WrongRecipients { .. }
        | ArchiveError::Key(_)
        | ArchiveError::BadSegment { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn checkpoint_exit(error: &CheckpointError) -> Exit {
    match error {
        CheckpointError::Destination(error) => destination_exit(error),
        CheckpointError::Corrupt { .. } | CheckpointError::NotVouched { .. } => Exit::Corrupt,
        CheckpointError::Cancelled => Exit::Interrupted,
        CheckpointError::NotTheSet { .. } => Exit::Unavailable,
        CheckpointError::Store(error) => store_exit(error),
        CheckpointError::NeedsKey { .. }
        | CheckpointError::NotFound { .. }
        | CheckpointError::InUse { .. }
        | CheckpointError::NoSpace { .. }
        | CheckpointError::Overtaken { .. }
        | CheckpointError::NotADirectory { .. }
        | CheckpointError::NotShared { .. }
        | CheckpointError::File { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn expire_exit(error: &ExpireError) -> Exit {
    match error {
        ExpireError::Archive(error) => archive_exit(error),
        ExpireError::Checkpoint(error) => checkpoint_exit(error),
        _ => Exit::Failed,
    }
}

/// The exit code of a checkpoint that was not made, or is not where it is to be.
fn failure_exit(error: &CheckpointFailure) -> Exit {
    match error {
        CheckpointFailure::Checkpoint(error) => checkpoint_exit(error),
        CheckpointFailure::Destination(error) => destination_exit(error),
        CheckpointFailure::NotUploaded { source, .. } => checkpoint_exit(source),
        CheckpointFailure::NotSealed { source: SealingError::Archive(error), .. } => {
            archive_exit(error)
        }
        CheckpointFailure::NotSealed { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn sources_exit(error: &SourcesError) -> Exit {
    match error {
        SourcesError::Archive(error) => archive_exit(error),
        SourcesError::Checkpoint(error) => checkpoint_exit(error),
        SourcesError::Destination(error) => destination_exit(error),
        SourcesError::Keys(_) => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn identity_exit(error: &IdentityError) -> Exit {
    match error {
        IdentityError::Destination(error) => destination_exit(error),
        IdentityError::Corrupt { .. } => Exit::Corrupt,
        IdentityError::Exists { .. } => Exit::NotEmpty,
        // It may be on a medium that is not mounted.
        IdentityError::NoDirectory { .. } => Exit::Unavailable,
        IdentityError::NotFound { .. }
        | IdentityError::WithData { .. }
        | IdentityError::NoRecipient
        | IdentityError::Unusable { .. }
        | IdentityError::Unreadable { .. }
        | IdentityError::Sealing { .. }
        | IdentityError::NeedsKey { .. }
        | IdentityError::Unwritable { .. }
        | IdentityError::Key(_) => Exit::Failed,
        _ => Exit::Failed,
    }
}

/// The exit code of an audit that came to no result.
fn audit_exit(error: &AuditError) -> Exit {
    match error {
        AuditError::Source(error) => restore_exit(error),
        AuditError::Archive(error) => archive_exit(error),
        AuditError::Checkpoint(error) => checkpoint_exit(error),
        AuditError::Tree(error) => tree_exit(error),
        AuditError::Range { .. } | AuditError::Found(Problem::Missing { .. }) => Exit::Gap,
        AuditError::Found(_) => Exit::Corrupt,
        AuditError::WrongLog { .. } => Exit::WrongLog,
        AuditError::Cancelled { .. } => Exit::Interrupted,
        AuditError::Store(error) => store_exit(error),
        AuditError::Empty { .. }
        | AuditError::NoReceipts { .. }
        | AuditError::Scratch { .. }
        | AuditError::Internal { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

/// The exit code of a signed tree that is not usable, or of a proof that proves nothing.
fn tree_exit(error: &TreeError) -> Exit {
    match error {
        TreeError::Destination(error) => destination_exit(error),
        TreeError::NotYet { .. } | TreeError::Unknown { .. } | TreeError::MirrorBehind { .. } => {
            Exit::NotYet
        }
        TreeError::NotAccepted { source: NotAccepted::NoQuorum { .. }, .. } => Exit::NotYet,
        TreeError::NotAccepted { source: NotAccepted::UnknownLog { .. }, .. }
        | TreeError::Witness(WitnessError::UnknownLog { .. }) => Exit::WrongLog,
        TreeError::Witness(WitnessError::Key(_))
        | TreeError::Certificate(BadCertificate::Policy(_)) => Exit::Failed,
        TreeError::NotHeld { .. } | TreeError::MirrorGap { .. } => Exit::Gap,
        TreeError::WrongKey { .. }
        | TreeError::OtherName { .. }
        | TreeError::WrongOrigin { .. } => Exit::WrongLog,
        TreeError::Note { .. }
        | TreeError::Checkpoint { .. }
        | TreeError::Tile { .. }
        | TreeError::TileDiffers { .. }
        | TreeError::WrongRoot { .. }
        | TreeError::OtherEntry { .. }
        | TreeError::Shorter { .. }
        | TreeError::Forked { .. }
        | TreeError::NotConsistent(_)
        | TreeError::NotAccepted { .. }
        | TreeError::Witness(_)
        | TreeError::Certificate(_)
        | TreeError::Proof(_)
        | TreeError::Leaf(_) => Exit::Corrupt,
        TreeError::Key(_) | TreeError::NotFound { .. } | TreeError::MirrorIsArchive { .. } => {
            Exit::Failed
        }
        _ => Exit::Failed,
    }
}

fn store_exit(error: &StoreError) -> Exit {
    match error {
        StoreError::WrongLog { .. } => Exit::WrongLog,
        StoreError::Corrupt { .. } => Exit::Corrupt,
        StoreError::Unavailable { .. } => Exit::Unavailable,
        StoreError::OutOfOrder { .. }
        | StoreError::Disagree(_)
        | StoreError::Unusable { .. }
        | StoreError::InUse { .. }
        | StoreError::NoSpace { .. }
        | StoreError::Failed { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn outbox_exit(error: &OutboxError) -> Exit {
    match error {
        OutboxError::Corrupt { .. } => Exit::Corrupt,
        OutboxError::DoesNotLink { .. }
        | OutboxError::Refused { .. }
        | OutboxError::TooLarge(_)
        | OutboxError::Full { .. }
        | OutboxError::Trimmed { .. }
        | OutboxError::Unusable { .. }
        | OutboxError::Failed { .. }
        | OutboxError::Internal { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

/// The exit code of a consumer that stopped.
pub(crate) fn consumer_exit(error: &ConsumerError) -> Exit {
    match error {
        ConsumerError::Log(error) => log_exit(error),
        ConsumerError::Store(error) => store_exit(error),
        ConsumerError::OutOfRange { .. } => Exit::Gap,
        ConsumerError::Refused(_)
        | ConsumerError::Diverged { .. }
        | ConsumerError::Ahead { .. }
        | ConsumerError::StoreLost { .. }
        | ConsumerError::Panicked { .. } => Exit::Failed,
        _ => Exit::Failed,
    }
}

fn end_exit(reason: &EndReason) -> Exit {
    match reason {
        EndReason::Fenced { .. } => Exit::Fenced,
        EndReason::WrongLog { .. } | EndReason::WrongChain { .. } => Exit::WrongLog,
        EndReason::Log(error) => log_exit(error),
        EndReason::Outbox(error) => outbox_exit(error),
        _ => Exit::Failed,
    }
}

/// The exit code of any error that ends a command: by the error itself, never by one of its causes.
/// The same error has the same code, whichever command it ends.
pub(crate) fn exit_code(error: &(dyn Error + 'static)) -> Exit {
    if let Some(OutputError::Closed) = error.downcast_ref() {
        return Exit::Ok;
    }
    let codes = [
        error.downcast_ref().map(end_exit),
        error.downcast_ref().map(consumer_exit),
        error.downcast_ref().map(restore_exit),
        error.downcast_ref().map(audit_exit),
        error.downcast_ref().map(log_exit),
        error.downcast_ref().map(store_exit),
        error.downcast_ref().map(outbox_exit),
        error.downcast_ref().map(archive_exit),
        error.downcast_ref().map(checkpoint_exit),
        error.downcast_ref().map(destination_exit),
        error.downcast_ref().map(expire_exit),
        error.downcast_ref().map(failure_exit),
        error.downcast_ref().map(sources_exit),
        error.downcast_ref().map(identity_exit),
    ];
    codes.into_iter().flatten().next().unwrap_or(Exit::Failed)
}

#[cfg(test)]
mod tests;
