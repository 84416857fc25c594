//! How a run ends: exit codes.

use std::process::ExitCode;

use tipline_backup::{CheckpointError, DestinationError, RestoreError};

/// How the program ended. The numbers are documented in `--help`: keep stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done; or drained after Ctrl-C or SIGTERM; or the fleet is well.
    Ok = 0,
    /// The fleet is degraded.
    Degraded = 1,
    /// It failed, or was started wrongly, or the fleet is broken.
    Failed = 2,
    /// A newer primary has claimed the log.
    Fenced = 3,
    /// To restore: the target is older than everything that is kept.
    TooOld = 10,
    /// To restore: the target is not there yet, or not known.
    NotYet = 11,
    /// To restore: entries on the way to the target are missing.
    Gap = 12,
    /// What is needed is damaged wherever it is kept.
    Corrupt = 13,
    /// Places, or a store and a place, are of different logs.
    WrongLog = 14,
    /// There is something at the place to restore to.
    NotEmpty = 15,
    /// A place does not answer.
    Unavailable = 16,
    /// Ended at once by a second Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The exit code of a restore that was not made.
pub(crate) fn restore_exit(error: &RestoreError) -> Exit {
    match error {
        RestoreError::TooOld { .. } => Exit::TooOld,
        RestoreError::NotYet { .. } | RestoreError::Unknown { .. } => Exit::NotYet,
        RestoreError::Gap { .. } => Exit::Gap,
        RestoreError::Corrupt { .. } | RestoreError::Verification { .. } => Exit::Corrupt,
        RestoreError::WrongLog { .. } => Exit::WrongLog,
        RestoreError::NotEmpty { .. } => Exit::NotEmpty,
        RestoreError::Destination(DestinationError::BadAddress { .. }) => Exit::Failed,
        RestoreError::Destination(_) | RestoreError::Log(_) => Exit::Unavailable,
        RestoreError::Checkpoint(CheckpointError::Destination(_)) => Exit::Unavailable,
        RestoreError::Cancelled { .. } => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use tipline_backup::{RestoreError, Target};

    use super::restore_exit;

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
        let codes: std::collections::BTreeSet<u8> =
            errors.iter().map(|error| restore_exit(error) as u8).collect();
        assert_eq!(codes.len(), errors.len());
        assert!(codes.iter().all(|code| *code >= 10));
    }
}
