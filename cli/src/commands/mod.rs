//! A file or a folder for each command. No command knows another.

mod archive;
mod archiver;
mod audit;
mod check;
mod checkpoint;
mod completions;
mod consume;
mod dashboard;
mod destination;
mod dr;
mod drill;
mod forget;
mod get;
mod identity;
mod init;
mod keys;
mod log_level;
mod man;
mod primary;
mod refill;
mod restore;
mod retention;
mod status;
mod verify;

use clap::{ArgMatches, Subcommand};
use tipline_proto::Role;

use self::archive::ArchiveArgs;
use self::archiver::ArchiverArgs;
use self::audit::AuditArgs;
use self::check::CheckArgs;
use self::checkpoint::CheckpointArgs;
use self::completions::CompletionsArgs;
use self::consume::ConsumeArgs;
use self::dashboard::DashboardArgs;
use self::destination::DestinationArgs;
use self::dr::DrArgs;
use self::drill::DrillArgs;
use self::forget::ForgetArgs;
use self::get::GetArgs;
use self::identity::IdentityArgs;
use self::init::InitArgs;
use self::keys::KeysArgs;
use self::log_level::LogLevelArgs;
use self::man::ManArgs;
use self::primary::PrimaryArgs;
use self::refill::RefillArgs;
use self::restore::RestoreArgs;
use self::retention::RetentionArgs;
use self::status::StatusArgs;
use self::verify::VerifyArgs;
use crate::demo::{self, DemoArgs};
use crate::exit::Exit;
use crate::options::Shared;
use crate::output::report::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a log, once
    Init(InitArgs),
    /// Publish a node's blocks and proofs to the log
    Primary(PrimaryArgs),
    /// Follow the log into a store that serves reads
    Replica(ConsumeArgs),
    /// Follow the log into a store to restore from
    Backup(ConsumeArgs),
    /// Follow the log into an archive, at a directory or object storage
    Archive(ArchiveArgs),
    /// Show what a running archiver does, pause it, and let it go on
    Archiver(ArchiverArgs),
    /// Show whether everything is backed up, where, and up to which block
    Status(StatusArgs),
    /// Serve a page that shows the status, its last hours, and what could be restored
    Dashboard(DashboardArgs),
    /// Send a mark through outbox, log and stores, and time each leg
    Check(CheckArgs),
    /// Restore a store to any point in time, from checkpoints, archives and the log
    Restore(RestoreArgs),
    /// Append to a log what it lost of its end, from an archive
    Refill(RefillArgs),
    /// Verify archives, checkpoints and a store without restoring
    Verify(VerifyArgs),
    /// Replay a log, an archive, a checkpoint or a store: verify it, compare two of them, print, count
    /// and export its entries
    Audit(AuditArgs),
    /// Make and show the keys that sign
    Keys(KeysArgs),
    /// Restore into a scratch directory, check the result, and measure it
    Drill(DrillArgs),
    /// Show what survives a loss
    Dr(DrArgs),
    /// Read a block, a proof or anything else from a store
    Get(GetArgs),
    /// Copy a live store as of one moment; list, keep and expire such checkpoints
    Checkpoint(CheckpointArgs),
    /// Back up, check and restore the key files of nodes
    Identity(IdentityArgs),
    /// Try whether a destination does what backups rely on
    Destination(DestinationArgs),
    /// Remove a consumer that is gone for good from the status
    Forget(ForgetArgs),
    /// Show what the log or an archive may drop, why the rest is kept, and trim it
    Retention(RetentionArgs),
    /// Show or change what a running replica, backup, archiver or primary logs
    LogLevel(LogLevelArgs),
    /// Run a self-contained demo, with generated blocks
    Demo(DemoArgs),
    /// Print a shell's completions
    Completions(CompletionsArgs),
    /// Write the man pages
    Man(ManArgs),
}

/// What must be said on the command line itself.
///
/// # Errors
/// It was not.
pub(crate) fn check_sources(matches: &ArgMatches) -> Result<(), clap::Error> {
    match matches.subcommand() {
        Some(("retention", matches)) => retention::check_sources(matches),
        _ => Ok(()),
    }
}

/// Runs a command to its end. `line` is the whole command line, for what describes it.
pub(crate) async fn run(
    shared: &Shared,
    command: Command,
    line: fn() -> clap::Command,
) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::run(shared, args).await,
        Command::Primary(args) => primary::run(shared, args).await,
        Command::Replica(args) => consume::run(shared, Role::Replica, args).await,
        Command::Backup(args) => consume::run(shared, Role::Backup, args).await,
        Command::Archive(args) => archive::run(shared, args).await,
        Command::Archiver(args) => archiver::run(args).await,
        Command::Status(args) => status::run(shared, args).await,
        Command::Dashboard(args) => dashboard::run(shared, args).await,
        Command::Check(args) => check::run(shared, args).await,
        Command::Restore(args) => restore::run(shared, args).await,
        Command::Refill(args) => refill::run(shared, args).await,
        Command::Verify(args) => verify::run(shared, args).await,
        Command::Audit(args) => audit::run(shared, args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Drill(args) => drill::run(shared, args).await,
        Command::Dr(args) => dr::run(shared, args).await,
        Command::Get(args) => get::run(args).await,
        Command::Checkpoint(args) => checkpoint::run(shared, args).await,
        Command::Identity(args) => identity::run(args).await,
        Command::Destination(args) => destination::run(args).await,
        Command::Forget(args) => forget::run(shared, args).await,
        Command::Retention(args) => retention::run(shared, args).await,
        Command::LogLevel(args) => log_level::run(args).await,
        Command::Demo(args) => demo::run(shared, args).await,
        Command::Completions(args) => completions::run(&args, line()),
        Command::Man(args) => man::run(&args, line()),
    }
}
